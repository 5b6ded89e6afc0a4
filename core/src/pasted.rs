//! Links and invites as people paste them: out of a mail, a chat, a spreadsheet. What stands there is looked for, never
//! guessed at: a text is a link if it parses as one, and parts of ids and secrets have one length.

use std::str::FromStr;

use crate::limits::{LINK_BYTES_MAX, PASTED_BYTES_MAX};
use crate::link::LinkError;

const SCHEME: &str = "https://";
/// Line breaks that a link may have: mail programs break long lines.
const BREAKS_MAX: usize = 6;
/// How often an address may stand in another one, as in the links that mail filters put in the place of links.
const WRAPPINGS_MAX: usize = 2;

/// The link or invite in a text: all of it, or the one that stands in it, whatever stands around. Line breaks within
/// it, quotation marks of mails, percent-encoding and a byte order mark are seen through. Of several, none is chosen.
pub fn read<T: FromStr<Err = LinkError> + PartialEq>(text: &str) -> Result<T, LinkError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let strictly = text.parse();
    if strictly.is_ok() {
        return strictly;
    }
    let mut text = text[..text.floor_char_boundary(PASTED_BYTES_MAX)].to_owned();
    let mut nearest = None;
    for _ in 0..=WRAPPINGS_MAX {
        let mut found: Option<T> = None;
        for start in starts(&text) {
            match in_start(start) {
                // Said twice, it is one link still.
                Ok(link) if found.as_ref().is_none_or(|found| *found == link) => found = Some(link),
                Ok(_) => return Err(LinkError::Several),
                Err(error) => drop(nearest.get_or_insert(error)),
            }
        }
        if let Some(found) = found {
            return Ok(found);
        }
        // Perhaps it stands in another link, percent-encoded.
        text = percent_decoded(&text);
    }
    nearest.map_or(strictly, Err)
}

/// What stands from each `https://` on to the next: no link has two.
fn starts(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(SCHEME).map(move |(start, _)| {
        let rest = &text[start..];
        let end = rest[SCHEME.len()..].find(SCHEME).map_or(rest.len(), |next| next + SCHEME.len());
        &rest[..end]
    })
}

/// The link that starts a text, with line breaks taken out first: what is cut off at one may be a whole link without its
/// last part.
fn in_start<T: FromStr<Err = LinkError>>(text: &str) -> Result<T, LinkError> {
    let mut nearest = None;
    for breaks in (0..=BREAKS_MAX).rev() {
        match up_to_break(text, breaks).parse() {
            Ok(found) => return Ok(found),
            Err(error) => nearest = Some(error),
        }
    }
    Err(nearest.expect("it was tried once at least"))
}

/// The link that starts the text, with this many line breaks in it.
fn up_to_break(text: &str, breaks: usize) -> String {
    let is_of_a_link = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]#%".contains(c);
    let mut link = String::new();
    for line in text.lines().take(breaks + 1) {
        // Mails that are answered quote each line; others break long lines with an equals sign (RFC 2045 §6.7).
        let line = line.trim_start_matches(['>', ' ', '\t']).trim_end();
        let line = line.strip_suffix('=').unwrap_or(line);
        let end = line.find(|c| !is_of_a_link(c)).unwrap_or(line.len());
        link.push_str(&line[..end]);
        if end < line.len() || link.len() > LINK_BYTES_MAX {
            break;
        }
    }
    link.truncate(link.trim_end_matches(['.', ':', '/', '-', ']', '_', '~']).len().max(SCHEME.len()));
    link
}

