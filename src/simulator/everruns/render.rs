//! How each event of a script looks on the wire: its envelope, and what only one kind of event has.

use serde_json::{Map, Value, json};

use super::cast::{AGENTS, MODELS, TOOLS, ToolCall};
use super::era::Era;
use super::ids::Id;
use super::script::{Event, Input, Script, What};
use super::wire::{clean, stamp, sum, usage};
use super::{payloads, texts};
use crate::simulator::options::SimulateOptions;
use crate::simulator::random::Dice;

/// Goes through a script once.
pub(super) struct Renderer<'a> {
    pub(super) script: &'a Script,
    pub(super) options: &'a SimulateOptions,
    pub(super) era: Era,
    pub(super) dice: Dice,
    /// The session whose turns and messages are told: another one's in the head of a fork.
    teller: Teller,
    /// How many messages there were.
    messages: u32,
    /// The message that the current turn works on.
    input: u32,
}

/// What of a session its events repeat.
struct Teller {
    number: u64,
    id: Id,
    agent: Option<usize>,
    created_at: i64,
}

impl Teller {
    fn of(script: &Script) -> Self {
        Self { number: script.number, id: script.id, agent: script.agent, created_at: script.created_at }
    }
}

impl<'a> Renderer<'a> {
    pub(super) fn new(script: &'a Script, options: &'a SimulateOptions, era: Era) -> Self {
        let teller = script.forked_from.map_or(Teller::of(script), |origin| Teller {
            number: origin.number,
            id: origin.id,
            agent: origin.agent,
            created_at: origin.created_at,
        });
        let dice = Dice::new(options.seed, teller.number, 0, "texts");
        Self { script, options, era, dice, teller, messages: 0, input: 0 }
    }

    /// The id of an event: a copy has another one than its original.
    pub(super) fn event_id(&self, event: &Event) -> Id {
        Id::new(self.options.seed, self.script.number, event.sequence, "event", event.at)
    }

    /// The next event, in the order of the script.
    pub(super) fn render(&mut self, index: usize, event: &Event) -> Value {
        if index == self.script.head && index > 0 {
            self.teller = Teller::of(self.script);
            self.dice = Dice::new(self.options.seed, self.teller.number, 0, "texts");
            self.messages = 0;
        }
        match event.what {
            What::Input(kind) => {
                self.messages += 1;
                if kind == Input::Opening {
                    self.input = self.messages;
                }
            }
            What::OutputStarted { .. } => self.messages += 1,
            // Without an announcement the message has no number yet.
            What::OutputCompleted { .. } if self.era == Era::D0 => self.messages += 1,
            _ => {}
        }
        let data = payloads::data(self, event);
        let mut document = json!({
            "id": self.event_id(event).show(self.era, "event"),
            "type": type_name(self.era, &event.what),
            "ts": stamp(event.at, event.digits, event.sequence),
            "session_id": self.script.id.show(self.era, "session"),
            "context": self.context(event),
            "data": data,
            "sequence": event.sequence,
        });
        if event.sequence % 97 == 13 && self.era >= Era::D3 {
            document["metadata"] = json!({ "runtime_backend": "native", "provider_session_id": texts::PRIVATE[0] });
            document["some_future_field"] = json!({ "nested": [1, null, "x"] });
        }
        document
    }

    /// The turn's id as this event says it: in the oldest generation every atom of work has its own.
    pub(super) fn turn_id(&self, event: &Event) -> String {
        let turn = event.turn.unwrap_or(0);
        if self.era == Era::D0 {
            return self.id("turn-exec", event.exec).show(self.era, "turn");
        }
        if event.what == What::TurnCancelled && self.era <= Era::D3 {
            // Older servers say the session's id instead.
            return self.teller.id.show(self.era, "turn");
        }
        self.id("turn", turn).show(self.era, "turn")
    }

    /// The id of the message that started the turn.
    pub(super) fn input_id(&self) -> String {
        self.message_id(self.input)
    }

    /// The id of the newest message.
    pub(super) fn newest_message_id(&self) -> String {
        self.message_id(self.messages)
    }

