//! Runs the sender's state machine: carries out its actions and tells it what came of them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parcelry_core::api::{OfferRequest, OpenResponse, PeerAddress, ProblemKind, ShareSize};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::connection_plan;
use parcelry_core::geometry::ChunkIndex;
use parcelry_core::grant::GrantToken;
use parcelry_core::id::{ChunkId, PeerId};
use parcelry_core::link::Invite;
use parcelry_core::manifest::Manifest;
use parcelry_core::owner::Act;
use parcelry_core::placement::Placement;
use parcelry_core::push::{Action, Event, Push};
use parcelry_core::terms::SignedTerms;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::ShareRequest;
use super::halt::Halt;
use super::upload::Upload;
use crate::buffers::Buffers;
use crate::client::{Authority, ClientError, Http, Kept, PeerClient, TrackerClient, with_retries};
use crate::clock::{self, Skew};
use crate::crash::{self, Point};
use crate::failure::{Failure, Kind};
use crate::human;
use crate::progress::{Progress, Stage};
use crate::task::{blocking, cpu_permits};

/// A share that is published, and on its peers' disks by all that they signed and proved.
pub(super) struct Pushed {
    pub(super) holders: Vec<PeerClient>,
    /// On which terms.
    pub(super) terms: SignedTerms,
    /// What they signed for.
    pub(super) receipts: Vec<String>,
}

/// Where a share goes.
#[derive(Clone, Copy)]
pub(super) struct To<'a> {
    pub(super) http: &'a Http,
    pub(super) swarm: &'a Invite,
    /// The client by which the share was opened: it knows how the tracker takes what is published.
    pub(super) tracker: &'a TrackerClient,
    /// How far the tracker's clock is off.
    pub(super) skew: Skew,
}

/// What a piece of work came to.
enum Outcome {
    Offered(PeerId, Result<ChunkSet, ClientError>),
    Sealed(ChunkIndex, Vec<PeerId>, Result<(ChunkId, Bytes), Halt>),
    /// The manifest, and the paths of the files that have grown.
    Made(Result<(Arc<Manifest>, Vec<String>), Halt>),
    Put(PeerId, ChunkIndex, u64, Result<(), ClientError>),
    Committed(PeerId, Result<Kept, ClientError>),
    Audited(PeerId, Result<(), ClientError>),
    Published(Result<(), ClientError>),
}

struct Pusher<'a> {
    upload: &'a Arc<Upload>,
    request: &'a ShareRequest,
    to: To<'a>,
    tracker: TrackerClient,
    progress: &'a Progress,
    machine: Push,
    grant: Arc<GrantToken>,
    peers: HashMap<PeerId, PeerClient>,
    /// The peers in use, with the chunks that each is to hold.
    chunks_of: HashMap<PeerId, ChunkSet>,
    manifest: Option<Arc<Manifest>>,
    /// Whether the manifest is being made, or was.
    is_manifest_begun: bool,
    /// Made when everything was sent: the share's life begins then.
    terms: Option<SignedTerms>,
    receipts: HashMap<PeerId, String>,
    stage: Stage,
    work: JoinSet<Outcome>,
    buffers: Arc<Buffers>,
    /// For chunks that are being sealed.
    cpu_permits: Arc<Semaphore>,
    lost: Vec<(String, ClientError)>,
    skipped: u64,
    resume_reported: bool,
}

