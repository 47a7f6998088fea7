//! What every recorded document is decoded to, one snapshot each.

use crate::support::fixtures::{Kind, decoded, fixtures, page_of};

#[test]
fn every_document_is_decoded_as_it_was_read_by_eye() {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        for fixture in fixtures() {
            let text = decoded(fixture.kind, &fixture.body).unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
            insta::assert_snapshot!(format!("hcompany__{}", fixture.name), text);
        }
    });
}

#[test]
fn no_snapshot_is_left_of_a_document_that_is_gone() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/snapshots");
    let names: Vec<String> = fixtures().into_iter().map(|fixture| format!("hcompany__{}.snap", fixture.name)).collect();
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(!file.starts_with("hcompany__") || names.contains(&file), "{file}");
    }
}

#[test]
fn every_kind_of_document_is_there() {
    let fixtures = fixtures();
    for kind in Kind::ALL {
        assert!(fixtures.iter().any(|fixture| fixture.kind == kind), "{kind:?}");
    }
}

#[test]
fn no_known_type_of_event_is_undecoded() {
    for fixture in fixtures() {
        let Ok(text) = decoded(fixture.kind, &fixture.body) else { continue };
        assert!(!text.contains("Undecoded"), "{}: {text}", fixture.name);
        let is_known = fixture.name.starts_with("event-") && !fixture.name.starts_with("event-odd-");
        assert!(!text.contains("Unknown") || !is_known, "{}: {text}", fixture.name);
    }
}

#[test]
fn fields_that_lifecycle_events_may_grow_change_nothing() {
    // The server passes on whatever further fields a lifecycle event is given.
    for (kind, data, fact) in [
        ("ActiveStateChangeEvent", r#"{"state":"idle","status":"running"}"#, "Entered(Idle)"),
        ("ActiveStateChangeEvent", r#"{"status":7,"reason":null,"state":"running"}"#, "Entered(Running)"),
        ("AgentRunStatusChangeEvent", r#"{"status":"paused","reason":"user"}"#, "Entered(Paused)"),
        ("AgentCompletionEvent", r#"{"reason":"stopped","status":"completed"}"#, "StreamEnded(Interrupted)"),
    ] {
        let event = format!(r#"{{"type":"{kind}","timestamp":"2026-11-20T14:30:00Z","data":{data}}}"#);
        let text = decoded(Kind::Events, &page_of([event.as_bytes()])).unwrap();
        assert!(text.contains(fact), "{event}: {text}");
    }
}
