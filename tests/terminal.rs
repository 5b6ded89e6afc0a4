//! What other parties say reaches the terminal as text only: whatever tracker, peers and senders put into their
//! answers and names.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Stdio;
use std::sync::Mutex;

use common::between::{Between, Change, HOSTILE, places};
use common::person::Person;
use common::swarm::Swarm;
use common::terminal::Terminal;
use parcelry::identity::Identity;
use parcelry_core::link::{Invite, ShareLink};
use parcelry_core::name::acts_on_terminal;

/// A swarm's servers with somebody between them and whoever calls.
struct Route {
    tracker: Between,
    peers: Vec<Between>,
    link: String,
    invite: String,
}

impl Route {
    fn to(swarm: &Swarm, link: &ShareLink) -> Self {
        let peer = |number: usize| {
            let identity = Identity::read(&swarm.peer_data(number)).unwrap().unwrap();
            Between::start("peer", identity, swarm.peers[number].address(), Vec::new())
        };
        let peers: Vec<Between> = (0..swarm.peers.len()).map(peer).collect();
        let addresses = swarm.peers.iter().zip(&peers).map(|(real, fake)| (real.address(), fake.address()));
        let identity = Identity::read(&swarm.directory.path().join("tracker")).unwrap().unwrap();
        let tracker = Between::start("tracker", identity, swarm.tracker.address(), addresses.collect());
        let url: parcelry_core::link::TrackerUrl = format!("https://{}", tracker.address()).parse().unwrap();
        let invite = Invite { tracker: url.clone(), ..swarm.invite().parse().unwrap() }.expose_text();
        let link = ShareLink { tracker: url, ..link.clone() }.expose_text();
        Self { tracker, peers, link, invite }
    }

    fn set(&self, change: Option<&Change>) {
        [&self.tracker].into_iter().chain(&self.peers).for_each(|server| server.set(change.cloned()));
    }

    /// Every place of every answer that the command gets.
    fn changes(&self, command: &str) -> Vec<Change> {
        let ran = self.run(command, &[]);
        assert!(ran.contains("code 0"), "{command}, with nothing changed: {ran}");
        let calls = self.tracker.take_calls().into_iter().chain(self.peers[0].take_calls());
        let of_call =
            |(call, told)| (0..places(&told)).map(move |place| Change { call: String::clone(&call), place });
        calls.flat_map(of_call).collect()
    }

    /// Runs a command in a home of its own; all that it printed.
    fn run(&self, command: &str, flags: &[&str]) -> String {
        let (person, args) = self.prepare(command);
        let args: Vec<&str> = args.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        let ran = person.run(&args);
        let shares = person.run(&["ls"]);
        format!("{}{}{}{}code {}\n", ran.stdout, ran.stderr, shares.stdout, shares.stderr, ran.code)
    }

    /// Runs a command on a terminal; what the terminal got.
    fn run_on_terminal(&self, command: &str) -> String {
        let (person, args) = self.prepare(command);
        let terminal = Terminal::new();
        let mut command = person.command(&args);
        command.stdin(Stdio::null());
        let ran = terminal.run(command);
        ran.stdout + &ran.stderr
    }

    fn prepare(&self, command: &str) -> (Person, Vec<String>) {
        let person = Person::new(&self.invite);
        person.write("file", b"content");
        let args: &[&str] = match command {
            "share" => &["share", "file", "--wait", "0s"],
            "get" => &["get", &self.link, "-o", "got"],
            "status" => &["status"],
            command => &[command, &self.link],
        };
        (person, args.iter().map(|&arg| arg.to_owned()).collect())
    }
}

/// What bars do to a terminal: back to the start of the line, clear it, go up or down.
const OWN: &[&str] = &["\r", "\u{1b}[2K", "\u{1b}[1A", "\u{1b}[1B", "\u{1b}[0m"];

#[track_caller]
fn check(printed: &str, what: &dyn std::fmt::Debug) {
    assert!(!printed.contains(|c| c != '\n' && acts_on_terminal(c)), "{what:?}: {printed:?}");
    assert!(!printed.lines().any(|line| line.starts_with("error: forged")), "{what:?}: {printed:?}");
}

