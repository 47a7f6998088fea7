//! Sends spans from the outbox to a collector, in order, and takes them out when the collector has them.
//!
//! A span that was committed is sent until somebody takes it or refuses it for good. The outbox is durable, so neither
//! a kill nor a collector that is away for hours loses one; what had been sent and was not yet noted as sent is sent
//! again, the same to the last byte. Nothing waits for this: the outbox drops its oldest spans before it grows too
//! large.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Destination, Outcome, PushError, Signal};
use super::retry::{Patience, retrying};
use crate::projection::{Snapshot, TraceSpan};
use crate::telemetry::Instruments;
use crate::views::otlp::{Sender, traces};

/// Spans that come within this time share a message; also the pause after a message that was refused.
const LINGER: Duration = Duration::from_secs(1);
/// How long the last messages may take at the end of the process; what is left then is sent by the next one.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The signal's name, as a label.
const SIGNAL: &str = Signal::Traces.name();
/// The one refusal that a smaller message can avoid.
const TOO_LARGE: &str = "too large";

/// Where spans wait, as the sender sees it.
pub trait Outbox: Send + Sync + 'static {
    /// The numbers of the spans that wait, whose names are known to what is shown.
    fn waiting(&self) -> watch::Receiver<Range<u64>>;

    /// Up to `most` of the spans with these numbers, and the number to go on with. Some may be gone.
    fn read(
        &self,
        range: Range<u64>,
        most: usize,
    ) -> impl Future<Output = Result<(Vec<TraceSpan>, u64), String>> + Send;

    /// Takes out everything before this number.
    fn sent(&self, before: u64) -> impl Future<Output = ()> + Send;

    /// Comes back when everything that was committed before shows in [`Outbox::waiting`].
    fn settle(&self) -> impl Future<Output = ()> + Send;
}

/// Sends what waits.
pub struct PushTraces<O> {
    client: Client,
    batch: usize,
    sender: Sender,
    shown: Arc<ArcSwap<Snapshot>>,
    instruments: Instruments,
    outbox: O,
}

impl<O: Outbox> PushTraces<O> {
    /// Ready to send, at most `batch` spans in a message; nothing is sent yet.
    pub fn new(
        destination: &Destination,
        batch: usize,
        sender: Sender,
        shown: Arc<ArcSwap<Snapshot>>,
        instruments: Instruments,
        outbox: O,
    ) -> Result<Self, PushError> {
        let client = Client::new(destination, Signal::Traces)?;
        instruments.register_signal(SIGNAL);
        Ok(Self { client, batch, sender, shown, instruments, outbox })
    }

    /// Sends until told to stop, and then what is left, for a while.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut waiting = self.outbox.waiting();
        let mut mark = 0;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.send_on(&mut waiting, &mut mark) => return,
        }
        // What was on its way is sent again: whether it arrived nobody can say.
        let deadline = Instant::now() + LAST_WORDS;
        let last = async {
            self.outbox.settle().await;
            self.send_rest(&waiting, &mut mark, deadline).await;
        };
        // An answer that never comes must not keep the process.
        let _ = timeout(LAST_WORDS, last).await;
        let left = rest(&waiting, mark);
        if !left.is_empty() {
            let spans = left.end - left.start;
            tracing::warn!(spans, "spans did not reach the collector in time; the next run sends them");
        }
    }

    /// Sends what waits, and waits for more, until the outbox is gone.
    async fn send_on(&self, waiting: &mut watch::Receiver<Range<u64>>, mark: &mut u64) {
        loop {
            waiting.mark_unchanged();
            let range = rest(waiting, *mark);
            if range.is_empty() {
                if waiting.changed().await.is_err() {
                    return;
                }
                continue;
            }
            if range.end - range.start < self.batch as u64 {
                sleep(LINGER).await;
            }
            self.send(rest(waiting, *mark), Patience::default(), mark).await;
        }
    }

    async fn send_rest(&self, waiting: &watch::Receiver<Range<u64>>, mark: &mut u64, deadline: Instant) {
        let patience = Patience { attempts: None, until: Some(deadline) };
        loop {
            let range = rest(waiting, *mark);
            if range.is_empty() || !self.send(range, patience, mark).await {
                return;
            }
        }
    }

    /// The next message, until it is taken or refused; moves the mark behind it. `false` if patience has run out.
    async fn send(&self, range: Range<u64>, patience: Patience, mark: &mut u64) -> bool {
        let mut most = self.batch;
        loop {
            let (spans, next) = match self.outbox.read(range.clone(), most).await {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!(error, "the outbox cannot be read; it is tried again");
                    sleep(LINGER).await;
                    return patience.until.is_none_or(|until| Instant::now() < until);
                }
            };
            // Loaded after it was told what waits: it knows every name in it.
            let message = traces(&self.shown.load(), &spans, &self.sender);
            let count = spans.len() as u64;
            let failed = |reason| self.instruments.push_failed(SIGNAL, reason);
            let outcome = match count {
                0 => Outcome::Accepted { rejected: 0, warned: false },
                _ => retrying(patience, failed, || self.client.send_traces(&message)).await,
            };
            match outcome {
                Outcome::Accepted { rejected, .. } => {
                    self.instruments.pushed(SIGNAL, count.saturating_sub(rejected), rejected);
                    if rejected > 0 {
                        tracing::warn!(rejected, "the collector did not take all spans of a message");
                    }
                }
                Outcome::Refused { reason: TOO_LARGE } if count > 1 => {
                    self.instruments.push_failed(SIGNAL, TOO_LARGE);
                    most = spans.len() / 2;
                    tracing::debug!(spans = most, "a message was too large for the collector; a smaller one is tried");
                    continue;
                }
                Outcome::Refused { reason } => {
                    tracing::warn!(reason, spans = count, "the collector refused spans for good; they are dropped");
                    self.instruments.push_failed(SIGNAL, reason);
                    self.instruments.push_dropped(SIGNAL, "refused", count);
                    sleep(LINGER).await;
                }
                Outcome::Retry { .. } => return false,
            }
            *mark = next;
            self.outbox.sent(next).await;
            return true;
        }
    }
}

/// What waits and was not sent by this process.
fn rest(waiting: &watch::Receiver<Range<u64>>, mark: u64) -> Range<u64> {
    let waiting = waiting.borrow();
    waiting.start.max(mark)..waiting.end
}
