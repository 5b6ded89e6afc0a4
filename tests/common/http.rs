//! Requests written by hand, so that a test can send what no well-behaved client would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use parcelry_core::id::{Secret, ServerId};
use parcelry_core::manifest::ShareKey;
use parcelry_core::owner::{self, Act};

/// Status, head and body of a response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn parse(response: &[u8]) -> Self {
        let end = response.windows(4).position(|w| w == b"\r\n\r\n").expect("a response head");
        let head = String::from_utf8_lossy(&response[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: response[end + 4..].to_vec() }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.trim().to_owned())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The kind of problem that the server names.
    pub fn problem(&self) -> String {
        assert!(self.head.to_lowercase().contains("application/problem+json"), "{}", self.head);
        self.json()["type"].as_str().unwrap().to_owned()
    }
}

/// Sends the bytes and reads what comes back until the server closes.
pub fn raw(address: &str, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(request);
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    Answer::parse(&response)
}

/// Sends a request with these extra header lines and this body.
pub fn send(address: &str, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    raw(address, &[head.as_bytes(), body].concat())
}

pub fn get(address: &str, path: &str) -> Answer {
    send(address, "GET", path, "", b"")
}

/// The value of a counter or gauge of a server.
pub fn metric(address: &str, name: &str) -> u64 {
    let text = get(address, "/metrics").text();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")))
        .unwrap_or_else(|| panic!("{name}: {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The header line that shows a credential.
pub fn bearer(credential: &str) -> String {
    format!("Authorization: Bearer {credential}\r\n")
}

/// Header lines that show a credential, given as a header line, and the word of the owner of a share with this key for an
/// act at the server with this id.
pub fn owned(key: &ShareKey, act: Act, at: [u8; 32], credential: &str) -> String {
    let text = credential.trim_end().rsplit(' ').next().unwrap();
    format!("{credential}Owner-Token: {}\r\n", owner::sign(key, act, ServerId::from_bytes(at), text))
}

/// The key of a share that exists for a test only.
pub fn share_key(number: u8) -> ShareKey {
    ShareKey::from_seed(&Secret::from_bytes([number; 32]))
}

/// Sends a JSON body.
pub fn json(address: &str, method: &str, path: &str, headers: &str, body: &serde_json::Value) -> Answer {
    let headers = format!("Content-Type: application/json\r\n{headers}");
    send(address, method, path, &headers, body.to_string().as_bytes())
}

/// Signs in as the admin; the header lines with the cookie that a browser would keep, and the secret that the page would.
#[track_caller]
pub fn sign_in(swarm: &super::swarm::Swarm) -> String {
    let body = serde_json::json!({ "token": swarm.token("admin") });
    let answer = json(&swarm.tracker.address(), "POST", "/v1/session", "", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cookie = answer.header("set-cookie").unwrap();
    let (told, cookie) = (answer.json(), cookie.split(';').next().unwrap());
    format!("Cookie: {cookie}\r\nSession-Secret: {}\r\n", told["secret"].as_str().unwrap())
}
