//! Laws of spans that hold for whatever platforms tell: named once, in order, and as many as was counted.

use std::collections::{BTreeMap, HashSet};

use agent_session_exporter::domain::Timestamp;
use agent_session_exporter::projection::{TraceSpan, Work};
use proptest::prelude::*;

use crate::support::everruns_lives;
use crate::support::folding::{Folding, Manner, config, played};
use crate::support::lives::{self, Life, Lives};

/// How many of the spans are of this kind of work.
fn count(spans: &[TraceSpan], is_it: impl Fn(&TraceSpan) -> bool) -> u64 {
    spans.iter().filter(|span| is_it(span)).count() as u64
}

/// The sum over all series of a metric.
fn sum(folding: &Folding, metric: &str) -> u64 {
    let series = folding.stored().into_iter().filter(|(name, _)| name.starts_with(&format!("{metric} ")));
    series.map(|(_, values)| values[0]).fold(0, u64::saturating_add)
}

/// Whether all that the lives tell is counted: no past, no copies, no times from before the epoch.
fn all_counts(lives: &Lives) -> bool {
    let is_plain = |life: &Life| life.inherited == 0 && !format!("{life:?}").contains("Timestamp(-");
    lives.count_from.iter().all(|from| *from == Timestamp::default()) && lives.lives.iter().all(is_plain)
}

fn hold(lives: &Lives) -> Result<(), TestCaseError> {
    let folding = &played(lives, Manner::Whole);
    let spans = folding.spans();
    let mut names = HashSet::new();
    for span in &spans {
        prop_assert!(names.insert(span.context), "told twice: {:?}", span);
        prop_assert!(span.began <= span.ended, "{:?}", span);
        prop_assert!(span.parent != Some(span.context.span), "{:?}", span);
        if !matches!(span.work, Work::Turn(_)) {
            prop_assert!(span.parent.is_some(), "{:?}", span);
        }
    }
    // A turn is told as often as it is counted: once, and once more if it ended after all.
    prop_assert_eq!(count(&spans, |span| matches!(span.work, Work::Turn(_))), sum(folding, "TurnsFinished"));
    let chats = count(&spans, |span| matches!(&span.work, Work::Chat(chat) if chat.usage.is_some()));
    let calls = sum(folding, "ModelCalls");
    prop_assert!(calls == 0 || chats <= calls, "{} of {}", chats, calls);
    let tools = count(&spans, |span| matches!(span.work, Work::Tool { .. }));
    prop_assert!(tools <= sum(folding, "ToolCalls"), "{} tools", tools);
    if !all_counts(lives) {
        return Ok(());
    }
    // What stands below something in a trace that is over stands below something that was told.
    let mut told: BTreeMap<_, HashSet<_>> = BTreeMap::new();
    for span in &spans {
        told.entry(span.context.trace).or_default().insert(span.context.span);
    }
    for span in spans.iter().filter(|span| matches!(span.work, Work::Tool { .. } | Work::Chat(_))) {
        let is_over = told[&span.context.trace].contains(&span.parent.expect("it has one"));
        let is_open = folding.active().values().any(|session| session.id == span.session);
        prop_assert!(is_over || is_open, "{:?} hangs in the air", span);
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn on_h(lives in lives::lives(3)) {
        hold(&lives)?;
    }

    #[test]
    fn on_everruns(lives in everruns_lives::lives(3)) {
        hold(&lives)?;
    }
}