#[test]
fn s12_nothing_that_tracker_or_peers_say_acts_on_the_terminal() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"content");
    let link: ShareLink = alice.share(&["file"]).parse().unwrap();
    let routes: Vec<Route> = (0..4).map(|_| Route::to(&swarm, &link)).collect();
    for command in ["share", "get", "inspect", "verify", "status"] {
        let changes = routes[0].changes(command);
        assert!(changes.len() > 10, "{command}: {changes:?}");
        let (left, seen) = (Mutex::new(changes), Mutex::new(0));
        std::thread::scope(|scope| {
            for route in &routes {
                scope.spawn(|| {
                    loop {
                        let Some(change) = left.lock().unwrap().pop() else { return };
                        route.set(Some(&change));
                        let flags: &[&str] = if change.place % 2 == 0 { &[] } else { &["--json"] };
                        let printed = route.run(command, flags);
                        check(&printed, &(command, &change));
                        *seen.lock().unwrap() += usize::from(printed.contains("52;c;"));
                        route.set(None);
                    }
                });
            }
        });
        assert!(seen.into_inner().unwrap() > 0, "{command} printed none of it, escaped or not");
    }
}

#[test]
fn s12_on_a_terminal_there_is_nothing_but_what_bars_need() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"content");
    let link: ShareLink = alice.share(&["file"]).parse().unwrap();
    let route = Route::to(&swarm, &link);
    for command in ["get", "verify"] {
        for change in route.changes(command).iter().filter(|change| change.call.starts_with("tracker")) {
            route.set(Some(change));
            let mut shown = route.run_on_terminal(command);
            OWN.iter().for_each(|own| shown = shown.replace(own, ""));
            assert!(!shown.contains(|c| c != '\n' && acts_on_terminal(c)), "{change:?}: {shown:?}");
            route.set(None);
        }
    }
}

#[test]
fn s12_names_of_files_and_arguments_are_escaped_and_other_scripts_are_shown() {
    let swarm = Swarm::start(0);
    let person = swarm.person();
    for args in [vec![HOSTILE], vec!["get", "x", HOSTILE], vec!["share", HOSTILE], vec!["get", HOSTILE]] {
        let ran = person.run(&args);
        assert_ne!(ran.code, 0);
        assert!(!ran.stderr.contains(|c| c != '\n' && acts_on_terminal(c)), "{:?}", ran.stderr);
    }
    let ran = person.run(&["share", "Größe-Привет-日本語"]);
    assert!(ran.stderr.contains("Größe-Привет-日本語"), "{}", ran.stderr);
}

/// The lines that a bar drew, without what moves the cursor.
fn drawn(shown: &str) -> Vec<String> {
    let plain =
        OWN.iter().filter(|own| **own != "\r").fold(shown.to_owned(), |text, own| text.replace(own, "\r"));
    plain.split(['\r', '\n']).map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

#[test]
fn f23_bars_fit_on_one_line_and_count_the_files_bytes_once() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    for (columns, has_size) in [(200, true), (80, true), (60, true), (40, false), (20, false)] {
        alice.write("file", &common::samples::bytes(&format!("bar {columns}"), 20_000_000));
        let terminal = Terminal::of_width(columns);
        let mut command = alice.command(&["share", "file", "--chunk-size", "64KiB"]);
        command.stdin(Stdio::null());
        let ran = terminal.run(command);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let lines = drawn(&ran.stderr);
        let bars: Vec<_> = lines.iter().filter(|line| line.starts_with("Sharing ")).collect();
        assert!(!bars.is_empty(), "{lines:?}");
        for bar in bars {
            assert!(bar.trim_end().chars().count() <= usize::from(columns), "{columns}: {bar:?}");
            assert!(bar.contains(" %"), "{bar:?}");
            assert!(!has_size || bar.contains("20.0"), "once: {bar:?}");
        }
        assert!(!lines.iter().any(|line| line.contains("40.0")), "{lines:?}");
    }
}

#[test]
fn f11_a_link_that_was_broken_into_lines_is_read_whole_at_the_prompt() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link = alice.share(&["file"]);
    let hash = link.find('#').unwrap();
    let at_prompt = |typed: &str| {
        let terminal = Terminal::new().type_in(typed);
        let bob = swarm.person();
        let mut command = bob.command(&["get"]);
        command.stdin(terminal.end());
        terminal.run(command)
    };
    for cut in [30, hash, hash + 10, link.len() - 20] {
        let ran = at_prompt(&format!("{}\n{}\n", &link[..cut], &link[cut..]));
        assert_eq!(ran.code, 0, "{cut} {}", ran.stderr);
    }
    assert_eq!(at_prompt(&format!("{link}\n")).code, 0);
    let ran = at_prompt(&format!("{}\n\n", &link[..hash]));
    assert!(ran.code == 2 && ran.stderr.contains("the part after # is missing"), "{}", ran.stderr);
}
