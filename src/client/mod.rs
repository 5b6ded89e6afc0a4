//! The clients of tracker and peer: one typed method for each route, time-outs, problems as values.

mod connector;
mod http;
mod peer;
mod tracker;

pub use http::{ClientError, Http};
pub use peer::{ChunkAnswer, PeerClient};
pub use tracker::TrackerClient;
