//! What spans tell of each session, beside what its platform's own account tells of it.

use std::collections::{BTreeMap, HashMap};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;

/// A span's name in its trace.
pub type Name = (Vec<u8>, Vec<u8>);

fn name(span: &Span) -> Name {
    (span.trace_id.clone(), span.span_id.clone())
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|pair| pair.key == key)?.value.as_ref()?.value.as_ref()
}

pub fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    match attribute(span, key) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

fn number(span: &Span, key: &str) -> u64 {
    match attribute(span, key) {
        Some(Value::IntValue(number)) => u64::try_from(*number).expect("nothing is negative"),
        _ => 0,
    }
}

/// What spans tell of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    pub turns: BTreeMap<String, u64>,
    steps: u64,
    model_calls: u64,
    tools: u64,
    input: u64,
    output: u64,
}

impl Deeds {
    fn add(&mut self, span: &Span) {
        let is_cut_off = attribute(span, "agent.cut_off").is_some();
        match text(span, "gen_ai.operation.name") {
            "invoke_agent" => *self.turns.entry(text(span, "agent.turn.outcome").to_owned()).or_default() += 1,
            "chat" => {
                self.model_calls += 1;
                self.input += number(span, "gen_ai.usage.input_tokens");
                self.output += number(span, "gen_ai.usage.output_tokens");
            }
            "execute_tool" if !is_cut_off => self.tools += 1,
            "" if span.name == "reason" && !is_cut_off => self.steps += 1,
            _ => {}
        }
    }
}

/// Distinct spans; a span that came again has to be the same.
pub fn distinct(spans: &[Span]) -> HashMap<Name, Span> {
    let mut all: HashMap<Name, Span> = HashMap::new();
    for span in spans {
        let before = all.insert(name(span), span.clone());
        assert!(before.is_none_or(|before| before == *span), "told differently: {span:?}");
    }
    all
}

pub fn told(spans: &HashMap<Name, Span>) -> BTreeMap<String, Deeds> {
    let mut told: BTreeMap<String, Deeds> = BTreeMap::new();
    for span in spans.values() {
        told.entry(text(span, "gen_ai.conversation.id").to_owned()).or_default().add(span);
    }
    told
}

/// The same from the platform's account.
pub fn expected(truth: &serde_json::Value) -> BTreeMap<String, Deeds> {
    let count = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
    let sessions = truth["traces"]["sessions"].as_array().expect("few enough to be told one by one");
    let deeds = |session: &serde_json::Value| {
        let turns = session["turns_finished"].as_object().expect("by outcome");
        Deeds {
            turns: turns.iter().map(|(outcome, turns)| (outcome.clone(), count(turns))).collect(),
            steps: count(&session["steps"]),
            model_calls: count(&session["model_calls"]),
            tools: count(&session["tool_calls_ended"]),
            input: count(&session["input_tokens"]),
            output: count(&session["output_tokens"]),
        }
    };
    let told = sessions.iter().map(|session| (session["id"].as_str().expect("an id").to_owned(), deeds(session)));
    told.filter(|(_, deeds)| *deeds != Deeds::default()).collect()
}

/// Where the two accounts differ.
pub fn differing(told: &BTreeMap<String, Deeds>, expected: &BTreeMap<String, Deeds>) -> Vec<String> {
    let ids: std::collections::BTreeSet<&String> = told.keys().chain(expected.keys()).collect();
    let differing = ids.into_iter().filter(|id| told.get(*id) != expected.get(*id));
    differing.map(|id| format!("{id}: told {:?}, expected {:?}", told.get(id), expected.get(id))).collect()
}

fn is_turn(span: &Span) -> bool {
    text(span, "gen_ai.operation.name") == "invoke_agent"
}

/// Nothing hangs in the air: who has a parent has one that arrived, unless the turn is not over. And what a turn says of
/// itself is what its parts say.
pub fn assert_whole(spans: &HashMap<Name, Span>) {
    let over: HashMap<&[u8], &Span> =
        spans.values().filter(|span| is_turn(span)).map(|span| (&span.trace_id[..], span)).collect();
    let mut parts: HashMap<Name, (Deeds, u64)> = HashMap::new();
    for span in spans.values().filter(|span| !span.parent_span_id.is_empty()) {
        if !over.contains_key(&span.trace_id[..]) {
            continue;
        }
        let parent = (span.trace_id.clone(), span.parent_span_id.clone());
        assert!(
            spans.contains_key(&parent),
            "{} of {} hangs in the air",
            span.name,
            text(span, "gen_ai.conversation.id")
        );
        if let Some(turn) = turn_of(span, spans) {
            let (deeds, tools) = parts.entry(name(turn)).or_default();
            deeds.add(span);
            // One that was cut off had begun.
            *tools += u64::from(text(span, "gen_ai.operation.name") == "execute_tool");
        }
    }
    for turn in spans.values().filter(|span| is_turn(span)) {
        let (of_it, tools) = parts.remove(&name(turn)).unwrap_or_default();
        assert_eq!(number(turn, "agent.turn.tool_calls"), tools, "a turn and its tools: {turn:?}");
        // H tells of no calls of models, and may tell tokens when the turn is over.
        if text(turn, "platform") == "everruns" {
            let told = ["agent.turn.model_calls", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"];
            let summed = [of_it.model_calls, of_it.input, of_it.output];
            assert_eq!(told.map(|key| number(turn, key)), summed, "a turn and its calls of models: {turn:?}");
        }
    }
}

/// The turn that a part of one belongs to, if that has arrived.
fn turn_of<'a>(part: &'a Span, spans: &'a HashMap<Name, Span>) -> Option<&'a Span> {
    if is_turn(part) {
        // A child's, below its parent's.
        return None;
    }
    let above = spans.get(&(part.trace_id.clone(), part.parent_span_id.clone()))?;
    if is_turn(above) { Some(above) } else { turn_of(above, spans) }
}

/// H's steps and tokens may be told when a turn is over already, and it tells of no calls of models: there only what its
/// turns and tools were is compared.
pub fn comparable(platform: &str, mut deeds: BTreeMap<String, Deeds>) -> BTreeMap<String, Deeds> {
    if platform == "hcompany" {
        for deeds in deeds.values_mut() {
            *deeds = Deeds { turns: std::mem::take(&mut deeds.turns), tools: deeds.tools, ..Deeds::default() };
        }
        deeds.retain(|_, deeds| *deeds != Deeds::default());
    }
    deeds
}
