//! One job under way: leads its conversation with the platform, commits what it learns, and asks again what fails.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::Instrument;

use super::{LedgerError, Poller};
use crate::domain::{Due, Item, Receipt, Report, Timestamp};
use crate::ingest::lanes::Lane;
use crate::ingest::limiter::Place;
use crate::ingest::schedule::{Ended, Work};
use crate::ingest::{Failure, Finish, Input, Job, Output, Request, Response};

/// With more sessions of the past than this waiting to be read, discovery looks for no more of them: that would help
/// nobody.
const MAX_BACKLOG: usize = 2000;

/// One job under way.
pub(super) struct Run<'a> {
    pub(super) poller: &'a Poller,
    pub(super) lane: Lane,
    /// Its place for its first request.
    pub(super) place: Option<Place>,
    /// Sessions of the past that wait, if it looks for more.
    pub(super) old: Option<watch::Receiver<usize>>,
    pub(super) once: bool,
    pub(super) found: mpsc::Sender<Vec<Due>>,
    pub(super) walks: Vec<(String, Timestamp)>,
    pub(super) due: Vec<Due>,
}

impl Run<'_> {
    /// Leads the job to its end.
    pub(super) async fn job(&mut self, mut job: Box<dyn Job>, work: &Work) -> Ended {
        let span = tracing::debug_span!("poll", stage = job.stage(), source.index = i64::from(self.poller.source.0));
        let outcome = self.converse(&mut *job).instrument(span).await;
        let now = self.poller.access.clock.now();
        if matches!(work, Work::Discover) && !matches!(outcome, Err(Failure::Unsaved)) {
            self.poller.access.witness.discovered(outcome.as_ref().map(|_| ()), now);
        }
        match outcome {
            Ok(ended) => {
                self.poller.access.witness.succeeded(job.stage(), now);
                ended
            }
            // Said where it happened. It tells nothing of the platform.
            Err(Failure::Unsaved) => Ended::Failed,
            Err(failure) => {
                tracing::warn!(stage = job.stage(), %failure, "polling failed; it is tried again");
                if matches!(work, Work::Read { .. }) {
                    self.poller.access.witness.unread(&failure);
                }
                // What only a change of the configuration can mend is not tried again at once.
                let is_refused = matches!(failure, Failure::KeyRefused(_) | Failure::CountedTwice(_));
                if is_refused { Ended::Refused } else { Ended::Failed }
            }
        }
    }

    /// The same, and why it failed.
    pub(super) async fn converse(&mut self, job: &mut dyn Job) -> Result<Ended, Failure> {
        let mut input = Input::Begin;
        let mut asked: Option<(Request, Response)> = None;
        let mut attempts = 0;
        let mut told_crowded = false;
        loop {
            let output = job.next(input);
            // Who holds a place and sends nothing would hold up everybody: it is for the very first move, or given up.
            let mut place = self.place.take().filter(|_| matches!(output, Output::Fetch(_)));
            match output {
                Output::Fetch(request) => {
                    let is_crowded = self.old.as_ref().is_some_and(|old| *old.borrow() > MAX_BACKLOG);
                    if let Some(old) = self.old.as_mut().filter(|_| is_crowded && self.once) {
                        place = None;
                        // One pass has to be a whole one; nobody waits for what is fresh meanwhile.
                        let _ = old.wait_for(|waiting| *waiting <= MAX_BACKLOG).await;
                    } else if is_crowded && !told_crowded {
                        told_crowded = true;
                        input = Input::Crowded;
                        continue;
                    }
                    told_crowded = false;
                    attempts = 0;
                    input = self.fetch(request, place, &mut attempts, &mut asked).await;
                }
                Output::Again(reason) => {
                    let Some((request, _)) = asked.take() else {
                        return Err(Failure::Nonsense(reason));
                    };
                    self.poller.access.witness.requested(request.endpoint, "undecodable", Duration::ZERO, 0);
                    if !self.poller.access.may_ask_again(attempts).await {
                        return Err(Failure::Nonsense(reason));
                    }
                    input = self.fetch(request, None, &mut attempts, &mut asked).await;
                }
                Output::Commit(items) => {
                    let times = asked.as_ref().map(|(_, response)| (response.asked_at, response.received_at));
                    let receipt = self.commit(items, times).await?;
                    input = Input::Committed(receipt);
                }
                Output::Done(Finish::Well) => return Ok(Ended::Well),
                Output::Done(Finish::Later(behind)) => return Ok(Ended::Later(behind)),
                Output::Done(Finish::Failed(failure)) => return Err(failure),
            }
        }
    }

    async fn fetch(
        &self,
        request: Request,
        place: Option<Place>,
        attempts: &mut u32,
        asked: &mut Option<(Request, Response)>,
    ) -> Input {
        match self.poller.access.ask(&request, attempts, self.lane, place).await {
            Ok(response) => {
                *asked = Some((request, response.clone()));
                Input::Response(response)
            }
            Err(failure) => Input::Failed(failure),
        }
    }

    async fn commit(&mut self, items: Vec<Item>, times: Option<(Timestamp, Timestamp)>) -> Result<Receipt, Failure> {
        let walked: Vec<(String, Timestamp)> = items
            .iter()
            .filter_map(|item| match item {
                Item::Walked { walk, until } => Some(((*walk).to_owned(), *until)),
                _ => None,
            })
            .collect();
        let now = self.poller.access.clock.now();
        let (asked_at, received_at) = times.unwrap_or((now, now));
        let report = Report { source: self.poller.source, asked_at, received_at, items };
        let mut receipt = self.poller.ledger.commit(report).await.map_err(|error| match error {
            LedgerError::CountedTwice(other) => Failure::CountedTwice(other),
            LedgerError::Unsaved(_) => {
                tracing::warn!(%error, "what was read is not committed; it is read again");
                Failure::Unsaved
            }
            LedgerError::Contradicts(_) => {
                tracing::warn!(%error, "what was read is not committed; it is read again");
                Failure::Nonsense("it does not continue what is stored")
            }
        })?;
        self.walks.extend(walked);
        let due = std::mem::take(&mut receipt.due);
        if !due.is_empty() {
            // Told at once, so that reading begins while the walk goes on; the rest when the walk is over.
            if let Err(refused) = self.found.send(due).await {
                self.due.extend(refused.0);
            }
        }
        Ok(receipt)
    }
}
