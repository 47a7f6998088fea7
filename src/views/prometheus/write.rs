//! The smallest pieces of both text formats: the lines about a family, escaped texts, numbers.

use std::io::Write;

use crate::projection::{Example, Measure};
use crate::views::catalog::{Row, Type};

/// Which of the two text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The Prometheus text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The lines about a family, before its first sample.
pub(super) fn head(out: &mut Vec<u8>, row: &Row, dialect: Dialect) {
    match dialect {
        Dialect::Text => {
            meta(out, b"HELP", row.name, |out| text_help(out, row.help));
            meta(out, b"TYPE", row.name, |out| out.extend_from_slice(row.kind.as_str().as_bytes()));
        }
        Dialect::OpenMetrics => {
            let family = row.family_name();
            meta(out, b"TYPE", family, |out| out.extend_from_slice(row.kind.as_str().as_bytes()));
            if let Some(unit) = row.declared_unit() {
                meta(out, b"UNIT", family, |out| out.extend_from_slice(unit.as_bytes()));
            }
            meta(out, b"HELP", family, |out| quoted(out, row.help));
        }
    }
}

/// The lines about a family that the catalogue does not know.
pub(super) fn foreign_head(out: &mut Vec<u8>, name: &str, kind: Type, help: &str, dialect: Dialect) {
    let family = match (dialect, kind) {
        (Dialect::OpenMetrics, Type::Counter) => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    meta(out, b"TYPE", family, |out| out.extend_from_slice(kind.as_str().as_bytes()));
    meta(out, b"HELP", family, |out| match dialect {
        Dialect::Text => text_help(out, help),
        Dialect::OpenMetrics => quoted(out, help),
    });
}

fn meta(out: &mut Vec<u8>, what: &[u8], family: &str, rest: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"# ");
    out.extend_from_slice(what);
    out.push(b' ');
    out.extend_from_slice(family.as_bytes());
    out.push(b' ');
    rest(out);
    out.push(b'\n');
}

/// A label value, or a help text in OpenMetrics: backslash, quote and newline are escaped.
pub(super) fn quoted(out: &mut Vec<u8>, text: &str) {
    escaped(out, text, true);
}

/// A help text in text 0.0.4, where `\"` would be read as a backslash and a quote.
fn text_help(out: &mut Vec<u8>, text: &str) {
    escaped(out, text, false);
}

