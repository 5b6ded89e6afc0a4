//! Which swarm a command speaks to: the one that was named, else of those that were joined and of those that
//! `parcelry up` runs here the one that was chosen last.
//!
//! ```text
//! STATE/swarms/NAME   the invite of a swarm that was joined
//!       swarm         the invite of the one of them that is in use
//!       ups/…         the invites of the swarms that run here; each file is locked for as long as its swarm runs
//! ```

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parcelry_core::link::Invite;

use crate::disk::durable;
use crate::failure::{Failure, Kind};

/// Bytes of the longest name: it is the name of a file.
const NAME_BYTES_MAX: usize = 200;
/// What begins the names of files that are not there yet.
const UNFINISHED: &str = ".tmp-";

/// The swarms that this user knows.
#[derive(Debug)]
pub struct KnownSwarms {
    state: PathBuf,
}

/// A swarm that this user knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSwarm {
    /// What it is called here.
    pub name: String,
    /// What lets this user share through it.
    pub invite: Invite,
    /// Whether `parcelry up` runs it here.
    pub is_up: bool,
    /// Whether commands use it that are told of no other.
    pub is_in_use: bool,
}

/// A swarm that runs here is known for as long as this is there.
#[derive(Debug)]
pub struct UpNote {
    path: PathBuf,
    _lock: File,
}

impl Drop for UpNote {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot note that the swarm has stopped");
        }
    }
}

/// A file that holds an invite.
#[derive(Debug)]
struct Note {
    path: PathBuf,
    invite: Invite,
    /// When it was written, or chosen last.
    chosen: SystemTime,
}

impl KnownSwarms {
    /// Those noted below the state directory.
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// The swarm to speak to: the one with this name here, else the one of this invite, else the one in use.
    pub fn choose(&self, name: Option<&str>, invite: Option<Invite>) -> Result<Invite, Failure> {
        if let Some(name) = name {
            return self.named(name).map(|known| known.invite);
        }
        if let Some(invite) = invite.or_else(|| self.in_use().map(|note| note.invite)) {
            return Ok(invite);
        }
        let names = names(&self.list());
        Err(if names.is_empty() {
            Failure::new(Kind::Usage, "no swarm is known here").next(
                "Join one with `parcelry join INVITE`, or start one on this machine with `parcelry up`.",
            )
        } else {
            Failure::new(Kind::Usage, format!("several swarms are known here, and none is in use: {names}"))
                .next("Choose one with `parcelry swarms use NAME`, or for one command with --swarm NAME.")
        })
    }

    /// All of them, by name, those that run here first. Two of one name are one swarm.
    pub fn list(&self) -> Vec<KnownSwarm> {
        let in_use = self.in_use().map(|note| note.invite);
        let known = |name, invite, is_up| {
            let is_in_use = in_use.as_ref() == Some(&invite);
            KnownSwarm { name, invite, is_up, is_in_use }
        };
        let joined = self.joined();
        let ups = self.ups().into_iter();
        let ups = ups.map(|note| known(name_for_up(&note.invite, &joined), note.invite, true));
        let ups: Vec<_> = ups.collect();
        let joined = joined.into_iter().map(|(name, invite)| known(name, invite, false));
        let mut all: Vec<_> = ups.into_iter().chain(joined).collect();
        all.sort_by(|a, b| (Reverse(a.is_up), &a.name).cmp(&(Reverse(b.is_up), &b.name)));
        all
    }

    /// Remembers a swarm that was joined, under this name or its tracker's, and uses it. Older invites of the same
    /// swarm are replaced, whatever they were called. Returns the name.
    pub fn join(&self, invite: &Invite, name: Option<&str>) -> Result<String, Failure> {
        let joined = self.joined();
        let name = match name {
            Some(name) => name.to_owned(),
            None => name_for(invite, &joined),
        };
        check_name(&name)?;
        if let Some((_, other)) =
            joined.iter().find(|(known, other)| *known == name && !is_same(other, invite))
        {
            let what = format!("a swarm is called {name} here already: that of {}", other.tracker);
            let next = "Give another name with --name, or `parcelry swarms forget` the other one first.";
            return Err(Failure::new(Kind::Exists, what).next(next));
        }
        self.write(&self.directory().join(&name), invite)?;
        self.write(&self.chosen_file(), invite)?;
        // Last, so that a crash leaves the swarm with two names, and never with none.
        for (former, _) in joined.iter().filter(|(known, other)| *known != name && is_same(other, invite)) {
            remove(&self.directory().join(former))?;
        }
        Ok(name)
    }

