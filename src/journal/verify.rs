//! Whether what is stored is what the log says: everything is folded again from nothing and compared.
//!
//! What retention took away cannot be folded again: its share of the totals is carried on in the base, and is added to
//! what the log says. So totals are compared as a whole, and it is told how much of them was only carried.

mod compare;

use std::collections::HashSet;

use redb::{ReadableTable, ReadableTableMetadata};
use serde::Serialize;

use super::inspect::Carried;
use super::rebuild::{Folded, Follower};
use super::record::decode_series;
use super::tables::{EVENTS, FOLD_VERSION, FORMAT_VERSION, LOG, OUTBOX, SERIES};
use super::{Journal, JournalError};
use crate::domain::{Event, NameId, SessionId, SourceIx, Timestamp};
use crate::projection::{
    Entry, Families, LabelPolicy, Metric, Names, SeriesKey, Session, SessionHead, State, TraceSpan, broken_invariants,
};

/// What came of comparing a store with its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The version of the format.
    pub format: u64,
    /// The version of the fold.
    pub fold: u64,
    /// Sessions by how much could be said of them.
    pub sessions: Verified,
    /// Facts that were folded again.
    pub facts: u64,
    /// What is only carried on, as retention took its facts.
    pub carried: Carried,
    /// What can be added up, metric by metric.
    pub totals: Vec<Total>,
    /// Where something else is stored than the log says.
    pub differences: Vec<Difference>,
    /// What is wrong with the records themselves.
    pub faults: Vec<String>,
}

/// Sessions by how much could be said of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Folded again from all facts that were ever counted of them.
    pub folded: u64,
    /// The log only says that they exist and how they stand: retention took the rest, or they rested since before
    /// counting began and were never read.
    pub only_known: u64,
}

/// A metric, added up over all of its series: a counter, or the observations of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Which.
    pub metric: Metric,
    /// From what retention took away.
    pub carried: u64,
    /// From the log.
    pub folded: u64,
    /// What is stored.
    pub stored: u64,
}

/// Something of which something else is stored than the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of which source.
    pub source: String,
    /// Of which session or series.
    pub of: Of,
    /// What is stored.
    pub stored: String,
    /// What the log says.
    pub folded: String,
}

/// Whose numbers they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// A session's.
    Session {
        /// Its id on the platform.
        id: String,
        /// Which of its properties.
        what: &'static str,
    },
    /// A series'.
    Series {
        /// Its metric.
        metric: Metric,
        /// Its labels besides the source. None where the metric had more label sets than it may: then it is compared
        /// as a sum.
        labels: Vec<(&'static str, String)>,
    },
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.differences.is_empty() && self.faults.is_empty()
    }
}

impl Journal {
    /// Folds everything again and compares it with what is stored. Nothing is changed.
    ///
    /// # Errors
    ///
    /// A store whose totals are of an older fold cannot be compared before it was folded anew.
    pub fn verify(&self) -> Result<Verification, JournalError> {
        self.refuse_older_fold()?;
        let (stored, base) = (self.stored_series()?, self.base()?);
        let stored_metrics = || Metric::ALL.iter().copied().filter(|metric| metric.is_stored());
        // Where a metric once had more label sets than it may, whoever has no series of its own went to the overflow
        // series, whatever the limit is now.
        let overflowed = stored_metrics().any(|metric| compare::has_overflowed(&stored, metric));
        let policy = LabelPolicy { max_series: if overflowed { 0 } else { usize::MAX }, ..self.policy };
        let loaded = self.load(Timestamp::default())?;
        let mut check = Check::new(&loaded);
        let folded = self.fold_log(policy, &mut check)?;
        let Check { sessions, facts, entries, mut differences, mut faults, .. } = check;
        for metric in stored_metrics() {
            for series in compare::metric(&stored, folded.families(), metric) {
                differences.push(Difference {
                    source: source_name(&loaded, series.key.source),
                    of: Of::Series { metric, labels: labels(metric, series.key, loaded.names()) },
                    stored: series.stored,
                    folded: series.folded,
                });
            }
        }
        let totals = stored_metrics().filter_map(|metric| {
            let sum = |families| compare::total(families, metric);
            let carried = sum(&base)?;
            Some(Total {
                metric,
                carried,
                folded: sum(folded.families())?.saturating_sub(carried),
                stored: sum(&stored)?,
            })
        });
        self.check_counts(facts, entries, &mut faults)?;
        self.check_outbox(&mut faults)?;
        faults.extend(broken_invariants(&loaded).into_iter().map(|name| format!("an invariant does not hold: {name}")));
        Ok(Verification {
            format: FORMAT_VERSION,
            fold: FOLD_VERSION,
            sessions,
            facts,
            carried: self.carried()?,
            totals: totals.collect(),
            differences,
            faults,
        })
    }

    fn stored_series(&self) -> Result<Families, JournalError> {
        let mut stored = Families::new(usize::MAX);
        for row in self.begin_read()?.open_table(SERIES)?.iter()? {
            let (key, value) = row?;
            decode_series(&mut stored, key.value().0, value.value())?;
        }
        Ok(stored)
    }

