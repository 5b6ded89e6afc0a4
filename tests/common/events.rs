//! A stream of server-sent events, read as a page reads it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::Answer;

pub struct Events {
    lines: BufReader<TcpStream>,
    pub answer: Answer,
}

impl Events {
    /// Asks for the events of a tracker with these header lines; the head of the answer is read.
    pub fn open(tracker: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(tracker).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!("GET /v1/events HTTP/1.1\r\nHost: {tracker}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let answer = Answer::parse(head.as_bytes());
        Self { lines, answer }
    }

    /// The next event and its data; `None` at the end of the stream.
    pub fn next(&mut self) -> Option<(String, Value)> {
        let mut event = String::new();
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            // Between the events stand the lengths of the body's pieces.
            if let Some(name) = line.strip_prefix("event: ") {
                name.trim().clone_into(&mut event);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((event, serde_json::from_str(data).unwrap()));
            }
        }
    }

    /// Reads on until an event of this name is as wanted; its data.
    #[track_caller]
    pub fn wait_for(&mut self, name: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut last = Value::Null;
        while Instant::now() < deadline {
            let (event, data) = self.next().unwrap_or_else(|| panic!("no {name} came, the last: {last}"));
            if event == name && is_wanted(&data) {
                return data;
            }
            if event == name {
                last = data;
            }
        }
        panic!("waited in vain for {name}, the last: {last}");
    }

    /// Reads on until something of this kind happened; its entry in the log.
    #[track_caller]
    pub fn wait_for_entry(&mut self, kind: &str) -> Value {
        let of_kind = |data: &Value| -> Option<Value> {
            data["entries"].as_array().unwrap().iter().find(|entry| entry["kind"] == kind).cloned()
        };
        of_kind(&self.wait_for("log", |data| of_kind(data).is_some())).unwrap()
    }

    /// Reads on until the peer is in this state; its row.
    #[track_caller]
    pub fn wait_for_peer(&mut self, name: &str, state: &str) -> Value {
        let row = |data: &Value| -> Option<Value> {
            let rows = data["peers"].as_array().unwrap();
            rows.iter().find(|row| row["name"] == name && row["state"] == state).cloned()
        };
        row(&self.wait_for("peers", |data| row(data).is_some())).unwrap()
    }
}
