//! Identities: of sessions as platforms name them, and of the same things as we number them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A session's id on its platform. Opaque; canonical UUIDs are kept in 16 bytes, everything else as text. Formats that
/// people read have the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Form);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Form {
    Uuid([u8; 16]),
    Text(Box<str>),
}

/// Positions of the four hyphens in a canonical UUID.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl SessionId {
    /// Keeps `text` so that [`fmt::Display`] gives the same text back.
    pub fn new(text: &str) -> Self {
        Self(canonical_uuid(text).map_or_else(|| Form::Text(text.into()), Form::Uuid))
    }
}

/// Only the exact lowercase hyphenated form, so that nothing is lost by keeping the bytes.
fn canonical_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.as_bytes();
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0u8; 16];
    let mut digits = 0;
    for (i, &c) in text.iter().enumerate() {
        if HYPHENS.contains(&i) {
            if c != b'-' {
                return None;
            }
            continue;
        }
        let value = match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => return None,
        };
        bytes[digits / 2] = bytes[digits / 2] << 4 | value;
        digits += 1;
    }
    Some(bytes)
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Text(text) => f.write_str(text),
            Form::Uuid(bytes) => {
                for (i, byte) in bytes.iter().enumerate() {
                    if matches!(i, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Ok(Self::new(&String::deserialize(deserializer)?))
        } else {
            Form::deserialize(deserializer).map(Self)
        }
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a source within one store; it never changes and is never given away again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceIx(pub u16);

/// The number of a session within one store, in the order of first sight. Those of sessions that were taken away when
/// their retention was over may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionNo(pub u32);

/// The number of a label text (agent, model, tool, ...) within one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NameId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_it_was() {
        for text in [
            "a1b2c3d4-e5f6-4890-abcd-000000000001",
            "A1B2C3D4-e5f6-4890-abcd-000000000001",
            "session_01933b5a000070008000000000000001",
            "a1b2c3d4e5f6-4890-abcd-0000000000010",
            "",
            "ünïcode",
        ] {
            assert_eq!(SessionId::new(text).to_string(), text);
        }
    }

    #[test]
    fn people_read_the_text_and_the_store_has_the_bytes() {
        for text in ["a1b2c3d4-e5f6-4890-abcd-000000000001", "session_1", "a \" quote"] {
            let id = SessionId::new(text);
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(json, serde_json::to_string(text).unwrap());
            assert_eq!(serde_json::from_str::<SessionId>(&json).unwrap(), id);
            let bytes = postcard::to_stdvec(&id).unwrap();
            assert!(bytes.len() <= text.len().min(15) + 2, "{bytes:?}");
            assert_eq!(postcard::from_bytes::<SessionId>(&bytes).unwrap(), id);
        }
    }

    #[test]
    fn a_uuid_is_kept_without_an_allocation() {
        assert!(matches!(SessionId::new("a1b2c3d4-e5f6-4890-abcd-000000000001").0, Form::Uuid(_)));
        assert_eq!(size_of::<SessionId>(), 24);
    }
}
