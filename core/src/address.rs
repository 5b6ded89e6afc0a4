//! Which addresses a peer may announce. The tracker calls them back and sends others there, so a peer
//! must not be able to point it at somebody else's loopback, a cloud's metadata service or a system port.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// How far from a machine an address lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// The machine itself.
    Loopback,
    /// A private network (RFC 1918, RFC 6598, RFC 4193).
    Private,
    /// The internet.
    Global,
}

/// Whether a peer whose request came from `remote` may announce `address`: that of the request itself, or a unicast
/// address on the same kind of network or a wider one; at a port where no system service listens.
pub fn may_announce(address: SocketAddr, remote: IpAddr) -> bool {
    let (announced, remote) = (canonical(address.ip()), canonical(remote));
    let port_is_ours = address.port() >= 1024 || address.port() == 443;
    let near_enough = match (reach(announced), reach(remote)) {
        (Some(announced), Some(remote)) => announced >= remote,
        // Whoever comes from there is there, whatever the address is said to be for: two machines on one cable may have
        // none but link-local ones.
        _ => announced == remote,
    };
    port_is_ours && near_enough
}

/// The address without disguise: an IPv4 address that is written as an IPv6 one stays an IPv4 address.
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The network by which connections are counted: an IPv4 address, or the /64 of an IPv6 one, which is
/// what one customer has at least.
pub fn counted_as(ip: IpAddr) -> IpAddr {
    match canonical(ip) {
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            IpAddr::V6(Ipv6Addr::new(segments[0], segments[1], segments[2], segments[3], 0, 0, 0, 0))
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

/// `None` for what is no machine's address in a network that a peer could serve: unspecified, link-local,
/// multicast, broadcast, documentation, reserved.
fn reach(ip: IpAddr) -> Option<Reach> {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let unusable = a == 0
                || a >= 224
                || ip.is_link_local()
                || ip.is_documentation()
                || ip.is_broadcast()
                || (a == 198 && (18..20).contains(&b))
                || ip.octets()[..3] == [192, 0, 0];
            match ip {
                _ if ip.is_loopback() => Some(Reach::Loopback),
                _ if ip.is_private() || shared => Some(Reach::Private),
                _ => (!unusable).then_some(Reach::Global),
            }
        }
        IpAddr::V6(ip) => match ip {
            _ if ip.is_loopback() => Some(Reach::Loopback),
            _ if ip.is_unique_local() => Some(Reach::Private),
            // Global unicast is 2000::/3 (RFC 4291); 2001:db8::/32 is for documentation, 2002::/16 is 6to4,
            // which would hide an IPv4 address.
            _ => {
                let first = ip.segments()[0];
                let special = (first == 0x2001 && matches!(ip.segments()[1], 0 | 0xdb8)) || first == 0x2002;
                (first & 0xe000 == 0x2000 && !special).then_some(Reach::Global)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(address: &str, remote: &str) -> bool {
        may_announce(address.parse().unwrap(), remote.parse().unwrap())
    }

    #[test]
    fn a_peer_announces_its_own_network_or_a_wider_one() {
        for (address, remote) in [
            ("127.0.0.1:5000", "127.0.0.1"),
            ("192.168.1.7:5000", "127.0.0.1"),
            ("192.168.1.7:5000", "10.0.0.3"),
            ("100.64.0.1:5000", "10.0.0.3"),
            ("8.8.8.8:443", "10.0.0.3"),
            ("8.8.8.8:5000", "9.9.9.9"),
            ("[::1]:5000", "127.0.0.1"),
            ("[fd00::1]:5000", "10.0.0.3"),
            ("[2a00::1]:5000", "2a01::1"),
            ("[::ffff:8.8.8.8]:5000", "9.9.9.9"),
            ("169.254.7.7:5000", "169.254.7.7"),
            ("192.0.2.2:5000", "::ffff:192.0.2.2"),
        ] {
            assert!(may(address, remote), "{address} from {remote}");
        }
    }

    #[test]
    fn nearer_networks_special_addresses_and_system_ports_are_refused() {
        // Whoever comes from afar is not sent into a nearer network, in whatever notation.
        for address in [
            "127.0.0.1:5000",
            "10.0.0.1:5000",
            "192.168.0.1:5000",
            "100.100.0.1:5000",
            "[::1]:5000",
            "[fd00::1]:5000",
            "[::ffff:127.0.0.1]:5000",
            "[::ffff:10.0.0.1]:5000",
            "[::7f00:1]:5000",
            "[64:ff9b::7f00:1]:5000",
            "[2002:7f00:1::]:5000",
        ] {
            assert!(!may(address, "8.8.8.8"), "{address}");
        }
        assert!(!may("169.254.7.8:5000", "169.254.7.7") && !may("192.0.2.2:22", "192.0.2.2"));
        // Refused to everybody, even to this machine.
        for address in [
            "169.254.169.254:5000",
            "0.0.0.0:5000",
            "0.1.2.3:5000",
            "224.0.0.1:5000",
            "240.0.0.1:5000",
            "255.255.255.255:5000",
            "192.0.2.1:5000",
            "[::]:5000",
            "[fe80::1]:5000",
            "[ff02::1]:5000",
            "[2001:db8::1]:5000",
            "127.0.0.1:22",
            "127.0.0.1:0",
            "8.8.8.8:80",
            "8.8.8.8:1023",
        ] {
            assert!(!may(address, "127.0.0.1"), "{address}");
        }
    }

    #[test]
    fn connections_are_counted_by_customer() {
        let counted = |ip: &str| counted_as(ip.parse().unwrap()).to_string();
        assert_eq!(counted("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(counted("2a00:1:2:3:4:5:6:7"), "2a00:1:2:3::");
    }
}
