//! How sure a tracker is that a peer is there, in one word.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// How sure the tracker is that a peer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It beats.
    Alive,
    /// It missed three heartbeats: no new share is placed on it.
    Suspect,
    /// It beats, but does not answer at the addresses that others are given: no new share is placed on it.
    Unreachable,
    /// Two machines beat with its key: nobody can tell which of them holds what.
    Cloned,
    /// It has been silent for too long: nobody is sent to it.
    Dead,
}

/// A state that only newer trackers know is read as that of a peer which is not counted on, and may be there.
impl<'de> Deserialize<'de> for Liveness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(match &*word {
            "alive" => Self::Alive,
            "unreachable" => Self::Unreachable,
            "cloned" => Self::Cloned,
            "dead" => Self::Dead,
            _ => Self::Suspect,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_to_come_is_read_as_one_that_is_not_counted_on() {
        let read = |word: &str| serde_json::from_value::<Liveness>(word.into()).unwrap();
        for state in
            [Liveness::Alive, Liveness::Suspect, Liveness::Unreachable, Liveness::Cloned, Liveness::Dead]
        {
            let word = serde_json::to_value(state).unwrap();
            assert_eq!(read(word.as_str().unwrap()), state);
        }
        assert_eq!(read("asleep"), Liveness::Suspect);
    }
}
