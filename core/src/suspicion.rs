//! Whether it is rather the tracker's own network that failed: much of the swarm was lost at once.

/// When a peer was lost: between two moments; and what it weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// The earliest moment.
    pub from_ms: u64,
    /// The latest moment.
    pub to_ms: u64,
    /// Shares of which the peer has proven to hold something.
    pub weight: u64,
}

/// Whether more than a third of what counts may have been lost at one moment, and at more than one peer. Who has proven
/// nothing has no weight: identities and words cost nothing.
pub fn is_own_network(losses: &[Loss], alive_weight: u64) -> bool {
    let weighty = losses.iter().filter(|loss| loss.weight > 0);
    let mut events: Vec<(u64, bool, u64)> = weighty
        .flat_map(|loss| [(loss.from_ms, false, loss.weight), (loss.to_ms, true, loss.weight)])
        .collect();
    // Those that begin at a moment come before those that end at it.
    events.sort_unstable();
    let (mut peers, mut weight) = (0_usize, 0_u64);
    events.into_iter().any(|(_, is_end, of_peer)| {
        if is_end {
            (peers, weight) = (peers.saturating_sub(1), weight.saturating_sub(of_peer));
        } else {
            (peers, weight) = (peers + 1, weight.saturating_add(of_peer));
        }
        peers > 1 && weight.saturating_mul(3) > alive_weight.saturating_add(weight)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(from_ms: u64, to_ms: u64, weight: u64) -> Loss {
        Loss { from_ms, to_ms, weight }
    }

    #[test]
    fn more_than_a_third_at_once_is_suspicious() {
        assert!(is_own_network(&[loss(0, 9, 1), loss(5, 14, 1)], 3));
        assert!(!is_own_network(&[loss(0, 9, 1), loss(5, 14, 1)], 4), "a third");
        assert!(!is_own_network(&[loss(0, 9, 1), loss(10, 19, 1)], 1), "one after the other");
        assert!(is_own_network(&[loss(0, 9, 1), loss(9, 19, 1)], 1), "perhaps at the same moment");
        assert!(!is_own_network(&[loss(0, 9, 100)], 1), "one peer");
        assert!(!is_own_network(&[], 0));
    }

    #[test]
    fn s13_identities_that_hold_nothing_weigh_nothing() {
        let mut losses = vec![loss(0, 9, 0); 100_000];
        losses.push(loss(0, 9, 1));
        assert!(!is_own_network(&losses, 1));
        losses.push(loss(0, 9, 1));
        assert!(is_own_network(&losses, 1));
    }

    #[test]
    fn s13_very_many_losses_are_no_work() {
        let losses: Vec<_> = (0..100_000).map(|n| loss(n, n + 30_000, 1)).collect();
        assert!(!is_own_network(&losses, 1_000_000));
    }
}
