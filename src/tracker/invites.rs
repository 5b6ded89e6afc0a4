//! Makes, lists and revokes invites, in the tracker itself and in commands that run beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parcelry_core::api::ProblemKind;
use parcelry_core::dashboard::{InviteInfo, InviteList, InviteRequest, InviteResponse, LogKind};
use parcelry_core::id::{Secret, TrackerId};
use parcelry_core::limits::{PEER_NAME_BYTES_MAX, PEERS_PER_INVITE_MAX, REPLICAS_MAX, TOKEN_NAME_BYTES_MAX};
use parcelry_core::link::{Invite, TrackerUrl};
use parcelry_core::name::printable;
use parcelry_core::quota::Allowance;
use parcelry_core::token::{TokenId, TokenRecord, TokenRole};

use super::store::StoreError;
use super::tokens::Tokens;
use super::{Tracker, restored};
use crate::clock;
use crate::disk::durable;
use crate::failure::{Failure, Kind};
use crate::identity::{Identity, random_secret};
use crate::server::Refusal;

/// Holds the admin's token, for the operator to read.
const ADMIN_FILE: &str = "admin.token";
/// Holds the address that goes into invites, for commands that run beside the tracker.
const URL_FILE: &str = "url";
/// How long an invite for a peer is good, unless its maker says otherwise; peers that joined stay.
const PEER_INVITE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Admission to a swarm: whoever has the tracker's data directory decides who comes in.
#[derive(Debug)]
pub struct Admission {
    pub(super) tokens: Tokens,
    tracker: TrackerUrl,
    tracker_id: TrackerId,
    data: PathBuf,
}

/// The invites that a tracker makes at its first start.
#[derive(Debug, Clone)]
pub struct FirstInvites {
    /// For peers.
    pub peer: Invite,
    /// For senders.
    pub sender: Invite,
}

impl Admission {
    /// Opens the admission of a tracker that starts.
    pub(super) async fn open(data: &Path, identity: &Identity, url: &TrackerUrl) -> Result<Self, Failure> {
        let path = data.join(URL_FILE);
        durable::persist(&path, format!("{url}\n").as_bytes())
            .map_err(|error| Failure::io("write", &path, &error))?;
        let tokens = Tokens::open(data).await?;
        let is_copy = restored::is_copy(data, &Tokens::file(data))?;
        // A tracker that never ran has no tokens yet.
        if is_copy && !tokens.list().await?.is_empty() {
            tracing::warn!(
                "this folder is a copy of the one in which the tracker last ran: invites that were revoked since the \
                 copy was made are good again. Revoke them again: parcelry tokens revoke ID…"
            );
        }
        Ok(Self { tokens, tracker: url.clone(), tracker_id: identity.tracker_id(), data: data.to_owned() })
    }

    /// Opens the admission of the tracker that lives in a data directory, whether it runs or not.
    pub async fn open_existing(data: &Path) -> Result<Self, Failure> {
        let none = || {
            Failure::new(Kind::Usage, format!("{} is not the data folder of a tracker", data.display()))
                .next("Run this on the tracker's machine, as its user; say where its folder is with --data.")
        };
        let identity = Identity::read(data)?.ok_or_else(none)?;
        let url = fs::read_to_string(data.join(URL_FILE)).map_err(|_| none())?;
        let tracker = url.trim().parse().map_err(|_| none())?;
        let tokens = Tokens::open(data).await?;
        Ok(Self { tokens, tracker, tracker_id: identity.tracker_id(), data: data.to_owned() })
    }

    /// Makes an invite. Without a time, one for a peer admits new peers for seven days, and one for a sender
    /// lasts until it is revoked.
    pub async fn invite(
        &self,
        role: TokenRole,
        name: &str,
        life: Option<Duration>,
        allowance: Allowance,
    ) -> Result<Invite, Failure> {
        self.invite_until(role, name, life.map(clock::ms_from_now), allowance).await
    }

    async fn invite_until(
        &self,
        role: TokenRole,
        name: &str,
        expires_ms: Option<u64>,
        allowance: Allowance,
    ) -> Result<Invite, Failure> {
        let usual = || (role == TokenRole::Peer).then(|| clock::ms_from_now(PEER_INVITE));
        let token = self.tokens.issue(role, name, expires_ms.or_else(usual), allowance).await?;
        Ok(Invite { tracker: self.tracker.clone(), tracker_id: self.tracker_id, token })
    }

    /// What the admin asks the tracker with.
    pub fn admin(&self) -> Result<Invite, Failure> {
        let path = self.data.join(ADMIN_FILE);
        let text = fs::read_to_string(&path).map_err(|error| Failure::io("read", &path, &error))?;
        let damaged = |_| Failure::new(Kind::Other, format!("{} is damaged", path.display()));
        let token = Secret::parse(text.trim()).map_err(damaged)?;
        Ok(Invite { tracker: self.tracker.clone(), tracker_id: self.tracker_id, token })
    }

    /// Makes an invite in the place of those of this name, which end: for what runs in one process with the
    /// tracker and needs a new one at each start.
    pub async fn renew(&self, role: TokenRole, name: &str, allowance: Allowance) -> Result<Invite, Failure> {
        for old in self.tokens.list().await?.iter().filter(|old| old.name == name && old.role == role) {
            self.tokens.revoke(old.id).await?;
        }
        self.tokens.forget_revoked(name).await?;
        self.invite(role, name, None, allowance).await
    }

    /// All tokens, the oldest first, each with how many peers it has ever admitted.
    pub async fn tokens(&self) -> Result<Vec<(TokenRecord, u64)>, Failure> {
        Ok(self.with_admissions().await?)
    }

