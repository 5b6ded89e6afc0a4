//! Who is connected, and who must make room. A server never lets newcomers wait because others idle: at
//! its bounds, the connection that has been idle for longest is closed for the next one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use parcelry_core::address::counted_as;
use parcelry_core::limits::{CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, DESCRIPTORS_RESERVED};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The open connections of one server.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    table: Arc<Mutex<Table>>,
    limits: ConnectionLimits,
}

#[derive(Debug, Clone, Copy)]
struct ConnectionLimits {
    total: usize,
    per_address: usize,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    total: usize,
    by_address: HashMap<IpAddr, HashMap<u64, Entry>>,
}

#[derive(Debug)]
struct Entry {
    /// Since when no request of it has been in work; `None` while one is.
    idle_since: Option<Instant>,
    close: CancellationToken,
}

/// A connection's slot in the table; dropping it makes room.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Connections,
    address: IpAddr,
    number: u64,
    close: CancellationToken,
}

/// A request in work: as long as one is, its connection is not closed for another.
#[derive(Debug)]
pub(super) struct Busy(Arc<Slot>);

impl Connections {
    /// As many as the limits and the process's descriptors allow.
    pub(super) fn new() -> Self {
        let total = descriptors().saturating_sub(DESCRIPTORS_RESERVED).clamp(16, CONNECTIONS_MAX);
        Self::within(ConnectionLimits { total, per_address: CONNECTIONS_PER_ADDRESS_MAX.min(total / 2) })
    }

    fn within(limits: ConnectionLimits) -> Self {
        Self { table: Arc::default(), limits }
    }

    /// Takes a connection in; closes an idle one if it is one too many. `None`: every other one is at work.
    /// Connections of a proxy are many people's: they are counted in the total only.
    pub(super) fn admit(&self, ip: IpAddr, is_proxy: bool) -> Option<Slot> {
        let address = counted_as(ip);
        let mut table = self.table.lock();
        // An address makes room for its own connections first, and only then whoever has most.
        let of_address = table.by_address.get(&address).map_or(0, HashMap::len);
        if !is_proxy && of_address >= self.limits.per_address && !table.close_idle(address) {
            return None;
        }
        if table.total >= self.limits.total && !table.close_idle_of_busiest() {
            return None;
        }
        let number = table.next;
        table.next += 1;
        table.total += 1;
        let close = CancellationToken::new();
        let entry = Entry { idle_since: Some(Instant::now()), close: close.clone() };
        table.by_address.entry(address).or_default().insert(number, entry);
        Some(Slot { connections: self.clone(), address, number, close })
    }

    /// Closes an idle connection, because the process is out of descriptors.
    pub(super) fn make_room(&self) {
        self.table.lock().close_idle_of_busiest();
    }

    /// Closes every connection that has no request in work, because the server stops.
    pub(super) fn close_all_idle(&self) {
        for entry in self.table.lock().by_address.values().flat_map(HashMap::values) {
            if entry.idle_since.is_some() {
                entry.close.cancel();
            }
        }
    }

    #[cfg(test)]
    fn total(&self) -> usize {
        self.table.lock().total
    }
}

impl Table {
    /// Closes the connection of the address that has been idle for longest. Returns whether there was one.
    fn close_idle(&mut self, address: IpAddr) -> bool {
        let Some(entries) = self.by_address.get(&address) else { return false };
        let idle = entries.iter().filter_map(|(number, entry)| Some((entry.idle_since?, *number)));
        let Some((_, number)) = idle.min() else { return false };
        self.remove(address, number);
        true
    }

    fn close_idle_of_busiest(&mut self) -> bool {
        let mut addresses: Vec<_> =
            self.by_address.iter().map(|(ip, entries)| (entries.len(), *ip)).collect();
        addresses.sort_unstable();
        // Most connections first. Who has most and none idle is passed over, for all are at work.
        addresses.into_iter().rev().any(|(_, address)| self.close_idle(address))
    }

