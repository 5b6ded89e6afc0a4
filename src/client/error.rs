//! Why a call to a tracker or peer fails, with the error that it comes from.

use std::error::Error;
use std::sync::Arc;

use parcelry_core::api::{Problem, ProblemKind};

/// An error from below, or words in the place of one.
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// One that clones share. An `Arc<dyn Error>` would not do: it is an error itself, and hides of which type the one in it
/// is.
type SharedError = Arc<BoxError>;

/// Why a call did not do what it should; each variant is something else to do about it.
///
/// Its text is whole without its sources: who prints it does not print those as well.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there, or not in time: another address, peer or moment may.
    #[error("{server} cannot be reached: {why}")]
    Unreachable {
        /// The address that was tried.
        server: String,
        /// What the system said.
        #[source]
        why: SharedError,
    },
    /// Somebody else answers there: nothing was sent, and trying again will not help.
    #[error("{server} is not who it should be: {why}")]
    WrongKey {
        /// The address that was tried.
        server: String,
        /// What does not fit.
        #[source]
        why: SharedError,
    },
    /// The server refused, and says why.
    #[error("{server} refused: {} ({})", .problem.title, .problem.detail)]
    Refused {
        /// Who refused.
        server: String,
        /// Why.
        problem: Problem,
    },
    /// The peer confirmed something and cannot prove it.
    #[error("{server} does not have what it confirmed ({what})")]
    Refuted {
        /// Which peer.
        server: String,
        /// What it does not have.
        what: String,
    },
    /// The server refused because of the time, and its clock shows another one.
    #[error("{server} has another time: its clock is {off}")]
    OtherTime {
        /// Who refused.
        server: String,
        /// By how much it is off, and against whose.
        off: String,
        /// What it refused with.
        #[source]
        refusal: SharedError,
    },
    /// The answer is none that the protocol has.
    #[error("{server} answered with something else than parcelry does: {what}")]
    Protocol {
        /// Who answered.
        server: String,
        /// What was wrong with it.
        #[source]
        what: SharedError,
    },
}

impl ClientError {
    /// Nobody answers there, or not in time. Where the wait just ended, words are all that there is to `why`.
    pub fn unreachable(server: impl Into<String>, why: impl Into<BoxError>) -> Self {
        Self::Unreachable { server: server.into(), why: Arc::new(why.into()) }
    }

    /// Somebody else answers there.
    pub(super) fn wrong_key(server: impl Into<String>, why: impl Into<BoxError>) -> Self {
        Self::WrongKey { server: server.into(), why: Arc::new(why.into()) }
    }

    /// This refusal was because of the time.
    pub fn other_time(server: impl Into<String>, off: String, refusal: Self) -> Self {
        Self::OtherTime { server: server.into(), off, refusal: Arc::new(refusal.into()) }
    }

    /// The answer is none that the protocol has.
    pub fn protocol(server: impl Into<String>, what: impl Into<BoxError>) -> Self {
        Self::Protocol { server: server.into(), what: Arc::new(what.into()) }
    }

    /// The kind of problem, if the server named one.
    pub fn problem(&self) -> Option<ProblemKind> {
        match self {
            Self::Refused { problem, .. } => Some(problem.kind),
            _ => None,
        }
    }
}

/// An error in other words than its own.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(super) struct Reworded {
    words: String,
    source: BoxError,
}

impl Reworded {
    /// This error, in these words.
    pub(super) fn new(words: impl Into<String>, error: impl Into<BoxError>) -> Self {
        Self { words: words.into(), source: error.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Whatever is under an error, the nearest first.
    fn sources(error: &ClientError) -> Vec<&(dyn Error + 'static)> {
        let (mut sources, mut next) = (Vec::new(), error.source());
        while let Some(source) = next {
            sources.push(source);
            next = source.source();
        }
        sources
    }

    #[test]
    fn an_error_tells_what_it_comes_from_and_its_clones_still_have_it() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = ClientError::unreachable("peer.example:9091", refused).clone();
        assert_eq!(error.to_string(), "peer.example:9091 cannot be reached: connection refused");
        let [source] = sources(&error)[..] else { panic!("{error:?}") };
        let kind = source.downcast_ref::<io::Error>().map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn an_error_in_other_words_is_kept_as_well() {
        let json = || serde_json::from_str::<u32>("<html>").unwrap_err();
        let told = "server answered with something else than parcelry does";
        let error = ClientError::protocol("server", json());
        assert_eq!(error.to_string(), format!("{told}: {}", json()));
        assert!(sources(&error)[0].is::<serde_json::Error>());
        let error = ClientError::protocol("server", Reworded::new("no problem document", json()));
        assert_eq!(error.to_string(), format!("{told}: no problem document"));
        let [words, source] = sources(&error)[..] else { panic!("{error:?}") };
        assert!(words.is::<Reworded>() && source.is::<serde_json::Error>());
    }

    #[test]
    fn who_is_refused_because_of_the_time_is_told_only_that() {
        let problem = Problem::new(ProblemKind::ClockSkew, "the grant is not valid yet");
        let refused = ClientError::Refused { server: "p0".into(), problem };
        let error = ClientError::other_time("p0", "2 h ahead of the tracker's".into(), refused);
        assert_eq!(error.to_string(), "p0 has another time: its clock is 2 h ahead of the tracker's");
        assert_eq!(error.problem(), None);
        let refusal = error.source().and_then(|source| source.downcast_ref::<ClientError>());
        assert_eq!(refusal.and_then(ClientError::problem), Some(ProblemKind::ClockSkew));
    }
}
