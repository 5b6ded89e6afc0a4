//! The command line: what is printed where, exit codes, JSON, and the commands around a share.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::process::Stdio;

use clap::CommandFactory;
use common::person::{Person, Ran, bare_command};
use common::swarm::{Server, Swarm};
use common::{samples, wait_for};
use parcelry::cli::Cli;
use serde_json::Value;

/// A person who knows no swarm.
fn nobody() -> Person {
    Person::new("")
}

/// The words after the program's name that lead to this command and to each one below it.
fn ways_to(command: &clap::Command, above: &[String]) -> Vec<Vec<String>> {
    let mut ways = vec![above.to_vec()];
    for below in command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help") {
        ways.extend(ways_to(below, &[above, &[below.get_name().to_owned()]].concat()));
    }
    ways
}

#[test]
fn the_help_is_the_reference() {
    let person = nobody();
    let mut reference = String::new();
    for mut args in ways_to(&Cli::command(), &[]) {
        args.push("--help".to_owned());
        let ran = person.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{args:?}");
        reference += &format!("$ parcelry {}\n{}\n", args.join(" "), ran.stdout);
    }
    insta::assert_snapshot!("cli-reference", reference);
}

#[test]
fn usage_errors_exit_with_2_and_say_what_to_do() {
    let person = nobody();
    person.write("file", b"x");
    for (args, why) in [
        (&["share", "file"][..], "parcelry join INVITE"),
        (&["status"], "parcelry up"),
        (&["share"], "required"),
        (&["share", "-", "file"], "alone"),
        (&["share", "file", "--replicas", "0"], "0 is not in"),
        (&["share", "file", "--expires", "1y"], "90 days"),
        (&["share", "file", "--expires", "0s"], "at least a second"),
        (&["share", "file", "--name", "a/b"], "the receiver chooses the folder"),
        (&["share", "file", "--name", ".."], "more than dots"),
        (&["share", "file", "--name", ""], "more than dots"),
        (&["share", "file", "--chunk-size", "3MiB"], "power of two"),
        (&["get", "https://example.org/"], "part after # is missing"),
        (&["join", "https://example.org/"], "missing"),
        (&["tracker", "--heartbeat", "10s", "--dead-after", "20s"], "three heartbeats"),
        (&["nonsense"], "unrecognized"),
    ] {
        let ran = person.run(args);
        assert_eq!(ran.code, 2, "{args:?} {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{args:?} {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
}

#[test]
fn a_configuration_file_with_an_unknown_key_is_refused() {
    let person = nobody();
    let directory = person.home.path().join(".config/parcelry");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.toml"), "[share]\nreplica = 3\n").unwrap();
    let ran = person.run(&["ls"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no flag `--replica`"), "{}", ran.stderr);
}

#[test]
fn the_demo_tells_its_story_and_compares() {
    let person = nobody();
    let path = person.write("own file.bin", &samples::bytes("demo", 3_000_000));
    let ran = person.run(&["demo", path.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.trim_end().ends_with("3.0 MB compared, every byte is equal."), "{}", ran.stderr);
    assert!(ran.stderr.contains("switches her machine off"));
    assert_eq!(person.names(), ["own file.bin"], "the demo leaves nothing behind");
}

#[test]
fn the_demo_takes_a_folder_too() {
    let person = nobody();
    person.write("folder/a", b"a");
    person.write("folder/b/c", b"c");
    let ran = person.run(&["demo", "folder"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn up_serves_this_users_share_and_get_without_any_flag() {
    let person = nobody();
    let mut command = person.command(&["up", "--json", "--listen", "127.0.0.1:0", "--keep-free", "0B"]);
    command.stdout(Stdio::piped());
    let mut up = Server::start(command);
    person.write("file", b"over the swarm that is up");
    let link = person.share(&["file"]);
    fs::remove_file(person.path("file")).unwrap();
    person.get(&link);
    assert_eq!(person.read("file"), b"over the swarm that is up");
    assert!(person.run(&["status"]).stdout.contains("2 peers alive"));
    assert_eq!(up.stop(), Some(0));
    assert_eq!(person.run(&["status"]).code, 2, "a swarm that is down is not offered");
}

#[test]
fn a_joined_swarm_needs_no_flags() {
    let swarm = Swarm::start(2);
    let person = nobody();
    let ran = person.run(&["join", &swarm.invite()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    person.write("file", b"x");
    person.share(&["file"]);
    let stranger = swarm.invite().replace("#1.", "#1.AAAA");
    assert_eq!(person.run(&["join", &stranger]).code, 2, "an invite of another length");
    let mut other_tracker = swarm.invite();
    let id_at = other_tracker.find("#1.").unwrap() + 3;
    other_tracker.replace_range(id_at..id_at + 4, "AAAA");
    let ran = person.run(&["join", &other_tracker]);
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    assert!(ran.stderr.contains("is not who it should be"), "{}", ran.stderr);
}

#[test]
fn only_the_result_is_on_stdout() {
    let swarm = Swarm::start(2);
    let person = swarm.person();
    person.write("file.txt", b"x");
    let ran = person.run(&["share", "file.txt"]);
    ran.link();
    let last = ran.stderr.lines().last().unwrap();
    assert!(
        last.starts_with("Safe on 2 peers (p0, p1). You can switch this machine off. Expires in 7 days."),
        "{last}"
    );
    fs::remove_file(person.path("file.txt")).unwrap();
    let got = person.run(&["get", &ran.link()]);
    assert_eq!(got.stdout, "");
    assert!(got.stderr.lines().last().unwrap().starts_with("Saved file.txt (1 B) from "), "{}", got.stderr);
    let quiet = person.run(&["share", "file.txt", "-q"]);
    assert_eq!(quiet.stderr, "");
    quiet.link();
}

#[test]
fn json_events_end_with_a_summary_or_an_error() {
    let swarm = Swarm::start(2);
    let person = swarm.person();
    person.write("file.txt", b"x");
    let events = person.run(&["share", "file.txt", "--json"]).events();
    let summary = events.last().unwrap();
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["peers"].as_array().unwrap().len(), 2);
    assert_eq!(summary["size_bytes"], 1);
    let link = summary["link"].as_str().unwrap();
    let got = person.run(&["get", link, "-o", "copy", "--json"]).events();
    assert_eq!(got.last().unwrap()["path"], "copy");
    assert!(got.iter().any(|event| event["type"] == "status" && event["stage"] == "Getting"));
    assert_eq!(person.run(&["get", link, "-o", "-", "--json"]).code, 2, "both want standard output");
    let again = person.run(&["get", link, "-o", "copy", "--json"]);
    assert_eq!(again.code, 9);
    let error = again.events().pop().unwrap();
    assert_eq!(
        (&error["type"], &error["kind"], &error["exit_code"]),
        (&"error".into(), &"exists".into(), &9.into())
    );
}

#[test]
fn ls_extend_inspect_and_rm_manage_a_share() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("folder/a file", b"some bytes");
    assert!(alice.run(&["ls"]).stderr.contains("No shares"));
    let link = alice.share(&["folder", "--expires", "1h"]);

    let listed: Value = serde_json::from_str(&alice.run(&["ls", "--json"]).stdout).unwrap();
    assert_eq!(listed["shares"][0]["link"], link.as_str());
    assert_eq!(listed["shares"][0]["size_bytes"], 10);
    assert!(alice.run(&["ls"]).stdout.contains("expires in 60 minutes"));

    let bob = swarm.person();
    let inspected = bob.run(&["inspect", &link]);
    assert_eq!(inspected.code, 0, "{}", inspected.stderr);
    for line in
        ["name      folder", "10 B in 1 file, 1 chunk", "good: at least 2 copies", "folder/a file (10 B)"]
    {
        assert!(inspected.stdout.contains(line), "{}", inspected.stdout);
    }
    assert_eq!(bob.run(&["extend", &link, "2d"]).code, 10, "only the sender's machine has the key");
    assert_eq!(bob.run(&["rm", &link]).code, 10);

    assert_eq!(alice.run(&["extend", &link, "2d"]).code, 0);
    assert!(bob.run(&["inspect", &link]).stdout.contains("expires   in 2 days"));
    let ran = alice.run(&["rm", &link]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(bob.run(&["get", &link]).code, 4);
    wait_for("the peers to drop it", || swarm.holders().is_empty());
    assert!(alice.run(&["ls"]).stderr.contains("No shares"));
}

#[test]
fn an_extension_reaches_the_peers_before_the_old_end() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link = alice.share(&["file", "--expires", "3s"]);
    assert_eq!(alice.run(&["extend", &link, "1h"]).code, 0);
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(swarm.holders(), [0, 1]);
    swarm.person().get(&link);
}

#[test]
fn links_come_from_stdin_a_file_or_an_argument() {
    let swarm = Swarm::start(2);
    let person = swarm.person();
    person.write("file", b"x");
    let link = person.share(&["file"]);
    person.write("link.txt", format!("{link}\n").as_bytes());
    assert_eq!(person.run_with_input(&["get", "-", "-o", "a"], link.as_bytes()).code, 0);
    assert_eq!(person.run_with_input(&["get", "-o", "b"], format!("  {link}  \n").as_bytes()).code, 0);
    assert_eq!(person.run(&["get", "link.txt", "-o", "c"]).code, 0);
}

#[test]
fn status_shows_peers_and_space() {
    let mut swarm = Swarm::start(1);
    swarm.add_peer(1, &["--zone", "attic", "--capacity", "5MB"]);
    let person = swarm.person();
    let text = person.run(&["status"]).stdout;
    assert!(
        text.contains("2 peers alive") && text.contains("p1 in attic: alive") && text.contains("5.0 MB free"),
        "{text}"
    );
    let status: Value = serde_json::from_str(&person.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["peers"].as_array().unwrap().len(), 2);
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let person = nobody();
    for shell in ["bash", "zsh", "fish"] {
        let ran = person.run(&["completions", shell]);
        assert!(ran.code == 0 && ran.stdout.contains("parcelry"), "{shell}");
    }
    let man = person.run(&["man"]);
    assert!(man.code == 0 && man.stdout.contains(".TH parcelry"), "{}", man.stdout);
}

#[test]
fn two_servers_do_not_share_a_folder_or_a_port() {
    let swarm = Swarm::start(1);
    let ran = |args: &[&str], data: std::path::PathBuf| {
        let mut command = bare_command(swarm.directory.path());
        Ran::of(command.args(args).arg("--data").arg(data).output().unwrap())
    };
    let second = ran(&["peer", "--invite", &swarm.peer_invite()], swarm.peer_data(0));
    assert_eq!(second.code, 1, "{}", second.stderr);
    assert!(second.stderr.contains("in use by another parcelry"), "{}", second.stderr);
    let other = swarm.directory.path().join("other");
    let second = ran(&["tracker", "--listen", &swarm.tracker.address()], other);
    assert_eq!(second.code, 1, "{}", second.stderr);
    assert!(second.stderr.contains("--listen"), "{}", second.stderr);
}

#[test]
fn a_peer_nobody_can_reach_is_told_so() {
    let swarm = Swarm::start(0);
    let mut command = bare_command(swarm.directory.path());
    command.args([
        "peer",
        "--listen",
        "127.0.0.1:0",
        "--public-addr",
        "127.0.0.1:1024",
        "--invite",
        &swarm.peer_invite(),
    ]);
    let ran = Ran::of(command.arg("--data").arg(swarm.peer_data(9)).output().unwrap());
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("--public-addr"), "{}", ran.stderr);
    assert!(swarm.peer_list().is_empty());
}
