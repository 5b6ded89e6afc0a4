//! `parcelry join`: remembers a swarm, so that other commands need no flags.

use parcelry_core::token::TokenRole;

use super::answers::SwarmNamed;
use super::pasted;
use crate::cli::JoinArgs;
use crate::client::{TrackerClient, tracker_failure};
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::known_swarms::KnownSwarms;

/// Remembers a swarm and uses it from now on, if somebody can share with the invite.
pub(super) async fn run(context: &Context, args: JoinArgs) -> Result<(), Failure> {
    let invite = pasted::invite(args.invite).await?;
    let tracker = TrackerClient::of_invite(context.http.clone(), &invite);
    // Asked before it is kept: an invite that is no good is not remembered, and replaces none.
    let list = tracker.peers().await.map_err(|error| tracker_failure(&error))?;
    if list.role == TokenRole::Peer {
        return Err(Failure::new(Kind::Usage, "this invite is for peers: nobody can share with it")
            .next("Run a peer with `parcelry peer --invite`, or ask the operator for a sender's invite."));
    }
    let swarms = KnownSwarms::new(&context.state);
    let name = swarms.join(&invite, args.name.as_deref())?;
    let text = format!("Joined the swarm of {}. Share with: parcelry share FILE", invite.tracker);
    context.progress.summary(&text, SwarmNamed { name, tracker: invite.tracker.to_string() });
    if let Some(other) = swarms.other_at_address(&invite) {
        context.progress.explain(&format!(
            "{other} is another swarm that was joined at this address. If its tracker was set up anew, forget it with: \
             parcelry swarms forget {other}"
        ));
    }
    let others: Vec<_> = swarms.list().into_iter().filter(|known| !known.is_in_use).collect();
    if let Some(other) = others.first() {
        let text = format!(
            "Other swarms are known here, too. Use one again with: parcelry swarms use {}",
            other.name
        );
        context.progress.explain(&text);
    }
    Ok(())
}