    fn remove(&mut self, address: IpAddr, number: u64) {
        let Some(entries) = self.by_address.get_mut(&address) else { return };
        if let Some(entry) = entries.remove(&number) {
            entry.close.cancel();
            self.total -= 1;
        }
        if entries.is_empty() {
            self.by_address.remove(&address);
        }
    }
}

impl Slot {
    /// Ends when the connection has to go.
    pub(super) fn must_close(&self) -> CancellationToken {
        self.close.clone()
    }

    /// Notes that a request is in work, until the value is dropped.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.set_idle(None);
        Busy(Arc::clone(self))
    }

    fn set_idle(&self, since: Option<Instant>) {
        let mut table = self.connections.table.lock();
        let entries = table.by_address.get_mut(&self.address);
        if let Some(entry) = entries.and_then(|entries| entries.get_mut(&self.number)) {
            entry.idle_since = since;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.table.lock().remove(self.address, self.number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set_idle(Some(Instant::now()));
    }
}

/// Descriptors that this process may have, raised to what the system allows.
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let current = setrlimit(Resource::Nofile, raised).map_or(limit.current, |()| raised.current);
    current.map_or(usize::MAX, |number| usize::try_from(number).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    fn few() -> Connections {
        Connections::within(ConnectionLimits { total: 5, per_address: 3 })
    }

    #[test]
    fn one_connection_too_many_of_an_address_closes_its_oldest_idle_one() {
        let connections = few();
        let slots: Vec<_> = (0..3).map(|_| Arc::new(connections.admit(ip(1), false).unwrap())).collect();
        let _busy = slots[0].busy();
        let fourth = connections.admit(ip(1), false).unwrap();
        assert!(!slots[0].must_close().is_cancelled(), "the oldest is at work");
        assert!(slots[1].must_close().is_cancelled());
        assert!(!slots[2].must_close().is_cancelled() && !fourth.must_close().is_cancelled());
        assert_eq!(connections.total(), 3);
    }

    #[test]
    fn an_address_whose_connections_are_all_at_work_gets_no_more_and_others_do() {
        let connections = few();
        let slots: Vec<_> = (0..3).map(|_| Arc::new(connections.admit(ip(1), false).unwrap())).collect();
        let busy: Vec<_> = slots.iter().map(Slot::busy).collect();
        assert!(connections.admit(ip(1), false).is_none());
        let _other = connections.admit(ip(2), false).unwrap();
        drop(busy);
        assert!(connections.admit(ip(1), false).is_some());
    }

    #[test]
    fn at_the_total_the_address_with_most_connections_makes_room() {
        let connections = few();
        let many: Vec<_> = (0..3).map(|_| connections.admit(ip(1), false).unwrap()).collect();
        let _few: Vec<_> = (0..2).map(|_| connections.admit(ip(2), false).unwrap()).collect();
        let _newcomer = connections.admit(ip(3), false).unwrap();
        assert!(many[0].must_close().is_cancelled());
        drop(many);
        assert_eq!(connections.total(), 3);
        connections.make_room();
        assert_eq!(connections.total(), 2);
    }

    #[test]
    fn at_the_end_those_at_work_may_finish_and_no_others() {
        let connections = few();
        let slots: Vec<_> = (0..3).map(|_| Arc::new(connections.admit(ip(1), false).unwrap())).collect();
        let _busy = slots[1].busy();
        connections.close_all_idle();
        assert_eq!([0, 1, 2].map(|at| slots[at].must_close().is_cancelled()), [true, false, true]);
    }

    #[test]
    fn the_connections_of_a_proxy_are_counted_in_the_total_only() {
        let connections = few();
        let slots: Vec<_> = (0..5).map(|_| connections.admit(ip(1), true).unwrap()).collect();
        assert!(slots.iter().all(|slot| !slot.must_close().is_cancelled()));
    }
}
