//! Keeps what this process knows from other users of the machine: its arguments, which `ps` shows to
//! everybody, and its memory, which a crash would write to a file.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

/// Carries the arguments as they were typed to the process that has them hidden. Only this user can read
/// a process's environment.
const VARIABLE: &str = "SWARMDROP_HIDDEN_ARGUMENTS";
/// Stands between arguments; no shell lets a user type it by accident.
const SEPARATOR: u8 = 0x1f;
/// What others see in the place of a secret.
const HIDDEN: &[u8] = b"hidden";

/// The arguments of the command as they were typed. If one holds a link or an invite, the process starts
/// itself once more, under the same id, with the secret part hidden from the list that others see.
pub fn arguments() -> Vec<OsString> {
    let typed: Vec<OsString> = env::args_os().collect();
    if let Some(passed) = env::var_os(VARIABLE)
        && let Some(arguments) = unpack(&passed, process::id())
    {
        return arguments;
    }
    let shown: Vec<OsString> = typed.iter().map(|argument| without_secret(argument)).collect();
    if shown != typed
        && let Ok(program) = env::current_exe()
        && let Some((name, rest)) = shown.split_first()
    {
        // Returns only if it fails; then the arguments stay as they were typed.
        let _ = Command::new(program).arg0(name).args(rest).env(VARIABLE, pack(&typed, process::id())).exec();
    }
    typed
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
fn pack(arguments: &[OsString], process_id: u32) -> OsString {
    let mut packed = process_id.to_string().into_bytes();
    for argument in arguments {
        packed.push(SEPARATOR);
        packed.extend_from_slice(argument.as_bytes());
    }
    OsString::from_vec(packed)
}

fn unpack(packed: &OsStr, process_id: u32) -> Option<Vec<OsString>> {
    let mut parts = packed.as_bytes().split(|&byte| byte == SEPARATOR);
    if parts.next() != Some(process_id.to_string().as_bytes()) {
        return None;
    }
    Some(parts.map(|part| OsString::from_vec(part.to_owned())).collect())
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
    fn arguments_reach_only_the_process_that_they_were_packed_for() {
        let arguments: Vec<OsString> = ["swarmdrop", "get", "", "a b"].map(OsString::from).to_vec();
        let packed = pack(&arguments, 7);
        assert_eq!(unpack(&packed, 7), Some(arguments));
        assert_eq!(unpack(&packed, 77), None);
        assert_eq!(unpack(OsStr::new(""), 7), None);
    }
}
