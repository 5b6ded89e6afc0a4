//! A tracker and peers as real processes on loopback. They end with the value that owns them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::person::{Person, bare_command};
use super::{http, wait_for};

/// A server process; killed when dropped.
pub struct Server {
    child: Child,
    /// The line that it printed when it was ready.
    pub ready: Value,
}

impl Server {
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let log = tempfile::tempfile().unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line:?}"));
        Self { child, ready }
    }

    pub fn address(&self) -> String {
        self.ready["address"].as_str().unwrap().to_owned()
    }

    /// Kill -9: no farewell, no clean-up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, as an operator stops it; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Swarm {
    pub folder: tempfile::TempDir,
    pub tracker: Server,
    pub peers: Vec<Server>,
}

impl Swarm {
    /// A tracker and this many peers, named p0, p1, …
    #[track_caller]
    pub fn start(peers: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tracker = start_tracker(folder.path(), "127.0.0.1:0");
        let mut swarm = Self { folder, tracker, peers: Vec::new() };
        for number in 0..peers {
            swarm.add_peer(number, &[]);
        }
        swarm
    }

    pub fn invite(&self) -> String {
        self.tracker.ready["invite"].as_str().unwrap().to_owned()
    }

    pub fn person(&self) -> Person {
        Person::new(&self.invite())
    }

    /// Starts peer number `number`, with more flags.
    #[track_caller]
    pub fn add_peer(&mut self, number: usize, flags: &[&str]) {
        let mut command = bare_command(self.folder.path());
        command.args(["peer", "--json", "--listen", "127.0.0.1:0", "--keep-free", "0B"]);
        command.args(["--name", &format!("p{number}"), "--invite", &self.invite()]);
        command.arg("--data").arg(self.peer_data(number)).args(flags);
        let server = Server::start(command);
        if number < self.peers.len() {
            self.peers[number] = server;
        } else {
            self.peers.push(server);
        }
    }

    /// Kills the tracker and starts it again at the same address.
    #[track_caller]
    pub fn restart_tracker(&mut self) {
        self.restart_tracker_after(|_| {});
    }

    /// The same, with something done to its data folder in between.
    #[track_caller]
    pub fn restart_tracker_after(&mut self, act: impl FnOnce(&Path)) {
        let address = self.tracker.address();
        self.tracker.kill();
        act(&self.folder.path().join("tracker"));
        self.tracker = start_tracker(self.folder.path(), &address);
    }

    pub fn peer_data(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("p{number}"))
    }

    /// The chunk files of a peer.
    pub fn chunk_files(&self, number: usize) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for folder in fs::read_dir(self.peer_data(number).join("store/chunks")).unwrap() {
            files.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
        }
        files.sort();
        files
    }

    /// The numbers of the peers that hold chunks.
    pub fn holders(&self) -> Vec<usize> {
        (0..self.peers.len()).filter(|&number| !self.chunk_files(number).is_empty()).collect()
    }

    /// Waits until the tracker sees this many peers in this state.
    #[track_caller]
    pub fn wait_for_peers(&self, count: usize, state: &str) {
        let address = self.tracker.address();
        wait_for(&format!("{count} peers {state}"), || {
            let list = http::get(&address, "/v1/peers").json();
            list["peers"].as_array().unwrap().iter().filter(|peer| peer["state"] == state).count() == count
        });
    }

    /// The sum of a counter over all peers that run.
    pub fn total(&self, metric: &str) -> u64 {
        self.peers.iter().map(|peer| http::metric(&peer.address(), metric)).sum()
    }
}

#[track_caller]
fn start_tracker(folder: &Path, listen: &str) -> Server {
    let mut command = bare_command(folder);
    command.args(["tracker", "--json", "--listen", listen, "--heartbeat", "200ms", "--dead-after", "3s"]);
    command.arg("--data").arg(folder.join("tracker"));
    Server::start(command)
}
