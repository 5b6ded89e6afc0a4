//! The clients of tracker and peer: one typed method for each route, time-outs, problems as values.

mod connector;
mod evidence;
mod http;
mod lane;
mod peer;
mod retry;
mod tracker;

pub use evidence::Kept;
pub use http::{Authority, ClientError, Http};
pub use lane::ChunkAnswer;
pub use peer::PeerClient;
pub use retry::with_retries;
pub use tracker::TrackerClient;
