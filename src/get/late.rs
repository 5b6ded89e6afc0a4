//! Small files that are created only when their bytes come, in one visit to each. What a file system does not take shows
//! before anything is fetched: only what it surely takes, each for itself, need not be tried beforehand. What stands there all
//! the same when the bytes come is somebody else's.

use parcelry_core::geometry::Geometry;
use parcelry_core::metadata::{FileEntry, Metadata};
use parcelry_core::portability::are_plain;

use crate::disk::dir::Dir;

/// For each file, whether it can be created when its bytes come; empty if none can. The directories are there by then.
pub(super) fn files(root: &Dir, metadata: &Metadata, geometry: &Geometry) -> Vec<bool> {
    let comes_at_once = |file: &FileEntry| {
        file.holes.is_empty() && geometry.are_in_one_chunk(&(file.offset..file.offset + file.size))
    };
    if metadata.files.iter().any(comes_at_once) && takes_each(root, metadata) {
        metadata.files.iter().map(comes_at_once).collect()
    } else {
        Vec::new()
    }
}

/// Whether the file system surely takes all names of the share, each for itself, and has room for its entries. Those whose
/// inode numbers are loose are FAT, FUSE and other machines: they have rules of their own, by which also a plain name may be
/// none, or another one's.
fn takes_each(root: &Dir, metadata: &Metadata) -> bool {
    let top = &metadata.original_filename;
    let links = metadata.links.iter().map(|link| &link.path);
    let paths = metadata.files.iter().map(|file| &file.path).chain(&metadata.dirs).chain(links);
    let paths = paths.map(|path| path.below(top).unwrap_or_default()).filter(|path| !path.is_empty());
    let longest = paths.clone().flat_map(|path| path.split('/')).map(str::len).max().unwrap_or(0);
    let entries = metadata.files.len() + metadata.links.len();
    !root.has_loose_inodes().unwrap_or(true)
        && root.takes(longest as u64, entries as u64).unwrap_or(false)
        && are_plain(paths)
}
