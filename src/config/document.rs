//! A YAML document as a plain tree in which every key and value knows its line.
//!
//! serde could fill our structs directly, but it stops at the first thing it does not like. Whoever
//! edits a configuration deserves all the problems at once, so the file becomes a tree first and is
//! judged afterwards. Scalars stay text exactly as written: `007` is a fine API key.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Error, Location, MessageFormatter, NonFiniteFloatPolicy, Spanned};

/// Nesting deeper than this is refused by the parser; ours needs four levels.
const MAX_DEPTH: usize = 32;

/// One value of the document and the line where it is used.
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) content: Content,
}

/// What a node holds.
pub(super) enum Content {
    /// Nothing was written after the key.
    Null,
    /// A scalar, whatever its style or apparent type.
    Text(String),
    List(Vec<Node>),
    /// Entries in the order they were written; a key may appear twice.
    Map(Vec<Entry>),
}

/// One `key: value` of a mapping.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u64,
    pub(super) value: Node,
}

/// Why a text is not one YAML document. Says where, never what stood there: it may be a secret.
#[derive(Debug)]
pub(super) struct NotYaml {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) message: String,
}

/// Reads one document. An empty or comment-only text is an empty mapping.
pub(super) fn parse(text: &str) -> Result<Node, NotYaml> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        // Reported by the reader, together with everything else that is wrong.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        // A snippet would print the lines around the mistake, and one of them is the key.
        with_snippet: false,
    };
    let parsed: Option<Spanned<Parsed>> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| NotYaml::from(&error))?;
    let root = match parsed {
        Some(root) => to_node(root, text),
        None => Node { line: 1, content: Content::Map(Vec::new()) },
    };
    Ok(root)
}

impl From<&Error> for NotYaml {
    fn from(error: &Error) -> Self {
        let location = error.location().unwrap_or(Location::UNKNOWN);
        NotYaml {
            line: location.line(),
            column: location.column(),
            message: DiscreetMessages.format_message(error.without_snippet()).into_owned(),
        }
    }
}

/// The parser's messages, restricted to those that cannot quote the document.
struct DiscreetMessages;

impl MessageFormatter for DiscreetMessages {
    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        match error {
            Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => self.format_message(error),
            // Scanner and parser messages are fixed sentences.
            Error::ExternalMessage { msg, .. } => Cow::Borrowed(msg.as_str()),
            Error::MultipleDocuments { .. } => Cow::Borrowed("a second document starts here, only one is read"),
            Error::Budget { .. } => Cow::Borrowed("nested too deeply or too large"),
            Error::UnknownAnchor { .. } => Cow::Borrowed("this alias names no anchor"),
            Error::Eof { .. } => Cow::Borrowed("the file ends too early"),
            _ => Cow::Borrowed("not valid YAML"),
        }
    }
}

/// What serde hands over, before scalars that look like numbers get their spelling back.
enum Parsed {
    Null,
    Text(String),
    /// A plain scalar that YAML takes for a number or boolean; its text is cut from the source.
    Plain,
    List(Vec<Spanned<Parsed>>),
    Map(Vec<(Spanned<String>, Spanned<Parsed>)>),
}

fn to_node(parsed: Spanned<Parsed>, source: &str) -> Node {
    let content = match parsed.value {
        Parsed::Null => Content::Null,
        Parsed::Text(text) => Content::Text(text),
        Parsed::Plain => Content::Text(spelling(parsed.defined, source).to_owned()),
        Parsed::List(items) => Content::List(items.into_iter().map(|item| to_node(item, source)).collect()),
        Parsed::Map(entries) => Content::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    line: key.referenced.line(),
                    key: key.value,
                    value: to_node(value, source),
                })
                .collect(),
        ),
    };
    Node { line: parsed.referenced.line(), content }
}

/// The characters of a plain scalar as they stand in the source.
fn spelling(location: Location, source: &str) -> &str {
    let Some(start) = location.span().byte_offset() else {
        return "";
    };
    let Some(length) = location.span().byte_len() else {
        return "";
    };
    let range = start as usize..(start + length) as usize;
    source.get(range).unwrap_or("").trim()
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParsedVisitor)
    }
}

