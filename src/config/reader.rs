//! Walks the document: one mapping at a time, every problem noted, nothing thrown.
//!
//! The keys a [`Table`] was asked for are the keys it allows; whatever else is written there is an
//! unknown key. So a setting is named once, where it is read.

use std::io;
use std::path::{Path, PathBuf};

use super::command::CommandError;
use super::document::{Content, Node};
use super::exposure::Open;
use super::interpolate::{interpolate, only_variable};
use super::problem::{Place, Problem, closest, listed, looks_like_a_name, looks_like_a_path};

/// Runs a command and tells what it printed.
pub(super) type Commands<'a> = &'a dyn Fn(&[String]) -> Result<String, CommandError>;
/// Looks whether a file or directory stands open to everybody.
pub(super) type Looks<'a> = &'a dyn Fn(&Path) -> Option<Open>;

/// What every part of the reading shares: the file's name, the environment, and what was found.
pub(super) struct Reader<'a> {
    pub(super) file: String,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether `${NAME}` means a variable; otherwise it is text like any other.
    has_variables: bool,
    /// Reads a small text file.
    pub(super) files: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Where files are that are named by a relative path.
    folder: PathBuf,
    /// `None` where no command may be run: then a key that only a command knows stays empty.
    pub(super) commands: Option<Commands<'a>>,
    pub(super) looks: Looks<'a>,
    pub(super) problems: Vec<Problem>,
    /// What works and should not stay so.
    pub(super) remarks: Vec<Problem>,
    /// Where the file itself holds a secret.
    pub(super) literal_secret: Option<Place>,
    /// Every public value with its place, to find a key that was put into one by mistake.
    seen: Vec<(Place, String)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        file: String,
        env: &'a dyn Fn(&str) -> Option<String>,
        files: &'a dyn Fn(&Path) -> io::Result<String>,
    ) -> Self {
        Self {
            file,
            env,
            has_variables: true,
            files,
            folder: PathBuf::new(),
            commands: None,
            looks: &|_| None,
            problems: Vec::new(),
            remarks: Vec::new(),
            literal_secret: None,
            seen: Vec::new(),
        }
    }

    /// Of a file in which nothing comes from the environment, and whose paths begin where it is.
    pub(super) fn alone(file: &Path, files: &'a dyn Fn(&Path) -> io::Result<String>) -> Self {
        let folder = file.parent().map(Path::to_owned).unwrap_or_default();
        let reader = Self::new(file.display().to_string(), &|_| None, files);
        Self { has_variables: false, folder, ..reader }
    }

    /// The same with ways to commands, where any may be run, and to who may read what.
    pub(super) fn reaching(self, commands: Option<Commands<'a>>, looks: Looks<'a>) -> Self {
        Self { commands, looks, ..self }
    }

    pub(super) fn refuse(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(Problem { place, message: message.into() });
    }

    /// The same for what two readers of one setting may both find.
    pub(super) fn refuse_once(&mut self, place: Place, message: impl Into<String>) {
        let problem = Problem { place, message: message.into() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Notes what works and should not stay so, once.
    pub(super) fn remark(&mut self, place: Place, message: impl Into<String>) {
        let remark = Problem { place, message: message.into() };
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// Notes a secret that was written out in the file, and not taken from elsewhere.
    pub(super) fn holds_secret(&mut self, setting: &Setting) {
        if setting.literal && self.literal_secret.is_none() {
            self.literal_secret = Some(setting.place.clone());
        }
    }

    /// Notes a file with a secret that others may read. It was read: so what names it is a path and no secret.
    pub(super) fn look_at_secret(&mut self, file: &Setting) {
        if let Some(open) = (self.looks)(&self.folder.join(&file.value)) {
            self.remark(file.place.clone(), open.secret(&file.value));
        }
    }

    /// Remembers a value that will be visible in labels, logs or on disk.
    pub(super) fn publish(&mut self, setting: &Setting) {
        self.seen.push((setting.place.clone(), setting.value.clone()));
    }

    /// Refuses public settings that contain one of the secrets.
    pub(super) fn refuse_published(&mut self, secrets: &[&str]) {
        let leaks: Vec<Place> = self
            .seen
            .iter()
            .filter(|(_, value)| secrets.iter().any(|secret| contains_secret(value, secret)))
            .map(|(place, _)| place.clone())
            .collect();
        for place in leaks {
            self.refuse(place, "contains an API key, which would be published; remove it here");
        }
    }

    fn place(&self, line: u64, key: &str) -> Place {
        Place::Key { file: self.file.clone(), line, key: key.to_owned() }
    }

    /// A file that a setting names. `None` after a problem.
    pub(super) fn read_file(&mut self, file: &Setting) -> Option<String> {
        if file.value.is_empty() {
            self.refuse_once(file.place.clone(), "empty, name a file or remove the line");
            return None;
        }
        let path = self.folder.join(&file.value);
        match (self.files)(&path) {
            Ok(text) => Some(text),
            Err(error) => {
                let mut message = format!("{}cannot read the file: {error}", file.shown_path());
                if error.kind() == io::ErrorKind::NotFound && path.as_os_str() != file.value.as_str() {
                    message.push_str(&format!("; relative paths begin in {}", self.folder.display()));
                }
                self.refuse_once(file.place.clone(), message);
                None
            }
        }
    }

    fn resolve(&mut self, place: Place, written: &str) -> Option<Setting> {
        if !self.has_variables {
            return Some(Setting { place, value: written.trim().to_owned(), literal: true, variable: None });
        }
        match interpolate(written, self.env) {
            Ok(value) => Some(Setting {
                place,
                value: value.trim().to_owned(),
                literal: !written.contains("${"),
                variable: only_variable(written),
            }),
            Err(message) => {
                self.refuse(place, message);
                None
            }
        }
    }
}

/// Shorter keys (`test`, `x`) turn up in honest names; real ones are far longer.
const SHORTEST_SECRET: usize = 8;

fn contains_secret(value: &str, secret: &str) -> bool {
    secret.len() >= SHORTEST_SECRET && value.contains(secret)
}

/// One scalar with its variables filled in. Deliberately without `Debug`: it may hold a key.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) place: Place,
    pub(super) value: String,
    /// Written out in the file, so that the environment has no part in it.
    pub(super) literal: bool,
    /// The variable that it is wholly from.
    pub(super) variable: Option<String>,
}

impl Setting {
    /// A value that was not written in the file, by the flag or variable it came from.
    pub(super) fn outside(name: &'static str, value: &str) -> Self {
        Self { place: Place::Outside(name), value: value.trim().to_owned(), literal: false, variable: None }
    }

    /// A path in a message; people do put a secret itself there.
    pub(super) fn shown_path(&self) -> String {
        if self.literal && looks_like_a_path(&self.value) { format!("{}: ", self.value) } else { String::new() }
    }
}

/// One mapping of the document while its keys are taken out.
pub(super) struct Table<'n> {
    path: String,
    line: u64,
    left: Vec<Field<'n>>,
    asked: Vec<&'static str>,
}

