//! How many connections and requests a server at some distance is worth.

use std::time::Duration;

use crate::geometry::ChunkSize;

/// Round trips from which on more connections are worth their cost, and how many.
const LANES: [(Duration, usize); 3] =
    [(Duration::from_millis(20), 12), (Duration::from_millis(3), 4), (Duration::ZERO, 2)];
/// Bytes that wait on one connection to be served, so that it is never idle between two chunks: at a tenth of a
/// second of distance, twelve connections can carry a gigabit a second with half of it.
const WAITING_BYTES: u64 = 2 << 20;

/// Connections over which to speak to a server. Close by, two are enough for one to work while the other waits.
/// Far away, each takes long to reach its speed and to recover from a loss, and the more share the damage.
pub fn lanes(round_trip: Option<Duration>) -> usize {
    let found = LANES.iter().find(|(from, _)| round_trip.unwrap_or_default() >= *from);
    found.map_or(2, |&(_, lanes)| lanes)
}

/// Requests for chunks that may be under way on `lanes` connections.
pub fn requests(lanes: usize, chunk_size: ChunkSize) -> usize {
    let waiting = WAITING_BYTES.div_ceil(chunk_size.bytes());
    lanes * usize::try_from(waiting).unwrap_or(usize::MAX).clamp(2, 16)
}

/// Chunks that a sender holds in memory for peers with `lanes` connections each: those on their way, and as many to
/// come. No more, as what waits long for its turn has left the processor's cache when it comes.
pub fn window(lanes: usize, chunk_size: ChunkSize) -> usize {
    (2 * lanes + 2).min(chunk_size.window())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farther_the_more() {
        let lanes_at = |ms| lanes(Some(Duration::from_millis(ms)));
        assert_eq!([lanes(None), lanes_at(0), lanes_at(5), lanes_at(100)], [2, 2, 4, 12]);
        let requests_of = |log2| requests(2, ChunkSize::from_log2(log2).unwrap());
        assert_eq!([requests_of(16), requests_of(20), requests_of(24)], [32, 4, 4]);
    }
}
