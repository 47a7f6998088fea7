//! What every recorded document of Everruns is decoded to, one snapshot each.

use agent_session_exporter::domain::Fact;
use agent_session_exporter::ingest::platforms::everruns;
use bytes::Bytes;

use crate::support::documents::{Kind, decoded, documents};
use crate::support::fixtures::RECEIVED;

#[test]
fn every_document_is_decoded_as_it_was_read_by_eye() {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        for document in documents() {
            let name = format!("everruns__{}__{}", document.folder, document.name);
            let text = decoded(document.kind, &document.body).unwrap_or_else(|error| panic!("{name}: {error}"));
            insta::assert_snapshot!(name, text);
        }
    });
}

#[test]
fn no_snapshot_is_left_of_a_document_that_is_gone() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/snapshots");
    let documents = documents();
    let names: Vec<String> =
        documents.iter().map(|document| format!("everruns__{}__{}.snap", document.folder, document.name)).collect();
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(!file.starts_with("everruns__") || names.contains(&file), "{file}");
    }
}

#[test]
fn every_kind_of_document_is_there() {
    let documents = documents();
    for kind in Kind::ALL {
        assert!(documents.iter().any(|document| document.kind == kind), "{kind:?}");
    }
}

#[test]
fn every_recorded_event_has_its_place_and_is_understood() {
    for document in documents().into_iter().filter(|document| document.kind == Kind::Events) {
        let (events, without_place) = everruns::events(&document.body, RECEIVED).unwrap();
        let page: serde_json::Value = serde_json::from_slice(&document.body).unwrap();
        let rows = page["data"].as_array().unwrap();
        assert_eq!((events.len(), without_place), (rows.len(), 0), "{}", document.name);
        for (placed, row) in events.iter().zip(rows) {
            assert_eq!(Some(placed.position + 1), row["sequence"].as_u64(), "{}", document.name);
            assert_eq!(placed.id.as_deref(), row["id"].as_str(), "{}", document.name);
            let is_odd = matches!(placed.event.fact, Fact::Unknown | Fact::Undecoded(_));
            assert!(!is_odd, "{}: {:?} of {}", document.name, placed.event.fact, row["type"]);
        }
    }
}

#[test]
fn every_recorded_session_is_understood() {
    for document in documents().into_iter().filter(|document| document.kind == Kind::Sessions) {
        let page = everruns::list(&document.body).unwrap();
        assert!(page.len > 0 && page.len == page.rows.len(), "{}", document.name);
    }
}

#[test]
fn errors_are_refused_by_every_decoder() {
    for document in documents().into_iter().filter(|document| document.kind == Kind::Problem) {
        assert_eq!(
            decoded(Kind::Problem, &document.body).unwrap(),
            "taken for [], a count: false",
            "{}",
            document.name
        );
    }
}

#[test]
fn a_count_of_sessions_is_its_total() {
    let stats = br#"{"total":7,"active":1,"idle":4,"started":1,"waiting_for_tool_results":0}"#;
    assert_eq!(everruns::stats(&Bytes::from_static(stats)), Ok(7));
    for nonsense in ["", "null", "[]", "{}", r#"{"total":-1}"#, r#"{"total":"7"}"#, r#"{"total":1.5}"#] {
        assert!(everruns::stats(&Bytes::from(nonsense)).is_err(), "{nonsense}");
    }
}
