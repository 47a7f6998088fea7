//! `tls_server_config`: the exporter's certificate, whom it lets in, and the handshake.

use std::sync::Arc;

use rustls::SupportedCipherSuite;

use super::yes_or_no;
use crate::config::problem::{Place, listed};
use crate::config::reader::{Reader, Setting, Table, choice};
use crate::tls::incoming::{ClientAuth, GROUPS, Terms, Version, suites, valid_until};

/// How connections are secured.
pub(super) struct Secured {
    pub(super) config: Arc<rustls::ServerConfig>,
    pub(super) valid_until: Option<i64>,
}

/// A PEM text, from the file itself or another one.
struct Pem {
    setting: Setting,
    in_file: bool,
    text: String,
}

impl Pem {
    /// One of the two keys; both are a problem.
    fn read(
        inline: &'static str,
        file: &'static str,
        table: &mut Table<'_>,
        reader: &mut Reader<'_>,
    ) -> Option<Option<Self>> {
        let before = reader.problems.len();
        let (inline_setting, file_setting) = (table.setting(inline, reader), table.setting(file, reader));
        let found = match (inline_setting, file_setting) {
            (Some(_), Some(file_setting)) => {
                reader.refuse(file_setting.place, format!("given in `{inline}` as well, keep one of the two"));
                None
            }
            (Some(setting), None) => Some(Self { text: setting.value.clone(), setting, in_file: false }),
            (None, Some(setting)) => {
                let text = reader.read_file(&setting);
                text.map(|text| Self { setting, in_file: true, text })
            }
            (None, None) => None,
        };
        let is_clean = reader.problems.len() == before;
        is_clean.then_some(found)
    }

    fn refuse(&self, message: impl std::fmt::Display, reader: &mut Reader<'_>) {
        let shown = if self.in_file { self.setting.shown_path() } else { String::new() };
        reader.refuse(self.setting.place.clone(), format!("{shown}{message}"));
    }
}

/// `None` after a problem.
pub(super) fn read(mut table: Table<'_>, http2: bool, reader: &mut Reader<'_>) -> Option<Secured> {
    let before = reader.problems.len();
    let place = table.place(reader);
    let certificate = Pem::read("cert", "cert_file", &mut table, reader);
    let key = Pem::read("key", "key_file", &mut table, reader);
    let mut terms = Terms { http2, ..Terms::default() };
    read_handshake(&mut terms, &mut table, reader);
    read_clients(&mut terms, &mut table, reader);
    table.close(reader);
    if let Some(Some(key)) = &key {
        if key.in_file { reader.look_at_secret(&key.setting) } else { reader.holds_secret(&key.setting) }
    }
    for (pem, keys) in [(&certificate, "cert_file or cert"), (&key, "key_file or key")] {
        if matches!(pem, Some(None)) {
            reader.refuse(place.clone(), format!("{keys} is missing; without TLS remove all of it"));
        }
    }
    let (certificate, key) = (certificate??, key??);
    if reader.problems.len() > before {
        return None;
    }
    match terms.with_identity(&certificate.text, &key.text) {
        Ok(config) => Some(Secured { config, valid_until: valid_until(&certificate.text) }),
        Err(error) => {
            let of = if error.is_about_the_key() { &key } else { &certificate };
            of.refuse(error, reader);
            None
        }
    }
}

fn read_handshake(terms: &mut Terms, table: &mut Table<'_>, reader: &mut Reader<'_>) {
    let at = table.place_of("min_version", reader);
    let oldest = table.value("min_version", reader, version);
    let newest = table.value("max_version", reader, version);
    (terms.oldest, terms.newest) = (oldest.unwrap_or(terms.oldest), newest.unwrap_or(terms.newest));
    if terms.oldest > terms.newest {
        reader.refuse(at, "newer than max_version, so there is no version left");
    }

    let at = table.place_of("cipher_suites", reader);
    if let Some(names) = table.list("cipher_suites", reader).filter(|names| !names.is_empty()) {
        let known: Vec<_> = suites().collect();
        terms.suites = chosen(names, "no cipher suite that is spoken here", &known, reader).map(with_newest);
        if terms.oldest == Version::Tls12 && !terms.has_suite_for(Version::Tls12) {
            reader.refuse(at, "none of these is for TLS 1.2; add one, or say min_version: TLS13");
        }
    }
    if let Some(ours) = table.value("prefer_server_cipher_suites", reader, yes_or_no) {
        terms.our_order = ours;
    }
    if let Some(names) = table.list("curve_preferences", reader).filter(|names| !names.is_empty()) {
        let known = GROUPS.map(|(name, group)| (name.to_owned(), group));
        terms.groups = chosen(names, "no curve that is spoken here", &known, reader);
    }
}

