//! The stream of events for the operator's page: at first everything, then what has changed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use parcelry_core::api::ProblemKind;
use parcelry_core::dashboard::{LogEntries, PeerRow, PeerRows};
use parcelry_core::limits::{EVENT_KEEP_ALIVE, PEER_ROWS_MAX};
use serde::Serialize;

use super::Tracker;
use super::auth::Admin;
use super::dashboard::{Dashboard, Listener, Snapshot};
use crate::server::Refusal;

/// Seconds after which another stream may have ended.
const TRY_AGAIN: u32 = 10;

/// One stream.
struct Stream {
    tracker: Arc<Tracker>,
    admin: Admin,
    listener: Listener,
    delivered: Delivered,
    waiting: VecDeque<Message>,
}

/// What a stream has delivered already.
#[derive(Default)]
struct Delivered {
    snapshot: Option<Arc<Snapshot>>,
    log: u64,
}

/// An event, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    event: &'static str,
    json: String,
}

/// Begins a stream. It ends when the tracker stops, and when its reader is known not to be the admin any more.
pub(super) fn stream(tracker: Arc<Tracker>, admin: Admin) -> Result<impl IntoResponse + use<>, Refusal> {
    let full = || Refusal::later(ProblemKind::TooManyRequests, "too many pages listen already", TRY_AGAIN);
    let listener = tracker.dashboard.listen().ok_or_else(full)?;
    let stream =
        Stream { tracker, admin, listener, delivered: Delivered::default(), waiting: VecDeque::new() };
    let events = stream::unfold(stream, |mut stream| async move {
        let Message { event, json } = stream.next().await?;
        Some((Ok::<_, Infallible>(Event::default().event(event).data(json)), stream))
    });
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(EVENT_KEEP_ALIVE));
    // Sse itself says no-cache, which lets a browser store them.
    Ok(([(CACHE_CONTROL, "no-store")], events))
}

impl Stream {
    async fn next(&mut self) -> Option<Message> {
        let dashboard = &self.tracker.dashboard;
        while self.waiting.is_empty() {
            tokio::select! {
                // The stop goes first: the server waits for streams that are open.
                biased;
                () = dashboard.stop.cancelled() => return None,
                changed = self.listener.news.changed() => changed.ok()?,
            }
            // A database that fails says nothing of the admin, who is to see that it does. A session ends in time without it.
            if matches!(self.tracker.is_still(self.admin).await, Ok(false)) {
                return None;
            }
            let newest = self.listener.news.borrow_and_update().clone();
            self.waiting
                .extend(newest.into_iter().flat_map(|newest| self.delivered.update(newest, dashboard)));
        }
        if dashboard.stop.is_cancelled() { None } else { self.waiting.pop_front() }
    }
}

impl Message {
    fn new(event: &'static str, data: &impl Serialize) -> Self {
        Self { event, json: serde_json::to_string(data).expect("events have string keys") }
    }
}

impl Delivered {
    /// What is to be delivered of the newest look at the swarm.
    fn update(&mut self, newest: Arc<Snapshot>, dashboard: &Dashboard) -> Vec<Message> {
        let before = self.snapshot.replace(Arc::clone(&newest));
        let mut messages = vec![Message::new("swarm", &newest.swarm)];
        messages.extend(peers(before.as_deref(), &newest));
        if before.is_none() {
            messages.push(Message::new("history", &dashboard.history()));
        }
        if before.is_none_or(|before| before.work != newest.work) {
            messages.push(Message::new("work", &newest.work));
        }
        let (entries, count) = dashboard.log_after(self.log);
        if !entries.is_empty() {
            messages.push(Message::new("log", &LogEntries { entries }));
        }
        self.log = count;
        messages
    }
}

