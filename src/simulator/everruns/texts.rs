//! Made-up content. Every piece carries one of [`PRIVATE`], so that a leak can be found.

use serde_json::{Value, json};

use super::cast::{TOOLS, ToolCall};
use crate::simulator::random::Dice;

/// Marks in everything that belongs to users: what they write and what is answered, arguments, results, errors, titles,
/// tags and names of people. None may ever show up in an exporter's output.
pub const PRIVATE: [&str; 3] = ["pr1vate", "perS0nal", "c0nfidential"];

const WISHES: [&str; 6] = [
    "Why was invoice 4242 charged twice?",
    "Review the diff and say what \"could\" break",
    "Summarise yesterday's incidents\nin three lines",
    "Refund 30 € to the customer in C:\\orders\\2026",
    "査読コメントを一覧にして",
    "Find the flaky test",
];

const WORDS: &str = "the order list shows four items in transit and one on hold while the ledger has columns for date amount supplier \
and state sorted by amount in descending order and the footer links to terms privacy and imprint ";

/// One of the marks.
pub(super) fn mark(dice: &mut Dice) -> &'static str {
    dice.pick(&PRIVATE)
}

/// What a user writes.
pub(super) fn wish(dice: &mut Dice) -> String {
    format!("{} {}", dice.pick(&WISHES), mark(dice))
}

/// What an agent answers.
pub(super) fn answer(dice: &mut Dice) -> String {
    format!("Looked at {} things. {}", dice.between(2, 99), mark(dice))
}

/// What went wrong, in words that may contain anything.
pub(super) fn error(dice: &mut Dice, code: &str) -> String {
    format!("LLM error: {code}: {{\"message\": \"key sk-{}\"}} {}", dice.between(1_000, 9_999), mark(dice))
}

/// Text of the given length.
pub(super) fn bulk(dice: &mut Dice, length: usize) -> String {
    let mut text = String::with_capacity(length + WORDS.len());
    text.push_str(mark(dice));
    text.push(' ');
    while text.len() < length {
        text.push_str(WORDS);
    }
    text.truncate(length.max(16));
    text
}

/// The arguments of a call.
pub(super) fn arguments(call: ToolCall) -> Value {
    let (number, mark) = (call.number, PRIVATE[call.number as usize % PRIVATE.len()]);
    match call.tool {
        0 => json!({ "command": format!("grep -r \"{mark}\" /src/{number}") }),
        1 => json!({ "url": format!("https://shop.example/{mark}/{number}?q=a%20b") }),
        2 => json!({ "path": format!("/home/{mark}/{number}.md") }),
        3 => json!({ "customer": { "id": number, "name": mark }, "fields": [] }),
        4 => json!({ "sql": format!("select '{mark}', {number}") }),
        6 => json!({ "task": format!("look at part {number} {mark}") }),
        _ => json!({ "order": number, "reason": mark }),
    }
}

/// How a tool is called in sentences.
pub(super) fn spoken(call: ToolCall) -> String {
    let name = TOOLS[call.tool];
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
