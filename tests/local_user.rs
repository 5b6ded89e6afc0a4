//! Other users of the same machine: what they can read, and what they can put in the way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use common::fake::Fake;
use common::person::{Person, Ran, bare_command};
use common::swarm::{Server, Swarm};
use common::wait_for;
use parcelry_core::link::{Invite, ShareLink};
use parcelry_core::seal::access_token;

/// A link that leads to a server which never answers.
fn stalling_link() -> (Fake, ShareLink) {
    let fake = Fake::start(80, |_, _| {
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    });
    let secret = parcelry_core::id::Secret::from_bytes([0x5a; 32]);
    let share = parcelry_core::id::ShareId::from_bytes([1; 32]);
    let tracker = format!("https://{}", fake.address).parse().unwrap();
    let tracker_id = Some(fake.identity.tracker_id());
    (fake, ShareLink { tracker, share, secret, tracker_id })
}

#[test]
fn l2_a_link_or_invite_that_was_typed_is_not_in_the_list_of_processes() {
    let (fake, link) = stalling_link();
    let person = Person::new("");
    let secret = link.secret.expose_text();
    let invite = Invite {
        tracker: link.tracker.clone(),
        tracker_id: fake.identity.tracker_id(),
        token: link.secret.clone(),
    };
    for args in [
        vec!["get".to_owned(), link.expose_text()],
        vec!["status".into(), format!("--invite={}", invite.expose_text())],
    ] {
        let before = fake.requests().len();
        let mut child = person.start(&args);
        wait_for("the request", || fake.requests().len() > before);
        let shown = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert!(!shown.contains(&secret) && shown.contains("#hidden"), "{shown:?}");
        assert!(shown.contains(&link.tracker.authority()), "it still shows what it is for: {shown:?}");
        let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert!(core.split_whitespace().nth(4) == Some("0"), "{core}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn s14_an_invite_beside_thousands_of_names_is_hidden_too_and_every_name_arrives() {
    let swarm = Swarm::start(0);
    let (person, invite) = (Person::new(""), swarm.invite());
    let secret = swarm.token("sender");
    let names: Vec<String> = (0..3000).map(|number| format!("{number:0>80}")).collect();
    for name in &names {
        person.write(name, b"");
    }
    let mut args = vec!["share", "--invite", &invite, "--wait", "60s", "--"];
    args.extend(names.iter().map(String::as_str));
    let mut child = person.start(&args);
    let of_child = |file: &str| {
        let bytes = fs::read(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    wait_for("the process that has its arguments hidden", || of_child("cmdline").contains("#hidden"));
    assert!(!of_child("cmdline").contains(&secret));
    let environment = of_child("environ");
    if environment.is_empty() {
        println!("skipped: this user may not read the environment");
    }
    assert!(!environment.contains(&secret), "{environment}");
    child.kill().unwrap();
    child.wait().unwrap();
    args.push("the last of them");
    let ran = person.run(&args);
    assert!(ran.code != 0 && ran.stderr.contains("the last of them"), "{} {}", ran.code, ran.stderr);
}

#[test]
fn s14_a_name_with_a_separator_in_it_is_one_argument() {
    let swarm = Swarm::start(0);
    let (person, invite) = (Person::new(""), swarm.invite());
    for name in ["public.txt\u{1f}secret.txt", "public.txt\nsecret.txt"] {
        person.write("secret.txt", b"secret");
        person.write("public.txt", b"public");
        person.write(name, b"odd");
        let ran = person.run(&["share", "--invite", &invite, "--", name]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("has a control character"), "{}", ran.stderr);
    }
}

#[test]
fn s14_a_secret_that_cannot_be_hidden_is_not_used() {
    let (fake, link) = stalling_link();
    let person = Person::new("");
    let typed = person.command(&["get", &link.expose_text()]);
    let mut command = Command::new("sh");
    command.env_clear().env("HOME", person.home.path());
    // So few open files that there is none for the arguments.
    command.args(["-c", "ulimit -n 4 && exec \"$0\" \"$@\""]).arg(typed.get_program()).args(typed.get_args());
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot hide") && ran.stderr.contains("PARCELRY_INVITE"), "{}", ran.stderr);
    assert!(fake.requests().is_empty());
}

#[test]
fn l2_no_secret_is_logged_or_reported_however_much_is() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", b"x");
    let traced = |person: &Person, args: &[&str]| {
        Ran::of(person.command(args).env("PARCELRY_LOG", "trace").output().unwrap())
    };
    let shared = traced(&alice, &["share", "file"]);
    assert_eq!(shared.code, 0, "{}", shared.stderr);
    let link: ShareLink = shared.link().parse().unwrap();
    let got = traced(&bob, &["get", &link.expose_text(), "--json"]);
    assert_eq!(got.code, 0, "{}", got.stderr);
    let status = traced(&alice, &["status", "--json"]);
    let token = swarm.invite().parse::<Invite>().unwrap().token.expose_text();
    let access = access_token(&link.secret).expose_text();
    assert!(got.stderr.contains("TRACE"), "the log is on: {}", got.stderr);
    for text in [&shared.stderr, &got.stderr, &got.stdout, &status.stderr, &status.stdout] {
        for (what, secret) in [
            ("the link's secret", link.secret.expose_text()),
            ("ACCESS", access.clone()),
            ("the token", token.clone()),
        ] {
            assert!(!text.contains(&secret), "{what} is in {text}");
        }
    }
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    let mut at = 0;
    while at < found.len() {
        if found[at].is_dir() {
            found.extend(fs::read_dir(&found[at]).unwrap().map(|entry| entry.unwrap().path()));
        }
        at += 1;
    }
    found
}

/// Runs a command under a umask that takes nothing away.
fn without_umask(command: &Command) -> Command {
    let mut wrapped = Command::new("sh");
    wrapped.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped
        .args(["-c", "umask 000 && exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    wrapped
}

#[test]
fn f2_keys_databases_journals_chunks_and_temporaries_are_their_owners_alone_whatever_the_umask() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let mut tracker = bare_command(directory.path());
    tracker.args(["tracker", "--json", "--listen", "127.0.0.1:0", "--data", &path("tracker")]);
    let tracker = Server::start(without_umask(&tracker));
    let invite = |name: &str| tracker.ready[name].as_str().unwrap().to_owned();
    let peers = ["a", "b"].map(|name| {
        let mut peer = bare_command(directory.path());
        peer.args(["peer", "--json", "--listen", "127.0.0.1:0", "--keep-free", "0B", "--data", &path(name)]);
        peer.args(["--invite", &invite("peer_invite")]);
        Server::start(without_umask(&peer))
    });
    let person = Person::new(&invite("sender_invite"));
    let run = |args: &[&str]| Ran::of(without_umask(&person.command(args)).output().unwrap());
    let file = person.write("file", b"x");
    fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(run(&["join", &invite("sender_invite")]).code, 0);
    let link = run(&["share", "file"]).link();
    assert_eq!(run(&["get", &link, "-o", "got"]).code, 0);
    // An interrupted get leaves its temporary and journal.
    drop(peers);
    assert_eq!(run(&["get", &link, "-o", "never"]).code, 5);
    let state = person.home.path().join(".local/state/parcelry");
    let parts =
        person.names().into_iter().filter(|name| name.ends_with(".part")).map(|name| person.path(&name));
    let mut private: Vec<PathBuf> = parts.collect();
    assert_eq!(private.len(), 1);
    for directory in [state, path("tracker").into(), path("a").into(), path("b").into()] {
        private.extend(walk(&directory));
    }
    assert!(private.len() > 20);
    for path in private {
        let mode = path.symlink_metadata().unwrap().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
    assert_eq!(
        person.path("got").metadata().unwrap().mode() & 0o777,
        0o666,
        "the result is the sender's and the user's to decide"
    );
}

#[test]
fn f2_a_data_folder_that_others_can_write_to_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = bare_command(directory.path());
    command.args(["tracker", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
    let ran = Ran::of(command.stdin(Stdio::null()).output().unwrap());
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    assert!(ran.stderr.contains("other users"), "{}", ran.stderr);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "no key was made in it");
}

#[test]
fn s4_what_stands_at_the_target_is_neither_overwritten_nor_followed_nor_opened() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", b"new");
    let link = alice.share(&["file"]);
    let target = bob.path("file");
    let outside = bob.home.path().join("outside");
    let place: [(&str, &dyn Fn()); 5] = [
        ("a file", &|| fs::write(&target, b"old").unwrap()),
        ("a folder", &|| fs::create_dir(&target).unwrap()),
        ("a dangling symlink", &|| std::os::unix::fs::symlink(&outside, &target).unwrap()),
        ("a FIFO", &|| rustix::fs::mkfifoat(rustix::fs::CWD, &target, rustix::fs::Mode::RWXU).unwrap()),
        ("a hard link", &|| {
            fs::write(&outside, b"theirs").unwrap();
            fs::hard_link(&outside, &target).unwrap();
        }),
    ];
    for (what, put) in place {
        put();
        let before = target.symlink_metadata().unwrap().ino();
        let ran = bob.run(&["get", &link]);
        assert_eq!(ran.code, 9, "{what}: {}", ran.stderr);
        assert_eq!(target.symlink_metadata().unwrap().ino(), before, "{what}");
        let _ = fs::remove_file(&target).or_else(|_| fs::remove_dir(&target));
    }
    assert_eq!(fs::read(&outside).unwrap(), b"theirs");
}

/// While a directory arrives, its parent is moved away and a symlink to a victim's directory put in its place.
#[test]
fn f1_a_parent_folder_that_is_swapped_for_a_symlink_leads_nowhere() {
    let (ask, asked) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let (ask, gone) = (std::sync::Mutex::new(ask), std::sync::Mutex::new(gone));
    let swarm = Swarm::start(0);
    let _peer = common::fake::FakePeer::join(&swarm, 81, move |chunk, _, out| {
        let _ = ask.lock().unwrap().send(());
        let _ = gone.lock().unwrap().recv_timeout(Duration::from_secs(30));
        common::fake::answer(out, "200 X", chunk)
    });
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("folder/one", b"1");
    alice.write("folder/sub/two", b"2");
    let link = alice.share(&["folder", "--replicas", "1"]);
    fs::create_dir(bob.path("downloads")).unwrap();
    fs::create_dir(bob.path("victim")).unwrap();
    let get = bob.start(&["get", &link, "-o", "downloads/"]);
    asked.recv_timeout(Duration::from_secs(60)).unwrap();
    rustix::fs::rename(bob.path("downloads"), bob.path("moved")).unwrap();
    std::os::unix::fs::symlink("victim", bob.path("downloads")).unwrap();
    drop(go);
    let ran = Ran::of(get.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(fs::read_dir(bob.path("victim")).unwrap().count(), 0);
    assert_eq!(bob.read("moved/folder/sub/two"), b"2");
}
