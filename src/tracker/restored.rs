//! Notices that the data directory is a copy of the one in which the tracker last ran: what happened since the copy was
//! made is unknown here, revocations above all.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::disk::durable;
use crate::failure::Failure;

/// Says which file held the tokens when the tracker last started.
const MARK_FILE: &str = "place";

/// Whether the tokens are in another file than when the tracker last started; notes the file for the next time.
pub(super) fn is_copy(data: &Path, tokens: &Path) -> Result<bool, Failure> {
    let mark = data.join(MARK_FILE);
    let before = match fs::read_to_string(&mark) {
        Ok(text) => Some(text),
        // Only the files that matter most may have been kept.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Failure::io("read", &mark, &error)),
    };
    let now = place_of(tokens).map_err(|error| Failure::io("look at", tokens, &error))?;
    if before.as_ref() == Some(&now) {
        return Ok(false);
    }
    durable::persist(&mark, now.as_bytes()).map_err(|error| Failure::io("write", &mark, &error))?;
    Ok(true)
}

/// What a copy of a file does not share with it: its number, and its birth, for numbers are used again. Devices are
/// numbered anew whenever a machine starts.
fn place_of(file: &Path) -> io::Result<String> {
    let metadata = fs::metadata(file)?;
    let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok(format!("{} {}\n", metadata.ino(), born.map_or(0, |born| born.as_nanos())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_noticed_once_and_a_file_that_changes_is_none() {
        let data = tempfile::tempdir().unwrap();
        let tokens = data.path().join("tokens.db");
        fs::write(&tokens, "1").unwrap();
        let is_copy = || is_copy(data.path(), &tokens).unwrap();
        assert!(is_copy(), "it never ran here");
        fs::write(&tokens, "2").unwrap();
        assert!(!is_copy());
        // The same bytes in another file.
        durable::persist(&tokens, b"2").unwrap();
        assert!(is_copy());
        assert!(!is_copy());
        fs::remove_file(data.path().join(MARK_FILE)).unwrap();
        assert!(is_copy(), "a copy of some of the files");
    }
}
