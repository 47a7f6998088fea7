//! The vocabulary every other part speaks: sessions, statuses, usage, facts; pure, and importing nothing of ours.

mod fact;
mod id;
mod limits;
mod report;
mod status;
mod time;
mod trace;
mod usage;

pub use fact::{CallId, Ending, Event, Fact, Finish, Label, ModelCall, ModelUsage, Sighting, ToolCall, TurnKey};
pub use id::{NameId, SessionId, SessionNo, SourceIx};
pub use limits::{ConcurrencyLimit, Limits, TokenLimit};
pub use report::{COPIED_UNTIL_BORN, DISCOVERED, Due, Item, Listing, Mark, Receipt, Report, Row, Watch};
pub use status::{Capabilities, Status, TurnNames, TurnOutcome, Verdict};
pub use time::{Clock, Span, Timestamp, TimestampError};
pub use trace::{Named, Place, SpanId, SpanNames, TraceContext, TraceId};
pub use usage::{NanoUsd, Tokens, Usage};
