//! Spans as OTLP messages: what was done, with the attributes of the GenAI conventions and no content.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, SpanFlags, Status,
    span::{Event, Link, SpanKind},
    status::StatusCode,
};

use super::{Sender, attribute, nanos, resource, scope, semconv};
use crate::domain::{NanoUsd, Tokens, TraceContext, TurnOutcome};
use crate::projection::{ChatWork, Happening, Mark, Origin, Snapshot, SourceView, TraceSpan, TurnWork, Work};

/// One message with these spans. `snapshot` has to be one that was shown after they were committed: it knows the names.
pub fn traces(snapshot: &Snapshot, spans: &[TraceSpan], sender: &Sender) -> ExportTraceServiceRequest {
    let spans = spans.iter().map(|span| Writer { snapshot, span }.span()).collect();
    let scope_spans = ScopeSpans { scope: Some(scope()), spans, schema_url: String::new() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource(sender)),
            scope_spans: vec![scope_spans],
            schema_url: String::new(),
        }],
    }
}

/// Ours is no child of a span elsewhere that this process was told of: known, and local.
const LOCAL: u32 = SpanFlags::ContextHasIsRemoteMask as u32;
/// A link to a span that is there to be seen.
const SAMPLED: u32 = 1;

struct Writer<'a> {
    snapshot: &'a Snapshot,
    span: &'a TraceSpan,
}

