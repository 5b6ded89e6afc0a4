//! Errors as both HTTP APIs report them: problem documents (RFC 9457) with a stable `type`.

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

/// An error as RFC 9457 describes it. One of a kind that only a newer server knows is read as what its status says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(from = "Heard")]
pub struct Problem {
    /// Which kind of problem it is.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here.
    pub detail: String,
}

/// A problem as it is heard.
#[derive(Deserialize)]
struct Heard {
    #[serde(rename = "type")]
    urn: String,
    title: String,
    status: u16,
    detail: String,
}

impl From<Heard> for Problem {
    fn from(Heard { urn, title, status, detail }: Heard) -> Self {
        let known = ProblemKind::ALL.iter().find(|kind| kind.urn() == urn).copied();
        let by_status = if status >= 500 { ProblemKind::Internal } else { ProblemKind::BadRequest };
        Self { kind: known.unwrap_or(by_status), title, status, detail }
    }
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $urn:literal, $status:literal, $title:literal;)*) => {
        /// The kinds of problem, stable for programs to match on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub enum ProblemKind {
            $($(#[$doc])* #[serde(rename = $urn)] $name,)*
        }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The kind in words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The URN that names it in a problem document.
            pub const fn urn(self) -> &'static str {
                match self { $(Self::$name => $urn,)* }
            }
        }
    };
}

problems! {
    /// The request is not what the route takes.
    BadRequest = "urn:parcelry:problem:bad-request", 400, "The request is malformed";
    /// The credential is missing, wrong, revoked, expired or for something else.
    AccessDenied = "urn:parcelry:problem:access-denied", 403, "Access denied";
    /// The tracker's operator lets no browsers get or share.
    GatewayClosed = "urn:parcelry:problem:gateway-closed", 403, "The gateway is closed";
    /// The invite does not allow this much, or not this long.
    QuotaExceeded = "urn:parcelry:problem:quota-exceeded", 403, "The invite does not allow this";
    /// The grant is not valid at this moment by the server's clock.
    ClockSkew = "urn:parcelry:problem:clock-skew", 403, "The grant is not valid at this moment";
    /// There is no such route.
    NoRoute = "urn:parcelry:problem:no-route", 404, "There is nothing here";
    /// The share is not known, or the access token is not its own.
    ShareNotFound = "urn:parcelry:problem:share-not-found", 404, "Share not found";
    /// The chunk is not held here.
    ChunkNotFound = "urn:parcelry:problem:chunk-not-found", 404, "Chunk not found";
    /// No upload of the share is under way.
    UploadNotFound = "urn:parcelry:problem:upload-not-found", 404, "There is no such upload";
    /// The peer is not registered.
    UnknownPeer = "urn:parcelry:problem:unknown-peer", 404, "Peer not registered";
    /// The route has no such method.
    MethodNotAllowed = "urn:parcelry:problem:method-not-allowed", 405, "Method not allowed";
    /// The share already has another manifest or newer terms, or no offer came before its chunks.
    Conflict = "urn:parcelry:problem:conflict", 409, "Conflict with what is known of the share";
    /// The share's time is over or its owner took it back.
    ShareGone = "urn:parcelry:problem:share-gone", 410, "Share expired or deleted";
    /// The body is larger than the route takes.
    TooLarge = "urn:parcelry:problem:too-large", 413, "The body is too large";
    /// The body has another type than JSON, or is compressed.
    UnsupportedMediaType = "urn:parcelry:problem:unsupported-media-type", 415, "The body's type is not taken";
    /// The range lies outside the chunk.
    RangeNotSatisfiable = "urn:parcelry:problem:range-not-satisfiable", 416, "The range lies outside the chunk";
    /// The request is for another host than this one.
    WrongHost = "urn:parcelry:problem:wrong-host", 421, "The request is for another host";
    /// The body does not hash to the chunk's id.
    HashMismatch = "urn:parcelry:problem:hash-mismatch", 422, "The body does not hash to the chunk's id";
    /// The manifest or terms are not the share's.
    InvalidShare = "urn:parcelry:problem:invalid-share", 422, "The manifest or terms are not valid";
    /// The tracker could not reach the peer where it said that it serves.
    PeerUnreachable = "urn:parcelry:problem:peer-unreachable", 422, "The peer cannot be reached at its address";
    /// The client asks too much at once, or too often.
    TooManyRequests = "urn:parcelry:problem:too-many-requests", 429, "Too many requests";
    /// Something failed that the caller cannot mend.
    Internal = "urn:parcelry:problem:internal", 500, "Internal error";
    /// Fewer peers are alive than replicas were asked for.
    NotEnoughPeers = "urn:parcelry:problem:not-enough-peers", 503, "Not enough peers are alive";
    /// The server stops, has too much to do, or waited for the client for too long.
    Unavailable = "urn:parcelry:problem:unavailable", 503, "Unavailable for the moment";
    /// There is no space for the share.
    NoSpace = "urn:parcelry:problem:no-space", 507, "Not enough free space";
}

impl PartialSchema for ProblemKind {
    fn schema() -> RefOr<Schema> {
        let kinds = Self::ALL.iter().map(|kind| kind.urn());
        crate::schema::one_of("The kinds of problem, stable for programs to match on.", kinds)
    }
}

impl ToSchema for ProblemKind {}

impl Problem {
    /// A problem of this kind, with what happened.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, title: kind.title().to_owned(), status: kind.status(), detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_carry_a_stable_type() {
        for &kind in ProblemKind::ALL {
            let json = serde_json::to_value(Problem::new(kind, "x")).unwrap();
            assert_eq!(json["type"], kind.urn());
            assert_eq!(json["status"], kind.status());
            assert_eq!(serde_json::from_value::<Problem>(json).unwrap().kind, kind);
        }
    }

    #[test]
    fn problems_of_kinds_to_come_are_read_by_their_status() {
        for (status, kind) in [(402, ProblemKind::BadRequest), (503, ProblemKind::Internal)] {
            let json = serde_json::json!({
                "type": "urn:parcelry:problem:of-next-year", "title": "T", "status": status, "detail": "D",
            });
            let expected = Problem { kind, title: "T".into(), status, detail: "D".into() };
            assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), expected);
        }
    }
}
