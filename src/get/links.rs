//! Makes the symlinks of a share: after everything else, so that nothing is ever written through one.

use std::io;
use std::path::Path;

use parcelry_core::metadata::Metadata;
use rustix::io::Errno;

use super::entries::is_about_the_name;
use crate::disk::dir::Dir;
use crate::journal::LeftOut;

/// Makes the symlinks below the share's directory; returns their directories, and what was left out.
pub(super) fn make_all<'a>(root: &Dir, metadata: &'a Metadata) -> io::Result<(Vec<&'a Path>, Vec<LeftOut>)> {
    let (mut directories, mut left_out) = (Vec::new(), Vec::new());
    for link in &metadata.links {
        let path = Path::new(link.path.below(&metadata.original_filename).unwrap_or_default());
        let why = match root.create_link(path, &link.target) {
            Ok(()) => {
                directories.extend(path.parent());
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                "here its name is that of another entry of the share".to_owned()
            }
            Err(error) if is_about_the_name(&error) || has_no_links(&error) => {
                format!("there can be no such symlink here: {error}")
            }
            Err(error) => return Err(error),
        };
        left_out.push(LeftOut { path: link.path.clone(), why });
    }
    Ok((directories, left_out))
}

/// Whether a file system says by this that it knows no symlinks.
fn has_no_links(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS))
}
