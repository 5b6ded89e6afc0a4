//! A tracker and peers as real processes on loopback. They end with the value that owns them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use parcelry::crash::{self, Point};
use parcelry::identity::Identity;
use parcelry_core::grant::{Grant, Operation};
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::link::Invite;
use parcelry_core::manifest::ShareKey;
use parcelry_core::owner::Act;
use serde_json::{Value, json};

use super::person::{Person, Ran, bare_command};
use super::{http, wait_for};

/// A server process; killed when dropped.
pub struct Server {
    child: Child,
    /// The line that it printed when it was ready.
    pub ready: Value,
    log: fs::File,
}

impl Server {
    #[track_caller]
    pub fn start(command: Command) -> Self {
        let mut server = Self::spawn(command);
        let mut line = String::new();
        BufReader::new(server.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        server.ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line:?}"));
        server
    }

    /// Starts it without waiting until it is ready.
    pub fn spawn(mut command: Command) -> Self {
        let log = tempfile::tempfile().unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone().unwrap());
        Self { child: command.spawn().unwrap(), ready: Value::Null, log }
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        let mut bytes = vec![0; usize::try_from(self.log.metadata().unwrap().len()).unwrap()];
        self.log.read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> String {
        self.ready["address"].as_str().unwrap().to_owned()
    }

    /// Kill -9: no farewell, no clean-up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has come to its end by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Stops it for so long, as a machine that hangs.
    pub fn freeze(&self, time: std::time::Duration) {
        self.freeze_while(|| std::thread::sleep(time));
    }

    /// Stops it while something is done.
    pub fn freeze_while<T>(&self, act: impl FnOnce() -> T) -> T {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let done = act();
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        done
    }

    /// SIGTERM, as an operator stops it; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    #[expect(clippy::print_stdout, reason = "it is shown with a test that failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let start = log.len().saturating_sub(4000);
            println!("== {}\n{}", self.ready, log.get(start..).unwrap_or(&log));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Swarm {
    pub directory: tempfile::TempDir,
    pub tracker: Server,
    pub peers: Vec<Server>,
    peer_invite: String,
    sender_invite: String,
    flags: Vec<String>,
}

impl Swarm {
    /// A tracker and this many peers, named p0, p1, …
    #[track_caller]
    pub fn start(peers: usize) -> Self {
        Self::start_with(peers, &["--heartbeat", "200ms", "--dead-after", "3s"])
    }

    /// A swarm like [`Swarm::start`], with these flags of the tracker.
    #[track_caller]
    pub fn start_with(peers: usize, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let tracker = start_tracker(directory.path(), "127.0.0.1:0", &flags);
        let invite = |name: &str| tracker.ready[name].as_str().unwrap().to_owned();
        let (peer_invite, sender_invite) = (invite("peer_invite"), invite("sender_invite"));
        let mut swarm = Self { directory, tracker, peers: Vec::new(), peer_invite, sender_invite, flags };
        for number in 0..peers {
            swarm.add_peer(number, &[]);
        }
        swarm
    }

    /// A swarm with times by which a replica that was proven once is asked again in half an hour at the earliest: what a test
    /// spoils is found by nobody but the test. See [`Swarm::wait_for_proofs`].
    #[track_caller]
    pub fn start_seldom_audited(peers: usize) -> Self {
        Self::start_with(peers, &["--heartbeat", "200ms", "--dead-after", "1h"])
    }

    /// Waits until the tracker has had every replica proven.
    #[track_caller]
    pub fn wait_for_proofs(&self) {
        wait_for("every replica to be proven", || {
            let list =
                http::send(&self.tracker.address(), "GET", "/v1/peers", &self.bearer("sender"), b"").json();
            let health = &list["health"];
            let audits = http::metric(&self.tracker.address(), "parcelry_tracker_audits_total");
            health["complete"] == true && health["unproven"] == 0 && audits >= self.holders().len() as u64
        });
    }

    /// The fingerprint of the tracker's key.
    pub fn tracker_pin(&self) -> [u8; 32] {
        *self.invite().parse::<Invite>().unwrap().tracker_id.as_bytes()
    }

