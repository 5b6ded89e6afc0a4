//! What goes wrong in the simulation.

use std::path::{Path, PathBuf};

use parcelry_core::api::{DropTask, PeerAddress, ShareChunks};
use parcelry_core::id::ChunkId;
use parcelry_core::terms::{SignedTerms, Terms};

use super::people::Shared;
use super::world::{Event, HOUR, MINUTE, Node, SECOND, WALL, World};
use crate::peer::simulated::{has_records, records_directory};

impl World {
    pub(super) fn fault(&mut self) {
        let index = self.dice.index(self.peers.len());
        match self.dice.below(22) {
            0..=2 => {
                self.crash_peer(index);
                let pause = self.dice.between(5 * SECOND, 3 * MINUTE);
                self.after(pause, Event::StartPeer(index));
            }
            3 | 4 => {
                self.tracker = None;
                let pause = self.dice.between(SECOND, MINUTE);
                self.after(pause, Event::StartTracker);
            }
            5 => {
                // A part of the peers is cut off at once, as by a switch that fails.
                let pause = self.dice.between(10 * SECOND, 5 * MINUTE);
                for other in 0..self.peers.len() {
                    if other == index || self.dice.one_in(2) {
                        self.peers[other].cut_off = true;
                        self.after(pause, Event::Reconnect(other));
                    }
                }
            }
            6..=8 => self.rot(index),
            9 if self.tally.disks_lost < 2 => self.lose_disk(index),
            10 => {
                let whose = if self.dice.one_in(3) { None } else { Some(index) };
                // Half of them are wrong by so little that nobody notices.
                let most = if self.dice.one_in(2) { HOUR } else { 48 * HOUR };
                let by = i64::try_from(self.dice.between(10 * MINUTE, most)).unwrap();
                let by = if self.dice.one_in(2) { by } else { -by };
                match whose {
                    Some(peer) => self.peers[peer].skew_ms = by,
                    None => self.tracker_skew_ms = by,
                }
                self.tally.clocks_changed += 1;
                let pause = self.dice.between(MINUTE, 10 * MINUTE);
                self.after(pause, Event::SetClock(whose));
            }
            11 if self.dice.one_in(3) => {
                self.tracker = None;
                for name in ["tracker.db", "tracker.db-wal", "tracker.db-shm"] {
                    let _ = std::fs::remove_file(self.directory.path().join(name));
                }
                self.tally.databases_lost += 1;
                self.forget_deletions();
                self.after(SECOND, Event::StartTracker);
            }
            11 if self.dice.one_in(2) => self.restore_tracker(),
            11 => self.copy_database("tracker.db", "copy.db"),
            12 => self.peers[index].slow = !self.peers[index].slow,
            13 => self.delete_a_share(),
            14 => self.order_everything_dropped(),
            15 => self.close_a_door(index),
            17 => self.fail_syncs(index),
            18 => self.damage_records(index),
            19 => self.move_peer(index),
            20 if self.dice.one_in(2) => self.clone_peer(index),
            21 if self.dice.one_in(2) => self.take_down_a_share(),
            16 if self.dice.one_in(3) => {
                self.no_way_out = true;
                let pause = self.dice.between(10 * SECOND, 5 * MINUTE);
                self.after(pause, Event::OpenWayOut);
            }
            _ => {}
        }
    }

    /// A peer reaches others, but is not reached.
    fn close_a_door(&mut self, index: usize) {
        self.peers[index].closed = true;
        self.tally.doors_closed += 1;
        let pause = self.dice.between(10 * SECOND, 5 * MINUTE);
        self.after(pause, Event::Reconnect(index));
    }

    /// A running peer gets another address. Where it is, others are told when the tracker has found it.
    fn move_peer(&mut self, index: usize) {
        let node = &mut self.peers[index];
        if !(node.is_clone || node.disk_lost) {
            (node.moves, node.found) = (node.moves.wrapping_add(1), false);
            self.tally.moved += 1;
        }
    }

    /// A second machine starts with what a peer has on its disk, its key too, behind the same router: who asks for the
    /// peer reaches the first one. After a while its operator notices.
    fn clone_peer(&mut self, index: usize) {
        let (node, number) = (&self.peers[index], self.peers.len());
        if node.running.is_none() || self.peers.iter().any(|other| other.is_clone && !other.disk_lost) {
            return;
        }
        copy_directory(&node.root, &self.directory.path().join(format!("p{number}")));
        let number = self.add_node(node.seed.clone());
        self.peers[number].is_clone = true;
        self.start_beating(number);
        self.tally.cloned += 1;
        let pause = self.dice.between(10 * SECOND, 5 * MINUTE);
        self.after(pause, Event::EndClone(number));
    }

