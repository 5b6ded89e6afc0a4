//! What the servers' own descriptions (`/openapi.json`) say of tasks, problems and answers is what is served.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::http::{Answer, get, send};
use common::samples;
use common::swarm::Swarm;
use parcelry_core::api::{
    CopyTask, DropTask, HeartbeatResponse, PeerAddress, Problem, ProblemKind, RestoreTask, ShareChunks, Task,
};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::enclosed::ENCLOSED;
use parcelry_core::grant::GrantToken;
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::link::ShareLink;
use parcelry_core::seal::access_token;
use serde_json::{Value, json};

const SHARE: ShareId = ShareId::from_bytes([7; 32]);

/// What a server says of itself.
struct Description(Value);

impl Description {
    fn of(address: &str) -> Self {
        Self(get(address, "/openapi.json").json())
    }

    /// Why a value is not what the schema of this name says; none: it is.
    fn fault(&self, schema: &str, value: &Value) -> Option<String> {
        let root =
            json!({ "$ref": format!("#/components/schemas/{schema}"), "components": self.0["components"] });
        let validator = jsonschema::draft202012::new(&root).unwrap();
        validator.validate(value).err().map(|error| error.to_string())
    }

    /// The media types that an operation says it answers with.
    fn media_types(&self, path: &str, method: &str, status: &str) -> Vec<&str> {
        let responses = &self.0["paths"][path][method]["responses"];
        responses[status]["content"].as_object().unwrap().keys().map(String::as_str).collect()
    }
}

/// One task of each kind. A new kind does not compile before it is here.
fn tasks() -> Vec<Task> {
    let chunks = ChunkSet::full(3);
    let address = PeerAddress {
        id: PeerId::from_bytes([1; 32]),
        name: "p1".into(),
        addresses: vec!["192.0.2.1:9091".parse().unwrap()],
    };
    let (sources, grant) = (vec![address.clone()], GrantToken::from("v4.public.grant"));
    let restore = |terms, manifest| RestoreTask {
        share: SHARE,
        sources: sources.clone(),
        grant: grant.clone(),
        terms,
        manifest,
    };
    let all = vec![
        Task::Terms { share: SHARE, terms: "v4.public.terms".into() },
        Task::Withhold { share: SHARE },
        Task::Verify(ShareChunks { share: SHARE, chunks: chunks.clone() }),
        Task::Copy(CopyTask {
            share: SHARE,
            chunks: chunks.clone(),
            sources: sources.clone(),
            grant: grant.clone(),
        }),
        Task::Drop(DropTask { share: SHARE, chunks, holders: vec![address] }),
        Task::Restore(restore(None, None)),
        Task::Restore(restore(Some("v4.public.terms".into()), Some(parcelry_core::api::Blob(vec![1, 2])))),
    ];
    for task in &all {
        match task {
            Task::Terms { .. }
            | Task::Withhold { .. }
            | Task::Verify(_)
            | Task::Copy(_)
            | Task::Drop(_)
            | Task::Restore(_) => {}
        }
    }
    all
}

#[test]
fn a4_each_task_and_each_problem_is_as_described() {
    let swarm = Swarm::start(1);
    let (tracker, peer) =
        (Description::of(&swarm.tracker.address()), Description::of(&swarm.peers[0].address()));
    for task in tasks() {
        let value = serde_json::to_value(&task).unwrap();
        assert_eq!(tracker.fault("Task", &value), None, "{value}");
        let mut more = value.clone();
        more["kind"] = json!("another");
        assert!(tracker.fault("Task", &more).is_some(), "{more}");
    }
    let beat = HeartbeatResponse { tasks: tasks().into(), now_ms: Some(1), inventory_after_ms: None };
    assert_eq!(tracker.fault("HeartbeatResponse", &serde_json::to_value(&beat).unwrap()), None);
    for &kind in ProblemKind::ALL {
        let value = serde_json::to_value(Problem::new(kind, "what happened")).unwrap();
        for description in [&tracker, &peer] {
            assert_eq!(description.fault("Problem", &value), None, "{value}");
        }
    }
    assert!(tracker.fault("Problem", &json!({ "type": "NoRoute" })).is_some());
}

