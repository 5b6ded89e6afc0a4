//! How uploads and downloads of the simulation go on, one piece of work at a time.

use std::time::Duration;

use parcelry_core::api::{
    Blob, CommitRequest, OfferRequest, OpenRequest, ProblemKind, PublishRequest, Question, Verdict, questions,
};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::id::{ChunkId, PeerId};
use parcelry_core::limits::FIRST_SAMPLES;
use parcelry_core::owner::Act;
use parcelry_core::seal::access_token;
use parcelry_core::{fetch, push};

use super::people::{Getting, Sending, Shared, SimDownload, SimUpload};
use super::world::{Event, INVITE, SECOND, TRACKER, WALL, World, travel};
use crate::client::Authority;
use crate::peer::simulated::SimPeer;

impl World {
    pub(super) fn begin_upload(&mut self) {
        let shared = Shared::new(&mut self.dice, WALL + self.now_ms);
        let request = OpenRequest {
            share: shared.id(),
            size: shared.size(),
            replicas: shared.terms.replicas,
            preferred: Vec::new(),
        };
        self.tell_clock(self.tracker_skew_ms);
        let Some(tracker) = &self.tracker else { return };
        let owner = shared.word(Act::Open, TRACKER, INVITE);
        let shown = Authority { grant: &INVITE.into(), owner: &owner };
        let Ok(response) = self.runtime.block_on(tracker.open(&travel(&request), shown)) else { return };
        let by_gateway = self.dice.one_in(3);
        let upload = SimUpload::new(self.shares.len(), &shared, travel(&response), by_gateway);
        self.shares.push(shared);
        self.next_job += 1;
        self.uploads.insert(self.next_job, upload);
        self.after(1, Event::Upload(self.next_job));
    }

    /// One piece of a sender's work comes to its end.
    pub(super) fn step_upload(&mut self, job: usize) {
        let Some(mut upload) = self.uploads.remove(&job) else { return };
        if self.trouble && self.dice.one_in(300) {
            return; // The sender's machine died.
        }
        while let Some(action) = upload.machine.next() {
            match action {
                push::Action::Offer(peer) => upload.work.push(Sending::Offer(peer)),
                push::Action::Send(index, to) => {
                    upload.sent.insert(index);
                    for peer in to {
                        let source = upload.machine.source(index, peer);
                        let put = Sending::Put(peer, index);
                        upload.work.push(source.map_or(put, |source| Sending::Copy(peer, index, source)));
                    }
                }
                push::Action::Commit(peer, chunks) => upload.work.push(Sending::Commit(peer, chunks)),
                push::Action::Audit(peer, chunks) => upload.work.push(Sending::Audit(peer, chunks)),
                push::Action::Publish => upload.work.push(Sending::Publish(upload.receipts())),
                push::Action::Finish => return self.acknowledge(&upload),
                push::Action::GiveUp => return,
            }
        }
        if upload.work.is_empty() {
            return;
        }
        let position = self.dice.index(upload.work.len());
        match upload.work.swap_remove(position) {
            Sending::Publish(receipts) => {
                match self.publish(&upload, &receipts) {
                    Some(true) => upload.machine.handle(push::Event::Published),
                    Some(false) => return,
                    None => upload.work.push(Sending::Publish(receipts)),
                }
                self.uploads.insert(job, upload);
                self.after(2 * SECOND, Event::Upload(job));
            }
            work => {
                let (Sending::Offer(peer)
                | Sending::Put(peer, _)
                | Sending::Copy(peer, ..)
                | Sending::Commit(peer, _)
                | Sending::Audit(peer, _)) = work
                else {
                    return;
                };
                let event = self.send(&mut upload, work);
                upload.machine.handle(event);
                let delay = self.latency(Some(self.index_of(peer)));
                self.uploads.insert(job, upload);
                self.after(delay, Event::Upload(job));
            }
        }
    }

