//! Who is on the other end, as far as fairness goes: a house, not a port.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An address; of IPv6 the network, as one machine has as many addresses there as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller(IpAddr);

impl From<SocketAddr> for Caller {
    fn from(address: SocketAddr) -> Self {
        Self(match address.ip().to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_house_is_one_caller() {
        let caller = |text: &str| Caller::from(text.parse::<SocketAddr>().unwrap());
        assert_eq!(caller("192.0.2.1:1"), caller("[::ffff:192.0.2.1]:2"));
        assert_ne!(caller("192.0.2.1:1"), caller("192.0.2.2:1"));
        assert_eq!(caller("[2001:db8::1]:1"), caller("[2001:db8::ffff:2]:1"));
        assert_ne!(caller("[2001:db8::1]:1"), caller("[2001:db8:0:1::1]:1"));
    }
}
