//! Audits: which samples a tracker asks of whom, and when, and what follows from the answers.
//!
//! What a peer says that it holds is *claimed*. A sample asks for a few random bytes of a chunk with the hashes up to
//! the chunk's id, which only a holder can give: then the peer's replicas of that share are *proven*. A wrong answer,
//! or "not held", *refutes* a chunk; no answer refutes nothing, for lines and machines fail, too.
//!
//! [`Audits`] keeps what is known of each (peer, share), called a pair here, and when each is due. A pair is asked at
//! once when it is claimed, then after 10 minutes, an hour, six hours, and then at least once a day, each time at a
//! random moment within the second half of that time. Pairs of one peer go together in one request, and a peer has
//! one request at a time. So the cost grows with pairs, not with chunks; what is done at once grows with neither.
//!
//! Times are milliseconds for which this tracker has run in its whole life, restarts included, so that no clock that
//! is set wrong makes a replica older. They are kept as tenths of seconds in 32 bits: enough for 13 years. With three
//! pairs to a share, a pair takes some 90 bytes.

use std::collections::{BTreeMap, BTreeSet};

pub use crate::claim::{Asked, Claim, Evidence, Outcome, Record, Target, Turn, draw_chunks, draw_samples};
use crate::id::{PeerId, ShareId};
use crate::limits::{AUDIT_SAMPLES_FIRST, AUDIT_TURN_SAMPLES};
use crate::pair::{BARE, NEW, PROVEN, Pace, Pair, RECLAIMED, RECLAIMED_MOST, REFUTED_MOST, Tick, ms, tick};
use crate::registry::Rules;

/// Samples of a turn that are kept for what is proven, so that no flood of claims keeps it from being asked.
const SAMPLES_FOR_PROVEN: usize = AUDIT_TURN_SAMPLES / 4;

/// A peer that is audited.
#[derive(Debug, Default)]
struct Subject {
    pairs: BTreeMap<u32, Pair>,
    /// Its pairs by class and the time when they are due.
    queue: BTreeSet<(u8, Tick, u32)>,
    /// When its turn comes, as in [`Audits::turns`]. None while it is being asked.
    turn: Option<Tick>,
    asked: bool,
    /// Whether it was not there at its last turn.
    away: bool,
    last_asked: Option<Tick>,
    /// Since when by the claims' clock, and how often in a row, it has not answered.
    silent: Option<(Tick, u32)>,
    /// Pairs of which it gave proofs, also before this tracker started.
    shown: u64,
    last_proof: Option<Tick>,
    last_refuted: Option<Tick>,
    refuted_chunks: u64,
    /// When by the claims' clock it was first told, within the last week, that it has what was never proven.
    told_since: Option<Tick>,
}

/// A share that is audited.
#[derive(Debug)]
struct Known {
    id: ShareId,
    pairs: u32,
    proven: u32,
}

/// What is known of all pairs, and who is to be asked when. Of a peer that holds nothing any more it is remembered
/// how it behaved, in some 200 bytes.
#[derive(Debug)]
pub struct Audits {
    pace: Pace,
    peers: BTreeMap<PeerId, Subject>,
    numbers: BTreeMap<ShareId, u32>,
    shares: Vec<Known>,
    unused: Vec<u32>,
    turns: BTreeSet<(Tick, PeerId)>,
    unsaved: BTreeSet<(PeerId, u32)>,
    pairs: u64,
    proven: u64,
    claims: ClaimsClock,
}

/// The clock by which claims count. It stands still while the tracker suspects its own network, for nobody can prove
/// anything then.
#[derive(Debug, Default)]
struct ClaimsClock {
    /// For how long it has stood still, but for this time.
    stood: Tick,
    /// Since when it stands still.
    stands_since: Option<Tick>,
}

impl ClaimsClock {
    fn at(&self, now: Tick) -> Tick {
        self.stands_since.map_or(now, |since| since.min(now)).saturating_sub(self.stood)
    }

    fn stand(&mut self, stands: bool, now: Tick) {
        match (stands, self.stands_since) {
            (true, None) => self.stands_since = Some(now),
            (false, Some(since)) => {
                self.stood = self.stood.saturating_add(now.saturating_sub(since));
                self.stands_since = None;
            }
            _ => {}
        }
    }
}

