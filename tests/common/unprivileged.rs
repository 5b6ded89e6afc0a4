//! Runs commands as somebody for whom modes count, whoever runs the tests.

use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::person::{Person, Ran};

/// A user without privileges.
const SOMEBODY: u32 = 65534;

/// The command, by which all that the person has becomes that user's.
pub fn command(person: &Person, args: &[&str]) -> Command {
    as_somebody(person, person.command(args))
}

/// Runs the command.
pub fn run(person: &Person, args: &[&str]) -> Ran {
    Ran::of(command(person, args).output().unwrap())
}

/// Runs the command with this file mode creation mask.
pub fn run_with_umask(person: &Person, umask: &str, args: &[&str]) -> Ran {
    let typed = person.command(args);
    let mut command = Command::new("sh");
    command.env_clear().current_dir(person.work());
    command.envs(typed.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .args(["-c", "umask \"$0\" && exec \"$@\"", umask])
        .arg(typed.get_program())
        .args(typed.get_args());
    Ran::of(as_somebody(person, command).output().unwrap())
}

fn as_somebody(person: &Person, mut command: Command) -> Command {
    if rustix::process::geteuid().is_root() {
        give_away(person.home.path());
        command.uid(SOMEBODY).gid(SOMEBODY);
    }
    command
}

fn give_away(path: &Path) {
    lchown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}