    pub(super) fn end_clone(&mut self, index: usize) {
        let node = &mut self.peers[index];
        if !node.disk_lost {
            (node.running, node.disk_lost) = (None, true);
            std::fs::remove_dir_all(&node.root).unwrap();
        }
    }

    /// The tracker starts again on a copy of its database that was made before, if there is one.
    fn restore_tracker(&mut self) {
        if !self.directory.path().join("copy.db").exists() {
            return;
        }
        self.tracker = None;
        self.copy_database("copy.db", "tracker.db");
        self.tally.databases_restored += 1;
        self.forget_deletions();
        self.after(SECOND, Event::StartTracker);
    }

    /// Nothing is being written meanwhile: what is in the three files belongs together.
    fn copy_database(&self, from: &str, to: &str) {
        for end in ["", "-wal", "-shm"] {
            let [from, to] = [from, to].map(|name| self.directory.path().join(format!("{name}{end}")));
            let _ = std::fs::remove_file(&to);
            let _ = std::fs::copy(from, to);
        }
    }

    /// The machines that hold a share, by records that can be read, and are not about to go. What an upload left behind is no replica.
    fn holders(&self, shared: &Shared) -> Vec<&Node> {
        let holds = |node: &&Node| !(node.disk_lost || node.is_clone) && has_records(&node.root, shared.id());
        self.peers.iter().filter(holds).collect()
    }

    /// Whether a machine holds something that no other one does: the records of a share that is not over, or a good
    /// copy of one of its chunks.
    fn is_last(&self, index: usize, share: usize) -> bool {
        let shared = &self.shares[share];
        let (own, others): (Vec<&Node>, Vec<&Node>) =
            self.holders(shared).into_iter().partition(|node| node.name == self.peers[index].name);
        let is_only_here = |id: &ChunkId| {
            has_good_copy(&self.peers[index], id) && !others.iter().any(|node| has_good_copy(node, id))
        };
        others.is_empty() && !own.is_empty() || shared.manifest.chunks().any(|(_, id)| is_only_here(&id))
    }

    /// A bit of a chunk flips, unless it is the last good copy.
    pub(super) fn rot(&mut self, index: usize) {
        if self.shares.is_empty() || self.peers[index].disk_lost {
            return;
        }
        let shared = &self.shares[self.dice.index(self.shares.len())];
        let chunks: Vec<ChunkId> = shared.manifest.chunks().map(|(_, id)| id).collect();
        if chunks.is_empty() {
            return;
        }
        let id = chunks[self.dice.index(chunks.len())];
        let copies = self.holders(shared).into_iter().filter(|node| has_good_copy(node, &id)).count();
        if has_good_copy(&self.peers[index], &id) && copies > 1 {
            let path = chunk_path(&self.peers[index], &id);
            self.flip_a_bit(&path);
            self.tally.rotted += 1;
        }
    }

    /// A bit of a share's record flips, unless what is held here is nowhere else. Half of the time the machine starts
    /// again.
    fn damage_records(&mut self, index: usize) {
        if self.shares.is_empty() || self.peers[index].disk_lost {
            return;
        }
        let share = self.dice.index(self.shares.len());
        let id = self.shares[share].id();
        if !has_records(&self.peers[index].root, id) || self.is_last(index, share) {
            return;
        }
        let record = ["manifest", "terms", "chunks"][self.dice.index(3)];
        self.flip_a_bit(&records_directory(&self.peers[index].root, id).join(record));
        self.tally.records_damaged += 1;
        if self.dice.one_in(2) {
            self.crash_peer(index);
            self.after(SECOND, Event::StartPeer(index));
        }
    }

    fn flip_a_bit(&mut self, path: &Path) {
        let mut bytes = std::fs::read(path).unwrap();
        let at = self.dice.index(bytes.len());
        bytes[at] ^= 1 << self.dice.below(8);
        std::fs::write(path, bytes).unwrap();
    }

    /// Some of a peer's next syncs fail: what they were for is on no disk, whatever later ones say.
    fn fail_syncs(&mut self, index: usize) {
        let count = u32::try_from(self.dice.between(1, 3)).unwrap();
        if let Some(peer) = &self.peers[index].running {
            peer.fail_syncs(count);
        }
    }

