//! `parcelry swarms`: lists the swarms that this user knows, chooses one, forgets one.

use parcelry_core::link::Invite;

use super::answers::{SwarmEntry, SwarmList, SwarmNamed};
use super::pasted;
use crate::cli::{SwarmArgs, SwarmsAction, SwarmsArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::known_swarms::{KnownSwarm, KnownSwarms};

/// Does what was asked for; lists them if that is nothing.
pub(super) fn run(context: &Context, args: SwarmsArgs) -> Result<(), Failure> {
    match args.action.unwrap_or(SwarmsAction::Ls) {
        SwarmsAction::Ls => list(context),
        SwarmsAction::Use { name } => choose(context, &name)?,
        SwarmsAction::Forget { name } => forget(context, Some(&name))?,
    }
    Ok(())
}

/// The swarm that a command speaks to, by its flags.
pub(super) async fn chosen(context: &Context, args: SwarmArgs) -> Result<Invite, Failure> {
    let SwarmArgs { invite, swarm } = args;
    let invite = match invite {
        Some(text) => Some(pasted::invite(Some(text)).await?),
        None => None,
    };
    KnownSwarms::new(&context.state).choose(swarm.as_deref(), invite)
}

/// Lists the swarms that are known here.
fn list(context: &Context) {
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
fn choose(context: &Context, name: &str) -> Result<(), Failure> {
    let known = KnownSwarms::new(&context.state).choose_for_good(name)?;
    tell(context, "is used from now on", known);
    Ok(())
}

/// Forgets a swarm that was joined, else the one in use.
pub(super) fn forget(context: &Context, name: Option<&str>) -> Result<(), Failure> {
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
