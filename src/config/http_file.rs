//! `--http.config.file`: how a running exporter is asked, in the words of Prometheus' `http_config`.
//!
//! The other side of the web configuration: what is written there for a scrape is written here for a command.

use std::path::Path;

use secrecy::SecretString;

use super::document;
use super::load::{not_yaml, read_text};
use super::problem::{ConfigError, Problems};
use super::reader::{Reader, Table};
use super::trust;
use crate::tls::Trust;

/// What the file says; valid by construction.
#[derive(Debug, Clone, Default)]
pub struct HttpFile {
    /// Name and password.
    pub user: Option<(String, SecretString)>,
    /// How an https connection is secured.
    pub trust: Trust,
}

impl HttpFile {
    /// Reads the file, and what it names.
    ///
    /// # Errors
    ///
    /// Names every problem at once, by file, line and key, and repeats no values.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = read_text(path).map_err(|source| ConfigError::Unreadable {
            file: file.clone(),
            flag: "--http.config.file",
            source,
        })?;
        let document = document::parse(&text).map_err(|error| not_yaml(file, &text, error))?;
        let mut reader = Reader::alone(path, &read_text);
        let mut http = Self::default();
        if let Some(mut root) = Table::open(&document, "", &mut reader) {
            http.user = root.table("basic_auth", &mut reader).and_then(|table| read_user(table, &mut reader));
            if let Some(mut table) = root.table("tls_config", &mut reader) {
                let [authorities, certificate, key] =
                    ["ca_file", "cert_file", "key_file"].map(|key| table.setting(key, &mut reader));
                table.close(&mut reader);
                http.trust = trust::read(authorities, certificate, key, &mut reader);
            }
            root.close(&mut reader);
        }
        if !reader.problems.is_empty() {
            return Err(ConfigError::Invalid(Problems::new(reader.problems)));
        }
        Ok(http)
    }
}

fn read_user(mut table: Table<'_>, reader: &mut Reader<'_>) -> Option<(String, SecretString)> {
    let place = table.place(reader);
    let name = table.setting("username", reader);
    let password = table.setting("password", reader);
    let file = table.setting("password_file", reader);
    table.close(reader);
    let password = match (password, file) {
        (Some(_), Some(file)) => {
            reader.refuse(file.place, "given in `password` as well, keep one of the two");
            None
        }
        (Some(password), None) => Some(password.value),
        (None, Some(file)) => reader.read_file(&file).map(|text| text.trim().to_owned()),
        (None, None) => {
            reader.refuse(place.clone(), "password_file or password is missing");
            None
        }
    };
    if name.is_none() {
        reader.refuse(place, "username is missing");
    }
    Some((name?.value, password?.into()))
}