/// Pushes every chunk to its peers and publishes the share; returns when all of them have signed and proved that it is on
/// stable storage there.
pub(super) async fn push(
    upload: &Arc<Upload>,
    request: &ShareRequest,
    open: OpenResponse,
    to: To<'_>,
    progress: &Progress,
) -> Result<Pushed, Halt> {
    let geometry = upload.geometry();
    let placement = Placement::from(&open);
    let replicas = usize::from(request.replicas);
    // Before anything is sent: it is not left to the tracker how many replicas there are.
    if !placement.covers(geometry.chunk_count(), replicas) {
        let what = "the tracker named peers that do not make up the replicas that were asked for";
        return Err(Failure::new(Kind::Network, what)
            .next("Nothing was sent. Tell the tracker's operator.")
            .into());
    }
    let addresses = open.sets.into_iter().flat_map(|set| set.peers).chain(open.spares);
    let client = |address: PeerAddress| (address.id, PeerClient::new(to.http.clone(), address));
    let stage = progress.stage_of_copies("Sharing", geometry.sealed_total(), replicas as u64);
    stage.note(format!("to {}", human::count(replicas as u64, "peer")));
    let pusher = Pusher {
        machine: Push::new(geometry, &placement, geometry.chunk_size().window()),
        grant: open.grant.into(),
        peers: addresses.map(client).collect(),
        chunks_of: HashMap::new(),
        manifest: None,
        is_manifest_begun: false,
        terms: None,
        receipts: HashMap::new(),
        work: JoinSet::new(),
        buffers: Buffers::for_chunks(geometry.chunk_size().window(), geometry.chunk_size()),
        cpu_permits: Arc::new(cpu_permits()),
        lost: Vec::new(),
        skipped: 0,
        resume_reported: false,
        stage,
        upload,
        request,
        to,
        tracker: to.tracker.clone(),
        progress,
    };
    pusher.run().await
}

