//! Gives back what the file holds for nothing: pages that retention and rewriting have left empty.

use std::path::Path;
use std::sync::PoisonError;

use super::{FILE_NAME, Journal, JournalError};
use crate::projection::LabelPolicy;

/// What a file took before and takes now, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Before.
    pub before: u64,
    /// Now.
    pub after: u64,
}

impl Journal {
    /// Moves what is stored in the folder's journal to the beginning of the file and cuts off the rest. Whatever happens
    /// meanwhile, the file says the same: pages are moved in transactions.
    pub fn compact(folder: &Path) -> Result<Compacted, JournalError> {
        let journal = Self::open_existing(folder, LabelPolicy::default())?;
        let before = journal.bytes();
        journal.move_together()?;
        drop(journal);
        // Closing it gives back the last of it.
        let after = std::fs::metadata(folder.join(FILE_NAME)).map_or(0, |file| file.len());
        Ok(Compacted { before, after })
    }

    /// Until nothing is left to be moved.
    pub fn move_together(&self) -> Result<(), JournalError> {
        let mut db = self.store.db.write().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_mut().ok_or_else(|| JournalError::Store("it is not open".to_owned()))?;
        while db.compact()? {}
        Ok(())
    }
}