    /// Another swarm that was joined at the same address: in another network, or before its tracker was set up anew.
    pub fn other_at_address(&self, invite: &Invite) -> Option<String> {
        let joined = self.joined().into_iter();
        let mut others =
            joined.filter(|(_, other)| other.tracker == invite.tracker && !is_same(other, invite));
        others.next().map(|(name, _)| name)
    }

    /// Uses this swarm from now on.
    pub fn choose_for_good(&self, name: &str) -> Result<KnownSwarm, Failure> {
        let known = self.named(name)?;
        if known.is_up {
            let ups = self.ups();
            let note =
                ups.iter().find(|note| note.invite == known.invite).ok_or_else(|| unknown(name, ""))?;
            durable::date_now(&note.path).map_err(|error| Failure::io("write", &note.path, &error))?;
        } else {
            self.write(&self.chosen_file(), &known.invite)?;
        }
        Ok(known)
    }

    /// Forgets a swarm that was joined: the one of this name, else the one in use.
    pub fn forget(&self, name: Option<&str>) -> Result<KnownSwarm, Failure> {
        let mut all = self.list();
        // What runs here cannot be forgotten: a joined one is meant that has the same name or invite.
        all.sort_by_key(|known| known.is_up);
        let found = match name {
            Some(name) => all.iter().find(|known| known.name == name),
            None => {
                let chosen = self.choose(None, None)?;
                all.iter().find(|known| known.invite == chosen)
            }
        };
        let known = found.cloned().ok_or_else(|| unknown(name.unwrap_or_default(), &names(&all)))?;
        if known.is_up {
            let what = format!("the swarm {} was not joined: it runs on this machine", known.name);
            return Err(Failure::new(Kind::Usage, what).next("It is forgotten when its `parcelry up` ends."));
        }
        // Killed while it was joined again, it may be in use with the invite that it had before.
        if read(&self.chosen_file()).is_some_and(|note| is_same(&note.invite, &known.invite)) {
            remove(&self.chosen_file())?;
        }
        remove(&self.directory().join(&known.name))?;
        Ok(known)
    }

    /// Notes that a swarm runs here, until the note is dropped or its process has ended in any way.
    pub fn note_up(&self, invite: &Invite) -> Result<UpNote, Failure> {
        let directory = self.state.join("ups");
        let failed = |error: io::Error| Failure::io("write in", &directory, &error);
        let note = || {
            durable::create_private_directory(&directory)?;
            let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&directory)?;
            // It has its name when it is locked: what is not locked is left over.
            file.as_file().lock()?;
            writeln!(file, "{}", invite.expose_text())?;
            let unfinished = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            let path = directory.join(unfinished.replacen(UNFINISHED, "up-", 1));
            let lock = file.persist_noclobber(&path).map_err(|error| error.error)?;
            Ok(UpNote { path, _lock: lock })
        };
        note().map_err(failed)
    }

    /// What commands use that are told of no swarm: the swarm that was chosen last of those that run here and the one
    /// of the joined that is in use, otherwise the only one that was joined.
    fn in_use(&self) -> Option<Note> {
        let chosen = self.ups().into_iter().chain(read(&self.chosen_file())).max_by_key(|note| note.chosen);
        chosen.or_else(|| {
            let mut joined = notes(&self.directory());
            if joined.len() == 1 { joined.pop() } else { None }
        })
    }

    fn named(&self, name: &str) -> Result<KnownSwarm, Failure> {
        let all = self.list();
        let found = all.iter().find(|known| known.name == name).cloned();
        found.ok_or_else(|| unknown(name, &names(&all)))
    }

    /// Those that were joined, with their names.
    fn joined(&self) -> Vec<(String, Invite)> {
        let name = |note: Note| Some((note.path.file_name()?.to_str()?.to_owned(), note.invite));
        notes(&self.directory()).into_iter().filter_map(name).collect()
    }

    /// Those that run here. What one left behind that was killed goes.
    fn ups(&self) -> Vec<Note> {
        let mut ups = notes(&self.state.join("ups"));
        ups.retain(|note| {
            let Ok(file) = File::open(&note.path) else { return false };
            // Its process holds the lock as long as it runs.
            let is_left_over = file.try_lock_shared().is_ok();
            if is_left_over && let Err(error) = fs::remove_file(&note.path) {
                tracing::debug!(%error, "cannot remove what a swarm left behind");
            }
            !is_left_over
        });
        ups
    }

    fn directory(&self) -> PathBuf {
        self.state.join("swarms")
    }

    fn chosen_file(&self) -> PathBuf {
        self.state.join("swarm")
    }

    fn write(&self, path: &Path, invite: &Invite) -> Result<(), Failure> {
        durable::create_private_directory(&self.directory())
            .and_then(|()| durable::persist(path, format!("{}\n", invite.expose_text()).as_bytes()))
            .map_err(|error| Failure::io("write", path, &error))
    }
}

