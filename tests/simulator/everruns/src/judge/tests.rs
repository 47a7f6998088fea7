//! A judge must be able to say no: one sound event and one sound session, and what is made of them.

use serde_json::json;

use super::*;

fn generation() -> Value {
    json!({
        "id": "event_01a201c74078735ba83f56380ddbd50d",
        "type": "llm.generation",
        "ts": "2026-11-22T05:42:45.113Z",
        "session_id": "session_01a201c74078735ba83f56380ddbd50d",
        "sequence": 7,
        "context": {"turn_id": "turn_01a201c7409b773ab364757e6bb675cd"},
        "data": {
            "messages": [],
            "tools": [],
            "output": {"text": "secret", "tool_calls": []},
            "metadata": {
                "model": "m", "provider": "openai", "success": true,
                "usage": {"input_tokens": 58, "output_tokens": 17, "cache_read_tokens": 58},
            },
        },
    })
}

fn idle_session() -> Value {
    json!({
        "id": "session_01a201c74078735ba83f56380ddbd50d",
        "organization_id": "org_00000000000000000000000000000000",
        "harness_id": "harness_bac04bcde883bf08e34efc41d8a0fe9a",
        "status": "idle",
        "tags": [],
        "created_at": "2026-11-22T05:42:45.113Z",
        "updated_at": "2026-11-22T05:42:45.113Z",
    })
}

#[test]
fn a_sound_event_is_typed() {
    assert_eq!(event(&generation()), Ok(Verdict::Typed));
}

#[test]
fn a_missing_field_is_named() {
    let mut raw = generation();
    raw["data"]["metadata"]["usage"].as_object_mut().unwrap().remove("output_tokens");
    assert_eq!(event(&raw), Err("llm.generation: data: metadata.usage: missing field `output_tokens`".to_owned()));
    let mut raw = generation();
    raw.as_object_mut().unwrap().remove("ts");
    assert_eq!(event(&raw), Err("llm.generation: missing field `ts`".to_owned()));
}

#[test]
fn a_wrong_kind_of_value_is_named_and_not_shown() {
    let mut raw = generation();
    raw["data"]["metadata"]["success"] = json!("secret, expected a secret");
    assert_eq!(
        event(&raw),
        Err("llm.generation: data: metadata.success: invalid type: string …, expected a boolean".to_owned())
    );
    let mut raw = generation();
    raw["session_id"] = json!("secret_01a201c74078735ba83f56380ddbd50d");
    let said = event(&raw).unwrap_err();
    assert!(said.starts_with("llm.generation: session_id: invalid prefix") && !said.contains("secret"), "{said}");
}

#[test]
fn an_id_of_31_digits_is_refused_unless_lengthened() {
    let mut raw = generation();
    raw["id"] = json!("event_01933b5a00007000800000000000001");
    raw["data"]["output"]["text"] = json!("event_01933b5a0000700080000000000000");
    assert_eq!(event(&raw), Err("llm.generation: id: invalid length: expected 32, got 31".to_owned()));
    assert_eq!(lengthen_ids(&mut raw), 1);
    assert_eq!(event(&raw), Ok(Verdict::Typed));
}

#[test]
fn a_misspelt_optional_field_is_found_and_a_planted_one_may_be() {
    let mut raw = generation();
    raw["data"]["metadata"]["usage"]["cached_read_tokens"] = json!(5);
    assert_eq!(
        event(&raw),
        Err("llm.generation: data.metadata.usage.cached_read_tokens: the vendor's type has no such field".to_owned())
    );
    let mut raw = generation();
    raw["data"][format!("{}field", PLANTED[0])] = json!(5);
    assert_eq!(event(&raw), Ok(Verdict::Typed));
}

#[test]
fn types_outside_the_schema_must_be_planted() {
    let mut raw = generation();
    raw["type"] = json!("llm.generations");
    assert_eq!(event(&raw), Err("llm.generations: the vendor has no such type".to_owned()));
    raw["type"] = json!(format!("{}.thing", PLANTED[0]));
    assert_eq!(event(&raw), Ok(Verdict::Planted));
}

#[test]
fn what_exists_in_streams_only_is_refused() {
    let mut raw = generation();
    raw["type"] = json!(events::OUTPUT_MESSAGE_DELTA);
    assert!(event(&raw).unwrap_err().contains("streams only"));
}

#[test]
fn sessions() {
    assert_eq!(session(&idle_session()), Ok(false));
    let mut raw = idle_session();
    raw["status"] = json!("paused");
    assert_eq!(session(&raw), Ok(true));
    raw["status"] = json!("waiting_for_tool_results");
    assert!(session(&raw).unwrap_err().starts_with("session: status: unknown variant …, expected one of"));
    let mut raw = idle_session();
    raw["titel"] = json!("x");
    assert_eq!(session(&raw), Err("session: titel: the vendor's type has no such field".to_owned()));
    let mut raw = idle_session();
    raw.as_object_mut().unwrap().remove("harness_id");
    assert_eq!(session(&raw), Err("session: missing field `harness_id`".to_owned()));
}
