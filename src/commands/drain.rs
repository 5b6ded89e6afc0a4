//! `parcelry drain`: empties a peer before it leaves, or forgets a dead one, on the tracker's machine.

use std::path::Path;
use std::time::Duration;

use parcelry_core::api::PeerInfo;
use parcelry_core::id::PeerId;
use parcelry_core::registry::Liveness;

use super::answers::Drained;
use super::tracker;
use crate::cli::DrainArgs;
use crate::client::{ClientError, TrackerClient, tracker_failure};
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::human;
use crate::tracker::Admission;

/// Pause between looks at a peer that is being emptied.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Pages of shares that are looked at to find out how many copies are wanted.
const PAGES_MAX: usize = 100;

/// Has a peer emptied and waits until it may leave, or lets it fill again. One that is dead is taken off the list.
pub(super) async fn run(context: &Context, data: &Path, args: DrainArgs) -> Result<(), Failure> {
    let (peer, undo) = (args.peer.as_str(), args.undo);
    let admin = Admission::open_existing(&tracker::directory_here(data, args.data)).await?.admin()?;
    let tracker = TrackerClient::of_invite(context.http.clone(), &admin);
    let list = tracker.peers().await.map_err(|error| tracker_failure(&error))?;
    let is_meant = |known: &&PeerInfo| known.name == peer || known.id.to_string() == peer;
    let mut meant = list.peers.iter().filter(is_meant);
    // Of two with one name neither is meant: it could be the wrong one that is emptied.
    let (id, name, state) = match (meant.next(), meant.next()) {
        (Some(known), None) => (known.id, known.name.clone(), known.state),
        (None, _) => {
            return Err(Failure::new(Kind::NotFound, format!("there is no peer {peer}"))
                .next("`parcelry status` shows the peers; give a name or an id."));
        }
        _ => {
            let what = format!("there are several peers named {peer}");
            return Err(
                Failure::new(Kind::Usage, what).next("Give the id: `parcelry status --json` shows it.")
            );
        }
    };
    // Nothing can be copied from it, so there is nothing to wait for.
    if state == Liveness::Dead && !undo {
        tracker.forget(id).await.map_err(|error| tracker_failure(&error))?;
        let text =
            format!("{name} is dead and was taken off the list. What it held is copied from others anyway.");
        context.progress.summary(&text, Drained { id, name: &name, forgotten: true, draining: false });
        return Ok(());
    }
    tracker.drain(id, !undo).await.map_err(|error| tracker_failure(&error))?;
    if undo {
        let text = format!("{name} gets new shares again.");
        context.progress.summary(&text, Drained { id, name: &name, forgotten: false, draining: false });
        return Ok(());
    }
    context.progress.say(&format!("{name} gets nothing new, and what it holds is copied to other peers."));
    wait_until_empty(context, &tracker, id).await?;
    let text = format!("Nothing depends on {name} any more: it may leave.");
    context.progress.summary(&text, Drained { id, name: &name, forgotten: false, draining: true });
    Ok(())
}

/// Returns when no share needs any more what a peer holds, and says what is left, and what is in the way.
async fn wait_until_empty(context: &Context, tracker: &TrackerClient, id: PeerId) -> Result<(), Failure> {
    let (mut before, mut warned) = (None, None);
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let peers = tracker.peers().await.map_err(|error| tracker_failure(&error))?.peers;
        let needed = peers.iter().find(|known| known.id == id).and_then(|known| known.draining);
        let Some(needed) = needed.filter(|needed| *needed > 0) else { return Ok(()) };
        // As long as the number changes, nothing is in the way.
        if before != Some(needed) {
            let shares = human::count(needed, "share");
            context.progress.say(&format!("{shares} still on it. To stop waiting, interrupt: it goes on."));
            before = Some(needed);
            continue;
        }
        let takes_any =
            |peer: &&PeerInfo| peer.state == Liveness::Alive && peer.draining.is_none() && peer.id != id;
        let others = peers.iter().filter(takes_any).count() as u64;
        // Once for each number of peers: all shares are looked through for it.
        if warned != Some(others) {
            warned = Some(others);
            let wanted = most_replicas(tracker, id).await.map_err(|error| tracker_failure(&error))?;
            if others < wanted.into() {
                let others = human::count(others, "other peer");
                context.progress.warn(&format!(
                    "{wanted} copies of a share are wanted elsewhere, and {others} can take any: this does not end before more peers are started"
                ));
            }
        }
    }
}

/// The most copies that are wanted of a share that a peer holds.
async fn most_replicas(tracker: &TrackerClient, id: PeerId) -> Result<u8, ClientError> {
    let (mut most, mut after) = (0, None);
    for _ in 0..PAGES_MAX {
        let page = tracker.shares(after).await?;
        let held = page.shares.iter().filter(|share| share.peers.contains(&id));
        most = held.map(|share| share.replicas).fold(most, u8::max);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(most)
}