    /// One message to a peer, with its answer. If only the answer is lost, the peer has done what it was asked for, and
    /// the sender does not know.
    pub(super) fn send(&mut self, upload: &mut SimUpload, work: Sending) -> push::Event {
        let (Sending::Offer(id)
        | Sending::Put(id, _)
        | Sending::Copy(id, ..)
        | Sending::Commit(id, _)
        | Sending::Audit(id, _)) = work.clone()
        else {
            unreachable!("a publish is no message to a peer")
        };
        let index = self.index_of(id);
        let failed = match work {
            Sending::Put(_, chunk) | Sending::Copy(_, chunk, _) => push::Event::Failed(id, chunk),
            _ => push::Event::Lost(id),
        };
        let (there, back) = (self.arrives(), self.arrives()); // drawn whatever comes of it: a seed tells one story
        if !there || !self.is_open(index) {
            return failed;
        }
        if self.peers[index].lies {
            let lie = self.lie_to_sender(upload, &work);
            return if back { lie } else { failed };
        }
        self.tell_clock(self.peers[index].skew_ms);
        let (Some(peer), shared) = (&self.peers[index].running, &self.shares[upload.share]) else {
            return failed;
        };
        let event = match work {
            Sending::Offer(_) => {
                let chunks = ChunkSet::full(shared.chunk_count());
                let request = OfferRequest { size: shared.size(), chunks, known: shared.known(&upload.sent) };
                let owner = shared.word(Act::Offer, id, &upload.grant);
                let shown = Authority { grant: &upload.grant, owner: &owner };
                peer.offer(shared.id(), shown, &travel(&request)).map(|held| push::Event::Ready(id, held))
            }
            Sending::Put(_, chunk) => {
                let sealed = &shared.sealed[chunk.get() as usize];
                let put = peer.put(shared.id(), shared.manifest.chunk(chunk), sealed);
                put.map(|()| push::Event::Stored(id, chunk))
            }
            Sending::Copy(_, chunk, source) => {
                let chunk_id = shared.manifest.chunk(chunk);
                let Some(sealed) = self.served(source, chunk_id) else { return failed };
                peer.put(shared.id(), chunk_id, &sealed).map(|()| push::Event::Stored(id, chunk))
            }
            Sending::Commit(_, chunks) => {
                let manifest = Blob(shared.manifest.encoded().to_vec());
                let terms = shared.terms.token.clone();
                let request = CommitRequest { manifest, terms, chunks: chunks.clone() };
                let owner = shared.word(Act::Commit, id, &upload.grant);
                let shown = Authority { grant: &upload.grant, owner: &owner };
                peer.commit(shared.id(), shown, travel(&request)).map(|answer| match answer.receipt {
                    Some(receipt) => {
                        check_confirmed(peer, shared, &chunks);
                        upload.confirmed.insert(id, (chunks, receipt));
                        push::Event::Committed(id)
                    }
                    None => push::Event::Incomplete(id, answer.missing),
                })
            }
            Sending::Audit(_, chunks) => {
                let dice = &mut self.dice;
                let asked = questions(&shared.manifest, &chunks, FIRST_SAMPLES, |bound| dice.below(bound));
                let judged =
                    |is_proven| if is_proven { push::Event::Proven(id) } else { push::Event::Refuted(id) };
                proves(peer, &asked).map(judged).map_err(|_| ProblemKind::Internal)
            }
            Sending::Publish(_) => unreachable!("a publish is no message to a peer"),
        };
        event.ok().filter(|_| back).unwrap_or(failed)
    }

    /// What a peer serves for a chunk, if it is there to be asked.
    fn served(&self, source: PeerId, chunk: ChunkId) -> Option<Vec<u8>> {
        let node = &self.peers[self.index_of(source)];
        node.running.as_ref().filter(|_| !node.cut_off)?.chunk(chunk)
    }

    /// Whether the answer is a good one; `None` if there is none.
    pub(super) fn publish(&mut self, upload: &SimUpload, receipts: &[String]) -> Option<bool> {
        let (there, back) = (self.arrives(), self.arrives());
        let shared = &self.shares[upload.share];
        let request = PublishRequest {
            manifest: Blob(shared.manifest.encoded().to_vec()),
            terms: shared.terms.token.clone(),
            receipts: receipts.to_vec(),
        };
        self.tell_clock(self.tracker_skew_ms);
        let tracker = self.tracker.as_ref().filter(|_| there)?;
        let owner = shared.word(Act::Publish, TRACKER, &upload.grant);
        let shown = Authority { grant: &upload.grant, owner: &owner };
        let answer = self.runtime.block_on(tracker.publish(shared.id(), shown, travel(&request)));
        back.then_some(answer.is_ok())
    }

