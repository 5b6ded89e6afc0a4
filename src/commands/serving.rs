//! What the commands that serve have in common: how they begin, wait, and end.

use std::path::Path;

use parcelry_core::registry::Rules;

use super::answers::TrackerReady;
use crate::cli::LivenessArgs;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::task::EndRequests;
use crate::tracker::{FirstInvites, RunningTracker};

/// Tells that a tracker is ready, and how others come in: words on stderr, at the first start the invites
/// on stdout, the one for peers first.
pub(super) fn tell_ready(
    context: &Context,
    head: &[String],
    tracker: &RunningTracker,
    data: &Path,
    peers: u8,
) -> Result<(), Failure> {
    let progress = &context.progress;
    let expose = |FirstInvites { peer, sender }: &FirstInvites| (peer.expose_text(), sender.expose_text());
    let first = tracker.first.as_ref().map(expose);
    let (peer_invite, sender_invite) = first.clone().unzip();
    let (address, browsers_warn) = (tracker.address.to_string(), tracker.browsers_warn);
    let ready = TrackerReady { address, peers, browsers_warn, peer_invite, sender_invite };
    progress.summary(&head[0], ready);
    head[1..].iter().for_each(|line| progress.explain(line));
    progress.explain(if tracker.browsers_warn {
        "Browsers open links after a warning: the tracker's certificate is its own. See `parcelry tracker --certificate`."
    } else {
        "Browsers open links by the certificate that you gave."
    });
    let Some((peer, sender)) = first else {
        let data = data.display();
        let invite = format!("Invite another peer:          parcelry invite --role peer --data '{data}'");
        progress.explain(&invite);
        let invite = format!("Invite another sender:        parcelry invite --role sender --data '{data}'");
        progress.explain(&invite);
        return progress.check_written();
    };
    let add = match peers {
        0 => "Add a peer; two are needed",
        1 => "Add a peer; one more is needed",
        _ => "Add another peer",
    };
    progress.explain(&format!("{add}: parcelry peer --invite INVITE, with this one:"));
    progress.result(&peer);
    progress.explain("Join as a sender: parcelry join INVITE, with this one:");
    progress.result(&sender);
    progress.explain("More invites: parcelry invite --help");
    // They are shown once.
    progress.check_written().map_err(|failure| {
        let data = data.display();
        failure.next(format!(
            "Nobody has seen the first invites. Make others: parcelry invite --role peer --data '{data}'"
        ))
    })
}

/// Waits until somebody asks for the end, and says what follows.
pub(super) async fn until_asked_to_end(context: &Context, ends: &mut EndRequests) {
    ends.next().await;
    context.progress.say("Stopping: what is in flight is finished first. Ask again to stop at once.");
}

/// An orderly stop is what was asked for; a second request makes it an abrupt one.
pub(super) async fn stop_with(stop: impl Future<Output = ()>, ends: &mut EndRequests) -> Result<(), Failure> {
    tokio::select! {
        () = stop => Ok(()),
        signal = ends.next() => Err(Failure::new(signal, "stopped before everything was finished")),
    }
}

/// When silence of a peer means what, as the flags say.
pub(super) fn rules(args: &LivenessArgs) -> Result<Rules, Failure> {
    if args.heartbeat.is_zero() || args.dead_after <= args.heartbeat * 3 {
        let what = "a peer must have time for more than three heartbeats before it is taken for dead";
        return Err(
            Failure::new(Kind::Usage, what).next("Give a longer --dead-after or a shorter --heartbeat.")
        );
    }
    Ok(Rules { heartbeat: args.heartbeat, dead_after: args.dead_after })
}
