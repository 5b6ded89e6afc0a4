//! What commands answer with `--json`: one type for each document and summary, beside the
//! events in `src/progress/events.rs`. `docs/json.md` describes them.

use std::net::SocketAddr;

use parcelry_core::api::{PeerInfo, SwarmHealth};
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::quota::{Allowance, Charged};
use parcelry_core::registry::Liveness;
use parcelry_core::token::TokenRole;
use serde::Serialize;

/// `demo`.
#[derive(Debug, Serialize)]
pub struct DemoSummary {
    /// Whether what was got is what was shared.
    pub equal: bool,
    /// Bytes that were compared.
    pub bytes: u64,
}

/// `tracker`, `up`: it is ready.
#[derive(Debug, Serialize)]
pub struct TrackerReady {
    /// Where it listens.
    pub address: String,
    /// Number of peers that were started with it.
    pub peers: u8,
    /// Whether browsers warn before they open links.
    pub browsers_warn: bool,
    /// At the first start: the invite for peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_invite: Option<String>,
    /// At the first start: the invite for a sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_invite: Option<String>,
}

/// `peer`: it is ready.
#[derive(Debug, Serialize)]
pub struct PeerReady<'a> {
    /// Its id.
    pub id: PeerId,
    /// What it is called.
    pub name: &'a str,
    /// Where it listens.
    pub address: String,
    /// Where others reach it.
    pub addresses: &'a [SocketAddr],
}

/// `peer --scrub-now`: everything was read.
#[derive(Debug, Serialize)]
pub struct ScrubSummary {
    /// Chunks that were read.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that were damaged and set aside.
    pub damaged: u64,
}

/// `share`.
#[derive(Debug, Serialize)]
pub struct ShareSummary {
    /// The link, secret included.
    pub link: String,
    /// The name that the receiver sees.
    pub name: String,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// The names of the peers that hold it.
    pub peers: Vec<String>,
    /// When it ends.
    pub expires: String,
    /// Whether browsers warn before they open the link.
    pub browsers_warn: bool,
    /// How many entries were left out.
    pub left_out: u64,
    /// How often it warned.
    pub warnings: u64,
}

/// `get`.
#[derive(Debug, Serialize)]
pub struct GetSummary {
    /// What the sender called it.
    pub name: String,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// The names of the peers that served it.
    pub peers: Vec<String>,
    /// Where it was saved.
    pub path: Option<String>,
    /// How many entries were left out.
    pub left_out: u64,
    /// How often it warned.
    pub warnings: u64,
}

/// `inspect`.
#[derive(Debug, Serialize)]
pub struct Inspected {
    /// The share.
    pub share: ShareId,
    /// What the sender called it.
    pub name: String,
    /// Bytes of all files, with their holes.
    pub size_bytes: u64,
    /// Bytes of all files without their holes.
    pub data_bytes: u64,
    /// Number of its chunks.
    pub chunk_count: u32,
    /// Number of its files.
    pub file_count: usize,
    /// Its files.
    pub files: Vec<FileEntry>,
    /// When it was begun.
    pub created: String,
    /// When it ends.
    pub expires: String,
    /// Copies of each chunk that were asked for.
    pub replicas_wanted: u32,
    /// Copies of the chunk with the fewest.
    pub replicas_least: u32,
    /// Chunks with fewer copies than were asked for.
    pub chunks_short: u64,
    /// How it stands, in words.
    pub health: String,
    /// Its holders.
    pub peers: Vec<Holder>,
    /// With `--receipts`: what its first peers signed for.
    pub receipts: Vec<ReceiptEntry>,
}

/// A file of a share.
#[derive(Debug, Serialize)]
pub struct FileEntry {
    /// Its path in the share.
    pub path: String,
    /// Its bytes.
    pub size_bytes: u64,
}

/// A peer that is said to hold chunks of a share.
#[derive(Debug, Serialize)]
pub struct Holder {
    /// What it is called.
    pub name: String,
    /// Whether it is there.
    pub state: Liveness,
    /// Why it does not count although it beats, if so.
    pub why: Option<String>,
    /// How many chunks it says to hold; none if it does not answer.
    pub chunks: Option<u32>,
}

/// A receipt that counts.
#[derive(Debug, Serialize)]
pub struct ReceiptEntry {
    /// The peer's name, or its id if it is not among the share's sources any more.
    pub peer: String,
    /// How many chunks it signed for.
    pub chunks: u32,
    /// When.
    pub given: String,
}

/// `ls`: the shares that were made from here.
#[derive(Debug, Serialize)]
pub struct ShareList {
    /// The newest first.
    pub shares: Vec<ShareEntry>,
}

/// A share that was made from here.
#[derive(Debug, Serialize)]
pub struct ShareEntry {
    /// The name that the receiver sees.
    pub name: String,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Number of its files.
    pub file_count: usize,
    /// The link, secret included.
    pub link: String,
    /// When it was made.
    pub created: String,
    /// When it ends.
    pub expires: String,
    /// Whether that is over.
    pub expired: bool,
}

/// `rm`.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// The share.
    pub share: ShareId,
    /// The name that the receiver saw.
    pub name: String,
    /// That it is deleted.
    pub deleted: bool,
}

/// `extend`.
#[derive(Debug, Serialize)]
pub struct Extended {
    /// The share.
    pub share: ShareId,
    /// The name that the receiver sees.
    pub name: String,
    /// When it ends now.
    pub expires: String,
}