    /// A disk dies with all that is on it, unless it has the last good copy of something. A new machine
    /// takes the old one's place.
    pub(super) fn lose_disk(&mut self, index: usize) {
        if self.peers[index].disk_lost || self.peers[index].is_clone {
            return;
        }
        let mut living = (0..self.shares.len()).filter(|&share| !self.is_over(share));
        if living.any(|share| self.is_last(index, share)) {
            return;
        }
        // What is being sent there was confirmed by nobody else yet, perhaps.
        if self.uploads.values().any(|upload| upload.machine.is_member(self.peers[index].id)) {
            return;
        }
        let node = &mut self.peers[index];
        node.running = None;
        node.disk_lost = true;
        std::fs::remove_dir_all(&node.root).unwrap();
        self.tally.disks_lost += 1;
        self.add_peer();
    }

    /// A deletion that not every holder has heard of is lost with the database, as the operator's guide says.
    pub(super) fn forget_deletions(&mut self) {
        for shared in self.shares.iter_mut().filter(|shared| shared.terms.deleted) {
            let holds = |node: &Node| !node.disk_lost && has_manifest(node, shared);
            shared.deletion_forgotten |= self.peers.iter().any(holds);
        }
    }

    /// Somebody with the tracker's key tells all peers in one instant to drop all that they hold.
    fn order_everything_dropped(&mut self) {
        let address =
            |node: &Node| PeerAddress { id: node.id, name: node.name.clone(), addresses: Vec::new() };
        let holders: Vec<PeerAddress> = self.peers.iter().map(address).collect();
        for index in 0..self.peers.len() {
            let Some(peer) = &self.peers[index].running else { continue };
            let everything = peer.inventory().into_iter();
            let others =
                || holders.iter().filter(|holder| holder.id != self.peers[index].id).cloned().collect();
            let drop = |ShareChunks { share, chunks }| DropTask { share, chunks, holders: others() };
            let drops: Vec<DropTask> = everything.map(drop).collect();
            if let Some(peer) = &mut self.peers[index].running {
                peer.drops = drops;
            }
            let delay = self.latency(Some(index));
            self.after(delay, Event::Part(index));
        }
    }

    /// One of the shares that were acknowledged and are not over, served or taken down.
    fn some_share(&mut self) -> Option<usize> {
        let is_there = |share: &usize| {
            let shared = &self.shares[*share];
            shared.acknowledged && !shared.terms.is_over(WALL + self.now_ms)
        };
        let there: Vec<usize> = (0..self.shares.len()).filter(is_there).collect();
        (!there.is_empty()).then(|| there[self.dice.index(there.len())])
    }

    /// The operator takes a share down: nobody serves it any more, and no byte of it goes.
    fn take_down_a_share(&mut self) {
        let Some(share) = self.some_share() else { return };
        self.tell_clock(self.tracker_skew_ms);
        let Some(tracker) = &self.tracker else { return };
        if self.runtime.block_on(tracker.take_down(self.shares[share].id())).is_ok() {
            self.shares[share].taken_down = true;
            self.tally.taken_down += 1;
        }
    }

    pub(super) fn delete_a_share(&mut self) {
        let Some(share) = self.some_share() else { return };
        self.tell_clock(self.tracker_skew_ms);
        let Some(tracker) = &self.tracker else { return };
        let shared = &mut self.shares[share];
        let issued_ms = (WALL + self.now_ms).max(shared.terms.issued_ms + 1);
        let terms = SignedTerms::sign(&shared.key, Terms { deleted: true, issued_ms, ..*shared.terms });
        if self.runtime.block_on(tracker.replace_terms(shared.id(), &terms.token)).is_ok() {
            shared.terms = terms;
            self.tally.deleted += 1;
        }
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_directory(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

fn chunk_path(node: &Node, id: &ChunkId) -> PathBuf {
    let name = id.to_string();
    node.root.join("chunks").join(&name[..2]).join(name)
}

fn has_good_copy(node: &Node, id: &ChunkId) -> bool {
    std::fs::read(chunk_path(node, id)).is_ok_and(|bytes| ChunkId::of(&bytes) == *id)
}

/// Whether a machine has records of a share, readable or not.
fn has_manifest(node: &Node, shared: &Shared) -> bool {
    records_directory(&node.root, shared.id()).join("manifest").exists()
}
