//! Decodes one event or one session with the vendor's types and says which field is wrong, never what it holds.

use everruns_contracts::runtime::events::{self, Event, EventData};
use everruns_sdk::Session;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Deliberately outside the vendor's schema: how the types and fields start that the simulator plants to see that a
/// reader gets over them.
const PLANTED: [&str; 3] = ["some.future", "some_future", "quota.foreseen"];
/// How many hexadecimal digits an id has after its prefix.
const ID_DIGITS: usize = 32;
/// Fields of a session that the latest published client, 0.3.1, does not have: some are newer, the last ones the server
/// adds to every document.
const NOT_IN_CLIENT: [&str; 13] = [
    "activity",
    "archived_at",
    "event_count",
    "file_count",
    "goal",
    "run_summary",
    "source",
    "task_count",
    "virtual_user_id",
    "allowed_actions",
    "self_url",
    "ui_link",
    "view_url",
];
/// States of a session that are newer than the latest published client, 0.3.1.
const NEWER_STATES: [&str; 1] = ["paused"];

/// What became of one event.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Decoded into the variant of its type.
    Typed,
    /// Of a type that the vendor does not have and that was planted on purpose.
    Planted,
}

/// Whether a name is one of those that are planted on purpose.
fn is_planted(name: &str) -> bool {
    PLANTED.iter().any(|prefix| name.starts_with(prefix))
}

/// Gives ids that are one digit short the missing one, wherever they stand. The vendor's documentation shows such ids and
/// the simulator plants some, so that nobody relies on their length; the vendor's runtime insists on it. Returns how many
/// there were.
pub fn lengthen_ids(raw: &mut Value) -> usize {
    match raw {
        Value::String(text) => {
            let digits = text.rsplit_once('_').map_or("", |(_, digits)| digits);
            let is_short = digits.len() == ID_DIGITS - 1 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            if is_short {
                text.push('7');
            }
            usize::from(is_short)
        }
        Value::Array(items) => items.iter_mut().map(lengthen_ids).sum(),
        Value::Object(fields) => fields.values_mut().map(lengthen_ids).sum(),
        _ => 0,
    }
}

/// Judges one event as it stands in a `data` array.
///
/// # Errors
/// What is wrong with it: its type, the field, and the reason.
pub fn event(raw: &Value) -> Result<Verdict, String> {
    let kind = raw.get("type").and_then(Value::as_str).unwrap_or("event without a type");
    let decoded: Event = decode(raw).map_err(|problem| format!("{kind}: {problem}"))?;
    if decoded.is_ephemeral() {
        return Err(format!("{kind}: the vendor never keeps this type, it exists in streams only"));
    }
    let EventData::Unsupported { .. } = decoded.data else {
        let again = serde_json::to_value(&decoded).map_err(|_| format!("{kind}: does not encode again"))?;
        return match lost(raw, &again, &mut String::new()) {
            None => Ok(Verdict::Typed),
            Some(field) => Err(format!("{kind}: {field}: the vendor's type has no such field")),
        };
    };
    let data = raw.get("data").unwrap_or(&Value::Null);
    match explain(kind, data) {
        Some(problem) => Err(format!("{kind}: data: {problem}")),
        None if is_planted(kind) => Ok(Verdict::Planted),
        None => Err(format!("{kind}: the vendor has no such type")),
    }
}

/// Judges one session as it stands in the list or alone. True when its state is newer than the vendor's client.
///
/// # Errors
/// What is wrong with it: the field and the reason.
pub fn session(raw: &Value) -> Result<bool, String> {
    let mut known = raw.clone();
    let state = raw.get("status").and_then(Value::as_str).unwrap_or_default();
    let newer = NEWER_STATES.contains(&state);
    if newer {
        known["status"] = Value::from("idle");
    }
    if let Some(fields) = known.as_object_mut() {
        fields.retain(|name, _| !NOT_IN_CLIENT.contains(&name.as_str()));
    }
    let decoded: Session = decode(&known).map_err(|problem| format!("session: {problem}"))?;
    let again = serde_json::to_value(&decoded).map_err(|_| "session: does not encode again".to_owned())?;
    match lost(&known, &again, &mut String::new()) {
        None => Ok(newer),
        Some(field) => Err(format!("session: {field}: the vendor's type has no such field")),
    }
}

/// Decodes into one of the vendor's types; the error is `field: reason`, or the reason alone at the top.
fn decode<T: DeserializeOwned>(raw: &Value) -> Result<T, String> {
    serde_path_to_error::deserialize(raw).map_err(|e| match (e.path().to_string(), reason(&e.inner().to_string())) {
        (path, reason) if path == "." => reason,
        (path, reason) => format!("{path}: {reason}"),
    })
}

