//! Situations that broke rival tools in people's hands. `docs/field.md` says which test covers which.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;

use common::person::Ran;
use common::swarm::{Server, Swarm};
use common::{samples, wait_for};
use serde_json::Value;

#[test]
fn f01_folders_whose_names_are_not_unicode_are_worked_in() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    let directory = OsStr::from_bytes(b"alt\xfc");
    for person in [&alice, &bob] {
        fs::create_dir(person.work().join(directory)).unwrap();
    }
    let bytes = samples::bytes("latin", 200_000);
    fs::write(alice.work().join(directory).join("note.txt"), &bytes).unwrap();
    let run = |person: &common::person::Person, args: &[&str]| {
        Ran::of(person.command(args).current_dir(person.work().join(directory)).output().unwrap())
    };
    let shared = run(&alice, &["share", "note.txt", "--chunk-size", "64KiB"]);
    assert_eq!(shared.code, 0, "{}", shared.stderr);
    let got = run(&bob, &["get", &shared.link()]);
    assert_eq!(got.code, 0, "{}", got.stderr);
    assert!(fs::read(bob.work().join(directory).join("note.txt")).unwrap() == bytes);
}

#[test]
fn f02_a_result_that_cannot_be_written_is_a_failure_and_the_link_can_be_found() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    for args in [&["share", "file", "-q"][..], &["share", "file", "--json"], &["ls"], &["man"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ran = Ran::of(alice.command(args).stdout(full).output().unwrap());
        assert_eq!(ran.code, 8, "{args:?} {}", ran.stderr);
        assert!(ran.stderr.contains("standard output: No space left"), "{}", ran.stderr);
    }
    let link = alice.run(&["ls"]).stdout.lines().nth(1).unwrap().trim().to_owned();
    swarm.person().get(&link);
    // A reader that needs no more is none.
    let closed = std::io::pipe().unwrap().1;
    let ran = Ran::of(alice.command(&["ls"]).stdout(closed).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn f02_first_invites_that_nobody_sees_are_a_failure_that_says_how_to_make_others() {
    for command in ["tracker", "up"] {
        let person = common::person::Person::new("");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ran =
            Ran::of(person.command(&[command, "--listen", "127.0.0.1:0"]).stdout(full).output().unwrap());
        assert_eq!(ran.code, 8, "{}", ran.stderr);
        let next = ran.stderr.lines().last().unwrap();
        assert!(
            next.contains("parcelry invite --role peer --data '") && !next.contains("ls"),
            "{}",
            ran.stderr
        );
        assert_eq!(person.run(&["swarms"]).stdout, "", "it is not up any more");
    }
}

#[test]
fn f03_files_that_do_not_tell_their_length_are_read_to_their_end() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    bob.get(&alice.share(&["/proc/version"]));
    assert_eq!(bob.read("version"), fs::read("/proc/version").unwrap());
    // Its length is said to be a page.
    let shorter = "/sys/kernel/mm/transparent_hugepage/enabled";
    let Ok(bytes) = fs::read(shorter) else { return println!("skipped in part: {shorter} is not there") };
    bob.get(&alice.share(&[shorter, "/proc/filesystems"]));
    assert_eq!(bob.read("enabled and 1 more/enabled"), bytes);
    assert_eq!(bob.read("enabled and 1 more/filesystems"), fs::read("/proc/filesystems").unwrap());
}

#[test]
fn f11_links_are_read_out_of_mails_and_what_is_none_is_named() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", b"x");
    let link = alice.share(&["file"]);
    let mail =
        format!("Hello Bob,\r\n\r\n> here it is: <{}\r\n> {}>.\r\n\r\nAlice\r\n", &link[..90], &link[90..]);
    bob.write("mail.eml", format!("\u{feff}{mail}").as_bytes());
    let get = |args: &[&str]| {
        let ran = bob.run(&[&["get", "--force"], args].concat());
        assert_eq!(ran.code, 0, "{args:?} {}", ran.stderr);
    };
    get(&["mail.eml"]);
    get(&[&format!("“{link}”,")]);
    get(&[&link.replace(':', "%3A").replace('/', "%2F").replace('#', "%23")]);
    let ran = bob.run_with_input(&["get", "-", "--force"], mail.as_bytes());
    assert_eq!(ran.code, 0, "{}", ran.stderr);

    let refused = |args: &[&str], why: &str| {
        let ran = bob.run(args);
        assert_eq!(ran.code, 2, "{args:?}");
        assert!(ran.stderr.contains(why), "{args:?} {}", ran.stderr);
    };
    refused(&["get"], "there is no link");
    refused(&["get", "lnik.txt"], "lnik.txt is neither a link nor a file that holds one");
    refused(&["join", "invtie.txt"], "invtie.txt is neither an invite nor a file that holds one");
    refused(&["get", &swarm.invite()], "this is an invite");
    refused(&["get", &link[..link.find('#').unwrap()]], "the part after # is missing");
    refused(&["join", &link], "this is a link to a share");
    refused(&["join", "https://drop.example/x#1.x"], "this is not an invite");
}

