//! Times as microseconds since the Unix epoch, and the three ways in which they appear on the wire.

use jiff::{Timestamp, civil, tz::Offset};

/// Microseconds in a second.
pub(super) const SECOND: i64 = 1_000_000;

/// Converts seconds to microseconds.
pub(super) fn seconds(value: f64) -> i64 {
    (value * SECOND as f64) as i64
}

/// RFC 3339 in UTC with `Z`, with six fractional digits or none, as the platform prints it.
pub(super) fn rfc3339(at_us: i64) -> String {
    let time = Offset::UTC.to_datetime(timestamp(at_us));
    let micros = at_us.rem_euclid(SECOND);
    let (year, month, day) = (time.year(), time.month(), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    if micros == 0 {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    } else {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// The form of the `Date` header.
pub(super) fn http_date(at_us: i64) -> String {
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&timestamp(at_us)).unwrap_or_default()
}

/// Reads a time as the platform's query parser does: RFC 3339, a naive time or date (taken as UTC), or a Unix time.
pub(super) fn parse(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_microsecond());
    }
    if let Ok(number) = text.parse::<f64>() {
        // The platform's parser takes numbers beyond 2e10 for milliseconds.
        let value = if number.abs() > 2e10 { number / 1e3 } else { number };
        return (value.abs() < 2e11).then(|| seconds(value));
    }
    let naive = text
        .parse::<civil::DateTime>()
        .or_else(|_| text.parse::<civil::Date>().map(|date| date.at(0, 0, 0, 0)))
        .ok()?;
    let time = Offset::UTC.to_timestamp(naive).ok()?;
    Some(time.as_microsecond())
}

fn timestamp(at_us: i64) -> Timestamp {
    Timestamp::from_microsecond(at_us).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_no_or_six_digits() {
        let noon = parse("2026-11-20T14:30:00Z").unwrap();
        assert_eq!(rfc3339(noon), "2026-11-20T14:30:00Z");
        assert_eq!(rfc3339(noon + 120), "2026-11-20T14:30:00.000120Z");
        assert_eq!(http_date(noon), "Fri, 20 Nov 2026 14:30:00 GMT");
    }

    #[test]
    fn reads_what_the_platform_reads() {
        let noon = parse("2026-11-20T12:00:00Z").unwrap();
        for text in
            ["2026-11-20T14:00:00+02:00", "2026-11-20T12:00:00", "2026-11-20 12:00:00Z", "1795176000", "1795176000000"]
        {
            assert_eq!(parse(text), Some(noon), "{text}");
        }
        assert_eq!(parse("2026-11-20"), Some(noon - 12 * 3600 * SECOND));
        for text in ["", "nonsense", "2026-13-01T00:00:00Z", "2026-11-20T10:00:00 02:00", "inf"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
