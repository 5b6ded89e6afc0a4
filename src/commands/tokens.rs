//! `parcelry tokens`: lists or revokes the tokens behind invites, on the tracker's machine.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use parcelry_core::quota::Charged;
use parcelry_core::token::{TokenId, TokenRecord, TokenRole};

use super::answers::{Revoked, TokenEntry, TokenList};
use super::tracker;
use crate::cli::{TokensAction, TokensArgs};
use crate::client::TrackerClient;
use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::human;
use crate::tracker::Admission;

/// Does what was asked for.
pub(super) async fn run(context: &Context, data: &Path, args: TokensArgs) -> Result<(), Failure> {
    match args.action {
        TokensAction::Ls { revoked, data: named } => {
            list(context, &tracker::directory_here(data, named), revoked).await
        }
        TokensAction::Revoke { ids, data: named } => {
            revoke(context, &tracker::directory_here(data, named), &ids).await
        }
    }
}

/// Lists the tokens of a tracker, or the ids of those that were revoked.
async fn list(context: &Context, data: &Path, only_revoked: bool) -> Result<(), Failure> {
    let admission = Admission::open_existing(data).await?;
    let mut tokens = admission.tokens().await?;
    tokens.retain(|(token, _)| token.revoked || !only_revoked);
    let now_ms = clock::now_ms();
    let used = if only_revoked { HashMap::new() } else { used(context, &admission).await };
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
async fn used(context: &Context, admission: &Admission) -> HashMap<String, Charged> {
    let Ok(admin) = admission.admin() else { return HashMap::new() };
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
        (token.role == TokenRole::Peer).then(admits),
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
async fn revoke(context: &Context, data: &Path, ids: &[TokenId]) -> Result<(), Failure> {
    let admission = Admission::open_existing(data).await?;
    let (mut revoked, mut unknown) = (Vec::new(), Vec::new());
    for &id in ids {
        let of_its_kind = if admission.revoke(id).await? { &mut revoked } else { &mut unknown };
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

fn state(token: &TokenRecord, now_ms: u64) -> String {
    match token.expires_ms {
        _ if token.revoked => "revoked".into(),
        Some(end) if end <= now_ms => "over".into(),
        Some(end) => format!("good for {}", human::until(end, now_ms)),
        None => "good".into(),
    }
}
