//! `parcelry status`: shows the peers, space and health of the swarm.

use std::time::Duration;

use parcelry_core::api::{PeerInfo, SwarmHealth};
use parcelry_core::reach::Doubt;
use parcelry_core::registry::Liveness;

use super::answers::SwarmStatus;
use super::swarms;
use crate::cli::StatusArgs;
use crate::client::{TrackerClient, tracker_failure};
use crate::context::Context;
use crate::failure::Failure;
use crate::human;

/// Shows peers, space and health of a swarm.
pub(super) async fn run(context: &Context, args: StatusArgs) -> Result<(), Failure> {
    let swarm = swarms::chosen(context, args.swarm).await?;
    let tracker = TrackerClient::of_invite(context.http.clone(), &swarm);
    let list = tracker.peers().await.map_err(|error| tracker_failure(&error))?;
    if context.progress.is_json() {
        let tracker = swarm.tracker.to_string();
        context.progress.document(&SwarmStatus { tracker, peers: list.peers, health: list.health });
        return Ok(());
    }
    let alive = list.peers.iter().filter(|peer| peer.state == Liveness::Alive);
    let free: u64 = alive.clone().map(|peer| peer.usage.free_bytes).sum();
    let (count, free) = (human::count(alive.count() as u64, "peer"), human::bytes(free));
    context.progress.result(&format!("{}: {count} alive, {free} free", swarm.tracker));
    for line in health_lines(&list.health) {
        context.progress.result(&line);
    }
    for peer in &list.peers {
        context.progress.result(&peer_line(peer));
    }
    Ok(())
}

fn health_lines(health: &SwarmHealth) -> Vec<String> {
    let SwarmHealth { shares, weakened, endangered, unavailable, lost, copies, paused, complete, .. } =
        *health;
    // The worst first.
    let needs = [
        (lost, "lost: some chunk is on no known peer"),
        (unavailable, "not to be had now: some chunk is only on peers that are away"),
        (endangered, "endangered: one copy left of some chunk"),
        (weakened, "weakened: fewer copies than were asked for"),
    ];
    let shares = shares.map_or_else(|| "unknown shares".to_owned(), |count| human::count(count, "share"));
    let mut lines = match weakened + endangered + unavailable + lost {
        // That nothing is known to be short means something only when every share was looked at.
        0 if complete => vec![format!("  {shares}, all with as many copies as were asked for")],
        0 => vec![format!("  {shares}; the tracker is still looking at them")],
        _ => vec![format!("  {shares}, of which")],
    };
    let beside = [
        (health.misplaced, "not far enough apart: copies in other zones or on other machines are to come"),
        (health.unproven, "with copies that are to be proven yet"),
    ];
    let needy = needs.iter().chain(&beside).filter(|(count, _)| *count > 0);
    lines.extend(needy.map(|(count, what)| format!("    {count} {what}")));
    if copies > 0 {
        lines.push(format!("  {} under way", human::count(copies, "copy order")));
    }
    if paused {
        let why =
            "more than a third of what is held was lost at once, which looks like a failure of the network";
        lines.push(format!("  repair is paused: {why}; it goes on when it is back, or stays away for long"));
    }
    lines
}

fn peer_line(peer: &PeerInfo) -> String {
    let (used, free) = (human::bytes(peer.usage.used_bytes), human::bytes(peer.usage.free_bytes));
    let zone = peer.zone.as_ref().map(|zone| format!(" in {zone}")).unwrap_or_default();
    let silent = match peer.state {
        // One that is in doubt beats: how long it was silent would mislead.
        Liveness::Alive => String::new(),
        Liveness::Unreachable | Liveness::Cloned => doubt_words(peer.doubt.as_ref()),
        _ => format!(", silent for {}", human::duration(Duration::from_millis(peer.silent_ms))),
    };
    let draining = match peer.draining {
        Some(0) => ", empty of all that is needed: it may leave".into(),
        Some(needed) => format!(", being emptied: {} still on it", human::count(needed, "share")),
        None => String::new(),
    };
    let refuted = match peer.refuted_chunks {
        0 => String::new(),
        n => format!(", does not have {} that it said to hold", human::count(n, "chunk")),
    };
    let addresses: Vec<_> = peer.addresses.iter().map(ToString::to_string).collect();
    let addresses = addresses.join(", ");
    format!(
        "  {}{zone}: {}{silent}{draining}{refuted}, {used} used, {free} free, at {addresses}",
        peer.name,
        state_word(peer.state)
    )
}

/// Why a peer that beats does not count.
fn doubt_words(doubt: Option<&Doubt>) -> String {
    let Some(Doubt { why, for_ms, is_gone }) = doubt else { return String::new() };
    let time = human::duration(Duration::from_millis(*for_ms));
    let counts = if *is_gone { ": what it holds is copied to others" } else { "" };
    format!(" for {time} ({why}){counts}")
}

/// How `status` and `inspect` call the state of a peer.
pub(super) const fn state_word(state: Liveness) -> &'static str {
    match state {
        Liveness::Alive => "alive",
        Liveness::Suspect => "suspect",
        Liveness::Unreachable => "unreachable",
        Liveness::Cloned => "cloned",
        Liveness::Dead => "dead",
    }
}
