//! `--web.config.file`: who may ask the exporter and how connections are secured, in the words of Prometheus'
//! exporter-toolkit.
//!
//! A file for the toolkit means the same here, or is refused: what cannot be honoured is never ignored. Nothing in it
//! comes from the environment, and paths begin where the file is.

mod changes;
mod tls;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;

use super::document;
use super::duration::duration_between;
use super::load::not_yaml;
use super::problem::{ConfigError, Problem, Problems};
use super::reader::{Looks, Reader, Setting, Table, choice, number_between};
use crate::domain::Timestamp;

pub use changes::WebConfigFile;

/// Each step doubles the work: a check takes about a tenth of a second at 10 and half a minute at this.
const HIGHEST_COST: u32 = 18;
/// Below it whoever gets hold of a hash can try very many passwords.
const SOUND_COST: u32 = 10;
/// What bcrypt itself allows.
const LOWEST_COST: u32 = 4;

/// What the file says; valid by construction.
#[derive(Debug, Clone, Default)]
pub struct WebFile {
    /// How connections are secured; `None` for plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// When the exporter's own certificate ends to be valid, in seconds since 1970.
    pub valid_until: Option<i64>,
    /// Names with the bcrypt hash of their password. Without any, everybody may ask.
    pub users: Vec<(String, SecretString)>,
    /// The lowest cost of these hashes.
    pub lowest_cost: Option<u32>,
    /// Headers of every answer, in place of our own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How many requests are answered, whoever asks.
    pub rate_limit: Option<RateLimit>,
    /// What was remarked on while it was read, with its place: files with secrets that everybody may read.
    pub read_remarks: Vec<Problem>,
}

/// A bucket of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// One request more may be made after each of these.
    pub interval: Duration,
    /// At most so many may be made at once.
    pub burst: usize,
}

impl WebFile {
    /// What can be used and will still not please.
    pub fn remarks(&self, now: Timestamp) -> Vec<String> {
        let mut remarks: Vec<String> = self.read_remarks.iter().map(ToString::to_string).collect();
        if self.tls.is_none() && !self.users.is_empty() {
            remarks.push("passwords come in the clear, as there is no tls_server_config".to_owned());
        }
        if let Some(cost) = self.lowest_cost.filter(|cost| *cost < SOUND_COST) {
            remarks.push(format!("a password's hash has a cost of {cost}, which is quick to guess: use 10 to 14"));
        }
        if self.valid_until.is_some_and(|until| (until as f64) < now.seconds()) {
            remarks.push("the certificate has expired: clients will refuse it".to_owned());
        }
        remarks
    }
}

/// Reads the file, and with `files` whatever it names; `looks` says who else may read a file.
pub(super) fn read(
    path: &Path,
    files: &dyn Fn(&Path) -> io::Result<String>,
    looks: Looks<'_>,
) -> Result<WebFile, ConfigError> {
    let file = path.display().to_string();
    let text = files(path).map_err(|source| ConfigError::Unreadable {
        file: file.clone(),
        flag: "--web.config.file",
        source,
    })?;
    let document = document::parse(&text).map_err(|error| not_yaml(file, &text, error))?;
    let mut reader = Reader::alone(path, files).reaching(None, looks);
    let mut web = WebFile::default();
    if let Some(mut root) = Table::open(&document, "", &mut reader) {
        let http2 = read_http(&mut root, &mut reader, &mut web.headers);
        let secured = root.table("tls_server_config", &mut reader);
        if let Some(secured) = secured.and_then(|table| tls::read(table, http2, &mut reader)) {
            web.tls = Some(secured.config);
            web.valid_until = secured.valid_until;
        }
        if let Some(users) = root.table("basic_auth_users", &mut reader) {
            let users = read_users(users, &mut reader);
            web.lowest_cost = users.iter().map(|(_, _, cost)| *cost).min();
            web.users = users.into_iter().map(|(name, hash, _)| (name, hash)).collect();
        }
        web.rate_limit = read_rate_limit(&mut root, &mut reader);
        root.close(&mut reader);
    }
    if !reader.problems.is_empty() {
        return Err(ConfigError::Invalid(Problems::new(reader.problems)));
    }
    if let Some(place) = reader.literal_secret.take()
        && let Some(open) = looks(path)
    {
        reader.remark(place, open.secret(&reader.file));
    }
    web.read_remarks = reader.remarks;
    Ok(web)
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    choice(text, &[("true", true), ("false", false)])
}