impl Pusher<'_> {
    async fn run(mut self) -> Result<Pushed, Halt> {
        loop {
            while let Some(action) = self.machine.next() {
                match action {
                    Action::Offer(peer) => self.offer(peer),
                    Action::Send(index, to) => self.seal(index, to),
                    Action::Commit(peer, chunks) => self.commit(peer, chunks).await?,
                    Action::Audit(peer, chunks) => self.audit(peer, chunks),
                    Action::Publish => self.publish(),
                    Action::GiveUp => return Err(self.too_few().into()),
                    Action::Finish => return Ok(self.finish()),
                }
            }
            self.take_next().await?;
        }
    }

    /// Waits for a piece of work to end, and takes what it came to.
    async fn take_next(&mut self) -> Result<(), Halt> {
        let Some(outcome) = self.work.join_next().await else {
            return Err(Failure::new(Kind::Other, "the upload came to a standstill").into());
        };
        let outcome = outcome
            .map_err(|error| Failure::new(Kind::Other, format!("a part of the upload failed: {error}")))?;
        self.take(outcome)
    }

    fn offer(&mut self, peer: PeerId) {
        let client = self.peers[&peer].clone();
        let (share, request) = (self.upload.share(), self.offer_request(peer));
        let grant = Arc::clone(&self.grant);
        let owner = self.upload.owner_token(Act::Offer, peer, &grant);
        let skew = self.to.skew;
        self.work.spawn(async move {
            let authority = Authority { grant: &grant, owner: &owner };
            let answer = with_retries(|| client.offer(share, authority, &request)).await;
            let answer =
                answer.and_then(|response| checked_chunk_count(response.held, &request.chunks, &client));
            Outcome::Offered(peer, with_time(&client, skew, answer).await)
        });
    }

    fn offer_request(&mut self, peer: PeerId) -> OfferRequest {
        let holders = self.machine.holders();
        let chunks = holders.into_iter().find(|(id, _)| *id == peer).map(|(_, chunks)| chunks);
        let chunks = chunks.unwrap_or_else(|| ChunkSet::full(self.upload.geometry().chunk_count()));
        self.chunks_of.insert(peer, chunks.clone());
        OfferRequest { size: ShareSize::from(self.upload.geometry()), chunks, known: self.upload.known() }
    }

    fn seal(&mut self, index: ChunkIndex, to: Vec<PeerId>) {
        self.report_resume_once();
        let (upload, buffers, cpu_permits) =
            (Arc::clone(self.upload), Arc::clone(&self.buffers), Arc::clone(&self.cpu_permits));
        self.work.spawn(async move {
            let buffer = buffers.take().await;
            // The semaphore is never closed.
            let permit = cpu_permits.acquire_owned().await.ok();
            let seal = move || upload.seal(index, buffer, || drop(permit));
            Outcome::Sealed(index, to, blocking(seal).await)
        });
    }

    fn put(&mut self, peer: PeerId, index: ChunkIndex, id: ChunkId, sealed: Bytes) {
        let chunks = self.chunks_of[&peer].clone();
        let client = self.peers[&peer].clone();
        let upload = Arc::clone(self.upload);
        let grant = Arc::clone(&self.grant);
        self.work.spawn(async move {
            let bytes = sealed.len() as u64;
            let offer = async {
                let size = ShareSize::from(upload.geometry());
                let request = OfferRequest { size, chunks, known: upload.known() };
                let owner = upload.owner_token(Act::Offer, peer, &grant);
                let authority = Authority { grant: &grant, owner: &owner };
                client.offer(upload.share(), authority, &request).await.map(drop)
            };
            Outcome::Put(peer, index, bytes, client.put_offered(&grant, id, sealed, offer).await)
        });
    }

    /// Has the files be looked at once more and the manifest be made, unless that is under way or done. Every chunk must have
    /// its id.
    fn make_manifest(&mut self) {
        if std::mem::replace(&mut self.is_manifest_begun, true) {
            return;
        }
        let (upload, progress) = (Arc::clone(self.upload), self.progress.clone());
        let make = move || {
            let (manifest, grown) = upload.manifest(&progress)?;
            Ok::<_, Halt>((Arc::new(manifest), grown.iter().map(|file| file.path.to_string()).collect()))
        };
        self.work.spawn(async move { Outcome::Made(blocking(make).await) });
    }

    /// The manifest, as soon as it is made. One goes to all: what they sign names its hash.
    async fn manifest(&mut self) -> Result<Arc<Manifest>, Halt> {
        loop {
            if let Some(manifest) = &self.manifest {
                return Ok(Arc::clone(manifest));
            }
            // Not begun yet if there was no chunk to seal: the peers have all of them, or the share has none.
            self.make_manifest();
            self.take_next().await?;
        }
    }

    async fn commit(&mut self, peer: PeerId, chunks: ChunkSet) -> Result<(), Halt> {
        self.report_resume_once();
        let manifest = self.manifest().await?;
        let holders = self.machine.holders().into_iter().map(|(holder, _)| holder);
        self.upload.note_committing(&holders.chain([peer]).collect::<Vec<_>>())?;
        self.stage.note("making it safe on the peers' disks".into());
        let client = self.peers[&peer].clone();
        let terms = self.terms.get_or_insert_with(|| self.upload.terms(self.request)).token.clone();
        let skew = self.to.skew;
        let grant = Arc::clone(&self.grant);
        let owner = self.upload.owner_token(Act::Commit, peer, &grant);
        self.work.spawn(async move {
            let authority = Authority { grant: &grant, owner: &owner };
            let answer = with_retries(|| client.commit(authority, &manifest, &terms, &chunks)).await;
            let kept = answer.and_then(|answer| client.kept(answer, &manifest, &chunks));
            Outcome::Committed(peer, with_time(&client, skew, kept).await)
        });
        Ok(())
    }

    fn audit(&mut self, peer: PeerId, chunks: ChunkSet) {
        let Some(manifest) = self.manifest.clone() else { return };
        self.stage.note("having the peers prove it".into());
        let client = self.peers[&peer].clone();
        self.work.spawn(async move { Outcome::Audited(peer, client.prove(&manifest, &chunks).await) });
    }

    /// The commit point: from here on the link works.
    fn publish(&mut self) {
        let (Some(manifest), Some(terms)) = (&self.manifest, &self.terms) else { return };
        let (manifest, terms, receipts) = (Arc::clone(manifest), terms.token.clone(), self.receipts());
        let (tracker, grant) = (self.tracker.clone(), Arc::clone(&self.grant));
        let owner = self.upload.owner_token(Act::Publish, self.to.swarm.tracker_id, &grant);
        crash::at(Point::ShareConfirmed);
        self.work.spawn(async move {
            let authority = Authority { grant: &grant, owner: &owner };
            Outcome::Published(tracker.publish(authority, &manifest, terms, receipts).await)
        });
    }

    /// What the peers in use signed for.
    fn receipts(&self) -> Vec<String> {
        let holders = self.machine.holders().into_iter();
        holders.filter_map(|(peer, _)| self.receipts.get(&peer).cloned()).collect()
    }

    fn take(&mut self, outcome: Outcome) -> Result<(), Halt> {
        match outcome {
            Outcome::Offered(peer, Ok(held)) => {
                let skipped = self.bytes(&held);
                self.skipped += skipped;
                self.stage.skip(skipped);
                self.machine.handle(Event::Ready(peer, held));
                self.fit_window();
            }
            Outcome::Sealed(index, to, sealed) => {
                let (id, sealed) = sealed?;
                for peer in to {
                    // A peer may have been lost while the chunk was being sealed.
                    if self.machine.is_member(peer) {
                        self.put(peer, index, id, sealed.clone());
                    } else {
                        self.machine.handle(Event::Failed(peer, index));
                    }
                }
                // Nothing is left to be read: what is to be done for the manifest is done beside the last puts.
                if !self.is_manifest_begun && self.upload.is_sealed() {
                    self.make_manifest();
                }
            }
            Outcome::Made(made) => {
                let (manifest, grown) = made?;
                self.report_grown(grown);
                self.manifest = Some(manifest);
            }
            Outcome::Put(peer, index, bytes, Ok(())) => {
                self.stage.advance(bytes);
                self.machine.handle(Event::Stored(peer, index));
            }
            Outcome::Put(peer, index, _, Err(error)) => {
                tracing::debug!(%error, %index, "a chunk did not arrive");
                self.machine.handle(Event::Failed(peer, index));
                if is_final(&error) || !self.machine.is_member(peer) {
                    self.lose(peer, &error);
                }
            }
            Outcome::Committed(peer, Ok(Kept::All(receipt))) => {
                self.receipts.insert(peer, receipt);
                self.machine.handle(Event::Committed(peer));
            }
            Outcome::Committed(peer, Ok(Kept::Missing(missing))) => {
                self.stage.retreat(self.bytes(&missing));
                self.machine.handle(Event::Incomplete(peer, missing));
                if !self.machine.is_member(peer) {
                    let what = "it takes chunks and does not have them";
                    self.lose(peer, &ClientError::protocol(self.peers[&peer].name(), what));
                }
            }
            Outcome::Audited(peer, Ok(())) => self.machine.handle(Event::Proven(peer)),
            Outcome::Published(Ok(())) => {
                self.upload.note_published()?;
                crash::at(Point::PublishAnswered);
                self.machine.handle(Event::Published);
            }
            Outcome::Published(Err(error)) => return Err(Halt::of_tracker(&error)),
            Outcome::Offered(peer, Err(error))
            | Outcome::Committed(peer, Err(error))
            | Outcome::Audited(peer, Err(error)) => self.lose(peer, &error),
        }
        Ok(())
    }

    /// Keeps no more in memory than the farthest peer needs.
    fn fit_window(&mut self) {
        let peers = self.chunks_of.keys().filter_map(|peer| self.peers.get(peer));
        let connections = peers.map(PeerClient::connections).max();
        let chunk_size = self.upload.geometry().chunk_size();
        self.machine.set_window(connection_plan::window(connections.unwrap_or(1), chunk_size));
    }

    fn lose(&mut self, peer: PeerId, error: &ClientError) {
        // Told once, however many of its requests fail.
        if self.peers.contains_key(&peer) && self.chunks_of.remove(&peer).is_some() {
            let name = self.peers[&peer].name().to_owned();
            self.progress.warn(&format!("peer {name} is of no use for this share: {error}"));
            self.lost.push((name, error.clone()));
        }
        self.receipts.remove(&peer);
        let is_refuted = matches!(error, ClientError::Refuted { .. });
        self.machine.handle(if is_refuted { Event::Refuted(peer) } else { Event::Lost(peer) });
    }

    fn report_resume_once(&mut self) {
        if !self.resume_reported && self.upload.resumed() {
            let skipped = self.skipped / u64::from(self.request.replicas).max(1);
            let total = human::bytes(self.upload.geometry().sealed_total());
            let skipped = human::bytes(skipped);
            self.progress.say(&format!("Resuming: {skipped} of {total} are on the peers already."));
        }
        self.resume_reported = true;
    }

    fn report_grown(&self, mut grown: Vec<String>) {
        const NAMED: usize = 3;
        if grown.is_empty() {
            return;
        }
        let others = grown.len().saturating_sub(NAMED);
        grown.truncate(NAMED);
        let names = grown.join(", ");
        let more = if others > 0 { format!(" and {others} more") } else { String::new() };
        let text = "grew while it was being shared: the share has what was there at the start";
        self.progress.say(&format!("{names}{more} {text}."));
    }

    fn bytes(&self, chunks: &ChunkSet) -> u64 {
        let geometry = self.upload.geometry();
        chunks.iter().map(|index| geometry.sealed_len(index) as u64).sum()
    }

    fn too_few(&self) -> Failure {
        let names: Vec<&str> = self.lost.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        let is_of = |kind| self.lost.iter().any(|(_, error)| error.problem() == Some(kind));
        // First the clocks: by a wrong one a share looks over that is not.
        if self.lost.iter().any(|(_, error)| matches!(error, ClientError::OtherTime { .. })) {
            let what = format!("{names} cannot take the share: the clocks disagree, as said above");
            return Failure::new(Kind::Other, what)
                .next("Set the clocks right, then run the same command again: it goes on from here.");
        }
        if is_of(ProblemKind::ShareGone) && self.terms.as_ref().is_some_and(|t| t.is_over(clock::now_ms())) {
            return Failure::new(Kind::Usage, "the share's time was over before it was safe on its peers")
                .next("Give it a longer life with --expires: it goes on from here.");
        }
        if is_of(ProblemKind::NoSpace) {
            let what =
                format!("there is no space for the share on {names}, and no other peer can take its place");
            return Failure::new(Kind::NoSpace, what)
                .next("Make room or add a peer, then run the same command again: it goes on from here.");
        }
        let what = format!("lost {names}, and no other peer is there to take its place");
        Failure::new(Kind::NotEnoughPeers, what)
            .next("Start more peers, then run the same command again: it goes on from here.")
    }

    fn finish(mut self) -> Pushed {
        let holders = self.machine.holders().into_iter();
        Pushed {
            terms: self.terms.take().expect("nothing is published without terms"),
            receipts: self.receipts(),
            holders: holders.map(|(peer, _)| self.peers[&peer].clone()).collect(),
        }
    }
}

