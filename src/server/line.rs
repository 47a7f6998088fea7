//! Work that takes the processor is done a few at a time, and nobody may fill the line alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::caller::Caller;

/// Callers wait in the order in which they came.
#[derive(Debug)]
pub struct Line {
    at_once: Arc<Semaphore>,
    of_each: usize,
    present: Arc<Mutex<HashMap<Caller, usize>>>,
}

/// One caller's turn; over when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
    place: Place,
}

impl Turn {
    /// Lets the next one begin; what was made is still the caller's to take, and he keeps his place until then.
    pub(super) fn over(self) -> Place {
        self.place
    }
}

/// A place in the line, at its head, or behind it.
#[derive(Debug)]
pub(super) struct Place {
    present: Arc<Mutex<HashMap<Caller, usize>>>,
    caller: Caller,
}

/// Answers that are made at the same time: two keep a small machine busy and leave a large one free.
const AT_ONCE: usize = 2;
/// Answers that are made or held for one caller; more are only asked for by who does not take them.
const OF_EACH: usize = 16;

impl Default for Line {
    /// For answers that take time to make.
    fn default() -> Self {
        Self::new(AT_ONCE, OF_EACH)
    }
}

impl Line {
    /// So many turns at once; a caller with `of_each` places is turned away.
    pub(super) fn new(at_once: usize, of_each: usize) -> Self {
        Self { at_once: Arc::new(Semaphore::new(at_once)), of_each, present: Arc::default() }
    }

    /// Waits for a turn; `None` at once for a caller who has too many already.
    pub(super) async fn turn(&self, caller: Caller) -> Option<Turn> {
        let place = self.place(caller)?;
        let permit = Arc::clone(&self.at_once).acquire_owned().await.expect("the semaphore is never closed");
        Some(Turn { _permit: permit, place })
    }

    /// How many places are taken.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.present.lock().expect("nobody panics while holding it").values().sum()
    }

    fn place(&self, caller: Caller) -> Option<Place> {
        let mut present = self.present.lock().expect("nobody panics while holding it");
        let count = present.entry(caller).or_default();
        if *count >= self.of_each {
            return None;
        }
        *count += 1;
        Some(Place { present: Arc::clone(&self.present), caller })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.present.lock().expect("nobody panics while holding it");
        if let Some(count) = present.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                present.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn caller(last: u8) -> Caller {
        SocketAddr::from(([192, 0, 2, last], 1)).into()
    }

    #[tokio::test]
    async fn who_comes_with_many_waits_behind_himself() {
        let line = Line::new(1, 3);
        let first = line.turn(caller(1)).await.unwrap();
        let mut second = begun(line.turn(caller(1)));
        let mut third = begun(line.turn(caller(1)));
        assert!(second.is_waiting() && third.is_waiting());
        assert!(line.turn(caller(1)).await.is_none(), "a fourth is turned away at once");
        let mut other = begun(line.turn(caller(2)));
        assert!(other.is_waiting());
        drop(first);
        drop(second);
        drop(third);
        assert!(!other.is_waiting(), "whoever gave up is not waited for");
        drop(other);
        assert_eq!(line.places(), 0);
        assert!(line.present.lock().unwrap().is_empty(), "nobody is remembered");
    }

    /// A future that is polled by hand.
    struct Polled<'a>(std::pin::Pin<Box<dyn Future<Output = Option<Turn>> + 'a>>);

    fn begun<'a>(future: impl Future<Output = Option<Turn>> + 'a) -> Polled<'a> {
        let mut polled = Polled(Box::pin(future));
        polled.is_waiting();
        polled
    }

    impl Polled<'_> {
        fn is_waiting(&mut self) -> bool {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            self.0.as_mut().poll(&mut context).is_pending()
        }
    }
}