/// `status`.
#[derive(Debug, Serialize)]
pub struct SwarmStatus {
    /// The tracker's address.
    pub tracker: String,
    /// All peers, as the tracker tells.
    pub peers: Vec<PeerInfo>,
    /// How the shares stand, as the tracker tells.
    pub health: SwarmHealth,
}

/// `verify`.
#[derive(Debug, Serialize)]
pub struct VerifySummary {
    /// The share.
    pub share: ShareId,
    /// Number of its chunks.
    pub chunk_count: u32,
    /// Copies of each chunk that were asked for.
    pub replicas_wanted: u32,
    /// Good copies of the chunk with the fewest.
    pub replicas_least: u32,
    /// Chunks with fewer good copies than were asked for.
    pub chunks_short: u64,
    /// What was read at each peer.
    pub peers: Vec<VerifiedPeer>,
}

/// What was read at a peer.
#[derive(Debug, Serialize)]
pub struct VerifiedPeer {
    /// What it is called.
    pub name: String,
    /// Number of chunks that are good.
    pub good: u32,
    /// The damaged ones.
    pub wrong: Vec<u32>,
    /// Why it was not read to its end, if so.
    pub failed: Option<String>,
}

/// `invite`.
#[derive(Debug, Serialize)]
pub struct Invited<'a> {
    /// The invite, token included.
    pub invite: String,
    /// Whom it is for.
    pub role: TokenRole,
    /// What it is called.
    pub name: &'a str,
}

/// `tokens ls`.
#[derive(Debug, Serialize)]
pub struct TokenList<'a> {
    /// The tokens behind invites.
    pub tokens: Vec<TokenEntry<'a>>,
}

/// A token behind an invite.
#[derive(Debug, Serialize)]
pub struct TokenEntry<'a> {
    /// Its id.
    pub id: String,
    /// Whom it is for.
    pub role: TokenRole,
    /// What it is called.
    pub name: &'a str,
    /// When it was made.
    pub created: String,
    /// When it ends, if it does.
    pub expires: Option<String>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether it admits anybody now.
    pub active: bool,
    /// What it allows.
    pub allowance: &'a Allowance,
    /// What is used of that, if the tracker runs.
    pub used: Option<&'a Charged>,
    /// Peers that it admitted.
    pub peers: u64,
}

/// `tokens revoke`.
#[derive(Debug, Serialize)]
pub struct Revoked<'a> {
    /// The ids of those that were.
    pub revoked: &'a [String],
}

/// `drain`.
#[derive(Debug, Serialize)]
pub struct Drained<'a> {
    /// The peer's id.
    pub id: PeerId,
    /// What it is called.
    pub name: &'a str,
    /// Whether it was dead, and taken off the list.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
    /// Whether it is being emptied.
    pub draining: bool,
}

/// `swarms`: those that are known here.
#[derive(Debug, Serialize)]
pub struct SwarmList {
    /// By name, those that run here first.
    pub swarms: Vec<SwarmEntry>,
}

/// A swarm that is known here.
#[derive(Debug, Serialize)]
pub struct SwarmEntry {
    /// What it is called here.
    pub name: String,
    /// Its tracker's address.
    pub tracker: String,
    /// Whether `parcelry up` runs it on this machine.
    pub is_up: bool,
    /// Whether commands use it that are told of no other.
    pub is_in_use: bool,
}

/// `join`, `swarms use`, `swarms forget`, `leave`: which swarm it was done to.
#[derive(Debug, Serialize)]
pub struct SwarmNamed {
    /// What it is called here.
    pub name: String,
    /// Its tracker's address.
    pub tracker: String,
}

/// `ls --partial`: what was begun and not finished.
#[derive(Debug, Serialize)]
pub struct PartialList {
    /// What was touched last comes first.
    pub partial: Vec<PartialEntry>,
}

/// Something that was begun and not finished.
#[derive(Debug, Serialize)]
pub struct PartialEntry {
    /// What it is.
    pub kind: PartialKind,
    /// What the share is called, or is to be called here; empty if its journal cannot be read.
    pub name: String,
    /// Where it comes from, or goes to, on this machine; none for what came on standard input.
    pub path: Option<String>,
    /// Where the bytes are that were fetched.
    pub temporary: Option<String>,
    /// Bytes of the share, of an upload.
    pub size_bytes: Option<u64>,
    /// Bytes that it takes on this machine's disks.
    pub disk_bytes: u64,
    /// When it was last touched.
    pub touched: String,
    /// When it was last touched, in milliseconds since the Unix epoch.
    #[serde(skip)]
    pub touched_ms: u64,
    /// Whether a command is at work on it.
    pub is_in_use: bool,
    /// Whether what was fetched is not there, and may come back with a disk.
    pub is_away: bool,
}

/// What was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartialKind {
    /// A share that was to be sent.
    Upload,
    /// A share that was to be fetched.
    Download,
    /// Its journal cannot be read.
    Unreadable,
}

/// `clean`: what was removed.
#[derive(Debug, Serialize)]
pub struct Cleaned {
    /// As `ls --partial` listed it.
    pub removed: Vec<PartialEntry>,
    /// Bytes that it took on this machine's disks.
    pub freed_bytes: u64,
}
