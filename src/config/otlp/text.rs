//! The words and lists that OpenTelemetry's settings are written in.

use std::time::Duration;

use secrecy::SecretString;

use super::{Histograms, OtlpProtocol, Temporality};
use crate::config::problem::Place;
use crate::config::reader::{Reader, Setting, choice};

/// A variable; an empty one is not set.
pub(super) fn variable(name: &'static str, reader: &Reader<'_>) -> Option<Setting> {
    let value = (reader.env)(name).filter(|value| !value.trim().is_empty())?;
    Some(Setting::outside(name, &value))
}

pub(super) fn checked<T>(
    setting: Setting,
    reader: &mut Reader<'_>,
    convert: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    match convert(&setting.value) {
        Ok(value) => Some(value),
        Err(message) => {
            reader.refuse_once(setting.place, message);
            None
        }
    }
}

/// Words of the specification count in any case.
fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    choice(&text.to_ascii_lowercase(), words)
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    word(text, &[("true", true), ("false", false)])
}

pub(super) fn protocol(text: &str) -> Result<OtlpProtocol, String> {
    word(text, &[("http/protobuf", OtlpProtocol::Http), ("grpc", OtlpProtocol::Grpc)])
}

pub(super) fn compression(text: &str) -> Result<bool, String> {
    word(text, &[("gzip", true), ("none", false)])
}

/// `lowmemory` asks for whatever needs the least memory to tell: here that is totals, which are there anyway.
pub(super) fn temporality_preference(text: &str) -> Result<Temporality, String> {
    let (cumulative, delta) = (Temporality::Cumulative, Temporality::Delta);
    word(text, &[("cumulative", cumulative), ("delta", delta), ("lowmemory", cumulative)])
}

pub(super) fn aggregation(text: &str) -> Result<Histograms, String> {
    word(
        text,
        &[
            ("explicit_bucket_histogram", Histograms::Explicit),
            ("base2_exponential_bucket_histogram", Histograms::Exponential),
        ],
    )
}

pub(super) fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err("not a number of milliseconds, write e.g. 10000".to_owned()),
    }
}

/// The lines of a file of headers, each in the place where the file is named.
pub(super) fn lines(file: &Setting, text: &str) -> Vec<Setting> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| Setting { place: file.place.clone(), value: line.to_owned(), literal: false, variable: None })
        .collect()
}

/// Pairs as OpenTelemetry writes them, `name=value`; values are not repeated in messages.
pub(super) fn pairs(settings: Vec<Setting>, reader: &mut Reader<'_>) -> Vec<(String, SecretString)> {
    let mut pairs: Vec<(String, SecretString)> = Vec::new();
    for Setting { place, value, .. } in settings {
        match value.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
            Some((name, value)) if is_name(name) && is_printable(value) => add(name, value, &mut pairs, place, reader),
            _ => reader.refuse_once(place, "expected name=value, e.g. \"authorization=Bearer ${TOKEN}\""),
        }
    }
    pairs
}

/// A variable's list of headers: `name=value,name=value`, with values percent-encoded.
pub(super) fn decoded_pairs(setting: &Setting, reader: &mut Reader<'_>) -> Vec<(String, SecretString)> {
    let mut pairs = Vec::new();
    for pair in setting.value.split(',').filter(|pair| !pair.trim().is_empty()) {
        let parts = pair.split_once('=').map(|(name, value)| (name.trim(), percent_decoded(value.trim())));
        match parts {
            Some((name, Some(value))) if is_name(name) && is_printable(&value) => {
                add(name, &value, &mut pairs, setting.place.clone(), reader);
            }
            _ => reader.refuse_once(
                setting.place.clone(),
                "expected name=value,name=value with percent-encoded values, e.g. authorization=Bearer%20abc",
            ),
        }
    }
    pairs
}

fn add(name: &str, value: &str, pairs: &mut Vec<(String, SecretString)>, place: Place, reader: &mut Reader<'_>) {
    if pairs.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
        reader.refuse_once(place, "a name is given twice, keep one");
    } else {
        pairs.push((name.to_owned(), SecretString::from(value.to_owned())));
    }
}

/// What a header may be called.
fn is_name(text: &str) -> bool {
    text.parse::<http::HeaderName>().is_ok()
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

/// `None` for what is not encoded as it should be. A plus sign stays one.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte"));
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_are_decoded_or_refused() {
        assert_eq!(percent_decoded("Basic%20a%2Bb+c==").as_deref(), Some("Basic a+b+c=="));
        assert_eq!(percent_decoded("%E2%82%AC").as_deref(), Some("€"));
        for wrong in ["%", "%2", "%zz", "%E2", "100%"] {
            assert_eq!(percent_decoded(wrong), None, "{wrong}");
        }
    }
}