#[test]
fn f41_a_peers_invite_is_no_senders() {
    let swarm = Swarm::start(0);
    let alice = swarm.person();
    let ran = alice.run(&["join", &swarm.peer_invite()]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("this invite is for peers"), "{}", ran.stderr);
    assert_eq!(alice.run(&["join", &swarm.invite()]).code, 0);
}

#[test]
fn f43_what_programs_read_is_one_event_a_line_and_manuals_are_printed_whatever_the_style() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link = alice.share(&["file"]);
    let ran = alice.run(&["verify", &link, "--json"]);
    let events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.last().unwrap();
    assert_eq!((last["type"].as_str(), last["replicas_least"].as_u64()), (Some("summary"), Some(2)));
    for args in [&["completions", "bash"][..], &["man"]] {
        let plain = alice.run(args);
        assert_eq!(plain.code, 0);
        let mut command = alice.command(args);
        for quietly in ["PARCELRY_JSON", "PARCELRY_QUIET"] {
            let ran = Ran::of(command.env(quietly, "true").output().unwrap());
            assert_eq!((ran.code, &ran.stdout), (0, &plain.stdout), "{quietly}");
            command.env_remove(quietly);
        }
    }
}

#[test]
fn f40_f44_what_is_over_is_not_extended_and_deleting_it_again_is_no_error() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let short = alice.share(&["file", "--expires", "2s"]);
    let extend = |link: &str| alice.run(&["extend", link, "1d"]);
    wait_for("its time to be over", || swarm.person().run(&["get", &short]).code == 4);
    let ran = extend(&short);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("expired") && ran.stderr.contains("share it again"), "{}", ran.stderr);
    let link = alice.share(&["file"]);
    assert_eq!(extend(&link).code, 0);
    for _ in 0..2 {
        let ran = alice.run(&["rm", &link]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let ran = extend(&link);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(alice.run(&["ls"]).stdout.lines().all(|line| !line.contains(&link)));
    // Somebody else's is not to be deleted.
    alice.write("another", b"y");
    let foreign = alice.share(&["another"]);
    assert_eq!(swarm.person().run(&["rm", &foreign]).code, 10);
    swarm.person().get(&foreign);
}

#[test]
fn f49_a_share_that_is_deleted_while_it_is_fetched_is_said_to_be_deleted() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", &samples::bytes("deleted", 3 << 20));
    let link = alice.share(&["file", "--chunk-size", "64KiB"]);
    let look_ups = || common::http::metric(&swarm.tracker.address(), "parcelry_tracker_look_ups_total");
    let before = look_ups();
    let signal = |signal| {
        for peer in &swarm.peers {
            let pid = rustix::process::Pid::from_raw(peer.process_id().try_into().unwrap()).unwrap();
            rustix::process::kill_process(pid, signal).unwrap();
        }
    };
    // The receiver knows of peers that do not answer yet.
    signal(rustix::process::Signal::STOP);
    let getting = bob.start(&["get", &link]);
    wait_for("the look-up", || look_ups() > before);
    assert_eq!(alice.run(&["rm", &link]).code, 0);
    signal(rustix::process::Signal::KILL);
    let ran = Ran::of(getting.wait_with_output().unwrap());
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("its owner deleted the share"), "{}", ran.stderr);
}

