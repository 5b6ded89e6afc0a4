//! Flags of those who run a swarm: trackers, peers, invites.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand, ValueEnum};
use parcelry_core::limits::{PEERS_PER_INVITE_MAX, REPLICAS_MAX, TOKEN_NAME_BYTES_MAX};
use parcelry_core::link::TrackerUrl;
use parcelry_core::name::printable;
use parcelry_core::proxy::Declared;
use parcelry_core::token::TokenId;

use super::parse_expiry;

/// `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Number of peers
    #[arg(long, default_value_t = 2, env = "PARCELRY_PEERS", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub peers: u8,
    /// Folder for keys, database and chunks
    #[arg(long, env = "PARCELRY_UP_DATA")]
    pub data: Option<PathBuf>,
    /// Where the tracker listens; the peers listen on free ports of the same address
    #[arg(long, default_value = "127.0.0.1:9090", env = "PARCELRY_UP_LISTEN")]
    pub listen: SocketAddr,
    /// Bytes to leave free on the disk
    #[arg(long, default_value = "1GiB", env = "PARCELRY_UP_KEEP_FREE")]
    pub keep_free: ByteSize,
    /// When silence of a peer means what
    #[command(flatten)]
    pub liveness: LivenessArgs,
}

/// When silence of a peer means what.
#[derive(Debug, Args)]
pub struct LivenessArgs {
    /// How often peers report
    #[arg(long, default_value = "10s", env = "PARCELRY_HEARTBEAT", value_parser = humantime::parse_duration)]
    pub heartbeat: Duration,
    /// Silence after which a peer is taken for dead
    #[arg(long, default_value = "5m", env = "PARCELRY_DEAD_AFTER", value_parser = humantime::parse_duration)]
    pub dead_after: Duration,
}

/// `tracker`.
#[derive(Debug, Args)]
pub struct TrackerArgs {
    /// Where to listen
    #[arg(long, default_value = "0.0.0.0:9090", env = "PARCELRY_TRACKER_LISTEN")]
    pub listen: SocketAddr,
    /// Folder for key and database
    #[arg(long, env = "PARCELRY_TRACKER_DATA")]
    pub data: Option<PathBuf>,
    /// Where others reach it, as https://HOST:PORT, if not where it listens
    #[arg(long, env = "PARCELRY_PUBLIC_URL")]
    pub public_url: Option<TrackerUrl>,
    /// PEM file with a certificate that an authority signed, for browsers and links without the tracker's id
    #[arg(long, env = "PARCELRY_CERTIFICATE", value_name = "FILE", requires = "certificate_key")]
    pub certificate: Option<PathBuf>,
    /// PEM file with that certificate's private key
    #[arg(long, env = "PARCELRY_CERTIFICATE_KEY", value_name = "FILE", requires = "certificate")]
    pub certificate_key: Option<PathBuf>,
    /// Address, network (10.0.0.0/24) or name of proxies that may speak plain HTTP to it for others; several with commas
    #[arg(long, env = "PARCELRY_BEHIND_PROXY", value_name = "PROXY", value_delimiter = ',')]
    pub behind_proxy: Vec<Declared>,
    /// Further name under which browsers reach it, beside the one of --public-url; several with commas
    #[arg(long, env = "PARCELRY_HOST_NAME", value_name = "NAME", value_delimiter = ',', value_parser = host_name)]
    pub host_name: Vec<String>,
    /// Bytes a second that pass through it for browsers; 0 serves none
    #[arg(long, default_value = "64MiB", env = "PARCELRY_GATEWAY_RATE")]
    pub gateway_rate: ByteSize,
    /// When silence of a peer means what
    #[command(flatten)]
    pub liveness: LivenessArgs,
}