/// The attributes of one span, as they are put together.
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn text(&mut self, key: &str, value: &str) {
        self.0.push(attribute(key, value));
    }

    fn value(&mut self, key: &str, value: Value) {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    }

    fn count(&mut self, key: &str, value: u64) {
        self.value(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn tokens(&mut self, tokens: Tokens) {
        self.count(semconv::INPUT_TOKENS, tokens.input);
        self.count(semconv::OUTPUT_TOKENS, tokens.output);
        for (key, count) in [
            (semconv::CACHE_READ_TOKENS, tokens.cached),
            (semconv::CACHE_WRITE_TOKENS, tokens.cache_write),
            (semconv::REASONING_TOKENS, tokens.reasoning),
        ] {
            if count > 0 {
                self.count(key, count);
            }
        }
    }

    fn cost(&mut self, cost: Option<NanoUsd>, estimated: bool) {
        let Some(NanoUsd(cost)) = cost else { return };
        self.value("agent.cost.usd", Value::DoubleValue(cost as f64 / 1e9));
        self.text("agent.cost.basis", if estimated { "estimated" } else { "platform" });
    }
}

impl<'a> Writer<'a> {
    fn source(&self) -> Option<&'a SourceView> {
        self.snapshot.sources.get(usize::from(self.span.source.0))
    }

    fn span(&self) -> Span {
        let span = self.span;
        let (name, kind) = self.name();
        let (mut links, mut events, mut dropped_events_count) = (Vec::new(), Vec::new(), 0);
        if let Work::Turn(turn) = &span.work {
            let known = [("previous_turn", turn.previous), ("parent_turn", turn.parent_turn)];
            links.extend(known.into_iter().filter_map(|(relation, to)| Some(link(relation, to?))));
            events.extend(turn.tally.marks.iter().map(event));
            dropped_events_count = turn.tally.more_marks;
        }
        let error = self.error();
        Span {
            trace_id: span.context.trace.bytes().to_vec(),
            span_id: span.context.span.bytes().to_vec(),
            parent_span_id: span.parent.map_or_else(Vec::new, |parent| parent.bytes().to_vec()),
            flags: LOCAL | SAMPLED,
            name,
            kind: kind as i32,
            start_time_unix_nano: nanos(span.began),
            end_time_unix_nano: nanos(span.ended),
            status: error.as_ref().map(|_| Status { code: StatusCode::Error as i32, message: String::new() }),
            attributes: self.attributes(error),
            events,
            dropped_events_count,
            links,
            ..Span::default()
        }
    }

    fn name(&self) -> (String, SpanKind) {
        let with = |operation: &str, name: &str| match name {
            "" => operation.to_owned(),
            name => format!("{operation} {name}"),
        };
        match &self.span.work {
            Work::Turn(_) => (with(semconv::INVOKE_AGENT, self.snapshot.text(self.span.agent)), SpanKind::Client),
            Work::Step => ("step".to_owned(), SpanKind::Internal),
            Work::Reason { .. } => ("reason".to_owned(), SpanKind::Internal),
            Work::Act => ("act".to_owned(), SpanKind::Internal),
            Work::Chat(chat) => {
                let model = chat.model.map_or("", |model| self.snapshot.text(model));
                (with(semconv::CHAT, model), SpanKind::Client)
            }
            Work::Tool { tool, .. } => (with(semconv::EXECUTE_TOOL, self.snapshot.text(*tool)), SpanKind::Internal),
        }
    }

    /// The error type of what failed. What was interrupted or given up did not fail.
    fn error(&self) -> Option<&'a str> {
        let code = match &self.span.work {
            Work::Turn(turn) => {
                let has_failed = matches!(turn.outcome, TurnOutcome::Failed | TurnOutcome::TimedOut);
                has_failed.then_some(turn.error)?
            }
            Work::Chat(chat) => Some(chat.error?),
            Work::Tool { error, .. } | Work::Reason { error } => Some((*error)?),
            Work::Step | Work::Act => return None,
        };
        let code = code.map_or(semconv::OTHER_ERROR, |code| self.snapshot.text(code));
        // The conventions have a word of their own for what has no name.
        Some(if code == "other" { semconv::OTHER_ERROR } else { code })
    }

    fn attributes(&self, error: Option<&str>) -> Vec<KeyValue> {
        let mut all = Attributes(Vec::with_capacity(16));
        if let Some(source) = self.source() {
            all.text("source", &source.name);
            all.text("platform", &source.platform);
        }
        all.text(semconv::AGENT_NAME, self.snapshot.text(self.span.agent));
        all.text(semconv::CONVERSATION_ID, &self.span.session.to_string());
        match &self.span.work {
            Work::Turn(turn) => self.turn(turn, &mut all),
            Work::Chat(chat) => self.chat(chat, &mut all),
            Work::Tool { tool, call, .. } => {
                all.text(semconv::OPERATION_NAME, semconv::EXECUTE_TOOL);
                all.text(semconv::TOOL_NAME, self.snapshot.text(*tool));
                call.iter().for_each(|call| all.text(semconv::TOOL_CALL_ID, call.as_str()));
            }
            // Ours to structure a turn; the conventions have no operation for them.
            Work::Step | Work::Reason { .. } | Work::Act => {}
        }
        if self.span.cut_off {
            all.value("agent.cut_off", Value::BoolValue(true));
        }
        error.into_iter().for_each(|error| all.text(semconv::ERROR_TYPE, error));
        all.0
    }

    fn turn(&self, turn: &TurnWork, all: &mut Attributes) {
        all.text(semconv::OPERATION_NAME, semconv::INVOKE_AGENT);
        if let Some(source) = self.source() {
            all.text(semconv::PROVIDER_NAME, &source.platform);
            let Origin { server, turn_attribute, turn_prefix } = &source.origin;
            if !server.is_empty() {
                all.text(semconv::SERVER_ADDRESS, server);
            }
            if turn.is_named && !turn_attribute.is_empty() {
                all.text(turn_attribute, &format!("{turn_prefix}{}", self.span.context.trace));
            }
        }
        all.count("agent.turn.number", turn.number.into());
        all.text("agent.turn.outcome", turn.outcome.as_str());
        turn.verdict.iter().for_each(|verdict| all.text("agent.turn.verdict", verdict.as_str()));
        if turn.is_rest {
            all.value("agent.turn.is_rest", Value::BoolValue(true));
        }
        let tally = &turn.tally;
        all.count("agent.turn.steps", tally.steps);
        if tally.model_calls > 0 {
            all.count("agent.turn.model_calls", tally.model_calls.into());
        }
        all.count("agent.turn.tool_calls", tally.tool_calls.into());
        all.count("agent.turn.tool_failures", tally.tool_failures.into());
        all.tokens(tally.tokens);
        all.cost(tally.cost, tally.estimated);
    }

    fn chat(&self, chat: &ChatWork, all: &mut Attributes) {
        all.text(semconv::OPERATION_NAME, semconv::CHAT);
        let platform = self.source().map(|source| &*source.platform);
        let vendor = chat.provider.map(|provider| self.snapshot.text(provider));
        vendor.or(platform).iter().for_each(|provider| all.text(semconv::PROVIDER_NAME, provider));
        if let Some(model) = chat.model {
            all.text(semconv::REQUEST_MODEL, self.snapshot.text(model));
        }
        // Nobody answered a call that failed.
        if let Some(model) = chat.answered_by.or(chat.model).filter(|_| chat.error.is_none()) {
            all.text(semconv::RESPONSE_MODEL, self.snapshot.text(model));
        }
        chat.answer.iter().for_each(|answer| all.text(semconv::RESPONSE_ID, answer.as_str()));
        if let Some(finish) = chat.finish {
            let reason = AnyValue { value: Some(Value::StringValue(finish.as_str().to_owned())) };
            all.value(semconv::FINISH_REASONS, Value::ArrayValue(ArrayValue { values: vec![reason] }));
        }
        if let Some(first_token) = chat.first_token {
            all.value(semconv::TIME_TO_FIRST_CHUNK, Value::DoubleValue(first_token.seconds()));
        }
        if let Some(usage) = chat.usage.filter(|usage| chat.error.is_none() || !usage.tokens.is_zero()) {
            all.tokens(usage.tokens);
            all.cost(usage.cost, chat.estimated);
        }
    }
}

fn link(relation: &str, to: TraceContext) -> Link {
    Link {
        trace_id: to.trace.bytes().to_vec(),
        span_id: to.span.bytes().to_vec(),
        flags: LOCAL | SAMPLED,
        attributes: vec![attribute("agent.link", relation)],
        ..Link::default()
    }
}

fn event(mark: &Mark) -> Event {
    let (name, attributes) = match mark.what {
        Happening::Entered(status) => ("status", vec![attribute("agent.session.status", status.as_str())]),
        Happening::RecoverableError => ("recoverable_error", Vec::new()),
        Happening::Message => ("message", Vec::new()),
    };
    Event { time_unix_nano: nanos(mark.at), name: name.to_owned(), attributes, ..Event::default() }
}
