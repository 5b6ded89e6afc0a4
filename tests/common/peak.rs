//! How much memory a process takes.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::person::Person;

/// Peak resident memory of a process so far, in MiB; 0 if it has ended.
pub fn peak_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Waits for a process; its exit code, its peak in MiB and how long it took.
pub fn watch(mut child: Child) -> (i32, u64, Duration) {
    let (started, mut peak) = (Instant::now(), 0);
    loop {
        peak = peak.max(peak_mib(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code().unwrap_or(-1), peak, started.elapsed());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a command of somebody's, and watches it.
pub fn run(person: &Person, args: &[&str]) -> (i32, u64, Duration) {
    let mut command = person.command(args);
    watch(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}
