//! What programs are told with `--json`: the shape of every answer, reviewed like code, and described in `docs/json.md`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::person::{Person, Ran};
use common::samples;
use common::swarm::Swarm;
use parcelry::crash::{self, Point};
use serde_json::Value;

/// Fields of values that are the API's own, which its OpenAPI documents describe.
const OF_THE_API: &[&str] =
    &["status.peers[].", "status.health.", "tokens ls.tokens[].allowance.", "tokens ls.tokens[].used."];

/// Every field of a value with its type, an array's by its first element.
fn shape(of: &str, value: &Value, lines: &mut BTreeSet<String>) {
    let word = match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(items) => {
            items.iter().take(1).for_each(|item| shape(&format!("{of}[]"), item, lines));
            "list"
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| shape(&format!("{of}.{name}"), value, lines));
            return;
        }
    };
    lines.insert(format!("{of}: {word}"));
}

struct Shapes(BTreeSet<String>);

impl Shapes {
    /// Takes in the document that a command prints.
    fn document(&mut self, name: &str, ran: &Ran) {
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        shape(name, &ran.document(), &mut self.0);
    }

    /// Takes in the event with which a command ends.
    fn last_event(&mut self, name: &str, ran: &Ran) {
        shape(name, ran.events().last().unwrap(), &mut self.0);
    }
}

fn run(person: &Person, args: &[&str]) -> Ran {
    person.run(&[args, &["--json"]].concat())
}

#[test]
fn every_answer_has_the_shape_that_is_described() {
    let mut shapes = Shapes(BTreeSet::new());
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    shape("tracker", &swarm.tracker.ready, &mut shapes.0);
    shape("peer", &swarm.peers[0].ready, &mut shapes.0);

    let ran = run(&alice, &["join", &swarm.invite()]);
    shapes.last_event("join", &ran);
    shapes.document("swarms", &run(&alice, &["swarms"]));
    shapes.last_event("leave", &run(&alice, &["leave"]));

    alice.write("folder/file", &samples::bytes("shape", 200_000));
    let ran = run(&alice, &["share", "folder"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let stage = ran.events().into_iter().find(|event| event["stage"].is_string()).unwrap();
    shape("a stage", &stage, &mut shapes.0);
    shapes.last_event("share", &ran);
    let link = ran.events().last().unwrap()["link"].as_str().unwrap().to_owned();
    shapes.document("ls", &run(&alice, &["ls"]));
    shapes.document("inspect", &run(&alice, &["inspect", &link, "--receipts"]));
    shapes.document("status", &run(&alice, &["status"]));
    shapes.last_event("verify", &run(&alice, &["verify", &link]));
    shapes.last_event("extend", &run(&alice, &["extend", &link, "1d"]));

    let dies = (crash::VARIABLE, format!("{:?}", Point::AllWritten));
    bob.command(&["get", &link]).env(dies.0, dies.1).output().unwrap();
    shapes.document("ls --partial", &run(&bob, &["ls", "--partial"]));
    shapes.last_event("get", &run(&bob, &["get", &link]));
    bob.command(&["get", &link, "-o", "again"]).env(crash::VARIABLE, "AllWritten").output().unwrap();
    shapes.last_event("clean", &run(&bob, &["clean", "--yes"]));
    shapes.last_event("rm", &run(&alice, &["rm", &link]));
    shapes.last_event("an error", &run(&bob, &["get", &link]));

    shapes.last_event("invite", &swarm.operator(&["invite", "--json", "--name", "carol"]));
    let ran = swarm.operator(&["tokens", "ls", "--json"]);
    shapes.document("tokens ls", &ran);
    let id = ran.document()["tokens"][0]["id"].as_str().unwrap().to_owned();
    shapes.last_event("drain", &swarm.operator(&["drain", "p0", "--undo", "--json"]));
    shapes.last_event("tokens revoke", &swarm.operator(&["tokens", "revoke", &id, "--json"]));

    let text: String = shapes.0.iter().map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!("shapes", text);
    let description = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md")).unwrap();
    let own = shapes.0.iter().filter(|line| !OF_THE_API.iter().any(|start| line.starts_with(start)));
    let fields: BTreeSet<&str> = own
        .filter_map(|line| line.split_once(": ")?.0.trim_end_matches("[]").rsplit_once('.'))
        .map(|(_, name)| name)
        .collect();
    let missing: Vec<_> = fields.iter().filter(|name| !description.contains(&format!("`{name}`"))).collect();
    assert!(fields.len() > 40 && missing.is_empty(), "docs/json.md does not describe {missing:?}");
}
