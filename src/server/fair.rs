//! Fair semaphores for what is bounded: uploads to a peer, memory for large bodies, uploads of browsers. Whoever
//! waits has his turn among those who ask, not behind all that one of them asks for; and nobody holds so much that
//! nothing is left for the next one.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use parcelry_core::address::counted_as;
use parcelry_core::token::TokenId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Client;

/// Who asks for a part of what is bounded: what he holds is counted to his token, if one is known, and to his
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    token: Option<TokenId>,
    address: IpAddr,
}

/// What is counted as one: a token, whatever the addresses that it is used from, or an address without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Party {
    Token(TokenId),
    Address(IpAddr),
}

/// The token that a request is charged to, once its credential was checked.
#[derive(Debug, Clone, Copy)]
pub struct ChargedTo(pub TokenId);

/// Something of which there is so much, and those who wait for a part of it. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct FairSemaphore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    capacity: u64,
    state: Mutex<State>,
}

/// A part that somebody holds; dropping it gives it back.
#[derive(Debug)]
pub struct Held {
    semaphore: FairSemaphore,
    asker: Asker,
    amount: u64,
}

#[derive(Debug, Default)]
struct State {
    free: u64,
    next: u64,
    /// The parties of which somebody waits; whose turn is next stands first.
    turns: VecDeque<Party>,
    parties: HashMap<Party, Share>,
}

/// What one party holds and waits for.
#[derive(Debug, Default)]
struct Share {
    held: u64,
    /// Its addresses of which somebody waits; whose turn is next stands first.
    turns: VecDeque<IpAddr>,
    addresses: HashMap<IpAddr, Line>,
}

/// What one address of a party holds, and who waits there.
#[derive(Debug, Default)]
struct Line {
    held: u64,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    amount: u64,
    tell: oneshot::Sender<Held>,
}

impl Asker {
    /// Somebody at this address, with this token if one is known.
    pub fn new(token: Option<TokenId>, address: IpAddr) -> Self {
        Self { token, address: counted_as(address) }
    }

    fn party(&self) -> Party {
        self.token.map_or(Party::Address(self.address), Party::Token)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let token = parts.extensions.get::<ChargedTo>().map(|charged| charged.0);
        let client = parts.extensions.get::<Client>();
        Ok(Self::new(token, client.map_or(Ipv4Addr::LOCALHOST.into(), |client| client.ip)))
    }
}

impl FairSemaphore {
    /// A semaphore of so much.
    pub fn new(capacity: u64) -> Self {
        let state = Mutex::new(State { free: capacity, ..State::default() });
        Self(Arc::new(Inner { capacity, state }))
    }

    /// Waits for a part. Whoever asks for more than there is gets all of it.
    pub async fn wait(&self, asker: Asker, amount: u64) -> Held {
        let amount = amount.min(self.0.capacity);
        let (tell, mut told) = oneshot::channel();
        let number = {
            let mut state = self.0.state.lock();
            let number = state.enqueue(asker, amount, tell);
            self.hand_out(&mut state);
            number
        };
        // Declared after `told`, so that it is dropped first: whoever left the line is given nothing any more.
        let _position = QueuePosition { semaphore: self, asker, number };
        (&mut told).await.expect("who waits is told, or has left the line")
    }

    /// A part, if it is to be had at once.
    pub fn take(&self, asker: Asker, amount: u64) -> Option<Held> {
        let mut state = self.0.state.lock();
        let has_room = state.has_room(self.0.capacity, asker, amount);
        has_room.then(|| {
            state.move_in(asker, amount);
            Held { semaphore: self.clone(), asker, amount }
        })
    }

    /// Gives parts to those who wait, one party after the other, for as long as there is anything for one of them.
    fn hand_out(&self, state: &mut State) {
        loop {
            let (mut served, mut passed_over) = (VecDeque::new(), VecDeque::new());
            let mut is_over = true;
            for party in std::mem::take(&mut state.turns) {
                let was_served = self.serve_one(state, party);
                is_over &= !was_served;
                if state.is_waiting(party) {
                    if was_served { served.push_back(party) } else { passed_over.push_back(party) }
                }
            }
            // Who got something goes behind those who got nothing in this round.
            passed_over.append(&mut served);
            state.turns = passed_over;
            if is_over {
                return;
            }
        }
    }