/// The rows that are other than before, in parts. At first there is at least one part, so that an empty swarm
/// is told to be empty.
fn peers(before: Option<&Snapshot>, newest: &Snapshot) -> Vec<Message> {
    let is_new = |row: &&PeerRow| before.is_none_or(|before| before.peers.get(&row.id) != Some(row));
    let changed: Vec<&PeerRow> = newest.peers.values().filter(is_new).collect();
    let known = before.into_iter().flat_map(|before| before.peers.keys());
    let gone = known.filter(|id| !newest.peers.contains_key(id)).copied().collect();
    let mut parts: Vec<PeerRows<'_>> = changed
        .chunks(PEER_ROWS_MAX)
        .map(|rows| PeerRows { peers: rows.to_vec(), gone: Vec::new() })
        .collect();
    let last = PeerRows { peers: Vec::new(), gone };
    match parts.first_mut() {
        Some(first) => first.gone = last.gone,
        None if before.is_none() || !last.gone.is_empty() => parts.push(last),
        None => {}
    }
    parts.iter().map(|part| Message::new("peers", part)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use parcelry_core::dashboard::{CopyNow, FailingWorker, LogKind, SwarmNow, Work};
    use parcelry_core::id::{PeerId, ShareId};
    use serde_json::Value;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::tracker::sampler::tests::rows_of;

    const FAILING: FailingWorker = FailingWorker {
        worker: "repair",
        what: "cannot look after the shares",
        error: String::new(),
        since_ms: 5,
        failed_ms: 6,
        failures: 7,
    };

    fn snapshot(peers: BTreeMap<PeerId, PeerRow>, work: Work) -> Arc<Snapshot> {
        let swarm = SwarmNow {
            now_ms: 1,
            health: Default::default(),
            used_bytes: 2,
            capacity_bytes: 3,
            rates: Default::default(),
            gateway_bytes_per_s: 4,
            failing: vec![FAILING],
        };
        Arc::new(Snapshot { swarm, peers, work })
    }

    fn names(messages: &[Message]) -> Vec<&'static str> {
        messages.iter().map(|message| message.event).collect()
    }

    fn data(message: &Message) -> Value {
        serde_json::from_str(&message.json).unwrap()
    }

    #[test]
    fn a_stream_tells_everything_once_and_then_what_has_changed() {
        let dashboard = Dashboard::new(CancellationToken::new());
        dashboard.note(LogKind::RepairPaused, |_| {});
        let mut delivered = Delivered::default();
        let first = delivered.update(snapshot(rows_of(1000, &[]), Work::default()), &dashboard);
        let parts = ["swarm", "peers", "peers", "peers", "peers", "history", "work", "log"];
        assert_eq!(names(&first), parts);
        let rows: Vec<usize> =
            first[1..5].iter().map(|part| data(part)["peers"].as_array().unwrap().len()).collect();
        assert_eq!(rows, [256, 256, 256, 232]);
        let again = delivered.update(snapshot(rows_of(1000, &[]), Work::default()), &dashboard);
        assert_eq!(names(&again), ["swarm"], "nothing has changed");
        let copy = CopyNow {
            share: ShareId::from_bytes([1; 32]),
            target: PeerId::from_bytes([2; 32]),
            chunks_left: 3,
        };
        let work = Work { copies: vec![copy], more: 0 };
        dashboard.note(LogKind::RepairResumed, |_| {});
        // One peer is gone, and two have beaten.
        let later = delivered.update(snapshot(rows_of(999, &[5, 7]), work), &dashboard);
        assert_eq!(names(&later), ["swarm", "peers", "work", "log"]);
        let peers = data(&later[1]);
        assert_eq!(peers["peers"].as_array().unwrap().len(), 2);
        assert_eq!(peers["gone"].as_array().unwrap().len(), 1);
        assert_eq!(data(&later[3])["entries"][0]["kind"], "repair-resumed");
    }

    #[test]
    fn an_empty_swarm_is_told_to_be_empty() {
        let dashboard = Dashboard::new(CancellationToken::new());
        let mut delivered = Delivered::default();
        let first = delivered.update(snapshot(BTreeMap::new(), Work::default()), &dashboard);
        assert_eq!(names(&first), ["swarm", "peers", "history", "work"]);
        assert_eq!(data(&first[1]), serde_json::json!({ "peers": [], "gone": [] }));
    }

    #[test]
    fn rows_and_figures_have_the_fields_that_the_page_reads() {
        let dashboard = Dashboard::new(CancellationToken::new());
        let first = Delivered::default().update(snapshot(rows_of(1, &[]), Work::default()), &dashboard);
        let keys = |value: &Value| -> String {
            value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
        };
        let mut swarm: Vec<String> = keys(&data(&first[0])).split(' ').map(str::to_owned).collect();
        swarm.sort();
        assert_eq!(
            swarm.join(" "),
            "capacity_bytes failing gateway_bytes_per_s health now_ms received_bytes_per_s served_bytes_per_s used_bytes"
        );
        let failing = serde_json::json!({
            "worker": "repair", "what": "cannot look after the shares", "error": "",
            "since_ms": 5, "failed_ms": 6, "failures": 7,
        });
        assert_eq!(data(&first[0])["failing"], serde_json::json!([failing]));
        assert_eq!(data(&first[0])["health"]["shares"], Value::Null, "it is not known");
        let mut row: Vec<String> = keys(&data(&first[1])["peers"][0]).split(' ').map(str::to_owned).collect();
        row.sort();
        assert_eq!(
            row.join(" "),
            "addresses capacity_bytes draining free_bytes id name received_bytes_per_s scrub seen_ms \
             served_bytes_per_s state used_bytes version why zone"
        );
    }
}
