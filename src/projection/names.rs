//! Label texts, each held once and known by number from then on; and the policy that keeps them fit for labels.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use smol_str::{SmolStr, SmolStrBuilder};

use crate::domain::NameId;

/// What caller-controlled label texts and the number of series are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelPolicy {
    /// Longer texts are cut to this many characters.
    pub max_length: usize,
    /// Label sets a metric may have before further ones go to its overflow series (the values that a platform
    /// enumerates, such as a status, do not count).
    pub max_series: usize,
}

impl Default for LabelPolicy {
    fn default() -> Self {
        Self { max_length: 100, max_series: 2000 }
    }
}

/// Stands where a platform gives no name.
pub const UNKNOWN: &str = "unknown";
/// The label value of the series that takes what does not fit.
pub const OVERFLOW: &str = "__overflow__";

/// Texts kept at most; past it new ones become [`OVERFLOW`], so that a flood of names cannot fill the memory.
const MAX_NAMES: usize = 200_000;

/// The dictionary. Numbers are given in order of first sight and stay.
#[derive(Clone, Debug)]
pub struct Names {
    by_text: HashMap<SmolStr, NameId, RandomState>,
    texts: Arc<Vec<SmolStr>>,
    policy: LabelPolicy,
}

impl Names {
    /// The absence of a label.
    pub const NONE: NameId = NameId(0);
    /// [`OVERFLOW`].
    pub const OVERFLOWED: NameId = NameId(1);

    /// A dictionary that holds only what every one holds.
    pub fn new(policy: LabelPolicy) -> Self {
        let mut names = Self { by_text: HashMap::default(), texts: Arc::new(Vec::new()), policy };
        names.exact("");
        names.exact(OVERFLOW);
        names
    }

    /// The number of a text that is fit already: one of our own, or one read back from the store.
    pub fn exact(&mut self, text: &str) -> NameId {
        if let Some(&id) = self.by_text.get(text) {
            return id;
        }
        if self.texts.len() >= MAX_NAMES {
            return Self::OVERFLOWED;
        }
        let id = NameId(u32::try_from(self.texts.len()).expect("far fewer than 2^32 names"));
        let text = SmolStr::new(text);
        Arc::make_mut(&mut self.texts).push(text.clone());
        self.by_text.insert(text, id);
        id
    }

    /// The number of a text that somebody else chose: cut, trimmed, without control characters.
    pub fn foreign(&mut self, text: &str) -> NameId {
        if let Some(&id) = self.by_text.get(text) {
            // What is in the dictionary is fit; reserved texts are not for others to use.
            return if text.is_empty() || text == OVERFLOW { self.exact(UNKNOWN) } else { id };
        }
        let fit = fit_for_label(text, self.policy.max_length);
        if fit.is_empty() || fit == OVERFLOW {
            return self.exact(UNKNOWN);
        }
        self.exact(&fit)
    }

    /// The number of a text, if it has one.
    pub fn find(&self, text: &str) -> Option<NameId> {
        self.by_text.get(text).copied()
    }

    /// The text behind a number.
    pub fn text(&self, id: NameId) -> &str {
        self.texts.get(id.0 as usize).map_or(UNKNOWN, SmolStr::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Never: the reserved texts are always there.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// All texts by number, shared with whoever renders them.
    pub fn texts(&self) -> Arc<Vec<SmolStr>> {
        Arc::clone(&self.texts)
    }
}

/// Newlines, quotes, backslashes and every script stay (the exposition escapes them); what no terminal, query or
/// dashboard can show goes.
fn fit_for_label(text: &str, max_length: usize) -> SmolStr {
    let text = text.trim();
    let is_long = text.chars().nth(max_length).is_some();
    let kept = if is_long { max_length.saturating_sub(1) } else { max_length };
    let mut fit = SmolStrBuilder::new();
    for c in text.chars().take(kept) {
        fit.push(if c.is_control() && c != '\n' { '\u{fffd}' } else { c });
    }
    if is_long {
        fit.push('…');
    }
    fit.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_texts_are_made_fit() {
        let mut names = Names::new(LabelPolicy { max_length: 8, max_series: 10 });
        for (given, kept) in [
            ("h/web", "h/web"),
            ("  padded ", "padded"),
            ("twelve chars", "twelve …"),
            ("exactly8", "exactly8"),
            ("a\u{0}b\tc", "a\u{fffd}b\u{fffd}c"),
            ("a\n\"b\\", "a\n\"b\\"),
            ("", UNKNOWN),
            ("   ", UNKNOWN),
            (OVERFLOW, UNKNOWN),
            ("ünïcödé…", "ünïcödé…"),
        ] {
            let id = names.foreign(given);
            assert_eq!(names.text(id), kept, "{given:?}");
            assert_eq!(names.foreign(given), id);
        }
    }

    #[test]
    fn the_same_text_has_one_number() {
        let mut names = Names::new(LabelPolicy::default());
        let a = names.foreign("a");
        let b = names.foreign("b");
        assert_ne!(a, b);
        assert_eq!(names.exact("a"), a);
        assert_eq!(names.find("b"), Some(b));
        assert_eq!(names.find("c"), None);
    }
}