    /// The fingerprint of a peer's key.
    pub fn peer_pin(&self, number: usize) -> [u8; 32] {
        let identity = Identity::read(&self.peer_data(number)).unwrap().unwrap();
        *identity.peer_id().as_bytes()
    }

    /// The invite of those who share.
    pub fn invite(&self) -> String {
        self.sender_invite.clone()
    }

    /// The invite of peers.
    pub fn peer_invite(&self) -> String {
        self.peer_invite.clone()
    }

    /// The header line with the token of a sender, of peers, or of the admin.
    pub fn bearer(&self, role: &str) -> String {
        http::bearer(&self.token(role))
    }

    /// The token of a sender, of peers, or of the admin.
    pub fn token(&self, role: &str) -> String {
        let invite = |text: &str| text.parse::<Invite>().unwrap().token.expose_text();
        let token = match role {
            "sender" => invite(&self.sender_invite),
            "peer" => invite(&self.peer_invite),
            "admin" => fs::read_to_string(self.directory.path().join("tracker/admin.token")).unwrap(),
            other => panic!("no role {other}"),
        };
        token.trim().to_owned()
    }

    /// Runs a command of the operator beside the tracker.
    pub fn operator(&self, args: &[&str]) -> Ran {
        let mut command = bare_command(self.directory.path());
        command.args(args).arg("--data").arg(self.directory.path().join("tracker"));
        Ran::of(command.output().unwrap())
    }

    /// What the tracker tells about its peers.
    pub fn peer_list(&self) -> Vec<Value> {
        let list = http::send(&self.tracker.address(), "GET", "/v1/peers", &self.bearer("sender"), b"");
        list.json()["peers"].as_array().unwrap().clone()
    }

    /// A grant to push the share with this key, of this many bytes in chunks of 64 KiB, as the tracker gives it.
    pub fn grant(&self, key: &ShareKey, total_bytes: u64) -> String {
        let share = key.share_id();
        let size = json!({ "total_bytes": total_bytes, "chunk_bytes": 65536 });
        let body = json!({ "share": share, "size": size, "replicas": 1, "preferred": [] });
        let headers = http::owned(key, Act::Open, self.tracker_pin(), &self.bearer("sender"));
        let answer = http::json(&self.tracker.address(), "POST", "/v1/shares", &headers, &body);
        http::bearer(answer.json()["grant"].as_str().unwrap_or_else(|| panic!("{}", answer.text())))
    }

    /// A grant to push some bytes of a share to the first peer, for the test to sign.
    pub fn sound_grant(&self, share: ShareId) -> Grant {
        Grant {
            share,
            operation: Operation::Push,
            peers: vec![PeerId::from_bytes(self.peer_pin(0))],
            bearer: None,
            token: None,
            budget_bytes: 1000,
            quota_bytes: None,
            issued_ms: parcelry::clock::now_ms(),
            expires_ms: parcelry::clock::now_ms() + 600_000,
        }
    }

    pub fn person(&self) -> Person {
        Person::new(&self.invite())
    }

    /// Starts peer number `number`, with more flags.
    #[track_caller]
    pub fn add_peer(&mut self, number: usize, flags: &[&str]) {
        let server = Server::start(self.peer_command(number, flags));
        self.put_peer(number, server);
    }

    /// Starts a peer that dies at the point.
    #[track_caller]
    pub fn add_doomed_peer(&mut self, number: usize, point: Point) {
        self.add_doomed_peer_with(number, point, &[]);
    }

    /// Starts a peer that dies at the point, with more flags.
    #[track_caller]
    pub fn add_doomed_peer_with(&mut self, number: usize, point: Point, flags: &[&str]) {
        let mut command = self.peer_command(number, flags);
        command.env(crash::VARIABLE, format!("{point:?}"));
        let server = Server::start(command);
        self.put_peer(number, server);
    }

    /// Starts a peer with something in its environment.
    #[track_caller]
    pub fn add_peer_with(&mut self, number: usize, variable: &str, value: &str) {
        let mut command = self.peer_command(number, &[]);
        command.env(variable, value);
        let server = Server::start(command);
        self.put_peer(number, server);
    }

