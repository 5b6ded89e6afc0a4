//! What the operator's page asks the tracker and is told: sign-in, invites, shares, and the events of
//! `GET /v1/events`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::SwarmHealth;
use crate::health::Condition;
use crate::id::{PeerId, ShareId};
use crate::quota::{Allowance, Charged};
use crate::registry::{Liveness, ScrubProgress};
use crate::token::{TokenRecord, TokenRole};
use crate::traffic::Rates;

/// `POST /v1/session`: the admin signs in. It does not print: it holds the token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInRequest {
    /// The admin's token, base64url.
    pub token: String,
}

/// The answer to a sign-in. It does not print: it holds a secret.
#[derive(Serialize, ToSchema)]
pub struct SignInResponse {
    /// What goes with every further call in the header `Session-Secret`, beside the cookie; base64url.
    pub secret: String,
}

/// `POST /v1/invites`: an invite to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// `peer` or `sender`.
    pub role: TokenRole,
    /// What its maker calls it, at most 64 bytes.
    pub name: String,
    /// When it ends; none: an invite for peers after seven days, one for a sender when it is revoked.
    pub expires_ms: Option<u64>,
    /// What it allows; nothing said: the bounds that everybody has.
    #[serde(default)]
    pub allowance: Allowance,
}

/// Answer to [`InviteRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InviteResponse {
    /// The invite. It is shown this once.
    pub invite: String,
}

/// Answer to `GET /v1/invites`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InviteList {
    /// Every invite and the admin's own token, the oldest first.
    pub invites: Vec<InviteInfo>,
}

/// An invite that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InviteInfo {
    /// Its public name.
    pub id: String,
    /// What it lets its bearer do.
    pub role: TokenRole,
    /// What its maker calls it.
    pub name: String,
    /// When it was made.
    pub created_ms: u64,
    /// When it ends, if it does.
    pub expires_ms: Option<u64>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// What it allows.
    pub allowance: Allowance,
    /// What of it is used.
    pub used: Charged,
    /// Peers that it has admitted, ever.
    pub peers: u64,
}

impl InviteInfo {
    /// What is told of a token that has admitted so many peers, and is charged with this.
    pub fn of(token: TokenRecord, peers: u64, used: Charged) -> Self {
        let TokenRecord { id, role, name, created_ms, expires_ms, revoked, allowance, .. } = token;
        Self { id: id.to_string(), role, name, created_ms, expires_ms, revoked, allowance, used, peers }
    }
}

/// Which shares `GET /v1/shares` is to list.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SharePage {
    /// The share before the first one; none: from the start.
    pub after: Option<ShareId>,
    /// How many to look at, 1 to 200; 100 if it is not said.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<usize>,
}

/// Answer to `GET /v1/shares`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareList {
    /// Shares that are not over, in the order of their ids.
    pub shares: Vec<ShareInfo>,
    /// What to ask the next page with; none: this was the last.
    pub next: Option<ShareId>,
}

/// A share and its health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareInfo {
    /// The share.
    pub share: ShareId,
    /// Bytes of its stream before sealing.
    pub total_bytes: u64,
    /// Its chunks.
    pub chunk_count: u32,
    /// Replicas that its owner asked for.
    pub replicas: u8,
    /// Peers that hold a part of it, alive or not.
    pub peers: Vec<PeerId>,
    /// The fewest replicas that a chunk has at peers that are not dead.
    pub fewest_replicas: u32,
    /// Chunks with fewer replicas than were asked for.
    pub missing_chunks: u32,
    /// When it ends.
    pub expires_ms: u64,
    /// Its condition, in one word.
    pub condition: Condition,
}

/// The event `swarm`: everything in a few numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SwarmNow {
    /// The tracker's wall clock.
    pub now_ms: u64,
    /// The health of the shares.
    pub health: SwarmHealth,
    /// Bytes that the peers hold that are not dead.
    pub used_bytes: u64,
    /// Bytes that they are willing to hold.
    pub capacity_bytes: u64,
    /// How fast they take and serve chunks.
    #[serde(flatten)]
    pub rates: Rates,
    /// Bytes of chunks that the tracker passes on for browsers in a second.
    pub gateway_bytes_per_s: u64,
    /// What the tracker does by itself and cannot do just now.
    pub failing: Vec<FailingWorker>,
}