struct Field<'n> {
    key: &'n str,
    line: u64,
    value: &'n Node,
}

impl<'n> Table<'n> {
    /// Opens a node as a mapping; repeated keys are refused here.
    pub(super) fn open(node: &'n Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let Content::Map(entries) = &node.content else {
            let message = format!("expected `key: value` lines, {}", found(node));
            reader.refuse(reader.place(node.line, path), message);
            return None;
        };
        let mut table = Table {
            path: path.to_owned(),
            line: node.line,
            left: Vec::with_capacity(entries.len()),
            asked: Vec::new(),
        };
        for entry in entries {
            let first = table.left.iter().find(|field| field.key == entry.key);
            if let Some(first) = first {
                let message = format!("given a second time, first on line {}", first.line);
                let key = table.shown(&entry.key);
                reader.refuse(reader.place(entry.line, &key), message);
                continue;
            }
            table.left.push(Field { key: &entry.key, line: entry.line, value: &entry.value });
        }
        Some(table)
    }

    /// Where the mapping begins, for things that are missing in it.
    pub(super) fn place(&self, reader: &Reader<'_>) -> Place {
        reader.place(self.line, &self.path)
    }

    /// Where a key of this mapping is, or would be.
    pub(super) fn place_of(&self, key: &str, reader: &Reader<'_>) -> Place {
        let line = self.left.iter().find(|field| field.key == key).map_or(self.line, |field| field.line);
        reader.place(line, &self.full(key))
    }

    /// Takes a scalar. `None` when it is absent or was refused; ask [`Table::has`] first to tell.
    pub(super) fn setting(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Setting> {
        let field = self.take(key)?;
        self.scalar(field.value, field.line, &self.full(key), reader)
    }

    /// Takes a scalar that will be public, and converts it.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
        convert: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let setting = self.setting(key, reader)?;
        reader.publish(&setting);
        match convert(&setting.value) {
            Ok(value) => Some(value),
            Err(message) => {
                reader.refuse(setting.place, message);
                None
            }
        }
    }

    /// Takes a list of scalars; a single scalar counts as a list of one.
    pub(super) fn list(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Vec<Setting>> {
        let field = self.take(key)?;
        let path = self.full(key);
        let Content::List(items) = &field.value.content else {
            let only = self.scalar(field.value, field.line, &path, reader)?;
            return Some(vec![only]);
        };
        let mut settings = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            settings.extend(self.scalar(item, item.line, &format!("{path}[{index}]"), reader));
        }
        // Nothing but refused entries is not the same as an empty list.
        let all_refused = settings.is_empty() && !items.is_empty();
        (!all_refused).then_some(settings)
    }

    /// Takes a mapping below this one.
    pub(super) fn table(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Self> {
        let field = self.take(key)?;
        Table::open(field.value, &self.full(key), reader)
    }

    /// Takes a list of mappings.
    pub(super) fn tables(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Vec<Self>> {
        let field = self.take(key)?;
        let path = self.full(key);
        let Content::List(items) = &field.value.content else {
            let message = format!("expected a list, each entry after a `-`, {}", found(field.value));
            reader.refuse(reader.place(field.line, &path), message);
            return None;
        };
        let tables =
            items.iter().enumerate().filter_map(|(index, item)| Table::open(item, &format!("{path}[{index}]"), reader));
        Some(tables.collect())
    }

    /// Takes what is left: scalars under keys that somebody else chose.
    pub(super) fn settings(self, reader: &mut Reader<'_>) -> Vec<(&'n str, Setting)> {
        let scalar = |field: &Field<'n>| {
            let setting = self.scalar(field.value, field.line, &self.shown(field.key), reader)?;
            Some((field.key, setting))
        };
        self.left.iter().filter_map(scalar).collect()
    }

    /// Whether a key is written and not yet taken.
    pub(super) fn has(&self, key: &str) -> bool {
        self.left.iter().any(|field| field.key == key)
    }

    /// Refuses what nobody asked for.
    pub(super) fn close(self, reader: &mut Reader<'_>) {
        for field in &self.left {
            let subject = if looks_like_a_name(field.key) {
                "unknown key"
            } else {
                "unknown key, not repeated because it does not look like a setting's name"
            };
            let guess = match closest(field.key, &self.asked) {
                Some(meant) => format!(", did you mean `{meant}`?"),
                None => String::new(),
            };
            let message = format!("{subject}{guess} (allowed: {})", listed(&self.asked));
            let key = self.shown(field.key);
            reader.refuse(reader.place(field.line, &key), message);
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Field<'n>> {
        self.asked.push(key);
        let index = self.left.iter().position(|field| field.key == key)?;
        Some(self.left.remove(index))
    }

    fn scalar(&self, node: &Node, line: u64, path: &str, reader: &mut Reader<'_>) -> Option<Setting> {
        let place = reader.place(line, path);
        match &node.content {
            Content::Text(written) => reader.resolve(place, written),
            _ => {
                let message = format!("expected one value, {}", found(node));
                reader.refuse(place, message);
                None
            }
        }
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The full path of a key somebody else chose.
    fn shown(&self, key: &str) -> String {
        if looks_like_a_name(key) { self.full(key) } else { self.path.clone() }
    }
}

/// What stands in a place where something else is expected.
fn found(node: &Node) -> &'static str {
    match node.content {
        Content::Null => "found nothing; write one or remove the line",
        Content::Text(_) => "found a single value",
        Content::List(_) => "found a list",
        Content::Map(_) => "found `key: value` lines",
    }
}

/// One of several words.
pub(super) fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, meant)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*meant);
    }
    let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let guess = match closest(text, &allowed) {
        Some(meant) => format!(", did you mean `{meant}`?"),
        None => String::new(),
    };
    Err(format!("unknown word{guess} (allowed: {})", listed(&allowed)))
}

/// A whole number within limits.
pub(super) fn number_between(text: &str, least: usize, most: usize) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("use a whole number from {least} to {most}"))
}
