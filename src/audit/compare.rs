//! One session on both sides: whether both speak of the same moment, and what differs then.

use super::Difference;
use crate::domain::{ModelUsage, NameId, NanoUsd, Tokens, Usage};
use crate::ingest::{Statement, Used};
use crate::projection::{Names, Session};

/// Sums of money that are closer than this, a hundred-thousandth of a dollar, are equal: platforms add up what is not
/// rounded, and we what is.
const ROUNDING: u64 = 10_000;

/// What can be said of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// The platform speaks of a later moment.
    Moved,
    /// Both speak of the same moment.
    Made {
        /// What differs.
        differences: Vec<Difference>,
        /// Our sum of tokens says nothing, so it was not compared.
        without_tokens: bool,
    },
}

/// Compares a session that had come to rest with what its platform says of it now.
pub(super) fn compare(ours: &Session, said: &Statement, names: &mut Names) -> Comparison {
    if has_moved(ours, said) {
        return Comparison::Moved;
    }
    let mut differences = Differences { session: ours.id.to_string(), found: Vec::new() };
    differences.look("status", ours.status, said.status);
    if let Some(theirs) = said.finished_at {
        differences.look("finished", show(ours.finished_at), theirs);
    }
    if let Some(theirs) = said.steps {
        differences.look("steps", ours.steps, theirs);
    }
    if let Some(theirs) = &said.error {
        differences.look("error", show(ours.error.map(|error| names.text(error))), theirs);
    }
    if let Some(theirs) = said.verdict {
        differences.look("verdict", show(ours.verdict.map(|verdict| verdict.as_str())), theirs.as_str());
    }
    if let Some(theirs) = &said.children {
        differences.look("child sessions", ours.children.len(), theirs.len());
    }
    let mut without_tokens = false;
    match &said.usage {
        Used::Unsaid => {}
        Used::ByModel(models) => {
            for (model, ours, theirs) in by_model(&ours.models, models, names) {
                differences.tokens(&format!(" of {model}"), ours.tokens, theirs.tokens);
                differences.cost(&format!("cost of {model}"), ours.cost, theirs.cost);
            }
        }
        // Where events are missing, or belong to another session, our sum says nothing.
        Used::OfCalls(_) if ours.lost > 0 || ours.inherited > 0 => without_tokens = true,
        Used::OfCalls(theirs) => {
            let ours = sum(&ours.models);
            differences.tokens("", ours.tokens, theirs.tokens);
            differences.cost("cost", ours.cost, theirs.cost);
        }
    }
    Comparison::Made { differences: differences.found, without_tokens }
}

/// Whether something happened in it after we had read it.
fn has_moved(ours: &Session, said: &Statement) -> bool {
    if let (Some(read), Some(now)) = (ours.progress.mark, said.mark) {
        return read != now;
    }
    // Without a fingerprint only an end stays what it was: one that is taken up again ends later, or not yet.
    !said.status.is_terminal() || said.finished_at.zip(ours.finished_at).is_some_and(|(theirs, ours)| theirs > ours)
}

/// Both sides' totals of each model that either of them names.
fn by_model(
    ours: &[ModelUsage<NameId>],
    theirs: &[ModelUsage<smol_str::SmolStr>],
    names: &mut Names,
) -> Vec<(String, Usage, Usage)> {
    let mut rows: Vec<(NameId, Usage, Usage)> =
        ours.iter().map(|row| (row.model, row.usage, Usage::default())).collect();
    for row in theirs {
        // Labels may have been cut.
        let model = names.foreign(&row.model);
        match rows.iter_mut().find(|(known, ..)| *known == model) {
            Some((_, _, usage)) => *usage = row.usage,
            None => rows.push((model, Usage::default(), row.usage)),
        }
    }
    rows.into_iter().map(|(model, ours, theirs)| (names.text(model).to_owned(), ours, theirs)).collect()
}

fn sum(models: &[ModelUsage<NameId>]) -> Usage {
    let tokens = models.iter().fold(Tokens::default(), |sum, row| sum + row.usage.tokens);
    let costs = || models.iter().filter_map(|row| row.usage.cost);
    let cost = costs().next().map(|_| NanoUsd(costs().fold(0, |sum, cost| sum.saturating_add(cost.0))));
    Usage { tokens, cost }
}

