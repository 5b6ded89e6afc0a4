//! A whole swarm in one process: a tracker and its peers, for `up` and `demo`.

use std::net::SocketAddr;
use std::path::Path;

use parcelry_core::limits::GATEWAY_BYTES_PER_SECOND;
use parcelry_core::link::{Invite, TrackerUrl};
use parcelry_core::quota::Allowance;
use parcelry_core::registry::Rules;
use parcelry_core::token::TokenRole;

use crate::failure::Failure;
use crate::peer::{self, Maintenance, PeerConfig, RunningPeer};
use crate::task::Tasks;
use crate::tracker::{self, RunningTracker, TrackerConfig};

/// How to run a swarm in one process.
#[derive(Debug, Clone)]
pub struct LocalConfig<'a> {
    /// The directory that holds the data of all.
    pub data: &'a Path,
    /// Where the tracker listens; the peers listen on free ports of the same address.
    pub listen: SocketAddr,
    /// Where others reach the tracker, if not where it listens.
    pub public_url: Option<TrackerUrl>,
    /// Names of the peers.
    pub peers: &'a [&'a str],
    /// Bytes that each peer leaves free on the disk.
    pub keep_free_bytes: u64,
    /// When silence of a peer means what.
    pub rules: Rules,
}

/// A tracker and its peers.
#[derive(Debug)]
pub struct LocalSwarm {
    /// The tracker.
    pub tracker: RunningTracker,
    /// Lets this machine's user share.
    pub invite: Invite,
    /// The peers, in the order of their names in the configuration.
    pub peers: Vec<RunningPeer>,
}

impl LocalSwarm {
    /// Starts them all; returns when every peer is registered.
    pub async fn start(config: LocalConfig<'_>, tasks: &Tasks) -> Result<Self, Failure> {
        let tracker_config = TrackerConfig {
            listen: config.listen,
            data: config.data.join("tracker"),
            public_url: config.public_url,
            rules: config.rules,
            certificate: None,
            proxies: Vec::new(),
            hosts: Vec::new(),
            gateway_bytes_per_second: GATEWAY_BYTES_PER_SECOND,
        };
        let tracker = tracker::start(tracker_config, tasks).await?;
        let invite =
            tracker.admission.renew(TokenRole::Sender, "this machine's user", Allowance::default()).await?;
        // The peers talk to the tracker where it listens; what others use may be routed elsewhere.
        let for_all = Allowance { peers_max: u32::try_from(config.peers.len()).ok(), ..Allowance::default() };
        let near = tracker.admission.renew(TokenRole::Peer, "this machine's peers", for_all).await?;
        let near = Invite { tracker: tracker::guessed_url(tracker.address)?, ..near };
        let mut peers = Vec::new();
        for name in config.peers {
            let peer_config = PeerConfig {
                invite: near.clone(),
                listen: SocketAddr::new(config.listen.ip(), 0),
                data: config.data.join(name),
                name: (*name).to_owned(),
                capacity_bytes: None,
                keep_free_bytes: config.keep_free_bytes,
                zone: None,
                public_addr: None,
                maintenance: Maintenance::default(),
            };
            peers.push(peer::start(peer_config, tasks).await?);
        }
        Ok(Self { tracker, invite, peers })
    }

    /// Stops them all, the peers first.
    pub async fn stop(self) {
        for peer in self.peers {
            peer.stop().await;
        }
        self.tracker.stop().await;
    }
}
