//! Somebody between a client and a server, with the server's own key: hands on every request, and changes one
//! string, number or name of one answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use parcelry::identity::Identity;
use parcelry::tls;
use serde_json::{Value, json};

use super::fake::{Fake, Request, answer};
use super::http::{self, Answer};

/// What is put in the place of a text: ESC, OSC 52, C1, reversed text, and a line of its own.
pub const HOSTILE: &str = "\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[2J\u{9b}31m\u{9d}0;x\u{9c}\u{90}\u{202e}\u{2066}\u{200f}\r\u{8}\u{7f}\u{2028}\nerror: forged";

/// Which answer is changed, and where: the place's number in the order of [`spoil`].
#[derive(Debug, Clone)]
pub struct Change {
    pub call: String,
    pub place: usize,
}

#[derive(Default)]
struct State {
    change: Option<Change>,
    /// What was called, with what the server answered.
    calls: Vec<(String, Value)>,
}

/// Stands in for one server of a swarm.
pub struct Between {
    fake: Fake,
    state: Arc<Mutex<State>>,
}

impl Between {
    /// Stands in for the server at `real`. In what it answers, these addresses are replaced.
    pub fn start(name: &str, identity: Identity, real: String, addresses: Vec<(String, SocketAddr)>) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let config = tls::server::pinned_config(&identity).unwrap();
        let (name, shared) = (name.to_owned(), Arc::clone(&state));
        let fake = Fake::start_with("127.0.0.1:0", identity, config, move |request, out| {
            let real = forward(&real, request);
            let mut body = real.text();
            for (from, to) in &addresses {
                body = body.replace(from, &to.to_string());
            }
            let call = format!("{name} {} {}", request.method, pattern(&request.path));
            // What is not JSON is handed on as it is: chunks, and answers without a body.
            let told = serde_json::from_str(&body).unwrap_or(Value::Null);
            let mut state = shared.lock().unwrap();
            state.calls.push((call.clone(), told.clone()));
            let change = state.change.clone().filter(|change| change.call == call);
            drop(state);
            match change {
                Some(change) => {
                    let (status, text) = spoiled(real.status, &told, change.place).unwrap();
                    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
                    answer(out, &format!("{status} X\r\nContent-Type: {kind}"), text.as_bytes())
                }
                None if told.is_null() => answer(out, &format!("{} X", real.status), &real.body),
                None => {
                    let kind = real.header("content-type").unwrap();
                    answer(out, &format!("{} X\r\nContent-Type: {kind}", real.status), body.as_bytes())
                }
            }
        });
        Self { fake, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.fake.address
    }

    /// Changes this answer from now on; none: all are handed on as they are.
    pub fn set(&self, change: Option<Change>) {
        self.state.lock().unwrap().change = change;
    }

    /// What was called since this was last asked, each call once, with its first answer.
    pub fn take_calls(&self) -> Vec<(String, Value)> {
        let mut calls: Vec<(String, Value)> = Vec::new();
        for (call, told) in self.state.lock().unwrap().calls.drain(..) {
            if calls.iter().all(|(known, _)| *known != call) {
                calls.push((call, told));
            }
        }
        calls
    }
}

/// In how many places an answer can be changed, the ones of a refusal in its place included.
pub fn places(told: &Value) -> usize {
    (0..).find(|&place| spoiled(200, told, place).is_none()).unwrap()
}

/// The answer with one place changed, or, counting on, a refusal with one place changed, or no JSON at all.
fn spoiled(status: u16, told: &Value, place: usize) -> Option<(u16, String)> {
    let mut left = place;
    let mut changed = told.clone();
    if spoil(&mut changed, &mut left) {
        return Some((status, changed.to_string()));
    }
    let mut refusal =
        json!({ "type": "urn:parcelry:problem:no-space", "title": "x", "status": 507, "detail": "x" });
    if spoil(&mut refusal, &mut left) {
        return Some((507, refusal.to_string()));
    }
    (left == 0).then(|| (status, HOSTILE.to_owned()))
}

/// Puts the hostile text in place number `left` of the value: of a string, number or name, or as one more name.
/// False if it has fewer places; `left` is what is left to count.
pub fn spoil(value: &mut Value, left: &mut usize) -> bool {
    let mut is_here = || {
        let here = *left == 0;
        *left = left.wrapping_sub(usize::from(!here));
        here
    };
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => {
            let here = is_here();
            if here {
                *value = HOSTILE.into();
            }
            here
        }
        Value::String(text) => {
            if is_here() {
                HOSTILE.clone_into(text);
            } else if is_here() {
                text.push_str(HOSTILE);
            } else {
                return false;
            }
            true
        }
        Value::Array(values) => values.iter_mut().any(|value| spoil(value, left)),
        Value::Object(fields) => {
            if is_here() {
                fields.insert(HOSTILE.to_owned(), 1.into());
                return true;
            }
            for name in fields.keys().cloned().collect::<Vec<_>>() {
                if *left == 0 {
                    let value = fields.remove(&name).unwrap();
                    fields.insert(format!("{name}{HOSTILE}"), value);
                    return true;
                }
                *left -= 1;
                if spoil(&mut fields[&name], left) {
                    return true;
                }
            }
            false
        }
    }
}

/// A path with stars in the place of ids.
fn pattern(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.len() >= 40 { "*" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn forward(real: &str, request: &Request) -> Answer {
    // What is asked for as bytes is asked for as JSON: only that can be spoilt value by value.
    let ours = ["host:", "connection:", "content-length:", "accept:"];
    let lines = request.head.lines().skip(1).filter(|line| {
        let line = line.to_lowercase();
        !ours.iter().any(|name| line.starts_with(name))
    });
    let headers: String = lines.map(|line| format!("{line}\r\n")).collect();
    http::send(real, &request.method, &request.path, &headers, &request.body)
}
