//! The recorded documents of Everruns, from servers of two ages, each with the decoder that its name calls for.

use std::path::Path;

use agent_session_exporter::ingest::platforms::everruns;
use bytes::Bytes;

use super::fixtures::{RECEIVED, lines};

/// A document as a server sends it.
#[derive(Clone, Debug)]
pub struct Document {
    /// The server's folder and the file's name without `.json`.
    pub folder: String,
    pub name: String,
    /// What it is, by its name.
    pub kind: Kind,
    /// What arrives: the file; a session that was asked for by name as a list would show it.
    pub body: Bytes,
}

/// What a document is, and so who decodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Events,
    Sessions,
    Agents,
    /// An error: no decoder may take it for its own.
    Problem,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Events, Self::Sessions, Self::Agents, Self::Problem];

    fn of(name: &str) -> Option<Self> {
        const PROBLEMS: [&str; 5] =
            ["events_bad_limit", "events_bad_since", "events_foreign_since", "session_404", "session_bad_id"];
        const BEGINNINGS: [(&str, Kind); 4] = [
            ("events_", Kind::Events),
            ("sessions_list_", Kind::Sessions),
            ("session_", Kind::Sessions),
            ("agents", Kind::Agents),
        ];
        if PROBLEMS.contains(&name) {
            return Some(Self::Problem);
        }
        BEGINNINGS.into_iter().find(|(beginning, _)| name.starts_with(beginning)).map(|(_, kind)| kind)
    }
}

/// Every document of both servers, in the order of names. A document that nothing reads ends the test.
pub fn documents() -> Vec<Document> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/everruns");
    let mut documents = Vec::new();
    for folder in std::fs::read_dir(root).expect("the folder of documents") {
        let folder = folder.expect("a readable folder").path();
        for file in std::fs::read_dir(&folder).expect("a folder per server") {
            let path = file.expect("a readable folder").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read(&path).expect("a readable document");
            let kind = Kind::of(&name).unwrap_or_else(|| panic!("no decoder reads {name}: give it one here"));
            let is_single = kind == Kind::Sessions && name.starts_with("session_");
            let body = if is_single { page_of([&text[..]]) } else { text.into() };
            let folder = folder.file_name().expect("a name").to_string_lossy().into_owned();
            documents.push(Document { folder, name, kind, body });
        }
    }
    documents.sort_by(|a, b| (&a.folder, &a.name).cmp(&(&b.folder, &b.name)));
    documents
}

/// The page that holds just these.
pub fn page_of<'a>(rows: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let rows: Vec<&[u8]> = rows.into_iter().collect();
    [br#"{"data":["#, &rows.join(&b","[..])[..], b"]}"].concat().into()
}

/// What a decoder makes of a body, as text: what it was told, or that it is no such document.
pub fn decoded(kind: Kind, body: &Bytes) -> Result<String, everruns::DecodeError> {
    Ok(match kind {
        Kind::Events => lines(&everruns::events(body, RECEIVED)?),
        Kind::Sessions => lines(&everruns::list(body)?),
        Kind::Agents => lines(&everruns::agents(body)?),
        Kind::Problem => {
            let takers = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Problem);
            let takers: Vec<Kind> = takers.filter(|kind| decoded(*kind, body).is_ok()).collect();
            format!("taken for {takers:?}, a count: {}", everruns::stats(body).is_ok())
        }
    })
}
