//! Which swarm a command speaks to: the one that was named, else the one that was joined, else the
//! one that `swarmdrop up` runs here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use swarmdrop_core::link::Invite;

use crate::durable;
use crate::failure::{Failure, Kind};

/// The swarms that this user knows.
#[derive(Debug)]
pub struct KnownSwarms {
    state: PathBuf,
}

impl KnownSwarms {
    /// Those noted below the state folder.
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// The swarm to speak to.
    pub fn choose(&self, named: Option<Invite>) -> Result<Invite, Failure> {
        let known = named.or_else(|| self.read("swarm")).or_else(|| self.read("up"));
        known.ok_or_else(|| {
            Failure::new(Kind::Usage, "no swarm is known here").next(
                "Join one with `swarmdrop join INVITE`, or start one on this machine with `swarmdrop up`.",
            )
        })
    }

    /// Remembers a swarm that was joined.
    pub fn join(&self, invite: &Invite) -> Result<(), Failure> {
        self.write("swarm", invite)
    }

    /// Notes that a swarm runs here.
    pub fn note_up(&self, invite: &Invite) -> Result<(), Failure> {
        self.write("up", invite)
    }

    /// Notes that it runs no longer.
    pub fn note_down(&self) {
        match fs::remove_file(self.state.join("up")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "cannot note that the swarm has stopped");
            }
            _ => {}
        }
    }

    fn read(&self, file: &str) -> Option<Invite> {
        fs::read_to_string(self.state.join(file)).ok()?.trim().parse().ok()
    }

    fn write(&self, file: &str, invite: &Invite) -> Result<(), Failure> {
        let path = self.state.join(file);
        durable::create_private_folder(&self.state)
            .and_then(|()| durable::persist(&path, format!("{}\n", invite.expose_text()).as_bytes()))
            .map_err(|error| Failure::io("write", &path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarmdrop_core::id::{Secret, TrackerId};

    fn invite(port: u16) -> Invite {
        let tracker = format!("https://127.0.0.1:{port}").parse().unwrap();
        Invite { tracker, tracker_id: TrackerId::from_bytes([1; 32]), token: Secret::from_bytes([2; 32]) }
    }

    #[test]
    fn the_named_swarm_comes_before_the_joined_and_that_before_the_one_here() {
        let state = tempfile::tempdir().unwrap();
        let swarms = KnownSwarms::new(state.path());
        assert_eq!(swarms.choose(None).unwrap_err().kind, Kind::Usage);
        swarms.note_up(&invite(1)).unwrap();
        assert_eq!(swarms.choose(None).unwrap(), invite(1));
        swarms.join(&invite(2)).unwrap();
        assert_eq!(swarms.choose(None).unwrap(), invite(2));
        assert_eq!(swarms.choose(Some(invite(3))).unwrap(), invite(3));
        swarms.note_down();
        swarms.note_down();
    }
}
