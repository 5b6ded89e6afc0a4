//! Somebody who uses the command: with a home, a working directory, and nothing of this machine's own settings.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use parcelry::journal::OwnedShares;
use parcelry_core::id::ShareId;
use parcelry_core::manifest::ShareKey;
use serde_json::Value;

pub struct Person {
    pub home: tempfile::TempDir,
    invite: String,
}

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Person {
    pub fn new(invite: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("work")).unwrap();
        Self { home, invite: invite.to_owned() }
    }

    /// Has the journal of the one get that was begun say that its directory was on another disk than the one that is there
    /// now, and than the directory above it.
    pub fn note_another_disk(&self) {
        let downloads = self.home.path().join(".local/state/parcelry/downloads");
        let journal = std::fs::read_dir(downloads).unwrap().next().unwrap().unwrap().path();
        let header = journal.join("download.json");
        let mut json: Value = serde_json::from_slice(&std::fs::read(&header).unwrap()).unwrap();
        for number in ["device", "inode"] {
            let number = &mut json["folders"][0][number];
            // Far from any number that a directory here has or gets.
            *number = (number.as_u64().unwrap() + (1 << 40)).into();
        }
        std::fs::write(&header, serde_json::to_vec(&json).unwrap()).unwrap();
    }

    /// The key that owns a share made by this person.
    pub fn owner_key(&self, share: ShareId) -> ShareKey {
        let state = self.home.path().join(".local/state/parcelry");
        OwnedShares::new(&state).get(share).unwrap().unwrap().key()
    }

    /// The directory in which the commands run.
    pub fn work(&self) -> PathBuf {
        self.home.path().join("work")
    }

    /// A file in the working directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.work().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The names in the working directory, hidden ones too.
    pub fn names(&self) -> Vec<String> {
        names_in(&self.work())
    }

    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = bare_command(self.home.path());
        command.args(args).current_dir(self.work());
        if !self.invite.is_empty() {
            command.env("PARCELRY_INVITE", &self.invite);
        }
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        Ran::of(self.command(args).stdin(Stdio::null()).output().unwrap())
    }

    pub fn run_with_input<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Ran {
        use std::io::Write;
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        Ran::of(output)
    }

    /// Starts a command and goes on.
    pub fn start<S: AsRef<OsStr>>(&self, args: &[S]) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Shares the paths and returns the link.
    #[track_caller]
    pub fn share(&self, args: &[&str]) -> String {
        let ran = self.run(&[&["share"], args].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.link()
    }

    /// The fewest replicas of any chunk, as the peers themselves tell; 0 if the share is not known.
    pub fn fewest_replicas(&self, link: &str) -> u64 {
        let ran = self.run(&["inspect", link, "--json"]);
        if ran.code == 0 { ran.document()["replicas_least"].as_u64().unwrap() } else { 0 }
    }

    /// Gets the link and returns what was said.
    #[track_caller]
    pub fn get(&self, link: &str) -> String {
        let ran = self.run(&["get", link]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stderr
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        // A process that was killed has no code; no test takes that for a success.
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// The link, which is the only thing on stdout.
    #[track_caller]
    pub fn link(&self) -> String {
        let lines: Vec<&str> = self.stdout.lines().collect();
        assert!(
            matches!(&lines[..], [link] if link.starts_with("http")),
            "{:?} {}",
            self.stdout,
            self.stderr
        );
        lines[0].to_owned()
    }

    /// The JSON document on stdout.
    #[track_caller]
    pub fn document(&self) -> Value {
        let text = &self.stdout;
        serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text:?} {}", self.stderr))
    }

    /// The JSON events on stdout.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// The command with an empty environment but for a home.
pub fn bare_command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parcelry"));
    command.env_clear().env("HOME", home).env("NO_COLOR", "1").env("RUST_BACKTRACE", "1");
    command
}

pub fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
