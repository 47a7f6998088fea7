//! The hand that writes a script: it keeps the time of the story and appends facts to it.

use super::{Agent, CallId, Charge, ErrorCode, Event, Id, Key, Script, Status, StatusChange, Tool, ToolCall, What};
use crate::simulator::options::{Dialect, SimulateOptions};
use crate::simulator::random::Dice;
use crate::simulator::timestamp::seconds;

/// How a session numbers its tool calls.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum IdStyle {
    Numbered,
    Xml,
    Null,
}

pub(super) struct Author<'a> {
    pub(super) options: &'a SimulateOptions,
    pub(super) dice: Dice,
    /// The time of the story.
    pub(super) clock: i64,
    pub(super) script: Script,
    id_style: IdStyle,
    calls: u32,
    context: u32,
}

impl<'a> Author<'a> {
    pub(super) fn new(
        options: &'a SimulateOptions,
        key: Key,
        parent: Option<Id>,
        agents: &[(u32, &'static Agent)],
        created_at: i64,
    ) -> Self {
        let mut dice = Dice::new(options.seed, key.root, key.child, "script");
        let agent = dice.weighted(agents);
        let id_style = dice.weighted(&[(75, IdStyle::Numbered), (18, IdStyle::Xml), (7, IdStyle::Null)]);
        let in_group = dice.chance(0.15);
        let group = dice.between(1, 9);
        let context = dice.between(4_000, 9_000);
        let script = Script {
            key,
            id: Id::of(options.seed, key),
            parent,
            agent,
            group: in_group.then_some(group),
            created_at,
            statuses: Vec::new(),
            events: Vec::new(),
            charges: Vec::new(),
            resets: Vec::new(),
            answers: Vec::new(),
            turns: Vec::new(),
            restarts: Vec::new(),
            children: Vec::new(),
        };
        Self { options, dice, clock: created_at, script, id_style, calls: 0, context }
    }

    /// Whether the imitated platform is the older one, which lacks queues, client tools and some events.
    pub(super) fn old(&self) -> bool {
        self.options.dialect == Dialect::Old
    }

    /// Lets time pass, compressed by `--speed`; at least a microsecond, so that no two events share a time.
    pub(super) fn pass(&mut self, low: f64, high: f64) {
        let real = low + (high - low) * self.dice.unit();
        self.clock += seconds(real / self.options.speed).max(1);
    }

    /// An event at the time of the story.
    pub(super) fn happen(&mut self, what: What) {
        if self.script.events.last().is_some_and(|last| last.at >= self.clock) {
            self.clock += 1;
        }
        self.script.events.push(Event { at: self.clock, what });
    }

    /// A status change at the time of the story.
    pub(super) fn enter(&mut self, status: Status) {
        self.script.statuses.push(StatusChange { at: self.clock, status, error: None });
    }

    /// The session ends with an error.
    pub(super) fn fail(&mut self, status: Status, error: ErrorCode) {
        self.script.statuses.push(StatusChange { at: self.clock, status, error: Some(error) });
    }

    /// A request for a tool, with the id this session would give it as number `position` of its step.
    pub(super) fn call(&mut self, tool: Tool, position: u32) -> ToolCall {
        self.calls += 1;
        let id = match self.id_style {
            IdStyle::Numbered => CallId::Numbered(self.calls),
            IdStyle::Xml => CallId::Xml(position),
            IdStyle::Null => CallId::Null,
        };
        ToolCall { tool, id, salt: self.dice.between(0, 9_999) }
    }

    /// The model calls of one step become known, together with the new running totals.
    pub(super) fn charge_step(&mut self) {
        self.pass(0.003, 0.01);
        self.happen(What::Metrics);
        let models = self.script.agent.models;
        let main = models[0];
        self.charge(main, true);
        if models.len() > 1 && self.dice.chance(0.3) {
            self.charge(models[1], false);
        }
    }

    fn charge(&mut self, model: usize, step: bool) {
        self.context = (self.context + self.dice.between(200, 1_600)).min(120_000);
        let input = if step { self.context } else { self.dice.between(1_000, 6_000) };
        let seen_before = self.script.charges.iter().any(|charge| charge.model == model);
        let hit = self.dice.chance(0.8);
        let kept = self.dice.between(40, 95);
        let cached = if seen_before && hit { input / 100 * kept / 1_024 * 1_024 } else { 0 };
        let output = self.dice.between(40, 420);
        let reasoned = self.dice.chance(0.4);
        let thought = self.dice.between(8, 400);
        let reasoning = if reasoned { thought.min(output) } else { 0 };
        self.script.charges.push(Charge { at: self.clock, model, input, cached, output, reasoning, step });
    }
}
