//! Ids as Everruns makes them: time-ordered UUIDs behind a prefix, a few of them one digit short.

use super::era::Era;
use crate::simulator::random::mix;

/// A UUID of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(pub(super) u128);

/// Ids that end in this digit are shown without it, but in the oldest generation: nobody may rely on their length.
const DROPPED: u128 = 7;

impl Id {
    /// The id of a thing made at `at_us`: one of many (`part`) that belong to `number`.
    pub(super) fn new(seed: u64, number: u64, part: u32, purpose: &str, at_us: i64) -> Self {
        let high = mix(seed, number, part, purpose);
        let low = mix(!seed, number, part, purpose);
        let random = (u128::from(high) << 64) | u128::from(low);
        let millis = u128::from(at_us.div_euclid(1_000).unsigned_abs());
        let value = (millis << 80) | (random & ((1 << 80) - 1));
        let version = value & !(0xf << 76) | (0x7 << 76);
        Self(version & !(0x3 << 62) | (0x2 << 62))
    }

    /// `session_01…`, or the bare UUID of the oldest generation.
    pub(super) fn show(self, era: Era, prefix: &str) -> String {
        if era == Era::D0 {
            return self.hyphenated();
        }
        if self.0 & 0xf == DROPPED {
            format!("{prefix}_{:031x}", self.0 >> 4)
        } else {
            format!("{prefix}_{:032x}", self.0)
        }
    }

    /// The form of spans.
    pub(super) fn hyphenated(self) -> String {
        let hex = format!("{:032x}", self.0);
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// The inverse of [`Self::show`].
    pub(super) fn read(era: Era, prefix: &str, text: &str) -> Option<Self> {
        let hex = if era == Era::D0 {
            text.replace('-', "")
        } else {
            text.strip_prefix(prefix)?.strip_prefix('_')?.to_owned()
        };
        let value = u128::from_str_radix(&hex, 16).ok()?;
        match hex.len() {
            32 => Some(Self(value)),
            31 if era != Era::D0 => Some(Self((value << 4) | DROPPED)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back() {
        let mut lengths = [0, 0];
        for number in 0..200 {
            let id = Id::new(1, number, 0, "test", 1_795_185_000_000_000);
            let shown = id.show(Era::D4, "session");
            lengths[shown.len() - "session_".len() - 31] += 1;
            assert_eq!(Id::read(Era::D4, "session", &shown), Some(id));
            assert_eq!(Id::read(Era::D0, "session", &id.show(Era::D0, "session")), Some(id));
        }
        assert!(lengths[0] > 3 && lengths[1] > 150, "{lengths:?}");
        for nonsense in ["", "session_", "session_zz", "event_0123", "0123"] {
            assert_eq!(Id::read(Era::D4, "session", nonsense), None, "{nonsense}");
        }
    }
}
