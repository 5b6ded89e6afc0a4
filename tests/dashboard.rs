//! The operator's page as a browser uses it: sign-in, what a cookie may do, invites, shares, events.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::events::Events;
use common::http::{Answer, json, send, sign_in};
use common::swarm::Swarm;
use common::{tls, wait_for};
use parcelry_core::api::ProblemKind;
use parcelry_core::link::ShareLink;
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

const OWN: &str = "Sec-Fetch-Site: same-origin\r\n";

fn try_token(swarm: &Swarm, token: &str) -> Answer {
    json(&swarm.tracker.address(), "POST", "/v1/session", "", &json!({ "token": token }))
}

fn look(swarm: &Swarm, path: &str, headers: &str) -> Answer {
    send(&swarm.tracker.address(), "GET", path, headers, b"")
}

fn sign_out(swarm: &Swarm, headers: &str) -> Answer {
    send(&swarm.tracker.address(), "DELETE", "/v1/session", headers, b"")
}

fn make_invite(swarm: &Swarm, headers: &str, body: &Value) -> Answer {
    json(&swarm.tracker.address(), "POST", "/v1/invites", headers, body)
}

fn invites(swarm: &Swarm) -> Vec<Value> {
    look(swarm, "/v1/invites", &swarm.bearer("admin")).json()["invites"].as_array().unwrap().clone()
}

fn shares(swarm: &Swarm) -> Vec<Value> {
    look(swarm, "/v1/shares", &swarm.bearer("admin")).json()["shares"].as_array().unwrap().clone()
}

#[test]
fn the_admin_signs_in_with_the_token_and_goes_on_with_a_cookie_and_a_secret() {
    let swarm = Swarm::start(0);
    let answer = try_token(&swarm, &swarm.token("admin"));
    let set = answer.header("set-cookie").unwrap();
    let (pair, attributes) = set.split_once(';').unwrap();
    assert_eq!(answer.status, 200);
    assert!(pair.starts_with("parcelry_session=") && pair.len() == "parcelry_session=".len() + 43);
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Strict; Max-Age=43200", "plain HTTP on this machine");
    let secret = answer.json()["secret"].as_str().unwrap().to_owned();
    assert!(secret.len() == 43 && !pair.contains(&secret), "{secret}");
    let cookie = format!("Cookie: {pair}\r\nSession-Secret: {secret}\r\n");
    for path in ["/v1/session", "/v1/peers", "/v1/invites", "/v1/shares"] {
        assert!(matches!(look(&swarm, path, &cookie).status, 200 | 204), "{path}");
        assert_eq!(look(&swarm, path, "").status, 403, "{path}");
    }
    let other = sign_in(&swarm);
    assert_ne!(cookie, other, "a new session with every sign-in");
    let answer = sign_out(&swarm, &format!("{cookie}{OWN}"));
    assert_eq!(answer.status, 204);
    let unset = answer.header("set-cookie").unwrap();
    assert!(unset.starts_with("parcelry_session=;") && unset.contains("Max-Age=0"), "{unset}");
    assert_eq!(look(&swarm, "/v1/session", &cookie).status, 403);
    assert_eq!(look(&swarm, "/v1/session", &other).status, 204, "another browser stays signed in");
}

#[test]
fn over_tls_the_cookie_is_for_tls_only() {
    let swarm = Swarm::start(0);
    let body = json!({ "token": swarm.token("admin") }).to_string();
    let (address, pin) = (swarm.tracker.address(), swarm.tracker_pin());
    let headers = "Content-Type: application/json\r\n";
    let answer = tls::send(&address, &pin, None, ("POST", "/v1/session"), headers, body.as_bytes());
    assert!(answer.header("set-cookie").unwrap().ends_with("; Secure"), "{}", answer.head);
}

#[test]
fn w8_other_tokens_are_refused_and_after_some_of_them_one_has_to_wait() {
    let swarm = Swarm::start(0);
    for _ in 0..10 {
        assert_eq!(try_token(&swarm, &swarm.token("admin")).status, 200, "what succeeds does not count");
    }
    let unknown = "A".repeat(43);
    for token in [&swarm.token("sender"), &swarm.token("peer"), &unknown, "", "x"] {
        let answer = try_token(&swarm, token);
        assert_eq!((answer.status, answer.problem()), (403, ProblemKind::AccessDenied.urn().into()));
        assert!(answer.header("set-cookie").is_none());
    }
    for token in [&unknown, &swarm.token("admin")] {
        let answer = try_token(&swarm, token);
        assert_eq!((answer.status, answer.problem()), (429, ProblemKind::TooManyRequests.urn().into()));
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=12).contains(&seconds), "{seconds}");
    }
    assert!(!swarm.tracker.log().contains(&unknown), "no token stands in the log");
}