    /// Gives a part to one of those who wait for this party. Returns whether there was anything for one of them.
    fn serve_one(&self, state: &mut State, party: Party) -> bool {
        let Some(share) = state.parties.get(&party) else { return false };
        let fits = |address: &IpAddr| {
            let first = share.addresses.get(address).and_then(|line| line.waiting.front());
            let asker = party.at(*address);
            first.is_some_and(|first| state.has_room(self.0.capacity, asker, first.amount))
        };
        let Some(at) = share.turns.iter().position(fits) else { return false };
        let Some(share) = state.parties.get_mut(&party) else { return false };
        let Some(address) = share.turns.remove(at) else { return false };
        let Some(line) = share.addresses.get_mut(&address) else { return false };
        let Some(waiter) = line.waiting.pop_front() else { return false };
        if !line.waiting.is_empty() {
            share.turns.push_back(address);
        }
        let asker = party.at(address);
        state.move_in(asker, waiter.amount);
        let held = Held { semaphore: self.clone(), asker, amount: waiter.amount };
        if let Err(mut held) = waiter.tell.send(held) {
            // Nobody waits any more. The state is locked: what the part is worth is given back here.
            state.move_out(asker, std::mem::take(&mut held.amount));
        }
        true
    }
}

impl State {
    /// Whether this much may be given: it must be there, and unless it is the first, the asker must leave as much
    /// as he then has. However many ask for all they can get, so some is left for the next one.
    fn has_room(&self, capacity: u64, asker: Asker, amount: u64) -> bool {
        let Some(left) = self.free.checked_sub(amount) else { return false };
        let Some(share) = self.parties.get(&asker.party()) else { return true };
        let by_address = share.addresses.get(&asker.address).map_or(0, |line| line.held);
        let address_may = by_address == 0 || by_address + amount <= left;
        // Beyond its first part a party leaves a quarter for others, however many addresses it has.
        let party_may = share.held == 0 || share.held + amount <= capacity - capacity / 4;
        address_may && party_may
    }

    fn is_waiting(&self, party: Party) -> bool {
        self.parties.get(&party).is_some_and(|share| !share.turns.is_empty())
    }

    /// Puts somebody at the end of his line. Returns his number.
    fn enqueue(&mut self, asker: Asker, amount: u64, tell: oneshot::Sender<Held>) -> u64 {
        let number = self.next;
        self.next += 1;
        let share = self.parties.entry(asker.party()).or_default();
        if share.turns.is_empty() {
            self.turns.push_back(asker.party());
        }
        let line = share.addresses.entry(asker.address).or_default();
        if line.waiting.is_empty() {
            share.turns.push_back(asker.address);
        }
        line.waiting.push_back(Waiter { number, amount, tell });
        number
    }

    /// Takes somebody out of his line. Returns whether he was still in it.
    fn leave(&mut self, asker: Asker, number: u64) -> bool {
        let Some(share) = self.parties.get_mut(&asker.party()) else { return false };
        let Some(line) = share.addresses.get_mut(&asker.address) else { return false };
        let Some(at) = line.waiting.iter().position(|waiter| waiter.number == number) else { return false };
        line.waiting.remove(at);
        if line.waiting.is_empty() {
            share.turns.retain(|address| *address != asker.address);
        }
        if share.turns.is_empty() {
            self.turns.retain(|party| *party != asker.party());
        }
        self.forget_if_idle(asker);
        true
    }

    fn move_in(&mut self, asker: Asker, amount: u64) {
        self.free -= amount;
        let share = self.parties.entry(asker.party()).or_default();
        share.held += amount;
        share.addresses.entry(asker.address).or_default().held += amount;
    }

