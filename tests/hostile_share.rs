//! Shares that a malicious sender made by hand: nothing leaves the target directory, nothing is saved.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::between::spoil;
use common::by_hand;
use common::peak;
use common::person::names_in;
use common::samples;
use common::swarm::Swarm;
use parcelry::crash::{self, Point};
use parcelry_core::geometry::{ChunkSize, Geometry};
use parcelry_core::limits::METADATA_AT_ONCE_BYTES_MAX;
use parcelry_core::name::acts_on_terminal;

/// Publishes one chunk of `content` with this metadata, whatever it says; `spoil` changes the sealed bytes
/// before they are hashed, as a sender with a faulty machine would.
fn publish(swarm: &Swarm, content: &[u8], metadata: &str, spoil: impl Fn(&mut Vec<u8>)) -> String {
    let geometry = Geometry::new(content.len() as u64, ChunkSize::from_log2(16).unwrap()).unwrap();
    by_hand::publish(swarm, geometry, metadata, |keys| {
        let mut sealed = content.to_vec();
        keys.seal_chunk(&geometry, geometry.index(0).unwrap(), &mut sealed);
        spoil(&mut sealed);
        sealed
    })
}

fn metadata(name: &str, extension: &str, path: &str, size: usize) -> String {
    serde_json::json!({
        "original_filename": name, "extension": extension, "size": size, "chunk_count": 1,
        "created": "2026-01-01T00:00:00Z", "dirs": [],
        "files": [{ "path": path, "offset": 0, "size": size, "executable": false, "modified": "2026-01-01T00:00:00Z" }],
    })
    .to_string()
}

#[test]
fn hostile_names_are_refused_and_nothing_is_saved() {
    let swarm = Swarm::start(1);
    let bob = swarm.person();
    let names = [
        "../evil",
        "/tmp/evil",
        "a/../../evil",
        "..",
        ".",
        "",
        ".bashrc",
        "a\\b",
        "a\nb",
        "\u{1b}]52;c;x\u{7}",
        "\u{202e}fdp",
    ];
    for name in names {
        for (top, path) in [(name, name), ("folder", &format!("folder/{name}"))] {
            if (name == ".bashrc" || name == "a/b") && top == "folder" {
                continue;
            }
            let link = publish(&swarm, b"evil", &metadata(top, "", path, 4), |_| {});
            let ran = bob.run(&["get", &link]);
            assert_eq!(ran.code, 7, "{name:?} {}", ran.stderr);
            assert!(
                !ran.stderr.contains(['\u{1b}', '\u{202e}', '\u{7}']),
                "printed as it is: {:?}",
                ran.stderr
            );
            assert_eq!(bob.names(), [""; 0], "{name:?}");
        }
    }
    assert_eq!(common::person::names_in(bob.home.path()), ["work"], "and nothing beside the folder, either");
}

#[test]
fn f07_hostile_symlinks_are_refused_and_nothing_is_saved() {
    let swarm = Swarm::start(1);
    let bob = swarm.person();
    bob.write("mine", b"mine");
    for links in [
        &[("folder/l", "/etc/passwd")][..],
        &[("folder/l", "..")],
        &[("folder/l", "../mine")],
        &[("folder/l", "../folder/d/evil")],
        &[("folder/l", "none")],
        &[("folder/l", "l")],
        &[("folder/l", "d/../../mine")],
        &[("folder/d", "..")],
        &[("folder/D", "..")],
        &[("folder/d/evil", "..")],
        &[("folder/l", "d"), ("folder/l/x", "evil")],
        &[("folder/l", "d"), ("folder/L", "d")],
        &[("folder", "folder/d")],
        &[("l", "folder")],
        &[("folder/../l", "folder")],
        &[("folder/l", "d/evil\u{1b}]0;x\u{7}")],
    ] {
        let list: Vec<_> = links
            .iter()
            .map(|(path, target)| serde_json::json!({ "path": path, "target": target }))
            .collect();
        let mut hostile: serde_json::Value =
            serde_json::from_str(&metadata("folder", "", "folder/d/evil", 4)).unwrap();
        hostile["links"] = list.into();
        let link = publish(&swarm, b"evil", &hostile.to_string(), |_| {});
        let ran = bob.run(&["get", &link]);
        assert_eq!(ran.code, 7, "{links:?} {}", ran.stderr);
        assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
        assert_eq!(bob.names(), ["mine"], "{links:?}");
    }
    assert_eq!(bob.read("mine"), b"mine");
}

