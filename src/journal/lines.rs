//! A journal as text: one JSON object per line, from a header that says what it is to a trailer that says it is whole.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::tables::{FOLD_VERSION, FORMAT_VERSION};
use crate::domain::{NameId, SessionNo, SourceIx, Timestamp};
use crate::projection::{Entry, Native, SeriesKey, SourceRecord, TraceSpan};

/// What the first line calls it.
pub(super) const WHAT: &str = "journal of agent-session-exporter";

/// The version of these lines; raised when an older exporter could not read them any more. What is in them belongs to
/// the versions of format and fold.
pub(super) const LINES_VERSION: u64 = 1;

/// A line. They come in this order, those of one kind by their numbers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// What follows.
    Header(Header),
    /// A single number.
    Number { key: SmolStr, value: u64 },
    /// A label text.
    Name { number: NameId, text: String },
    /// A source.
    Source { number: SourceIx, record: SourceRecord },
    /// How far a walk has come.
    Walk { source: SourceIx, walk: String, until: Timestamp },
    /// A session's record. Of one that an older fold left only its head is certain to be as it is today.
    Session { number: SessionNo, record: Box<RawValue> },
    /// A session's share of a commit.
    Entry(Entry),
    /// A series.
    Series(StoredSeries),
    /// What sessions that are no longer kept had added to a series.
    Base(StoredSeries),
    /// A span that waits.
    Span { number: u64, span: TraceSpan },
    /// Nothing follows.
    Trailer(Trailer),
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// [`WHAT`].
    pub(super) what: String,
    /// [`LINES_VERSION`].
    pub(super) version: u64,
    /// The version of the store's format.
    pub(super) format: u64,
    /// The version of the fold that the totals are of.
    pub(super) fold: u64,
    /// The version of the program that wrote it; for people.
    pub(super) exporter: String,
}

impl Header {
    /// Of what this version writes.
    pub(super) fn of_today() -> Self {
        Self {
            what: WHAT.to_owned(),
            version: LINES_VERSION,
            format: FORMAT_VERSION,
            fold: FOLD_VERSION,
            exporter: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A series, as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredSeries {
    /// The number of its metric, which this version may not know.
    pub(super) metric: u8,
    /// Its place among those of its metric.
    pub(super) place: u32,
    /// Its labels.
    pub(super) key: SeriesKey,
    /// When it was first needed.
    pub(super) born: Timestamp,
    /// Its numbers.
    pub(super) values: Vec<u64>,
    /// Its exponential buckets, if it is a histogram.
    pub(super) native: Option<Native>,
}

/// The last line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trailer {
    /// How many lines come before it.
    pub(super) lines: u64,
    /// XXH3, 64 bits, of all bytes before it, in hexadecimal digits.
    pub(super) xxh3: String,
}

/// The checksum of all that was hashed.
pub(super) fn digits(hash: &xxhash_rust::xxh3::Xxh3) -> String {
    format!("{:016x}", hash.digest())
}
