//! Links and invites: the texts that people hand to one another.
//!
//! ```text
//! link    https://HOST[:PORT]/s/<share id>#1.<secret>[.<tracker id>]
//! invite  https://HOST[:PORT]/join#1.<tracker id>.<token>
//! ```
//! What follows `#` never reaches a server. A client that is given the tracker's id accepts the key with
//! that fingerprint only; without it, a certificate that the system's authorities vouch for.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::id::{IdError, Secret, ShareId, TrackerId};
use crate::limits::LINK_BYTES_MAX;

/// The version of links and invites that is written and read.
const VERSION: &str = "1";
/// The port of an address that names none.
const DEFAULT_PORT: u16 = 443;

/// Where a tracker is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackerUrl {
    host: String,
    port: u16,
}

/// What the sender gives the receiver: where the tracker is, which share, and the secret that opens it.
///
/// There is no `Display`: the text holds the secret, and is made by [`ShareLink::expose_text`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareLink {
    /// The tracker that knows the share.
    pub tracker: TrackerUrl,
    /// The share.
    pub share: ShareId,
    /// The secret from which every key of the share is derived.
    pub secret: Secret,
    /// The tracker's id, to know it by its key.
    pub tracker_id: Option<TrackerId>,
}

/// What an operator gives a new peer or sender to join the swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The swarm's tracker.
    pub tracker: TrackerUrl,
    /// The tracker's id, to know it by its key.
    pub tracker_id: TrackerId,
    /// The token that admits the bearer.
    pub token: Secret,
}

