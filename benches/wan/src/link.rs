//! One direction of a host's line: packets wait for their turn on it, travel for its delay, and some get lost.
//! Times come in as nanoseconds since an origin of the caller's choice, so that tests need no clock.

use std::collections::VecDeque;

/// What a line is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub(crate) delay_ns: u64,
    /// 0: as fast as packets come.
    pub(crate) rate_mbit: u64,
    /// How much may wait for its turn; what comes on top is dropped. Counts only where there is a rate.
    pub(crate) queue_bytes: u64,
    /// The share of packets that get lost, before they take up any of the rate.
    pub(crate) loss: f64,
}

impl Shape {
    fn sending_ns(&self, bytes: u64) -> u64 {
        (bytes * 8_000).checked_div(self.rate_mbit).unwrap_or(0)
    }

    /// How many packets of this size may be on the line at once.
    fn packets_max(&self, mtu: u64) -> usize {
        let travelling = self.delay_ns / 1_000 * self.rate_mbit / 8;
        // Where there is no rate, and for packets that are smaller than the largest: plenty.
        usize::try_from((2 * (travelling + self.queue_bytes) / mtu).max(PACKETS_MIN)).unwrap_or(usize::MAX)
    }
}

/// A gigabit's acknowledgements during 50 ms are 4,000.
const PACKETS_MIN: u64 = 16_384;

/// What became of the packets that were sent into a link.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Counts {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// By chance, as asked for.
    pub(crate) lost: u64,
    /// Because the queue was full, as asked for.
    pub(crate) dropped: u64,
    /// Because the emulator ran out of buffers, which means that it is not what it claims to be.
    pub(crate) overrun: u64,
    /// The longest that a packet was handed over after its time.
    pub(crate) late_ns_max: u64,
}

pub(crate) struct Link {
    pub(crate) shape: Shape,
    pub(crate) counts: Counts,
    /// When the line has sent everything that was let in so far.
    free_ns: u64,
    line: VecDeque<Packet>,
    /// Buffers that wait for a packet. The one that was used last is used next: it is still in the cache.
    spare: Vec<Vec<u8>>,
    random: SplitMix,
}

struct Packet {
    due_ns: u64,
    bytes: Vec<u8>,
}

impl Link {
    pub(crate) fn new(shape: Shape, mtu: usize, seed: u64) -> Self {
        let packets_max = shape.packets_max(mtu as u64);
        Self {
            shape,
            counts: Counts::default(),
            free_ns: 0,
            line: VecDeque::with_capacity(packets_max),
            spare: (0..packets_max).map(|_| Vec::with_capacity(mtu)).collect(),
            random: SplitMix(seed),
        }
    }

    /// A packet comes to the head of the line. Returns whether it is the only one there.
    pub(crate) fn enter(&mut self, packet: &[u8], now_ns: u64) -> bool {
        if self.random.fraction() < self.shape.loss {
            self.counts.lost += 1;
            return false;
        }
        let begin_ns = self.free_ns.max(now_ns);
        let waits_ns = begin_ns - now_ns;
        if self.shape.rate_mbit > 0 && waits_ns > self.shape.sending_ns(self.shape.queue_bytes) {
            self.counts.dropped += 1;
            return false;
        }
        let Some(mut bytes) = self.spare.pop() else {
            self.counts.overrun += 1;
            return false;
        };
        bytes.clear();
        bytes.extend_from_slice(packet);
        self.free_ns = begin_ns + self.shape.sending_ns(packet.len() as u64);
        // Several hosts send into this link, and the clock was read before its lock was taken.
        let last_ns = self.line.back().map_or(0, |last| last.due_ns);
        self.line.push_back(Packet { due_ns: (self.free_ns + self.shape.delay_ns).max(last_ns), bytes });
        self.counts.packets += 1;
        self.counts.bytes += packet.len() as u64;
        self.line.len() == 1
    }

    /// When the next packet leaves, if there is one.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        self.line.front().map(|packet| packet.due_ns)
    }

    /// Moves the packets that have arrived by now into `batch`, as many as fit; returns how many.
    pub(crate) fn leave(&mut self, batch: &mut [Vec<u8>], offset: usize, now_ns: u64) -> usize {
        let mut count = 0;
        while count < batch.len() && self.due_ns().is_some_and(|due_ns| due_ns <= now_ns) {
            let Some(packet) = self.line.pop_front() else { break };
            self.counts.late_ns_max = self.counts.late_ns_max.max(now_ns - packet.due_ns);
            batch[count].truncate(offset);
            batch[count].extend_from_slice(&packet.bytes);
            self.spare.push(packet.bytes);
            count += 1;
        }
        count
    }
}

/// Chance that is the same for the same seed.
struct SplitMix(u64);

impl SplitMix {
    /// From 0 up to and without 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((word ^ (word >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const GIGABIT: Shape = Shape { delay_ns: 50 * MS, rate_mbit: 1000, queue_bytes: 12_500_000, loss: 0.0 };

    fn batch(count: usize) -> Vec<Vec<u8>> {
        vec![Vec::new(); count]
    }

    #[test]
    fn a_packet_takes_its_time_on_the_line_and_the_delay() {
        let mut link = Link::new(GIGABIT, 1500, 1);
        assert!(link.enter(&[7; 1500], 0));
        assert!(!link.enter(&[8; 1500], 0));
        assert_eq!(link.due_ns(), Some(50 * MS + 12_000));
        let mut out = batch(4);
        assert_eq!(link.leave(&mut out, 0, 50 * MS + 11_999), 0);
        assert_eq!(link.leave(&mut out, 0, 50 * MS + 12_000), 1);
        assert_eq!(out[0], [7; 1500]);
        assert_eq!(link.leave(&mut out, 0, 50 * MS + 24_000), 1);
        assert_eq!(out[0], [8; 1500]);
    }

    #[test]
    fn what_the_queue_does_not_hold_is_dropped_and_the_rest_leaves_at_the_rate() {
        let mut link = Link::new(GIGABIT, 1500, 1);
        for _ in 0..20_000 {
            link.enter(&[0; 1500], 0);
        }
        // 12.5 MB wait, and one packet is being sent.
        assert_eq!(link.counts.packets, 12_500_000 / 1500 + 1);
        assert_eq!(link.counts.dropped, 20_000 - link.counts.packets);
        assert_eq!(link.counts.overrun, 0);
        assert_eq!(link.leave(&mut batch(20_000), 0, 100 * MS), 50_000_000 / 12_000);
    }

    #[test]
    fn the_share_that_gets_lost_is_as_asked_for_and_the_same_for_the_same_seed() {
        let lost = |seed| {
            let mut link = Link::new(Shape { loss: 0.01, rate_mbit: 0, ..GIGABIT }, 1500, seed);
            for now_ms in 0..100_000 {
                link.enter(&[0; 40], now_ms * MS);
                link.leave(&mut batch(8), 0, now_ms * MS);
            }
            link.counts.lost
        };
        assert!((900..1100).contains(&lost(1)), "{}", lost(1));
        assert_eq!(lost(1), lost(1));
        assert_ne!(lost(1), lost(2));
    }

    #[test]
    fn packets_leave_in_the_order_in_which_they_came_even_if_a_clock_was_read_late() {
        let mut link = Link::new(Shape { rate_mbit: 0, ..GIGABIT }, 1500, 1);
        link.enter(&[1], 10);
        link.enter(&[2], 5);
        let mut out = batch(2);
        assert_eq!(link.leave(&mut out, 0, 50 * MS + 10), 2);
        assert_eq!(out, [[1], [2]]);
    }
}
