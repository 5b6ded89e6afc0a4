//! This program's own directories, which hold keys and invites: nothing of them is in any share, also where somebody shares a
//! home, or names something in them.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::OwnDirs;
use crate::identity;

/// The directories of this user's settings, state and data.
#[derive(Debug)]
pub(super) struct Own {
    directories: HashSet<(u64, u64)>,
}

impl Own {
    /// Those of this user, and the state directory that is used.
    pub(super) fn of(state: &Path) -> Self {
        let usual = OwnDirs::find().map(|OwnDirs { config, state, data }| [config, state, data]);
        let all = usual.into_iter().flatten().chain([state.to_owned()]);
        Self {
            directories: all
                .filter_map(|path| fs::metadata(path).ok())
                .map(|metadata| place(&metadata))
                .collect(),
        }
    }

    /// Whether a directory is one of them, or the data directory of any tracker or peer.
    pub(super) fn has(&self, directory: &Path, metadata: &Metadata) -> bool {
        self.directories.contains(&place(metadata)) || identity::lives_in(directory)
    }

    /// Whether something is one of them, or in one of them, by whatever symlinks its path leads there.
    pub(super) fn holds(&self, path: &Path) -> io::Result<bool> {
        let path = path.canonicalize()?;
        let is_own = |above: &Path| fs::metadata(above).is_ok_and(|metadata| self.has(above, &metadata));
        Ok(path.ancestors().any(is_own))
    }
}

/// What tells a directory from all others, however it is called.
fn place(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
