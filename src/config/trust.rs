//! Whom a connection of ours trusts and who it says it is, from the files that are named for it.

use super::reader::{Reader, Setting};
use crate::tls::Trust;

/// What the system trusts and nobody, unless something else is said. Problems are noted.
pub(super) fn read(
    authorities: Option<Setting>,
    certificate: Option<Setting>,
    key: Option<Setting>,
    reader: &mut Reader<'_>,
) -> Trust {
    let mut trust = Trust::default();
    if let Some(file) = authorities
        && let Some(pem) = reader.read_file(&file)
    {
        match trust.clone().only(&pem) {
            Ok(it) => trust = it,
            Err(error) => reader.refuse_once(file.place.clone(), format!("{}{error}", file.shown_path())),
        }
    }
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let texts = (reader.read_file(&certificate), reader.read_file(&key));
            if let (Some(chain), Some(secret)) = texts {
                reader.look_at_secret(&key);
                match trust.clone().identified_by(&chain, &secret) {
                    Ok(it) => trust = it,
                    Err(error) => {
                        let file = if error.is_about_the_key() { key } else { certificate };
                        reader.refuse_once(file.place.clone(), format!("{}{error}", file.shown_path()));
                    }
                }
            }
        }
        (None, None) => {}
        (Some(only), None) => reader.refuse_once(only.place, "a certificate without its private key, give both"),
        (None, Some(only)) => reader.refuse_once(only.place, "a private key without its certificate, give both"),
    }
    trust
}