/// Fills in the headers, and tells whether HTTP/2 is offered.
fn read_http(root: &mut Table<'_>, reader: &mut Reader<'_>, found: &mut Vec<(HeaderName, HeaderValue)>) -> bool {
    let Some(mut table) = root.table("http_server_config", reader) else {
        return true;
    };
    let http2 = table.value("http2", reader, yes_or_no).unwrap_or(true);
    if let Some(mut headers) = table.table("headers", reader) {
        use http::header::{
            CONTENT_SECURITY_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
            X_XSS_PROTECTION,
        };
        for (key, name, words) in [
            ("Content-Security-Policy", CONTENT_SECURITY_POLICY, &[][..]),
            ("X-Frame-Options", X_FRAME_OPTIONS, &[("deny", "deny"), ("sameorigin", "sameorigin")]),
            ("X-Content-Type-Options", X_CONTENT_TYPE_OPTIONS, &[("nosniff", "nosniff")]),
            ("X-XSS-Protection", X_XSS_PROTECTION, &[]),
            ("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY, &[]),
        ] {
            let value = headers.value(key, reader, |text| {
                if !words.is_empty() {
                    choice(text, words)?;
                }
                HeaderValue::from_str(text).map_err(|_| "cannot be a header, use printable ASCII".to_owned())
            });
            // A blank one is how the toolkit says that it is not set.
            found.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
        }
        headers.close(reader);
    }
    table.close(reader);
    http2
}

/// Names, hashes and their costs.
fn read_users(table: Table<'_>, reader: &mut Reader<'_>) -> Vec<(String, SecretString, u32)> {
    let mut users = Vec::new();
    for (name, hash) in table.settings(reader) {
        match check_user(name, &hash) {
            Ok(cost) => {
                reader.holds_secret(&hash);
                users.push((name.to_owned(), SecretString::from(hash.value), cost));
            }
            Err(message) => reader.refuse(hash.place, message),
        }
    }
    users
}

fn check_user(name: &str, hash: &Setting) -> Result<u32, String> {
    if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
        return Err("a user's name has no colon, no control character, and is not empty".to_owned());
    }
    let parts: bcrypt::HashParts = hash.value.parse().map_err(|_| {
        "not a bcrypt hash; make one with `htpasswd -nBC 10 \"\" | tr -d ':\\n'`, it begins with $2y$10$".to_owned()
    })?;
    if hash.value.starts_with("$2x$") {
        return Err("made by a bcrypt with an error in it ($2x$); make a new hash".to_owned());
    }
    match parts.get_cost() {
        cost @ LOWEST_COST..=HIGHEST_COST => Ok(cost),
        0..LOWEST_COST => Err(format!("a cost below {LOWEST_COST}, which is no bcrypt; use 10 to 14")),
        cost => Err(format!(
            "a cost of {cost}: one check of a password would take {}, so {HIGHEST_COST} is the highest; use 10 to 14",
            match cost {
                ..=25 => "minutes",
                26..=30 => "hours",
                _ => "days",
            }
        )),
    }
}

fn read_rate_limit(root: &mut Table<'_>, reader: &mut Reader<'_>) -> Option<RateLimit> {
    let mut table = root.table("rate_limit", reader)?;
    let place = table.place_of("burst", reader);
    let interval = table.value("interval", reader, |text| duration_between(text, "0s", "1d"));
    let burst = table.value("burst", reader, |text| number_between(text, 0, 1_000_000)).unwrap_or_default();
    table.close(reader);
    let interval = interval.filter(|interval| !interval.is_zero())?;
    if burst == 0 {
        reader.refuse(place, "without a burst of 1 at least no request is ever answered");
    }
    Some(RateLimit { interval, burst })
}
