//! The clients of tracker and peer: one typed method for each route, time-outs, problems as values.

mod addresses;
mod connector;
mod error;
mod evidence;
mod failure;
mod http;
mod payload;
mod peer;
mod pipelined;
mod pool;
mod retry;
mod sources;
mod tracker;
mod verified;

pub use error::ClientError;
pub use evidence::Kept;
pub use failure::{tracker_failure, tracker_skew};
pub use http::{Authority, Http};
pub use peer::PeerClient;
pub use pipelined::ChunkAnswer;
pub use retry::with_retries;
pub use sources::first_good;
pub use tracker::TrackerClient;
pub use verified::{Unverified, Verified};