#[test]
fn what_a_tracker_has_forgotten_is_not_said_to_be_deleted_and_can_be_deleted_when_it_is_known_again() {
    let mut swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link = alice.share(&["file"]);
    swarm.peers.iter_mut().for_each(common::swarm::Server::kill);
    swarm.restart_tracker_after(|data| {
        for name in ["tracker.db", "tracker.db-wal", "tracker.db-shm"] {
            let _ = fs::remove_file(data.join(name));
        }
    });
    wait_for("the tracker to have settled", || {
        alice.run(&["rm", &link]).stderr.contains("no share has this id")
    });
    assert_eq!(alice.run(&["rm", &link]).code, 4);
    assert!(alice.run(&["ls"]).stdout.contains(&link), "its key is kept");
    (0..2).for_each(|number| swarm.add_peer(number, &[]));
    wait_for("the share to be known again", || alice.run(&["rm", &link]).code == 0);
    wait_for("the peers to drop it", || swarm.holders().is_empty());
}

#[test]
fn f46_a_drain_that_cannot_end_says_why_and_ends_when_another_peer_comes() {
    let mut swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    alice.share(&["file"]);
    let mut command = common::person::bare_command(swarm.directory.path());
    command.args(["drain", "p0", "--data"]).arg(swarm.directory.path().join("tracker"));
    let mut drain = Server::spawn(command);
    wait_for("the reason", || {
        drain.log().contains("2 copies of a share are wanted elsewhere, and 1 other peer can take any")
    });
    assert!(!drain.has_ended());
    swarm.add_peer(2, &[]);
    wait_for("the drain to end", || drain.has_ended());
    assert!(drain.log().contains("it may leave"), "{}", drain.log());
}

#[test]
fn f37_a_shared_home_goes_without_this_programs_own_secrets() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    let home = alice.home.path();
    assert_eq!(alice.run(&["join", &swarm.invite()]).code, 0);
    for (name, text) in [
        (".config/parcelry/config.toml", "[share]\nreplicas = 2\n"),
        (".local/share/other/file", "of another program"),
        ("disk/peer/identity.key", &"k".repeat(64)),
        ("disk/peer/lock", ""),
        ("notes/identity.key", "somebody else's"),
    ] {
        fs::create_dir_all(home.join(name).parent().unwrap()).unwrap();
        fs::write(home.join(name), text).unwrap();
    }
    let shared = alice.run(&["share", home.to_str().unwrap(), "--name", "home"]);
    assert_eq!(shared.code, 3, "{}", shared.stderr);
    for directory in [".local/state/parcelry", ".config/parcelry", "disk/peer"] {
        assert!(
            shared.stderr.contains(&format!("{directory}: parcelry's own")),
            "{directory} {}",
            shared.stderr
        );
    }
    let strict = alice.run(&["share", home.to_str().unwrap(), "--name", "home", "--strict"]);
    assert!(strict.code == 2 && strict.stderr.contains("3 entries cannot be shared"), "{}", strict.stderr);
    for named in
        ["disk/peer", "disk/peer/lock", ".local/state/parcelry/swarms", ".config/parcelry/config.toml"]
    {
        let ran = alice.run(&["share", home.join(named).to_str().unwrap()]);
        assert!(ran.code == 2 && ran.stderr.contains("parcelry's own keys"), "{named}: {}", ran.stderr);
    }
    bob.get(&shared.link());
    let got = |name: &str| bob.path("home").join(name).exists();
    assert!(got("notes/identity.key") && got(".local/share/other/file"));
    assert!(!got(".local/state/parcelry") && !got(".config/parcelry") && !got("disk/peer"));
}

#[test]
fn a_sender_waits_for_peers_that_are_expected_back_after_the_tracker_restarted() {
    let mut swarm = Swarm::start_with(2, &["--heartbeat", "2s", "--dead-after", "30s"]);
    let alice = swarm.person();
    alice.write("file", b"x");
    swarm.restart_tracker();
    let ran = alice.run(&["share", "file", "--wait", "0s"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = alice.run(&["share", "file", "--wait", "0s", "--replicas", "3"]);
    assert_eq!(ran.code, 6, "there never were three: {}", ran.stderr);
}