#[test]
fn f06_names_that_are_none_on_some_systems_are_saved_where_they_are_names() {
    let swarm = Swarm::start(1);
    for name in ["CON", "e\u{301}", "x ", "C:evil", "..."] {
        for (top, path) in [(name, name.to_owned()), ("folder", format!("folder/{name}"))] {
            let bob = swarm.person();
            // Nothing hidden stands at the top.
            if top.starts_with('.') {
                continue;
            }
            let link = publish(&swarm, b"good", &metadata(top, "", &path, 4), |_| {});
            bob.get(&link);
            assert_eq!(bob.read(&path), b"good");
        }
    }
}

#[test]
fn s12_no_name_or_value_in_the_metadata_acts_on_the_terminal() {
    let swarm = Swarm::start(1);
    let bob = swarm.person();
    let sound: serde_json::Value = serde_json::from_str(
        &metadata("folder", "", "folder/file", 4).replace("\"dirs\":[]", "\"dirs\":[\"folder/d\"]"),
    )
    .unwrap();
    let mut places = 0;
    loop {
        let (mut changed, mut left) = (sound.clone(), places);
        if !spoil(&mut changed, &mut left) {
            break;
        }
        let link = publish(&swarm, b"evil", &changed.to_string(), |_| {});
        for args in [vec!["get", &link], vec!["inspect", &link], vec!["get", &link, "--json"]] {
            let ran = bob.run(&args);
            assert_eq!(ran.code, 7, "{changed} {}", ran.stderr);
            let printed = ran.stdout + &ran.stderr;
            assert!(!printed.contains(|c| c != '\n' && acts_on_terminal(c)), "{printed:?}");
            assert!(!printed.lines().any(|line| line.starts_with("error: forged")), "{printed:?}");
        }
        places += 1;
    }
    assert!(places > 20, "{places}");
}

#[test]
fn metadata_that_contradicts_the_manifest_is_refused() {
    let swarm = Swarm::start(1);
    let bob = swarm.person();
    for json in [
        metadata("file", "", "file", 5),
        metadata("file", ".exe", "file", 4),
        metadata("folder", "", "other/file", 4),
        metadata("file", "", "file", 4).replace("\"dirs\":[]", "\"dirs\":[],\"setuid\":true"),
        metadata("file", "", "file", 4).replace("\"offset\":0", "\"offset\":1"),
        "[".repeat(100_000),
        "{}".into(),
    ] {
        let link = publish(&swarm, b"evil", &json, |_| {});
        let ran = bob.run(&["get", &link]);
        assert_eq!(ran.code, 7, "{}", ran.stderr);
        assert_eq!(bob.names(), [""; 0]);
    }
}

