//! A sender who has a link, an invite, and every grant and token that he could get hold of, but not the share's key:
//! whatever he asks of tracker and peers, nothing of the share goes, moves, or is counted differently.

use std::collections::{BTreeMap, BTreeSet};

use parcelry_core::api::{Blob, CommitRequest, OfferRequest, OpenRequest, ProblemKind, PublishRequest};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::grant::{Grant, GrantToken, Operation, TrackerKey};
use parcelry_core::id::{ChunkId, PeerId, Secret, ShareId};
use parcelry_core::owner::Act;
use parcelry_core::terms::{SignedTerms, Terms, TermsToken};

use super::people::Shared;
use super::world::{INVITE, MINUTE, SECOND, TRACKER, WALL, World};
use crate::client::Authority;

/// Calls of one run.
const CALLS: usize = 10_000;
/// Mallory's own shares: they come and go.
const OWN: usize = 100;
/// Those of them whose credentials he tries on the other share.
const TRIED: usize = 3;

/// What is known and kept of a share: at the tracker, and for each peer its record and the chunks whose bytes are right.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    holders: Vec<(PeerId, ChunkSet)>,
    terms: TermsToken,
    at_peers: Vec<(PeerId, Option<ChunkSet>, BTreeSet<ChunkId>)>,
}

/// Mallory, with what he has.
struct Foreign {
    /// The share that is not his.
    victim: usize,
    /// Shares of his own that list chunks of the victim, beside chunks of their own.
    own: Vec<Shared>,
    grants: Vec<GrantToken>,
    words: Vec<String>,
    receipts: BTreeMap<ShareId, Vec<String>>,
}

impl World {
    fn kept(&self, share: usize) -> Kept {
        let (tracker, shared) = (self.tracker.as_ref().unwrap(), &self.shares[share]);
        let access = parcelry_core::seal::access_token(&shared.secret);
        let look_up = self.runtime.block_on(tracker.look_up(shared.id(), &access)).unwrap();
        let at_peer = |node: &super::world::Node| {
            let peer = node.running.as_ref().unwrap();
            let is_good = |id: &ChunkId| peer.chunk(*id).is_some_and(|bytes| ChunkId::of(&bytes) == *id);
            let held = peer.holding(shared.id());
            // What lies elsewhere he may have put there himself, under a share of his own.
            let chunks = shared.manifest.chunks().filter(|_| held.is_some()).map(|(_, id)| id);
            (node.id, held.clone(), chunks.filter(is_good).collect())
        };
        Kept {
            holders: self.runtime.block_on(tracker.holders(shared.id())),
            terms: look_up.terms,
            at_peers: self.peers.iter().map(at_peer).collect(),
        }
    }
}

impl Foreign {
    fn new(world: &mut World, victim: usize) -> Self {
        let now_ms = WALL + world.now_ms;
        let stolen = &world.shares[victim];
        let own: Vec<Shared> = (0..OWN).map(|_| stolen.copied_by_another(&mut world.dice, now_ms)).collect();
        let peers: Vec<PeerId> = world.peers.iter().map(|node| node.id).collect();
        let shares = own.iter().take(TRIED).map(Shared::id).chain([stolen.id()]);
        let both = |share| [Operation::Push, Operation::Copy].map(|operation| (share, operation));
        let grants: Vec<GrantToken> = shares
            .flat_map(both)
            .map(|(share, operation)| sign_grant(share, operation, peers.clone(), now_ms))
            .collect();
        let mut words = vec![String::new(), "v4.public.x".into()];
        for act in [Act::Open, Act::Offer, Act::Commit, Act::Publish, Act::Delegate] {
            for credential in grants.iter().map(|grant| &**grant).chain([INVITE]) {
                for peer in &peers {
                    words.extend(own.iter().take(TRIED).map(|shared| shared.word(act, *peer, credential)));
                }
                words.extend(own.iter().take(TRIED).map(|shared| shared.word(act, TRACKER, credential)));
            }
            // What the owner said before, with a grant that is over.
            words.extend(peers.iter().map(|peer| stolen.word(act, *peer, "an older grant")));
        }
        Self { victim, own, grants, words, receipts: BTreeMap::new() }
    }

    /// One call, with credentials and contents chosen at random. Returns whether it was taken.
    fn call(&mut self, world: &mut World) -> bool {
        let dice = &mut world.dice;
        let (own, at, kind) = (dice.index(self.own.len()), dice.index(world.peers.len()), dice.below(8));
        // Often he acts as the owner that he is, of his own shares. Chunks are put under an offer, so for one of these.
        let is_own = kind == 4 || dice.one_in(2);
        let count = world.shares[self.victim].chunk_count();
        let set = match dice.below(3) {
            0 => ChunkSet::empty(count),
            1 => ChunkSet::full(count),
            _ => ChunkSet::range(count, 0..u32::try_from(dice.below(u64::from(count) + 1)).unwrap()),
        };
        let act = [Act::Open, Act::Offer, Act::Commit, Act::Publish][usize::try_from(kind % 4).unwrap()];
        let (grant, word) = self.credentials(world, is_own.then_some(own), act, at);
        let answer = self.ask(world, kind, (is_own, own), at, set, Authority { grant: &grant, owner: &word });
        assert!(is_own || answer.is_err(), "a call of kind {kind} about somebody else's share was taken");
        if let (false, Err(kind)) = (is_own, &answer) {
            let refusals = [
                ProblemKind::AccessDenied,
                ProblemKind::ClockSkew,
                ProblemKind::InvalidShare,
                ProblemKind::Conflict,
            ];
            assert!(refusals.contains(kind), "{kind:?}");
        }
        answer.is_ok()
    }

