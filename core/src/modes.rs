//! Who may read, write and execute what arrives: the permission bits of a share's files and directories. Bits beyond them
//! (setuid, setgid, sticky) are never shared.

use serde::{Deserialize, Serialize};

use crate::name::SafePath;

/// The bits that a share may carry.
pub const PERMISSIONS: u32 = 0o777;
/// The permissions of a directory of which nothing is said.
pub const DIRECTORY: u32 = 0o755;

/// A directory of a share with other permissions than most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirMode {
    /// The directory, which the share names or which is on the way to what it names.
    pub path: SafePath,
    /// Its permissions.
    pub mode: u32,
}

/// The permissions of a file of which only is said whether it may be executed.
pub const fn of_file(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

/// Whether its owner may execute a file.
pub const fn is_executable(mode: u32) -> bool {
    mode & 0o100 != 0
}