/// A peer's answer about chunks, if it is about a share of as many chunks.
fn checked_chunk_count(
    answered: ChunkSet,
    asked: &ChunkSet,
    peer: &PeerClient,
) -> Result<ChunkSet, ClientError> {
    if answered.chunk_count() == asked.chunk_count() {
        return Ok(answered);
    }
    Err(ClientError::protocol(peer.name(), "a set of another number of chunks"))
}

/// What a peer answered; if it refused because of the time, with how far its clock is off, or the tracker's.
async fn with_time<T>(
    peer: &PeerClient,
    tracker: Skew,
    answer: Result<T, ClientError>,
) -> Result<T, ClientError> {
    let error = match answer {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    let is_of_time = matches!(error.problem(), Some(ProblemKind::ShareGone | ProblemKind::ClockSkew));
    let health = if is_of_time { peer.health().await.ok() } else { None };
    let Some(clock) = health.map(|health| Skew::of(health.now_ms)) else { return Err(error) };
    // Its grant is the tracker's, and its terms are this machine's.
    let by_tracker = clock.against(tracker).map(|off| format!("{off} the tracker's"));
    let here = clock.against(Skew::default()).map(|off| format!("{off} this machine's"));
    let Some(off) = by_tracker.or(here) else { return Err(error) };
    Err(ClientError::other_time(peer.name(), off, error))
}

/// Whether another attempt at the same peer is pointless.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => false,
        ClientError::Refused { problem, .. } => problem.kind != ProblemKind::Unavailable,
        ClientError::OtherTime { .. }
        | ClientError::Protocol { .. }
        | ClientError::WrongKey { .. }
        | ClientError::Refuted { .. } => true,
    }
}
