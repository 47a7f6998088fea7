//! What can be wrong with a configuration, and how it is told: place first, remedy last, no values.
//!
//! A value may be a secret in the wrong field, so no message repeats one. File, line and key say
//! where to look. The few words that are repeated (unknown keys, variable names, paths) must look
//! like what they claim to be, see [`looks_like_a_name`] and [`looks_like_a_path`].

use std::fmt;

use thiserror::Error;

/// Why there is no configuration to start with.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Neither a file with `sources` nor a key in the environment.
    #[error(
        "nothing to watch: no sources configured and no API key in the environment\n  \
         either set HAI_API_KEY (or H_API_KEY) to watch H's EU platform, EVERRUNS_API_KEY to watch Everruns, or both\n  \
         or list `sources` in a file and name it: --config.file=exporter.yaml\n  \
         or look around first: agent-session-exporter demo"
    )]
    NothingToWatch,
    /// The file itself could not be read.
    #[error("cannot read {file}: {source}; check the path given as {flag}")]
    Unreadable {
        /// The path as it was given.
        file: String,
        /// What it was given with.
        flag: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file was read, and these are all the things to correct.
    #[error("{0}")]
    Invalid(Problems),
}

/// Every problem of one configuration, in the order of the file; at least one.
#[derive(Debug)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.place.line());
        Self(problems)
    }

    /// The problems one by one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "{only}"),
            many => {
                write!(f, "{} problems in the configuration", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// One thing to correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong there and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A key of the file.
    Key {
        /// The file as it was named on the command line.
        file: String,
        /// Counted from 1.
        line: u64,
        /// The path to the key, such as `sources[0].poll_interval`; empty for the file as a whole.
        key: String,
    },
    /// A character of the file, for text that is not YAML.
    Character {
        /// The file as it was named on the command line.
        file: String,
        /// Counted from 1.
        line: u64,
        /// Counted from 1.
        column: u64,
    },
    /// A flag or an environment variable, by name.
    Outside(&'static str),
}

impl Place {
    /// Flags and variables sort before the file.
    pub(super) fn line(&self) -> u64 {
        match self {
            Place::Key { line, .. } | Place::Character { line, .. } => *line,
            Place::Outside(_) => 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Key { file, line, key } if key.is_empty() => write!(f, "{file}:{line}"),
            Place::Key { file, line, key } => write!(f, "{file}:{line}: {key}"),
            Place::Character { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Place::Outside(name) => f.write_str(name),
        }
    }
}

/// Longer words are not names anybody chose.
const LONGEST_NAME: usize = 40;

/// Whether a word may be repeated in a message: an upper-case variable name, or letters only.
/// Keys and tokens have digits among their letters.
pub(super) fn looks_like_a_name(word: &str) -> bool {
    let is_variable = word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        && word.contains('_');
    let is_word = word.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '.'));
    !word.is_empty() && word.len() <= LONGEST_NAME && (is_variable || is_word)
}

/// Whether a text may be repeated in a message as the path of a file.
pub(super) fn looks_like_a_path(text: &str) -> bool {
    ["/", "./", "../"].iter().any(|start| text.starts_with(start))
}

/// The allowed word somebody most likely meant, if one is close enough.
pub(super) fn closest<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let word = normalized(word);
    allowed
        .iter()
        .map(|&candidate| (distance(&word, &normalized(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= tolerance(candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Two swapped letters are two edits; a third of the letters wrong is a different word.
fn tolerance(candidate: &str) -> usize {
    match candidate.len() {
        0..=3 => 1,
        length => (length / 3).max(2),
    }
}

/// The words quoted and separated by commas.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// `pollInterval`, `poll-interval` and `poll_interval` are the same mistake.
fn normalized(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Levenshtein distance, one row at a time.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_word_that_was_meant() {
        let allowed = ["poll_interval", "owner", "api_key", "api_key_file"];
        assert_eq!(closest("poll_intervall", &allowed), Some("poll_interval"));
        assert_eq!(closest("pollInterval", &allowed), Some("poll_interval"));
        assert_eq!(closest("onwer", &allowed), Some("owner"));
        assert_eq!(closest("apikey", &allowed), Some("api_key"));
        assert_eq!(closest("something", &allowed), None);
    }

    #[test]
    fn only_words_that_cannot_be_keys_are_repeated() {
        for name in ["poll_intervall", "HAI_API_KEY", "REGION_2", "pollInterval", "max-series"] {
            assert!(looks_like_a_name(name), "{name}");
        }
        let long = "x".repeat(41);
        for secret in ["hk-5f3a", "sk_live_1", "AB12CD", "", "a b", long.as_str()] {
            assert!(!looks_like_a_name(secret), "{secret}");
        }
    }

    #[test]
    fn problems_are_sorted_by_line() {
        let at = |line| Problem { place: Place::Key { file: "f".into(), line, key: "k".into() }, message: "m".into() };
        let flag = Problem { place: Place::Outside("--flag"), message: "m".into() };
        let text = Problems::new(vec![at(9), at(2), flag]).to_string();
        assert_eq!(text, "3 problems in the configuration\n  --flag: m\n  f:2: k: m\n  f:9: k: m");
    }
}
