//! Sign-in sessions of the admin, for browsers: who has shown the token once goes on with a cookie that no script
//! can read, and with a second secret that only pages of the tracker's origin have: browsers send a cookie to every
//! port of its host, and whoever listens there could use it. They end with the tracker's process.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method};
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::{HashMapStateStore, ShrinkableKeyedStateStore};
use governor::{Quota, RateLimiter};
use parcelry_core::address::counted_as;
use parcelry_core::api::ProblemKind;
use parcelry_core::dashboard::LogKind;
use parcelry_core::duration::millis;
use parcelry_core::id::{Secret, sha256};
use parcelry_core::limits::{SIGN_IN_FAILURES_PER_MINUTE, SIGN_IN_LIFE, SIGN_INS_MAX};
use parcelry_core::token::{TokenId, TokenRole};
use parking_lot::Mutex;

use super::Tracker;
use crate::clock;
use crate::failure::Failure;
use crate::identity::random_secret;
use crate::server::{Refusal, denied};

const COOKIE_NAME: &str = "parcelry_session";
const SEC_FETCH_SITE: &str = "sec-fetch-site";
const SESSION_SECRET: &str = "session-secret";

/// Names a session here: the hash of the secret in its cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionId([u8; 32]);

/// A session that was just opened: the secrets that are kept nowhere here.
pub(super) struct Opened {
    /// What the browser keeps in the cookie.
    pub(super) browser: Secret,
    /// What the page keeps.
    pub(super) page: Secret,
}

/// Somebody who has signed in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// The token that was shown: the session ends with it.
    pub(super) token: TokenId,
    /// The hash of the page's secret.
    page: [u8; 32],
    ends_ms: u64,
}

/// The sessions that are open, and the addresses from which signing in failed lately.
pub(super) struct Sessions {
    /// The oldest first.
    open: Mutex<VecDeque<Session>>,
    failures: Failures,
    limiter: RateLimiter<IpAddr, Failures, Awake, NoOpMiddleware<Duration>>,
}

impl Default for Sessions {
    fn default() -> Self {
        let quota = Quota::per_minute(const { NonZeroU32::new(SIGN_IN_FAILURES_PER_MINUTE).expect("some") });
        let failures = Failures::default();
        Self { open: Mutex::default(), limiter: RateLimiter::new(quota, failures.clone(), Awake), failures }
    }
}

impl Sessions {
    /// Lets somebody try to sign in, unless too many attempts from there have failed. It counts as failed until
    /// [`Self::open`] says otherwise: so the token is not even looked at beyond the limit.
    pub(super) fn admit(&self, ip: IpAddr) -> Result<(), Refusal> {
        self.limiter.check_key(&counted_as(ip)).map_err(|until| {
            let wait_ms = millis(until.wait_time_from(Awake.now()));
            let seconds = u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1);
            let what = format!("too many sign-ins failed: try again in {seconds} s");
            Refusal::later(ProblemKind::TooManyRequests, what, seconds)
        })
    }

    /// Opens a session for the bearer of a token.
    pub(super) fn open(&self, token: TokenId, ip: IpAddr) -> Result<Opened, Failure> {
        let opened = Opened { browser: random_secret()?, page: random_secret()? };
        self.failures.0.lock().remove(&counted_as(ip));
        let ends_ms = clock::boottime_ms().saturating_add(millis(SIGN_IN_LIFE));
        let mut open = self.open.lock();
        if open.len() >= SIGN_INS_MAX {
            open.pop_front();
        }
        let page = sha256(opened.page.expose());
        open.push_back(Session { id: SessionId::of(&opened.browser), token, page, ends_ms });
        Ok(opened)
    }

    /// The session of which a request shows both secrets.
    pub(super) fn of_request(&self, headers: &HeaderMap) -> Option<Session> {
        let page = Secret::parse(headers.get(SESSION_SECRET)?.to_str().ok()?).ok()?;
        let page = sha256(page.expose());
        let mut named = secrets(headers).filter_map(|secret| self.find(SessionId::of(&secret)));
        named.find(|session| session.page == page)
    }

    /// The session, if it is still open.
    pub(super) fn find(&self, id: SessionId) -> Option<Session> {
        let open = self.open.lock();
        open.iter().find(|session| session.id == id && clock::boottime_ms() < session.ends_ms).copied()
    }

    /// Ends a session.
    pub(super) fn close(&self, id: SessionId) {
        self.open.lock().retain(|session| session.id != id);
    }

    /// Forgets what is over: sessions, and failures of long ago.
    pub(super) fn forget_expired(&self) {
        let now_ms = clock::boottime_ms();
        self.open.lock().retain(|session| now_ms < session.ends_ms);
        self.limiter.retain_recent();
    }
}

impl SessionId {
    fn of(secret: &Secret) -> Self {
        Self(sha256(secret.expose()))
    }
}