/// Whether both lead to one swarm: the one whose tracker has this key. In two networks one address is that of two.
fn is_same(one: &Invite, other: &Invite) -> bool {
    one.tracker_id == other.tracker_id
}

/// The name of a swarm that was given none: the one that it has, else its tracker's host, with the port where another
/// has that name, and a number where others have both.
fn name_for(invite: &Invite, joined: &[(String, Invite)]) -> String {
    if let Some((name, _)) = joined.iter().find(|(_, other)| is_same(other, invite)) {
        return name.clone();
    }
    let is_free = |name: &String| joined.iter().all(|(taken, _)| taken != name);
    let authority = invite.tracker.authority();
    let numbered = (2_u64..).map(|number| format!("{authority}-{number}"));
    let mut names = [invite.tracker.host().to_owned(), authority.clone()].into_iter().chain(numbered);
    names.find(is_free).unwrap_or_default()
}

/// The name of a swarm that runs here: its tracker's, unless another swarm was joined under that.
fn name_for_up(invite: &Invite, joined: &[(String, Invite)]) -> String {
    let mut name = invite.tracker.authority();
    while joined.iter().any(|(known, other)| *known == name && !is_same(other, invite)) {
        name.insert_str(0, "up-");
    }
    name
}

fn check_name(name: &str) -> Result<(), Failure> {
    let is_sound = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_sound) {
        return Ok(());
    }
    Err(Failure::new(Kind::Usage, format!("a swarm cannot be called {name:?}"))
        .next("Give a name of letters, digits, dots and dashes with --name."))
}

fn unknown(name: &str, names: &str) -> Failure {
    let known = if names.is_empty() { "None is known.".into() } else { format!("Known are: {names}.") };
    Failure::new(Kind::Usage, format!("no swarm is called {name} here")).next(known)
}

fn names(known: &[KnownSwarm]) -> String {
    known.iter().map(|known| known.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn remove(path: &Path) -> Result<(), Failure> {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed,
    };
    let directory = path.parent().unwrap_or(path);
    removed
        .and_then(|()| durable::sync_directory(directory))
        .map_err(|error| Failure::io("remove", path, &error))
}

fn notes(directory: &Path) -> Vec<Note> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.flatten().filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    paths.filter_map(|entry| read(&entry.path())).collect()
}