    fn move_out(&mut self, asker: Asker, amount: u64) {
        self.free += amount;
        if let Some(share) = self.parties.get_mut(&asker.party()) {
            share.held -= amount;
            if let Some(line) = share.addresses.get_mut(&asker.address) {
                line.held -= amount;
            }
        }
        self.forget_if_idle(asker);
    }

    /// Nobody is remembered who neither holds nor waits for anything.
    fn forget_if_idle(&mut self, asker: Asker) {
        let Some(share) = self.parties.get_mut(&asker.party()) else { return };
        let is_idle = |line: &Line| line.held == 0 && line.waiting.is_empty();
        if share.addresses.get(&asker.address).is_some_and(is_idle) {
            share.addresses.remove(&asker.address);
        }
        if share.addresses.is_empty() {
            self.parties.remove(&asker.party());
        }
    }
}

impl Party {
    /// Who asks, if it is this party from this address.
    fn at(self, address: IpAddr) -> Asker {
        let token = match self {
            Self::Token(token) => Some(token),
            Self::Address(_) => None,
        };
        Asker { token, address }
    }
}

/// A waiter's position in a line, which he leaves when he no longer waits.
struct QueuePosition<'a> {
    semaphore: &'a FairSemaphore,
    asker: Asker,
    number: u64,
}

impl Drop for QueuePosition<'_> {
    fn drop(&mut self) {
        let mut state = self.semaphore.0.state.lock();
        // Who stands behind may ask for less.
        if state.leave(self.asker, self.number) {
            self.semaphore.hand_out(&mut state);
        }
    }
}

