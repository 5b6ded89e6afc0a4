//! Who may ask the tracker for what. Each kind of caller is an extractor: a handler that takes one runs, and
//! its body is read, only for such a caller.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use parcelry_core::api::ProblemKind;
use parcelry_core::grant::{Grant, GrantError, Operation, Use};
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::owner::Act;
use parcelry_core::token::{TokenId, TokenRecord, TokenRole};

use super::Tracker;
use super::sessions::{Session, SessionId, is_own};
use super::store::StoreError;
use crate::clock;
use crate::server::{ChargedTo, Client, Credential, Id, OwnersWord, Refusal, denied};

/// Somebody with a token of this role, whichever it is, or the admin who has signed in.
pub(super) struct Admitted(pub(super) TokenRole);

/// Somebody with a sender's token, or the admin: what is known of the token.
pub(super) struct Sender(pub(super) TokenRecord);

/// Somebody with a sender's token, or the admin, or somebody who shows none. A token that is no good is refused: who shows
/// one is to hear that.
pub(super) struct AnySender(pub(super) Option<TokenRecord>);

/// The admin, by the token, or by the two secrets of who has signed in with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admin {
    token: TokenId,
    session: Option<SessionId>,
}

/// Who has signed in, by the cookie and the page's secret.
pub(super) struct SignedIn(pub(super) SessionId);

/// Who may see figures: the admin, or somebody on this machine.
pub(super) struct Observer;

/// The peer that the path names, proved by its certificate, as long as its token is not revoked.
pub(super) struct Member(pub(super) PeerId);

/// The peer that the path names, or the admin.
pub(super) struct MemberOrAdmin(pub(super) PeerId);

/// A peer that registers: proved by its certificate, and admitted by a token now or before.
pub(super) struct Joiner {
    pub(super) peer: PeerId,
    pub(super) token: Option<TokenRecord>,
}

/// The owner of the share that the path names, with a grant for it, who wants it published here.
pub(super) struct Publisher(pub(super) Granted);

/// The owner of the share that the path names, with a grant for it, who wants this tracker to act in his place.
pub(super) struct Delegator {
    pub(super) granted: Granted,
    pub(super) delegation: String,
}

/// A sender with a grant for the share that the path names.
pub(super) struct Granted {
    pub(super) share: ShareId,
    pub(super) grant: Grant,
    /// The grant as it was shown.
    pub(super) credential: String,
}

impl Tracker {
    async fn token(&self, parts: &mut Parts, roles: &[TokenRole]) -> Result<TokenRecord, Refusal> {
        let token = Credential::from_request_parts(parts, &()).await?.secret()?;
        let record = self.admission.tokens.active(&token).await?;
        record.filter(|record| roles.contains(&record.role)).ok_or_else(denied)
    }

    async fn is_member(&self, peer: PeerId) -> Result<bool, Refusal> {
        self.admission.tokens.is_member(peer).await.map_err(Refusal::from)
    }

    /// The session of a request that shows its secrets, if it may do what the request is to do.
    async fn session(&self, parts: &Parts) -> Result<Session, Refusal> {
        let session = self.sessions.of_request(&parts.headers).ok_or_else(denied)?;
        let admin = Admin { token: session.token, session: Some(session.id) };
        if is_own(&parts.method, &parts.headers) && self.is_still(admin).await? {
            Ok(session)
        } else {
            Err(denied())
        }
    }

    /// Whether who was the admin still is: neither signed out, nor is the token revoked.
    pub(super) async fn is_still(&self, admin: Admin) -> Result<bool, StoreError> {
        if admin.session.is_some_and(|session| self.sessions.find(session).is_none()) {
            return Ok(false);
        }
        let record = self.admission.tokens.record(admin.token).await?;
        Ok(record.is_some_and(|record| record.role == TokenRole::Admin && record.is_active(clock::now_ms())))
    }
}

fn certified(parts: &Parts) -> Option<PeerId> {
    parts.extensions.get::<Client>().and_then(|client| client.peer)
}