/// As in Go, suites of TLS 1.3 need not be named.
fn with_newest(mut named: Vec<SupportedCipherSuite>) -> Vec<SupportedCipherSuite> {
    if named.iter().all(|suite| suite.tls13().is_none()) {
        let newest = suites().map(|(_, suite)| suite).filter(|suite| suite.tls13().is_some());
        named.splice(0..0, newest);
    }
    named
}

fn version(text: &str) -> Result<Version, String> {
    if matches!(text, "TLS10" | "TLS11") {
        return Err("TLS 1.0 and 1.1 are broken and not spoken; use TLS12 or TLS13".to_owned());
    }
    choice(text, &[("TLS12", Version::Tls12), ("TLS13", Version::Tls13)])
}

/// What is meant by names; `None` after a problem.
fn chosen<T: Copy>(
    names: Vec<Setting>,
    unknown: &str,
    known: &[(String, T)],
    reader: &mut Reader<'_>,
) -> Option<Vec<T>> {
    let mut found = Vec::with_capacity(names.len());
    let before = reader.problems.len();
    for setting in names {
        match known.iter().find(|(name, _)| *name == setting.value) {
            Some((_, meant)) => found.push(*meant),
            None => {
                let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
                reader.refuse(setting.place, format!("{unknown} (allowed: {})", listed(&names)));
            }
        }
    }
    (reader.problems.len() == before).then_some(found)
}

fn read_clients(terms: &mut Terms, table: &mut Table<'_>, reader: &mut Reader<'_>) {
    const TYPES: [(&str, ClientAuth); 6] = [
        ("NoClientCert", ClientAuth::None),
        ("RequestClientCert", ClientAuth::Request),
        ("RequireAnyClientCert", ClientAuth::RequireAny),
        // The toolkit's old word for it.
        ("RequireClientCert", ClientAuth::RequireAny),
        ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
        ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
    ];
    let before = reader.problems.len();
    let at: Place = table.place_of("client_auth_type", reader);
    let clients = table.value("client_auth_type", reader, |text| choice(text, &TYPES));
    let authorities = Pem::read("client_ca", "client_ca_file", table, reader);
    let names_at = table.place_of("client_allowed_sans", reader);
    let names = table.list("client_allowed_sans", reader);
    if reader.problems.len() > before {
        return;
    }
    terms.clients = clients.unwrap_or_default();
    if let Some(names) = names {
        if !terms.clients.requires() {
            let message = "without a certificate there is no name: use RequireAndVerifyClientCert as client_auth_type";
            reader.refuse(names_at, message);
        } else if names.is_empty() {
            reader.refuse(names_at, "an empty list lets nobody in; add a name or remove the line");
        }
        terms.names = Some(names.into_iter().map(|name| name.value).collect());
    }
    match authorities.flatten() {
        None if terms.clients.verifies() => {
            // Go would take the system's authorities, whose certificates anybody can have.
            reader.refuse(at, "client_ca_file or client_ca is missing: which authorities are clients to come from?");
        }
        None => {}
        Some(pem) if !terms.clients.verifies() => {
            pem.refuse("not used with this client_auth_type; use RequireAndVerifyClientCert", reader);
        }
        Some(pem) => {
            terms.authorities = Some(pem.text.clone());
            if let Err(error) = terms.check_authorities() {
                pem.refuse(error, reader);
            }
        }
    }
}