impl Audits {
    /// Nothing is known yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            pace: Pace::of(rules),
            peers: BTreeMap::new(),
            numbers: BTreeMap::new(),
            shares: Vec::new(),
            unused: Vec::new(),
            turns: BTreeSet::new(),
            unsaved: BTreeSet::new(),
            pairs: 0,
            proven: 0,
            claims: ClaimsClock::default(),
        }
    }

    /// Notes whether the tracker suspects its own network: then no claim gets older.
    pub fn suspect_own_network(&mut self, suspicion: bool, now_ms: u64) {
        self.claims.stand(suspicion, tick(now_ms));
    }

    /// What the loss of a peer weighs: the shares of which it gave proofs, also before this tracker started.
    pub fn weight(&self, peer: PeerId) -> u64 {
        self.peers.get(&peer).map_or(0, |subject| subject.shown)
    }

    /// Pairs that are known, and those of them that are proven.
    pub const fn counts(&self) -> (u64, u64) {
        (self.pairs, self.proven)
    }

    /// Notes what a peer is said to hold of a share. It is asked about it soon, whatever was proven before.
    pub fn claim(&mut self, peer: PeerId, share: ShareId, how: Claim, now_ms: u64) {
        let now = tick(now_ms);
        let number = self.number(share);
        let known = self.peers.get(&peer).and_then(|subject| subject.pairs.get(&number)).copied();
        let mut pair = match (known, how) {
            (Some(pair), Claim::Inventory) if pair.class != PROVEN => return,
            (Some(pair), _) => pair,
            (None, _) => Pair {
                proofs: None,
                due: now,
                counts_until: 0,
                class: BARE,
                samples: AUDIT_SAMPLES_FIRST,
                refuted: 0,
            },
        };
        let counted = self.claims.at(now);
        if how != Claim::Bare || pair.class == PROVEN {
            pair.due = now;
        }
        match how {
            // What is asked is more, what the rest counts for is the same.
            Claim::Bare => pair.samples = pair.samples.max(AUDIT_SAMPLES_FIRST),
            Claim::Expected => {
                pair.counts_until = counted.saturating_add(self.pace.dead);
                (pair.class, pair.samples) = (NEW, pair.samples.max(AUDIT_SAMPLES_FIRST));
            }
            Claim::Inventory => {
                pair.counts_until = self.told_until(peer, pair.proofs.is_some(), counted);
                pair.class = self.reclaimed(number);
            }
        }
        self.put(peer, number, Some(pair));
        self.peers.entry(peer).or_default().away = false;
        self.schedule(peer);
    }

    /// Until when a claim counts that nothing but the peer's word or an old proof speaks for. What was never
    /// proven counts within one day of a week, so that nobody holds repair up by telling the same again and again.
    fn told_until(&mut self, peer: PeerId, proven_before: bool, counted: Tick) -> Tick {
        let subject = self.peers.entry(peer).or_default();
        let is_over = |since: Tick| counted.saturating_sub(since) >= self.pace.week;
        let since = *subject.told_since.get_or_insert(counted);
        if is_over(since) {
            subject.told_since = Some(counted);
        }
        let from = if proven_before { counted } else { subject.told_since.unwrap_or(counted) };
        from.saturating_add(self.pace.day)
    }

    /// Takes in a pair that the tracker's store knows and that was not heard of since the start. It is claimed.
    pub fn meet(&mut self, peer: PeerId, share: ShareId, record: Option<Record>, now_ms: u64) {
        if self.pair(peer, share).is_some() {
            return;
        }
        self.claim(peer, share, Claim::Inventory, now_ms);
        // Nothing is older than this tracker, whatever its store says.
        let at = |moment_ms: u64| tick(moment_ms.min(now_ms));
        let proofs = record.map(|r| (at(r.since_ms), at(r.steady_ms), at(r.proven_ms)));
        let counts_until = self.claims.at(tick(now_ms)).saturating_add(self.pace.day);
        if let Some(pair) = self.pair(peer, share) {
            let samples = if proofs.is_some() { 1 } else { AUDIT_SAMPLES_FIRST };
            let number = self.number(share);
            self.put(peer, number, Some(Pair { proofs, counts_until, samples, ..pair }));
        }
    }

    /// Notes that a peer holds nothing of a share any more.
    pub fn forget(&mut self, peer: PeerId, share: ShareId) {
        if let Some(&number) = self.numbers.get(&share) {
            self.put(peer, number, None);
            self.schedule(peer);
        }
    }

    /// What is known of a holder's replicas of a share.
    pub fn evidence(&self, peer: PeerId, share: ShareId, now_ms: u64) -> Evidence {
        let now = tick(now_ms);
        let (Some(subject), Some(pair)) = (self.peers.get(&peer), self.pair(peer, share)) else {
            return Evidence::Claimed { counts: false };
        };
        let counted = self.claims.at(now);
        let silent = subject.silent.map_or(0, |(since, _)| counted.saturating_sub(since));
        match pair.proofs {
            Some((since, steady, _)) if pair.class == PROVEN && silent < self.pace.day => Evidence::Proven {
                since_ms: ms(since),
                settled: now.saturating_sub(steady) >= self.pace.week,
            },
            _ => {
                let counts =
                    counted < pair.counts_until && silent < self.pace.dead && !self.is_liar(subject, now);
                Evidence::Claimed { counts }
            }
        }
    }

    /// Whether the pair is known.
    pub fn knows(&self, peer: PeerId, share: ShareId) -> bool {
        self.pair(peer, share).is_some()
    }

    /// Whether the pair was proven since it was refuted last.
    pub fn was_proven(&self, peer: PeerId, share: ShareId) -> bool {
        self.pair(peer, share).is_some_and(|pair| pair.proofs.is_some())
    }

    /// Whether a peer was caught with a chunk that it does not have within the last day, and has proven nothing
    /// since: nothing is copied to it.
    pub fn is_distrusted(&self, peer: PeerId, now_ms: u64) -> bool {
        self.peers.get(&peer).is_some_and(|subject| self.is_liar(subject, tick(now_ms)))
    }

    fn is_liar(&self, subject: &Subject, now: Tick) -> bool {
        let lately = |refuted: Tick| now.saturating_sub(refuted) < self.pace.day;
        subject.last_refuted.is_some_and(|at| lately(at) && subject.last_proof.is_none_or(|good| good < at))
    }

    /// Whether a peer was refuted so often in a row that nothing of the share is believed to be there.
    pub fn is_hopeless(&self, peer: PeerId, share: ShareId) -> bool {
        self.pair(peer, share).is_some_and(|pair| pair.refuted >= REFUTED_MOST)
    }

    /// How many chunks a peer was found not to have since this tracker started.
    pub fn refuted_chunks(&self, peer: PeerId) -> u64 {
        self.peers.get(&peer).map_or(0, |subject| subject.refuted_chunks)
    }

    /// The next peers to be asked, at most `limit`, with what to ask them. Each is to be reported by [`Self::done`].
    pub fn take(&mut self, limit: usize, now_ms: u64) -> Vec<Turn> {
        let now = tick(now_ms);
        let mut turns = Vec::new();
        while turns.len() < limit {
            let Some(&(at, peer)) = self.turns.first().filter(|(at, _)| *at <= now) else { break };
            self.turns.remove(&(at, peer));
            let questions = self.questions(peer, now);
            let Some(subject) = self.peers.get_mut(&peer) else { continue };
            subject.turn = None;
            if questions.is_empty() {
                // What was due has been forgotten meanwhile.
                self.schedule(peer);
                continue;
            }
            (subject.asked, subject.last_asked) = (true, Some(now));
            turns.push(Turn { peer, questions });
        }
        turns
    }

    /// What to ask a peer now: of each class the longest due first.
    fn questions(&mut self, peer: PeerId, now: Tick) -> Vec<Asked> {
        let soon = now.saturating_add(self.pace.dead / 2);
        let mut chosen: Vec<(u32, u8)> = Vec::new();
        let mut samples = 0;
        let mut take =
            |queue: &BTreeSet<(u8, Tick, u32)>, pairs: &BTreeMap<u32, Pair>, class, until, most| {
                for &(_, _, number) in queue.range((class, 0, 0)..=(class, until, u32::MAX)) {
                    let count = pairs.get(&number).map_or(1, |pair| pair.samples);
                    if samples > 0 && samples + usize::from(count) > most {
                        return;
                    }
                    if !chosen.iter().any(|(other, _)| *other == number) {
                        samples += usize::from(count);
                        chosen.push((number, count));
                    }
                }
            };
        let Some(subject) = self.peers.get(&peer) else { return Vec::new() };
        let (queue, pairs) = (&subject.queue, &subject.pairs);
        // Proofs that are due have a part of their own, and come first. What claims leave over renews others early.
        take(queue, pairs, PROVEN, now, SAMPLES_FOR_PROVEN);
        (NEW..PROVEN).for_each(|class| take(queue, pairs, class, now, AUDIT_TURN_SAMPLES));
        take(queue, pairs, PROVEN, soon, AUDIT_TURN_SAMPLES);
        let question = |(number, samples): (u32, u8)| {
            self.shares.get(number as usize).map(|known| Asked { share: known.id, samples })
        };
        chosen.into_iter().filter_map(question).collect()
    }

    /// Notes what came of a peer's turn; what of it was not asked stays due. `draw` gives random numbers.
    pub fn done(
        &mut self,
        peer: PeerId,
        outcomes: &[(ShareId, Outcome)],
        now_ms: u64,
        mut draw: impl FnMut() -> u64,
    ) {
        let now = tick(now_ms);
        let counted = self.claims.at(now);
        let is_silent = outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Unanswered);
        // One answer is enough to know that the peer is there, whatever else stayed unanswered.
        let has_spoken =
            outcomes.iter().any(|(_, v)| matches!(v, Outcome::Proven | Outcome::Grown | Outcome::Refuted(_)));
        let Some(subject) = self.peers.get_mut(&peer) else { return };
        (subject.asked, subject.away) = (false, false);
        match (is_silent, subject.silent) {
            _ if has_spoken => subject.silent = None,
            (true, None) => subject.silent = Some((counted, 1)),
            (true, Some((since, times))) => subject.silent = Some((since, times.saturating_add(1))),
            (false, _) => {}
        }
        for &(share, outcome) in outcomes {
            self.judge(peer, share, outcome, now, draw());
        }
        self.schedule(peer);
    }

    /// Notes that a peer whose turn it was is not there to be asked: that says nothing about what it holds.
    pub fn absent(&mut self, peer: PeerId) {
        if let Some(subject) = self.peers.get_mut(&peer) {
            (subject.asked, subject.away) = (false, true);
        }
        self.schedule(peer);
    }

    fn judge(&mut self, peer: PeerId, share: ShareId, outcome: Outcome, now: Tick, random: u64) {
        let Some(mut pair) = self.pair(peer, share) else { return };
        let (number, counted) = (self.number(share), self.claims.at(now));
        match outcome {
            Outcome::Gone => return self.put(peer, number, None),
            Outcome::Proven | Outcome::Grown => {
                if outcome == Outcome::Grown {
                    // All of it is as young as its youngest part: nobody gets old chunks by words.
                    pair.proofs = None;
                }
                pair.prove(self.pace, now, random);
                self.unsaved.insert((peer, number));
            }
            Outcome::Refuted(chunks) => {
                pair.refute(self.pace, now, counted);
                self.unsaved.insert((peer, number));
                if let Some(subject) = self.peers.get_mut(&peer) {
                    subject.refuted_chunks += u64::from(chunks.max(1));
                }
            }
            Outcome::Unanswered => pair.wait(self.pace, now, counted),
        }
        if let Some(subject) = self.peers.get_mut(&peer) {
            match outcome {
                Outcome::Proven | Outcome::Grown => subject.last_proof = Some(now),
                Outcome::Refuted(_) => subject.last_refuted = Some(now),
                _ => {}
            }
        }
        self.put(peer, number, Some(pair));
    }

    /// What is to be kept of proofs that are new, for at most `limit` pairs; none: nothing is proven any more.
    pub fn unsaved(&mut self, limit: usize) -> Vec<(PeerId, ShareId, Option<Record>)> {
        let next = std::iter::from_fn(|| self.unsaved.pop_first()).take(limit).collect::<Vec<_>>();
        let record = |(peer, number): (PeerId, u32)| {
            let known = self.shares.get(number as usize)?;
            let pair = self.pair(peer, known.id)?;
            let record = pair.proofs.map(|(since, steady, last)| Record {
                since_ms: ms(since),
                steady_ms: ms(steady),
                proven_ms: ms(last),
            });
            Some((peer, known.id, record))
        };
        next.into_iter().filter_map(record).collect()
    }

    /// Number of pairs whose proofs are to be kept.
    pub fn unsaved_len(&self) -> usize {
        self.unsaved.len()
    }

    fn pair(&self, peer: PeerId, share: ShareId) -> Option<Pair> {
        self.peers.get(&peer)?.pairs.get(self.numbers.get(&share)?).copied()
    }

    /// The class of a pair that is to be proven anew.
    fn reclaimed(&self, number: u32) -> u8 {
        let proven = self.shares.get(number as usize).map_or(0, |known| known.proven);
        RECLAIMED.saturating_add(u8::try_from(proven).unwrap_or(u8::MAX)).min(RECLAIMED_MOST)
    }

    fn number(&mut self, share: ShareId) -> u32 {
        if let Some(&number) = self.numbers.get(&share) {
            return number;
        }
        let known = Known { id: share, pairs: 0, proven: 0 };
        let number = self.unused.pop().unwrap_or(u32::try_from(self.shares.len()).unwrap_or(u32::MAX));
        match self.shares.get_mut(number as usize) {
            Some(place) => *place = known,
            None => self.shares.push(known),
        }
        self.numbers.insert(share, number);
        number
    }

    /// Puts a pair in the place of what was known of it, in all books.
    fn put(&mut self, peer: PeerId, number: u32, pair: Option<Pair>) {
        let subject = self.peers.entry(peer).or_default();
        let before = match pair {
            // Put in before the old entry goes: with the same class and time they are one, and must stay.
            Some(pair) => {
                subject.queue.insert((pair.class, pair.due, number));
                subject.pairs.insert(number, pair)
            }
            None => subject.pairs.remove(&number),
        };
        let has_shown = |pair: Option<Pair>| u64::from(pair.is_some_and(|pair| pair.proofs.is_some()));
        subject.shown = subject.shown + has_shown(pair) - has_shown(before);
        let place = |pair: Pair| (pair.class, pair.due, number);
        if let Some(old) = before.map(place).filter(|old| Some(*old) != pair.map(place)) {
            subject.queue.remove(&old);
        }
        let Some(known) = self.shares.get_mut(number as usize) else { return };
        let is_proven = |pair: Option<Pair>| u32::from(pair.is_some_and(|pair| pair.class == PROVEN));
        let (was, is) = (is_proven(before), is_proven(pair));
        known.pairs = known.pairs + u32::from(pair.is_some()) - u32::from(before.is_some());
        known.proven = known.proven + is - was;
        self.pairs = self.pairs + u64::from(pair.is_some()) - u64::from(before.is_some());
        self.proven = self.proven + u64::from(is) - u64::from(was);
        if known.pairs == 0 {
            self.numbers.remove(&known.id);
            self.unused.push(number);
        }
        if pair.is_none() {
            self.unsaved.remove(&(peer, number));
        }
    }

    /// Sets the time of a peer's next turn.
    fn schedule(&mut self, peer: PeerId) {
        let Some(subject) = self.peers.get(&peer) else { return };
        let next = self.next_turn(subject);
        let Some(subject) = self.peers.get_mut(&peer) else { return };
        if let Some(at) = subject.turn.take() {
            self.turns.remove(&(at, peer));
        }
        subject.turn = next;
        self.turns.extend(next.map(|at| (at, peer)));
    }

    /// Claims are asked about a heartbeat after the last request, the rest half a dead time after it, so that few
    /// requests do for many pairs. Who does not answer is asked ever less often.
    fn next_turn(&self, subject: &Subject) -> Option<Tick> {
        if subject.asked {
            return None;
        }
        let due_in = |class: u8| {
            let first = subject.queue.range((class, 0, 0)..=(class, Tick::MAX, u32::MAX)).next();
            first.map(|(_, due, _)| *due)
        };
        let asked = |pause: Tick| subject.last_asked.map_or(0, |asked| asked.saturating_add(pause));
        let claimed = (NEW..PROVEN).filter_map(due_in).min();
        let claimed = claimed.map(|due| due.max(asked(self.pause(subject))));
        let proven = due_in(PROVEN).map(|due| due.max(asked(self.pace.dead / 2)));
        let next = claimed.into_iter().chain(proven).min()?;
        let away = if subject.away { self.pace.dead / 2 } else { 0 };
        let wait = subject.silent.map_or(away, |(_, times)| {
            self.pace.beat.saturating_mul(1 << times.min(16)).min(self.pace.dead / 2)
        });
        Some(next.max(asked(wait)))
    }

    /// Time between two requests about claims: a heartbeat, less if a peer holds so much that it would take more
    /// than half a day.
    fn pause(&self, subject: &Subject) -> Tick {
        let requests = (subject.pairs.len() / AUDIT_TURN_SAMPLES).max(1);
        let fair = self.pace.day / 2 / Tick::try_from(requests).unwrap_or(Tick::MAX);
        fair.clamp(1, self.pace.beat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk_set::ChunkSet;
    use crate::geometry::{ChunkIndex, ChunkSize, Geometry};
    use proptest::prelude::*;
    use std::time::Duration;

    const RULES: Rules = Rules { heartbeat: Duration::from_secs(10), dead_after: Duration::from_secs(300) };
    const SECOND: u64 = 1000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const CLAIMED: Evidence = Evidence::Claimed { counts: true };
    const WORDS: Evidence = Evidence::Claimed { counts: false };

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn share(number: u32) -> ShareId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        ShareId::from_bytes(bytes)
    }

    /// Numbers that are random enough.
    fn dice(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ (mixed >> 31)
        }
    }

    /// Gives everybody whose turn it is the same answer. Returns how many samples were asked for.
    fn answer(audits: &mut Audits, outcome: Outcome, now_ms: u64) -> usize {
        let mut samples = 0;
        for turn in audits.take(usize::MAX, now_ms) {
            let outcomes: Vec<_> = turn.questions.iter().map(|question| (question.share, outcome)).collect();
            samples += turn.questions.iter().map(|question| usize::from(question.samples)).sum::<usize>();
            audits.done(turn.peer, &outcomes, now_ms, dice(now_ms));
        }
        samples
    }

    fn claimed(how: Claim) -> Audits {
        let mut audits = Audits::new(RULES);
        audits.claim(peer(1), share(1), how, 0);
        audits
    }

    fn evidence(audits: &Audits, now_ms: u64) -> Evidence {
        audits.evidence(peer(1), share(1), now_ms)
    }

    fn is_proven(audits: &Audits, now_ms: u64) -> bool {
        matches!(evidence(audits, now_ms), Evidence::Proven { .. })
    }

    /// Every book tells the same.
    fn check(audits: &Audits) {
        let mut of_share: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        for (id, subject) in &audits.peers {
            let queue: BTreeSet<_> =
                subject.pairs.iter().map(|(n, pair)| (pair.class, pair.due, *n)).collect();
            assert_eq!(queue, subject.queue);
            assert_eq!(subject.turn.is_some(), audits.turns.iter().any(|(_, peer)| peer == id));
            assert!(subject.turn.is_some() != subject.asked || subject.pairs.is_empty());
            for (number, pair) in &subject.pairs {
                let counts = of_share.entry(*number).or_default();
                counts.0 += 1;
                counts.1 += u32::from(pair.class == PROVEN);
            }
            let shown = subject.pairs.values().filter(|pair| pair.proofs.is_some()).count();
            assert_eq!(subject.shown, shown as u64);
        }
        for (id, number) in &audits.numbers {
            let known = &audits.shares[*number as usize];
            assert_eq!((known.id, (known.pairs, known.proven)), (*id, of_share[number]));
        }
        let (pairs, proven) = of_share.values().fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
        assert_eq!(audits.counts(), (u64::from(pairs), u64::from(proven)));
        assert_eq!(audits.numbers.len() + audits.unused.len(), audits.shares.len());
    }

    #[test]
    fn what_is_claimed_is_asked_at_once_and_counts_for_a_dead_time_until_it_is_proven() {
        let mut audits = claimed(Claim::Expected);
        assert_eq!(evidence(&audits, 0), CLAIMED);
        assert_eq!((evidence(&audits, 299 * SECOND), evidence(&audits, 300 * SECOND)), (CLAIMED, WORDS));
        assert_eq!(answer(&mut audits, Outcome::Proven, 300 * SECOND), usize::from(AUDIT_SAMPLES_FIRST));
        assert_eq!(
            evidence(&audits, DAY * 9),
            Evidence::Proven { since_ms: 300 * SECOND, settled: true },
            "a proof does not go stale"
        );
        assert_eq!(claimed(Claim::Bare).evidence(peer(1), share(1), 0), WORDS);
        assert_eq!(Audits::new(RULES).evidence(peer(1), share(1), 0), WORDS);
    }

    #[test]
    fn s3_no_answer_refutes_nothing_but_a_claim_counts_no_longer() {
        let mut audits = claimed(Claim::Inventory);
        answer(&mut audits, Outcome::Unanswered, 0);
        assert_eq!((evidence(&audits, 299 * SECOND), evidence(&audits, 300 * SECOND)), (CLAIMED, WORDS));
        let mut audits = claimed(Claim::Expected);
        answer(&mut audits, Outcome::Proven, 0);
        for minute in 0..12 * 60 {
            answer(&mut audits, Outcome::Unanswered, minute * MINUTE);
            assert!(is_proven(&audits, minute * MINUTE));
            assert_eq!(audits.refuted_chunks(peer(1)), 0);
        }
        (0..30 * 60).for_each(|minute| {
            assert!(answer(&mut audits, Outcome::Unanswered, DAY / 2 + minute * MINUTE) < 2);
        });
        assert_eq!(evidence(&audits, 2 * DAY), WORDS, "for a day it was asked and did not answer");
        answer(&mut audits, Outcome::Proven, 2 * DAY);
        assert_eq!(
            evidence(&audits, 2 * DAY),
            Evidence::Proven { since_ms: 0, settled: false },
            "absence makes nobody younger"
        );
    }

    #[test]
    fn claims_get_no_older_while_nobody_could_prove_anything() {
        let mut audits = claimed(Claim::Expected);
        audits.suspect_own_network(true, 100 * SECOND);
        for minute in 2..30 {
            audits.suspect_own_network(true, minute * MINUTE);
            answer(&mut audits, Outcome::Unanswered, minute * MINUTE);
            assert_eq!(evidence(&audits, minute * MINUTE), CLAIMED, "minute {minute}");
        }
        audits.suspect_own_network(false, 30 * MINUTE);
        let left = 200 * SECOND;
        assert_eq!(evidence(&audits, 30 * MINUTE + left - SECOND), CLAIMED);
        assert_eq!(evidence(&audits, 30 * MINUTE + left), WORDS);
        // What is proven is not taken for silent either.
        answer(&mut audits, Outcome::Proven, HOUR);
        audits.suspect_own_network(true, HOUR);
        for hour in 1..60 {
            answer(&mut audits, Outcome::Unanswered, hour * HOUR + MINUTE);
            assert!(is_proven(&audits, hour * HOUR + MINUTE), "hour {hour}");
        }
    }

    #[test]
    fn a_peer_weighs_what_it_has_proven_and_not_what_it_says() {
        let mut audits = Audits::new(RULES);
        let record = Record { since_ms: 0, steady_ms: 0, proven_ms: 0 };
        (0..9).for_each(|number| audits.claim(peer(1), share(number), Claim::Inventory, 0));
        (0..9).for_each(|number| audits.meet(peer(2), share(number), Some(record), 0));
        assert_eq!((audits.weight(peer(1)), audits.weight(peer(2))), (0, 9));
        let turn = audits.take(1, 0).remove(0);
        let outcomes: Vec<_> = turn.questions.iter().map(|asked| (asked.share, Outcome::Proven)).collect();
        audits.done(turn.peer, &outcomes, 0, dice(1));
        assert_eq!(
            audits.weight(peer(1)) + audits.weight(peer(2)),
            9 + u64::from(turn.peer == peer(1)) * outcomes.len() as u64
        );
        audits.done(peer(2), &[(share(1), Outcome::Refuted(1))], SECOND, dice(1));
        audits.forget(peer(2), share(2));
        assert_eq!(audits.weight(peer(2)), 7);
        check(&audits);
    }

    #[test]
    fn s3_what_nobody_ordered_changes_nothing_about_the_rest_until_it_is_proven() {
        let mut audits = claimed(Claim::Expected);
        answer(&mut audits, Outcome::Proven, 0);
        for hour in 0..=8 * 24 {
            answer(&mut audits, Outcome::Proven, hour * HOUR);
        }
        let old = Evidence::Proven { since_ms: 0, settled: true };
        let now_ms = 8 * DAY + MINUTE;
        audits.claim(peer(1), share(1), Claim::Bare, now_ms);
        assert_eq!(evidence(&audits, now_ms), old);
        let asked = answer(&mut audits, Outcome::Grown, now_ms + 5 * MINUTE);
        assert_eq!(asked, usize::from(AUDIT_SAMPLES_FIRST), "it is asked soon, and more than once");
        let young = Evidence::Proven { since_ms: now_ms + 5 * MINUTE, settled: false };
        assert_eq!(evidence(&audits, now_ms + 5 * MINUTE), young, "all of it is as young as what is new");
        // Of a claim that counts it takes nothing away either.
        let mut audits = claimed(Claim::Inventory);
        audits.claim(peer(1), share(1), Claim::Bare, 0);
        assert_eq!(evidence(&audits, 0), CLAIMED);
        check(&audits);
    }

    #[test]
    fn s3_a_refuted_peer_begins_anew_and_a_liar_counts_nowhere() {
        let mut audits = claimed(Claim::Expected);
        answer(&mut audits, Outcome::Proven, 0);
        assert_eq!(answer(&mut audits, Outcome::Refuted(1), HOUR), 1);
        assert_eq!(evidence(&audits, HOUR), WORDS, "nothing was proven since");
        let dense = answer(&mut audits, Outcome::Proven, HOUR + 10 * SECOND);
        assert!(dense > usize::from(AUDIT_SAMPLES_FIRST), "{dense}");
        assert_eq!(
            evidence(&audits, HOUR + 10 * SECOND),
            Evidence::Proven { since_ms: HOUR + 10 * SECOND, settled: false }
        );
        assert!(!audits.is_distrusted(peer(1), HOUR + 10 * SECOND));
        // A liar has nothing, and says the same again.
        let mut audits = claimed(Claim::Expected);
        for beat in 0..3 {
            assert!(!audits.is_hopeless(peer(1), share(1)));
            answer(&mut audits, Outcome::Refuted(4), beat * 10 * SECOND);
        }
        assert!(audits.is_hopeless(peer(1), share(1)) && audits.is_distrusted(peer(1), MINUTE));
        audits.forget(peer(1), share(1));
        check(&audits);
        for how in [Claim::Expected, Claim::Inventory, Claim::Bare] {
            audits.claim(peer(1), share(2), how, MINUTE);
            assert_eq!(audits.evidence(peer(1), share(2), MINUTE), WORDS);
        }
        assert_eq!(audits.refuted_chunks(peer(1)), 12);
        assert!(!audits.is_distrusted(peer(1), MINUTE + DAY), "it is not held against it for ever");
    }

    #[test]
    fn s3_who_tells_the_same_again_and_again_holds_repair_up_for_a_day_at_most() {
        let mut audits = Audits::new(RULES);
        for minute in 0..3 * 24 * 60 {
            let now_ms = minute * MINUTE;
            audits.forget(peer(1), share(1));
            audits.claim(peer(1), share(1), Claim::Inventory, now_ms);
            let counts = if now_ms < DAY { CLAIMED } else { WORDS };
            assert_eq!(audits.evidence(peer(1), share(1), now_ms), counts, "minute {minute}");
        }
    }

    #[test]
    fn after_a_restart_all_is_claimed_the_fewest_proven_first_and_age_stays() {
        let record = Record { since_ms: HOUR, steady_ms: 2 * HOUR, proven_ms: DAY };
        let mut audits = Audits::new(RULES);
        let now_ms = 30 * DAY;
        for number in 0..40 {
            audits.meet(peer(2), share(number), Some(record), now_ms);
        }
        answer(&mut audits, Outcome::Proven, now_ms);
        assert_eq!(audits.counts(), (40, AUDIT_TURN_SAMPLES as u64), "a bounded number at once");
        // The shares whose other replica is not proven yet are to be asked about first.
        (0..40).for_each(|number| audits.meet(peer(1), share(number), Some(record), now_ms));
        assert_eq!(audits.evidence(peer(1), share(3), now_ms + DAY - 1000), CLAIMED);
        assert_eq!(audits.evidence(peer(1), share(3), now_ms + DAY), WORDS);
        let first = audits.take(1, now_ms).remove(0);
        assert_eq!((first.peer, first.questions.len()), (peer(1), AUDIT_TURN_SAMPLES));
        let needed = |question: &Asked| {
            !matches!(audits.evidence(peer(2), question.share, now_ms), Evidence::Proven { .. })
        };
        assert!(first.questions.iter().all(needed), "{first:?}");
        let outcomes: Vec<_> = first.questions.iter().map(|q| (q.share, Outcome::Proven)).collect();
        audits.done(peer(1), &outcomes, now_ms, dice(1));
        let kept = audits.unsaved(100).into_iter().find(|(of, id, _)| (*of, *id) == (peer(1), outcomes[0].0));
        let kept = kept.unwrap().2.unwrap();
        assert_eq!(
            (kept.since_ms, kept.steady_ms, kept.proven_ms),
            (HOUR, now_ms, now_ms),
            "the gap was too long"
        );
        check(&audits);
    }

    #[test]
    fn a_store_that_was_set_forward_makes_nothing_older_than_the_tracker() {
        let mut audits = Audits::new(RULES);
        let record = Record { since_ms: 9 * DAY, steady_ms: 9 * DAY, proven_ms: 9 * DAY };
        audits.meet(peer(1), share(1), Some(record), HOUR);
        answer(&mut audits, Outcome::Proven, HOUR);
        assert_eq!(evidence(&audits, HOUR), Evidence::Proven { since_ms: HOUR, settled: false });
    }

    #[test]
    fn whoever_proves_daily_for_a_week_is_settled() {
        let mut audits = claimed(Claim::Expected);
        for hour in 0..=7 * 24 {
            answer(&mut audits, Outcome::Proven, hour * HOUR);
            let settled = hour >= 7 * 24;
            assert_eq!(evidence(&audits, hour * HOUR), Evidence::Proven { since_ms: 0, settled });
        }
        // Three days without a word: as old as before, but not settled.
        answer(&mut audits, Outcome::Proven, 10 * DAY + 2 * HOUR);
        assert_eq!(evidence(&audits, 10 * DAY + 2 * HOUR), Evidence::Proven { since_ms: 0, settled: false });
    }

    #[test]
    fn a_peer_has_one_request_at_a_time_and_those_that_are_away_cost_nothing() {
        let mut audits = Audits::new(RULES);
        (0..100).for_each(|number| audits.claim(peer(1), share(number), Claim::Inventory, 0));
        let turn = audits.take(9, 0).remove(0);
        assert!(audits.take(9, DAY).is_empty(), "it is being asked");
        audits.absent(turn.peer);
        assert!(audits.take(9, 149 * SECOND).is_empty(), "not that soon again");
        assert_eq!(audits.take(9, 150 * SECOND).len(), 1);
        check(&audits);
    }

    #[test]
    fn samples_are_of_what_is_held_and_of_the_manifest() {
        let geometry = Geometry::new((9 << 16) + 1, ChunkSize::from_log2(16).unwrap()).unwrap();
        let held = ChunkSet::of(10, [2, 9].map(ChunkIndex::new));
        let mut seen = BTreeMap::new();
        for (target, offset) in draw_samples(&geometry, &held, 700, 200, dice(5)) {
            let len = match target {
                Target::Manifest => 700,
                Target::Chunk(index) => geometry.sealed_len(index) as u64,
            };
            assert!(offset < len);
            *seen.entry(format!("{target:?}")).or_insert(0) += 1;
        }
        assert!(seen.len() == 3 && seen.values().all(|&n| n > 30), "{seen:?}");
        let empty = Geometry::new(0, ChunkSize::from_log2(16).unwrap()).unwrap();
        let only = draw_samples(&empty, &ChunkSet::empty(0), 300, 1, dice(1));
        assert_eq!(only[0].0, Target::Manifest);
    }

    #[test]
    fn every_pair_is_asked_at_least_once_a_day_and_not_much_oftener() {
        let mut audits = Audits::new(RULES);
        let (peers, shares) = (8, 60);
        for number in 0..shares {
            (0..peers).for_each(|n| audits.claim(peer(n), share(number), Claim::Expected, 0));
        }
        let mut last: BTreeMap<(PeerId, ShareId), u64> = BTreeMap::new();
        let (mut requests, mut asked) = (0, 0);
        let mut now_ms = 0;
        while now_ms < 6 * DAY {
            for turn in audits.take(usize::MAX, now_ms) {
                let samples: usize = turn.questions.iter().map(|q| usize::from(q.samples)).sum();
                assert!(samples <= AUDIT_TURN_SAMPLES);
                for question in &turn.questions {
                    let before = last.insert((turn.peer, question.share), now_ms);
                    assert!(before.is_none_or(|before| now_ms - before <= DAY + MINUTE), "too late");
                    // Young proofs are asked for more often: days count from the third on.
                    asked += u64::from(now_ms > 2 * DAY);
                }
                requests += u64::from(now_ms > 2 * DAY);
                let outcomes: Vec<_> = turn.questions.iter().map(|q| (q.share, Outcome::Proven)).collect();
                audits.done(turn.peer, &outcomes, now_ms, dice(now_ms ^ u64::from(turn.peer.as_bytes()[0])));
            }
            now_ms += 10 * SECOND;
        }
        assert_eq!(last.len() as u64, u64::from(peers) * u64::from(shares));
        assert!(last.values().all(|&at| 6 * DAY - at <= DAY + MINUTE));
        let each = asked / last.len() as u64 / 4;
        assert!((1..=2).contains(&each), "{each} times a day");
        assert!(requests <= asked, "{requests}");
        check(&audits);
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            4 => Just(Outcome::Proven),
            1 => Just(Outcome::Grown),
            1 => (0_u32..3).prop_map(Outcome::Refuted),
            2 => Just(Outcome::Unanswered),
            1 => Just(Outcome::Gone),
        ]
    }

    #[derive(Debug, Clone)]
    enum Act {
        Claim(u8, u32, u8),
        Meet(u8, u32, u64),
        Forget(u8, u32),
        Ask(Vec<Outcome>),
        Absent,
        Save,
        Wait(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0_u8..4, 0_u32..6, 0_u8..3).prop_map(|(p, s, how)| Act::Claim(p, s, how)),
            (0_u8..4, 0_u32..6, any::<u64>()).prop_map(|(p, s, at)| Act::Meet(p, s, at)),
            (0_u8..4, 0_u32..6).prop_map(|(p, s)| Act::Forget(p, s)),
            proptest::collection::vec(outcome(), 1..9).prop_map(Act::Ask),
            Just(Act::Absent),
            Just(Act::Save),
            (0_u64..2 * DAY).prop_map(Act::Wait),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_the_books_agree_and_only_proofs_prove(
            acts in proptest::collection::vec(act(), 1..60), seed: u64,
        ) {
            let mut audits = Audits::new(RULES);
            // The model: pairs whose last news was a proof.
            let mut proven: BTreeSet<(PeerId, ShareId)> = BTreeSet::new();
            let (mut now_ms, mut draw) = (0, dice(seed));
            for act in acts {
                match act {
                    Act::Claim(p, s, how) => {
                        let how = [Claim::Expected, Claim::Inventory, Claim::Bare][usize::from(how)];
                        audits.claim(peer(p), share(s), how, now_ms);
                        if how != Claim::Bare {
                            proven.remove(&(peer(p), share(s)));
                        }
                    }
                    Act::Meet(p, s, at) => {
                        let record = Record { since_ms: at, steady_ms: at, proven_ms: at };
                        audits.meet(peer(p), share(s), Some(record), now_ms);
                    }
                    Act::Forget(p, s) => {
                        audits.forget(peer(p), share(s));
                        proven.remove(&(peer(p), share(s)));
                    }
                    Act::Ask(outcomes) => {
                        for turn in audits.take(2, now_ms) {
                            check(&audits);
                            let answers = turn.questions.iter().zip(outcomes.iter().cycle());
                            let answers: Vec<_> = answers.map(|(q, v)| (q.share, *v)).collect();
                            audits.done(turn.peer, &answers, now_ms, &mut draw);
                            for (id, outcome) in answers {
                                match outcome {
                                    Outcome::Proven | Outcome::Grown => drop(proven.insert((turn.peer, id))),
                                    Outcome::Unanswered => {}
                                    _ => drop(proven.remove(&(turn.peer, id))),
                                }
                            }
                        }
                    }
                    Act::Absent => audits.take(2, now_ms).iter().for_each(|turn| audits.absent(turn.peer)),
                    Act::Save => {
                        for (_, _, record) in audits.unsaved(3) {
                            let in_order = |r: Record| {
                                r.since_ms <= r.steady_ms && r.steady_ms <= r.proven_ms && r.proven_ms <= now_ms
                            };
                            prop_assert!(record.is_none_or(in_order));
                        }
                    }
                    Act::Wait(time) => now_ms += time,
                }
                check(&audits);
                for (p, s) in (0..4).flat_map(|p| (0..6).map(move |s| (peer(p), share(s)))) {
                    if let Evidence::Proven { since_ms, .. } = audits.evidence(p, s, now_ms) {
                        prop_assert!(proven.contains(&(p, s)) && since_ms <= now_ms);
                    }
                }
            }
        }
    }
}
