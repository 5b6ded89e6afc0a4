//! What of a temporary's files is not in the stream: their lengths, and zeros where their holes are.

use std::fs::File;
use std::io;

use parcelry_core::metadata::FileEntry;

use super::{Content, Output};
use crate::disk::file_system::allocate;
use crate::disk::holes::fill_with_zeros;

impl Output {
    /// Gives the one file of a share its length and room for its data, and the files of a directory that have holes: a file
    /// system may have none that are so long.
    pub(super) fn allocate_at_once(&self) -> io::Result<()> {
        let tree = match &self.content {
            Content::Single(file) => {
                let only = self.metadata.files.first();
                return only.map_or(Ok(()), |entry| allocate(file, entry.size, &entry.holes));
            }
            Content::Tree(tree) => tree,
        };
        let files = self.metadata.files.iter().enumerate();
        for (_, entry) in files.filter(|(number, file)| !file.holes.is_empty() && !tree.is_left_out(*number))
        {
            allocate(&tree.root.open_file(self.path(entry))?, entry.size, &entry.holes)?;
        }
        Ok(())
    }

    /// Has everything that is not in the stream be as it shall be, whoever may have written to the temporary: holes are
    /// zeros, and the one file of a share is as long as it shall be.
    pub(in super::super) fn clear_holes(&self) -> io::Result<()> {
        let clear = |file: &File, entry: &FileEntry| {
            entry.holes.iter().try_for_each(|hole| fill_with_zeros(file, hole))
        };
        for (number, entry) in self.metadata.files.iter().enumerate() {
            match &self.content {
                Content::Single(file) => {
                    if file.metadata()?.len() != entry.size {
                        file.set_len(entry.size)?;
                    }
                    clear(file, entry)?;
                }
                Content::Tree(tree) if !entry.holes.is_empty() && !tree.is_left_out(number) => {
                    clear(&tree.root.open_file(self.path(entry))?, entry)?;
                }
                Content::Tree(_) => {}
            }
        }
        Ok(())
    }
}
