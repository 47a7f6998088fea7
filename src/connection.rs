//! Says in a few fixed words why a connection failed, whatever stack of errors tells it.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError as Wrong};

/// Nobody answers at the address, or not as was expected.
pub const CANNOT_CONNECT: &str = "cannot connect";
/// The other side is not who it should be, as far as our authorities know.
pub const NOT_TRUSTED: &str = "certificate not trusted";
/// It was the other side, once.
const EXPIRED: &str = "certificate expired";
/// It will be the other side, by our clock.
const NOT_YET: &str = "certificate not valid yet";
/// It is somebody else.
const OTHER_NAME: &str = "certificate of another name";
/// The other side does not speak TLS, or none that we speak.
pub const NO_TLS: &str = "no TLS";
/// It wants to know who we are.
pub const CERTIFICATE_WANTED: &str = "client certificate wanted";
/// It ended the handshake: mostly because it wants another certificate.
pub const REFUSED: &str = "refused by TLS";
/// The name has no address.
pub const NO_HOST: &str = "host not found";

/// A reason that is a label value and stands in logs: it quotes nothing. `connected` is whether there was a connection.
pub fn reason(error: &(dyn Error + 'static), connected: bool) -> &'static str {
    match find::<rustls::Error>(error) {
        Some(rustls::Error::InvalidCertificate(wrong)) => match wrong {
            Wrong::Expired | Wrong::ExpiredContext { .. } => EXPIRED,
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => NOT_YET,
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => OTHER_NAME,
            _ => NOT_TRUSTED,
        },
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) => CERTIFICATE_WANTED,
        Some(rustls::Error::AlertReceived(_)) => REFUSED,
        Some(_) => NO_TLS,
        None if connected => "connection lost",
        None if is_of_a_name(error) => NO_HOST,
        None => CANNOT_CONNECT,
    }
}

/// Whether a reason is about the certificate of the other side.
pub fn is_about_trust(reason: &str) -> bool {
    [NOT_TRUSTED, EXPIRED, NOT_YET, OTHER_NAME].contains(&reason)
}

/// The first error of a kind among an error and what caused it.
pub fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
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

/// Whether it is about finding the address of a name. Only its text tells: no type of it is public.
fn is_of_a_name(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.to_string().starts_with("dns error") {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_below_whatever_wraps_it() {
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, bad));
        assert_eq!(reason(&wrapped, false), NOT_TRUSTED);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        assert_eq!(reason(&io::Error::other(alert), true), CERTIFICATE_WANTED);
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!((reason(&refused, false), reason(&refused, true)), (CANNOT_CONNECT, "connection lost"));
    }
}
