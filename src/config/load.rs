//! From a file or the environment to a checked [`Config`]; the only code here that touches files and runs commands.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use secrecy::ExposeSecret;

use super::base_url::BaseUrl;
use super::command;
use super::document::{self, Node, NotYaml};
use super::exposure::{self, Open};
use super::otlp;
use super::problem::{ConfigError, Place, Problem, Problems};
use super::reader::{Commands, Looks, Reader, Setting, Table};
use super::settings::{self, LabelsConfig, StorageConfig, WebConfig};
use super::source::{self, Placed};
use super::{Config, Overrides};
use crate::ingest::platforms::{Descriptor, PLATFORMS};

/// A configuration is a few kilobytes; a larger file is the wrong file.
const LARGEST_FILE: u64 = 1 << 20;

/// Loads the configuration: flags over file over defaults, keys from the environment.
///
/// Without a file, or with one that has no `sources`, every platform is watched whose key is in the environment. `env`
/// is the only way the environment is read; commands that print keys are run, each once, unless `overrides` say no.
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
    let told = RefCell::new(BTreeMap::new());
    let commands = |words: &[String]| {
        // Sources that share a key ask once.
        if let Some(output) = told.borrow().get(words) {
            return Ok(String::clone(output));
        }
        let output = command::output(words)?;
        told.borrow_mut().insert(words.to_vec(), output.clone());
        Ok(output)
    };
    let commands: Option<Commands<'_>> = if overrides.without_commands { None } else { Some(&commands) };
    let outside = Outside { env, files: &files, commands, looks: &exposure::look };
    let mut config = match file {
        None => assemble(String::new(), None, overrides, &outside)?,
        Some(path) => {
            let name = path.display().to_string();
            let text = files(path).map_err(|source| ConfigError::Unreadable {
                file: name.clone(),
                flag: "--config.file",
                source,
            })?;
            from_text(name, &text, overrides, &outside)?
        }
    };
    config.files = read.into_inner();
    Ok(config)
}

/// Judges a text as [`load`] does a file, without touching anything: files come from `files`, and no command is run.
///
/// # Errors
///
/// As [`load`].
pub fn judge(
    name: &str,
    text: &str,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
    files: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Config, ConfigError> {
    from_text(name.to_owned(), text, overrides, &Outside { env, files, commands: None, looks: &|_| None })
}

fn from_text(name: String, text: &str, overrides: &Overrides, outside: &Outside<'_>) -> Result<Config, ConfigError> {
    match document::parse(text) {
        Ok(document) => assemble(name, Some(&document), overrides, outside),
        Err(error) => Err(not_yaml(name, text, error)),
    }
}

/// The ways to what is not in the document.
struct Outside<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    files: &'a dyn Fn(&Path) -> io::Result<String>,
    commands: Option<Commands<'a>>,
    looks: Looks<'a>,
}

/// Judges the document, if there is one, and puts the parts together.
fn assemble(
    file: String,
    document: Option<&Node>,
    overrides: &Overrides,
    outside: &Outside<'_>,
) -> Result<Config, ConfigError> {
    let mut reader = Reader::new(file, outside.env, outside.files).reaching(outside.commands, outside.looks);
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
    remark_open(document.is_some(), &storage, &mut reader);
    let sources = sources.into_iter().map(|placed| placed.source).collect();
    Ok(Config { sources, storage, web, labels, otlp, files: BTreeSet::new(), remarks: reader.remarks })
}

