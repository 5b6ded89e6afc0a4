//! How many connections and requests a server at some distance is worth.

use std::time::Duration;

use crate::geometry::ChunkSize;

/// Connections to a server close by: enough for one to work while the other waits.
const CONNECTIONS_NEAR: usize = 2;
/// Round trips from which on more connections are worth their cost, and how many.
const CONNECTIONS_FAR: [(Duration, usize); 2] =
    [(Duration::from_millis(20), 12), (Duration::from_millis(3), 4)];
/// Bytes that wait on one connection to be served, so that it is never idle between two chunks.
const WAITING_BYTES: u64 = 2 << 20;
/// Bytes below which a chunk is not cut any further: a piece costs a request.
const PIECE_BYTES_MIN: usize = 32 << 10;

/// Connections over which to speak to a server. Far away, each takes long to reach its speed and to recover from a
/// loss, and the more share the damage.
pub fn connections(round_trip: Option<Duration>) -> usize {
    let found = CONNECTIONS_FAR.iter().find(|(from, _)| round_trip.unwrap_or_default() >= *from);
    found.map_or(CONNECTIONS_NEAR, |&(_, connections)| connections)
}

/// Whether a server with so many connections is spoken to as one close by: each chunk comes over one connection.
/// From farther away each comes in pieces over all of them, so that the last ones leave none idle.
pub const fn is_near(connections: usize) -> bool {
    connections <= CONNECTIONS_NEAR
}

/// Bytes of the pieces in which a chunk of `sealed_len` bytes comes over `connections` connections.
pub fn piece_len(connections: usize, sealed_len: usize) -> usize {
    sealed_len.div_ceil(connections.max(1)).max(PIECE_BYTES_MIN)
}

/// What each of so many `sources` may have of `all` that they share: one at least.
pub fn part_of(all: usize, sources: usize) -> usize {
    (all / sources.max(1)).max(1)
}

/// Requests for whole chunks that may be under way on `connections` connections.
pub fn requests(connections: usize, chunk_size: ChunkSize) -> usize {
    let waiting = WAITING_BYTES.div_ceil(chunk_size.bytes());
    connections * usize::try_from(waiting).unwrap_or(usize::MAX).clamp(2, 16)
}

/// Chunks that may be on their way at once to a server that is worth `connections` connections, each over one of its own.
/// Close by one more: while one is confirmed and the next begins, its connection carries nothing.
pub const fn sends(connections: usize) -> usize {
    if is_near(connections) { connections + 1 } else { connections }
}

/// Chunks that a sender holds in memory for peers with `connections` connections each: those on their way, and as many to
/// come. No more, as what waits long for its turn has left the processor's cache when it comes.
pub fn window(connections: usize, chunk_size: ChunkSize) -> usize {
    (2 * sends(connections) + 2).min(chunk_size.window())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farther_the_more() {
        let connections_at = |ms| connections(Some(Duration::from_millis(ms)));
        assert_eq!(
            [connections(None), connections_at(0), connections_at(5), connections_at(100)],
            [2, 2, 4, 12]
        );
        let requests_of = |log2| requests(2, ChunkSize::from_log2(log2).unwrap());
        assert_eq!([requests_of(16), requests_of(20), requests_of(24)], [32, 4, 4]);
    }

    #[test]
    fn close_by_one_more_chunk_is_sent_than_there_are_connections() {
        assert_eq!([sends(2), sends(4), sends(12)], [3, 4, 12]);
        let window_of = |connections, log2| window(connections, ChunkSize::from_log2(log2).unwrap());
        assert_eq!([window_of(2, 20), window_of(4, 20)], [8, 10]);
        // As many as fit in memory.
        assert_eq!([window_of(12, 20), window_of(2, 22), window_of(2, 24)], [24, 6, 1]);
    }

    #[test]
    fn pieces_make_up_the_chunk_and_are_worth_a_request() {
        let sealed_len = (1 << 20) + 16;
        let piece_len = super::piece_len(12, sealed_len);
        assert!(piece_len * 11 < sealed_len && sealed_len <= piece_len * 12, "{piece_len}");
        assert_eq!(super::piece_len(12, 1000), PIECE_BYTES_MIN);
    }
}
