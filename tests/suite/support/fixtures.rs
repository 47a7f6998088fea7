//! The recorded documents of a platform, each with the decoder that its name calls for.

use std::path::Path;

use agent_session_exporter::domain::Timestamp;
use agent_session_exporter::ingest::platforms::hcompany;
use bytes::Bytes;

/// A document as the platform sends it.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Its file's name without `.json`.
    pub name: String,
    /// What it is, by its name.
    pub kind: Kind,
    /// What arrives: the file, or the page that its event comes in.
    pub body: Bytes,
}

/// What a document is, and so who decodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    List,
    Changes,
    Events,
    Status,
    Session,
    Quota,
    TokenQuota,
    Problem,
    /// Sent to others, or by us: no decoder may take it for its own.
    Foreign,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::List,
        Self::Changes,
        Self::Events,
        Self::Status,
        Self::Session,
        Self::Quota,
        Self::TokenQuota,
        Self::Problem,
        Self::Foreign,
    ];

    /// The longest beginning that fits decides; `None` is a document that nothing reads.
    fn of(name: &str) -> Option<Self> {
        const BEGINNINGS: [(&str, Kind); 12] = [
            ("sessions-", Kind::List),
            ("session-", Kind::Session),
            ("changes-", Kind::Changes),
            ("events-", Kind::Events),
            ("event-", Kind::Events),
            ("status-", Kind::Status),
            ("quota-tokens", Kind::TokenQuota),
            ("quota-", Kind::Quota),
            ("error-", Kind::Problem),
            ("feedback-", Kind::Foreign),
            ("share-", Kind::Foreign),
            ("webhook-", Kind::Foreign),
        ];
        BEGINNINGS.into_iter().find(|(beginning, _)| name.starts_with(beginning)).map(|(_, kind)| kind)
    }
}

/// When the documents are said to have arrived: not a time that is in any of them.
pub const RECEIVED: Timestamp = Timestamp::from_micros(1_795_999_999_000_000);

/// Every document in the folder, in the order of names. A document that nothing reads ends the test.
pub fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hcompany");
    let mut fixtures: Vec<Fixture> = std::fs::read_dir(folder)
        .expect("the folder of documents")
        .map(|entry| {
            let path = entry.expect("a readable folder").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read(&path).expect("a readable document");
            let kind = Kind::of(&name).unwrap_or_else(|| panic!("no decoder reads {name}: give it one here"));
            let body = if name.starts_with("event-") { page_of([&text[..]]) } else { text.into() };
            Fixture { name, kind, body }
        })
        .collect();
    fixtures.sort_by(|a, b| a.name.cmp(&b.name));
    fixtures
}

/// The page of `/events` that holds just these.
pub fn page_of<'a>(events: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let events: Vec<&[u8]> = events.into_iter().collect();
    let tail = format!(r#"],"total":{},"page":1}}"#, events.len());
    [br#"{"items":["#, &events.join(&b","[..])[..], tail.as_bytes()].concat().into()
}

/// What a decoder makes of a body, as text: what it was told, or that it is no such document.
pub fn decoded(kind: Kind, body: &Bytes) -> Result<String, hcompany::DecodeError> {
    Ok(match kind {
        Kind::List => lines(&hcompany::list(body)?),
        Kind::Changes => lines(&hcompany::changes(body, RECEIVED)?),
        Kind::Events => lines(&hcompany::history(body, RECEIVED)?),
        Kind::Status => lines(&hcompany::status_document(body)?),
        Kind::Session => lines(&hcompany::session_document(body)?),
        Kind::Quota => lines(&hcompany::quota(body)?),
        Kind::TokenQuota => lines(&hcompany::token_quota(body)?),
        Kind::Problem => lines(&hcompany::complaint(body)),
        Kind::Foreign => {
            let takers = Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::Foreign | Kind::Problem));
            format!("taken for {:?}", takers.filter(|kind| decoded(*kind, body).is_ok()).collect::<Vec<_>>())
        }
    })
}

/// One line per event or row, times as people read them.
pub fn lines(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let mut readable = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find("Timestamp(") {
        readable.push_str(&rest[..start]);
        rest = &rest[start + "Timestamp(".len()..];
        let end = rest.find(')').expect("it is closed");
        let micros: i64 = rest[..end].parse().expect("a number");
        readable.push_str(&Timestamp::from_micros(micros).to_string());
        rest = &rest[end + 1..];
    }
    readable.push_str(rest);
    for opening in ["Event { at", "Row { id", "ModelUsage { model", "Placed { position", "Listed { row"] {
        readable = readable.replace(&format!("[{opening}"), &format!("[\n  {opening}"));
        readable = readable.replace(&format!(", {opening}"), &format!(",\n  {opening}"));
    }
    readable
}
