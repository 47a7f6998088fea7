//! How records are written: short, and readable again without knowing anything else.

use serde::{Deserialize, Serialize};

use super::JournalError;
use crate::domain::{Event, Fact, NameId, SessionNo, SourceIx, Timestamp};
use crate::projection::{Distribution, Entry, Families, Family, Head, Metric, Native, SeriesKey};

/// A log entry. Times are told as the step from the one before: a step takes three or four bytes, a time eight.
///
/// `F` is a fact, borrowed to be written and owned when read; so are `V`, a series' values, and `N`, its exponential
/// buckets.
#[derive(Serialize, Deserialize)]
struct StoredEntry<F> {
    source: SourceIx,
    observed_at: Timestamp,
    events: Vec<StoredEvent<F>>,
}

#[derive(Serialize, Deserialize)]
struct StoredEvent<F> {
    step: i64,
    fact: F,
}

/// A series. Exemplars are no totals, and not kept.
#[derive(Serialize, Deserialize)]
struct StoredSeries<V, N> {
    key: SeriesKey,
    born: Timestamp,
    values: V,
    native: Option<N>,
}

/// Writes an entry.
pub fn encode_entry(entry: &Entry, buffer: &mut Vec<u8>) -> Result<(), JournalError> {
    let mut last = entry.observed_at.micros();
    let events = entry
        .events
        .iter()
        .map(|event| {
            let at = event.at.micros();
            let step = at.wrapping_sub(last);
            last = at;
            StoredEvent { step, fact: &event.fact }
        })
        .collect();
    buffer.clear();
    let stored = StoredEntry { source: entry.source, observed_at: entry.observed_at, events };
    postcard::to_io(&stored, buffer)?;
    Ok(())
}

/// Reads an entry back.
pub fn decode_entry(session: SessionNo, number: u32, bytes: &[u8]) -> Result<Entry, JournalError> {
    let stored: StoredEntry<Fact<NameId>> = postcard::from_bytes(bytes)?;
    let mut last = stored.observed_at.micros();
    let events = stored
        .events
        .into_iter()
        .map(|event| {
            last = last.wrapping_add(event.step);
            Event { at: Timestamp::from_micros(last), fact: event.fact }
        })
        .collect();
    Ok(Entry { source: stored.source, session, number, observed_at: stored.observed_at, events })
}

/// Writes series `index` of a family.
pub(super) fn encode_series(family: &Family, index: usize, buffer: &mut Vec<u8>) -> Result<(), JournalError> {
    let head = family.heads()[index];
    buffer.clear();
    let native = family.distribution(index).map(Distribution::native);
    let stored = StoredSeries { key: head.key, born: head.born, values: family.values(index), native };
    postcard::to_io(&stored, buffer)?;
    Ok(())
}

/// Reads a series back into `families`; one of a metric that this version does not know is left where it is.
pub(super) fn decode_series(families: &mut Families, metric: u8, bytes: &[u8]) -> Result<(), JournalError> {
    let stored: StoredSeries<Vec<u64>, Native> = postcard::from_bytes(bytes)?;
    if let Some(metric) = Metric::from_code(metric) {
        families.restore(metric, Head { key: stored.key, born: stored.born }, &stored.values, stored.native);
    }
    Ok(())
}

/// A series by its parts: labels, birth, numbers, exponential buckets.
pub(super) type SeriesParts = (SeriesKey, Timestamp, Vec<u64>, Option<Native>);

/// Reads a series, of whatever metric, without putting it anywhere.
pub(super) fn take_series_apart(bytes: &[u8]) -> Result<SeriesParts, JournalError> {
    let StoredSeries { key, born, values, native } = postcard::from_bytes(bytes)?;
    Ok((key, born, values, native))
}

/// Writes a series from its parts.
pub(super) fn put_series_together((key, born, values, native): SeriesParts) -> Result<Vec<u8>, JournalError> {
    Ok(postcard::to_stdvec(&StoredSeries { key, born, values, native })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CallId, SpanId, Status, ToolCall, TraceContext, TraceId};
    use crate::projection::Exemplar;

    #[test]
    fn series_come_back_without_exemplars() {
        let mut families = Families::new(10);
        let key = SeriesKey { agent: NameId(9), ..SeriesKey::of_source(SourceIx(0)) };
        let context = TraceContext { trace: TraceId::new(1).unwrap(), span: SpanId::new(2).unwrap() };
        let at = Timestamp::from_micros(7);
        for micros in [0, 1_000_000, 1_010_000, 90_000_000] {
            families.observe(Metric::SessionQueue, key, micros, at, Some(Exemplar { context, at }));
        }
        families.add(Metric::Steps, key, 3, at);
        let mut back = Families::new(10);
        for metric in [Metric::SessionQueue, Metric::Steps] {
            let mut bytes = Vec::new();
            encode_series(families.family(metric), 0, &mut bytes).unwrap();
            assert!(bytes.len() < 50, "{} bytes", bytes.len());
            decode_series(&mut back, metric as u8, &bytes).unwrap();
            assert_eq!(back.family(metric).values(0), families.family(metric).values(0));
        }
        let [stored, kept] = [&back, &families].map(|it| it.family(Metric::SessionQueue).distribution(0).unwrap());
        assert_eq!(stored.native(), kept.native());
        assert_eq!((stored.examples().count(), kept.examples().count()), (0, 3));
        assert!(back.family(Metric::Steps).distribution(0).is_none());
    }

    #[test]
    fn entries_come_back_and_are_small() {
        let at = |micros: i64| Timestamp::from_micros(1_795_185_000_000_000 + micros);
        let entry = Entry {
            source: SourceIx(0),
            session: SessionNo(7),
            number: 3,
            observed_at: at(9_000_000),
            events: vec![
                Event { at: at(0), fact: Fact::Observed },
                Event {
                    at: at(3_250_000),
                    fact: Fact::Step {
                        calls: vec![ToolCall {
                            tool: NameId(40),
                            id: Some(CallId::new("call_e0de893df294")),
                            span: None,
                        }],
                        valid: true,
                    },
                },
                Event { at: at(3_100_000), fact: Fact::Entered(Status::Idle) },
            ],
        };
        let mut bytes = Vec::new();
        encode_entry(&entry, &mut bytes).unwrap();
        assert!(bytes.len() < 60, "{} bytes", bytes.len());
        assert_eq!(decode_entry(SessionNo(7), 3, &bytes).unwrap(), entry);
        for cut in 0..bytes.len() {
            assert!(decode_entry(SessionNo(7), 3, &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
