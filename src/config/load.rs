//! From a file or the environment to a checked [`Config`]; the only code here that touches files.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use secrecy::ExposeSecret;

use super::base_url::BaseUrl;
use super::document::{self, Node, NotYaml};
use super::otlp;
use super::problem::{ConfigError, Place, Problem, Problems};
use super::reader::{Reader, Setting, Table};
use super::settings::{self, LabelsConfig, StorageConfig, WebConfig};
use super::source::{self, Placed};
use super::{Config, Overrides};
use crate::ingest::platforms::{Descriptor, PLATFORMS};

/// A configuration is a few kilobytes; a larger file is the wrong file.
const LARGEST_FILE: u64 = 1 << 20;

/// Loads the configuration: flags over file over defaults, keys from the environment.
///
/// Without a file, or with one that has no `sources`, every platform is watched whose key is in the environment. `env`
/// is the only way the environment is read.
///
/// # Errors
///
/// Names every problem at once, by file, line and key, and repeats no values.
pub fn load(
    file: Option<&Path>,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let read = RefCell::new(BTreeSet::new());
    let files = |path: &Path| {
        read.borrow_mut().insert(path.to_owned());
        read_text(path)
    };
    let outside = Outside { env, files: &files };
    let mut config = match file {
        None => assemble(String::new(), None, overrides, &outside)?,
        Some(path) => {
            let name = path.display().to_string();
            let text = files(path).map_err(|source| ConfigError::Unreadable {
                file: name.clone(),
                flag: "--config.file",
                source,
            })?;
            match document::parse(&text) {
                Ok(document) => assemble(name, Some(&document), overrides, &outside)?,
                Err(error) => return Err(not_yaml(name, &text, error)),
            }
        }
    };
    config.files = read.into_inner();
    Ok(config)
}

/// The ways to what is not in the document.
struct Outside<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    files: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// Judges the document, if there is one, and puts the parts together.
fn assemble(
    file: String,
    document: Option<&Node>,
    overrides: &Overrides,
    outside: &Outside<'_>,
) -> Result<Config, ConfigError> {
    let mut reader = Reader::new(file, outside.env, outside.files);
    let mut storage = StorageConfig::default();
    let mut web = WebConfig::default();
    let mut labels = LabelsConfig::default();
    let mut sources = None;
    let mut otlp = None;
    let mut root = document.and_then(|node| Table::open(node, "", &mut reader));
    if root.is_none() {
        otlp = otlp::read_otlp(None, &mut reader);
    }
    if let Some(mut root) = root.take() {
        sources = read_sources(&mut root, &mut reader);
        storage = settings::read_storage(&mut root, &mut reader);
        web = settings::read_web(&mut root, &mut reader);
        labels = settings::read_labels(&mut root, &mut reader);
        otlp = otlp::read_otlp(Some(&mut root), &mut reader);
        root.close(&mut reader);
    }
    settings::apply(overrides, &mut storage, &mut web, &mut reader);
    let sources = match sources {
        Some(sources) => sources,
        None => environment_sources(&mut reader),
    };
    if sources.is_empty() && reader.problems.is_empty() {
        return Err(ConfigError::NothingToWatch);
    }
    source::refuse_twins(&sources, &mut reader);
    let secrets: Vec<&str> = sources.iter().map(|placed| placed.source.api_key.expose_secret()).collect();
    reader.refuse_published(&secrets);
    if !reader.problems.is_empty() {
        return Err(ConfigError::Invalid(Problems::new(reader.problems)));
    }
    let sources = sources.into_iter().map(|placed| placed.source).collect();
    Ok(Config { sources, storage, web, labels, otlp, files: BTreeSet::new() })
}

/// `None` when the file says nothing about sources, so that the environment may.
fn read_sources(root: &mut Table<'_>, reader: &mut Reader<'_>) -> Option<Vec<Placed>> {
    if !root.has("sources") {
        // Asked for all the same: it is an allowed key.
        let _absent = root.tables("sources", reader);
        return None;
    }
    let place = root.place_of("sources", reader);
    let before = reader.problems.len();
    let tables = root.tables("sources", reader).unwrap_or_default();
    if tables.is_empty() && reader.problems.len() == before {
        reader.refuse(place, "an empty list, add a source or remove the line");
    }
    let mut sources = Vec::with_capacity(tables.len());
    for table in tables {
        sources.push(source::read_source(table, reader));
    }
    Some(sources)
}

/// One source for every platform whose key is in the environment.
fn environment_sources(reader: &mut Reader<'_>) -> Vec<Placed> {
    PLATFORMS.iter().filter_map(|platform| environment_source(platform, reader)).collect()
}

fn environment_source(platform: &'static Descriptor, reader: &mut Reader<'_>) -> Option<Placed> {
    let variables = platform.key_variables.iter();
    let set: Vec<(&'static str, String)> =
        variables.filter_map(|name| (reader.env)(name).map(|key| (*name, key.trim().to_owned()))).collect();
    // An empty variable is how a container says "not set", unless it is the only one.
    let filled = set.iter().find(|(_, key)| !key.is_empty());
    let (variable, key) = filled.or(set.first())?.clone();
    let place = Place::Outside(variable);
    let mut source = source::with_defaults(platform);
    source.api_key = source::checked_key(place.clone(), key, "", reader);
    if let Some(base_url) = public_variable(platform.base_url_variable, reader) {
        match BaseUrl::parse(&base_url.value) {
            Ok(base_url) => source.base_url = base_url,
            Err(message) => reader.refuse(base_url.place, message),
        }
    }
    for setting in platform.settings {
        let Some(given) = setting.variable.and_then(|variable| public_variable(variable, reader)) else { continue };
        match source::checked_setting(&given.value, &setting.kind) {
            Ok(value) => drop(source.settings.insert(setting.key, value)),
            Err(message) => reader.refuse(given.place, message),
        }
    }
    Some(Placed { place, source })
}

/// A variable that holds no secret; an empty one is not set.
fn public_variable(name: &'static str, reader: &mut Reader<'_>) -> Option<Setting> {
    let value = (reader.env)(name).filter(|value| !value.trim().is_empty())?;
    let setting = Setting::outside(name, value.trim());
    reader.publish(&setting);
    Some(setting)
}

/// Text that is no document.
pub(super) fn not_yaml(file: String, text: &str, error: NotYaml) -> ConfigError {
    let line_number = usize::try_from(error.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let line = text.lines().nth(line_number).unwrap_or_default();
    // `{` opens a mapping inside brackets, so `[${NAME}]` is the one place where quotes are needed.
    let hint = if line.contains("${") && line.contains(['[', '{']) {
        "; inside brackets write \"${NAME}\" with quotes"
    } else {
        ""
    };
    let place = Place::Character { file, line: error.line, column: error.column };
    ConfigError::Invalid(Problems::new(vec![Problem { place, message: format!("{}{hint}", error.message) }]))
}

/// A small text file.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    if read as u64 > LARGEST_FILE {
        let message = "larger than 1 MiB, is it the right file?";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}