fn escaped(out: &mut Vec<u8>, text: &str, quotes: bool) {
    // Every byte that is escaped is ASCII, so the rest of UTF-8 passes through untouched.
    for &byte in text.as_bytes() {
        match byte {
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'"' if quotes => out.extend_from_slice(br#"\""#),
            _ => out.push(byte),
        }
    }
}

/// One more label: `name="value"`, with a comma before it unless it is the first.
pub(super) fn label(out: &mut Vec<u8>, is_first: bool, name: &str, value: &str) {
    if !is_first {
        out.push(b',');
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    quoted(out, value);
    out.push(b'"');
}

/// A sample up to its value. `labels` is what stands between the braces.
pub(super) fn sample(out: &mut Vec<u8>, name: &str, suffix: &str, labels: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
    if !labels.is_empty() {
        out.push(b'{');
        out.extend_from_slice(labels);
        out.push(b'}');
    }
    out.push(b' ');
}

/// A bucket up to its value. `bound` is the whole label `le`, which [`bound`] makes.
pub(super) fn bucket(out: &mut Vec<u8>, name: &str, labels: &[u8], bound: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"_bucket{");
    out.extend_from_slice(labels);
    if !labels.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(bound);
    out.extend_from_slice(b"} ");
}

/// The label of a bucket's upper bound. OpenMetrics wants `1.0`, so text says that too.
pub(super) fn bound(seconds: f64) -> Vec<u8> {
    let mut out = b"le=\"".to_vec();
    if seconds.fract() == 0.0 {
        write!(out, "{seconds:.1}").expect("a vector takes everything");
    } else {
        float(&mut out, seconds);
    }
    out.push(b'"');
    out
}

/// A whole number and the end of the line.
pub(super) fn count(out: &mut Vec<u8>, value: u64) {
    bare_count(out, value);
    out.push(b'\n');
}

/// A whole number behind which something follows.
pub(super) fn bare_count(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A whole number that may be negative and the end of the line.
pub(super) fn whole(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.push(b'\n');
}

/// What OpenMetrics has behind the value of a bucket: where one of its observations can be looked at.
pub(super) fn exemplar(out: &mut Vec<u8>, example: Example, measure: Measure) {
    let context = example.exemplar.context;
    write!(out, " # {{trace_id=\"{}\",span_id=\"{}\"}} ", context.trace, context.span)
        .expect("a vector takes everything");
    bare_decimal(out, example.value, measure.digits());
    out.push(b' ');
    bare_decimal(out, u64::try_from(example.exemplar.at.micros()).unwrap_or(0), Measure::Duration.digits());
}

/// `value` divided by ten to the power of `digits`, exactly, and the end of the line.
pub(super) fn decimal(out: &mut Vec<u8>, value: u64, digits: u32) {
    bare_decimal(out, value, digits);
    out.push(b'\n');
}

fn bare_decimal(out: &mut Vec<u8>, value: u64, digits: u32) {
    let unit = 10u64.pow(digits);
    out.extend_from_slice(itoa::Buffer::new().format(value / unit).as_bytes());
    let mut rest = value % unit;
    if rest > 0 {
        let mut digits = digits as usize;
        while rest.is_multiple_of(10) {
            rest /= 10;
            digits -= 1;
        }
        out.push(b'.');
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(rest);
        out.extend(std::iter::repeat_n(b'0', digits - text.len()));
        out.extend_from_slice(text.as_bytes());
    }
}

/// A floating number: the shortest text that reads back as the same one, with an exponent only where it would be long.
pub(super) fn float(out: &mut Vec<u8>, value: f64) {
    let result = if value.is_nan() {
        write!(out, "NaN")
    } else if value.is_infinite() {
        write!(out, "{}", if value > 0.0 { "+Inf" } else { "-Inf" })
    } else if value == 0.0 {
        write!(out, "0")
    } else if (1e-5..1e16).contains(&value.abs()) {
        write!(out, "{value}")
    } else {
        write!(out, "{value:e}")
    };
    result.expect("a vector takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_are_escaped_where_the_format_says() {
        let nasty = "a\\b\"c\nd – 🦀";
        assert_eq!(made(|out| quoted(out, nasty)), r#"a\\b\"c\nd – 🦀"#);
        assert_eq!(made(|out| text_help(out, nasty)), r#"a\\b"c\nd – 🦀"#);
    }

    #[test]
    fn decimals_are_exact() {
        for (value, digits, text) in [
            (0, 9, "0\n"),
            (1, 9, "0.000000001\n"),
            (5_844_100, 9, "0.0058441\n"),
            (12_500_000_000, 9, "12.5\n"),
            (3_000_000_000, 9, "3\n"),
            (1_795_185_000_000_120, 6, "1795185000.00012\n"),
            (u64::MAX, 9, "18446744073.709551615\n"),
        ] {
            assert_eq!(made(|out| decimal(out, value, digits)), text);
        }
    }

    #[test]
    fn floats_read_back_as_they_were() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000"),
            (1e21, "1e21"),
            (1.5e-7, "1.5e-7"),
            (1_795_185_000.25, "1795185000.25"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(made(|out| float(out, value)), text);
        }
        for value in [0.1 + 0.2, f64::MAX, f64::MIN_POSITIVE, 5e-324, 123_456_789.123_456_79] {
            assert_eq!(made(|out| float(out, value)).parse::<f64>().unwrap(), value);
        }
    }

    #[test]
    fn bounds_are_spelt_as_floats() {
        for (seconds, text) in [
            (1.0, r#"le="1.0""#),
            (0.25, r#"le="0.25""#),
            (28_800.0, r#"le="28800.0""#),
            (f64::INFINITY, r#"le="+Inf""#),
        ] {
            assert_eq!(made(|out| out.extend(bound(seconds))), text);
        }
    }
}