    pub(super) fn message_id(&self, number: u32) -> String {
        // Messages are the one thing whose ids are not ordered by time.
        let id = self.id("message", number).0;
        Id(id & !(0xf << 76) | (0x4 << 76)).show(self.era, "message")
    }

    pub(super) fn id(&self, purpose: &str, part: u32) -> Id {
        Id::new(self.options.seed, self.teller.number, part, purpose, self.teller.created_at)
    }

    /// The agent's id; the single binary makes a new one for every turn.
    pub(super) fn agent_id(&self, event: &Event) -> Option<String> {
        let agent = self.teller.agent?;
        if self.era == Era::Serve {
            return Some(self.id("build", event.turn.unwrap_or(0)).show(self.era, "agent"));
        }
        Some(agent_id(self.options.seed, agent).show(self.era, "agent"))
    }

    pub(super) fn agent_name(&self) -> Option<&'static str> {
        self.teller.agent.map(|agent| AGENTS[agent].name)
    }

    fn context(&self, event: &Event) -> Value {
        let mut context = Map::new();
        if event.turn.is_none() || matches!(event.what, What::OutputCompleted { echo: true, .. }) {
            return Value::Object(context);
        }
        let turn_id = self.turn_id(event);
        context.insert("turn_id".to_owned(), json!(turn_id));
        context.insert("input_message_id".to_owned(), json!(self.input_id()));
        let place = Place::of(&event.what);
        if place != Place::Turn && (place != Place::Input || self.era == Era::D0) {
            context.insert("exec_id".to_owned(), json!(self.id("exec", event.exec).show(self.era, "exec")));
        }
        if place == Place::Span && self.era >= Era::D2 {
            let (span, parent) = self.span(event);
            context.insert("span_id".to_owned(), json!(span));
            context.insert("parent_span_id".to_owned(), json!(parent.unwrap_or_else(|| turn_id.clone())));
            context.insert("trace_id".to_owned(), json!(turn_id));
        }
        Value::Object(context)
    }

    /// The name of the span that an event belongs to, and its parent's unless that is the turn.
    ///
    /// What begins and what ends share a name: they are of one atom of work. A provider that is asked again makes a new
    /// atom, so the calls after that have a parent that never began, and the decision ends under another name.
    fn span(&self, event: &Event) -> (String, Option<String>) {
        let atom = self.id("span", event.exec).hyphenated();
        match &event.what {
            What::ToolStarted(call) | What::ToolProgress(call) | What::ToolCompleted { call, .. } => {
                let tool = self.id(&format!("tool {}", call.number), event.exec);
                (tool.hyphenated(), Some(atom))
            }
            What::Generation(_) | What::OutputCompleted { .. } => {
                (self.id("event-span", event.sequence).hyphenated(), Some(atom))
            }
            _ => (atom, None),
        }
    }

    /// Some of the common parts of payloads.
    pub(super) fn message(&mut self, id: String, role: &str, content: Value, event: &Event) -> Value {
        json!({ "id": id, "role": role, "content": content, "created_at": stamp(event.at, 9, event.sequence) })
    }

    /// The content of an agent's message.
    pub(super) fn content(&mut self, calls: &[ToolCall]) -> Value {
        if calls.is_empty() {
            return json!([{ "type": "text", "text": texts::answer(&mut self.dice) }]);
        }
        let part = |call: &ToolCall| json!({ "type": "tool_call", "id": call_id(*call), "name": TOOLS[call.tool], "arguments": texts::arguments(*call) });
        calls.iter().map(part).collect()
    }

    /// What a model call consumed, as this generation says it.
    pub(super) fn usage(&self, of: Option<&super::cast::Usage>) -> Value {
        of.map_or(Value::Null, |of| usage(self.era, of))
    }

    /// What a turn consumed.
    pub(super) fn sum(&self, of: Option<&super::cast::Sum>) -> Value {
        of.filter(|sum| sum.calls > 0).map_or(Value::Null, |of| sum(self.era, of))
    }

    /// A model as errors name it.
    pub(super) fn fields(model: usize) -> Value {
        json!({ "model_id": MODELS[model].name, "provider": MODELS[model].provider })
    }

    /// Leaves out what is null.
    pub(super) fn lean(value: Value) -> Value {
        clean(value)
    }
}

