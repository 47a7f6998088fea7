//! The addresses `/metrics` is served on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One address to listen on; port 0 lets the system choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `:PORT`: every interface, IPv6 and IPv4.
    AllInterfaces {
        /// The port.
        port: u16,
    },
    /// `IP:PORT`.
    One(SocketAddr),
}

impl ListenAddress {
    /// Reads `:17377`, `127.0.0.1:17377`, `[::1]:17377` or `localhost:17377`.
    ///
    /// # Errors
    ///
    /// Says what an address looks like, without repeating the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let error = || "not a listen address, use :17377 or 127.0.0.1:17377".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port_has_digits_only = port.chars().all(|c| c.is_ascii_digit());
        let port = port.parse().ok().filter(|_| port_has_digits_only).ok_or_else(error)?;
        match host {
            "" => Ok(Self::AllInterfaces { port }),
            // One fixed meaning, instead of whatever the resolver of this machine says first.
            "localhost" => Ok(Self::One(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))),
            _ => text.parse().map(Self::One).map_err(|_| error()),
        }
    }

    /// What to bind, in order of preference: only the first that this machine supports.
    ///
    /// `[::]` accepts IPv4 as well wherever the system allows dual-stack sockets; `0.0.0.0` is for
    /// machines without IPv6.
    #[must_use]
    pub fn candidates(&self) -> Vec<SocketAddr> {
        match *self {
            Self::AllInterfaces { port } => vec![
                SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
                SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            ],
            Self::One(address) => vec![address],
        }
    }

    /// Whether both would claim the same port on the same interface.
    pub(super) fn collides_with(&self, other: &Self) -> bool {
        let port = |address: &Self| match *address {
            Self::AllInterfaces { port } => port,
            Self::One(address) => address.port(),
        };
        if port(self) == 0 || port(self) != port(other) {
            return false;
        }
        match (self, other) {
            (Self::One(a), Self::One(b)) => a == b,
            _ => true,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllInterfaces { port } => write!(f, ":{port}"),
            Self::One(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        ListenAddress::parse(text).expect(text).to_string()
    }

    #[test]
    fn reads_the_usual_forms() {
        for text in [":17377", "127.0.0.1:0", "[::1]:9100", "0.0.0.0:80"] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("localhost:17377"), "127.0.0.1:17377");
    }

    #[test]
    fn refuses_the_rest_without_repeating() {
        for wrong in ["", "17377", ":", ":x", ":99999", ":+80", "example.org:80", "1.2.3:80", "hk-secret:1"] {
            let error = ListenAddress::parse(wrong).expect_err(wrong);
            assert!(!error.contains("hk-secret"), "{error}");
        }
    }

    #[test]
    fn all_interfaces_prefers_both_families() {
        let all = ListenAddress::AllInterfaces { port: 17377 }.candidates();
        let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["[::]:17377", "0.0.0.0:17377"]);
    }

    #[test]
    fn the_same_port_twice_collides() {
        let parse = |text| ListenAddress::parse(text).expect("address");
        assert!(parse(":80").collides_with(&parse("127.0.0.1:80")));
        assert!(!parse("[::1]:80").collides_with(&parse("127.0.0.1:80")));
        assert!(!parse("127.0.0.1:0").collides_with(&parse("127.0.0.1:0")));
        assert!(!parse(":80").collides_with(&parse(":81")));
    }
}
