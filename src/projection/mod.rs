//! What it means: a pure fold of facts into the life of each session and into totals.
//!
//! [`State`] is everything known. Its one writer hands it reports ([`State::take_in`]); it drops what is known
//! already, turns the rest into facts, folds them ([`fold::Fold`]) and keeps a list of what changed, which the journal
//! makes durable in one transaction. Readers get a [`Snapshot`]: the same numbers, shared, never changing.
//!
//! All numbers are whole (counts, microseconds, billionths of a dollar), so sums do not depend on the order of
//! addition, and a fold of the same facts is the same to the last digit: that is what lets totals be checked.

mod attention;
mod distribution;
mod family;
mod fold;
mod intake;
mod invariants;
mod kinship;
mod metric;
mod names;
mod native;
mod outbox;
mod session;
mod snapshot;
mod span;
mod standing;
mod state;
mod trace;
mod vocabulary;

pub use distribution::{Distribution, Example, Exemplar};
pub use family::{Families, Family, Head, SeriesKey};
pub use fold::{Fold, Tracer};
pub use intake::{Entry, IntakeError};
pub use invariants::{INVARIANTS, Invariant, broken_invariants};
pub use metric::{Buckets, Dimension, Kind, Measure, Metric};
pub use names::{LabelPolicy, Names, OVERFLOW, UNKNOWN};
pub use native::{Native, SCHEMA};
pub use outbox::{Outbox, OutboxChange};
pub use session::{LoopState, OpenCall, Progress, Reasoning, Run, Session, SessionHead, ToldCall, Turn};
pub use snapshot::{Snapshot, SourceView};
pub use span::{ChatWork, TraceSpan, TurnWork, Work};
pub use state::{Changes, Origin, SourceRecord, State};
pub use trace::{Answered, Happening, Mark, ParentTurn, PastTurn, SpanRef, Stretch, Tally, TurnRef};
pub use vocabulary::{OTHER_ERROR, Vocabulary};