/// `peer`.
#[derive(Debug, Args)]
pub struct PeerArgs {
    /// The swarm to join, if not the one that was joined before; `-` reads stdin
    #[arg(long, env = "PARCELRY_PEER_INVITE", hide_env_values = true)]
    pub invite: Option<String>,
    /// Where to listen; port 0 takes any free one
    #[arg(long, default_value = "0.0.0.0:0", env = "PARCELRY_PEER_LISTEN")]
    pub listen: SocketAddr,
    /// Folder for key and chunks; each peer needs its own
    #[arg(long, env = "PARCELRY_PEER_DATA")]
    pub data: Option<PathBuf>,
    /// What to call it; this machine's name if none
    #[arg(long, env = "PARCELRY_NAME")]
    pub name: Option<String>,
    /// Bytes of chunks to hold, as in 500GB; as many as the disk takes if none
    #[arg(long, env = "PARCELRY_CAPACITY")]
    pub capacity: Option<ByteSize>,
    /// Bytes to leave free on the disk
    #[arg(long, default_value = "1GiB", env = "PARCELRY_PEER_KEEP_FREE")]
    pub keep_free: ByteSize,
    /// Where it stands: replicas are kept in different zones
    #[arg(long, env = "PARCELRY_ZONE")]
    pub zone: Option<String>,
    /// Where others reach it, as IP:PORT, if not where the tracker sees it
    #[arg(long, env = "PARCELRY_PUBLIC_ADDR")]
    pub public_addr: Option<SocketAddr>,
    /// Bytes that it copies from other peers in a second when copies are missing
    #[arg(long, default_value = "40MiB", env = "PARCELRY_REPAIR_RATE", value_name = "SIZE")]
    pub repair_rate: ByteSize,
    /// Bytes that it reads in a second to prove to others what it holds
    #[arg(long, default_value = "32MiB", env = "PARCELRY_AUDIT_RATE", value_name = "SIZE")]
    pub audit_rate: ByteSize,
    /// Time in which it reads everything that it holds again, to find what has rotted
    #[arg(long, default_value = "14d", env = "PARCELRY_SCRUB_EVERY", value_name = "TIME",
        value_parser = humantime::parse_duration)]
    pub scrub_every: Duration,
    /// Read everything that it holds again at once, too
    #[arg(long)]
    pub scrub_now: bool,
}

/// `drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Its name or id
    pub peer: String,
    /// Let it fill again instead
    #[arg(long)]
    pub undo: bool,
    /// The tracker's folder
    #[arg(long, env = "PARCELRY_TRACKER_DATA")]
    pub data: Option<PathBuf>,
}

/// `invite`.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// Whom it is for
    #[arg(long, default_value = "sender", env = "PARCELRY_ROLE")]
    pub role: InviteRole,
    /// What to call it in `parcelry tokens ls`
    #[arg(long, default_value = "", hide_default_value = true, value_parser = parse_token_name)]
    pub name: String,
    /// How long it is good: 7 days for peers, who may stay then, and without end for senders if not given
    #[arg(long, value_parser = humantime::parse_duration)]
    pub expires: Option<Duration>,
    /// For a sender: how much all shares may take of the swarm's disks at once, copies counted
    #[arg(long, value_name = "SIZE")]
    pub quota: Option<ByteSize>,
    /// For a sender: how large one share may be
    #[arg(long, value_name = "SIZE")]
    pub share_max: Option<ByteSize>,
    /// For a sender: how long a share may live
    #[arg(long, value_name = "DURATION", value_parser = parse_expiry)]
    pub expires_max: Option<Duration>,
    /// For a sender: how many copies a share may have
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=i64::from(REPLICAS_MAX)))]
    pub replicas_max: Option<u8>,
    /// For peers: how many of them may join with it, ever; 8 if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(PEERS_PER_INVITE_MAX)))]
    pub count: Option<u32>,
    /// For peers: where they stand, whatever they say themselves, to keep copies apart
    #[arg(long)]
    pub zone: Option<String>,
    /// The tracker's folder
    #[arg(long, env = "PARCELRY_TRACKER_DATA")]
    pub data: Option<PathBuf>,
}

/// Whom an invite is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum InviteRole {
    /// A machine that stores chunks
    Peer,
    /// Somebody who shares
    Sender,
}

/// `tokens`.
#[derive(Debug, Args)]
pub struct TokensArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub action: TokensAction,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokensAction {
    /// List them: id, role, name, state
    Ls {
        /// Only the ids of those that were revoked, to revoke them again if an older copy of the folder is restored
        #[arg(long)]
        revoked: bool,
        /// The tracker's folder
        #[arg(long, env = "PARCELRY_TRACKER_DATA")]
        data: Option<PathBuf>,
    },
    /// End some now; the peers that they admitted are shut out, too
    Revoke {
        /// Their ids, from the list
        #[arg(required = true)]
        ids: Vec<TokenId>,
        /// The tracker's folder
        #[arg(long, env = "PARCELRY_TRACKER_DATA")]
        data: Option<PathBuf>,
    },
}

fn parse_token_name(text: &str) -> Result<String, String> {
    if text.len() > TOKEN_NAME_BYTES_MAX || printable(text) != text {
        return Err(format!("a name has at most {TOKEN_NAME_BYTES_MAX} bytes and no control characters"));
    }
    Ok(text.to_owned())
}

/// A name that can stand in an address, and so in a certificate.
fn host_name(text: &str) -> Result<String, String> {
    let url = TrackerUrl::new(text, 443);
    url.map(|url| url.host().to_owned())
        .map_err(|_| "a name without port or path is wanted, in ASCII (xn--…)".into())
}
