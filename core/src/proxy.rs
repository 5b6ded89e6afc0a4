//! Proxies as their operator declares them: machines, networks and names.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::address::canonical;
use crate::link::TrackerUrl;

/// A proxy that was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// An address, or all of a network.
    Network(IpNet),
    /// A name, with whatever addresses it has.
    Name(String),
}

/// A text that is neither an address, nor a network, nor a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address (10.0.0.5), a network (10.0.0.0/24) or the name of a host is wanted")]
pub struct NoProxy;

impl From<IpAddr> for Declared {
    fn from(ip: IpAddr) -> Self {
        Self::Network(canonical(ip).into())
    }
}

impl FromStr for Declared {
    type Err = NoProxy;

    fn from_str(text: &str) -> Result<Self, NoProxy> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(ip.into());
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network));
        }
        let name = TrackerUrl::new(text, 443).map_err(|_| NoProxy)?;
        Ok(Self::Name(name.host().to_owned()))
    }
}

impl Declared {
    /// Whether the address is of this network; a name's addresses are found by looking it up.
    pub fn covers(&self, ip: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(&ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn proxies_are_addresses_networks_and_names() {
        let covers = |text: &str, ip: &str| text.parse::<Declared>().unwrap().covers(ip.parse().unwrap());
        for (text, ip, is_proxy) in [
            ("10.0.0.5", "10.0.0.5", true),
            ("10.0.0.5", "10.0.0.6", false),
            ("192.168.7.9/16", "192.168.255.1", true),
            ("192.168.7.9/16", "192.169.0.1", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::ffff:10.9.9.9", "10.9.9.9", true),
            ("proxy.lan", "10.9.9.9", false),
        ] {
            assert_eq!(covers(text, ip), is_proxy, "{text} {ip}");
        }
        assert_eq!("Proxy.lan".parse(), Ok(Declared::Name("proxy.lan".into())));
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "a b", "http://proxy", "10.0.0", "proxy:80"] {
            assert!(text.parse::<Declared>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = text.parse::<Declared>();
        }
    }
}
