//! Points in time and lengths of time, in whole microseconds: the precision the platforms write.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

/// A length of time in microseconds; never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span(u64);

/// Where "now" comes from, so that tests can run a month in a second.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// A text that is not a point in time.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a timestamp: expected RFC 3339 such as 2026-11-20T14:30:00Z")]
pub struct TimestampError;

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Seconds since the Unix epoch, as Prometheus writes times.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Reads RFC 3339; a time without an offset is taken as UTC, as some servers write them.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        // Far outside the years any platform can mean, and where arithmetic could overflow.
        const LIMIT: i64 = 1 << 58;
        let parsed = text.parse::<jiff::Timestamp>().or_else(|_| {
            let civil: jiff::civil::DateTime = text.parse().map_err(|_| TimestampError)?;
            let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| TimestampError)?;
            Ok(zoned.timestamp())
        })?;
        let micros = parsed.as_microsecond();
        if micros.abs() > LIMIT {
            return Err(TimestampError);
        }
        Ok(Self(micros))
    }

    /// How long after `earlier` this is; `None` when it is before it.
    pub fn since(self, earlier: Self) -> Option<Span> {
        u64::try_from(self.0.checked_sub(earlier.0)?).ok().map(Span)
    }

    /// This moment, `span` later (saturating).
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add_unsigned(span.0))
    }

    /// This moment, `span` earlier (saturating).
    pub fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub_unsigned(span.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From whole microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// From whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// Whole microseconds.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Seconds, the base unit of every duration that is shown.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl From<std::time::Duration> for Span {
    fn from(duration: std::time::Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Span> for std::time::Duration {
    fn from(span: Span) -> Self {
        Self::from_micros(span.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_write() {
        let whole = Timestamp::parse("2026-11-20T14:30:00Z").unwrap();
        assert_eq!(whole.seconds(), 1_795_185_000.0);
        assert_eq!(Timestamp::parse("2026-11-20T15:30:00+01:00").unwrap(), whole);
        assert_eq!(Timestamp::parse("2026-11-20T14:30:00").unwrap(), whole, "naive means UTC");
        assert_eq!(Timestamp::parse("2026-11-20T14:30:00.000120Z").unwrap().micros() - whole.micros(), 120);
        assert_eq!(Timestamp::parse("2026-11-20T14:30:00.123456789Z").unwrap().micros() % 1_000_000, 123_456);
        for bad in ["", "yesterday", "2026-13-01T00:00:00Z", "1795185000"] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_never_negative() {
        let early = Timestamp::from_micros(10);
        let late = Timestamp::from_micros(25);
        assert_eq!(late.since(early), Some(Span::from_micros(15)));
        assert_eq!(early.since(late), None);
        assert_eq!(early.plus(Span::from_micros(15)), late);
        assert_eq!(Timestamp::from_micros(i64::MAX).plus(Span::from_secs(1)).micros(), i64::MAX);
    }
}