impl Tracker {
    /// Signs the admin in who shows the token.
    pub(super) async fn sign_in(&self, token: &str, ip: IpAddr) -> Result<Opened, Refusal> {
        self.sessions.admit(ip)?;
        let token = Secret::parse(token).map_err(|_| denied())?;
        let record = self.admission.tokens.active(&token).await?;
        let record = record.filter(|record| record.role == TokenRole::Admin).ok_or_else(|| {
            tracing::warn!(%ip, "a sign-in failed");
            denied()
        })?;
        let opened = self.sessions.open(record.id, ip).map_err(|failure| Refusal::internal(&failure))?;
        tracing::info!(%ip, "signed in");
        self.dashboard.note(LogKind::SignedIn, |entry| entry.detail = Some(ip.to_string()));
        Ok(opened)
    }
}

/// The header that has a browser keep a session's secret.
pub(super) fn cookie(secret: &Secret, is_secure: bool) -> HeaderValue {
    set_cookie(&secret.expose_text(), SIGN_IN_LIFE, is_secure)
}

/// The header that has a browser forget it.
pub(super) fn no_cookie(is_secure: bool) -> HeaderValue {
    set_cookie("", Duration::ZERO, is_secure)
}

fn set_cookie(value: &str, life: Duration, is_secure: bool) -> HeaderValue {
    let secure = if is_secure { "; Secure" } else { "" };
    let seconds = life.as_secs();
    let text = format!("{COOKIE_NAME}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    let mut value = HeaderValue::try_from(text).expect("base64url and digits are a header");
    value.set_sensitive(true);
    value
}

/// The secrets in a request's cookies. There may be several: a cookie of the same name may stand beside ours.
fn secrets(headers: &HeaderMap) -> impl Iterator<Item = Secret> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE_NAME).filter_map(|(_, text)| Secret::parse(text).ok())
}

/// Whether a request that a cookie comes with may do what its method does: a browser says that our own page made
/// it, or it changes nothing.
pub(super) fn is_own(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD) {
        return true;
    }
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let origin = text(ORIGIN).and_then(|origin| origin.split_once("://"));
    matches!((origin, text(HOST)), (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host))
}

/// Attempts that have not come to anything, by address.
#[derive(Clone, Default)]
struct Failures(Arc<HashMapStateStore<IpAddr>>);

impl StateStore for Failures {
    type Key = IpAddr;

    fn measure_and_replace<T, F, E>(&self, key: &IpAddr, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, decide)
    }
}

