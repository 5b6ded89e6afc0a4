//! `parcelry invite`: makes an invite for a new peer or sender, on the tracker's machine.

use std::path::Path;

use parcelry_core::duration::millis;
use parcelry_core::quota::Allowance;
use parcelry_core::token::TokenRole;

use super::answers::Invited;
use super::tracker;
use crate::cli::{InviteArgs, InviteRole};
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::tracker::{Admission, check_allowance};

/// Makes an invite; it is the one line on stdout.
pub(super) async fn run(context: &Context, data: &Path, args: InviteArgs) -> Result<(), Failure> {
    let role = match args.role {
        InviteRole::Peer => TokenRole::Peer,
        InviteRole::Sender => TokenRole::Sender,
    };
    let allowance = Allowance {
        quota_bytes: args.quota.map(|size| size.as_u64()),
        share_bytes_max: args.share_max.map(|size| size.as_u64()),
        life_ms_max: args.expires_max.map(millis),
        replicas_max: args.replicas_max,
        peers_max: args.count,
        zone: args.zone,
    };
    let (name, data) = (args.name.as_str(), tracker::directory_here(data, args.data));
    check_allowance(role, &allowance).map_err(|what| Failure::new(Kind::Usage, what))?;
    // Never a new directory: an invite of a tracker that does not run there would admit nobody.
    let invite = Admission::open_existing(&data)
        .await?
        .invite(role, name, args.expires, allowance)
        .await?
        .expose_text();
    let next = match role {
        TokenRole::Peer => "parcelry peer --invite INVITE",
        _ => "parcelry join INVITE",
    };
    let text = format!("Whoever has it can use it, so send it privately. There: {next}");
    context.progress.summary(&text, Invited { invite: invite.clone(), role, name });
    context.progress.result(&invite);
    Ok(())
}