    async fn with_admissions(&self) -> Result<Vec<(TokenRecord, u64)>, StoreError> {
        let (list, admissions) = (self.tokens.list().await?, self.tokens.admissions().await?);
        let count = |token: &TokenRecord| admissions.get(&token.id).copied().unwrap_or(0);
        Ok(list.into_iter().map(|token| (token.clone(), count(&token))).collect())
    }

    /// Revokes a token. Returns whether there is one.
    pub async fn revoke(&self, id: TokenId) -> Result<bool, Failure> {
        Ok(self.tokens.revoke(id).await?)
    }

    /// Makes the admin's token and the first invites, if this is the tracker's first start.
    pub(super) async fn first_invites(&self) -> Result<Option<FirstInvites>, Failure> {
        let path = self.data.join(ADMIN_FILE);
        let (admin, is_first) = match fs::read_to_string(&path) {
            Ok(text) => {
                let damaged = |_| Failure::new(Kind::Other, format!("{} is damaged", path.display()));
                (Secret::parse(text.trim()).map_err(damaged)?, false)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let admin = random_secret()?;
                durable::persist(&path, format!("{}\n", admin.expose_text()).as_bytes())
                    .map_err(|error| Failure::io("write", &path, &error))?;
                (admin, true)
            }
            Err(error) => return Err(Failure::io("read", &path, &error)),
        };
        // At every start: one that ended between the file and this has left the token out.
        let record = TokenRecord::new(&admin, TokenRole::Admin, "admin".into(), clock::now_ms(), None);
        self.tokens.put(&record).await?;
        if !is_first {
            return Ok(None);
        }
        let peer = self.invite(TokenRole::Peer, "first peers", None, Allowance::default()).await?;
        let sender = self.invite(TokenRole::Sender, "first sender", None, Allowance::default()).await?;
        Ok(Some(FirstInvites { peer, sender }))
    }
}

impl Tracker {
    /// All invites, for the operator's page.
    pub(super) async fn list_invites(&self) -> Result<InviteList, Refusal> {
        let tokens = self.admission.with_admissions().await?;
        let mut invites = Vec::with_capacity(tokens.len());
        for (token, peers) in tokens {
            let used = self.used(token.id).await?;
            invites.push(InviteInfo::of(token, peers, used));
        }
        Ok(InviteList { invites })
    }

    /// Makes an invite for the operator's page.
    pub(super) async fn make_invite(&self, request: InviteRequest) -> Result<InviteResponse, Refusal> {
        let InviteRequest { role, name, expires_ms, allowance } = request;
        let bad = |what: &str| Err(Refusal::new(ProblemKind::BadRequest, what));
        if role == TokenRole::Admin {
            return bad("an invite is for a peer or a sender");
        }
        if name.is_empty() || name.len() > TOKEN_NAME_BYTES_MAX || printable(&name) != name {
            return bad("a name has 1 to 64 bytes and no control characters");
        }
        if expires_ms.is_some_and(|expires_ms| expires_ms <= clock::now_ms()) {
            return bad("the invite would be over already");
        }
        check_allowance(role, &allowance).map_err(|what| Refusal::new(ProblemKind::BadRequest, what))?;
        let invite = self.admission.invite_until(role, &name, expires_ms, allowance).await;
        let invite = invite.map_err(|failure| Refusal::internal(&failure.what))?.expose_text();
        tracing::info!(%role, name, "invite made");
        self.dashboard.note(LogKind::InviteMade, |entry| entry.detail = Some(name));
        Ok(InviteResponse { invite })
    }

    /// Revokes an invite for the operator's page. The admin's own token is revoked at the tracker's machine only:
    /// whoever got at it must not lock the operator out.
    pub(super) async fn revoke_invite(&self, id: TokenId) -> Result<(), Refusal> {
        let tokens = &self.admission.tokens;
        let record = tokens.record(id).await?;
        let Some(record) = record else {
            return Err(Refusal::new(ProblemKind::NoRoute, "there is no invite with this id"));
        };
        if record.role == TokenRole::Admin {
            let what = "the admin's own token is revoked on the tracker's machine only";
            return Err(Refusal::new(ProblemKind::Conflict, what));
        }
        tokens.revoke(id).await?;
        tracing::info!(%id, name = record.name, "invite revoked");
        self.dashboard.note(LogKind::InviteRevoked, |entry| entry.detail = Some(record.name));
        Ok(())
    }
}

/// Checks that an invite for this role can allow that. The error says why not.
pub fn check_allowance(role: TokenRole, allowance: &Allowance) -> Result<(), &'static str> {
    let Allowance { quota_bytes, share_bytes_max, life_ms_max, replicas_max, peers_max, zone } = allowance;
    let for_senders = quota_bytes.or(*share_bytes_max).or(*life_ms_max).or(replicas_max.map(u64::from));
    if role == TokenRole::Peer && for_senders.is_some() {
        return Err("a quota, and bounds for shares, belong to an invite for a sender");
    }
    if role != TokenRole::Peer && (peers_max.is_some() || zone.is_some()) {
        return Err("a count and a zone belong to an invite for peers");
    }
    if replicas_max.is_some_and(|max| !(1..=REPLICAS_MAX).contains(&max)) {
        return Err("replicas are 1 to 16");
    }
    if peers_max.is_some_and(|max| !(1..=PEERS_PER_INVITE_MAX).contains(&max)) {
        return Err("an invite admits 1 to 1000 peers");
    }
    let is_sound =
        |zone: &String| !zone.is_empty() && zone.len() <= PEER_NAME_BYTES_MAX && printable(zone) == *zone;
    if zone.as_ref().is_some_and(|zone| !is_sound(zone)) {
        return Err("a zone has 1 to 64 bytes and no control characters");
    }
    Ok(())
}