/// The text with `%23` and the like as what they stand for, where that is ASCII.
fn percent_decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(percent) = rest.find('%') {
        decoded.push_str(&rest[..percent]);
        let code = rest.get(percent + 1..percent + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                decoded.push(char::from(code));
                rest = &rest[percent + 3..];
            }
            None => {
                decoded.push('%');
                rest = &rest[percent + 1..];
            }
        }
    }
    decoded + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::{Secret, ShareId, TrackerId};
    use crate::link::{Invite, ShareLink};

    /// One that ends in characters that may stand behind a link, too.
    fn link() -> ShareLink {
        ShareLink {
            tracker: "https://tracker.example:9090".parse().unwrap(),
            share: ShareId::from_bytes([255; 32]),
            secret: Secret::from_bytes([2; 32]),
            tracker_id: Some(TrackerId::from_bytes([251; 32])),
        }
    }

    #[test]
    fn links_are_understood_as_people_paste_them() {
        let text = link().expose_text();
        let encoded = text.replace(':', "%3A").replace('/', "%2F").replace('#', "%23");
        let twice = encoded.replace('%', "%25");
        let (head, tail) = text.split_at(100);
        let (one, two) = tail.split_at(30);
        for pasted in [
            // What people and programs put around a link.
            format!("<{text}>"),
            format!("\"{text}\""),
            format!("“{text}”"),
            format!("({text})"),
            format!("[{text}]"),
            format!("{text}."),
            format!("{text},"),
            format!("{text}…"),
            format!("_{text}_"),
            format!("~~{text}~~"),
            // Quoted-printable mail breaks lines so.
            text.as_bytes()
                .chunks(75)
                .map(|line| std::str::from_utf8(line).unwrap())
                .collect::<Vec<_>>()
                .join("=\r\n"),
            format!("{text}\n\n> {text}"),
            format!("`{text}`"),
            format!("[my file]({text})"),
            format!("\u{feff}{text}\r\n"),
            format!("  {text}\t\n"),
            text.replace('#', "%23"),
            format!("{head}\n{tail}"),
            format!("{head}\r\n{one}\r\n{two}\r\n\r\nBest regards"),
            format!("> Hello,\n> here it is:\n> {head}\n> {tail}\n> Alice"),
            format!("Subject: file\nSee https://example.org/ first.\n\nThen {text}!\n"),
            // Mail filters put links into their own.
            format!("https://eur01.safelinks.protection.outlook.com/?url={encoded}&data=05%7C02&reserved=0"),
            format!("https://mail.example/?to=https%3A%2F%2Ffilter.example%2F%3Furl%3D{twice}%26x%3D1&y=2"),
        ] {
            assert_eq!(read(&pasted), Ok(link()), "{pasted}");
        }
        let invite = Invite {
            tracker: link().tracker,
            tracker_id: TrackerId::from_bytes([3; 32]),
            token: Secret::from_bytes([4; 32]),
        };
        assert_eq!(read(&format!("Join us: {}.", invite.expose_text())), Ok(invite));
    }

    #[test]
    fn what_is_none_is_refused_with_what_is_wrong_with_the_nearest() {
        let refusal = |text: &str| read::<ShareLink>(text).unwrap_err().to_string();
        let text = link().expose_text();
        assert!(refusal("").contains("starts with https://") || refusal("").contains("part after #"));
        assert!(refusal(&format!("See {}, Bob", &text[..60])).contains("part after # is missing"));
        assert!(refusal(&format!("Here: {}", &text[..text.len() - 50])).contains("damaged"));
        assert!(refusal("see https://example.org/x").contains("missing"));
    }

    #[test]
    fn of_several_links_none_is_chosen() {
        let other = ShareLink { share: ShareId::from_bytes([1; 32]), ..link() };
        let both = format!("{}\n{}", link().expose_text(), other.expose_text());
        assert_eq!(read::<ShareLink>(&both), Err(LinkError::Several));
    }

    #[test]
    fn a_text_full_of_beginnings_is_read_in_little_time() {
        assert!(read::<ShareLink>(&SCHEME.repeat(PASTED_BYTES_MAX / SCHEME.len())).is_err());
        assert!(read::<ShareLink>(&format!("{SCHEME}{}", "a\n".repeat(PASTED_BYTES_MAX / 2))).is_err());
    }

    proptest! {
        #[test]
        fn whatever_stands_around_a_link_it_is_that_link_or_none(
            before in "[ -~\n%>]{0,40}", after in "[ -~\n%>]{0,40}", cut in 0_usize..200,
        ) {
            let text = link().expose_text();
            let cut = cut.min(text.len());
            let pasted = format!("{before}{}\n{}{after}", &text[..cut], &text[cut..]);
            if let Ok(found) = read::<ShareLink>(&pasted) {
                let without_id = ShareLink { tracker_id: None, ..link() };
                prop_assert!(found == link() || found == without_id, "{}", pasted);
            }
        }
    }
}
