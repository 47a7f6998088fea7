//! Durations the way Prometheus writes them: `15s`, `1h30m`, `30d`.

use std::time::Duration;

const MILLISECOND: u64 = 1;
const SECOND: u64 = 1000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// Longest first: `ms` must be tried before `m`.
const UNITS: [(&str, u64); 6] =
    [("ms", MILLISECOND), ("s", SECOND), ("m", MINUTE), ("h", HOUR), ("d", DAY), ("w", WEEK)];

/// Reads whole numbers with units `ms`, `s`, `m`, `h`, `d` or `w`, added up; `0` needs no unit.
///
/// # Errors
///
/// Says what a duration looks like. It does not repeat the text, which may be a misplaced secret.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let milliseconds = total_milliseconds(text).ok_or_else(|| {
        let missing_unit = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let problem = if missing_unit { "a duration needs a unit" } else { "not a duration" };
        format!("{problem}; use a number with ms, s, m, h, d or w, e.g. 15s or 1h30m")
    })?;
    Ok(Duration::from_millis(milliseconds))
}

/// A duration within limits; `least` and `most` are texts so that the message can repeat them.
pub(super) fn duration_between(text: &str, least: &str, most: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    let too_short = parse_duration(least).is_ok_and(|least| duration < least);
    let too_long = parse_duration(most).is_ok_and(|most| duration > most);
    if too_short || too_long {
        return Err(format!("out of range, use {least} to {most}"));
    }
    Ok(duration)
}

fn total_milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, size) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(count.checked_mul(*size)?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_prometheus_reads() {
        let seconds = |text: &str| parse_duration(text).map(|d| d.as_secs_f64());
        assert_eq!(seconds("15s"), Ok(15.0));
        assert_eq!(seconds("500ms"), Ok(0.5));
        assert_eq!(seconds("1h30m"), Ok(5400.0));
        assert_eq!(seconds("30d"), Ok(30.0 * 86_400.0));
        assert_eq!(seconds("2w"), Ok(14.0 * 86_400.0));
        assert_eq!(seconds("1m5ms"), Ok(60.005));
        assert_eq!(seconds("0"), Ok(0.0));
        assert_eq!(seconds("0s"), Ok(0.0));
    }

    #[test]
    fn says_what_is_missing() {
        assert!(parse_duration("15").is_err_and(|e| e.starts_with("a duration needs a unit")));
        let endless = format!("{}w", u64::MAX);
        for wrong in ["", "s", "-1s", "1.5s", "1 s", "15sec", "hk-secret", &endless] {
            let error = parse_duration(wrong).expect_err(wrong);
            assert!(error.starts_with("not a duration"), "{wrong}: {error}");
        }
    }

    #[test]
    fn limits_are_inclusive_and_named() {
        assert!(duration_between("1s", "1s", "1h").is_ok());
        assert!(duration_between("60m", "1s", "1h").is_ok());
        let error = duration_between("999ms", "1s", "1h").expect_err("too short");
        assert_eq!(error, "out of range, use 1s to 1h");
    }
}
