//! Puts the questions: several at a time, within the source's budget, each until it is answered or cannot be.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Watched, agent_label};
use crate::domain::{SessionNo, Timestamp};
use crate::ingest::access::Access;
use crate::ingest::lanes::Lane;
use crate::ingest::limiter::Pace;
use crate::ingest::platforms::Platform;
use crate::ingest::poller::Witness;
use crate::ingest::{Failure, Heard, Inquiry, Next, Request, Statement};
use crate::journal::{Journal, JournalError};
use crate::projection::Names;

/// So many questions in a row may fail, each after all its attempts, before the others are not put any more.
const PATIENCE: u32 = 10;

/// What was heard of a session.
pub(super) enum Said {
    Told(Box<Statement>),
    Unknown,
    Failed(Failure),
}

/// The questions that are still to be put, and those that are under way.
pub(super) struct Asker {
    platform: Arc<dyn Platform>,
    access: Arc<Access>,
    concurrency: usize,
    ahead: VecDeque<SessionNo>,
    asking: JoinSet<(SessionNo, Said)>,
    /// Questions that failed since one was answered.
    failed_in_a_row: u32,
    /// Nothing else will be learnt: the key is refused, or nothing is answered.
    given_up: Option<Failure>,
}

impl Asker {
    pub(super) fn new(watched: Watched, sessions: Vec<SessionNo>) -> Self {
        Self {
            platform: watched.platform,
            access: Arc::new(watched.access),
            concurrency: watched.concurrency.max(1),
            ahead: sessions.into(),
            asking: JoinSet::new(),
            failed_in_a_row: 0,
            given_up: None,
        }
    }

    /// The next answer, in the order of arrival; `None` when all are there.
    pub(super) async fn next(
        &mut self,
        journal: &Journal,
        names: &Names,
    ) -> Result<Option<(SessionNo, Said)>, JournalError> {
        while self.given_up.is_none()
            && self.asking.len() < self.concurrency
            && let Some(no) = self.ahead.pop_front()
        {
            let Some(session) = journal.session(no)? else { continue };
            let inquiry = self.platform.inquire(&session.id, &agent_label(names, &session.head()));
            let access = Arc::clone(&self.access);
            self.asking.spawn(async move { (no, converse(inquiry, &access).await) });
        }
        match self.asking.join_next().await {
            Some(Ok((no, said))) => {
                self.note(&said);
                Ok(Some((no, said)))
            }
            // A question that panics would be a bug.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            // Of those ahead each would fail as well.
            None => {
                Ok(self.given_up.clone().and_then(|failure| Some((self.ahead.pop_front()?, Said::Failed(failure)))))
            }
        }
    }

    fn note(&mut self, said: &Said) {
        let Said::Failed(failure) = said else {
            self.failed_in_a_row = 0;
            return;
        };
        self.failed_in_a_row += 1;
        if matches!(failure, Failure::KeyRefused(_)) || self.failed_in_a_row >= PATIENCE {
            self.given_up = Some(failure.clone());
        }
    }
}

async fn converse(mut inquiry: Box<dyn Inquiry>, access: &Access) -> Said {
    let mut heard = Heard::Begin;
    let mut asked: Option<Request> = None;
    let mut attempts = 0;
    loop {
        let request = match inquiry.next(heard) {
            Next::Told(statement) => return Said::Told(statement),
            Next::Unknown => return Said::Unknown,
            Next::Failed(failure) => return Said::Failed(failure),
            Next::Fetch(request) => {
                attempts = 0;
                request
            }
            Next::Again(reason) => match asked.take() {
                Some(request) if access.may_ask_again(attempts).await => request,
                _ => return Said::Failed(Failure::Nonsense(reason)),
            },
        };
        heard = match access.ask(&request, &mut attempts, Lane::Settling, None).await {
            Ok(response) => Heard::Response(response),
            Err(failure) => Heard::Failed(failure),
        };
        asked = Some(request);
    }
}

/// Nobody is told of these requests: they are no part of what the exporter does.
pub struct Silent;

impl Witness for Silent {
    fn requested(&self, _: &'static str, _: &str, _: Duration, _: u64) {}

    fn throttled(&self) {}

    fn succeeded(&self, _: &'static str, _: Timestamp) {}
    fn unread(&self, _: &Failure) {}

    fn discovered(&self, _: Result<(), &Failure>, _: Timestamp) {}

    fn backlog(&self, _: usize, _: usize) {}

    fn oldest_unread(&self, _: Option<Timestamp>) {}

    fn paced(&self, _: Pace, _: Timestamp) {}

    fn skew(&self, _: f64) {}
}
