//! What keeps browsers from harm: requests that a foreign page smuggles in under its own name are refused, and
//! no response can be framed, sniffed, stored or read by other sites.

use std::net::IpAddr;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, uri::Authority};

/// What a page may do that a response other than a page is taken for: nothing.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// Whether the request names one of our hosts, or an address: a site that has its own name point here (DNS
/// rebinding) has to send that name. Programs that send none are no browsers.
pub(super) fn is_for_us(headers: &HeaderMap, hosts: &[String]) -> bool {
    let mut named = headers.get_all(HOST).iter();
    let host = match (named.next(), named.next()) {
        (None, _) => return true,
        (Some(host), None) => host,
        (Some(_), Some(_)) => return false,
    };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let host = authority.host();
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    literal.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
}

/// Sets what every response carries, unless its handler knew better.
pub(super) fn protect(headers: &mut HeaderMap) {
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    let resource = HeaderName::from_static("cross-origin-resource-policy");
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (CONTENT_SECURITY_POLICY, NOTHING),
        (opener, "same-origin"),
        (resource, "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    // A library that streams events would allow more.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w3_a_foreign_name_is_not_ours() {
        let ours = ["drop.example".to_owned()];
        let is_for_us = |host: &str| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_str(host).unwrap())]);
            super::is_for_us(&headers, &ours)
        };
        for host in [
            "127.0.0.1",
            "10.0.0.1:9090",
            "[::1]:9090",
            "[::1]",
            "localhost:9090",
            "LOCALHOST",
            "Drop.Example:1",
        ] {
            assert!(is_for_us(host), "{host}");
        }
        for host in [
            "evil.example",
            "drop.example.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "a b",
        ] {
            assert!(!is_for_us(host), "{host}");
        }
        assert!(super::is_for_us(&HeaderMap::new(), &ours), "no browser leaves it out");
        // Two names: which of them is meant, nobody can say.
        let mut twice = HeaderMap::new();
        twice.append(HOST, HeaderValue::from_static("localhost"));
        twice.append(HOST, HeaderValue::from_static("evil.example"));
        assert!(!super::is_for_us(&twice, &ours));
    }

    #[test]
    fn what_a_handler_set_stays() {
        let mut headers = HeaderMap::from_iter([(CONTENT_SECURITY_POLICY, HeaderValue::from_static("own"))]);
        protect(&mut headers);
        assert_eq!(headers[CONTENT_SECURITY_POLICY], "own");
        assert_eq!(headers[CACHE_CONTROL], "no-store");
    }
}
