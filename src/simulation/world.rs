//! The world of the simulation: nodes, network, time, and what goes wrong.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::PathBuf;
use std::time::Duration;

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::id::{PeerId, Secret, ShareId, TrackerId};
use parcelry_core::registry::Rules;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::dice::Dice;
use super::people::{Shared, SimDownload, SimUpload};
use crate::clock::simulated::{Reading, set_clocks};
use crate::peer::simulated::SimPeer;
use crate::tracker::simulated::SimTracker;

pub(super) const SECOND: u64 = 1000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
/// Heartbeats are as in a real swarm, deaths sooner, so that more happens in the same time.
pub(super) const RULES: Rules =
    Rules { heartbeat: Duration::from_secs(10), dead_after: Duration::from_secs(60) };
/// What admits senders.
pub(super) const INVITE: &str = "invite";
/// The tracker, whatever database it has.
pub(super) const TRACKER: TrackerId = TrackerId::from_bytes([1; 32]);
pub(super) const BEAT: u64 = 10 * SECOND;
/// How long faults go on, and how long the swarm has to recover.
const TROUBLE: u64 = 25 * MINUTE;
const RECOVERY: u64 = 60 * MINUTE;
/// What the wall clocks show when the world begins.
pub(super) const WALL: u64 = 1_800_000_000_000;
pub(super) const CAPACITY: u64 = 64 << 20;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Beat(usize),
    Round,
    Upload(usize),
    Download(usize),
    Copy(usize),
    Part(usize),
    EndPartings(usize),
    Mend(usize),
    EndClone(usize),
    Lie(usize),
    Share,
    Get,
    Fault,
    StartPeer(usize),
    StartTracker,
    Reconnect(usize),
    OpenWayOut,
    SetClock(Option<usize>),
    Scrub,
}

/// What happened in a life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) acknowledged: u64,
    pub(super) delivered: u64,
    pub(super) crashes: u64,
    pub(super) copies: u64,
    pub(super) rotted: u64,
    pub(super) disks_lost: u64,
    pub(super) databases_lost: u64,
    pub(super) databases_restored: u64,
    pub(super) doors_closed: u64,
    pub(super) clocks_changed: u64,
    pub(super) deleted: u64,
    pub(super) taken_down: u64,
    pub(super) syncs_failed: u64,
    pub(super) records_damaged: u64,
    pub(super) mended: u64,
    pub(super) moved: u64,
    pub(super) followed: u64,
    pub(super) cloned: u64,
    pub(super) clones_refused: u64,
    pub(super) lies_signed: u64,
    pub(super) lies_served: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        // By name, so that a new count that is forgotten here stands out beside the others.
        for (sum, more) in [
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.delivered, other.delivered),
            (&mut self.crashes, other.crashes),
            (&mut self.copies, other.copies),
            (&mut self.rotted, other.rotted),
            (&mut self.disks_lost, other.disks_lost),
            (&mut self.databases_lost, other.databases_lost),
            (&mut self.databases_restored, other.databases_restored),
            (&mut self.doors_closed, other.doors_closed),
            (&mut self.clocks_changed, other.clocks_changed),
            (&mut self.deleted, other.deleted),
            (&mut self.taken_down, other.taken_down),
            (&mut self.syncs_failed, other.syncs_failed),
            (&mut self.records_damaged, other.records_damaged),
            (&mut self.mended, other.mended),
            (&mut self.moved, other.moved),
            (&mut self.followed, other.followed),
            (&mut self.cloned, other.cloned),
            (&mut self.clones_refused, other.clones_refused),
            (&mut self.lies_signed, other.lies_signed),
            (&mut self.lies_served, other.lies_served),
        ] {
            *sum += more;
        }
    }
}

