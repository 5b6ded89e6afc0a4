//! The name under which the temporary stands, and whether it is still the one that stands there.

use std::io;
use std::path::Path;

use super::{Content, Output, file_name};
use crate::disk::dir::remove_any;
use crate::disk::file_system::inode;
use crate::failure::{Failure, Kind};
use crate::get::entries;

impl Output {
    /// Whether each entry stands under its own name, and is a file of its own: where the file system takes two names for
    /// one, what finds both there finds one twice.
    pub(in super::super) fn stands_apart(&self) -> io::Result<bool> {
        match &self.content {
            Content::Single(_) => Ok(true),
            Content::Tree(tree) => entries::stand_apart(&tree.root, &self.metadata),
        }
    }

    /// Where the temporary is.
    pub(in super::super) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Gives the temporary another name in the same directory.
    pub(in super::super) fn rename(&mut self, temporary: &Path) -> Result<(), Failure> {
        let (before, now) = (file_name(&self.temporary), file_name(temporary));
        let renamed = self.beside.rename_new(before, &self.beside, now).and_then(|()| self.beside.sync());
        renamed.map_err(|error| Failure::io("rename", &self.temporary, &error))?;
        temporary.clone_into(&mut self.temporary);
        Ok(())
    }

    /// Removes the temporary, of which nothing can become any more. What is being written to it is waited for, and nothing
    /// is written after that: whoever asked for a chunk may have ended before its bytes were there.
    pub(in super::super) fn discard(&self) -> Result<(), Failure> {
        *self.is_discarded.write() = true;
        self.check_in_place(file_name(&self.temporary))?;
        remove_any(&self.temporary).map_err(|error| Failure::io("remove", &self.temporary, &error))
    }

    /// What gets the final name must be what was written: in a directory that others can write to, somebody
    /// may have put something else there.
    pub(super) fn check_in_place(&self, temporary: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("save", &self.target, &error);
        if self.private_inode.is_none() {
            // Whoever can put another there can as well write to this one.
            return Ok(());
        }
        let opened = match &self.content {
            Content::Single(file) => inode(file),
            Content::Tree(tree) => tree.root.inode_of(Path::new(".")),
        }
        .map_err(failed)?;
        if self.beside.inode_of(temporary).ok() == Some(opened) {
            return Ok(());
        }
        let what = format!("{} was taken away or replaced by somebody else", self.temporary.display());
        Err(Failure::new(Kind::Integrity, what).next("Choose a folder that others cannot write to."))
    }
}
