//! The tables of the file, and its version.

use redb::{TableDefinition, WriteTransaction};

use super::JournalError;

/// The version of everything below; raised when an older exporter could not read the file any more.
pub(super) const FORMAT_VERSION: u64 = 3;

/// The version of the fold; raised when the same facts come to mean other numbers. Then totals are folded anew.
pub(super) const FOLD_VERSION: u64 = 3;

/// Single numbers, by the names below.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Of [`META`]: the version of the format.
pub(super) const FORMAT: &str = "format";
/// Of [`META`]: the version of the fold that the totals are of.
pub(super) const FOLD: &str = "fold";
/// Of [`META`]: facts in the log.
pub(super) const EVENTS: &str = "events";
/// Of [`META`]: the number that the next span gets. Kept apart from the rows of the outbox: when all are gone the numbers
/// still go on, as who sends them counts by them.
pub(super) const NEXT_SPAN: &str = "next_span";
/// Of [`META`]: how often the log of a session was folded into [`BASE`] and taken away.
pub(super) const CARRIED_SESSIONS: &str = "carried_sessions";
/// Of [`META`]: facts that were.
pub(super) const CARRIED_EVENTS: &str = "carried_events";
/// Of [`META`]: what settled before this time, in microseconds, was taken away last.
pub(super) const HORIZON: &str = "horizon";

/// Label texts by number.
pub(super) const NAMES: TableDefinition<'_, u32, &str> = TableDefinition::new("names");
/// Source records by number.
pub(super) const SOURCES: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("sources");
/// How far walks over lists have come, in microseconds, by source and walk.
pub(super) const WALKS: TableDefinition<'_, (u16, &str), i64> = TableDefinition::new("walks");
/// Session records by number.
pub(super) const SESSIONS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("sessions");
/// Log entries by session and place.
pub(super) const LOG: TableDefinition<'_, (u32, u32), &[u8]> = TableDefinition::new("log");
/// Series by metric and place.
pub(super) const SERIES: TableDefinition<'_, (u8, u32), &[u8]> = TableDefinition::new("series");
/// What sessions that are no longer kept had added to the series.
pub(super) const BASE: TableDefinition<'_, (u8, u32), &[u8]> = TableDefinition::new("base");
/// Spans that wait for a collector, by number.
pub(super) const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");

pub(super) fn create_all(transaction: &WriteTransaction) -> Result<(), JournalError> {
    transaction.open_table(NAMES)?;
    transaction.open_table(SOURCES)?;
    transaction.open_table(WALKS)?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(LOG)?;
    transaction.open_table(SERIES)?;
    transaction.open_table(BASE)?;
    transaction.open_table(OUTBOX)?;
    Ok(())
}
