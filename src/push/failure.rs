//! Says in a few fixed words why a connection to a collector failed, whatever stack of errors tells it.

use std::error::Error;
use std::io;

/// A reason that is a label value and stands in logs: it quotes nothing. `connected` is whether there was a connection.
pub(super) fn reason(error: &(dyn Error + 'static), connected: bool) -> &'static str {
    match tls(error) {
        Some(rustls::Error::InvalidCertificate(_)) => "certificate not trusted",
        // The other side ended the handshake: mostly because it wants a certificate, or another one.
        Some(rustls::Error::AlertReceived(_)) => "refused by TLS",
        Some(_) => "no TLS",
        None if connected => "connection lost",
        None => "cannot connect",
    }
}

/// Whether a message that failed for this reason can have been taken all the same: its answer may be what was lost.
pub(super) fn is_uncertain(reason: &str) -> bool {
    !matches!(reason, "throttled" | "cannot connect" | "certificate not trusted" | "no TLS")
}

/// The TLS error at the bottom of it, if it was one.
fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    find(error)
}

/// The first error of a kind among an error and what caused it.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An IO error does not count what it wraps among its sources.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| find(wrapped)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_below_whatever_wraps_it() {
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, bad));
        assert_eq!(reason(&wrapped, false), "certificate not trusted");
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        assert_eq!(reason(&io::Error::other(alert), true), "refused by TLS");
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!((reason(&refused, false), reason(&refused, true)), ("cannot connect", "connection lost"));
    }
}