fn read(path: &Path) -> Option<Note> {
    let invite = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    let chosen = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    Some(Note { path: path.to_owned(), invite, chosen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcelry_core::id::{Secret, TrackerId};
    use std::os::unix::fs::MetadataExt;

    fn invite(host: &str, id: u8) -> Invite {
        let tracker = format!("https://{host}").parse().unwrap();
        Invite { tracker, tracker_id: TrackerId::from_bytes([id; 32]), token: Secret::from_bytes([2; 32]) }
    }

    fn swarms() -> (tempfile::TempDir, KnownSwarms) {
        let state = tempfile::tempdir().unwrap();
        let swarms = KnownSwarms::new(state.path());
        (state, swarms)
    }

    /// Dates what was noted so far into the past: two moments of a test may be one to a file system.
    fn a_moment_later(state: &tempfile::TempDir) {
        for directory in [state.path().to_owned(), state.path().join("ups")] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let Ok(file) = File::options().append(true).open(entry.path()) else { continue };
                let before = file.metadata().unwrap().modified().unwrap();
                file.set_modified(before - std::time::Duration::from_secs(10)).unwrap();
            }
        }
    }

    fn in_use(swarms: &KnownSwarms) -> Invite {
        swarms.choose(None, None).unwrap()
    }

    #[test]
    fn f31_the_swarm_that_was_chosen_last_is_used_and_one_that_runs_only_while_it_runs() {
        let (state, swarms) = swarms();
        assert!(swarms.choose(None, None).unwrap_err().what.contains("no swarm is known"));
        let (joined, one, two) = (invite("a.example", 1), invite("127.0.0.1:1", 2), invite("127.0.0.1:2", 3));
        swarms.join(&joined, None).unwrap();
        a_moment_later(&state);
        let first = swarms.note_up(&one).unwrap();
        assert_eq!(in_use(&swarms), one, "it comes before an older join");
        a_moment_later(&state);
        let second = swarms.note_up(&two).unwrap();
        assert_eq!(in_use(&swarms), two);
        let names: Vec<_> = swarms.list().into_iter().map(|known| (known.name, known.is_in_use)).collect();
        let expected = [("127.0.0.1:1", false), ("127.0.0.1:2", true), ("a.example", false)];
        assert_eq!(names, expected.map(|(name, in_use)| (name.to_owned(), in_use)));
        a_moment_later(&state);
        swarms.choose_for_good("127.0.0.1:1").unwrap();
        assert_eq!(in_use(&swarms), one);
        assert!(swarms.forget(None).unwrap_err().what.contains("runs on this machine"));
        drop(first);
        assert_eq!(in_use(&swarms), two, "the other one is still there");
        a_moment_later(&state);
        swarms.choose_for_good("a.example").unwrap();
        assert_eq!(in_use(&swarms), joined);
        drop(second);
        assert_eq!(fs::read_dir(state.path().join("ups")).unwrap().count(), 0);
        assert_eq!(swarms.choose(None, Some(two.clone())).unwrap(), two);
        assert_eq!(swarms.choose(Some("a.example"), Some(two)).unwrap(), joined);
    }

    #[test]
    fn f31_what_a_killed_swarm_leaves_behind_is_not_offered_and_goes() {
        let (state, swarms) = swarms();
        let ups = state.path().join("ups");
        fs::create_dir(&ups).unwrap();
        fs::write(ups.join("up-killed"), invite("127.0.0.1:1", 1).expose_text()).unwrap();
        assert!(swarms.choose(None, None).is_err());
        assert_eq!(fs::read_dir(&ups).unwrap().count(), 0);
    }

    #[test]
    fn f31_several_swarms_are_kept_by_name_and_none_is_guessed_among_them() {
        let (state, swarms) = swarms();
        let (a, b) = (invite("drop.example", 1), invite("drop.example:9090", 2));
        assert_eq!(swarms.join(&a, None).unwrap(), "drop.example");
        assert_eq!(swarms.join(&b, None).unwrap(), "drop.example:9090");
        assert_eq!(swarms.join(&invite("work.example", 3), Some("work")).unwrap(), "work");
        let renewed = Invite { token: Secret::from_bytes([9; 32]), ..a.clone() };
        assert_eq!(swarms.join(&renewed, None).unwrap(), "drop.example");
        assert_eq!(swarms.choose(Some("drop.example"), None).unwrap(), renewed);
        assert_eq!(swarms.join(&b, Some("work")).unwrap_err().kind, Kind::Exists);
        for name in ["", ".hidden", "a/b", "..", "a b", &"x".repeat(300)] {
            assert_eq!(swarms.join(&b, Some(name)).unwrap_err().kind, Kind::Usage, "{name}");
        }
        for entry in fs::read_dir(state.path().join("swarms")).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(swarms.forget(None).unwrap().name, "drop.example");
        let failure = swarms.choose(None, None).unwrap_err();
        assert!(failure.what.ends_with("drop.example:9090, work"), "{failure}");
        swarms.choose_for_good("work").unwrap();
        assert!(swarms.named("nowhere").unwrap_err().next.unwrap().contains("drop.example:9090, work"));
        swarms.forget(Some("work")).unwrap();
        assert_eq!(in_use(&swarms), b, "it is the only one");
        swarms.forget(None).unwrap();
        assert!(swarms.forget(None).is_err());
    }

    #[test]
    fn f31_a_joined_swarm_and_one_that_runs_here_are_both_to_be_had_whatever_they_are_called() {
        let (state, swarms) = swarms();
        let (up, other) = (invite("127.0.0.1:1", 1), invite("other.example", 2));
        let _note = swarms.note_up(&up).unwrap();
        swarms.join(&other, Some("127.0.0.1:1")).unwrap();
        assert_eq!(swarms.choose(Some("127.0.0.1:1"), None).unwrap(), other);
        assert_eq!(swarms.choose(Some("up-127.0.0.1:1"), None).unwrap(), up);
        a_moment_later(&state);
        swarms.choose_for_good("up-127.0.0.1:1").unwrap();
        assert_eq!(in_use(&swarms), up);
        a_moment_later(&state);
        swarms.choose_for_good("127.0.0.1:1").unwrap();
        assert_eq!(in_use(&swarms), other);
        assert_eq!(swarms.forget(Some("127.0.0.1:1")).unwrap().invite, other);
        assert_eq!(swarms.list().into_iter().map(|known| known.name).collect::<Vec<_>>(), ["127.0.0.1:1"]);
        // One swarm, which runs here and was joined as well.
        swarms.join(&up, Some("127.0.0.1:1")).unwrap();
        assert_eq!(swarms.list().len(), 2);
        assert!(!swarms.forget(None).unwrap().is_up);
        swarms.join(&up, Some("127.0.0.1:1")).unwrap();
        assert!(!swarms.forget(Some("127.0.0.1:1")).unwrap().is_up);
        assert!(swarms.forget(Some("127.0.0.1:1")).unwrap_err().what.contains("runs on this machine"));
    }

    #[test]
    fn f31_a_swarm_that_is_joined_again_under_another_name_has_only_that() {
        let (_state, swarms) = swarms();
        let (a, other) = (invite("a.example", 1), invite("other.example", 2));
        swarms.join(&other, None).unwrap();
        swarms.join(&a, Some("one")).unwrap();
        let renewed = Invite { token: Secret::from_bytes([9; 32]), ..a };
        assert_eq!(swarms.join(&renewed, Some("two")).unwrap(), "two");
        let known: Vec<_> = swarms.list().into_iter().map(|known| (known.name, known.invite)).collect();
        assert_eq!(known, [("other.example".to_owned(), other.clone()), ("two".to_owned(), renewed.clone())]);
        assert_eq!(in_use(&swarms), renewed);
        swarms.forget(None).unwrap();
        assert_eq!(in_use(&swarms), other);
    }

    /// A private address is in every network, and a tracker that was set up anew has another key.
    #[test]
    fn f31_two_swarms_at_one_address_are_two_and_neither_is_lost() {
        let (_state, swarms) = swarms();
        let [home, office, third] = [1, 2, 3].map(|id| invite("192.168.1.10:9080", id));
        assert_eq!(swarms.join(&home, None).unwrap(), "192.168.1.10");
        assert_eq!(swarms.other_at_address(&home), None);
        assert_eq!(swarms.join(&office, None).unwrap(), "192.168.1.10:9080");
        assert_eq!(swarms.other_at_address(&office), Some("192.168.1.10".to_owned()));
        assert_eq!(swarms.join(&third, None).unwrap(), "192.168.1.10:9080-2");
        assert_eq!(in_use(&swarms), third);
        assert_eq!(swarms.choose(Some("192.168.1.10"), None).unwrap(), home);
        let renewed = Invite { token: Secret::from_bytes([9; 32]), ..office };
        assert_eq!(swarms.join(&renewed, None).unwrap(), "192.168.1.10:9080");
        assert_eq!(swarms.join(&third, Some("192.168.1.10")).unwrap_err().kind, Kind::Exists);
        // One that has moved is the same one still.
        let moved = Invite { tracker: "https://tracker.example".parse().unwrap(), ..home };
        assert_eq!(swarms.join(&moved, None).unwrap(), "192.168.1.10");
        assert_eq!(swarms.list().len(), 3);
    }
}