/// A machine with a peer.
pub(super) struct Node {
    pub(super) id: PeerId,
    pub(super) seed: Secret,
    pub(super) name: String,
    pub(super) root: PathBuf,
    pub(super) running: Option<SimPeer>,
    pub(super) registered: bool,
    /// When the peer is to tell its inventory, if the tracker wants it.
    pub(super) inventory_ms: Option<u64>,
    pub(super) cut_off: bool,
    /// It reaches others, but they do not reach it.
    pub(super) closed: bool,
    /// How often it has got another address.
    pub(super) moves: u8,
    /// Whether others are sent to where it is.
    pub(super) found: bool,
    /// It has another machine's key, and was made from what that held.
    pub(super) is_clone: bool,
    /// It holds nothing, and says that it holds everything.
    pub(super) lies: bool,
    pub(super) slow: bool,
    pub(super) skew_ms: i64,
    /// How wrong the tracker's clock was when it told the time last.
    pub(super) told_skew_ms: i64,
    pub(super) disk_lost: bool,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) directory: TempDir,
    pub(super) now_ms: u64,
    pub(super) tracker: Option<SimTracker>,
    pub(super) tracker_skew_ms: i64,
    /// How far a peer's clock and the tracker's that it had compared with were both ahead, at the most.
    ahead_ms: u64,
    /// The tracker is reached, but reaches nobody.
    pub(super) no_way_out: bool,
    pub(super) peers: Vec<Node>,
    pub(super) shares: Vec<Shared>,
    pub(super) uploads: BTreeMap<usize, SimUpload>,
    pub(super) downloads: BTreeMap<usize, SimDownload>,
    pub(super) next_job: usize,
    pub(super) due: BinaryHeap<Reverse<(u64, u64, Event)>>,
    pub(super) sequence: u64,
    pub(super) trouble: bool,
    /// Whether no peer answers an audit.
    pub(super) mute: bool,
    /// What kept the swarm from being whole when it was looked at last.
    pub(super) odd: String,
    pub(super) tally: Tally,
}

