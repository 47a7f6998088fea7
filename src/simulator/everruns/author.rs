//! The hand that writes a script: it keeps the time of the story, numbers events and adds up usage.

use super::cast::{AGENTS, REFUND, Sum, ToolCall, Usage};
use super::era::Era;
use super::script::{Event, Input, Script, Status, What};
use crate::simulator::options::SimulateOptions;
use crate::simulator::random::Dice;
use crate::simulator::timestamp::seconds;

pub(super) struct Author<'a> {
    pub(super) options: &'a SimulateOptions,
    pub(super) era: Era,
    pub(super) dice: Dice,
    /// Chooses how events are numbered, printed and stored, so that those options leave the story alone.
    ink: Dice,
    /// The time of the story.
    pub(super) clock: i64,
    pub(super) script: Script,
    sequence: u32,
    /// The current turn, if one is open.
    pub(super) turn: Option<u32>,
    turns: u32,
    pub(super) exec: u32,
    pub(super) model: usize,
    context: u32,
    calls: u32,
    late: Vec<(usize, i64)>,
    /// What was consumed since the last roll-up.
    unrolled: Sum,
    /// The open turn so far.
    pub(super) tally: Tally,
    /// It is still to start other sessions, and will wait for them.
    pub(super) delegates: bool,
    /// The sessions that it started, whole.
    pub(super) children: Vec<Script>,
}

/// What a turn did so far.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) began_at: i64,
    pub(super) usage: Sum,
    pub(super) tool_calls: u32,
    pub(super) issues: u32,
    pub(super) first_token_ms: Option<u32>,
    pub(super) iterations: u32,
}

impl<'a> Author<'a> {
    pub(super) fn new(options: &'a SimulateOptions, era: Era, script: Script) -> Self {
        let dice = Dice::new(options.seed, script.number, 0, "life");
        let ink = Dice::new(options.seed, script.number, 0, "ink");
        let sequence = script.events.last().map_or(0, |event| event.sequence);
        let model = script.agent.map_or(0, |agent| AGENTS[agent].models[0]);
        Self {
            options,
            era,
            dice,
            ink,
            clock: script.created_at,
            script,
            sequence,
            turn: None,
            turns: 0,
            exec: 0,
            model,
            context: 0,
            // A fork goes on after the calls of its origin; there are fewer of them than events.
            calls: sequence,
            late: Vec::new(),
            unrolled: Sum::default(),
            tally: Tally::default(),
            delegates: false,
            children: Vec::new(),
        }
    }

    /// Lets time pass, compressed by `--speed`; at least a microsecond, so that no two events share a time.
    pub(super) fn pass(&mut self, low: f64, high: f64) {
        let real = low + (high - low) * self.dice.unit();
        self.clock += seconds(real / self.options.speed).max(1);
    }

    /// An event at the time of the story.
    pub(super) fn happen(&mut self, what: What) {
        self.clock += 1;
        let digits = if self.era == Era::D0 { 6 } else { self.ink.weighted(&[(60, 6), (25, 9), (15, 3)]) };
        if digits == 3 {
            // What is printed has to be the time at which it happened.
            self.clock = (self.clock + 999).div_euclid(1_000) * 1_000;
        }
        self.sequence += 1;
        while self.ink.chance(self.options.everruns.gap_rate) {
            self.sequence += 1;
        }
        if self.ink.chance(self.options.everruns.late_rate) {
            self.late.push((self.script.events.len(), seconds(self.ink.unit())));
        }
        let turn =
            if what == What::Input(Input::Opening) || what == What::Input(Input::Steering) { None } else { self.turn };
        let (at, sequence, exec) = (self.clock, self.sequence, self.exec);
        self.script.events.push(Event { at, stored_at: at, sequence, digits, turn, exec, what });
    }

    /// A status change at the time of the story.
    pub(super) fn enter(&mut self, status: Status) {
        self.script.statuses.push((self.clock, status));
        self.touch();
    }

    /// The row of the session changes.
    pub(super) fn touch(&mut self) {
        self.script.updates.push(self.clock);
    }

    /// The next turn begins.
    pub(super) fn open_turn(&mut self) {
        self.turn = Some(self.turns);
        self.turns += 1;
        self.exec += 1;
        self.tally = Tally { began_at: self.clock, ..Tally::default() };
    }

    /// Milliseconds since some time of the story, as durations say it.
    pub(super) fn millis_since(&self, at: i64) -> u32 {
        u32::try_from((self.clock - at) / 1_000).unwrap_or(u32::MAX)
    }

    /// What a call of the current model consumes; it counts from now on.
    pub(super) fn consume(&mut self) -> Usage {
        self.context = (self.context + self.dice.between(300, 2_500)).min(150_000);
        let usage = Usage::any(&mut self.dice, self.model, self.context, self.options.everruns.huge_tokens);
        self.unrolled.add(&usage);
        self.tally.usage.add(&usage);
        usage
    }

    /// Bytes of prompt in the next generation: it grows with the session.
    pub(super) fn bulk(&self) -> usize {
        self.options.everruns.generation_bytes + self.script.events.len() * 40
    }

    /// The usage so far shows in the session about a second later.
    pub(super) fn roll_up(&mut self) {
        if self.unrolled.calls == 0 {
            return;
        }
        let lag = seconds((0.7 + 0.6 * self.dice.unit()) / self.options.speed).max(1);
        let at = self.clock + lag;
        self.script.roll_ups.push((at, std::mem::take(&mut self.unrolled)));
        self.script.updates.push(at);
    }

    /// Some tool to call.
    pub(super) fn any_call(&mut self) -> ToolCall {
        let tool = self.dice.between(0, REFUND as u32 - 1) as usize;
        self.call(tool)
    }

    /// A call of this tool.
    pub(super) fn call(&mut self, tool: usize) -> ToolCall {
        self.calls += 1;
        ToolCall { tool, number: self.calls }
    }

    /// The finished script.
    pub(super) fn finish(mut self) -> Script {
        self.roll_up();
        for (index, delay) in std::mem::take(&mut self.late) {
            if let Some(next) = self.script.events.get(index + 1) {
                let overtaken_at = next.at;
                self.script.events[index].stored_at = overtaken_at + delay;
            }
        }
        self.script.is_punctual = self.script.events.is_sorted_by_key(|event| event.stored_at);
        self.script.updates.sort_unstable();
        self.script.roll_ups.sort_by_key(|(at, _)| *at);
        self.script
    }
}
