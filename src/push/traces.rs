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
use prost::Message;
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
/// Larger messages are not tried: over gRPC servers take 4 MiB, unless they are told otherwise.
const MOST_BYTES: usize = 3 << 20;
/// A message of this size is not refused for its size, whatever the collector says.
const SMALL: usize = 64 << 10;

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

    /// Takes out everything before this number; `false` if there is nobody any more to do that.
    fn sent(&self, before: u64) -> impl Future<Output = bool> + Send;

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

/// How far sending has come.
struct Progress {
    /// Everything before this number was sent by this process.
    mark: u64,
    /// Spans in a message: fewer, once one was too large.
    most: usize,
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
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut waiting = self.outbox.waiting();
        let mut progress = Progress { mark: 0, most: self.batch };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.send_on(&mut waiting, &mut progress) => return,
        }
        // What was on its way is sent again: whether it arrived nobody can say.
        let deadline = Instant::now() + LAST_WORDS;
        let last = async {
            self.outbox.settle().await;
            self.send_rest(&waiting, &mut progress, deadline).await;
        };
        // An answer that never comes must not keep the process.
        let _ = timeout(LAST_WORDS, last).await;
        let left = rest(&waiting, progress.mark);
        if !left.is_empty() {
            let spans = left.end - left.start;
            tracing::warn!(spans, "spans did not reach the collector in time; the next run sends them");
        }
    }

    /// Sends what waits, and waits for more, until the outbox is gone.
    async fn send_on(&self, waiting: &mut watch::Receiver<Range<u64>>, progress: &mut Progress) {
        loop {
            waiting.mark_unchanged();
            let range = rest(waiting, progress.mark);
            if range.is_empty() {
                if waiting.changed().await.is_err() {
                    return;
                }
                continue;
            }
            if range.end - range.start < progress.most as u64 {
                sleep(LINGER).await;
            }
            if !self.send(rest(waiting, progress.mark), Patience::default(), progress).await {
                return;
            }
        }
    }

    async fn send_rest(&self, waiting: &watch::Receiver<Range<u64>>, progress: &mut Progress, deadline: Instant) {
        let patience = Patience { attempts: None, until: Some(deadline) };
        loop {
            let range = rest(waiting, progress.mark);
            if range.is_empty() || !self.send(range, patience, progress).await {
                return;
            }
        }
    }

    /// The next message, until it is taken or refused; moves the mark behind it. `false` if there is no use in going on:
    /// patience has run out, or there is nobody to empty the outbox.
    async fn send(&self, range: Range<u64>, patience: Patience, progress: &mut Progress) -> bool {
        loop {
            let (spans, next) = match self.outbox.read(range.clone(), progress.most).await {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!(error, "the outbox cannot be read; it is tried again");
                    sleep(LINGER).await;
                    return patience.until.is_none_or(|until| Instant::now() < until);
                }
            };
            if !spans.is_empty() {
                // Loaded after it was told what waits: it knows every name in it.
                let message = traces(&self.shown.load(), &spans, &self.sender);
                let size = message.encoded_len();
                if size > MOST_BYTES && spans.len() > 1 {
                    progress.most = spans.len() / 2;
                    continue;
                }
                let mut is_known = false;
                let failed = |reason| {
                    self.instruments.push_failed(SIGNAL, reason);
                    if !std::mem::replace(&mut is_known, true) {
                        tracing::warn!(reason, "spans cannot be sent; they wait, and are tried again");
                    }
                };
                let outcome = retrying(patience, failed, || self.client.send_traces(&message)).await;
                if outcome == Outcome::TooLarge && spans.len() > 1 && size > SMALL {
                    self.instruments.push_failed(SIGNAL, outcome.refusal());
                    progress.most = spans.len() / 2;
                    continue;
                }
                if !self.over(outcome, spans.len() as u64).await {
                    return false;
                }
            }
            progress.mark = next;
            return self.outbox.sent(next).await;
        }
    }

    /// Counts what came of a message; `false` if it is still to be sent.
    async fn over(&self, outcome: Outcome, spans: u64) -> bool {
        match outcome {
            Outcome::Accepted { rejected, .. } => {
                self.instruments.pushed(SIGNAL, spans.saturating_sub(rejected), rejected);
                if rejected > 0 {
                    tracing::warn!(rejected, "the collector did not take all spans of a message");
                }
                return true;
            }
            Outcome::Retry { .. } => return false,
            Outcome::TooLarge | Outcome::Refused { .. } => {}
        }
        let reason = outcome.refusal();
        tracing::warn!(reason, spans, "the collector refused spans for good; they are dropped");
        self.instruments.push_failed(SIGNAL, reason);
        self.instruments.push_dropped(SIGNAL, "refused", spans);
        sleep(LINGER).await;
        true
    }
}

/// What waits and was not sent by this process.
fn rest(waiting: &watch::Receiver<Range<u64>>, mark: u64) -> Range<u64> {
    let waiting = waiting.borrow();
    waiting.start.max(mark)..waiting.end
}
