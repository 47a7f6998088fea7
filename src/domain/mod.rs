//! The vocabulary every other part speaks: sessions, statuses, usage, facts; pure, and importing nothing of ours.

mod fact;
mod id;
mod limits;
mod report;
mod status;
mod time;
mod usage;

pub use fact::{CallKey, Ending, Event, Fact, Label, ModelUsage, Sighting, ToolCall};
pub use id::{NameId, SessionId, SessionNo, SourceIx};
pub use limits::{ConcurrencyLimit, Limits, TokenLimit};
pub use report::{DISCOVERED, Due, Item, Mark, Receipt, Report, Row};
pub use status::{Capabilities, Status, TurnOutcome, Verdict};
pub use time::{Clock, Span, Timestamp, TimestampError};
pub use usage::{NanoUsd, Tokens, Usage};