impl FromRequestParts<Arc<Tracker>> for Admitted {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        if !parts.headers.contains_key(AUTHORIZATION) {
            return tracker.session(parts).await.map(|_| Self(TokenRole::Admin));
        }
        let token = tracker.token(parts, &[TokenRole::Admin, TokenRole::Peer, TokenRole::Sender]).await?;
        Ok(Self(token.role))
    }
}

impl FromRequestParts<Arc<Tracker>> for Sender {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        tracker.token(parts, &[TokenRole::Admin, TokenRole::Sender]).await.map(Self)
    }
}

impl FromRequestParts<Arc<Tracker>> for AnySender {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        if !parts.headers.contains_key(AUTHORIZATION) {
            return Ok(Self(None));
        }
        Sender::from_request_parts(parts, tracker).await.map(|Sender(token)| Self(Some(token)))
    }
}

impl FromRequestParts<Arc<Tracker>> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        if !parts.headers.contains_key(AUTHORIZATION) {
            let session = tracker.session(parts).await?;
            return Ok(Self { token: session.token, session: Some(session.id) });
        }
        let token = tracker.token(parts, &[TokenRole::Admin]).await?;
        Ok(Self { token: token.id, session: None })
    }
}

impl FromRequestParts<Arc<Tracker>> for SignedIn {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        tracker.session(parts).await.map(|session| Self(session.id))
    }
}

impl FromRequestParts<Arc<Tracker>> for Observer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        if parts.extensions.get::<Client>().is_some_and(|client| client.is_local) {
            return Ok(Self);
        }
        Admin::from_request_parts(parts, tracker).await.map(|_| Self)
    }
}

impl FromRequestParts<Arc<Tracker>> for Member {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        let Id(peer) = Id::<PeerId>::from_request_parts(parts, tracker).await?;
        let proved = certified(parts) == Some(peer) && tracker.is_member(peer).await?;
        if proved { Ok(Self(peer)) } else { Err(denied()) }
    }
}

impl FromRequestParts<Arc<Tracker>> for MemberOrAdmin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        if let Ok(Member(peer)) = Member::from_request_parts(parts, tracker).await {
            return Ok(Self(peer));
        }
        Admin::from_request_parts(parts, tracker).await?;
        let Id(peer) = Id::<PeerId>::from_request_parts(parts, tracker).await?;
        Ok(Self(peer))
    }
}

impl FromRequestParts<Arc<Tracker>> for Joiner {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        let peer = certified(parts).ok_or_else(denied)?;
        match tracker.token(parts, &[TokenRole::Peer]).await {
            Ok(token) => Ok(Self { peer, token: Some(token) }),
            Err(_) if tracker.is_member(peer).await? => Ok(Self { peer, token: None }),
            Err(refusal) => Err(refusal),
        }
    }
}

impl FromRequestParts<Arc<Tracker>> for Publisher {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        let granted = Granted::from_request_parts(parts, tracker).await?;
        let word = OwnersWord::from_request_parts(parts, &()).await?;
        word.check(granted.share, Act::Publish, tracker.id, tracker.id)?;
        Ok(Self(granted))
    }
}

impl FromRequestParts<Arc<Tracker>> for Delegator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        let granted = Granted::from_request_parts(parts, tracker).await?;
        let word = OwnersWord::from_request_parts(parts, &()).await?;
        word.check(granted.share, Act::Delegate, tracker.id, tracker.id)?;
        Ok(Self { granted, delegation: word.into_token() })
    }
}

impl FromRequestParts<Arc<Tracker>> for Granted {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tracker: &Arc<Tracker>) -> Result<Self, Refusal> {
        let Id(share) = Id::<ShareId>::from_request_parts(parts, tracker).await?;
        let credential = Credential::from_request_parts(parts, &()).await?;
        let grant = tracker.key.public().verify(credential.expose()).map_err(|_| denied())?;
        let wanted = Use { share, operation: Operation::Push, at: None, by: None, now_ms: clock::now_ms() };
        grant.check(&wanted).map_err(|error| match error {
            GrantError::Time => Refusal::new(ProblemKind::ClockSkew, "the grant is over: ask for another"),
            _ => denied(),
        })?;
        if let Some(token) = grant.token {
            parts.extensions.insert(ChargedTo(token));
        }
        Ok(Self { share, grant, credential: credential.expose().to_owned() })
    }
}
