//! Holes of files on this machine's disks: found where files are read, left where they are written.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use parcelry_core::holes::Holes;
use parcelry_core::limits::{HOLE_BYTES_MIN, HOLES_MAX};
use rustix::fs::{SeekFrom, fdatasync, seek};
use rustix::io::Errno;

use super::file_system::{Lack, is_said_to_lack};

/// Bytes that are read or written at once where zeros are expected.
const PIECE: usize = 64 << 10;
/// Zeros to write, and to compare with.
pub const ZEROS: &[u8; PIECE] = &[0; PIECE];
/// Bytes of the file by which a file system shows whether it makes holes: far more than it gives out at once.
const PROBE_BYTES: u64 = 4 << 20;
/// Bytes of a block, as they are counted in what is told about a file (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// Whether a file takes less room than its length. What was reserved and not written yet is no hole: its owner wants it to
/// take room.
pub fn may_be_in(metadata: &Metadata) -> bool {
    let len = metadata.len();
    len >= HOLE_BYTES_MIN && metadata.blocks().saturating_mul(BLOCK_BYTES) < len
}

/// Has the disk have what was written to a file: some file systems take for a hole what is still on its way there. Only
/// such a file is waited for as may have holes.
pub fn settle(file: &File) -> io::Result<()> {
    if may_be_in(&file.metadata()?) { Ok(fdatasync(file)?) } else { Ok(()) }
}

/// The largest holes of the files of a share, as many as it may have.
#[derive(Debug, Default)]
pub struct Largest(Vec<(usize, Range<u64>)>);

impl Largest {
    /// Notes the holes of the file with this number that are worth it. Where the file system does not tell, there are none.
    pub fn note(&mut self, number: usize, file: &File, len: u64) {
        if settle(file).is_err() {
            return;
        }
        let mut at = 0;
        while at < len {
            let Ok(data) = next_data(file, at..len) else { return };
            if let Some(hole) = worth_it(at..data.start, len) {
                self.0.push((number, hole));
                if self.0.len() >= 2 * HOLES_MAX {
                    self.cut();
                }
            }
            at = data.end;
        }
    }

    /// The holes of each file that has some, by the files' numbers.
    pub fn of_files(mut self) -> Vec<(usize, Holes)> {
        self.cut();
        self.0.sort_unstable_by_key(|(number, hole)| (*number, hole.start));
        let same_file = self.0.chunk_by(|(before, _), (number, _)| before == number);
        let of_file = same_file.map(|holes| {
            let runs = holes.iter().map(|(_, hole)| (hole.start, hole.end - hole.start));
            (holes[0].0, Holes::new(runs).unwrap_or_default())
        });
        of_file.collect()
    }

    fn cut(&mut self) {
        if self.0.len() > HOLES_MAX {
            self.0
                .select_nth_unstable_by_key(HOLES_MAX, |(_, hole)| std::cmp::Reverse(hole.end - hole.start));
            self.0.truncate(HOLES_MAX);
        }
    }
}

/// What of a hole is at whole steps, but for one that ends with its file.
fn worth_it(hole: Range<u64>, len: u64) -> Option<Range<u64>> {
    let start = hole.start.checked_next_multiple_of(HOLE_BYTES_MIN)?;
    let end = if hole.end == len { len } else { hole.end / HOLE_BYTES_MIN * HOLE_BYTES_MIN };
    (end.checked_sub(start)? >= HOLE_BYTES_MIN).then_some(start..end)
}

/// The first run of bytes that are on the disk, within a run of a file; an empty one at its end if there is none. Where the
/// file system does not tell, all of it may be.
fn next_data(file: &File, within: Range<u64>) -> io::Result<Range<u64>> {
    let found = match seek(file, SeekFrom::Data(within.start)) {
        Ok(start) => seek(file, SeekFrom::Hole(start)).map(|end| start..end),
        Err(Errno::NXIO) => Ok(within.end..within.end),
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => {
            let start = found.start.clamp(within.start, within.end);
            // What ends where it begins would be asked for again and again.
            let end = if found.end > start { found.end.min(within.end) } else { within.end };
            Ok(start..end)
        }
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY) => Ok(within),
        // It was cut off between the two questions.
        Err(Errno::NXIO) => Ok(within),
        Err(error) => Err(error.into()),
    }
}

/// Whether a run of a file reads as zeros; what is still a hole is not read.
pub fn reads_as_zeros(file: &File, run: Range<u64>) -> io::Result<bool> {
    let mut is_zero = true;
    for_each_piece_with_data(file, run, |_, piece| {
        is_zero &= *piece == ZEROS[..piece.len()];
        Ok(is_zero)
    })?;
    Ok(is_zero)
}

/// Has a run of a file read as zeros, at once where the file system makes holes.
pub fn fill_with_zeros(file: &File, run: Range<u64>) -> io::Result<()> {
    if punch(file, &run) { Ok(()) } else { write_zeros(file, run) }
}

/// Makes a hole. Returns whether it did.
#[cfg(target_os = "linux")]
fn punch(file: &File, run: &Range<u64>) -> bool {
    use rustix::fs::{FallocateFlags, fallocate};
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    !is_said_to_lack(Lack::Holes) && fallocate(file, flags, run.start, run.end - run.start).is_ok()
}

/// Makes a hole: only Linux does.
#[cfg(not(target_os = "linux"))]
const fn punch(_: &File, _: &Range<u64>) -> bool {
    false
}

