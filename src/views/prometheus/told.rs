//! The accounts' limits and how full the metrics are, as lines of text.

use super::write::{self, Dialect};
use crate::projection::Snapshot;
use crate::views::told::{Told, told};

/// Every one of these families that has a sample.
pub(super) fn write(out: &mut Vec<u8>, snapshot: &Snapshot, dialect: Dialect) {
    for Told { row, samples } in told(snapshot).iter().filter(|told| !told.samples.is_empty()) {
        write::head(out, row, dialect);
        let mut text = Vec::with_capacity(64);
        for (labels, value) in samples {
            text.clear();
            for (place, (name, value)) in labels.iter().enumerate() {
                write::label(&mut text, place == 0, name, value);
            }
            write::sample(out, row.name, "", &text);
            write::count(out, *value);
        }
    }
}