/// What travels is JSON.
pub(super) fn travel<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Peers sync all the time, which costs nothing in memory.
        let memory = PathBuf::from("/dev/shm");
        let directory = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        let count = dice.between(4, 6);
        let mut world = Self {
            dice,
            runtime,
            directory,
            now_ms: HOUR,
            tracker: None,
            tracker_skew_ms: 0,
            ahead_ms: 0,
            no_way_out: false,
            peers: Vec::new(),
            shares: Vec::new(),
            uploads: BTreeMap::new(),
            downloads: BTreeMap::new(),
            next_job: 0,
            due: BinaryHeap::new(),
            sequence: 0,
            trouble: true,
            mute: false,
            odd: String::new(),
            tally: Tally::default(),
        };
        world.start_tracker();
        (0..count).for_each(|_| world.add_peer());
        // By then every peer has sent its first heartbeat.
        for event in [Event::Round, Event::Share, Event::Get, Event::Fault, Event::Scrub] {
            world.after(20 * SECOND, event);
        }
        world
    }

    /// Lives through the trouble, with some who lie.
    pub(super) fn live(&mut self) {
        (0..self.dice.below(3)).for_each(|_| self.add_liar());
        self.run_until(HOUR + TROUBLE);
    }

    /// Ends all faults and gives the swarm the time to recover.
    pub(super) fn heal(&mut self) {
        self.trouble = false;
        (self.tracker_skew_ms, self.no_way_out) = (0, false);
        for index in 0..self.peers.len() {
            if self.peers[index].is_clone {
                self.end_clone(index);
            }
        }
        self.uploads.clear();
        // Without this a tracker whose clock was set right lately would wait for a day before anything expires.
        self.tracker = None;
        self.start_tracker();
        for index in 0..self.peers.len() {
            let node = &mut self.peers[index];
            (node.cut_off, node.closed, node.slow, node.skew_ms) = (false, false, false, 0);
            self.crash_peer(index);
            self.start_peer(index, CAPACITY);
        }
        let end = self.now_ms + RECOVERY;
        while self.now_ms < end {
            self.run_until(self.now_ms + MINUTE);
            if self.is_whole() {
                return;
            }
        }
        let health = self.health();
        panic!("not whole after an hour: {health:?}, {}, {:?}", self.odd, self.tally);
    }

    /// Gets every share once more.
    pub(super) fn account(&mut self) {
        for share in 0..self.shares.len() {
            let shared = &self.shares[share];
            if self.is_over(share) {
                let id = shared.id();
                let mut peers = self.peers.iter().filter_map(|node| node.running.as_ref());
                assert!(
                    !peers.any(|peer| holds_for_nothing(peer, id)),
                    "a share that is over is still on a disk"
                );
            }
            // It takes a while to get it.
            if !self.is_alive(share) || self.may_be_over(share, 5 * MINUTE) {
                continue;
            }
            let before = self.tally.delivered;
            let job = self.begin_download(share).expect("an acknowledged share is known");
            while self.downloads.contains_key(&job) {
                self.run_until(self.now_ms + SECOND);
            }
            assert_eq!(self.tally.delivered, before + 1, "{:?} could not be had", self.shares[share].id());
        }
    }

    /// Whether the share was acknowledged, is not over, and nobody took it down.
    pub(super) fn is_alive(&self, share: usize) -> bool {
        let shared = &self.shares[share];
        shared.acknowledged && !shared.taken_down && !shared.terms.is_over(WALL + self.now_ms)
    }

    /// Whether the share's time may be over this much later, for those of whom two had clocks that were ahead.
    pub(super) fn may_be_over(&self, share: usize, later_ms: u64) -> bool {
        self.shares[share].terms.is_over(WALL + self.now_ms + self.ahead_ms + later_ms)
    }

    pub(super) fn is_over(&self, share: usize) -> bool {
        let shared = &self.shares[share];
        shared.terms.is_over(WALL + self.now_ms) && !shared.deletion_forgotten
    }

    fn is_whole(&mut self) -> bool {
        let health = self.health();
        // What comes back after its deletion was forgotten, or was never published, may be there in part; and what only
        // liars have signed for, not at all.
        let in_part = |share: &usize| {
            let shared = &self.shares[*share];
            let is_odd = shared.deletion_forgotten || shared.taken_down || !shared.acknowledged;
            is_odd || self.may_be_over(*share, 0)
        };
        let in_part = (0..self.shares.len()).filter(in_part).count() as u64;
        let in_vain = if self.peers.iter().any(|node| node.lies) { in_part } else { 0 };
        let needy = health.unproven.max(health.weakened + health.endangered + health.unavailable);
        let is_busy = health.copies > 0 && in_vain == 0;
        if needy > in_vain || is_busy || health.lost > in_part || !health.complete || health.paused {
            return false;
        }
        self.tell_clock(self.tracker_skew_ms);
        for share in 0..self.shares.len() {
            let (id, alive) = (self.shares[share].id(), self.is_alive(share));
            if alive && !self.may_be_over(share, 0) && !self.has_replicas(share) {
                self.odd = format!("{id:?} has too few replicas");
                return false;
            }
            let tracker = self.tracker.as_ref().unwrap();
            let holders = self.runtime.block_on(tracker.holders(id));
            let taken_down = self.runtime.block_on(tracker.is_taken_down(id));
            for node in self.peers.iter().filter(|node| !node.disk_lost) {
                let told =
                    holders.iter().find(|(peer, _)| *peer == node.id).map(|(_, chunks)| chunks.clone());
                let peer = node.running.as_ref().unwrap();
                let held = peer.holding(id);
                if held.is_some() && peer.withholds(id) != taken_down {
                    self.odd = format!("{} withholds what it should not, or serves it", node.name);
                    return false;
                }
                let over = self.is_over(share);
                if (alive && told != held) || (over && holds_for_nothing(peer, id)) {
                    self.odd = format!(
                        "{}: told {told:?}, held {held:?}, alive {alive}, terms {:?}",
                        node.name, *self.shares[share].terms
                    );
                    return false;
                }
            }
        }
        true
    }

    /// Whether every chunk of a share is held by as many peers as was asked for.
    fn has_replicas(&self, share: usize) -> bool {
        let shared = &self.shares[share];
        let running = self.peers.iter().filter_map(|node| node.running.as_ref());
        let held: Vec<ChunkSet> = running.filter_map(|peer| peer.holding(shared.id())).collect();
        let wanted = usize::from(shared.terms.replicas);
        let mut chunks = shared.manifest.geometry().indices();
        held.len() >= wanted
            && chunks.all(|index| held.iter().filter(|held| held.contains(index)).count() >= wanted)
    }

    fn health(&mut self) -> parcelry_core::api::SwarmHealth {
        self.tell_clock(self.tracker_skew_ms);
        self.runtime.block_on(self.tracker.as_ref().unwrap().health())
    }

    pub(super) fn after(&mut self, delay_ms: u64, event: Event) {
        // Events of one moment happen in the order in which they were made, so that a seed replays exactly.
        self.sequence += 1;
        self.due.push(Reverse((self.now_ms + delay_ms, self.sequence, event)));
    }

    pub(super) fn run_until(&mut self, end: u64) {
        while let Some(&Reverse((at, _, event))) = self.due.peek() {
            if at > end {
                break;
            }
            self.due.pop();
            self.now_ms = at;
            self.happen(event);
        }
        self.now_ms = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Beat(peer) => self.beat(peer),
            Event::Round => {
                self.look_after_peers();
                self.audit();
                self.after(BEAT / 2, Event::Round);
            }
            Event::Upload(job) => self.step_upload(job),
            Event::Download(job) => self.step_download(job),
            Event::Copy(peer) => self.copy(peer),
            Event::Part(peer) => self.part(peer),
            Event::EndPartings(peer) => self.end_partings(peer),
            Event::Mend(peer) => self.mend(peer),
            Event::EndClone(peer) => self.end_clone(peer),
            Event::Lie(peer) => self.keep_lying(peer),
            Event::Share if self.trouble => {
                self.begin_upload();
                let pause = self.dice.between(30 * SECOND, 4 * MINUTE);
                self.after(pause, Event::Share);
            }
            Event::Get if self.trouble => {
                if !self.shares.is_empty() {
                    let share = self.dice.index(self.shares.len());
                    if self.is_alive(share) {
                        self.begin_download(share);
                    }
                }
                let pause = self.dice.between(5 * SECOND, 2 * MINUTE);
                self.after(pause, Event::Get);
            }
            Event::Fault if self.trouble => {
                self.fault();
                let pause = self.dice.between(5 * SECOND, MINUTE);
                self.after(pause, Event::Fault);
            }
            // The trouble is over: they do not come again.
            Event::Share | Event::Get | Event::Fault => {}
            Event::StartPeer(peer) => {
                let capacity = if self.trouble && self.dice.one_in(4) { 100_000 } else { CAPACITY };
                self.start_peer(peer, capacity);
            }
            Event::StartTracker if self.tracker.is_none() => self.start_tracker(),
            // Another start, or the end of all faults, came first.
            Event::StartTracker => {}
            Event::Reconnect(peer) => (self.peers[peer].cut_off, self.peers[peer].closed) = (false, false),
            Event::OpenWayOut => self.no_way_out = false,
            Event::SetClock(Some(peer)) => self.peers[peer].skew_ms = 0,
            Event::SetClock(None) => self.tracker_skew_ms = 0,
            Event::Scrub => {
                for index in 0..self.peers.len() {
                    self.note_ahead(index);
                    self.tell_clock(self.peers[index].skew_ms);
                    if let Some(peer) = &mut self.peers[index].running {
                        self.tally.syncs_failed += u64::from(peer.recover());
                        (0..4).for_each(|_| peer.scrub_one());
                        peer.keep_house();
                    }
                }
                self.after(20 * SECOND, Event::Scrub);
            }
        }
    }

    /// Notes by how much a peer may end a share too soon: by no more than the one of the two clocks that is less ahead.
    pub(super) fn note_ahead(&mut self, index: usize) {
        let Node { skew_ms, told_skew_ms, .. } = self.peers[index];
        let ahead_ms = u64::try_from(skew_ms.min(told_skew_ms)).unwrap_or(0);
        self.ahead_ms = self.ahead_ms.max(ahead_ms);
    }

    /// What clocks show that are right.
    pub(super) const fn wall_ms(&self) -> u64 {
        WALL + self.now_ms
    }

    pub(super) fn tell_clock(&self, skew_ms: i64) {
        let wall_ms = (WALL + self.now_ms).saturating_add_signed(skew_ms);
        set_clocks(Reading { wall_ms, boottime_ms: self.now_ms });
    }

    /// Whether a message arrives, or an answer.
    pub(super) fn arrives(&mut self) -> bool {
        !(self.trouble && self.dice.one_in(40))
    }

    pub(super) fn latency(&mut self, peer: Option<usize>) -> u64 {
        let slow = peer.is_some_and(|peer| self.peers[peer].slow);
        if slow { self.dice.between(SECOND, 10 * SECOND) } else { self.dice.between(5, 500) }
    }

    /// Whether others reach the peer's machine, if they know where it is.
    pub(super) fn answers(&self, peer: usize) -> bool {
        !(self.peers[peer].cut_off || self.peers[peer].closed)
    }

    /// Whether others reach the peer's machine.
    pub(super) fn is_open(&self, peer: usize) -> bool {
        self.peers[peer].found && self.answers(peer)
    }

    /// The machine that is reached by this id: the first that had its key.
    pub(super) fn index_of(&self, id: PeerId) -> usize {
        self.peers.iter().position(|node| node.id == id).unwrap()
    }
}

/// Whether a peer holds a share that is over, and knows its terms for sure.
fn holds_for_nothing(peer: &SimPeer, share: ShareId) -> bool {
    peer.holding(share).is_some() && !peer.is_unsettled(share)
}
