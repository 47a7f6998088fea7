//! Log entries of arbitrary bytes: what can be read is written the same again, and folds without a panic.

use agent_session_exporter::domain::{NameId, SessionId, SessionNo, SourceIx, Timestamp};
use agent_session_exporter::journal::{decode_entry, encode_entry};
use agent_session_exporter::projection::{LabelPolicy, Session, SourceRecord, State};

/// One input.
pub fn run(data: &[u8]) {
    let Ok(entry) = decode_entry(SessionNo(1), 0, data) else { return };
    let mut bytes = Vec::new();
    encode_entry(&entry, &mut bytes).expect("what was read can be written");
    assert_eq!(decode_entry(SessionNo(1), 0, &bytes).expect("what was written can be read"), entry);

    let mut state = State::new(LabelPolicy::default(), []);
    let source = state.add_source(SourceRecord {
        name: "source".into(),
        platform: "hcompany".into(),
        account: String::new(),
        key_print: 0,
        count_from: Timestamp::default(),
        origin: agent_session_exporter::projection::Origin::default(),
    });
    let (id, now) = (SessionId::new("session"), Timestamp::default());
    let mut session = Session::new(id, SourceIx(source.0), NameId(2), now, now);
    state.refold(&mut session, &entry);
    state.refold(&mut session, &entry);
}