    fn check_counts(&self, facts: u64, entries: u64, faults: &mut Vec<String>) -> Result<(), JournalError> {
        let counted = self.meta(EVENTS)?.unwrap_or(0);
        if counted != facts {
            faults.push(format!("{counted} facts should be in the log, {facts} are"));
        }
        let there = self.begin_read()?.open_table(LOG)?.len()?;
        if there != entries {
            faults.push(format!("{} entries of the log belong to no session", there.abs_diff(entries)));
        }
        Ok(())
    }

    fn check_outbox(&self, faults: &mut Vec<String>) -> Result<(), JournalError> {
        let waiting = self.outbox()?;
        let mut next = waiting.start;
        for row in self.begin_read()?.open_table(OUTBOX)?.iter()? {
            let (number, span) = row?;
            if number.value() != next {
                faults.push(format!("the outbox has a hole before span {}", number.value()));
            }
            next = number.value() + 1;
            if postcard::from_bytes::<TraceSpan>(span.value()).is_err() {
                faults.push(format!("span {} of the outbox cannot be read", number.value()));
            }
        }
        if next != waiting.end {
            faults.push(format!("the outbox ends at span {next} and should end at {}", waiting.end));
        }
        Ok(())
    }
}

/// The comparison, session by session.
struct Check<'a> {
    names: &'a Names,
    loaded: &'a State,
    seen: HashSet<(SourceIx, SessionId)>,
    /// What was read of the session that is being folded.
    log: Log,
    sessions: Verified,
    facts: u64,
    entries: u64,
    differences: Vec<Difference>,
    faults: Vec<String>,
}

/// What was read of one session's log.
#[derive(Default)]
struct Log {
    entries: u32,
    has_holes: bool,
    is_of_another_source: bool,
    has_unknown_names: bool,
}

impl Follower for Check<'_> {
    fn entry(&mut self, head: &SessionHead, entry: &Entry) {
        self.facts += entry.events.len() as u64;
        self.log.has_holes |= entry.number != self.log.entries;
        self.log.is_of_another_source |= entry.source != head.source;
        self.log.has_unknown_names |= !entry.events.iter().all(|event| self.knows_names_of(event));
        self.log.entries += 1;
    }

    fn session(&mut self, folded: Folded<'_>) -> Result<(), JournalError> {
        let log = std::mem::take(&mut self.log);
        self.check(&folded, &log);
        Ok(())
    }
}

impl<'a> Check<'a> {
    fn new(loaded: &'a State) -> Self {
        Self {
            names: loaded.names(),
            loaded,
            seen: HashSet::new(),
            log: Log::default(),
            sessions: Verified::default(),
            facts: 0,
            entries: 0,
            differences: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn check(&mut self, folded: &Folded<'_>, log: &Log) {
        let (head, id) = (&folded.head, &folded.head.id);
        self.entries += u64::from(log.entries);
        let was_read = head.progress.cursor > 0 || !head.progress.settled || head.status.is_terminal();
        let is_only_known = !was_read && log.entries == 1;
        *(if is_only_known { &mut self.sessions.only_known } else { &mut self.sessions.folded }) += 1;
        if !self.seen.insert((head.source, id.clone())) {
            self.faults.push(format!("session {id} is there twice"));
        }
        if log.has_holes || log.entries != head.progress.entries {
            self.faults.push(format!("the log of session {id} has holes"));
        }
        if log.is_of_another_source {
            self.faults.push(format!("the log of session {id} is of another source"));
        }
        if log.has_unknown_names {
            self.faults.push(format!("the log of session {id} has names that are not in the dictionary"));
        }
        let Ok(stored) = postcard::from_bytes::<Session>(folded.record) else {
            self.faults.push(format!("the record of session {id} cannot be read"));
            return;
        };
        let Some(folded) = &folded.session else {
            self.faults.push(format!("the log of session {id} does not begin with its discovery"));
            return;
        };
        let source = source_name(self.loaded, head.source);
        for (what, stored, folded) in compare::sessions(&stored, folded, self.names) {
            let of = Of::Session { id: id.to_string(), what };
            self.differences.push(Difference { source: source.clone(), of, stored, folded });
        }
    }

    fn knows_names_of(&self, event: &Event<NameId>) -> bool {
        let mut knows = true;
        event.fact.clone().map(&mut |_, id: NameId| knows &= (id.0 as usize) < self.names.len());
        knows
    }
}

fn source_name(state: &State, ix: SourceIx) -> String {
    if usize::from(ix.0) < state.source_count() { state.source(ix).name.clone() } else { format!("number {}", ix.0) }
}

fn labels(metric: Metric, key: SeriesKey, names: &Names) -> Vec<(&'static str, String)> {
    let dimensions = metric.dimensions().iter();
    let has_agent = metric.has_agent();
    let values = has_agent.then_some(key.agent).into_iter().chain(key.labels);
    let shown = dimensions.zip(values).filter(|(_, id)| *id != Names::NONE);
    shown.map(|(dimension, id)| (dimension.label(), names.text(id).to_owned())).collect()
}