/// What serde said, without the values it quotes.
fn reason(said: &str) -> String {
    if said.starts_with("missing field") || said.starts_with("invalid length") {
        return said.to_owned();
    }
    if said.starts_with("invalid hex") {
        return "invalid hex in an id".to_owned();
    }
    let head = said.find(['"', '`', '\'']).map_or(said, |at| said[..at].trim_end());
    let tail = said.rfind(", expected ").map_or("", |at| &said[at..]);
    if head.len() + tail.len() >= said.len() { said.to_owned() } else { format!("{head} …{tail}") }
}

/// The first field that carries something and is gone after decoding and encoding, because the vendor's type does not
/// have it: a misspelt optional field is found by nothing else. What is planted on purpose may go.
fn lost(before: &Value, after: &Value, path: &mut String) -> Option<String> {
    let length = path.len();
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before {
                path.push_str(if length == 0 { "" } else { "." });
                path.push_str(name);
                let found = match after.get(name) {
                    Some(kept) => lost(value, kept, path),
                    None => (!is_empty(value) && !is_planted(name)).then(|| path.clone()),
                };
                if found.is_some() {
                    return found;
                }
                path.truncate(length);
            }
            None
        }
        (Value::Array(before), Value::Array(after)) => {
            path.push_str("[]");
            if before.len() != after.len() {
                return Some(path.clone());
            }
            let found = before.iter().zip(after).find_map(|(before, after)| lost(before, after, path));
            path.truncate(length);
            found
        }
        (before, after) if kind(before) == kind(after) => None,
        _ => Some(path.clone()),
    }
}

/// What the vendor leaves out when it encodes.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Which of JSON's kinds a value is.
fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// The vendor decides by the type and swallows the reason; these are the same pairs, to name the field.
macro_rules! explain {
    ($($kind:path => $data:ident),+ $(,)?) => {
        /// Why the data of an event of a type that the vendor has does not decode; nothing for a type it does not have.
        fn explain(kind: &str, data: &Value) -> Option<String> {
            match kind {
                $($kind => Some(decode::<events::$data>(data).err().unwrap_or_else(|| "reason unknown".to_owned())),)+
                known if events::VALID_EVENT_TYPES.contains(&known) => Some("does not decode".to_owned()),
                _ => None,
            }
        }
    };
}

explain! {
    events::INPUT_MESSAGE => InputMessageData,
    events::OUTPUT_MESSAGE_STARTED => OutputMessageStartedData,
    events::OUTPUT_MESSAGE_REPLACED => OutputMessageReplacedData,
    events::OUTPUT_MESSAGE_COMPLETED => OutputMessageCompletedData,
    events::CONVERSATION_MESSAGE => ConversationMessageData,
    events::TURN_STARTED => TurnStartedData,
    events::TURN_COMPLETED => TurnCompletedData,
    events::TURN_FAILED => TurnFailedData,
    events::TURN_SEALED => TurnSealedData,
    events::TURN_CANCELLED => TurnCancelledData,
    events::REASON_STARTED => ReasonStartedData,
    events::REASON_COMPLETED => ReasonCompletedData,
    events::REASON_RECOVERED => ReasonRecoveredData,
    events::REASON_THINKING_STARTED => ReasonThinkingStartedData,
    events::REASON_THINKING_COMPLETED => ReasonThinkingCompletedData,
    events::REASON_ITEM => ReasonItemData,
    events::CAPABILITY_USAGE => CapabilityUsageData,
    events::ACT_STARTED => ActStartedData,
    events::ACT_COMPLETED => ActCompletedData,
    events::TOOL_STARTED => ToolStartedData,
    events::TOOL_COMPLETED => ToolCompletedData,
    events::TOOL_PROGRESS => ToolProgressData,
    events::TOOL_CALL_REQUESTED => ToolCallRequestedData,
    events::TOOL_CALL_REPAIRED => ToolCallRepairedData,
    events::TRANSCRIPT_REPAIRED => TranscriptRepairedData,
    events::LLM_GENERATION => LlmGenerationData,
    events::SESSION_STARTED => SessionStartedData,
    events::SESSION_ACTIVATED => SessionActivatedData,
    events::SESSION_IDLED => SessionIdledData,
    events::SESSION_TITLE_UPDATED => SessionTitleUpdatedData,
    events::SESSION_MODEL_CHANGED => SessionModelChangedData,
    events::CONTEXT_COMPACTING => ContextCompactingData,
    events::CONTEXT_COMPACTED => ContextCompactedData,
    events::CONTEXT_COMPACTION_SKIPPED => ContextCompactionSkippedData,
    events::CONTEXT_COMPACTION_FAILED => ContextCompactionFailedData,
    events::BUDGET_WARNING => BudgetEventData,
    events::BUDGET_PAUSED => BudgetEventData,
    events::BUDGET_EXHAUSTED => BudgetEventData,
    events::BUDGET_RESUMED => BudgetEventData,
    events::TASK_CREATED => SessionTaskEventData,
    events::TASK_UPDATED => SessionTaskEventData,
    events::TASK_MESSAGE_SENT => TaskMessageEventData,
    events::TASK_MESSAGE_RECEIVED => TaskMessageEventData,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
