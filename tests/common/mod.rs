//! What the end-to-end tests share: a swarm of real processes, people with homes of their own, samples.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

pub mod between;
pub mod by_hand;
pub mod events;
pub mod fake;
pub mod http;
pub mod peak;
pub mod person;
pub mod proxy;
pub mod samples;
pub mod swarm;
pub mod terminal;
pub mod tls;
pub mod unprivileged;

use std::path::Path;
use std::time::{Duration, Instant};

/// Spoils a file as a failing disk does: one bit of it is another.
pub fn flip_a_bit(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// Copies a directory with all that is in it.
#[allow(clippy::disallowed_methods, reason = "a test may copy a folder")]
pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Waits until the condition holds; fails the test if it does not within three minutes, which a machine that is busy with other things may need.
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