/// A text that is not a link or invite; says what is wrong with it, never what the secret was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It does not start with `https://`.
    #[error("{} starts with https://", one(.0))]
    Scheme(&'static str),
    /// The host is not a name or address, or carries more than that.
    #[error("the {0} has no plain host name or address")]
    Host(&'static str),
    /// The port is not a number from 1 to 65535.
    #[error("the {0}'s port is not a number from 1 to 65535")]
    Port(&'static str),
    /// The path is another one.
    #[error("this is not {}: its path is another one", one(.0))]
    Path(&'static str),
    /// Nothing follows `#`.
    #[error("the {0} is cut off: the part after # is missing")]
    NoFragment(&'static str),
    /// Another version.
    #[error("the {0} was made by a newer parcelry: it has version {1:?}, this one reads {VERSION}")]
    Version(&'static str, String),
    /// A part has the wrong length or alphabet.
    #[error("the {0} is damaged: {1}")]
    Damaged(&'static str, IdError),
    /// More parts than there are.
    #[error("the {0} has extra characters at its end")]
    Extra(&'static str),
    /// A text has several.
    #[error("there are several in this text")]
    Several,
    /// Longer than any can be, or with characters that none has.
    #[error("this is not {}: it has characters that none has, or is too long", one(.0))]
    NotText(&'static str),
}

/// The word with its article.
fn one(what: &str) -> String {
    format!("{} {what}", if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

impl TrackerUrl {
    /// The address of a tracker at `host` (a DNS name, an IPv4 address, or an IPv6 address in brackets).
    pub fn new(host: &str, port: u16) -> Result<Self, LinkError> {
        const WHAT: &str = "tracker address";
        if port == 0 {
            return Err(LinkError::Port(WHAT));
        }
        let host = canonical_host(host).ok_or(LinkError::Host(WHAT))?;
        Ok(Self { host, port })
    }

    /// The DNS name or IP address, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host and port, as in `example.org:9090`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn parse(text: &str, what: &'static str) -> Result<Self, LinkError> {
        let authority = text.strip_prefix("https://").ok_or(LinkError::Scheme(what))?;
        let bracket = authority.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match authority[bracket..].find(':') {
            None => (authority, DEFAULT_PORT),
            Some(colon) => {
                let (host, port) = authority.split_at(bracket + colon);
                (host, parse_port(&port[1..]).ok_or(LinkError::Port(what))?)
            }
        };
        let host = canonical_host(host).ok_or(LinkError::Host(what))?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for TrackerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.host)?;
        if self.port == DEFAULT_PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl FromStr for TrackerUrl {
    type Err = LinkError;

    /// Takes it as people type it: with a slash at its end, without `https://`.
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim().trim_end_matches('/');
        let bare = match text.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://")) {
            Some(scheme) => &text[scheme.len()..],
            None if text.contains("://") => return Err(LinkError::Scheme("tracker address")),
            None => text,
        };
        Self::parse(&format!("https://{bare}"), "tracker address")
    }
}

impl ShareLink {
    /// The link's text, secret included.
    pub fn expose_text(&self) -> String {
        let tracker_id = self.tracker_id.map(|id| format!(".{id}")).unwrap_or_default();
        let secret = self.secret.expose_text();
        format!("{}/s/{}#{VERSION}.{secret}{tracker_id}", self.tracker, self.share)
    }
}

impl FromStr for ShareLink {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        const WHAT: &str = "link";
        let (tracker, path, parts) = split(text, WHAT)?;
        let share = path.strip_prefix("s/").ok_or(LinkError::Path(WHAT))?;
        let share = share.parse().map_err(|error| LinkError::Damaged(WHAT, error))?;
        let mut parts = parts.into_iter();
        let secret = Secret::parse(parts.next().unwrap_or(""));
        let secret = secret.map_err(|error| LinkError::Damaged(WHAT, error))?;
        let tracker_id = parts.next().map(str::parse).transpose();
        let tracker_id = tracker_id.map_err(|error| LinkError::Damaged(WHAT, error))?;
        match parts.next() {
            None => Ok(Self { tracker, share, secret, tracker_id }),
            Some(_) => Err(LinkError::Extra(WHAT)),
        }
    }
}

impl Invite {
    /// The invite's text, token included.
    pub fn expose_text(&self) -> String {
        format!("{}/join#{VERSION}.{}.{}", self.tracker, self.tracker_id, self.token.expose_text())
    }
}

impl FromStr for Invite {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        const WHAT: &str = "invite";
        let (tracker, path, parts) = split(text, WHAT)?;
        if path != "join" {
            return Err(LinkError::Path(WHAT));
        }
        let mut parts = parts.into_iter();
        let tracker_id = parts.next().unwrap_or("").parse();
        let tracker_id = tracker_id.map_err(|error| LinkError::Damaged(WHAT, error))?;
        let token = Secret::parse(parts.next().unwrap_or(""));
        let token = token.map_err(|error| LinkError::Damaged(WHAT, error))?;
        match parts.next() {
            None => Ok(Self { tracker, tracker_id, token }),
            Some(_) => Err(LinkError::Extra(WHAT)),
        }
    }
}

/// Cuts `TRACKER/PATH#1.PART.PART…` into tracker, path and parts.
fn split<'a>(text: &'a str, what: &'static str) -> Result<(TrackerUrl, &'a str, Vec<&'a str>), LinkError> {
    if text.len() > LINK_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(LinkError::NotText(what));
    }
    let (address, fragment) = text.split_once('#').ok_or(LinkError::NoFragment(what))?;
    let scheme_end = address.find("://").ok_or(LinkError::Scheme(what))? + 3;
    let path_at = address[scheme_end..].find('/').ok_or(LinkError::Path(what))? + scheme_end;
    let tracker = TrackerUrl::parse(&address[..path_at], what)?;
    let mut parts = fragment.split('.');
    match parts.next() {
        Some(VERSION) => Ok((tracker, &address[path_at + 1..], parts.collect())),
        Some("") | None => Err(LinkError::NoFragment(what)),
        Some(version) => Err(LinkError::Version(what, version.chars().take(8).collect())),
    }
}

/// A DNS name in lower case or an IP address in its canonical form; nothing that names a user or a path.
fn canonical_host(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[') {
        let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Some(address.to_string());
    }
    let label_is_sound = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Browsers take such a name for an IPv4 address in another notation.
    let last_is_number = host.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    let sound = host.len() <= 253 && host.split('.').all(label_is_sound) && !last_is_number;
    sound.then(|| host.to_ascii_lowercase())
}

fn parse_port(text: &str) -> Option<u16> {
    let is_canonical = |port: &u16| *port != 0 && port.to_string() == text;
    text.parse().ok().filter(is_canonical)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link() -> ShareLink {
        ShareLink {
            tracker: "https://tracker.example:9090".parse().unwrap(),
            share: ShareId::from_bytes([1; 32]),
            secret: Secret::from_bytes([2; 32]),
            tracker_id: Some(TrackerId::from_bytes([3; 32])),
        }
    }

    #[test]
    fn links_round_trip() {
        for tracker in [
            "https://tracker.example:9090",
            "https://127.0.0.1:9090",
            "https://example.org",
            "https://[::1]:1",
        ] {
            for tracker_id in [None, Some(TrackerId::from_bytes([3; 32]))] {
                let link = ShareLink { tracker: tracker.parse().unwrap(), tracker_id, ..link() };
                assert_eq!(link.expose_text().parse(), Ok(link.clone()));
                assert!(link.expose_text().starts_with(&format!("{tracker}/s/")));
            }
        }
    }

    #[test]
    fn a_trackers_address_is_taken_as_people_type_it() {
        let parse = |text: &str| text.parse::<TrackerUrl>().map(|url| url.to_string());
        for typed in
            ["https://drop.lan:9090/", "HTTPS://Drop.LAN:9090", "drop.lan:9090", " https://drop.lan:9090 "]
        {
            assert_eq!(parse(typed).as_deref(), Ok("https://drop.lan:9090"), "{typed}");
        }
        assert_eq!(parse("drop.lan").as_deref(), Ok("https://drop.lan"));
        assert_eq!(parse("[::1]:9090").as_deref(), Ok("https://[::1]:9090"));
        for wrong in ["http://drop.lan", "", "https://", "drop.lan/x", "drop lan", "https://https://drop.lan"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn invites_round_trip() {
        let tracker_id = TrackerId::from_bytes([3; 32]);
        let invite = Invite { tracker: link().tracker, tracker_id, token: Secret::from_bytes([4; 32]) };
        assert_eq!(invite.expose_text().parse(), Ok(invite.clone()));
        let text = invite.expose_text();
        let without_token = text.rsplit_once('.').unwrap().0;
        assert!(without_token.parse::<Invite>().is_err());
    }

    #[test]
    fn damage_is_named() {
        let text = link().expose_text();
        let refusal = |text: String| text.parse::<ShareLink>().unwrap_err().to_string();
        assert!(refusal(text[..70].to_owned()).contains("part after # is missing"));
        assert!(refusal(text.replace('#', "%23")).contains("part after # is missing"));
        assert!(refusal(text.replace("#1.", "#2.")).contains("newer parcelry"));
        for scheme in ["javascript", "http", "HTTPS", "file", ""] {
            assert!(refusal(text.replace("https", scheme)).contains("starts with https://"), "{scheme}");
        }
        assert!(refusal(text.replace("tracker.example", "user@tracker.example")).contains("host"));
        assert!(refusal(text.replace(":9090", ":0")).contains("port"));
        assert!(refusal(text.replace(":9090", ":+80")).contains("port"));
        assert!(refusal(text.replace(":9090", ":090")).contains("port"));
        assert!(refusal(text.replace("/s/", "/x/")).contains("path"));
        assert!(refusal(format!("{text}.x")).contains("extra characters"));
        assert!(refusal(format!("{text})")).contains("damaged"));
        assert!(refusal(format!("{text}\n")).contains("characters"));
        assert!(refusal(format!("{text}{}", "A".repeat(2000))).contains("too long"));
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for wrong in ["", "a b", "a/b", "a..b", "-a", "2130706433", "0x7f.1", "127.1", "[::1", "a?b", "a#b"] {
            assert_eq!(canonical_host(wrong), None, "{wrong}");
        }
        assert_eq!(canonical_host("ExAmple.org").as_deref(), Some("example.org"));
    }

    #[test]
    fn secrets_do_not_print() {
        let printed = format!("{:?}", link());
        assert!(!printed.contains(&link().secret.expose_text()), "{printed}");
    }

    /// A link that was damaged on its way is refused, or is the very same link: it never leads elsewhere.
    #[test]
    fn l1_a_hundred_thousand_damaged_links_lead_nowhere_else() {
        let text = link().expose_text();
        let scraps = [
            "#",
            ".",
            "..",
            "%23",
            "%2e",
            "/",
            "//",
            "@",
            "\n",
            "\r\n",
            "\t",
            " ",
            "\x1b[31m",
            "=",
            "+",
            "\u{202e}",
            "http://",
            "https://evil.example",
            "javascript:",
            "?x=1",
            "&",
            ")",
            ".",
            ",",
            ">",
            "\"",
            "'",
            "A",
            "z",
            "\0",
            ":",
            ":99999",
            "[::1]",
            "1.",
            "2.",
            "evil.example",
            "\\",
        ];
        let mut state = 1_u64;
        let mut draw = |below: usize| {
            // Knuth's MMIX generator: the same mutations at each run.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        for _ in 0..100_000 {
            let mut damaged = text.clone();
            for _ in 0..=draw(3) {
                let at =
                    (0..=draw(damaged.len() + 1)).rev().find(|&at| damaged.is_char_boundary(at)).unwrap_or(0);
                match draw(5) {
                    0 => damaged.truncate(at),
                    1 => damaged.insert_str(at, scraps[draw(scraps.len())]),
                    2 => damaged = damaged.to_lowercase(),
                    3 => {
                        let (from, to) = (scraps[draw(scraps.len())], scraps[draw(scraps.len())]);
                        damaged = damaged.replacen(from, to, 1);
                    }
                    _ => damaged.push_str(scraps[draw(scraps.len())]),
                }
            }
            if let Ok(read) = damaged.parse::<ShareLink>() {
                assert!(
                    read.expose_text().eq_ignore_ascii_case(&damaged),
                    "{damaged:?} is read as another link"
                );
                let shown = damaged.strip_prefix("https://").unwrap().split(['/', '#', '?']).next().unwrap();
                let host = shown.rsplit_once(':').map_or(shown, |(host, _)| host);
                assert!(
                    read.tracker.host().eq_ignore_ascii_case(host),
                    "{damaged:?} leads to {}",
                    read.tracker
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_mutated_link_is_refused_or_canonical(position in 0usize..200, with in "[ -~]") {
            let mut text = link().expose_text();
            let position = position % text.len();
            text.replace_range(position..=position, &with);
            if let Ok(read) = text.parse::<ShareLink>() {
                prop_assert!(read.expose_text().eq_ignore_ascii_case(&text));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = text.parse::<ShareLink>();
            let _ = text.parse::<Invite>();
        }
    }
}
