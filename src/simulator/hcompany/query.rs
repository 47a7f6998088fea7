//! Reads query parameters as strictly as the platform does and collects everything that is wrong with them.

use serde_json::{Value, json};

use super::errors::{self, Problem};
use crate::simulator::pairs::pairs;
use crate::simulator::script::Id;
use crate::simulator::timestamp;
use crate::simulator::wire::Response;

/// Decoded parameters and the problems found so far.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    problems: Vec<Problem>,
}

impl Query {
    /// Splits and decodes a raw query.
    pub(super) fn new(raw: &str) -> Self {
        Self { pairs: pairs(raw), problems: Vec::new() }
    }

    /// The value of a parameter that can be given once; of several, the last one counts.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().rfind(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that can be repeated under its bare name.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let found = self.pairs.iter().filter(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).collect()
    }

    /// A whole number within bounds.
    pub(super) fn int(&mut self, name: &'static str, default: i64, low: Option<i64>, high: Option<i64>) -> i64 {
        let Some(input) = self.text(name).map(str::to_owned) else {
            return default;
        };
        let Some(value) = parse_int(&input) else {
            self.problem(
                "int_parsing",
                name,
                None,
                &input,
                "Input should be a valid integer, unable to parse string as an integer",
                None,
            );
            return default;
        };
        if let Some(low) = low.filter(|low| value < *low) {
            let message = format!("Input should be greater than or equal to {low}");
            self.problem("greater_than_equal", name, None, &input, &message, Some(json!({ "ge": low })));
        } else if let Some(high) = high.filter(|high| value > *high) {
            let message = format!("Input should be less than or equal to {high}");
            self.problem("less_than_equal", name, None, &input, &message, Some(json!({ "le": high })));
        }
        value
    }

    /// True or false, in any of the spellings the platform takes.
    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> bool {
        let Some(input) = self.text(name).map(str::to_owned) else {
            return default;
        };
        match input.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "t" | "y" => true,
            "false" | "0" | "no" | "off" | "f" | "n" => false,
            _ => {
                self.problem(
                    "bool_parsing",
                    name,
                    None,
                    &input,
                    "Input should be a valid boolean, unable to interpret input",
                    None,
                );
                default
            }
        }
    }

    /// A time in microseconds.
    pub(super) fn time(&mut self, name: &'static str) -> Option<i64> {
        let input = self.text(name)?.to_owned();
        let time = timestamp::parse(&input);
        if time.is_none() {
            let reason = if input.len() < 10 {
                "input is too short"
            } else {
                "unexpected extra characters at the end of the input"
            };
            let message = format!("Input should be a valid datetime or date, {reason}");
            self.problem("datetime_from_date_parsing", name, None, &input, &message, Some(json!({ "error": reason })));
        }
        time
    }

    /// One of a fixed set of words.
    pub(super) fn word(&mut self, name: &'static str, allowed: &[&str]) {
        let Some(input) = self.text(name).map(str::to_owned) else {
            return;
        };
        self.check_word("literal_error", name, None, &input, allowed);
    }

    /// Any number of a fixed set of words, each under the bare name.
    pub(super) fn words(&mut self, name: &'static str, kind: &'static str, allowed: &[&str]) -> Vec<String> {
        let inputs = self.texts(name);
        for (index, input) in inputs.iter().enumerate() {
            self.check_word(kind, name, Some(index), input, allowed);
        }
        inputs
    }

    /// A UUID in the query.
    pub(super) fn uuid(&mut self, name: &'static str) -> Option<Id> {
        let input = self.text(name)?.to_owned();
        self.check_uuid("query", name, &input)
    }

    /// The UUID in the path.
    pub(super) fn path_id(&mut self, input: &str) -> Option<Id> {
        self.check_uuid("path", "id", input)
    }

    /// The error answer, if anything was wrong.
    pub(super) fn refusal(&self, is_old: bool) -> Option<Response> {
        (!self.problems.is_empty()).then(|| errors::invalid(&self.problems, is_old))
    }

    fn check_word(
        &mut self,
        kind: &'static str,
        name: &'static str,
        index: Option<usize>,
        input: &str,
        allowed: &[&str],
    ) {
        if allowed.contains(&input) {
            return;
        }
        let quoted: Vec<String> = allowed.iter().map(|word| format!("'{word}'")).collect();
        let (last, others) = quoted.split_last().expect("a set of words is never empty");
        let expected = format!("{} or {last}", others.join(", "));
        let message = format!("Input should be {expected}");
        self.problem(kind, name, index, input, &message, Some(json!({ "expected": expected })));
    }

    fn check_uuid(&mut self, place: &str, name: &str, input: &str) -> Option<Id> {
        match parse_uuid(input) {
            Ok(id) => Some(id),
            Err(reason) => {
                self.problems.push(Problem {
                    kind: "uuid_parsing",
                    location: vec![json!(place), json!(name)],
                    message: format!("Input should be a valid UUID, {reason}"),
                    input: input.to_owned(),
                    context: Some(json!({ "error": reason })),
                });
                None
            }
        }
    }

    fn problem(
        &mut self,
        kind: &'static str,
        name: &'static str,
        index: Option<usize>,
        input: &str,
        message: &str,
        context: Option<Value>,
    ) {
        let mut location = vec![json!("query"), json!(name)];
        location.extend(index.map(|index| json!(index)));
        self.problems.push(Problem { kind, location, message: message.to_owned(), input: input.to_owned(), context });
    }
}

