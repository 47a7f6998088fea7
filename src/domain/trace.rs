//! Names of traces and spans: the platform's own where it has any, else derived from what they are of.
//!
//! A trace is one turn of a session. Whoever reads the same session again, after a restart or into a new store, arrives
//! at the same names: a span that is sent twice is the same span.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::SessionId;

/// The name of a trace, 16 bytes of which at least one is not zero (W3C Trace Context). Formats that people read have
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

/// The name of a span within its trace, 8 bytes of which at least one is not zero; written like that of a trace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(u64);

/// A span, from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TraceContext {
    /// Its trace.
    pub trace: TraceId,
    /// Its name in it.
    pub span: SpanId,
}

/// What the spans of one session are named after: the account, the session, and nothing that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanNames(u128);

/// Where in a session's stream something began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The position of the event; of what was learnt beside the stream, that of the next one.
    pub position: u64,
    /// Tells apart what began with the same event, and what began beside the stream.
    pub part: u32,
}

/// What is hashed into a name, so that things that stand at the same position get different ones. Never change the
/// words: names have to stay what they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Named {
    /// A turn, by the position at which it began; so are all others.
    Turn,
    /// What followed of a turn that had been given up.
    Rest,
    /// A step of the agent's loop.
    Step,
    /// A stretch of thinking.
    Reason,
    /// A stretch in which tools are at work.
    Act,
    /// A call of a model, by the position that told it.
    Chat,
    /// A tool call.
    Tool,
}

impl Named {
    const fn word(self) -> &'static [u8] {
        match self {
            Self::Turn => b"turn",
            Self::Rest => b"rest",
            Self::Step => b"step",
            Self::Reason => b"reason",
            Self::Act => b"act",
            Self::Chat => b"chat",
            Self::Tool => b"tool",
        }
    }
}

impl TraceId {
    /// `None` for zero, which names nothing.
    pub const fn new(id: u128) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// As the wire has it.
    pub const fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    /// `None` for zero, which names nothing.
    pub const fn new(id: u64) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// From a platform's id of 16 bytes (a UUID): its last 8 bytes, as the first ones are mostly the time. `None` for
    /// what is no UUID.
    pub fn of_uuid(text: &str) -> Option<Self> {
        Self::new(sixteen_bytes(text)? as u64)
    }

    /// As the wire has it.
    pub const fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// The 16 bytes of a UUID, or of 32 hexadecimal digits.
pub(super) fn sixteen_bytes(text: &str) -> Option<u128> {
    let mut value = 0u128;
    let mut digits = 0;
    for byte in text.bytes().filter(|byte| *byte != b'-') {
        value = value << 4 | u128::from((byte as char).to_digit(16)?);
        digits += 1;
        if digits > 32 {
            return None;
        }
    }
    (digits == 32).then_some(value)
}

impl SpanNames {
    /// Of one session of an account.
    pub fn new(platform: &str, account: &str, session: &SessionId) -> Self {
        Self(xxh3_128(format!("agent-session-exporter 1\0{platform}\0{account}\0{session}").as_bytes()))
    }

    fn seed(self, what: Named, place: Place) -> Vec<u8> {
        let (position, part) = (place.position.to_be_bytes(), place.part.to_be_bytes());
        [&self.0.to_be_bytes()[..], what.word(), &position[..], &part[..]].concat()
    }

    /// The trace of the session's turn that began there.
    pub fn trace(self, turn: Place) -> TraceId {
        // Zero comes once in 2^128.
        TraceId(xxh3_128(&self.seed(Named::Turn, turn)).max(1))
    }

    /// A span of this kind that began there.
    pub fn span(self, what: Named, place: Place) -> SpanId {
        SpanId(xxh3_64(&self.seed(what, place)).max(1))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

macro_rules! written_in_digits {
    ($($id:ident($number:ty)),*) => {$(
        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if !deserializer.is_human_readable() {
                    return <$number>::deserialize(deserializer).map(Self);
                }
                let digits = String::deserialize(deserializer)?;
                <$number>::from_str_radix(&digits, 16).map(Self).map_err(D::Error::custom)
            }
        }
    )*};
}
written_in_digits!(TraceId(u128), SpanId(u64));

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Place = Place { position: 1, part: 0 };

    #[test]
    fn names_never_change() {
        let names = SpanNames::new("hcompany", "hcompany https://api.example", &SessionId::new("s-1"));
        // Written down once: whoever sees another value here has renamed every span of every user.
        assert_eq!(names.trace(ONE).to_string(), "d633c85bba390c3ad49c35ef6a9f9967");
        assert_eq!(names.span(Named::Turn, ONE).to_string(), "7ede3bfaa0311c1e");
    }

    #[test]
    fn people_read_digits_and_the_store_has_the_number() {
        let context = TraceContext { trace: TraceId(0xd633_c85b), span: SpanId(u64::MAX) };
        let json = serde_json::to_string(&context).unwrap();
        assert_eq!(json, r#"{"trace":"000000000000000000000000d633c85b","span":"ffffffffffffffff"}"#);
        assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), context);
        assert!(serde_json::from_str::<TraceContext>(r#"{"trace":"xyz","span":"1"}"#).is_err());
        let bytes = postcard::to_stdvec(&context).unwrap();
        assert_eq!(bytes, postcard::to_stdvec(&(0xd633_c85b_u128, u64::MAX)).unwrap());
        assert_eq!(postcard::from_bytes::<TraceContext>(&bytes).unwrap(), context);
    }

    #[test]
    fn what_differs_is_named_differently() {
        let id = SessionId::new("s-1");
        let one = SpanNames::new("hcompany", "a", &id);
        assert_ne!(one.trace(ONE), one.trace(Place { position: 2, ..ONE }));
        assert_ne!(one.trace(ONE), one.trace(Place { part: 1, ..ONE }));
        assert_ne!(one.span(Named::Chat, ONE), one.span(Named::Tool, ONE));
        assert_ne!(one.trace(ONE), SpanNames::new("everruns", "a", &id).trace(ONE));
        assert_ne!(one.trace(ONE), SpanNames::new("hcompany", "b", &id).trace(ONE));
    }

    #[test]
    fn a_platforms_own_ids_are_taken_over() {
        let span = SpanId::of_uuid("01a201c9-9ccb-76c9-8aef-ba520c3dd8b1").unwrap();
        assert_eq!(span.to_string(), "8aefba520c3dd8b1");
        for wrong in ["", "turn_01a201c99c85761086efc362f27b5db6", "01a201c9", "01a201c9-9ccb-76c9-8aef-ba520c3dd8b1a"]
        {
            assert_eq!(SpanId::of_uuid(wrong), None, "{wrong}");
        }
        assert_eq!(SpanId::of_uuid("01a201c9-9ccb-76c9-0000-000000000000"), None, "zero names nothing");
    }
}
