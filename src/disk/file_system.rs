//! What file systems can do less than those of this system's own disks: FAT, exFAT and NTFS, what is mounted by FUSE,
//! directories on other machines.

use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use parcelry_core::holes::Holes;
use rustix::io::Errno;

/// The type of the file system of RAM disks (`TMPFS_MAGIC`, statfs(2)).
const RAM_DISK: i64 = 0x0102_1994;

/// What a file system may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// A rename that refuses to replace.
    NoReplace,
    /// Hard links.
    Links,
    /// Owners and modes: who may open what is the mount's choice.
    Modes,
    /// Inode numbers that a file keeps for longer than it is open.
    Inodes,
    /// Names with a colon.
    Colons,
    /// Paths that are opened in one step in which no symlink is followed: kernels before Linux 5.6.
    OneStep,
    /// Holes in files.
    Holes,
    /// Room for new files.
    Room,
}

/// The environment variable by which a test has every file system lack something, as in `NoReplace Links`. It does
/// nothing in a release build.
pub const VARIABLE: &str = "PARCELRY_FILE_SYSTEM_LACKS";

/// Whether a test has every file system lack it.
#[inline]
pub fn is_said_to_lack(what: Lack) -> bool {
    cfg!(debug_assertions)
        && std::env::var(VARIABLE).is_ok_and(|lacks| lacks.split(' ').any(|lack| lack == format!("{what:?}")))
}

/// Refuses the name of a new entry if a test says that the file system does not take it.
pub fn refuse_name(path: &Path) -> rustix::io::Result<()> {
    let has_colon = || path.file_name().is_some_and(|name| name.as_encoded_bytes().contains(&b':'));
    if is_said_to_lack(Lack::Colons) && has_colon() { Err(Errno::INVAL) } else { Ok(()) }
}

/// Whether a file in the directory can be this user's alone; a file is made there to find out.
pub fn keeps_modes(directory: &Path) -> io::Result<bool> {
    let file = tempfile::tempfile_in(directory)?;
    // It is made with the mode that the process's mask leaves.
    set_mode(&file, 0o600)?;
    Ok(private_inode(&file)?.is_some())
}

/// Whether a file may have another inode number when it is opened again.
#[cfg(target_os = "linux")]
pub fn has_loose_inodes(file: &File) -> io::Result<bool> {
    /// FUSE, FAT, exFAT, SMB (three kinds), NFS and 9P, after statfs(2) and the kernel's `magic.h`.
    const LOOSE: &[u64] =
        &[0x6573_5546, 0x4d44, 0x2011_bab0, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6969, 0x0102_1997];
    // How wide the number is, and whether it is signed, depends on the machine.
    #[expect(clippy::cast_sign_loss, reason = "it is a pattern of 32 bits")]
    let kind = rustix::fs::fstatfs(file)?.f_type as u64 & 0xffff_ffff;
    Ok(LOOSE.contains(&kind) || is_said_to_lack(Lack::Inodes))
}

/// Whether a file may have another inode number when it is opened again.
#[cfg(not(target_os = "linux"))]
pub fn has_loose_inodes(_: &File) -> io::Result<bool> {
    Ok(false)
}

/// The inode number of a file or directory, if it belongs to this user and nobody else can open it.
pub fn private_inode(file: &File) -> io::Result<Option<u64>> {
    let metadata = file.metadata()?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0;
    Ok((is_ours && !is_said_to_lack(Lack::Modes)).then(|| number(metadata.ino())))
}

/// Holds a file or directory as long as it is open; false if somebody else does. Where the file system has no locks, nobody
/// knows.
pub fn hold(file: &File) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// The inode number of a file.
pub fn inode(file: &File) -> io::Result<u64> {
    Ok(number(file.metadata()?.ino()))
}

/// Sets the mode of a file or directory, where its file system lets its user choose one.
pub fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    if is_said_to_lack(Lack::Modes) {
        return Ok(());
    }
    unless_it_cannot(file.set_permissions(Permissions::from_mode(mode)))
}

/// Sets the permissions of what was opened only to look at it, and is no symlink; what it hands on to what is made in it
/// stays.
pub fn set_mode_unopened(entry: &File, mode: u32) -> io::Result<()> {
    let metadata = entry.metadata()?;
    if metadata.is_symlink() {
        return Err(Errno::LOOP.into());
    }
    let mode = metadata.mode() & 0o7000 | mode;
    if cfg!(not(target_os = "linux")) {
        return set_mode(entry, mode);
    }
    if is_said_to_lack(Lack::Modes) {
        return Ok(());
    }
    // Such a file takes no new mode but by its name, and this one leads to it alone (proc(5)).
    let name = format!("/proc/self/fd/{}", entry.as_raw_fd());
    unless_it_cannot(std::fs::set_permissions(name, Permissions::from_mode(mode)))
}

/// Sets when a file was last changed, where its file system lets its user choose that.
pub fn set_modified(file: &File, moment: SystemTime) -> io::Result<()> {
    unless_it_cannot(file.set_modified(moment))
}

/// Gives a file its length, and reserves the space of its data where the file system can: not on a RAM disk, which would
/// fill it with zeros first.
pub fn allocate(file: &File, size: u64, holes: &Holes) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    let is_ram = rustix::fs::fstatfs(file)?.f_type == RAM_DISK;
    if is_ram || !holes.is_empty() {
        file.set_len(size)?;
    }
    if is_ram {
        return Ok(());
    }
    for run in holes.runs(0..size.saturating_sub(holes.bytes())) {
        let len = run.data.end - run.data.start;
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), run.position, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return file.set_len(size),
            result => result?,
        }
    }
    Ok(())
}

/// Files are this process's own: who may not change them is told so by the mount.
fn unless_it_cannot(done: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{PermissionDenied, Unsupported};
    done.or_else(
        |error| if matches!(error.kind(), PermissionDenied | Unsupported) { Ok(()) } else { Err(error) },
    )
}

/// An inode number as this process sees it.
pub fn number(inode: u64) -> u64 {
    if is_said_to_lack(Lack::Inodes) { inode ^ (u64::from(std::process::id()) << 32) } else { inode }
}

/// The process's file mode creation mask, which can only be read by setting it or, on Linux, here.
pub fn umask() -> u32 {
    const USUAL: u32 = 0o022;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(USUAL)
}
