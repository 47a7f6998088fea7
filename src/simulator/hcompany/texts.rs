//! Made-up content: messages, pages, arguments, answers. Every piece carries [`PRIVATE`], so that a leak can be found.

use serde_json::{Value, json};

use crate::simulator::random::Dice;
use crate::simulator::script::{Key, Outcome, Tool, ToolCall};

/// A mark in every text, URL, argument and result that belongs to users. It must never show up in an exporter's output.
pub const PRIVATE: &str = "pr1vate";

const WISHES: [&str; 8] = [
    "Top 3 stories on Hacker News?",
    "Compare prices of \"noise-cancelling\" headphones under 200 €",
    "Check order 4242 and tell me when it ships",
    "Fill in the supplier form; the data is in C:\\invoices\\2026",
    "Find a train from Köln to Paris on Friday",
    "Download the quarterly report\nand summarise page 3",
    "査読コメントを一覧にして",
    "Is the status page green?",
];

const WORDS: &str = "the order list shows four items in transit and one on hold while the page footer links to terms privacy imprint \
and a newsletter form the table has columns for date amount supplier and state sorted by amount in descending order ";

/// The wish that starts a session.
pub(super) fn first_message(seed: u64, key: Key) -> String {
    let mut dice = Dice::new(seed, key.root, key.child, "wish");
    format!("{} {PRIVATE}", dice.pick(&WISHES))
}

/// What a user writes later.
pub(super) fn further_message(dice: &mut Dice) -> String {
    format!("{} {PRIVATE}", dice.pick(&WISHES))
}

/// Page text of the given length.
pub(super) fn page(dice: &mut Dice, length: usize) -> String {
    let mut text = String::with_capacity(length + WORDS.len());
    text.push_str(PRIVATE);
    text.push(' ');
    let start = dice.between(0, WORDS.len() as u32 - 1) as usize;
    text.push_str(&WORDS[start..]);
    while text.len() < length {
        text.push_str(WORDS);
    }
    text.truncate(length);
    text
}

/// The arguments of a call.
pub(super) fn arguments(call: &ToolCall) -> Value {
    let salt = call.salt;
    match call.tool {
        Tool::Click | Tool::ClickDesktop => {
            json!({ "element": format!("link {salt} {PRIVATE}"), "x": salt % 1280, "y": salt % 719 })
        }
        Tool::Scroll => json!({ "direction": if salt.is_multiple_of(2) { "down" } else { "up" } }),
        Tool::Write => {
            json!({ "text": format!("query \"{salt}\" {PRIVATE}"), "submit": salt.is_multiple_of(2) })
        }
        Tool::Goto => json!({ "url": format!("https://shop.example/{PRIVATE}/{salt}?q=a%20b") }),
        Tool::PressKeys => json!({ "keys": ["ctrl", "s"] }),
        Tool::LookUp => json!({ "customer": { "id": salt, "name": PRIVATE }, "fields": [] }),
        Tool::OrderStatus => json!({ "order_id": format!("{salt}") }),
        Tool::RunSubagent => json!({ "task": format!("look at part {salt} {PRIVATE}") }),
    }
}

/// What a tool returns: any JSON value.
pub(super) fn result(call: &ToolCall) -> Value {
    match call.tool {
        Tool::LookUp => json!([{ "id": call.salt, "note": PRIVATE, "tags": null }]),
        Tool::OrderStatus => json!({ "status": "shipped", "carrier": PRIVATE }),
        Tool::RunSubagent => {
            json!({ "answer": format!("part {} is fine {PRIVATE}", call.salt), "kind": "answer" })
        }
        Tool::Scroll => Value::Null,
        Tool::PressKeys => json!(true),
        _ => json!("ok"),
    }
}

/// An agent's answer, number `index` of its session.
pub(super) fn answer(seed: u64, key: Key, index: usize, structured: bool, outcome: Option<Outcome>) -> Value {
    let mut dice = Dice::new(seed, key.root, key.child, &format!("answer-{index}"));
    let number = dice.between(1, 999);
    let text = match outcome {
        Some(Outcome::Infeasible | Outcome::Blocked) => {
            format!("I could not get past step {number}. {PRIVATE}")
        }
        _ => format!("1. Item {number}\n2. \"Item\" {number} bis\n3. {PRIVATE}"),
    };
    if structured {
        json!({ "stories": [{ "title": text, "url": format!("https://a.example/{PRIVATE}/{number}") }], "kind": "list" })
    } else {
        Value::String(text)
    }
}

/// An answer as the search finds it.
pub(super) fn answer_text(answer: &Value) -> String {
    answer.as_str().map_or_else(|| answer.to_string(), str::to_owned)
}