/// Whole numbers as the platform reads them: surrounding blanks and a fraction of zero are accepted, huge ones are kept huge.
fn parse_int(input: &str) -> Option<i64> {
    let trimmed = input.trim();
    let whole = match trimmed.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => trimmed,
    };
    let digits = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let saturated = if whole.starts_with('-') { i64::MIN } else { i64::MAX };
    Some(whole.parse().unwrap_or(saturated))
}

/// A UUID with or without hyphens, braces or the URN prefix, in either case.
fn parse_uuid(input: &str) -> Result<Id, String> {
    let bare = input.strip_prefix("urn:uuid:").unwrap_or(input);
    let bare = bare.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(bare);
    if let Some((at, letter)) = bare.char_indices().find(|(_, letter)| !letter.is_ascii_hexdigit() && *letter != '-') {
        return Err(format!("invalid character: found `{letter}` at {at}"));
    }
    let groups: Vec<&str> = bare.split('-').collect();
    if groups.len() > 1 {
        const LENGTHS: [usize; 5] = [8, 4, 4, 4, 12];
        if groups.len() != LENGTHS.len() {
            return Err(format!("invalid group count: expected 5, found {}", groups.len()));
        }
        for (index, (group, expected)) in groups.iter().zip(LENGTHS).enumerate() {
            if group.len() != expected {
                return Err(format!(
                    "invalid group length in group {index}: expected {expected}, found {}",
                    group.len()
                ));
            }
        }
    } else if bare.len() != 32 {
        return Err(format!("invalid length: expected length 32 for simple format, found {}", bare.len()));
    }
    let value = u128::from_str_radix(&groups.concat(), 16).map_err(|error| error.to_string())?;
    Ok(Id(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_platform_reads_them() {
        for (input, value) in [
            ("10", Some(10)),
            (" 10", Some(10)),
            ("1.0", Some(1)),
            ("-3", Some(-3)),
            ("1.5", None),
            ("", None),
            ("abc", None),
        ] {
            assert_eq!(parse_int(input), value, "{input:?}");
        }
        assert_eq!(parse_int("99999999999999999999999"), Some(i64::MAX));
    }

    #[test]
    fn ids_are_read_in_all_spellings() {
        let id = parse_uuid("00000000-0000-0000-0000-00000000dead").unwrap();
        assert_eq!(id.to_string(), "00000000-0000-0000-0000-00000000dead");
        for spelling in [
            "00000000-0000-0000-0000-00000000DEAD",
            "{00000000-0000-0000-0000-00000000dead}",
            "0000000000000000000000000000dead",
        ] {
            assert_eq!(parse_uuid(spelling), Ok(id));
        }
        assert_eq!(parse_uuid("nope").unwrap_err(), "invalid character: found `n` at 0");
        let short = parse_uuid("00000000-0000-0000-0000-00000000dea").unwrap_err();
        assert_eq!(short, "invalid group length in group 4: expected 12, found 11");
    }

    #[test]
    fn blanks_and_escapes_are_decoded() {
        let query = Query::new("a=1%2B2+3&a=%zz&b[]=x");
        assert_eq!(query.texts("a"), ["1+2 3", "%zz"]);
        assert_eq!((query.text("b"), query.text("b[]")), (None, Some("x")));
    }
}