/// Notes what others can read or change of what the exporter relies on, besides files that hold nothing but a secret.
fn remark_open(has_file: bool, storage: &StorageConfig, reader: &mut Reader<'_>) {
    if has_file && let Some(open) = (reader.looks)(Path::new(&reader.file)) {
        let whole = Place::Key { file: reader.file.clone(), line: 1, key: String::new() };
        if open.can_change() {
            reader.remark(whole, open.configuration(&reader.file));
        } else if let Some(place) = reader.literal_secret.take() {
            reader.remark(place, open.secret(&reader.file));
        }
    }
    if let Some(open) = (reader.looks)(&storage.path).filter(Open::can_change) {
        reader.remark(Place::Outside("storage.path"), open.store(&storage.path));
    }
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
    if let Some(url) = public_variable(platform.base_url_variable, reader) {
        match BaseUrl::parse(&url.value) {
            Ok(base_url) => {
                source::remark_plain(url.place, &base_url, reader);
                source.base_url = base_url;
            }
            Err(message) => reader.refuse(url.place, message),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::command::CommandError;

    /// What stands open, by path; everything else does not, and every file holds a key.
    fn remarks(text: &str, open: &[(&'static str, u32)], env: &[(&'static str, &'static str)]) -> Vec<String> {
        let open: BTreeMap<&str, u32> = open.iter().copied().collect();
        let document = document::parse(text).expect("YAML");
        let commands = |words: &[String]| match words[0].as_str() {
            "keys" => Ok("hk-from-a-command\n".to_owned()),
            _ => Err(CommandError::Failed(1)),
        };
        let outside = Outside {
            env: &|name| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
            files: &|_| Ok("authorization=hk-1".to_owned()),
            commands: Some(&commands),
            looks: &|path| open.get(path.to_str()?).copied().map(Open::with_mode),
        };
        let config = assemble("/etc/ase.yaml".into(), Some(&document), &Overrides::default(), &outside);
        config.expect("a configuration").remarks.iter().map(ToString::to_string).collect()
    }

    fn source(key: &str) -> String {
        format!("sources:\n- platform: hcompany\n  {key}\n")
    }

    #[test]
    fn files_with_a_secret_that_everybody_may_read_are_named_with_what_mends_it() {
        let key_file = source("api_key_file: /etc/key");
        assert_eq!(
            remarks(&key_file, &[("/etc/key", 0o644)], &[]),
            ["/etc/ase.yaml:3: sources[0].api_key_file: /etc/key holds a secret, and every user of this machine can \
                 read it (mode 0644): make the exporter's user or group its owner, then chmod o-rwx /etc/key"]
        );
        assert_eq!(remarks(&key_file, &[("/etc/ase.yaml", 0o644)], &[]), [""; 0], "there is no secret in it");
        let named = source("api_key_file: ${FILE}");
        assert_eq!(remarks(&named, &[("/etc/key", 0o644)], &[("FILE", "/etc/key")]).len(), 1);

        let headers = "otlp: {endpoint: 'https://otlp.example', headers_file: /etc/headers}\n";
        let both = format!("{key_file}{headers}");
        assert_eq!(remarks(&both, &[("/etc/headers", 0o604), ("/etc/key", 0o604)], &[]).len(), 2);
    }

    #[test]
    fn a_configuration_is_looked_at_for_the_secrets_that_are_written_in_it() {
        const OPEN: &[(&str, u32)] = &[("/etc/ase.yaml", 0o644)];
        let said = remarks(&source("api_key: hk-1"), OPEN, &[]);
        let [said] = &said[..] else { panic!("{said:?}") };
        assert!(said.starts_with("/etc/ase.yaml:3: sources[0].api_key: /etc/ase.yaml holds a secret"), "{said}");
        assert_eq!(remarks(&source("api_key: ${KEY}"), OPEN, &[("KEY", "hk-1")]), [""; 0]);
        assert_eq!(remarks(&source("api_key_command: keys"), OPEN, &[]), [""; 0]);
        let headers = "otlp: {endpoint: 'https://otlp.example', headers: ['authorization=Bearer t']}\n";
        assert_eq!(remarks(&format!("{}{headers}", source("api_key_command: keys")), OPEN, &[]).len(), 1);

        // Whoever writes there decides what is run.
        let said = remarks(&source("api_key_command: keys"), &[("/etc/ase.yaml", 0o666)], &[]);
        let [said] = &said[..] else { panic!("{said:?}") };
        assert!(said.contains("can change /etc/ase.yaml (mode 0666)") && said.ends_with("chmod o-rwx /etc/ase.yaml"));
    }

    #[test]
    fn a_store_that_everybody_may_exchange_is_named() {
        let text = format!("{}storage: {{path: /var/lib/ase}}\n", source("api_key: hk-1"));
        assert_eq!(
            remarks(&text, &[("/var/lib/ase", 0o777)], &[]),
            ["storage.path: every user of this machine can exchange what is in /var/lib/ase (mode 0777): chmod o-rwx \
              /var/lib/ase"]
        );
        assert_eq!(remarks(&text, &[("/var/lib/ase", 0o755)], &[]), [""; 0], "the files in it are nobody else's");
    }

    #[test]
    fn keys_that_travel_in_the_clear_are_named() {
        let at = |url: &str| remarks(&source(&format!("api_key_command: keys\n  base_url: {url}")), &[], &[]);
        assert_eq!(
            at("http://everruns.internal:9000"),
            ["/etc/ase.yaml:4: sources[0].base_url: over http:// the key goes to another machine in the clear, write \
              https:// if the server can"]
        );
        assert_eq!(at("http://127.0.0.1:9000"), [""; 0]);
        assert_eq!(at("https://everruns.internal"), [""; 0]);

        let pushed = |otlp: &str| remarks(&format!("{}otlp: {otlp}\n", source("api_key_command: keys")), &[], &[]);
        let said = pushed("{endpoint: 'http://otlp.internal:4318', headers: ['a=${T:-b}']}");
        assert_eq!(said.len(), 1, "once, and not for each signal: {said:?}");
        assert!(said[0].contains("otlp.endpoint: over http:// headers go to another machine"), "{said:?}");
        assert_eq!(pushed("{endpoint: 'http://otlp.internal:4318'}"), [""; 0], "there is nothing secret in it");
        assert_eq!(pushed("{endpoint: 'http://localhost:4318', headers: ['a=${T:-b}']}"), [""; 0]);
    }
}