    /// What he shows: sound credentials for a share of his own, or for the other one anything that he has.
    fn credentials(
        &self,
        world: &mut World,
        own: Option<usize>,
        act: Act,
        at: usize,
    ) -> (GrantToken, String) {
        let Some(own) = own.map(|own| &self.own[own]) else {
            let grant = match act {
                Act::Open => INVITE.into(),
                _ => self.grants[world.dice.index(self.grants.len())].clone(),
            };
            return (grant, self.words[world.dice.index(self.words.len())].clone());
        };
        let peers: Vec<PeerId> = world.peers.iter().map(|node| node.id).collect();
        let grant = sign_grant(own.id(), Operation::Push, peers, WALL + world.now_ms);
        match act {
            Act::Open => (INVITE.into(), own.word(act, TRACKER, INVITE)),
            Act::Publish => (grant.clone(), own.word(act, TRACKER, &grant)),
            _ => (grant.clone(), own.word(act, world.peers[at].id, &grant)),
        }
    }

    fn ask(
        &mut self,
        world: &World,
        kind: u64,
        (is_own, own): (bool, usize),
        at: usize,
        set: ChunkSet,
        shown: Authority<'_>,
    ) -> Result<(), ProblemKind> {
        let own = &self.own[own];
        let subject = if is_own { own } else { &world.shares[self.victim] };
        let (tracker, peer) = (world.tracker.as_ref().unwrap(), world.peers[at].running.as_ref().unwrap());
        let (manifest, terms) = (Blob(subject.manifest.encoded().to_vec()), subject.terms.token.clone());
        match kind {
            0 => {
                let (share, size) = (subject.id(), subject.size());
                let preferred = vec![world.peers[at].id];
                let request = OpenRequest { share, size, replicas: 2, preferred };
                world.runtime.block_on(tracker.open(&request, shown)).map(drop)
            }
            1 | 5 => {
                let known = subject.known(&set);
                let request = OfferRequest { size: subject.size(), chunks: set, known };
                peer.offer(subject.id(), shown, &request).map(drop)
            }
            2 | 6 => {
                let request = CommitRequest { manifest, terms, chunks: set };
                let answer = peer.commit(subject.id(), shown, request);
                answer.map(|answer| self.receipts.entry(own.id()).or_default().extend(answer.receipt))
            }
            3 => {
                // Those that peers gave him for his own shares, and for no other.
                let receipts = self.receipts.get(&own.id()).cloned().unwrap_or_default();
                let request = PublishRequest { manifest, terms, receipts };
                world.runtime.block_on(tracker.publish(subject.id(), shown, request))
            }
            // What he may do: put his own copies of the chunks under a share of his own, and delete that.
            4 => own.sealed.iter().try_for_each(|bytes| peer.put(own.id(), ChunkId::of(bytes), bytes)),
            _ => {
                let issued_ms = WALL + world.now_ms;
                let terms = Terms { issued_ms, deleted: true, ..*own.terms };
                let token = SignedTerms::sign(&own.key, terms).token;
                world.runtime.block_on(tracker.replace_terms(subject.id(), &token))
            }
        }
    }
}

/// A grant as the tracker signs it.
fn sign_grant(share: ShareId, operation: Operation, peers: Vec<PeerId>, now_ms: u64) -> GrantToken {
    TrackerKey::from_seed(&Secret::from_bytes([1; 32])).sign(&Grant {
        share,
        operation,
        peers,
        bearer: None,
        token: None,
        budget_bytes: 1 << 30,
        quota_bytes: None,
        issued_ms: now_ms,
        expires_ms: now_ms + 3_600_000,
    })
}

#[test]
fn s1_ten_thousand_calls_of_a_foreign_sender_change_nothing_of_a_share() {
    let mut world = World::new(5);
    world.trouble = false;
    while !world.shares.iter().any(|shared| shared.acknowledged && shared.chunk_count() > 1) {
        world.begin_upload();
        world.run_until(world.now_ms + 20 * SECOND);
    }
    let victim = world.shares.iter().position(|s| s.acknowledged && s.chunk_count() > 1).unwrap();
    let before = world.kept(victim);
    assert!(before.at_peers.iter().filter(|(_, held, _)| held.is_some()).count() > 0);
    let mut foreign = Foreign::new(&mut world, victim);
    let mut taken = 0;
    for number in 0..CALLS {
        taken += usize::from(foreign.call(&mut world));
        if number % 500 == 0 {
            world.run_until(world.now_ms + SECOND);
        }
    }
    assert!(taken > CALLS / 20, "too little was tried that is allowed: {taken}");
    world.run_until(world.now_ms + MINUTE);
    assert_eq!(world.kept(victim), before);
    world.account();
}
