//! What environment variables, the configuration file and the place of the log do to the command, and what they must not do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use clap::CommandFactory;
use common::person::{Person, Ran, bare_command};
use common::wait_for;
use parcelry::cli::Cli;
use serde_json::Value;

/// Every variable that a flag is read from.
fn variables() -> BTreeSet<String> {
    let command = Cli::command();
    let subcommands = command.get_subcommands().flat_map(|sub| {
        sub.get_arguments().chain(sub.get_subcommands().flat_map(clap::Command::get_arguments))
    });
    let all = command.get_arguments().chain(subcommands);
    all.filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())).collect()
}

fn configure(person: &Person, file: &str) {
    let directory = person.home.path().join(".config/parcelry");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.toml"), file).unwrap();
}

#[test]
fn help_completions_and_manual_are_to_be_had_whatever_the_environment_says() {
    let person = Person::new("");
    configure(&person, "[share\nthis is no table");
    assert!(variables().len() > 20);
    for args in [
        &["--help"][..],
        &["share", "--help"],
        &["help", "peer"],
        &["--version"],
        &["completions", "zsh"],
        &["man"],
    ] {
        let mut command = person.command(args);
        variables().iter().for_each(|name| {
            command.env(name, "no value of anything");
        });
        for without_home in [false, true] {
            if without_home {
                command.env_remove("HOME");
            }
            let ran = Ran::of(command.output().unwrap());
            assert_eq!(ran.code, 0, "{args:?} {}", ran.stderr);
            assert!(ran.stdout.contains("parcelry"), "{args:?} {}", ran.stdout);
        }
    }
    let ran = person.run(&["ls"]);
    assert_eq!(ran.code, 2, "other commands say what is wrong");
}

#[test]
fn no_secret_is_shown_by_help() {
    let person = Person::new("");
    configure(
        &person,
        "[share]\ninvite = \"SECRET\"\n[peer]\ninvite = \"SECRET\"\n[status]\ninvite = \"SECRET\"",
    );
    for name in ["share", "peer", "status"] {
        let mut command = person.command(&[name, "--help"]);
        let ran = Ran::of(
            command
                .envs(
                    variables()
                        .into_iter()
                        .filter(|name| name.contains("INVITE"))
                        .map(|name| (name, "SECRET")),
                )
                .output()
                .unwrap(),
        );
        assert!(
            ran.code == 0 && ran.stdout.contains("INVITE") && !ran.stdout.contains("SECRET"),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn usage_errors_are_json_where_json_is_asked_for() {
    let person = Person::new("");
    let check = |mut command: Command, why: &str| {
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        let event = ran.document();
        assert_eq!(
            (event["type"].as_str(), event["kind"].as_str(), event["exit_code"].as_u64()),
            (Some("error"), Some("usage"), Some(2))
        );
        assert!(event["message"].as_str().unwrap().contains(why), "{event}");
    };
    check(person.command(&["share", "--json"]), "required");
    check(person.command(&["--json", "nonsense"]), "unrecognized subcommand");
    check(person.command(&["share", "f", "--replicas", "0", "--json"]), "0 is not in");
    let mut command = person.command(&["get", "--no-such-flag"]);
    command.env("PARCELRY_JSON", "true");
    check(command, "unexpected argument");
    configure(&person, "[shore]\nx = 1");
    check(person.command(&["ls", "--json"]), "no command `shore`");
    let ran = person.run(&["share", "--", "--json"]);
    assert_eq!(ran.stdout, "", "a file of that name asks for nothing");
}

/// A tracker that logs to the file: it warns of a name that cannot be looked up.
fn tracker(directory: &Person, log: &File, flags: &[&str], journal: Option<String>) -> Child {
    let mut command = bare_command(directory.home.path());
    command
        .args(["tracker", "--listen", "127.0.0.1:0", "--behind-proxy", "no.such.host.invalid"])
        .args(flags)
        .env_remove("NO_COLOR");
    if let Some(journal) = journal {
        command.env("JOURNAL_STREAM", journal);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone().unwrap()).spawn().unwrap()
}

#[test]
fn f42_logs_are_plain_off_a_terminal_json_if_asked_for_and_without_times_in_the_journal() {
    let logged = |flags: &[&str], in_journal: bool, line: &str| {
        let person = Person::new("");
        let path = person.path("log");
        let log = File::create(&path).unwrap();
        let metadata = log.metadata().unwrap();
        let inode = metadata.ino() + u64::from(!in_journal);
        let mut child = tracker(&person, &log, flags, Some(format!("{}:{inode}", metadata.dev())));
        let text = || fs::read_to_string(&path).unwrap();
        wait_for("something to be logged", || text().lines().any(|logged| logged.contains(line)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!text().contains('\u{1b}'), "{}", text());
        text()
    };
    let text = logged(&[], false, " WARN ");
    assert!(text.lines().any(|line| line.starts_with("20") && line.contains(" WARN ")), "{text}");
    let text = logged(&[], true, "WARN ");
    let entries: Vec<_> = text.lines().filter(|line| line.contains("WARN ")).collect();
    assert!(entries.iter().all(|line| line.trim_start().starts_with("WARN ")), "{text}");
    let text = logged(&["--log-format", "json"], false, "\"WARN\"");
    let entry = text.lines().find(|line| line.starts_with('{')).unwrap();
    let entry: Value = serde_json::from_str(entry).unwrap();
    assert!(
        entry["level"].is_string() && entry["message"].is_string() && entry["timestamp"].is_string(),
        "{entry}"
    );
}