#[test]
fn a4_what_is_served_is_as_described() {
    let swarm = Swarm::start(2);
    let (tracker, peer) = (swarm.tracker.address(), swarm.peers[0].address());
    let alice = swarm.person();
    alice.write("file", &samples::bytes("described", 70_000));
    let link: ShareLink = alice.share(&["file"]).parse().unwrap();
    let access = format!("Authorization: bearer {}\r\n", access_token(&link.secret).expose_text());
    let share = link.share;
    let asked = |address: &str, path: &str, headers: &str| send(address, "GET", path, headers, b"");
    let admin = swarm.bearer("admin");
    for (address, path, template, headers, schema) in [
        (&tracker, "/healthz".to_owned(), "/healthz", "", "Health"),
        (&tracker, "/v1/peers".to_owned(), "/v1/peers", &*admin, "PeerList"),
        (&tracker, "/v1/shares".to_owned(), "/v1/shares", &admin, "ShareList"),
        (&tracker, "/v1/invites".to_owned(), "/v1/invites", &admin, "InviteList"),
        (&tracker, format!("/v1/shares/{share}"), "/v1/shares/{id}", &access, "LookUpResponse"),
        (
            &peer,
            format!("/v1/shares/{share}/manifest"),
            "/v1/shares/{id}/manifest",
            &access,
            "ManifestResponse",
        ),
        (&peer, format!("/v1/shares/{share}/chunks"), "/v1/shares/{id}/chunks", &access, "HoldingResponse"),
    ] {
        let (description, answer) = (Description::of(address), asked(address, &path, headers));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(description.fault(schema, &answer.json()), None, "{path}");
        let media_types = description.media_types(template, "get", "200");
        assert!(media_types.contains(&&*media_type(&answer)), "{path}");
        if media_types.contains(&ENCLOSED) {
            let answer = asked(address, &path, &format!("{headers}Accept: {ENCLOSED}\r\n"));
            assert_eq!(media_type(&answer), ENCLOSED, "{path}");
            let len = u32::from_be_bytes(*answer.body.first_chunk().unwrap()) as usize;
            let head: Value = serde_json::from_slice(&answer.body[4..4 + len]).unwrap();
            assert_eq!(description.fault(schema, &head), None, "{path}");
            assert!(head["manifest"].is_null() && answer.body[4 + len..].starts_with(b"PRCL"), "{path}");
        }
        if template != "/healthz" {
            let refused = asked(address, &path, "Authorization: Bearer nothing\r\n");
            assert_eq!(description.media_types(template, "get", "default"), [media_type(&refused)], "{path}");
            assert_eq!(description.fault("Problem", &refused.json()), None, "{path}");
        }
    }
    for address in [&tracker, &peer] {
        let answer = get(address, "/metrics");
        assert_eq!(Description::of(address).media_types("/metrics", "get", "200"), [media_type(&answer)]);
    }
}

/// The media type of an answer without its parameters.
fn media_type(answer: &Answer) -> String {
    let line = answer.header("content-type").unwrap();
    line.split(';').next().unwrap().to_owned()
}

/// The requests that carry a manifest are described in both layouts, and may leave it out of the JSON.
#[test]
fn a4_requests_with_a_manifest_are_as_described() {
    let swarm = Swarm::start(1);
    let mut enclosing = Vec::new();
    for address in [swarm.tracker.address(), swarm.peers[0].address()] {
        let description = Description::of(&address);
        for (path, item) in description.0["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
                if !content.contains_key(ENCLOSED) {
                    continue;
                }
                let schema = content["application/json"]["schema"]["$ref"].as_str().unwrap();
                let schema = schema.rsplit('/').next().unwrap();
                let mut request = json!({ "terms": "v4.public.terms" });
                match schema {
                    "AnnounceRequest" => {
                        request["share"] = json!(SHARE);
                        request["chunks"] = json!("3.4A");
                    }
                    "CommitRequest" => request["chunks"] = json!("3.4A"),
                    "PublishRequest" => request["receipts"] = json!(["v4.public.receipt"]),
                    _ => assert_eq!(schema, "FinishRequest"),
                }
                for _ in 0..2 {
                    assert_eq!(description.fault(schema, &request), None, "{request}");
                    request["manifest"] = json!("UFJDTA");
                }
                enclosing.push(format!("{method} {path}"));
            }
        }
    }
    enclosing.sort();
    let routes = [
        "post /v1/peers/{id}/shares",
        "put /v1/shares/{id}",
        "put /v1/shares/{id}/manifest",
        "put /v1/shares/{id}/upload",
    ];
    assert_eq!(enclosing, routes);
}

/// Every route that needs a credential names it, and every credential that is named is described.
#[test]
fn a4_credentials_are_described() {
    let swarm = Swarm::start(1);
    for address in [swarm.tracker.address(), swarm.peers[0].address()] {
        let Description(api) = Description::of(&address);
        let schemes = api["components"]["securitySchemes"].as_object().unwrap();
        for (path, item) in api["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let needed = operation["security"].as_array().into_iter().flatten();
                for name in needed.flat_map(|needed| needed.as_object().unwrap().keys()) {
                    assert!(schemes.contains_key(name), "{method} {path}: {name}");
                }
            }
        }
        assert!(schemes.contains_key("grant"));
    }
}