#[test]
fn w8_a_cookie_that_the_client_chose_is_never_taken() {
    let swarm = Swarm::start(0);
    let chosen = format!("Cookie: parcelry_session={}\r\n", "B".repeat(42) + "A");
    let body = json!({ "token": swarm.token("admin") });
    let answer = json(&swarm.tracker.address(), "POST", "/v1/session", &chosen, &body);
    let set = answer.header("set-cookie").unwrap();
    assert!(answer.status == 200 && !set.contains("BBBB"), "{set}");
    let secret = format!("Session-Secret: {}\r\n", answer.json()["secret"].as_str().unwrap());
    for cookie in
        [&chosen[..], "Cookie: parcelry_session=\r\n", "Cookie: parcelry_session\r\n", "Cookie: ;\r\n"]
    {
        assert_eq!(look(&swarm, "/v1/session", &format!("{cookie}{secret}")).status, 403);
    }
    let token = swarm.token("admin");
    let headers = format!("Cookie: parcelry_session={token}\r\n{secret}");
    assert_eq!(look(&swarm, "/v1/session", &headers).status, 403);
}

/// What the calls would change, if one of them did.
fn state(swarm: &Swarm) -> (Vec<Value>, Vec<Value>, usize) {
    let peers = swarm.peer_list().into_iter().map(|peer| json!([peer["id"], peer["draining"]])).collect();
    (peers, invites(swarm), shares(swarm).len())
}

/// A browser sends the cookie to every port of the host, and whoever listens there is no browser and writes what it
/// likes into the other headers.
#[test]
fn s15_the_cookie_alone_opens_nothing_whatever_else_a_client_says() {
    let swarm = Swarm::start(1);
    let tracker = swarm.tracker.address();
    let signed_in = sign_in(&swarm);
    let (cookie, secret) = signed_in.split_once("\r\n").unwrap();
    let invite = json!({ "role": "sender", "name": "mallory", "expires_ms": null });
    for said in [
        "",
        OWN,
        "Sec-Fetch-Site: none\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        &format!("Origin: http://{tracker}\r\n{OWN}"),
        &format!("{OWN}Session-Secret: \r\n"),
        &format!("{OWN}Session-Secret: {}\r\n", "A".repeat(43)),
        &format!("{OWN}Session-Secret: {}\r\n", cookie.split_once('=').unwrap().1),
    ] {
        let headers = format!("{cookie}\r\n{said}");
        for path in ["/v1/session", "/v1/peers", "/v1/invites", "/v1/shares", "/v1/events"] {
            assert_eq!(look(&swarm, path, &headers).status, 403, "{path} with {said:?}");
        }
        assert_eq!(make_invite(&swarm, &headers, &invite).status, 403, "{said:?}");
        assert_eq!(sign_out(&swarm, &headers).status, 403, "{said:?}");
        assert_eq!(look(&swarm, "/v1/session", &format!("{secret}{said}")).status, 403, "the secret alone");
    }
    assert_eq!(look(&swarm, "/v1/session", &signed_in).status, 204);
    assert_eq!(Events::open(&tracker, &signed_in).answer.status, 200);
    assert_eq!(make_invite(&swarm, &format!("{signed_in}{OWN}"), &invite).status, 200);
}

