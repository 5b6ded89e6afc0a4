//! The tracker: a process of its own, and what it takes.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use parcelry_core::link::Invite;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Ticks of the kernel's clock in a second, as every Linux that this runs on has them.
const TICKS_PER_SECOND: u64 = 100;

/// The program: another one than was built with this, if it is named, so that versions can be compared.
fn program() -> OsString {
    std::env::var_os("PARCELRY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_parcelry").into())
}

/// What a process has taken so far.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) at: Instant,
    pub(crate) cpu: Duration,
    pub(crate) memory_mib: u64,
    pub(crate) peak_mib: u64,
}

/// A tracker that runs.
pub(crate) struct TrackerProcess {
    child: Child,
    data: PathBuf,
    address: String,
}

impl TrackerProcess {
    /// Starts it at the defaults, on the same port as before.
    pub(crate) async fn start(directory: &Path) -> Self {
        let (data, port_file) = (directory.join("tracker"), directory.join("port"));
        let port = fs::read_to_string(&port_file).unwrap_or_else(|_| "0".into());
        let mut child = Command::new(program())
            .args(["tracker", "--json", "--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(&data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let address = ready["address"].as_str().unwrap().to_owned();
        fs::write(&port_file, address.rsplit_once(':').unwrap().1).unwrap();
        Self { child, data, address }
    }

    /// Makes an invite for so many peers.
    pub(crate) fn invite(&self, peers: u32) -> Invite {
        let mut command = Command::new(program());
        let output = command.args(["invite", "--role", "peer", "--count", &peers.to_string(), "--data"]);
        let output = output.arg(&self.data).stderr(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Ends it as a crash would.
    pub(crate) fn stop(self) {
        drop(self);
    }

    /// What it has taken so far.
    pub(crate) fn usage(&self) -> Usage {
        let of_process =
            |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap();
        let stat = of_process("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let status = of_process("status");
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
        };
        Usage {
            at: Instant::now(),
            cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
            memory_mib: mib("VmRSS:"),
            peak_mib: mib("VmHWM:"),
        }
    }

    /// How many pairs it knows, and how many of them are proven.
    pub(crate) async fn pairs(&self) -> (u64, u64) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let value = |evidence: &str| {
            let name = format!("parcelry_tracker_held_shares{{evidence=\"{evidence}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.map_or(0, |value| value.trim().parse().unwrap())
        };
        (value("claimed") + value("proven"), value("proven"))
    }
}

impl Drop for TrackerProcess {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