impl ShrinkableKeyedStateStore<IpAddr> for Failures {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.retain_recent(drop_below);
    }

    fn shrink_to_fit(&self) {
        self.0.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The limiter's clock.
#[derive(Debug, Clone, Copy)]
struct Awake;

impl Clock for Awake {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_millis(clock::monotonic_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::simulated::{Reading, set_clocks};

    const TOKEN: TokenId = TokenId::from_bytes([1; 8]);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn tell_seconds(seconds: u64) {
        set_clocks(Reading { wall_ms: 0, boottime_ms: seconds * 1000 });
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let parse = |(name, value): &(&str, &str)| (name.parse().unwrap(), value.parse().unwrap());
        let parsed: Vec<(axum::http::HeaderName, HeaderValue)> = pairs.iter().map(parse).collect();
        HeaderMap::from_iter(parsed)
    }

    #[test]
    fn a_session_is_found_by_its_two_secrets_until_it_is_over() {
        tell_seconds(1000);
        let sessions = Sessions::default();
        let open = || sessions.open(TOKEN, ip("10.0.0.1")).unwrap();
        let (stale, opened) = (open(), open());
        let cookie = |opened: &Opened| format!("{COOKIE_NAME}={}", opened.browser.expose_text());
        let line = format!("a=b; {}; {}; c=d", cookie(&stale), cookie(&opened));
        let page = opened.page.expose_text();
        let cookies = [("cookie", "parcelry_session=x"), ("cookie", line.as_str())];
        let request = headers(&[cookies[0], cookies[1], (SESSION_SECRET, &page)]);
        let session = sessions.of_request(&request).unwrap();
        assert_eq!(session.token, TOKEN);
        tell_seconds(1000 + 12 * 3600 - 1);
        assert!(sessions.find(session.id).is_some());
        tell_seconds(1000 + 12 * 3600);
        assert!(sessions.of_request(&request).is_none());
        sessions.forget_expired();
        assert!(sessions.open.lock().is_empty());
    }

    #[test]
    fn s15_the_cookie_alone_opens_nothing_nor_does_the_pages_secret() {
        let sessions = Sessions::default();
        let open = || sessions.open(TOKEN, ip("10.0.0.1")).unwrap();
        let (opened, other) = (open(), open());
        let cookie = format!("{COOKIE_NAME}={}", opened.browser.expose_text());
        let (page, foreign) = (opened.page.expose_text(), other.page.expose_text());
        let browser = opened.browser.expose_text();
        assert!(sessions.of_request(&headers(&[("cookie", &cookie), (SESSION_SECRET, &page)])).is_some());
        for pairs in [
            &[("cookie", cookie.as_str())][..],
            &[(SESSION_SECRET, page.as_str())],
            &[("cookie", &cookie), (SESSION_SECRET, "")],
            &[("cookie", &cookie), (SESSION_SECRET, &browser)],
            &[("cookie", &cookie), (SESSION_SECRET, &foreign)],
            &[("cookie", &cookie), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(sessions.of_request(&headers(pairs)).is_none(), "{pairs:?}");
        }
    }

    #[test]
    fn w8_no_secret_but_one_that_was_made_here_opens_anything() {
        let sessions = Sessions::default();
        let Opened { browser: first, page } = sessions.open(TOKEN, ip("10.0.0.1")).unwrap();
        let Opened { browser: second, .. } = sessions.open(TOKEN, ip("10.0.0.1")).unwrap();
        assert_ne!(first, second, "a new one with every sign-in");
        let (chosen, page) = (Secret::from_bytes([7; 32]).expose_text(), page.expose_text());
        for value in [&chosen, "", "x", &TOKEN.to_string(), &page] {
            let cookie = format!("{COOKIE_NAME}={value}");
            assert!(sessions.of_request(&headers(&[("cookie", &cookie), (SESSION_SECRET, &page)])).is_none());
        }
        sessions.close(SessionId::of(&first));
        assert!(
            sessions.find(SessionId::of(&first)).is_none() && sessions.find(SessionId::of(&second)).is_some()
        );
    }

    #[test]
    fn the_oldest_session_goes_when_there_are_too_many() {
        let sessions = Sessions::default();
        let open = || SessionId::of(&sessions.open(TOKEN, ip("10.0.0.1")).unwrap().browser);
        let ids: Vec<SessionId> = (0..=SIGN_INS_MAX).map(|_| open()).collect();
        assert!(sessions.find(ids[0]).is_none() && sessions.find(ids[1]).is_some());
        assert_eq!(sessions.open.lock().len(), SIGN_INS_MAX);
    }

    #[test]
    fn w8_too_many_failures_of_one_network_make_it_wait_and_others_not() {
        tell_seconds(1000);
        let sessions = Sessions::default();
        for _ in 0..SIGN_IN_FAILURES_PER_MINUTE {
            assert!(sessions.admit(ip("2a00:1:2:3::1")).is_ok());
        }
        assert_eq!(sessions.admit(ip("2a00:1:2:3::2")).unwrap_err().problem.status, 429);
        assert!(sessions.admit(ip("2a00:1:2:4::1")).is_ok());
        tell_seconds(1012);
        assert!(sessions.admit(ip("2a00:1:2:3::1")).is_ok(), "one more every twelve seconds");
        assert!(sessions.admit(ip("2a00:1:2:3::1")).is_err());
        tell_seconds(1200);
        sessions.forget_expired();
        assert!(sessions.limiter.is_empty());
    }

    #[test]
    fn sign_ins_that_succeed_do_not_count() {
        tell_seconds(1000);
        let sessions = Sessions::default();
        for _ in 0..20 {
            sessions.admit(ip("10.0.0.1")).unwrap();
            sessions.open(TOKEN, ip("10.0.0.1")).unwrap();
        }
    }

    #[test]
    fn the_cookie_says_what_a_browser_may_do_with_it() {
        let secret = Secret::from_bytes([1; 32]);
        let plain = cookie(&secret, false);
        let text = secret.expose_text();
        assert_eq!(
            plain.to_str().unwrap(),
            format!("parcelry_session={text}; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200")
        );
        assert!(cookie(&secret, true).to_str().unwrap().ends_with("; Secure"));
        assert!(
            no_cookie(false).to_str().unwrap().ends_with("=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
        );
    }

    #[test]
    fn w2_only_our_own_page_may_change_something() {
        let own = |method: Method, pairs: &[(&str, &str)]| {
            is_own(&method, &headers(&[&[("host", "tracker.lan:9090")], pairs].concat()))
        };
        assert!(own(Method::GET, &[("sec-fetch-site", "cross-site")]), "it changes nothing");
        assert!(own(Method::POST, &[("sec-fetch-site", "same-origin")]));
        assert!(own(Method::DELETE, &[("origin", "https://Tracker.lan:9090")]));
        for pairs in [
            &[][..],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://tracker.lan:9090")],
            &[("origin", "https://tracker.lan")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
        ] {
            assert!(!own(Method::POST, pairs), "{pairs:?}");
        }
    }
}
