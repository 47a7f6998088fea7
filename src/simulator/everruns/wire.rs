//! Small pieces of JSON that sessions and events share: times, usage, dollars.

use serde_json::{Map, Value, json};

use super::cast::{Sum, Usage};
use super::era::Era;
use crate::simulator::timestamp::{SECOND, rfc3339};

/// A time with so many fractional digits; `salt` makes up those below microseconds.
pub(super) fn stamp(at: i64, digits: u8, salt: u32) -> String {
    let micros = at.rem_euclid(SECOND);
    let whole = rfc3339(at - micros);
    let whole = whole.trim_end_matches('Z');
    match digits {
        3 => format!("{whole}.{:03}Z", micros / 1_000),
        9 => format!("{whole}.{micros:06}{:03}Z", salt.wrapping_mul(7) % 1_000),
        _ => format!("{whole}.{micros:06}Z"),
    }
}

/// A time in a session: milliseconds from the single binary, microseconds from servers.
pub(super) fn moment(era: Era, at: i64) -> String {
    stamp(at, if era == Era::Serve { 3 } else { 6 }, 0)
}

/// Nano-dollars as the dollars of the wire.
fn dollars(nano: Option<u64>) -> Option<f64> {
    nano.map(|nano| nano as f64 / 1e9)
}

/// What one call consumed: nothing in the oldest generation, no cost in the next.
pub(super) fn usage(era: Era, usage: &Usage) -> Value {
    let mut one = Sum::default();
    one.add(usage);
    // Single calls do not say which cost is the better one.
    one.effective = None;
    sum(era, &one)
}

/// What several calls consumed.
pub(super) fn sum(era: Era, sum: &Sum) -> Value {
    if era == Era::D0 {
        return Value::Null;
    }
    let mut document = json!({
        "input_tokens": sum.input,
        "output_tokens": sum.output,
        "cache_read_tokens": sum.cache_read,
        "cache_creation_tokens": sum.cache_creation,
    });
    if era > Era::D1 {
        document["actual_cost_usd"] = json!(dollars(sum.actual));
        document["estimated_cost_usd"] = json!(dollars(sum.estimated));
        document["effective_cost_usd"] = json!(dollars(sum.effective));
    }
    clean(document)
}

/// An object without its null members.
pub(super) fn clean(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_have_the_digits_asked_for() {
        let at = 1_795_185_000_012_345;
        assert_eq!(stamp(at, 3, 1), "2026-11-20T14:30:00.012Z");
        assert_eq!(stamp(at, 6, 1), "2026-11-20T14:30:00.012345Z");
        assert_eq!(stamp(at, 9, 1), "2026-11-20T14:30:00.012345007Z");
    }
}
