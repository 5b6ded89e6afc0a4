//! Links and invites as they are given to a command: as an argument, in a file, on standard input, at a prompt.

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::str::FromStr;

use parcelry_core::limits::PASTED_BYTES_MAX;
use parcelry_core::link::{Invite, LinkError, ShareLink};
use parcelry_core::pasted;

use crate::failure::{Failure, Kind};
use crate::task::blocking;

/// The link that was given: an argument, or a file that is named or `-` for standard input, else what is pasted at a
/// prompt.
pub(super) async fn link(argument: Option<String>) -> Result<ShareLink, Failure> {
    let what = "this is an invite, which lets its bearer join a swarm, and no link to a share";
    let next = "Who was invited to share runs `parcelry join`; who was invited to add a peer, `parcelry peer --invite`.";
    read::<_, Invite>(argument, "link", Failure::new(Kind::Usage, what).next(next)).await
}

/// The invite that was given, in the same ways.
pub(super) async fn invite(argument: Option<String>) -> Result<Invite, Failure> {
    let what = "this is a link to a share, and no invite to a swarm";
    let other = Failure::new(Kind::Usage, what).next("Get what it leads to with `parcelry get`.");
    read::<_, ShareLink>(argument, "invite", other).await
}

/// What was given; fails with `other` if it is one of the other kind.
async fn read<T, Other>(argument: Option<String>, what: &'static str, other: Failure) -> Result<T, Failure>
where
    T: FromStr<Err = LinkError> + PartialEq + Send + 'static,
    Other: FromStr<Err = LinkError> + PartialEq,
{
    blocking(move || {
        let text = given(argument, what, |text| pasted::read::<T>(text).is_ok())?;
        understand(&text).map_err(|error| if pasted::read::<Other>(&text).is_ok() { other } else { error })
    })
    .await
}

fn understand<T: FromStr<Err = LinkError> + PartialEq>(text: &str) -> Result<T, Failure> {
    pasted::read(text).map_err(|error| {
        let next = match error {
            LinkError::Several => "Give the one that is meant.",
            _ => "Copy all of it, from https:// to the end.",
        };
        Failure::new(Kind::Usage, error.to_string()).next(next)
    })
}

/// The text that was given, which holds something.
fn given(argument: Option<String>, what: &str, is_whole: impl Fn(&str) -> bool) -> Result<String, Failure> {
    let text = match argument.filter(|text| text != "-") {
        Some(text) if text.contains("://") || may_be_pasted(&text) => text,
        Some(path) => in_file(Path::new(&path), what)?,
        None => on_stdin(what, is_whole)?,
    };
    if text.trim().is_empty() {
        let what = format!("there is no {what}: what was to be read is empty");
        return Err(Failure::new(Kind::Usage, what).next("Give it as an argument, or on standard input."));
    }
    Ok(text)
}

/// Whether it may be something that was pasted rather than the name of a file: percent-encoded, say.
fn may_be_pasted(text: &str) -> bool {
    !Path::new(text).exists() && (text.contains("%3A") || text.contains("%3a") || text.contains('#'))
}

fn in_file(path: &Path, what: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            let article = if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
            let text = format!("{} is neither {article} {what} nor a file that holds one", path.display());
            Failure::new(Kind::Usage, text).next("Copy all of it, from https:// to the end.")
        }
        _ => Failure::io("read", path, &error),
    };
    read_all(fs::File::open(path).map_err(failed)?).map_err(failed)
}

fn on_stdin(what: &str, is_whole: impl Fn(&str) -> bool) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::new(Kind::Other, format!("cannot read the {what}: {error}"));
    if !io::stdin().is_terminal() {
        return read_all(io::stdin()).map_err(failed);
    }
    let mut stderr = io::stderr();
    write!(stderr, "Paste the {what}: ").and_then(|()| stderr.flush()).map_err(failed)?;
    let mut text = String::new();
    // Where it was pasted from, it may have been broken into lines.
    while text.len() < PASTED_BYTES_MAX {
        let before = text.len();
        io::stdin().read_line(&mut text).map_err(failed)?;
        let is_empty = text[before..].trim().is_empty();
        if is_empty || (is_whole(&text) && !more_is_typed()) {
            break;
        }
        if before == 0 && !more_is_typed() {
            write!(stderr, "The {what} is not whole. Paste the rest, or press Enter: ").map_err(failed)?;
            stderr.flush().map_err(failed)?;
        }
    }
    // What else was pasted is not for the shell to execute.
    let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
    Ok(text)
}

/// Whether another line is there already.
fn more_is_typed() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdin = io::stdin();
    let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&wait)).is_ok_and(|ready| ready > 0)
}

/// All of it, within what a mail may have. Who saved it may have used another encoding than ours; links are ASCII.
fn read_all(input: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    input.take(PASTED_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
