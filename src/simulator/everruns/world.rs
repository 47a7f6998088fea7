//! The simulated sessions at any time: a pure function of options, start time and the moment asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use serde_json::value::RawValue;

use super::era::Era;
use super::events;
use super::ids::Id;
use super::life;
use super::script::Script;
use super::sessions::raw;
use super::stream::Stream;
use super::truth::Account;
use crate::simulator::ledger::Ledger;
use crate::simulator::options::{OptionsError, Platform, SimulateOptions};
use crate::simulator::streams::StreamCache;
use crate::simulator::timestamp::SECOND;

/// Deleted sessions are remembered this long. Time may go back by less than that; further back, they would be missing.
const REMEMBER_DELETED: i64 = 600 * SECOND;

/// The platform, without its clock and its wire.
pub struct World {
    pub(super) options: SimulateOptions,
    pub(super) era: Era,
    pub(super) epoch_us: i64,
    shelf: Mutex<Shelf>,
}

/// What has been written so far.
struct Shelf {
    /// Number of the next session to write, with those that it starts.
    next: u64,
    /// Ascending by creation, then number.
    sessions: Vec<Arc<Script>>,
    by_id: HashMap<Id, Arc<Script>>,
    /// The last change of any session written so far.
    last_change: i64,
    /// Numbers of the sessions that were forgotten, and the account of what they did.
    forgotten: Vec<u64>,
    ledger: Ledger<Account>,
    next_cleaning: i64,
    /// The rows of lists as they were shown last.
    rows: HashMap<Id, (Version, Arc<RawValue>)>,
    streams: StreamCache<Id, Stream>,
}

/// All that a row of a list depends on: when it changed, how many events and how many ended turns there are.
type Version = (i64, usize, usize);

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
            forgotten: Vec::new(),
            ledger: Ledger::default(),
            next_cleaning: i64::MIN,
            rows: HashMap::new(),
            streams: StreamCache::default(),
        };
        Ok(Self { options, era, epoch_us, shelf: Mutex::new(shelf) })
    }

    /// The options it was made with.
    pub fn options(&self) -> &SimulateOptions {
        &self.options
    }

    /// The id of the one organization, as it stands in paths and headers.
    pub fn organization(&self) -> String {
        super::sessions::organization(self)
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

    /// The row of a session in lists, made by `make` if it is not the one shown last.
    pub(super) fn row(&self, script: &Script, now: i64, make: impl FnOnce() -> Value) -> Arc<RawValue> {
        let ends = script.ends.partition_point(|(at, _)| *at <= now);
        let version = (script.updated_at(now), events::count(self, script, now), ends);
        if let Some((known, row)) = self.shelf().rows.get(&script.id)
            && *known == version
        {
            return row.clone();
        }
        let row = raw(&make());
        self.shelf().rows.insert(script.id, (version, row.clone()));
        row
    }

    /// Calls `read` with the sessions still remembered and the account, since `since`, of those forgotten.
    pub(super) fn audit<R>(&self, now: i64, since: i64, read: impl FnOnce(&[Arc<Script>], &Account) -> R) -> R {
        let mut shelf = self.shelf_at(now);
        let created = shelf.sessions.partition_point(|script| script.created_at <= now);
        let Shelf { forgotten, ledger, sessions, .. } = &mut *shelf;
        let account = ledger.account(since, |account| {
            for number in forgotten {
                let family = self.write_family(life::root_of(*number));
                let script = family.iter().find(|script| script.number == *number).expect("it was written before");
                account.add(script, self.era, since, i64::MAX);
            }
        });
        read(&sessions[..created], account)
    }

    /// How many sessions are kept in memory.
    pub fn remembered(&self) -> usize {
        self.shelf().sessions.len()
    }

    fn write_family(&self, number: u64) -> Vec<Script> {
        life::write_family(&self.options, self.era, self.epoch_us, number)
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
            for script in self.write_family(number) {
                shelf.add(Arc::new(script));
            }
            shelf.next += 1;
        }
        if now >= shelf.next_cleaning {
            shelf.forget_deleted(now, self.era);
            shelf.next_cleaning = now + REMEMBER_DELETED / 10;
        }
        shelf
    }
}

impl Shelf {
    fn add(&mut self, script: Arc<Script>) {
        self.last_change = self.last_change.max(script.last_change());
        self.by_id.insert(script.id, script.clone());
        let order = |script: &Script| (script.created_at, script.number);
        let position = self.sessions.partition_point(|other| order(other) < order(&script));
        self.sessions.insert(position, script);
    }

    /// Forgets sessions that were deleted long ago. An endless run that deletes has bounded memory.
    fn forget_deleted(&mut self, now: i64, era: Era) {
        let is_gone = |script: &mut Arc<Script>| script.deleted_at.is_some_and(|at| at < now - REMEMBER_DELETED);
        for script in self.sessions.extract_if(.., is_gone) {
            self.by_id.remove(&script.id);
            self.streams.remove(script.id);
            self.rows.remove(&script.id);
            self.ledger.add(|account, since| account.add(&script, era, since, i64::MAX));
            self.forgotten.push(script.number);
        }
    }
}