    /// The sender is told that the share is safe.
    fn acknowledge(&mut self, upload: &SimUpload) {
        let shared = &mut self.shares[upload.share];
        let holders = upload.machine.holders();
        let confirmed: Vec<_> = holders.iter().filter_map(|(peer, _)| upload.confirmed.get(peer)).collect();
        for index in shared.manifest.geometry().indices() {
            let confirmed = confirmed.iter().filter(|(chunks, _)| chunks.contains(index)).count();
            let wanted = usize::from(shared.terms.replicas);
            assert!(confirmed >= wanted, "acknowledged with too few replicas");
        }
        let mut machines = holders.iter().map(|(peer, _)| self.peers.iter().find(|node| node.id == *peer));
        assert!(machines.all(|node| !node.unwrap().lies), "acknowledged with what nobody holds");
        shared.acknowledged = true;
        self.tally.acknowledged += 1;
    }

    pub(super) fn begin_download(&mut self, share: usize) -> Option<usize> {
        if !self.arrives() {
            return None;
        }
        self.tell_clock(self.tracker_skew_ms);
        let shared = &self.shares[share];
        let access = access_token(&shared.secret);
        let look_up = self.tracker.as_ref()?.look_up(shared.id(), &access);
        let response = self.runtime.block_on(look_up).ok()?;
        self.next_job += 1;
        self.downloads.insert(self.next_job, SimDownload::new(share, shared, travel(&response)));
        self.after(1, Event::Download(self.next_job));
        Some(self.next_job)
    }

    /// One piece of a receiver's work comes to its end.
    pub(super) fn step_download(&mut self, job: usize) {
        let Some(mut download) = self.downloads.remove(&job) else { return };
        let now = Duration::from_millis(self.now_ms);
        loop {
            match download.machine.next(now) {
                None => break,
                Some(fetch::Action::Ask(peer)) => download.work.push(Getting::Ask(peer)),
                Some(fetch::Action::Get(peer, index)) => download.work.push(Getting::Get(peer, index)),
                Some(fetch::Action::Finish) => {
                    assert!(
                        download.result() == self.shares[download.share].plain,
                        "wrong bytes were delivered"
                    );
                    self.tally.delivered += 1;
                    return;
                }
                Some(fetch::Action::GiveUp) => return,
            }
        }
        // What is under way ends in any order.
        let position = self.dice.index(download.work.len());
        let work = download.work.swap_remove(position);
        let (Getting::Ask(id) | Getting::Get(id, _)) = work;
        let index = self.index_of(id);
        let reached = self.arrives() && self.is_open(index);
        // A liar runs no peer: what it says is made up here.
        let event = match (&self.peers[index].running, work) {
            (None, Getting::Ask(_)) if reached && self.peers[index].lies => {
                fetch::Event::Holds(id, ChunkSet::full(download.manifest.geometry().chunk_count()))
            }
            (None, Getting::Get(_, chunk)) if reached && self.peers[index].lies => {
                self.tally.lies_served += 1;
                download.take(id, chunk, Some(self.dice.bytes::<64>().to_vec()))
            }
            (Some(peer), Getting::Ask(_)) if reached => {
                match peer.holding(self.shares[download.share].id()) {
                    Some(chunks) => fetch::Event::Holds(id, chunks),
                    None => fetch::Event::Lost(id),
                }
            }
            (Some(peer), Getting::Get(_, chunk)) if reached => {
                let served = peer.chunk(download.manifest.chunk(chunk));
                download.take(id, chunk, served)
            }
            (_, Getting::Ask(_)) => fetch::Event::Lost(id),
            (_, Getting::Get(_, chunk)) => fetch::Event::Failed(id, chunk),
        };
        download.machine.handle(event, now);
        let delay = self.latency(Some(index));
        self.downloads.insert(job, download);
        self.after(delay, Event::Download(job));
    }
}

/// Whether a peer proves all that it is asked about; an error: it cannot read something, and answers nothing.
fn proves(peer: &SimPeer, asked: &[Question]) -> std::io::Result<bool> {
    let is_proven = |question: &Question| {
        let proof = peer.prove(&question.sample)?;
        Ok(proof.judge(&question.sample, question.len) == Verdict::Proven)
    };
    let proven: std::io::Result<Vec<bool>> = asked.iter().map(is_proven).collect();
    Ok(proven?.into_iter().all(|is_proven| is_proven))
}

/// What a peer confirms is there, right, and synced.
fn check_confirmed(peer: &SimPeer, shared: &Shared, chunks: &ChunkSet) {
    let unsynced = peer.unsynced();
    for index in chunks.iter() {
        let id = shared.manifest.chunk(index);
        assert!(peer.chunk(id).is_some(), "a confirmed chunk is not there");
        assert!(unsynced.iter().all(|(other, _)| *other != id), "confirmed before it was synced");
    }
}
