//! The simulated sessions at any time: a pure function of options, start time and the moment asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::era::Era;
use super::ids::Id;
use super::life;
use super::script::Script;
use super::stream::Stream;
use crate::simulator::options::{OptionsError, Platform, SimulateOptions};
use crate::simulator::streams::StreamCache;

/// The platform, without its clock and its wire.
pub struct World {
    pub(super) options: SimulateOptions,
    pub(super) era: Era,
    pub(super) epoch_us: i64,
    shelf: Mutex<Shelf>,
}

/// What has been written so far.
struct Shelf {
    /// Number of the next session to write.
    next: u64,
    /// Ascending by creation, which is the order of their numbers.
    sessions: Vec<Arc<Script>>,
    by_id: HashMap<Id, Arc<Script>>,
    /// The last change of any session written so far.
    last_change: i64,
    streams: StreamCache<Id, Stream>,
}

impl World {
    /// A world that starts at `epoch_us`, microseconds since the Unix epoch.
    pub fn new(options: SimulateOptions, epoch_us: i64) -> Result<Self, OptionsError> {
        options.validate_for(Platform::Everruns)?;
        let era = Era::of(options.dialect);
        let shelf = Shelf {
            next: 0,
            sessions: Vec::new(),
            by_id: HashMap::new(),
            last_change: i64::MIN,
            streams: StreamCache::default(),
        };
        Ok(Self { options, era, epoch_us, shelf: Mutex::new(shelf) })
    }

    /// The options it was made with.
    pub fn options(&self) -> &SimulateOptions {
        &self.options
    }

    /// Whether no session will be created or change any more.
    pub fn is_settled(&self, now: i64) -> bool {
        let shelf = self.shelf_at(now);
        self.options.sessions > 0 && shelf.next == self.count() && shelf.last_change <= now
    }

    /// Calls `read` with all sessions created until `now`, ascending by creation, deleted ones included.
    pub(super) fn read<R>(&self, now: i64, read: impl FnOnce(&[Arc<Script>]) -> R) -> R {
        let shelf = self.shelf_at(now);
        let created = shelf.sessions.partition_point(|script| script.created_at <= now);
        read(&shelf.sessions[..created])
    }

    /// The session with this id, if it exists for callers at `now`.
    pub(super) fn session(&self, now: i64, id: Id) -> Option<Arc<Script>> {
        let shelf = self.shelf_at(now);
        let script = shelf.by_id.get(&id)?;
        script.is_visible(now).then(|| script.clone())
    }

    /// The rendered events of a session.
    pub(super) fn stream(&self, script: &Script) -> Arc<Stream> {
        if let Some(stream) = self.shelf().streams.get(script.id) {
            return stream;
        }
        let stream = Arc::new(Stream::render(script, &self.options, self.era));
        self.shelf().streams.put(script.id, stream.clone());
        stream
    }

    fn count(&self) -> u64 {
        match self.options.sessions {
            0 => u64::MAX,
            live => self.options.history + live,
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // A panic elsewhere leaves the shelf as it was before an append: still right.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shelf with every session written that is created until `now`.
    fn shelf_at(&self, now: i64) -> MutexGuard<'_, Shelf> {
        let mut shelf = self.shelf();
        while shelf.next < self.count() {
            let number = shelf.next;
            let is_live = number >= self.options.history;
            if is_live && life::arrival(&self.options, self.epoch_us, number) > now {
                break;
            }
            let script = Arc::new(life::write(&self.options, self.era, self.epoch_us, number));
            shelf.last_change = shelf.last_change.max(script.last_change());
            shelf.by_id.insert(script.id, script.clone());
            shelf.sessions.push(script);
            shelf.next += 1;
        }
        shelf
    }
}
