//! Every decoder of H's bodies on arbitrary bytes: no panic, and as many facts as events.

use agent_session_exporter::domain::Timestamp;
use agent_session_exporter::ingest::platforms::hcompany;
use bytes::Bytes;
use serde_json::Value;

const NOW: Timestamp = Timestamp::from_micros(1_795_999_999_000_000);

/// One input.
pub fn run(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    // How many parts a document has is for another parser to tell; what that refuses is only decoded.
    let document = serde_json::from_slice::<Value>(data).unwrap_or_default();
    let parts = |key: &str| document.as_object().map(|it| it.get(key).and_then(Value::as_array).map_or(0, Vec::len));

    if let (Ok((events, _)), Some(parts)) = (hcompany::history(&body, NOW), parts("items")) {
        assert_eq!(events.len(), parts);
    }
    if let (Ok(page), Some(parts)) = (hcompany::changes(&body, NOW), parts("new_events")) {
        assert_eq!(page.events.len(), parts);
    }
    if let (Ok(page), Some(parts)) = (hcompany::list(&body), parts("items")) {
        assert_eq!((page.len, page.rows.len() + page.undecoded), (parts, parts));
    }
    if let Ok(page) = hcompany::status_document(&body) {
        assert_eq!(page.ending.is_some(), page.status.is_terminal());
    }
    let _ = hcompany::session_document(&body);
    let _ = hcompany::quota(&body);
    let _ = hcompany::token_quota(&body);
    let _ = hcompany::complaint(data);
}
