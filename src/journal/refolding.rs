//! Folds the log of one session entry by entry, so that a long one need not fit into memory.

use crate::projection::{Entry, Session, SessionHead, State};

/// A session that is being folded anew.
pub(super) struct Refolding<'a> {
    stored: &'a SessionHead,
    session: Option<Session>,
    is_begun: bool,
}

impl<'a> Refolding<'a> {
    /// Nothing of it is folded yet. What is not a fact of the log (how far lists were read) is taken over from its record.
    pub(super) fn of(stored: &'a SessionHead) -> Self {
        Self { stored, session: None, is_begun: false }
    }

    /// The next entry of its log.
    pub(super) fn add(&mut self, state: &mut State, entry: &Entry) {
        if !std::mem::replace(&mut self.is_begun, true) {
            let SessionHead { id, source, count_from, .. } = self.stored;
            self.session = State::session_of_log(id.clone(), *source, *count_from, entry);
        }
        if let Some(session) = &mut self.session {
            state.refold(session, entry);
        }
    }

    /// As its facts say that it stands; `None` if the log did not begin with its discovery.
    pub(super) fn end(self) -> Option<Session> {
        let mut session = self.session?;
        session.progress.entries = self.stored.progress.entries;
        session.progress.mark = self.stored.progress.mark;
        session.progress.checked_at = self.stored.progress.checked_at;
        session.progress.settled = self.stored.progress.settled;
        Some(session)
    }
}
