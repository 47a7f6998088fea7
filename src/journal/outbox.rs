//! The outbox on disk: spans that wait until a collector has taken them, in the order in which they were committed.

use std::ops::Range;

use redb::{ReadableTable, WriteTransaction};

use super::tables::{META, NEXT_SPAN, OUTBOX};
use super::{Journal, JournalError};
use crate::projection::{OutboxChange, TraceSpan};

impl Journal {
    /// The numbers of the spans that wait.
    pub fn outbox(&self) -> Result<Range<u64>, JournalError> {
        let transaction = self.begin_read()?;
        let first = transaction.open_table(OUTBOX)?.first()?.map(|(number, _)| number.value());
        let end = transaction.open_table(META)?.get(NEXT_SPAN)?.map_or(0, |next| next.value());
        Ok(first.unwrap_or(end)..end)
    }

    /// Up to `most` of the spans that wait, in order, and the number to go on with. What cannot be read
    /// back is passed over: it must not stand in the way of the others.
    pub fn waiting_spans(&self, range: Range<u64>, most: usize) -> Result<(Vec<TraceSpan>, u64), JournalError> {
        let transaction = self.begin_read()?;
        let mut spans = Vec::new();
        // All that was asked for may have left meanwhile.
        let mut next = range.end;
        for row in transaction.open_table(OUTBOX)?.range(range)?.take(most) {
            let (number, bytes) = row?;
            next = number.value() + 1;
            match postcard::from_bytes(bytes.value()) {
                Ok(span) => spans.push(span),
                Err(error) => tracing::error!(%error, "a span that waited cannot be read back and is passed over"),
            }
        }
        Ok((spans, next))
    }
}

/// Does to the table what was planned.
pub(super) fn write(
    transaction: &WriteTransaction,
    change: &OutboxChange,
    spans: &[TraceSpan],
    buffer: &mut Vec<u8>,
) -> Result<(), JournalError> {
    if change.leave.is_empty() && spans.is_empty() {
        return Ok(());
    }
    transaction.open_table(META)?.insert(NEXT_SPAN, change.waiting.end)?;
    let mut table = transaction.open_table(OUTBOX)?;
    if !change.leave.is_empty() {
        table.retain_in(change.leave.clone(), |_, _| false)?;
    }
    for (number, span) in (change.first_new..).zip(spans.iter().skip(change.skip)) {
        buffer.clear();
        postcard::to_io(span, &mut *buffer)?;
        table.insert(number, buffer.as_slice())?;
    }
    Ok(())
}
