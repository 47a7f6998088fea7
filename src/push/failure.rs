//! Says in a few fixed words why a connection to a collector failed, whatever stack of errors tells it.

use std::error::Error;
use std::io;

/// A reason that is a label value and stands in logs: it quotes nothing.
pub(super) fn reason(error: &(dyn Error + 'static)) -> &'static str {
    match tls(error) {
        Some(rustls::Error::InvalidCertificate(_)) => "certificate not trusted",
        // The other side ended the handshake: mostly because it wants a certificate, or another one.
        Some(rustls::Error::AlertReceived(_)) => "refused by TLS",
        Some(_) => "no TLS",
        None => "cannot connect",
    }
}

/// The TLS error at the bottom of it, if it was one.
fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An IO error does not count what it wraps among its sources.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| tls(wrapped)) {
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
        assert_eq!(reason(&wrapped), "certificate not trusted");
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        assert_eq!(reason(&io::Error::other(alert)), "refused by TLS");
        assert_eq!(reason(&io::Error::from(io::ErrorKind::ConnectionRefused)), "cannot connect");
    }
}
