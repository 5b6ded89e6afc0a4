//! `parcelry peer`: runs a peer.

use std::path::Path;

use parcelry_core::name::printable;

use super::answers::{PeerReady, ScrubSummary};
use super::{serving, swarms};
use crate::cli::{PeerArgs, SwarmArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::human;
use crate::peer::{self, Maintenance, PeerConfig, Scrub};
use crate::task::{EndRequests, Tasks};

/// Runs a peer until it is asked to end.
pub(super) async fn run(
    context: &Context,
    data: &Path,
    tasks: &Tasks,
    args: PeerArgs,
) -> Result<(), Failure> {
    let mut ends = EndRequests::listen()?;
    let config = PeerConfig {
        invite: swarms::chosen(context, SwarmArgs { invite: args.invite, swarm: None }).await?,
        listen: args.listen,
        data: args.data.unwrap_or_else(|| data.join("peer")),
        name: args.name.unwrap_or_else(machine_name),
        capacity_bytes: args.capacity.map(|size| size.as_u64()),
        keep_free_bytes: args.keep_free.as_u64(),
        zone: args.zone,
        public_addr: args.public_addr,
        maintenance: Maintenance {
            copy_bytes_per_second: args.repair_rate.as_u64(),
            audit_bytes_per_second: args.audit_rate.as_u64(),
            scrub_every: args.scrub_every,
        },
    };
    // It waits for its tracker for as long as it takes.
    let peer = tokio::select! {
        peer = peer::start(config, tasks) => peer?,
        signal = ends.next() => return Err(Failure::new(signal, "interrupted")),
    };
    let announced: Vec<_> = peer.announced.iter().map(ToString::to_string).collect();
    let (free, announced) = (human::bytes(peer.free_bytes), announced.join(", "));
    let text = format!(
        "Peer {} listens on {} and has joined the swarm, which reaches it at {announced}. {free} free.",
        peer.name, peer.address
    );
    let (name, addresses) = (peer.name.as_str(), peer.announced.as_slice());
    let ready = PeerReady { id: peer.id, name, address: peer.address.to_string(), addresses };
    context.progress.summary(&text, ready);
    if args.scrub_now {
        tokio::select! {
            scrub = peer.scrub() => tell_scrub(context, scrub?),
            signal = ends.next() => {
                serving::stop_with(peer.stop(), &mut ends).await?;
                return Err(Failure::new(signal, "interrupted before everything was read"));
            }
        }
    }
    serving::until_asked_to_end(context, &mut ends).await;
    serving::stop_with(peer.stop(), &mut ends).await
}

fn tell_scrub(context: &Context, scrub: Scrub) {
    let read = format!("Read {} ({})", human::count(scrub.chunks, "chunk"), human::bytes(scrub.bytes));
    let text = match scrub.damaged {
        0 => format!("{read}: all are as they should be."),
        n => {
            format!("{read}: {} damaged and set aside; the swarm makes new copies.", human::count(n, "chunk"))
        }
    };
    let Scrub { chunks, bytes, damaged } = scrub;
    context.progress.summary(&text, ScrubSummary { chunks, bytes, damaged });
}

fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = printable(&name).chars().take(32).collect();
    if name.is_empty() { "peer".into() } else { name }
}
