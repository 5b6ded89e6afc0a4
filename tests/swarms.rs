//! Several swarms known to one person: joined ones, and those that run on the same machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Stdio;

use common::person::{Person, Ran};
use common::swarm::{Server, Swarm};
use common::wait_for;

fn up(person: &Person, data: &str) -> Server {
    let mut command = person.command(&["up", "--json", "--listen", "127.0.0.1:0", "--keep-free", "0B"]);
    command.arg("--data").arg(person.home.path().join(data)).stdout(Stdio::piped());
    Server::start(command)
}

/// The tracker that the next share goes to.
#[track_caller]
fn used(person: &Person) -> String {
    let ran = person.run(&["status", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.document()["tracker"].as_str().unwrap().to_owned()
}

#[test]
fn f31_up_comes_before_an_older_join_while_it_runs_and_two_of_them_are_known() {
    let elsewhere = Swarm::start(2);
    let person = Person::new("");
    assert_eq!(person.run(&["join", &elsewhere.invite()]).code, 0);
    let joined = used(&person);
    let mut first = up(&person, "first");
    assert!(used(&person).ends_with(&first.address()));
    assert!(person.run(&["swarms"]).stdout.contains("runs here"));
    let mut second = up(&person, "second");
    assert!(used(&person).ends_with(&second.address()), "the newest");
    person.write("file", b"x");
    assert!(person.share(&["file"]).contains(&second.address()));
    assert!(person.share(&["file", "--swarm", &first.address()]).contains(&first.address()));
    second.kill();
    assert!(used(&person).ends_with(&first.address()), "the one that is left");
    let ran = person.run(&["swarms", "use", "127.0.0.1"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(used(&person), joined, "the last word counts");
    assert_eq!(person.run(&["swarms", "use", &first.address()]).code, 0);
    assert_eq!(first.stop(), Some(0));
    assert_eq!(used(&person), joined);
}

#[test]
fn f31_up_tells_which_swarm_is_used_and_what_is_missing_and_prints_each_invite_once() {
    let elsewhere = Swarm::start(0);
    let person = Person::new("");
    assert_eq!(person.run(&["join", "--name", "work", &elsewhere.invite()]).code, 0);
    let mut command = person.command(&["up", "--listen", "127.0.0.1:0", "--keep-free", "0B"]);
    command.stdout(Stdio::piped());
    let mut up = Server::spawn(command);
    wait_for("its last line", || up.log().contains("More invites"));
    let said = up.log();
    assert!(said.contains("To use another:  parcelry swarms use work"), "{said}");
    assert!(said.contains("Add another peer") && !said.contains("needed"), "{said}");
    assert!(!said.contains("/join#1."), "invites are on stdout: {said}");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn f31_swarms_are_joined_by_name_chosen_and_left() {
    let (one, two) = (Swarm::start(0), Swarm::start(0));
    let person = Person::new("");
    for (name, swarm) in [("one", &one), ("two", &two)] {
        let ran = person.run(&["join", "--name", name, &swarm.invite()]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let ran = person.run(&["join", "--name", "one", &two.invite()]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    let list = person.run(&["swarms", "ls", "--json"]).document();
    let entry = |name: &str, at: &Swarm, is_in_use| serde_json::json!({ "name": name, "is_up": false, "is_in_use": is_in_use, "tracker": format!("https://{}", at.tracker.address()) });
    assert_eq!(list["swarms"].as_array().unwrap()[..], [entry("one", &one, false), entry("two", &two, true)]);
    assert!(used(&person).ends_with(&two.tracker.address()));
    assert_eq!(person.run(&["swarms", "use", "one"]).code, 0);
    assert!(used(&person).ends_with(&one.tracker.address()));
    let ran = person.run(&["leave"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("Commands use two now"), "{}", ran.stderr);
    assert!(used(&person).ends_with(&two.tracker.address()));
    for swarm in [&one, &two] {
        assert!(!person.run(&["swarms"]).stdout.contains(&swarm.token("sender")), "no token is shown");
    }
    assert_eq!(person.run(&["swarms", "forget", "two"]).code, 0);
    let ran = person.run(&["status"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no swarm is known here"), "{}", ran.stderr);
}

#[test]
fn f31_a_flag_comes_before_the_variable_of_the_other_flag() {
    let (home, work) = (Swarm::start(0), Swarm::start(0));
    let person = Person::new("");
    for (name, swarm) in [("home", &home), ("work", &work)] {
        assert_eq!(person.run(&["join", "--name", name, &swarm.invite()]).code, 0);
    }
    let used = |flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = person.command(&[&["status", "--json"], flags].concat());
        let ran = Ran::of(command.envs(variables.iter().copied()).output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.document()["tracker"].as_str().unwrap().to_owned()
    };
    let (invite, at_home) = (home.invite(), format!("https://{}", home.tracker.address()));
    let (by_name, by_invite) = (("PARCELRY_SWARM", "work"), ("PARCELRY_INVITE", invite.as_str()));
    assert_eq!(used(&["--invite", &invite], &[by_name]), at_home);
    assert!(used(&["--swarm", "work"], &[by_invite]).ends_with(&work.tracker.address()));
    assert!(used(&[], &[by_invite, by_name]).ends_with(&work.tracker.address()));
    let ran = person.run(&["status", "--invite", &invite, "--swarm", "work"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("give one of them") && !ran.stderr.contains(&home.token("sender")));
}