/// Writes zeros where others are.
fn write_zeros(file: &File, run: Range<u64>) -> io::Result<()> {
    for_each_piece_with_data(file, run, |at, piece| {
        if *piece != ZEROS[..piece.len()] {
            file.write_all_at(&ZEROS[..piece.len()], at)?;
        }
        Ok(true)
    })
}

/// Reads what is on the disk of a run of a file, as long as `take` wants more. What is beyond the file's end is nothing.
fn for_each_piece_with_data(
    file: &File,
    run: Range<u64>,
    mut take: impl FnMut(u64, &[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    let (mut at, mut bytes) = (run.start, vec![0; PIECE]);
    while at < run.end {
        let data = next_data(file, at..run.end)?;
        at = data.start;
        while at < data.end {
            let len = usize::try_from(data.end - at).map_or(PIECE, |left| left.min(PIECE));
            match file.read_at(&mut bytes[..len], at)? {
                0 => return Ok(()),
                read if !take(at, &bytes[..read])? => return Ok(()),
                read => at += read as u64,
            }
        }
    }
    Ok(())
}

/// Whether files in the directory can have holes; one is made there to find out.
pub fn can_be_in(directory: &Path) -> io::Result<bool> {
    if is_said_to_lack(Lack::Holes) {
        return Ok(false);
    }
    let file = tempfile::tempfile_in(directory)?;
    match file.write_all_at(&[1], PROBE_BYTES - 1) {
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            return Ok(false);
        }
        written => written?,
    }
    Ok(file.metadata()?.blocks().saturating_mul(BLOCK_BYTES) <= PROBE_BYTES / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn sparse(data: &[(u64, &[u8])], len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        data.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        file
    }

    fn found(file: &File) -> Vec<(usize, Holes)> {
        let mut largest = Largest::default();
        let metadata = file.metadata().unwrap();
        if may_be_in(&metadata) {
            largest.note(3, file, metadata.len());
        }
        largest.of_files()
    }

    #[test]
    fn f29_holes_begin_and_end_at_whole_steps_but_for_the_end_of_the_file() {
        let step = HOLE_BYTES_MIN;
        for (hole, expected) in [
            (0..3 * step + 5, Some(0..3 * step)),
            (1..3 * step, Some(step..3 * step)),
            (0..step - 1, None),
            (1..2 * step - 1, None),
            (step..10 * step + 7, Some(step..10 * step + 7)),
            (9 * step + 8..10 * step + 7, None),
        ] {
            assert_eq!(worth_it(hole.clone(), 10 * step + 7), expected, "{hole:?}");
        }
        assert!(can_be_in(&std::env::temp_dir()).unwrap(), "the tests need a disk that makes holes");
        assert_eq!(found(&sparse(&[], MIB + 1)), [(3, Holes::new([(0, MIB + 1)]).unwrap())]);
        let file = sparse(&[(MIB, b"data"), (3 * MIB, &[7; 1 << 20])], 5 * MIB);
        let holes = Holes::new([(0, MIB), (MIB + step, 2 * MIB - step), (4 * MIB, MIB)]).unwrap();
        assert_eq!(found(&file), [(3, holes)]);
        assert!(found(&sparse(&[(0, &[1; 1 << 20])], MIB)).is_empty());
        // Room that was reserved is to be taken at the other end, too.
        let reserved = sparse(&[], MIB);
        if rustix::fs::fallocate(&reserved, rustix::fs::FallocateFlags::empty(), 0, MIB).is_ok() {
            assert!(found(&reserved).is_empty());
        }
    }

    #[test]
    fn f29_of_too_many_holes_the_largest_are_kept() {
        let mut largest = Largest::default();
        for number in 0..2 * HOLES_MAX as u64 {
            let len = HOLE_BYTES_MIN * (1 + number % 2);
            let at = number * 4 * HOLE_BYTES_MIN;
            largest.0.push((usize::from(number % 4 > 1), at..at + len));
        }
        let of_files = largest.of_files();
        assert_eq!(of_files.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(of_files.iter().map(|(_, holes)| holes.count()).sum::<usize>(), HOLES_MAX);
        let all = of_files
            .iter()
            .all(|(_, holes)| holes.iter().all(|hole| hole.end - hole.start == 2 * HOLE_BYTES_MIN));
        assert!(all);
    }

    #[test]
    fn f29_what_was_written_into_a_hole_shows_unless_it_is_zeros() {
        let file = sparse(&[(0, b"data")], 8 * MIB);
        assert!(reads_as_zeros(&file, MIB..8 * MIB).unwrap());
        assert!(reads_as_zeros(&file, 7 * MIB..9 * MIB).unwrap(), "beyond its end is nothing");
        file.write_all_at(&[0; 5000], 3 * MIB).unwrap();
        assert!(reads_as_zeros(&file, MIB..8 * MIB).unwrap());
        file.write_all_at(&[1], 8 * MIB - 1).unwrap();
        assert!(!reads_as_zeros(&file, MIB..8 * MIB).unwrap());
        assert!(reads_as_zeros(&file, MIB..8 * MIB - 1).unwrap());
        for may_punch in [false, true] {
            let file = sparse(&[(0, &[1; 1 << 20]), (3 * MIB, &[1; 1 << 20])], 8 * MIB);
            let fill = if may_punch { fill_with_zeros } else { write_zeros };
            fill(&file, MIB..8 * MIB).unwrap();
            assert!(reads_as_zeros(&file, MIB..8 * MIB).unwrap());
            let mut start = vec![0; 1 << 20];
            file.read_exact_at(&mut start, 0).unwrap();
            assert!(start.iter().all(|&byte| byte == 1) && file.metadata().unwrap().len() == 8 * MIB);
        }
    }
}