/// Something that a server does by itself, and that failed when it was tried last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailingWorker {
    /// Which of its workers does it.
    pub worker: &'static str,
    /// What it cannot do, as "cannot look after the shares".
    pub what: &'static str,
    /// Why, at the last attempt that failed; before it, if it is done with many, with which it fails.
    pub error: String,
    /// When it failed first since it last went well.
    pub since_ms: u64,
    /// When it failed last.
    pub failed_ms: u64,
    /// How often it failed since it last went well.
    pub failures: u64,
}

/// The event `peers`: rows that are new or other than before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PeerRows<'a> {
    /// The rows.
    pub peers: Vec<&'a PeerRow>,
    /// Peers that are not registered any more.
    pub gone: Vec<PeerId>,
}

/// A peer on the operator's page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerRow {
    /// The peer's id.
    pub id: PeerId,
    /// What its operator calls it.
    pub name: String,
    /// Whether it is there.
    pub state: Liveness,
    /// Why it is in doubt, if it is.
    pub why: Option<String>,
    /// Where it stands.
    pub zone: Option<String>,
    /// Where it is reached, as `IP:PORT`.
    pub addresses: Vec<SocketAddr>,
    /// Bytes that it is willing to hold.
    pub capacity_bytes: u64,
    /// Bytes that it holds.
    pub used_bytes: u64,
    /// Bytes that it can still take.
    pub free_bytes: u64,
    /// The version of parcelry that it runs.
    pub version: String,
    /// When it was heard of last.
    pub seen_ms: u64,
    /// If it is being emptied: how many shares still need what it holds.
    pub draining: Option<u64>,
    /// How fast it takes and serves chunks.
    #[serde(flatten)]
    pub rates: Rates,
    /// How far its scrub is.
    pub scrub: Option<ScrubProgress>,
}

/// The event `history`: the last ten minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History {
    /// The oldest first, one every two seconds.
    pub samples: Vec<Sample>,
}

/// The swarm at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The moment.
    pub at_ms: u64,
    /// Bytes that the peers held.
    pub used_bytes: u64,
    /// How fast they took and served chunks.
    #[serde(flatten)]
    pub rates: Rates,
}

/// The event `work`: what peers copy for each other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Work {
    /// Some of the copies under way.
    pub copies: Vec<CopyNow>,
    /// How many more there are.
    pub more: usize,
}

/// A copy under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CopyNow {
    /// The share.
    pub share: ShareId,
    /// The peer that copies.
    pub target: PeerId,
    /// Chunks that it has not reported yet.
    pub chunks_left: u32,
}

/// The event `log`: what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntries {
    /// The oldest first.
    pub entries: Vec<LogEntry>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// When.
    pub at_ms: u64,
    /// What.
    pub kind: LogKind,
    /// To which peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerId>,
    /// What its operator calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_name: Option<String>,
    /// To which share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<ShareId>,
    /// A name, an address or a number, as the kind has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl LogEntry {
    /// Something of this kind.
    pub const fn new(kind: LogKind, at_ms: u64) -> Self {
        Self { at_ms, kind, peer: None, peer_name: None, share: None, detail: None }
    }
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogKind {
    /// A peer is new.
    PeerRegistered,
    /// A peer missed heartbeats.
    PeerSuspect,
    /// A peer has been silent for too long.
    PeerDead,
    /// A peer beats, but cannot be reached; `detail`: why.
    PeerUnreachable,
    /// Two machines run with a peer's key.
    PeerCloned,
    /// A peer beats again.
    PeerBack,
    /// A peer said goodbye, or was taken off the list.
    PeerLeft,
    /// A peer is being emptied.
    PeerDraining,
    /// A peer that was being emptied fills again.
    PeerFilling,
    /// A share was published.
    SharePublished,
    /// A share's owner deleted it.
    ShareDeleted,
    /// The operator took a share down.
    ShareTakenDown,
    /// A share's time is over.
    ShareExpired,
    /// Too many peers vanished at once: nothing is copied.
    RepairPaused,
    /// Copies are ordered again.
    RepairResumed,
    /// A peer found chunks to be damaged or gone; `detail`: how many.
    ChunksLost,
    /// A peer could not prove chunks that it said to hold; `detail`: how many.
    ChunksRefuted,
    /// The admin signed in; `detail`: from which address.
    SignedIn,
    /// An invite was made; `detail`: its name.
    InviteMade,
    /// An invite was revoked; `detail`: its name.
    InviteRevoked,
}
