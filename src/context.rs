//! What every command works with: the network, the user, and the directory for its state.

use std::path::PathBuf;

use crate::client::Http;
use crate::progress::Progress;

/// The surroundings of a command.
#[derive(Debug, Clone)]
pub struct Context {
    /// The pool of connections.
    pub http: Http,
    /// Where it reports.
    pub progress: Progress,
    /// The directory for journals and the keys of shares; private to its owner.
    pub state: PathBuf,
}