fn show(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

struct Differences {
    session: String,
    found: Vec<Difference>,
}

impl Differences {
    fn look(&mut self, what: impl Into<String>, ours: impl ToString, theirs: impl ToString) {
        let (ours, theirs) = (ours.to_string(), theirs.to_string());
        if ours != theirs {
            self.found.push(Difference { session: self.session.clone(), what: what.into(), ours, theirs });
        }
    }

    fn tokens(&mut self, of: &str, ours: Tokens, theirs: Tokens) {
        const KINDS: [&str; 5] = ["input", "cached", "cache write", "output", "reasoning"];
        for (kind, (ours, theirs)) in KINDS.into_iter().zip(ours.as_array().into_iter().zip(theirs.as_array())) {
            self.look(format!("{kind} tokens{of}"), ours, theirs);
        }
    }

    /// Only where the platform names a sum: that it has none does not mean that nothing was spent.
    fn cost(&mut self, what: &str, ours: Option<NanoUsd>, theirs: Option<NanoUsd>) {
        let Some(theirs) = theirs else { return };
        let is_close = ours.unwrap_or_default().0.abs_diff(theirs.0) < ROUNDING;
        if !is_close {
            let dollars = |cost: NanoUsd| format!("${:.6}", cost.0 as f64 / 1e9);
            self.look(what, show(ours.map(dollars)), dollars(theirs));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Mark, SessionId, SourceIx, Status, Timestamp};
    use crate::projection::LabelPolicy;

    const END: Timestamp = Timestamp::from_micros(50_000_000);

    fn session(names: &mut Names) -> Session {
        let agent = names.foreign("agent");
        let model = names.foreign("holo");
        let mut session = Session::new(SessionId::new("s-1"), SourceIx(0), agent, END, END);
        (session.status, session.finished_at, session.steps) = (Status::Completed, Some(END), 7);
        session.progress.mark = Some(Mark(3));
        let tokens = Tokens { input: 100, cached: 40, output: 9, ..Tokens::default() };
        session.models = vec![ModelUsage { model, usage: Usage { tokens, cost: Some(NanoUsd(5_000_000)) } }];
        session
    }

    fn statement(usage: Used) -> Statement {
        Statement {
            status: Status::Completed,
            mark: None,
            finished_at: Some(END),
            steps: Some(7),
            usage,
            error: None,
            verdict: None,
            children: None,
        }
    }

    fn holo(tokens: Tokens) -> ModelUsage<smol_str::SmolStr> {
        ModelUsage { model: "holo".into(), usage: Usage { tokens, cost: None } }
    }

    fn said(comparison: Comparison) -> Vec<String> {
        match comparison {
            Comparison::Moved => vec!["moved".to_owned()],
            Comparison::Made { differences, .. } => {
                differences.iter().map(|it| format!("{}: {}, {}", it.what, it.ours, it.theirs)).collect()
            }
        }
    }

    #[test]
    fn what_is_equal_or_not_said_does_not_differ() {
        let mut names = Names::new(LabelPolicy::default());
        let ours = session(&mut names);
        let equal = Used::ByModel(vec![holo(ours.models[0].usage.tokens)]);
        assert_eq!(said(compare(&ours, &statement(equal), &mut names)), [""; 0]);
        assert_eq!(said(compare(&ours, &statement(Used::Unsaid), &mut names)), [""; 0]);
        let sum = Usage { tokens: ours.models[0].usage.tokens, cost: Some(NanoUsd(5_000_400)) };
        assert_eq!(said(compare(&ours, &statement(Used::OfCalls(sum)), &mut names)), [""; 0]);
    }

    #[test]
    fn whatever_differs_is_said() {
        let mut names = Names::new(LabelPolicy::default());
        let ours = session(&mut names);
        let more = Tokens { input: 101, cached: 40, output: 9, ..Tokens::default() };
        let other = ModelUsage { model: "other".into(), ..holo(Tokens { output: 2, ..Tokens::default() }) };
        let theirs = Statement {
            status: Status::Failed,
            steps: Some(8),
            error: Some("timeout".into()),
            children: Some(vec![SessionId::new("child")]),
            ..statement(Used::ByModel(vec![holo(more), other]))
        };
        let expected = [
            "status: completed, failed",
            "steps: 7, 8",
            "error: none, timeout",
            "child sessions: 0, 1",
            "input tokens of holo: 100, 101",
            "output tokens of other: 0, 2",
        ];
        assert_eq!(said(compare(&ours, &theirs, &mut names)), expected);
        let sum = Usage { tokens: more, cost: Some(NanoUsd(5_200_000)) };
        let expected = ["input tokens: 100, 101", "cost: $0.005000, $0.005200"];
        assert_eq!(said(compare(&ours, &statement(Used::OfCalls(sum)), &mut names)), expected);
    }

    #[test]
    fn what_moved_since_is_not_compared() {
        let mut names = Names::new(LabelPolicy::default());
        let ours = session(&mut names);
        let later = Statement { finished_at: Some(Timestamp::from_micros(60_000_000)), ..statement(Used::Unsaid) };
        let goes_on = Statement { status: Status::Running, finished_at: None, ..statement(Used::Unsaid) };
        let marked = Statement { mark: Some(Mark(4)), ..statement(Used::Unsaid) };
        for moved in [later, goes_on.clone(), marked] {
            assert_eq!(compare(&ours, &moved, &mut names), Comparison::Moved, "{moved:?}");
        }
        // The same fingerprint: nothing happened since, whatever else is said.
        let same = Statement { mark: Some(Mark(3)), finished_at: None, ..goes_on };
        assert_eq!(said(compare(&ours, &same, &mut names)), ["status: completed, running"]);
        // An end before ours is no later moment.
        let earlier = Statement { finished_at: Some(Timestamp::from_micros(1_000_000)), ..statement(Used::Unsaid) };
        assert_eq!(said(compare(&ours, &earlier, &mut names)).len(), 1);
    }

    #[test]
    fn sums_with_holes_are_not_compared() {
        let mut names = Names::new(LabelPolicy::default());
        for hole in [|it: &mut Session| it.lost = 1, |it: &mut Session| it.inherited = 5] {
            let mut ours = session(&mut names);
            hole(&mut ours);
            let comparison = compare(&ours, &statement(Used::OfCalls(Usage::default())), &mut names);
            assert_eq!(comparison, Comparison::Made { differences: Vec::new(), without_tokens: true });
        }
    }
}