#[test]
fn w2_another_sites_request_changes_nothing_even_with_the_secret() {
    let swarm = Swarm::start(1);
    let alice = swarm.person();
    alice.write("file", b"x");
    let share = alice.share(&["file", "--replicas", "1"]).parse::<ShareLink>().unwrap().share;
    let tracker = swarm.tracker.address();
    let peer = swarm.peer_list()[0]["id"].as_str().unwrap().to_owned();
    let sender = invites(&swarm).into_iter().find(|invite| invite["role"] == "sender").unwrap();
    let invite = json!({ "role": "sender", "name": "mallory", "expires_ms": null });
    let calls = [
        ("PUT", format!("/v1/peers/{peer}/drain"), json!({ "draining": true })),
        ("POST", "/v1/invites".into(), invite),
        ("DELETE", format!("/v1/invites/{}", sender["id"].as_str().unwrap()), Value::Null),
        ("DELETE", format!("/v1/shares/{share}"), Value::Null),
        ("DELETE", format!("/v1/peers/{peer}"), Value::Null),
        ("DELETE", "/v1/session".into(), Value::Null),
    ];
    let (cookie, before) = (sign_in(&swarm), state(&swarm));
    for (method, path, body) in &calls {
        for elsewhere in [
            "",
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\n",
            "Sec-Fetch-Site: none\r\n",
            "Origin: https://evil.example\r\n",
            "Origin: null\r\n",
            &format!("Sec-Fetch-Site: cross-site\r\nOrigin: http://{tracker}\r\n"),
        ] {
            let answer = json(&tracker, method, path, &format!("{cookie}{elsewhere}"), body);
            assert_eq!(answer.status, 403, "{method} {path} with {elsewhere:?}");
            assert_eq!(answer.problem(), ProblemKind::AccessDenied.urn());
        }
        // As a picture in another page would ask.
        look(&swarm, path, &format!("{cookie}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: image\r\n"));
        assert_eq!(state(&swarm), before, "{method} {path}");
    }
    // A form of another site cannot say that it sends JSON.
    let form = format!("{cookie}{OWN}Content-Type: text/plain\r\n");
    assert_eq!(send(&tracker, "POST", "/v1/invites", &form, b"{}").status, 415);
    for (method, path, body) in &calls {
        let own = format!("{cookie}Origin: http://{tracker}\r\n");
        let answer = json(&tracker, method, path, &own, body);
        assert!(matches!(answer.status, 200 | 204), "{method} {path}: {}", answer.text());
    }
    assert_eq!(look(&swarm, "/v1/session", &cookie).status, 403);
}

#[test]
fn who_is_not_the_admin_any_more_hears_nothing_more() {
    let swarm = Swarm::start(0);
    let tracker = swarm.tracker.address();
    let (first, second) = (sign_in(&swarm), sign_in(&swarm));
    let mut streams =
        [&first, &second, &swarm.bearer("admin")].map(|headers| Events::open(&tracker, headers));
    for stream in &mut streams {
        assert_eq!(stream.answer.status, 200);
        stream.wait_for("swarm", |_| true);
    }
    let [signed_out, mut others @ ..] = streams;
    let to_the_end = |mut stream: Events| while stream.next().is_some() {};
    assert_eq!(sign_out(&swarm, &format!("{first}{OWN}")).status, 204);
    to_the_end(signed_out);
    others.iter_mut().for_each(|stream| drop(stream.wait_for("swarm", |_| true)));
    let admin = invites(&swarm).into_iter().find(|invite| invite["role"] == "admin").unwrap();
    let id = admin["id"].as_str().unwrap();
    let refused = send(&tracker, "DELETE", &format!("/v1/invites/{id}"), &swarm.bearer("admin"), b"");
    assert_eq!((refused.status, refused.problem()), (409, ProblemKind::Conflict.urn().into()));
    assert_eq!(swarm.operator(&["tokens", "revoke", id]).code, 0);
    assert_eq!(look(&swarm, "/v1/session", &second).status, 403);
    others.into_iter().for_each(to_the_end);
    assert_eq!(try_token(&swarm, &swarm.token("admin")).status, 403);
}

