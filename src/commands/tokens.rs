//! What the operator does beside a tracker: make invites, list and revoke the tokens behind them, empty peers.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use parcelry_core::api::PeerInfo;
use parcelry_core::id::PeerId;
use parcelry_core::quota::{Allowance, Charged};
use parcelry_core::registry::Liveness;
use parcelry_core::token::{Role, TokenId, TokenRecord};

use crate::answers::{Drained, Invited, Revoked, TokenEntry, TokenList};
use crate::client::{ClientError, TrackerClient};
use crate::clock;
use crate::context::{Context, tracker_failure};
use crate::failure::{Failure, Kind};
use crate::human;
use crate::tracker::{Gate, check_allowance};

/// Pause between looks at a peer that is being emptied.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Pages of shares that are looked at to find out how many copies are wanted.
const PAGES_MAX: usize = 100;

/// Makes an invite; it is the one line on stdout.
pub async fn invite(
    context: &Context,
    data: &Path,
    role: Role,
    name: &str,
    life: Option<Duration>,
    allowance: Allowance,
) -> Result<(), Failure> {
    check_allowance(role, &allowance).map_err(|what| Failure::new(Kind::Usage, what))?;
    let invite = Gate::beside(data).await?.invite(role, name, life, allowance).await?.expose_text();
    let next = match role {
        Role::Peer => "parcelry peer --invite INVITE",
        _ => "parcelry join INVITE",
    };
    let text = format!("Whoever has it can use it, so send it privately. There: {next}");
    context.progress.summary(&text, Invited { invite: invite.clone(), role, name });
    context.progress.result(&invite);
    Ok(())
}

/// Lists the tokens of a tracker, or the ids of those that were revoked.
pub async fn list_tokens(context: &Context, data: &Path, only_revoked: bool) -> Result<(), Failure> {
    let gate = Gate::beside(data).await?;
    let mut tokens = gate.tokens().await?;
    tokens.retain(|(token, _)| token.revoked || !only_revoked);
    let now_ms = clock::now_ms();
    let used = if only_revoked { HashMap::new() } else { used(context, &gate).await };
    let used_of = |token: &TokenRecord| used.get(&token.id.to_string());
    if context.progress.is_json() {
        let entries = tokens.iter().map(|(token, peers)| token_entry(token, *peers, used_of(token), now_ms));
        context.progress.document(&TokenList { tokens: entries.collect() });
        return Ok(());
    }
    for (token, peers) in &tokens {
        if only_revoked {
            context.progress.result(&token.id.to_string());
            continue;
        }
        let (id, role, name) = (token.id, token.role.to_string(), &token.name);
        let allows = allows(token, *peers, used_of(token));
        let allows = if allows.is_empty() { allows } else { format!("  ({allows})") };
        context.progress.result(&format!("{id}  {role:6}  {:18}  {name}{allows}", state(token, now_ms)));
    }
    Ok(())
}

fn token_entry<'a>(
    token: &'a TokenRecord,
    peers: u64,
    used: Option<&'a Charged>,
    now_ms: u64,
) -> TokenEntry<'a> {
    TokenEntry {
        id: token.id.to_string(),
        role: token.role,
        name: &token.name,
        created: clock::rfc3339(token.created_ms),
        expires: token.expires_ms.map(clock::rfc3339),
        revoked: token.revoked,
        active: token.is_active(now_ms),
        allowance: &token.allowance,
        used,
        peers,
    }
}

/// What is used of each token, as the tracker knows it that runs; nothing if none does.
async fn used(context: &Context, gate: &Gate) -> HashMap<String, Charged> {
    let Ok(admin) = gate.admin() else { return HashMap::new() };
    let tracker = TrackerClient::of_invite(context.http.clone(), &admin);
    match tracker.invites().await {
        Ok(list) => list.invites.into_iter().map(|invite| (invite.id, invite.used)).collect(),
        Err(error) => {
            context.progress.explain(&format!("What is used of them only the tracker knows: {error}"));
            HashMap::new()
        }
    }
}

/// What a token allows, and what is used of it, in words.
fn allows(token: &TokenRecord, peers: u64, used: Option<&Charged>) -> String {
    let allowance = &token.allowance;
    let some = |of: fn(&Charged) -> u64| used.map(of).filter(|&number| number > 0);
    let in_all = match (allowance.quota_bytes.map(human::bytes), used.map(|used| human::bytes(used.bytes))) {
        (Some(quota), Some(used)) => Some(format!("{used} of {quota} in all")),
        (Some(quota), None) => Some(format!("{quota} in all")),
        (None, _) => some(|used| used.bytes).map(|used| human::bytes(used) + " in all"),
    };
    let admits = || format!("{peers} of {}", human::count(allowance.peers_max().into(), "peer"));
    let parts = [
        (token.role == Role::Peer).then(admits),
        allowance.zone.as_ref().map(|zone| format!("zone {zone}")),
        in_all,
        some(|used| used.shares).map(|shares| human::count(shares, "share")),
        some(|used| used.uploads).map(|uploads| human::count(uploads, "upload") + " under way"),
        allowance.share_bytes_max.map(|bytes| format!("{} a share", human::bytes(bytes))),
        allowance.life_ms_max.map(|ms| format!("for {}", human::duration(Duration::from_millis(ms)))),
        allowance.replicas_max.map(|max| format!("{max} × at most")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Revokes tokens. One that is not there holds up no other.
pub async fn revoke_tokens(context: &Context, data: &Path, ids: &[TokenId]) -> Result<(), Failure> {
    let gate = Gate::beside(data).await?;
    let (mut revoked, mut unknown) = (Vec::new(), Vec::new());
    for &id in ids {
        let of_its_kind = if gate.revoke(id).await? { &mut revoked } else { &mut unknown };
        of_its_kind.push(id.to_string());
    }
    if !revoked.is_empty() {
        let text = format!(
            "Revoked {}: nobody is admitted by it any more, and peers that were are shut out.",
            revoked.join(", ")
        );
        context.progress.summary(&text, Revoked { revoked: &revoked });
        context.progress.explain(
            "A copy of the tracker's folder that was made before does not know of it: if you restore one, revoke again.",
        );
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let kind = if revoked.is_empty() { Kind::NotFound } else { Kind::Partial };
    Err(Failure::new(kind, format!("there is no token {}", unknown.join(", ")))
        .next("`parcelry tokens ls` shows those that there are."))
}

/// Has a peer emptied and waits until it may leave, or lets it fill again. One that is dead is taken off the list.
pub async fn drain(context: &Context, data: &Path, peer: &str, undo: bool) -> Result<(), Failure> {
    let admin = Gate::beside(data).await?.admin()?;
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

fn state(token: &TokenRecord, now_ms: u64) -> String {
    match token.expires_ms {
        _ if token.revoked => "revoked".into(),
        Some(end) if end <= now_ms => "over".into(),
        Some(end) => format!("good for {}", human::until(end, now_ms)),
        None => "good".into(),
    }
}
