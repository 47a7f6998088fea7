//! Facts in words, for an operator who asks what a session did.

use crate::domain::{Fact, ModelCall, NameId};

/// A fact in a few words; `name` gives the text of a name.
pub(super) fn describe<'a>(fact: &Fact<NameId>, name: &dyn Fn(NameId) -> &'a str) -> String {
    match fact {
        Fact::StartRequested => "start requested".into(),
        Fact::Entered(status) => format!("now {status}"),
        Fact::StreamEnded(status) => format!("stream ends: {status}"),
        Fact::Message => "message to the agent".into(),
        Fact::Observed => "observation".into(),
        Fact::Step { calls, valid } => {
            let tools: Vec<&str> = calls.iter().map(|call| name(call.tool)).collect();
            match (valid, tools.is_empty()) {
                (false, _) => "step: the model's answer could not be understood".into(),
                (true, true) => "step".into(),
                (true, false) => format!("step, asks for {}", tools.join(", ")),
            }
        }
        Fact::ToolStarted(call) => format!("{} started", name(call.tool)),
        Fact::ToolEnded { call, error: None, .. } => format!("{} done", name(call.tool)),
        Fact::ToolEnded { call, error: Some(error), .. } => {
            format!("{} failed ({})", name(call.tool), name(*error))
        }
        Fact::LoopError => "recoverable error".into(),
        Fact::Usage { steps, models } | Fact::Totals { steps, models } => {
            let models: Vec<String> = models
                .iter()
                .map(|row| {
                    let tokens = row.usage.tokens;
                    format!("{} {} in, {} out", name(row.model), tokens.input, tokens.output)
                })
                .collect();
            let steps = steps.map_or(String::new(), |steps| format!("{steps} steps; "));
            format!("so far: {steps}{}", models.join("; "))
        }
        Fact::Answered(verdict) => format!("answer ({})", verdict.map_or("no verdict", |it| it.as_str())),
        Fact::Became(status) => format!("now {status}"),
        Fact::TurnStarted(_) => "turn begins".into(),
        Fact::TurnEnded { outcome, error: Some(error), .. } => {
            format!("turn {} ({})", outcome.as_str(), name(*error))
        }
        Fact::TurnEnded { outcome, error: None, .. } => format!("turn {}", outcome.as_str()),
        Fact::TurnAbandoned(_) => "turn given up: nothing was heard of it for too long".into(),
        Fact::ReasoningStarted { .. } => "thinking begins".into(),
        Fact::ActStarted(_) => "acting begins".into(),
        Fact::ActEnded => "acting is over".into(),
        Fact::ModelNamed(model) => format!("the model is {}", name(*model)),
        Fact::ModelCalled(call) => model_call(call, name),
        Fact::ReasoningEnded(call) => format!("step{}", call.error.map_or("", |_| ", failed")),
        Fact::Passed(count) => format!("{count} positions hold nothing"),
        Fact::Checked(tokens) => format!("the platform counts {tokens} tokens"),
        Fact::Noted => "event that counts nothing".into(),
        Fact::Unknown => "event of unknown type".into(),
        Fact::Undecoded(reason) => format!("event that could not be decoded ({})", name(*reason)),
        Fact::Discovered { agent, .. } => format!("created, agent {}", name(*agent)),
        Fact::Sighted(sighting) => format!("seen as {}", sighting.status),
        Fact::Ended(ending) => match ending.error {
            Some(error) => format!("ended as {} ({})", ending.status, name(error)),
            None => format!("ended as {}", ending.status),
        },
        Fact::Children(children) => format!("has {} child sessions", children.len()),
        Fact::ChildOf(parent) => format!("is a child of session {parent}"),
        Fact::Under(turn) => format!("works for its parent in trace {}", turn.trace),
        Fact::Lost(count) => format!("{count} events were gone before they could be read"),
        Fact::Gone => "the platform no longer knows it".into(),
        Fact::Returned => "the platform knows it again".into(),
    }
}

fn model_call<'a>(call: &ModelCall<NameId>, name: &dyn Fn(NameId) -> &'a str) -> String {
    let tokens = call.usage.tokens;
    let model = call.model.map_or(String::new(), |model| format!(" of {}", name(model)));
    let failed = call.error.map_or("", |_| ", failed");
    format!("model call{model}: {} in, {} out{failed}", tokens.input, tokens.output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Status, ToolCall, TurnOutcome};

    #[test]
    fn facts_are_told_with_what_is_in_them() {
        let tool = || ToolCall { tool: NameId(7), id: None, span: None };
        let failed = Fact::TurnEnded { turn: None, outcome: TurnOutcome::Failed, error: Some(NameId(8)), took: None };
        let cases = [
            (Fact::Entered(Status::Idle), "now idle"),
            (Fact::Step { calls: vec![tool(), tool()], valid: true }, "step, asks for click, click"),
            (Fact::Step { calls: vec![tool()], valid: false }, "step: the model's answer could not be understood"),
            (Fact::ToolEnded { call: tool(), error: Some(NameId(8)), took: None }, "click failed (timeout)"),
            (failed, "turn failed (timeout)"),
            (Fact::TurnAbandoned(None), "turn given up: nothing was heard of it for too long"),
            (Fact::Checked(12), "the platform counts 12 tokens"),
            (Fact::Undecoded(NameId(8)), "event that could not be decoded (timeout)"),
            (Fact::Passed(3), "3 positions hold nothing"),
            (Fact::Lost(4), "4 events were gone before they could be read"),
            (Fact::Gone, "the platform no longer knows it"),
            (Fact::Returned, "the platform knows it again"),
        ];
        let name = |id: NameId| if id == NameId(7) { "click" } else { "timeout" };
        for (fact, expected) in cases {
            assert_eq!(describe(&fact, &name), expected);
        }
    }
}
