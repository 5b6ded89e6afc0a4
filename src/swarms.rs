//! `join`, `leave` and `swarms`: which swarms this user knows, and which one is used.

use parcelry_core::link::Invite;
use parcelry_core::token::Role;

use crate::answers::{SwarmEntry, SwarmList, SwarmNamed};
use crate::client::TrackerClient;
use crate::context::{Context, tracker_failure};
use crate::failure::{Failure, Kind};
use crate::known_swarms::{KnownSwarm, KnownSwarms};

/// Remembers a swarm and uses it from now on, if somebody can share with the invite.
pub async fn join(context: &Context, invite: &Invite, name: Option<&str>) -> Result<(), Failure> {
    let tracker = TrackerClient::of_invite(context.http.clone(), invite);
    // Asked before it is kept: an invite that is no good is not remembered, and replaces none.
    let list = tracker.peers().await.map_err(|error| tracker_failure(&error))?;
    if list.role == Role::Peer {
        return Err(Failure::new(Kind::Usage, "this invite is for peers: nobody can share with it")
            .next("Run a peer with `parcelry peer --invite`, or ask the operator for a sender's invite."));
    }
    let swarms = KnownSwarms::new(&context.state);
    let name = swarms.join(invite, name)?;
    let text = format!("Joined the swarm of {}. Share with: parcelry share FILE", invite.tracker);
    context.progress.summary(&text, SwarmNamed { name, tracker: invite.tracker.to_string() });
    if let Some(other) = swarms.other_at_address(invite) {
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

/// Lists the swarms that are known here.
pub fn list(context: &Context) {
    let known = KnownSwarms::new(&context.state).list();
    if context.progress.is_json() {
        let entry = |KnownSwarm { name, invite, is_up, is_in_use }: KnownSwarm| SwarmEntry {
            name,
            tracker: invite.tracker.to_string(),
            is_up,
            is_in_use,
        };
        context.progress.document(&SwarmList { swarms: known.into_iter().map(entry).collect() });
        return;
    }
    if known.is_empty() {
        context.progress.say("No swarm is known here. Join one with `parcelry join INVITE`.");
    }
    for KnownSwarm { name, invite, is_up, is_in_use } in known {
        let mark = if is_in_use { '*' } else { ' ' };
        let how = if is_up { "runs here" } else { "joined" };
        context.progress.result(&format!("{mark} {name}  {}  {how}", invite.tracker));
    }
}

/// Uses a swarm from now on.
pub fn choose(context: &Context, name: &str) -> Result<(), Failure> {
    let known = KnownSwarms::new(&context.state).choose_for_good(name)?;
    tell(context, "is used from now on", known);
    Ok(())
}

/// Forgets a swarm that was joined, else the one in use.
pub fn forget(context: &Context, name: Option<&str>) -> Result<(), Failure> {
    let swarms = KnownSwarms::new(&context.state);
    let known = swarms.forget(name)?;
    tell(context, "is forgotten here", known);
    if let Some(next) = swarms.list().into_iter().find(|known| known.is_in_use) {
        context.progress.explain(&format!("Commands use {} now.", next.name));
    }
    Ok(())
}

fn tell(context: &Context, what: &str, KnownSwarm { name, invite, .. }: KnownSwarm) {
    let tracker = invite.tracker.to_string();
    context.progress.summary(&format!("{name} ({tracker}) {what}."), SwarmNamed { name, tracker });
}