    /// Starts a peer with something in its environment, and more flags.
    #[track_caller]
    pub fn add_peer_with_flags(&mut self, number: usize, flags: &[&str], variable: &str, value: &str) {
        let mut command = self.peer_command(number, flags);
        command.env(variable, value);
        let server = Server::start(command);
        self.put_peer(number, server);
    }

    /// Starts a peer without waiting until it has joined.
    pub fn add_peer_that_waits(&mut self, number: usize) {
        let server = Server::spawn(self.peer_command(number, &[]));
        self.put_peer(number, server);
    }

    /// The command of a peer, for the test to start.
    pub fn command_of_peer(&self, number: usize, flags: &[&str]) -> Command {
        self.peer_command(number, flags)
    }

    fn peer_command(&self, number: usize, flags: &[&str]) -> Command {
        let mut command = bare_command(self.directory.path());
        command.args(["peer", "--json", "--keep-free", "0B", "--name", &format!("p{number}")]);
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !flags.contains(&"--invite") {
            command.args(["--invite", &self.peer_invite]);
        }
        command.arg("--data").arg(self.peer_data(number)).args(flags);
        command
    }

    fn put_peer(&mut self, number: usize, server: Server) {
        if number < self.peers.len() {
            self.peers[number] = server;
        } else {
            self.peers.push(server);
        }
    }

    /// Restarts the tracker as one that dies at the point.
    #[track_caller]
    pub fn restart_tracker_doomed(&mut self, point: Point) {
        self.restart_tracker_with(crash::VARIABLE, &format!("{point:?}"));
    }

    /// Restarts the tracker with something in its environment.
    #[track_caller]
    pub fn restart_tracker_with(&mut self, variable: &str, value: &str) {
        let address = self.tracker.address();
        self.tracker.kill();
        let mut command = tracker_command(self.directory.path(), &address, &self.flags);
        command.env(variable, value);
        self.tracker = Server::start(command);
    }

    /// Kills the tracker and starts it again at the same address.
    #[track_caller]
    pub fn restart_tracker(&mut self) {
        self.restart_tracker_after(|_| {});
    }

    /// Kills the tracker and starts it again at the same address, with something done to its data directory in between.
    #[track_caller]
    pub fn restart_tracker_after(&mut self, act: impl FnOnce(&Path)) {
        let address = self.tracker.address();
        self.tracker.kill();
        act(&self.directory.path().join("tracker"));
        self.tracker = start_tracker(self.directory.path(), &address, &self.flags);
    }

    pub fn peer_data(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("p{number}"))
    }

    /// The chunk files of a peer.
    pub fn chunk_files(&self, number: usize) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for directory in fs::read_dir(self.peer_data(number).join("store/chunks")).unwrap() {
            files.extend(fs::read_dir(directory.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
        }
        files.sort();
        files
    }

    /// Spoils every chunk file of a peer; `spoil` is given another one beside each.
    pub fn spoil_chunks(&self, number: usize, spoil: impl Fn(&Path, &Path)) {
        let files = self.chunk_files(number);
        for (at, file) in files.iter().enumerate() {
            spoil(file, &files[(at + 1) % files.len()]);
        }
    }

    /// The numbers of the peers that hold chunks.
    pub fn holders(&self) -> Vec<usize> {
        (0..self.peers.len()).filter(|&number| !self.chunk_files(number).is_empty()).collect()
    }

    /// Waits until the tracker sees this many peers in this state.
    #[track_caller]
    pub fn wait_for_peers(&self, count: usize, state: &str) {
        wait_for(&format!("{count} peers {state}"), || {
            self.peer_list().iter().filter(|peer| peer["state"] == state).count() == count
        });
    }

    /// The sum of a counter over all peers that run.
    pub fn total(&self, metric: &str) -> u64 {
        self.peers.iter().map(|peer| http::metric(&peer.address(), metric)).sum()
    }
}

#[track_caller]
fn start_tracker(directory: &Path, listen: &str, flags: &[String]) -> Server {
    Server::start(tracker_command(directory, listen, flags))
}

fn tracker_command(directory: &Path, listen: &str, flags: &[String]) -> Command {
    let mut command = bare_command(directory);
    command.args(["tracker", "--json", "--listen", listen]).args(flags);
    command.arg("--data").arg(directory.join("tracker"));
    command
}
