//! Single events, what each becomes, and what those become that make no sense.

use super::*;

const RECEIVED: Timestamp = Timestamp::from_micros(1_795_999_999_000_000);

fn decoded(events: &[&str]) -> (Vec<Placed>, usize) {
    let rows: Vec<&RawValue> = events.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
    decode(&rows, RECEIVED)
}

/// What one event of this type and content becomes.
fn fact_of(kind: &str, data: &str) -> Fact<SmolStr> {
    let event = format!(r#"{{"sequence":1,"type":"{kind}","ts":"2026-11-22T05:42:40Z","data":{data}}}"#);
    decoded(&[&event]).0.remove(0).event.fact
}

#[test]
fn durations_are_known_or_not_but_never_nonsense() {
    for (text, expected) in
        [("265", Some(265_000)), ("0.5", Some(500)), ("0", Some(0)), ("-1", None), ("1e300", None), ("null", None)]
    {
        let data = format!(r#"{{"turn_id":"t","duration_ms":{text}}}"#);
        let Fact::TurnEnded { took, .. } = fact_of("turn.completed", &data) else { panic!("{text}") };
        assert_eq!(took, expected.map(Span::from_micros), "{text}");
    }
    let Fact::TurnEnded { took: None, .. } = fact_of("turn.completed", "{}") else { panic!("none was given") };
    assert_eq!(fact_of("turn.completed", r#"{"duration_ms":"long"}"#), Fact::Undecoded("payload".into()));
}

/// What one event becomes whose context is this.
fn fact_in(context: &str, kind: &str, data: &str) -> Fact<SmolStr> {
    let event =
        format!(r#"{{"sequence":1,"type":"{kind}","ts":"2026-11-22T05:42:40Z","context":{context},"data":{data}}}"#);
    decoded(&[&event]).0.remove(0).event.fact
}

#[test]
fn spans_keep_the_names_that_the_platform_gave_them() {
    let span = SpanId::of_uuid("01a201c9-9ccb-76c9-8aef-ba520c3dd8b1");
    assert!(span.is_some());
    let context = r#"{"trace_id":"turn_1","span_id":"01a201c9-9ccb-76c9-8aef-ba520c3dd8b1","parent_span_id":"turn_1"}"#;
    let fact = |kind, data| fact_in(context, kind, data);
    assert_eq!(fact("reason.started", "{}"), Fact::ReasoningStarted { model: None, span });
    assert_eq!(fact("act.started", r#"{"tool_calls":[]}"#), Fact::ActStarted(span));
    assert_eq!(fact("act.completed", "{}"), Fact::ActEnded);
    let ModelCall { span: called, .. } = match fact("llm.generation", r#"{"metadata":{}}"#) {
        Fact::ModelCalled(call) => call,
        fact => panic!("{fact:?}"),
    };
    assert_eq!(called, span);
    assert!(matches!(fact("reason.completed", "{}"), Fact::ReasoningEnded(call) if call.span == span));
    let started = fact("tool.started", r#"{"tool_call":{"id":"c","name":"t"}}"#);
    assert!(matches!(started, Fact::ToolStarted(call) if call.span == span));
    let ended = fact("tool.completed", r#"{"tool_name":"t"}"#);
    assert!(matches!(ended, Fact::ToolEnded { call, .. } if call.span == span));
}

#[test]
fn a_context_that_makes_no_sense_names_no_span_and_loses_nothing_else() {
    for context in ["null", "7", "[]", "{}", r#"{"span_id":null}"#, r#"{"span_id":7}"#, r#"{"span_id":"turn_1"}"#] {
        assert_eq!(fact_in(context, "act.started", "{}"), Fact::ActStarted(None), "{context}");
    }
}

#[test]
fn a_call_says_who_answered_and_why_it_stopped() {
    let call = |metadata: &str| match fact_of("llm.generation", &format!(r#"{{"metadata":{metadata}}}"#)) {
        Fact::ModelCalled(call) => call,
        fact => panic!("{fact:?}"),
    };
    let full = call(
        r#"{"model":"gpt-5-mini","provider":"openai","response_model":"gpt-5-mini-2026-01-01",
            "response_id":"resp_1","finish_reasons":["tool_calls","stop"]}"#,
    );
    assert_eq!((full.provider, full.answered_by), (Some("openai".into()), Some("gpt-5-mini-2026-01-01".into())));
    assert_eq!((full.answer, full.finish), (Some(CallId::new("resp_1")), Some(Finish::ToolCalls)));
    let same = call(r#"{"model":"gpt-5-mini","response_model":"gpt-5-mini","finish_reasons":["because I could"]}"#);
    assert_eq!((same.answered_by, same.finish), (None, Some(Finish::Other)));
    let nonsense =
        call(r#"{"model":"gpt-5-mini","provider":7,"response_model":["x"],"response_id":{},"finish_reasons":"stop"}"#);
    assert_eq!(nonsense, ModelCall { model: Some("gpt-5-mini".into()), estimated: true, ..ModelCall::default() });
    for (told, vendor) in [
        ("azure_openai", Some("azure.ai.openai")),
        ("gemini", Some("gcp.gemini")),
        ("x", Some("x")),
        ("everruns", None),
    ] {
        let told = call(&format!(r#"{{"provider":"{told}"}}"#));
        assert_eq!(told.provider.as_deref(), vendor, "two names of one would be two series that look the same");
    }
    for finish_reasons in ["[]", "[7]", "null"] {
        assert_eq!(call(&format!(r#"{{"finish_reasons":{finish_reasons}}}"#)).finish, None);
    }
}

#[test]
fn a_provider_that_was_asked_again_is_an_error_that_was_recovered_from() {
    assert_eq!(fact_of("reason.recovered", r#"{"mode":"restart"}"#), Fact::LoopError);
    assert_eq!(fact_of("transcript.repaired", "{}"), Fact::Noted);
}

#[test]
fn error_codes_are_a_closed_set() {
    let code = |data: &str| match fact_of("turn.failed", data) {
        Fact::TurnEnded { outcome: TurnOutcome::Failed, error: Some(error), .. } => error,
        fact => panic!("{fact:?}"),
    };
    assert_eq!(code(r#"{"error_code":"provider_quota_exhausted"}"#), "provider_quota_exhausted");
    for unknown in [r#"{"error_code":"key sk-123 refused"}"#, r#"{"error_code":""}"#, r#"{"error_code":null}"#, "{}"] {
        assert_eq!(code(unknown), "other", "{unknown}");
    }
    let sealed = fact_of("turn.sealed", r#"{"reason":"no_progress"}"#);
    assert!(matches!(sealed, Fact::TurnEnded { error: Some(error), .. } if error == "no_progress"));
    let Fact::ToolEnded { error: Some(error), .. } =
        fact_of("tool.completed", r#"{"tool_name":"t","success":false,"status":"boom"}"#)
    else {
        panic!("it failed")
    };
    assert_eq!(error, "error");
}

#[test]
fn without_a_place_in_the_stream_an_event_is_none_of_it() {
    let (placed, without) = decoded(&[
        r#"{"type":"input.message"}"#,
        r#"{"type":"input.message","sequence":null}"#,
        r#"{"type":"input.message","sequence":0}"#,
        r#"{"type":"input.message","sequence":-1}"#,
        r#"{"type":"input.message","sequence":1.5}"#,
        r#"{"type":"input.message","sequence":"2"}"#,
        r#"{"type":"input.message","sequence":4294967296}"#,
        r#"{"type":"input.message","sequence":99999999999999999999}"#,
        r#"{"type":"input.message","sequence":4294967295}"#,
        "null",
        "7",
    ]);
    assert_eq!((placed.len(), without), (1, 10));
    assert_eq!(placed[0].position, 4_294_967_294);
}

#[test]
fn events_come_in_order_and_once() {
    let event = |sequence: u32, kind: &str| {
        format!(
            r#"{{"sequence":{sequence},"id":"e{sequence}","type":"{kind}","ts":"2026-11-22T05:42:40Z","data":{{}}}}"#
        )
    };
    let events =
        [event(3, "session.idled"), event(1, "input.message"), event(3, "input.message"), event(2, "new.type")];
    let (placed, without) = decoded(&events.each_ref().map(String::as_str));
    let told: Vec<_> = placed.iter().map(|placed| (placed.position, placed.event.fact.clone())).collect();
    assert_eq!(told, [(0, Fact::Message), (1, Fact::Unknown), (2, Fact::Became(Status::Idle))]);
    assert_eq!(without, 0);
}

#[test]
fn an_event_that_makes_no_sense_keeps_its_place_and_takes_a_time_from_its_neighbour() {
    let (placed, _) = decoded(&[
        r#"{"sequence":1,"type":"input.message","ts":"yesterday"}"#,
        r#"{"sequence":2,"type":"input.message","ts":"2026-11-22T05:42:40.1234567Z"}"#,
        r#"{"sequence":3,"type":7}"#,
        r#"{"sequence":4,"type":"tool.started","ts":"2026-11-22T05:42:41Z","data":{"tool_call":null}}"#,
    ]);
    let reasons: Vec<_> = placed.iter().map(|placed| placed.event.fact.clone()).collect();
    let undecoded = |reason: &'static str| Fact::Undecoded(SmolStr::new_static(reason));
    assert_eq!(reasons, [undecoded("timestamp"), Fact::Message, undecoded("envelope"), undecoded("payload")]);
    assert_eq!(placed[0].event.at, RECEIVED);
    assert_eq!(placed[2].event.at, placed[1].event.at);
}

#[test]
fn prompts_contain_what_was_cached_and_prices_say_where_they_are_from() {
    let call = |usage: &str| match fact_of("llm.generation", &format!(r#"{{"metadata":{{"usage":{usage}}}}}"#)) {
        Fact::ModelCalled(call) => call,
        fact => panic!("{fact:?}"),
    };
    let call_of_all = call(
        r#"{"input_tokens":58,"output_tokens":17,"cache_read_tokens":58,"cache_creation_tokens":4,
            "actual_cost_usd":0.5,"estimated_cost_usd":0.25}"#,
    );
    let tokens = Tokens { input: 120, cached: 58, cache_write: 4, output: 17, reasoning: 0 };
    assert_eq!(call_of_all.usage, Used { tokens, cost: Some(NanoUsd(500_000_000)) });
    assert!(!call_of_all.estimated);
    let estimated = call(r#"{"actual_cost_usd":-1,"estimated_cost_usd":0.25}"#);
    assert_eq!((estimated.usage.cost, estimated.estimated), (Some(NanoUsd(250_000_000)), true));
    let huge = call(r#"{"input_tokens":18446744073709551615,"cache_read_tokens":18446744073709551615}"#);
    assert_eq!(huge.usage.tokens.input, u64::MAX);
}
