//! Every decoder of Everruns' bodies on arbitrary bytes: no panic, and positions that ascend, each once.

use agent_session_exporter::domain::Timestamp;
use agent_session_exporter::ingest::platforms::everruns;
use bytes::Bytes;
use serde_json::Value;

const NOW: Timestamp = Timestamp::from_micros(1_795_999_999_000_000);

/// One input.
pub fn run(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    // How many parts a document has is for another parser to tell; what that refuses is only decoded.
    let document = serde_json::from_slice::<Value>(data).unwrap_or_default();
    let parts = document.get("data").and_then(Value::as_array).map_or(0, Vec::len);

    if let Ok((events, without_place)) = everruns::events(&body, NOW) {
        assert!(events.is_sorted_by(|a, b| a.position < b.position));
        assert!(events.iter().all(|placed| placed.event.fact.positions() == 1));
        assert!(parts == 0 || events.len() + without_place <= parts);
    }
    if let Ok(page) = everruns::list(&body) {
        assert!(page.rows.len() <= page.len && (parts == 0 || page.len == parts));
    }
    let _ = everruns::agents(&body);
    let _ = everruns::stats(&body);
}
