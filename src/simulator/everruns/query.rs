//! Reads query parameters; the first bad one makes the request a bad request.

use super::era::Era;
use super::errors;
use crate::simulator::pairs::pairs;
use crate::simulator::timestamp;
use crate::simulator::wire::Response;

/// Decoded parameters.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    era: Era,
}

impl Query {
    pub(super) fn new(era: Era, raw: &str) -> Self {
        Self { pairs: pairs(raw), era }
    }

    /// The value of a parameter; of several, the last one counts.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().rfind(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that is repeated.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        let found = self.pairs.iter().filter(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// A whole number.
    pub(super) fn int<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, Response> {
        self.read(name, |text| text.parse().ok())
    }

    /// True or false; absent is false.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Response> {
        Ok(self.read(name, |text| text.parse().ok())?.unwrap_or(false))
    }

    /// A time in microseconds.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, Response> {
        self.read(name, |text| text.contains('T').then(|| timestamp::parse(text)).flatten())
    }

    /// One of some words, or several separated by commas.
    pub(super) fn words(&self, name: &str, known: &[&str]) -> Result<Vec<String>, Response> {
        let words: Vec<String> =
            self.text(name).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default();
        match words.iter().find(|word| !known.contains(&word.as_str())) {
            Some(word) => Err(self.bad(&format!("invalid {name}: unknown value \"{word}\""))),
            None => Ok(words),
        }
    }

    /// The answer to a bad parameter.
    pub(super) fn bad(&self, detail: &str) -> Response {
        errors::plain(self.era, 400, detail)
    }

    fn read<T>(&self, name: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Response> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match read(text) {
            Some(value) => Ok(Some(value)),
            None => Err(self.bad(&format!("Failed to deserialize query string: {name}: invalid value"))),
        }
    }
}