struct ParsedVisitor;

impl<'de> Visitor<'de> for ParsedVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Parsed, E> {
        Ok(Parsed::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parsed, E> {
        Ok(Parsed::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parsed, E> {
        Ok(Parsed::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Parsed, E> {
        Ok(Parsed::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Parsed, E> {
        Ok(Parsed::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Parsed, E> {
        Ok(Parsed::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parsed, E> {
        Ok(Parsed::Plain)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parsed, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Parsed::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Parsed::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(node: &Node) -> String {
        match &node.content {
            Content::Null => "null".into(),
            Content::Text(t) => format!("{t:?}@{}", node.line),
            Content::List(items) => {
                format!("[{}]@{}", items.iter().map(render).collect::<Vec<_>>().join(", "), node.line)
            }
            Content::Map(entries) => format!(
                "{{{}}}@{}",
                entries
                    .iter()
                    .map(|e| format!("{}@{}: {}", e.key, e.line, render(&e.value)))
                    .collect::<Vec<_>>()
                    .join(", "),
                node.line
            ),
        }
    }

    fn rendered(text: &str) -> String {
        render(&parse(text).expect("valid YAML"))
    }

    fn refusal(text: &str) -> String {
        let error = parse(text).err().expect("invalid YAML");
        format!("{}:{}: {}", error.line, error.column, error.message)
    }

    #[test]
    fn scalars_keep_the_spelling_they_were_given() {
        assert_eq!(
            rendered("a: 007\nb: 0x1F\n\u{fc}: 1_000\nd: yes\ne: 1e5\nf: .inf\ng: -.5\n"),
            "{a@1: \"007\"@1, b@2: \"0x1F\"@2, \u{fc}@3: \"1_000\"@3, d@4: \"yes\"@4, \
             e@5: \"1e5\"@5, f@6: \".inf\"@6, g@7: \"-.5\"@7}@1"
        );
        assert_eq!(rendered("a: ${X:-http://x/y}\n"), "{a@1: \"${X:-http://x/y}\"@1}@1");
        let wide = "99999999999999999999999999999999999999999999999";
        assert_eq!(rendered(wide), format!("{wide:?}@1"));
    }

    #[test]
    fn lines_are_those_of_the_use() {
        assert_eq!(rendered("l:\n  - 1\n  - a: b\n    c: d\n"), "{l@1: [\"1\"@2, {a@3: \"b\"@3, c@4: \"d\"@4}@3]@2}@1");
        assert_eq!(rendered("a: &k 15\nb: *k\n"), "{a@1: \"15\"@1, b@2: \"15\"@2}@1");
        assert_eq!(
            rendered("d: &d {x: 1}\nm:\n  <<: *d\n  y: 2\n"),
            "{d@1: {x@1: \"1\"@1}@1, m@2: {y@4: \"2\"@4, x@3: \"1\"@3}@3}@1"
        );
    }

    #[test]
    fn duplicates_and_blanks_are_kept_for_the_reader_to_judge() {
        assert_eq!(rendered("a: 1\na: 2\n"), "{a@1: \"1\"@1, a@2: \"2\"@2}@1");
        assert_eq!(rendered("a:\nb: ~\n"), "{a@1: null, b@2: null}@1");
        assert_eq!(rendered("# nothing yet\n"), "{}@1");
    }

    #[test]
    fn broken_yaml_has_a_place_and_a_reason() {
        assert_eq!(refusal("a:b\nc: 2\n"), "2:2: mapping values are not allowed in this context");
        assert_eq!(refusal("a: 1\n---\nb: 2\n"), "3:1: a second document starts here, only one is read");
        assert_eq!(refusal("a: *b\n"), "1:4: this alias names no anchor");
        assert!(refusal(&format!("{}{}", "[".repeat(40), "]".repeat(40))).contains("nested too deeply"));
    }
}