/// It is opened where it stands, and what is too long in it is not taken out.
#[test]
fn s2_metadata_that_is_refused_takes_little_more_memory_than_its_bytes() {
    let swarm = Swarm::start(1);
    let bob = swarm.person();
    let peak = |json: &str| {
        let link = publish(&swarm, b"evil", json, |_| {});
        let (code, mib, _) = peak::run(&bob, &["get", "-q", &link]);
        assert_eq!(code, 7, "{}", &json[..20]);
        mib
    };
    let little = peak("{}");
    let sound = metadata("folder", "", "folder/file", 4);
    let with = |part: &str, by: &str, text: &str| {
        let many = text.repeat((8 << 20) / text.len());
        sound.replacen(part, &by.replace('%', &many), 1)
    };
    for (what, bomb) in [
        ("folders", with("[]", "[%\"folder/last\"]", "\"folder/x\",")),
        ("an extension", with("\"\"", "\"%\"", "x")),
        ("a table", with("[]", "\"%\"", "x")),
        ("a field", with("{", "{\"%\":1,", "x")),
        ("a symlink", with("[]", "[],\"links\":[{\"path\":\"folder/l\",\"target\":\"x%\"}]", "/x")),
    ] {
        let mib = peak(&bomb);
        assert!(mib <= little + 8 + 5, "{what}: {mib} MiB, and {little} MiB for next to nothing");
    }
    // What is little enough to be read in one pass takes some more for each entry.
    let at_once = |part: &str, by: &str, text: &str| {
        let many = vec![text; (METADATA_AT_ONCE_BYTES_MAX - 1024) / (text.len() + 1)].join(",");
        sound.replacen(part, &by.replace('%', &many), 1)
    };
    for (what, bomb) in [
        ("little folders", at_once("[]", "[%]", "\"a\"")),
        ("little symlinks", at_once("[]", "[],\"links\":[%]", "{\"path\":\"a\",\"target\":\"a\"}")),
        ("little modes", at_once("[]", "[],\"dir_modes\":[%]", "{\"path\":\"a\",\"mode\":1}")),
        ("lists for symlinks", at_once("[]", "[],\"links\":[%]", "[\"a\",\"b\"]")),
    ] {
        assert!(bomb.len() <= METADATA_AT_ONCE_BYTES_MAX, "{what}: {} bytes", bomb.len());
        let mib = peak(&bomb);
        assert!(mib <= little + 2 + 8 * 2 + 5, "{what}: {mib} MiB, and {little} MiB for next to nothing");
    }
}

#[test]
fn a_sound_share_made_by_hand_arrives() {
    let swarm = Swarm::start(1);
    let bob = swarm.person();
    let link = publish(&swarm, b"good", &metadata("file.txt", ".txt", "file.txt", 4), |_| {});
    bob.get(&link);
    assert_eq!(bob.read("file.txt"), b"good");
}

#[test]
fn bytes_that_the_sender_sealed_wrongly_blame_the_sender_not_the_peer() {
    let swarm = Swarm::start(1);
    let bob = swarm.person();
    let content = samples::bytes("spoiled", 1000);
    let link = publish(&swarm, &content, &metadata("file", "", "file", 1000), |sealed| sealed[500] ^= 1);
    let ran = bob.run(&["get", &link]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(ran.stderr.contains("not what its sender sealed"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("served wrong bytes"), "{}", ran.stderr);
    assert!(ran.stderr.contains("What was fetched of it was removed."), "{}", ran.stderr);
    assert_eq!(bob.names(), [""; 0], "nothing can become of it");
    assert_eq!(names_in(&bob.home.path().join(".local/state/parcelry/downloads")), [""; 0]);
}

#[test]
fn a_symlink_in_the_place_of_the_result_or_its_temporary_is_not_followed() {
    let swarm = Swarm::start(1);
    let bob = swarm.person();
    let link = publish(&swarm, b"good", &metadata("file.txt", ".txt", "file.txt", 4), |_| {});
    let outside = bob.home.path().join("outside");
    std::fs::write(&outside, b"untouched").unwrap();
    std::os::unix::fs::symlink(&outside, bob.path("file.txt")).unwrap();
    for args in [&["get", &link][..], &["get", &link, "--force"]] {
        assert_eq!(bob.run(args).code, 9);
    }
    std::fs::remove_file(bob.path("file.txt")).unwrap();
    let mut dies = bob.command(&["get", &link]);
    dies.env(crash::VARIABLE, format!("{:?}", Point::TemporaryMade)).output().unwrap();
    let temporary = bob.names().into_iter().find(|name| name.ends_with(".part")).unwrap();
    std::fs::remove_file(bob.path(&temporary)).unwrap();
    std::os::unix::fs::symlink(&outside, bob.path(&temporary)).unwrap();
    assert_eq!(bob.run(&["get", &link]).code, 0);
    assert_eq!(std::fs::read(&outside).unwrap(), b"untouched");
    assert_eq!(bob.read("file.txt"), b"good");
    assert!(!bob.path("file.txt").is_symlink());
}