impl Held {
    /// Gives back all but this much.
    pub fn shrink_to(&mut self, amount: u64) {
        if amount < self.amount {
            let mut state = self.semaphore.0.state.lock();
            state.move_out(self.asker, self.amount - amount);
            self.amount = amount;
            self.semaphore.hand_out(&mut state);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use std::pin::Pin;
    use std::time::Duration;

    fn asker(token: u8, address: u8) -> Asker {
        let token = (token > 0).then(|| TokenId::from_bytes([token; 8]));
        Asker::new(token, [10, 0, 0, address].into())
    }

    impl FairSemaphore {
        fn held_by(&self, asker: Asker) -> u64 {
            self.0.state.lock().parties.get(&asker.party()).map_or(0, |share| share.held)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s11_who_holds_all_that_he_may_hold_keeps_nobody_waiting() {
        let semaphore = FairSemaphore::new(64);
        let attacker = |number| asker(1, number);
        let mut held: Vec<_> = (0..500).map_while(|_| semaphore.take(attacker(1), 1)).collect();
        assert_eq!(held.len(), 32, "he leaves as much as he has");
        held.extend((2..200).map_while(|address| semaphore.take(attacker(address), 1)));
        assert_eq!(held.len(), 48, "from however many addresses, a quarter is not his");
        let mut waiting: Vec<_> = (0..500).map(|_| Box::pin(semaphore.wait(attacker(1), 1))).collect();
        assert!(waiting.iter_mut().all(|waiter| waiter.now_or_never().is_none()));
        for honest in 2..6 {
            let waiter = semaphore.wait(asker(honest, 1), 1);
            held.push(tokio::time::timeout(Duration::from_millis(1), waiter).await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn parties_have_their_turns_one_after_the_other() {
        let semaphore = FairSemaphore::new(4);
        let all: Vec<_> = (1..=4).map(|token| semaphore.take(asker(token, 1), 1).unwrap()).collect();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for (token, address) in [(5, 1), (5, 1), (5, 1), (5, 2), (6, 1), (0, 7), (6, 1)] {
            let (semaphore, order) = (semaphore.clone(), Arc::clone(&order));
            tasks.spawn(async move {
                let held = semaphore.wait(asker(token, address), 1).await;
                order.lock().push((token, address));
                drop(held);
            });
            tokio::task::yield_now().await;
        }
        // One unit, that goes from hand to hand.
        let mut all = all.into_iter();
        drop(all.next());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*order.lock(), [(5, 1), (6, 1), (0, 7), (5, 2), (6, 1), (5, 1), (5, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_line_gives_way_and_what_was_given_to_him_comes_back() {
        let semaphore = FairSemaphore::new(10);
        let most = semaphore.take(asker(1, 1), 8).unwrap();
        let mut large = Box::pin(semaphore.wait(asker(2, 1), 5));
        let mut small = Box::pin(semaphore.wait(asker(2, 1), 1));
        assert!((&mut large).now_or_never().is_none() && (&mut small).now_or_never().is_none());
        drop(large);
        let small = (&mut small).now_or_never().expect("nobody is before it");
        let mut second = Box::pin(semaphore.wait(asker(3, 1), 9));
        assert!((&mut second).now_or_never().is_none());
        drop((most, small));
        // By now the second has been given its part, and does not know it yet.
        assert_eq!(semaphore.held_by(asker(3, 1)), 9);
        drop(second);
        assert_eq!(semaphore.0.state.lock().free, 10);
        assert!(semaphore.0.state.lock().parties.is_empty(), "nobody is remembered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_shrinks_makes_room() {
        let semaphore = FairSemaphore::new(10);
        let mut held = semaphore.wait(asker(1, 1), u64::MAX).await;
        let mut other = Box::pin(semaphore.wait(asker(2, 1), 4));
        assert!((&mut other).now_or_never().is_none());
        held.shrink_to(20);
        held.shrink_to(7);
        assert!((&mut other).now_or_never().is_none());
        held.shrink_to(6);
        assert!((&mut other).now_or_never().is_some());
    }

    type Waiting<'a> = Pin<Box<dyn Future<Output = Held> + 'a>>;

    /// Takes what was given to those who wait.
    fn collect<'a>(
        waiting: Vec<(Asker, u64, Waiting<'a>)>,
        held: &mut Vec<Held>,
    ) -> Vec<(Asker, u64, Waiting<'a>)> {
        let mut still = Vec::new();
        for (asker, amount, mut future) in waiting {
            match (&mut future).now_or_never() {
                Some(part) => held.push(part),
                None => still.push((asker, amount, future)),
            }
        }
        still
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice_nobody_has_too_much_and_nobody_is_forgotten(
            steps in proptest::collection::vec((0u8..4, 0u8..4, 0u8..3, 1u64..20, 0usize..20), 1..120),
        ) {
            let semaphore = FairSemaphore::new(24);
            let (mut held, mut waiting) = (Vec::<Held>::new(), Vec::new());
            for (kind, token, address, amount, which) in steps {
                match kind {
                    0 | 1 => {
                        let asker = asker(token, address);
                        waiting.push((asker, amount, Box::pin(semaphore.wait(asker, amount)) as Waiting<'_>));
                    }
                    2 if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                    3 if !waiting.is_empty() => drop(waiting.swap_remove(which % waiting.len())),
                    _ => {}
                }
                waiting = collect(waiting, &mut held);
                let state = semaphore.0.state.lock();
                let sum: u64 = held.iter().map(|part| part.amount).sum();
                prop_assert_eq!(sum + state.free, 24);
                for share in state.parties.values() {
                    let by_addresses: u64 = share.addresses.values().map(|line| line.held).sum();
                    prop_assert_eq!(by_addresses, share.held);
                    let firsts = share.addresses.values().filter_map(|line| line.waiting.front());
                    prop_assert_eq!(firsts.count(), share.turns.len());
                }
                for (party, share) in &state.parties {
                    for (address, line) in &share.addresses {
                        let first = line.waiting.front();
                        let fits = first.is_some_and(|first| state.has_room(24, party.at(*address), first.amount));
                        prop_assert!(!fits, "there is something for somebody who waits");
                    }
                }
            }
            // When all is given back, somebody who waits must get something, again and again.
            while !waiting.is_empty() {
                held.clear();
                let before = waiting.len();
                waiting = collect(waiting, &mut held);
                prop_assert!(waiting.len() < before, "somebody waits for ever");
            }
            held.clear();
            prop_assert!(semaphore.0.state.lock().parties.is_empty());
        }
    }
}
