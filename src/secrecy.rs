//! Keeps what this process knows from other users of the machine: its arguments, which `ps` shows to
//! everybody, and its memory, which a crash would write to a file.

use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use crate::failure::{Failure, Kind};

/// Tells the process that has its arguments hidden in which open file they are, as they were typed. A single
/// variable or argument could not hold them: Linux takes 128 KiB for one.
const VARIABLE: &str = "PARCELRY_HIDDEN_ARGUMENTS";
/// Ends an argument; none can contain it.
const END: u8 = 0;
/// What others see in the place of a secret.
const HIDDEN: &[u8] = b"hidden";

/// The arguments of the command as they were typed. If one holds a link or an invite, the process starts
/// itself once more, under the same id, with the secret part hidden from the list that others see; it does
/// not go on if that fails.
pub fn arguments() -> Result<Vec<OsString>, Failure> {
    let passed = env::var_os(VARIABLE).and_then(|passed| passed_file(&passed, process::id()));
    if let Some(file) = passed {
        return take(&file).map_err(|error| cannot_hide(&error));
    }
    let typed: Vec<OsString> = env::args_os().collect();
    let shown: Vec<OsString> = typed.iter().map(|argument| without_secret(argument)).collect();
    if shown != typed {
        match start_again(&typed, &shown) {
            Err(error) => return Err(cannot_hide(&error)),
            Ok(never) => match never {},
        }
    }
    Ok(typed)
}

fn cannot_hide(error: &io::Error) -> Failure {
    let what = format!("cannot hide the link or invite from other users of this machine: {error}");
    Failure::new(Kind::Usage, what)
        .next("Give it on standard input (-), in a file, or an invite in PARCELRY_INVITE (a peer's in PARCELRY_PEER_INVITE).")
}

/// Has this process begin anew, with what is shown as its arguments and what was typed in a file that only it
/// can open. Returns only if that fails.
fn start_again(typed: &[OsString], shown: &[OsString]) -> io::Result<Infallible> {
    let (name, rest) = shown.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = inherited_file()?;
    file.write_all(&pack(typed))?;
    let descriptor = file.as_raw_fd();
    // Where it cannot be opened, without /proc say, the process would lack its arguments when it is too late.
    File::open(path_of(descriptor))?;
    let passed = format!("{}:{descriptor}", process::id());
    Err(Command::new(env::current_exe()?).arg0(name).args(rest).env(VARIABLE, passed).exec())
}

/// A file without a name, which this process still has open when it begins anew.
#[cfg(target_os = "linux")]
fn inherited_file() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    // Kernels before 6.3 do not know the flag; later ones may insist on it.
    let file = memfd_create("arguments", MemfdFlags::NOEXEC_SEAL);
    Ok(file.or_else(|_| memfd_create("arguments", MemfdFlags::empty()))?.into())
}

#[cfg(not(target_os = "linux"))]
fn inherited_file() -> io::Result<File> {
    let file = tempfile::tempfile()?;
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
    Ok(file)
}

/// Where a process finds a file that it has open.
fn path_of(descriptor: i32) -> PathBuf {
    Path::new("/dev/fd").join(descriptor.to_string())
}

/// Reads the arguments, and empties the file: it stays open as long as the process is there.
fn take(path: &Path) -> io::Result<Vec<OsString>> {
    let mut file = File::options().read(true).write(true).open(path)?;
    file.rewind()?;
    let mut packed = Vec::new();
    file.read_to_end(&mut packed)?;
    file.set_len(0)?;
    Ok(unpack(&packed))
}

/// Sees to it that a crash leaves no copy of the memory, and that no other process of this user can look in.
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// A link or invite keeps its address and loses what follows `#`.
fn without_secret(argument: &OsStr) -> OsString {
    let bytes = argument.as_bytes();
    let hash = bytes.iter().position(|&byte| byte == b'#');
    match hash.filter(|&at| bytes[..at].windows(3).any(|window| window == b"://")) {
        Some(at) if &bytes[at + 1..] != HIDDEN => OsString::from_vec([&bytes[..=at], HIDDEN].concat()),
        _ => argument.to_owned(),
    }
}

/// The process id tells that the variable was set for this very process, and not left by another.
fn passed_file(passed: &OsStr, process_id: u32) -> Option<PathBuf> {
    let (owner, descriptor) = passed.to_str()?.split_once(':')?;
    let descriptor = descriptor.parse().ok()?;
    (owner == process_id.to_string()).then(|| path_of(descriptor))
}

fn pack(arguments: &[OsString]) -> Vec<u8> {
    let mut packed = Vec::new();
    for argument in arguments {
        packed.extend_from_slice(argument.as_bytes());
        packed.push(END);
    }
    packed
}

fn unpack(packed: &[u8]) -> Vec<OsString> {
    let ended = packed.split_inclusive(|&byte| byte == END);
    ended.map(|argument| OsString::from_vec(argument[..argument.len() - 1].to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l2_only_the_part_that_is_secret_is_hidden() {
        let hide = |text: &str| without_secret(OsStr::new(text)).into_string().unwrap();
        assert_eq!(hide("https://x.example/s/ID#1.SECRET"), "https://x.example/s/ID#hidden");
        assert_eq!(
            hide("--invite=https://x.example/join#1.ID.TOKEN"),
            "--invite=https://x.example/join#hidden"
        );
        for plain in ["share", "file#1.txt", "https://x.example/s/ID", "-o"] {
            assert_eq!(hide(plain), plain);
        }
    }

    #[test]
    fn the_file_is_taken_only_by_the_process_that_it_was_meant_for() {
        assert_eq!(passed_file(OsStr::new("7:3"), 7), Some(PathBuf::from("/dev/fd/3")));
        for passed in ["7:3", "", "7", ":", "77", "77:", "77:x", "77:../../etc/passwd"] {
            assert_eq!(passed_file(OsStr::new(passed), 77), None, "{passed}");
        }
    }

    #[test]
    fn s14_arguments_come_back_as_they_were_whatever_is_in_them() {
        let odd = ["parcelry", "get", "", "a b", "a\u{1f}b\nc", "--\u{1b}", ""].map(OsString::from);
        for arguments in [&odd[..], &[][..], &[OsString::from_vec(vec![0xff, 1])]] {
            let mut file = inherited_file().unwrap();
            file.write_all(&pack(arguments)).unwrap();
            assert_eq!(take(&path_of(file.as_raw_fd())).unwrap(), arguments);
            assert_eq!(file.metadata().unwrap().len(), 0, "it is emptied");
        }
    }
}
