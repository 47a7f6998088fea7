//! Who is connected, and whom we wait for: when the house is full, a guest that keeps us waiting makes room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::caller::Caller;

/// The connections of one listener.
pub(super) struct Guests {
    seats: Arc<Semaphore>,
    house: Arc<House>,
}

#[derive(Default)]
struct House {
    present: Mutex<Present>,
    /// An answer is ready: whoever asked for it can be sent away from now on.
    relaxed: Notify,
}

#[derive(Default)]
struct Present {
    guests: HashMap<u64, State>,
    last: u64,
}

struct State {
    caller: Caller,
    /// Requests that we are at work on. With none we wait for the guest: for his handshake, his request, or that he
    /// takes what was answered.
    answering: usize,
    since: Instant,
    leave: CancellationToken,
}

/// One connection; it has left when this is dropped.
pub(super) struct Guest {
    number: u64,
    house: Arc<House>,
    leave: CancellationToken,
    _seat: OwnedSemaphorePermit,
}

/// A request of a guest that is being answered.
pub(super) struct Work<'a>(&'a Guest);

impl Guests {
    /// At most so many.
    pub(super) fn new(seats: usize) -> Self {
        Self { seats: Arc::new(Semaphore::new(seats)), house: Arc::default() }
    }

    /// A seat for one more. If there is none, one of those we wait for is sent away; while we are at work for all of
    /// them, it waits.
    pub(super) async fn seat(&self) -> OwnedSemaphorePermit {
        loop {
            let relaxed = self.house.relaxed.notified();
            if let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() {
                return seat;
            }
            self.house.present().send_one_away();
            tokio::select! {
                seat = Arc::clone(&self.seats).acquire_owned() => return seat.expect("the semaphore is never closed"),
                () = relaxed => {}
            }
        }
    }

    /// Seats somebody.
    pub(super) fn welcome(&self, caller: Caller, seat: OwnedSemaphorePermit) -> Guest {
        let leave = CancellationToken::new();
        let mut present = self.house.present();
        present.last += 1;
        let number = present.last;
        let state = State { caller, answering: 0, since: Instant::now(), leave: leave.clone() };
        present.guests.insert(number, state);
        Guest { number, house: Arc::clone(&self.house), leave, _seat: seat }
    }
}

impl House {
    fn present(&self) -> std::sync::MutexGuard<'_, Present> {
        self.present.lock().expect("nobody panics while holding it")
    }
}

impl Present {
    /// Of the caller with the most connections, the one that keeps us waiting longest. So whoever takes all the seats
    /// takes them from himself.
    fn send_one_away(&mut self) {
        if self.guests.values().any(|state| state.leave.is_cancelled()) {
            // He is on his way out.
            return;
        }
        let mut of_caller: HashMap<Caller, usize> = HashMap::new();
        for state in self.guests.values() {
            *of_caller.entry(state.caller).or_default() += 1;
        }
        let waited_for = self.guests.values().filter(|state| state.answering == 0);
        let chosen = waited_for.max_by_key(|state| (of_caller[&state.caller], std::cmp::Reverse(state.since)));
        if let Some(state) = chosen {
            state.leave.cancel();
        }
    }
}

impl Guest {
    /// When he has to make room.
    pub(super) async fn told_to_leave(&self) {
        self.leave.cancelled().await;
    }

    /// Notes that we are at work for him.
    pub(super) fn work(&self) -> Work<'_> {
        if let Some(state) = self.house.present().guests.get_mut(&self.number) {
            state.answering += 1;
        }
        Work(self)
    }

    /// How much of this patience is left with him; `None` when none is.
    pub(super) fn patience_left(&self, patience: Duration) -> Option<Duration> {
        let present = self.house.present();
        let state = present.guests.get(&self.number)?;
        if state.answering > 0 {
            return Some(patience);
        }
        patience.checked_sub(state.since.elapsed()).filter(|left| !left.is_zero())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.house.present().guests.remove(&self.number);
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.0.house.present().guests.get_mut(&self.0.number) {
            state.answering -= 1;
            state.since = Instant::now();
        }
        self.0.house.relaxed.notify_waiters();
    }
}