/// Where in a turn an event stands; decides what its context says.
#[derive(PartialEq)]
enum Place {
    Turn,
    Input,
    Exec,
    Span,
}

impl Place {
    fn of(what: &What) -> Self {
        match what {
            What::InputReceived => Self::Input,
            What::CapabilityUsage
            | What::OutputStarted { .. }
            | What::Recovered
            | What::ThinkingStarted
            | What::ThinkingCompleted
            | What::CallRequested(_)
            | What::Repaired(_)
            | What::Compacted { .. } => Self::Exec,
            // A call that a restart cut off has lost its atom.
            What::ToolCompleted { outcome: super::script::Outcome::Interrupted, .. } => Self::Turn,
            What::ReasonStarted { .. }
            | What::Generation(_)
            | What::OutputCompleted { .. }
            | What::ReasonCompleted(_)
            | What::ActStarted { .. }
            | What::ToolStarted(_)
            | What::ToolProgress(_)
            | What::ToolCompleted { .. }
            | What::ActCompleted { .. } => Self::Span,
            _ => Self::Turn,
        }
    }
}

/// The public id of an agent.
pub(super) fn agent_id(seed: u64, agent: usize) -> Id {
    // Agents were made long before any session; a fixed time keeps their ids free of the start.
    const MADE_AT: i64 = 1_760_000_000_000_000;
    Id::new(seed, agent as u64, 0, "agent", MADE_AT)
}

/// The id of a tool call.
pub(super) fn call_id(call: ToolCall) -> String {
    format!("call_{:012x}", u64::from(call.number) * 0x9e37_79b9)
}

/// The `type` of an event.
pub(super) fn type_name(era: Era, what: &What) -> &'static str {
    let is_oldest = era == Era::D0;
    match what {
        What::Input(_) if is_oldest => "message.user",
        What::Input(_) => "input.message",
        What::InputReceived => "input.received",
        What::SessionStarted => "session.started",
        What::Activated => "session.activated",
        What::TurnStarted => "turn.started",
        What::ReasonStarted { .. } => "reason.started",
        What::CapabilityUsage => "capability.usage",
        What::OutputStarted { .. } => "output.message.started",
        What::ThinkingStarted => "reason.thinking.started",
        What::ThinkingCompleted => "reason.thinking.completed",
        What::Generation(_) => "llm.generation",
        What::OutputCompleted { .. } if is_oldest => "message.agent",
        What::OutputCompleted { .. } => "output.message.completed",
        What::Recovered => "reason.recovered",
        What::ReasonCompleted(_) => "reason.completed",
        What::ActStarted { .. } => "act.started",
        What::ToolStarted(_) if is_oldest => "tool.call_started",
        What::ToolStarted(_) => "tool.started",
        What::ToolProgress(_) => "tool.progress",
        What::ToolCompleted { .. } if is_oldest => "tool.call_completed",
        What::ToolCompleted { .. } => "tool.completed",
        What::ActCompleted { .. } => "act.completed",
        What::CallRequested(_) => "tool.call_requested",
        What::Repaired(_) => "transcript.repaired",
        What::TurnCompleted(_) => "turn.completed",
        What::TurnFailed { .. } => "turn.failed",
        What::TurnSealed { .. } => "turn.sealed",
        What::TurnCancelled => "turn.cancelled",
        What::Idled { .. } => "session.idled",
        What::TitleUpdated => "session.title.updated",
        What::ModelChanged { .. } => "session.model.changed",
        What::BudgetWarning => "budget.warning",
        What::BudgetPaused => "budget.paused",
        What::BudgetResumed => "budget.resumed",
        What::Compacted { .. } => "context.compacted",
        What::Unknown { variant: 0 } => "task.created",
        What::Unknown { variant: 1 } => "quota.foreseen",
        What::Unknown { .. } => "some.future.event",
    }
}