/// Changes a database of the tracker beside it.
fn alter(swarm: &Swarm, database: &str, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(swarm.directory.path().join("tracker").join(database));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

#[test]
fn who_listens_goes_on_seeing_what_fails_when_the_databases_do() {
    let swarm = Swarm::start(0);
    let tracker = swarm.tracker.address();
    let session = sign_in(&swarm);
    let fails =
        |data: &Value| data["failing"].as_array().unwrap().iter().any(|row| row["worker"] == "sampler");
    alter(&swarm, "tracker.db", "ALTER TABLE shares RENAME TO away");
    let mut events = Events::open(&tracker, &session);
    let (_, first) = events.next().unwrap();
    assert_eq!(first["health"]["shares"], Value::Null, "nobody knows how many there are");
    alter(&swarm, "tokens.db", "ALTER TABLE tokens RENAME TO away");
    assert_eq!(look(&swarm, "/v1/session", &session).status, 500);
    for headers in [&session, &swarm.bearer("admin")] {
        assert_eq!(look(&swarm, "/v1/events", headers).status, 500, "nobody is let in");
    }
    let before = events.wait_for("swarm", fails)["now_ms"].clone();
    events.wait_for("swarm", |data| fails(data) && data["now_ms"] != before);
    alter(&swarm, "tracker.db", "ALTER TABLE away RENAME TO shares");
    events.wait_for("swarm", |data| !fails(data) && data["health"]["shares"] == 0);
    alter(&swarm, "tokens.db", "ALTER TABLE away RENAME TO tokens");
    assert_eq!(sign_out(&swarm, &format!("{session}{OWN}")).status, 204);
    let left = std::iter::from_fn(|| events.next()).take(100).count();
    assert!(left < 100, "the stream goes on after the sign-out");
}

#[test]
fn a_killed_peer_turns_suspect_and_dead_and_comes_back_on_the_page() {
    let mut swarm = Swarm::start_with(2, &["--heartbeat", "200ms", "--dead-after", "5s"]);
    let mut events = Events::open(&swarm.tracker.address(), &sign_in(&swarm));
    assert!(events.answer.header("content-type").unwrap().starts_with("text/event-stream"));
    assert_eq!(events.answer.header("cache-control").as_deref(), Some("no-store"));
    let (first, swarm_now) = events.next().unwrap();
    assert_eq!((first.as_str(), &swarm_now["health"]["shares"]), ("swarm", &json!(0)));
    let (second, rows) = events.next().unwrap();
    assert_eq!((second.as_str(), rows["peers"].as_array().unwrap().len()), ("peers", 2));
    events.wait_for("history", |data| data["samples"].is_array());
    events.wait_for("work", |data| data == &json!({ "copies": [], "more": 0 }));
    events.wait_for("log", |data| data["entries"].as_array().unwrap().len() >= 3);
    let row = events.wait_for_peer("p1", "alive");
    let now = parcelry::clock::now_ms();
    assert!(row["seen_ms"].as_u64().unwrap().abs_diff(now) < 10_000, "{row}");
    swarm.peers[1].kill();
    let row = events.wait_for_peer("p1", "suspect");
    assert_eq!(row["received_bytes_per_s"], 0);
    assert_eq!(events.wait_for_entry("peer-suspect")["peer_name"], "p1");
    events.wait_for_peer("p1", "dead");
    assert_eq!(events.wait_for_entry("peer-dead")["peer_name"], "p1");
    swarm.add_peer(1, &[]);
    events.wait_for_peer("p1", "alive");
    events.wait_for_entry("peer-back");
    assert_eq!(swarm.peers[1].stop(), Some(0));
    events.wait_for("peers", |data| data["gone"].as_array().unwrap().len() == 1);
    events.wait_for_entry("peer-left");
}

#[test]
fn a_share_is_told_and_listed_with_how_it_stands() {
    let mut swarm = Swarm::start(2);
    let alice = swarm.person();
    let mut events = Events::open(&swarm.tracker.address(), &swarm.bearer("admin"));
    alice.write("file", &[7; 200_000]);
    let link = alice.share(&["file", "--chunk-size", "64KiB"]);
    let share = link.parse::<ShareLink>().unwrap().share.to_string();
    assert_eq!(events.wait_for_entry("share-published")["share"], share[..]);
    swarm.wait_for_proofs();
    let listed = shares(&swarm);
    let info = &listed[0];
    assert_eq!((listed.len(), &info["share"]), (1, &json!(share)));
    assert_eq!((&info["total_bytes"], &info["chunk_count"]), (&json!(200_000), &json!(4)));
    assert_eq!((&info["replicas"], &info["fewest_replicas"]), (&json!(2), &json!(2)));
    assert_eq!((&info["missing_chunks"], &info["condition"]), (&json!(0), &json!("healthy")));
    assert_eq!(info["peers"].as_array().unwrap().len(), 2);
    swarm.peers[0].kill();
    wait_for("the share to be endangered", || shares(&swarm)[0]["condition"] == "endangered");
    assert_eq!(shares(&swarm)[0]["missing_chunks"], 4);
    events.wait_for("swarm", |data| data["health"]["endangered"] == 1);
    assert_eq!(alice.run(&["rm", &link]).code, 0);
    events.wait_for_entry("share-deleted");
    assert_eq!(shares(&swarm), Vec::<Value>::new());
}

#[test]
fn shares_are_listed_in_pages() {
    let swarm = Swarm::start(1);
    let alice = swarm.person();
    let mut expected: Vec<String> = Vec::new();
    for number in 0..3 {
        let name = format!("file{number}");
        alice.write(&name, name.as_bytes());
        let link: ShareLink = alice.share(&[&name, "--replicas", "1"]).parse().unwrap();
        expected.push(link.share.to_string());
    }
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = look(&swarm, &format!("/v1/shares?limit=2{after}"), &swarm.bearer("admin")).json();
        found.extend(
            page["shares"].as_array().unwrap().iter().map(|s| s["share"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    for query in ["limit=0", "limit=201", "limit=x", "after=x", "other=1"] {
        let answer = look(&swarm, &format!("/v1/shares?{query}"), &swarm.bearer("admin"));
        assert_eq!((answer.status, answer.problem()), (400, ProblemKind::BadRequest.urn().into()), "{query}");
    }
}

#[test]
fn an_invite_made_on_the_page_admits_a_peer_until_it_is_revoked() {
    let mut swarm = Swarm::start(0);
    let own = format!("{}{OWN}", sign_in(&swarm));
    let tomorrow = parcelry::clock::now_ms() + 24 * 3_600_000;
    let body = json!({ "role": "peer", "name": "cellar", "expires_ms": tomorrow });
    let answer = make_invite(&swarm, &own, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let invite = answer.json()["invite"].as_str().unwrap().to_owned();
    swarm.add_peer(0, &["--invite", &invite]);
    swarm.wait_for_peers(1, "alive");
    let listed = invites(&swarm).into_iter().find(|invite| invite["name"] == "cellar").unwrap();
    assert_eq!((&listed["role"], &listed["expires_ms"]), (&json!("peer"), &json!(tomorrow)));
    assert!(!look(&swarm, "/v1/invites", &own).text().contains(invite.rsplit('.').next().unwrap()));
    for (body, status) in [
        (json!({ "role": "admin", "name": "x", "expires_ms": null }), 400),
        (json!({ "role": "sender", "name": "", "expires_ms": null }), 400),
        (json!({ "role": "sender", "name": "a\nb", "expires_ms": null }), 400),
        (json!({ "role": "sender", "name": "x".repeat(65), "expires_ms": null }), 400),
        (json!({ "role": "sender", "name": "x", "expires_ms": 1 }), 400),
        (json!({ "role": "sender", "name": "x", "expires_ms": null }), 200),
    ] {
        assert_eq!(make_invite(&swarm, &own, &body).status, status, "{body}");
    }
    let revoke =
        |id: &str| send(&swarm.tracker.address(), "DELETE", &format!("/v1/invites/{id}"), &own, b"").status;
    assert_eq!(
        [revoke(listed["id"].as_str().unwrap()), revoke("0011223344556677"), revoke("x")],
        [204, 404, 400]
    );
    swarm.wait_for_peers(1, "dead");
    let mut events = Events::open(&swarm.tracker.address(), &own);
    let log = events.wait_for("log", |_| true);
    let kinds: Vec<&str> =
        log["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    for kind in ["signed-in", "invite-made", "peer-registered", "invite-revoked"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}

#[test]
fn what_peers_take_and_serve_is_told_as_rates() {
    let swarm = Swarm::start_with(1, &["--heartbeat", "3s", "--dead-after", "60s"]);
    let alice = swarm.person();
    let mut events = Events::open(&swarm.tracker.address(), &swarm.bearer("admin"));
    // From the first heartbeat on the tracker counts.
    events.wait_for("peers", |data| data["peers"][0]["scrub"]["total_bytes"].is_u64());
    alice.write("file", &vec![1; 3_000_000]);
    alice.share(&["file", "--replicas", "1"]);
    let now = events.wait_for("swarm", |data| data["received_bytes_per_s"].as_u64().unwrap() > 0);
    assert!(now["received_bytes_per_s"].as_u64().unwrap() <= 3_100_000, "{now}");
    assert_eq!(now["served_bytes_per_s"], 0);
    let mut later = Events::open(&swarm.tracker.address(), &swarm.bearer("admin"));
    let history = later.wait_for("history", |_| true);
    let samples = history["samples"].as_array().unwrap();
    assert!(samples.iter().any(|sample| sample["received_bytes_per_s"].as_u64().unwrap() > 0), "{history}");
}

#[test]
fn sixteen_pages_listen_at_once_and_none_of_them_delays_the_trackers_end() {
    let mut swarm = Swarm::start(0);
    let (tracker, admin) = (swarm.tracker.address(), swarm.bearer("admin"));
    let mut streams: Vec<Events> = (0..16).map(|_| Events::open(&tracker, &admin)).collect();
    let refused = Events::open(&tracker, &admin).answer;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    drop(streams.pop());
    wait_for("a place", || Events::open(&tracker, &admin).answer.status == 200);
    streams[0].wait_for("swarm", |_| true);
    assert_eq!(swarm.tracker.stop(), Some(0));
    let log = swarm.tracker.log();
    for late in ["did not finish in time", "did not stop in time"] {
        assert!(!log.contains(late), "a stream did not end by itself: {log}");
    }
    while streams[0].next().is_some() {}
}
