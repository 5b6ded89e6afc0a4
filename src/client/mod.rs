//! The clients of tracker and peer: one typed method for each route, time-outs, problems as values.

mod connector;
mod evidence;
mod failure;
mod http;
mod lane;
mod peer;
mod retry;
mod tracker;

pub use evidence::Kept;
pub use failure::{tracker_failure, tracker_skew};
pub use http::{Authority, ClientError, Http};
pub use lane::ChunkAnswer;
pub use peer::PeerClient;
pub use retry::with_retries;
pub use tracker::TrackerClient;
