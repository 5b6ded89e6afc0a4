//! What the operator does beside a tracker: make invites, list and revoke the tokens behind them.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use swarmdrop_core::token::{Role, TokenId, TokenRecord};

use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::tracker::Gate;
use crate::words;

/// Makes an invite; it is the one line on stdout.
pub async fn invite(
    context: &Context,
    data: &Path,
    role: Role,
    name: &str,
    life: Option<Duration>,
) -> Result<(), Failure> {
    let invite = Gate::beside(data).await?.invite(role, name, life).await?.expose_text();
    let next = match role {
        Role::Peer => "swarmdrop peer --invite INVITE",
        _ => "swarmdrop join INVITE",
    };
    let text = format!("Whoever has it can use it, so send it privately. There: {next}");
    context.progress.summary(&text, json!({ "invite": invite, "role": role, "name": name }));
    context.progress.result(&invite);
    Ok(())
}

/// Lists the tokens of a tracker.
pub async fn list_tokens(context: &Context, data: &Path) -> Result<(), Failure> {
    let tokens = Gate::beside(data).await?.tokens().await?;
    let now_ms = clock::now_ms();
    if context.progress.is_json() {
        let entry = |token: &TokenRecord| {
            json!({ "id": token.id.to_string(), "role": token.role, "name": token.name,
                "created": clock::rfc3339(token.created_ms), "expires": token.expires_ms.map(clock::rfc3339),
                "revoked": token.revoked, "active": token.is_active(now_ms) })
        };
        context.progress.document(&json!({ "tokens": tokens.iter().map(entry).collect::<Vec<_>>() }));
        return Ok(());
    }
    for token in &tokens {
        let (id, role, name) = (token.id, token.role.to_string(), &token.name);
        context.progress.result(&format!("{id}  {role:6}  {:18}  {name}", state(token, now_ms)));
    }
    Ok(())
}

/// Revokes a token.
pub async fn revoke_token(context: &Context, data: &Path, id: TokenId) -> Result<(), Failure> {
    if !Gate::beside(data).await?.revoke(id).await? {
        return Err(Failure::new(Kind::NotFound, format!("there is no token {id}"))
            .next("`swarmdrop tokens ls` shows those that there are."));
    }
    let text =
        format!("Revoked {id}: it admits nobody any more, and the peers that it admitted are shut out.");
    context.progress.summary(&text, json!({ "id": id.to_string(), "revoked": true }));
    Ok(())
}

fn state(token: &TokenRecord, now_ms: u64) -> String {
    match token.expires_ms {
        _ if token.revoked => "revoked".into(),
        Some(end) if end <= now_ms => "over".into(),
        Some(end) => format!("good for {}", words::until(end, now_ms)),
        None => "good".into(),
    }
}
