//! The simulated platform's sessions at any time: a pure function of options, start time and the moment asked for.
//!
//! Nothing ticks. A question about time `now` writes the scripts of all sessions created until then (once; they are
//! remembered) and reads from each the part up to `now`. Sessions long deleted are folded into the account and
//! forgotten, so an endless run with `delete_after` has bounded memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::hcompany::Stream;
use super::ledger::Ledger;
use super::options::{Dialect, OptionsError, Platform, SimulateOptions};
use super::script::{self, Id};
use super::session::Session;
use super::streams::StreamCache;
use super::timestamp::SECOND;
use super::truth::Account;

/// Deleted sessions are remembered this long. Time may go back by less than that; further back, they would be missing.
const REMEMBER_DELETED: i64 = 600 * SECOND;

/// The platform, without its clock and its wire.
pub struct World {
    pub(super) options: SimulateOptions,
    pub(super) epoch_us: i64,
    shelf: Mutex<Shelf>,
}

/// What has been written so far.
struct Shelf {
    /// Number of the next root to write.
    next_root: u64,
    /// Ascending by creation time, then key.
    sessions: Vec<Arc<Session>>,
    by_id: HashMap<Id, Arc<Session>>,
    /// The last change of any session written so far.
    last_change: i64,
    /// Roots whose whole families were forgotten, and the account of what they did.
    forgotten: Vec<u64>,
    ledger: Ledger<Account>,
    next_cleaning: i64,
    streams: StreamCache<Id, Stream>,
}

impl World {
    /// A world that starts at `epoch_us`, microseconds since the Unix epoch.
    pub fn new(options: SimulateOptions, epoch_us: i64) -> Result<Self, OptionsError> {
        options.validate_for(Platform::HCompany)?;
        let shelf = Shelf {
            next_root: 0,
            sessions: Vec::new(),
            by_id: HashMap::new(),
            last_change: i64::MIN,
            forgotten: Vec::new(),
            ledger: Ledger::default(),
            next_cleaning: i64::MIN,
            streams: StreamCache::default(),
        };
        Ok(Self { options, epoch_us, shelf: Mutex::new(shelf) })
    }

    /// The options it was made with.
    pub fn options(&self) -> &SimulateOptions {
        &self.options
    }

    /// Whether the older platform is imitated.
    pub(super) fn is_old(&self) -> bool {
        self.options.dialect == Dialect::Old
    }

    /// Whether sessions stay for ever.
    pub(super) fn never_deletes(&self) -> bool {
        self.options.delete_after == 0.0 && !self.options.page_drift
    }

    /// Whether no session will be created or change any more.
    pub fn is_settled(&self, now: i64) -> bool {
        let shelf = self.shelf_at(now);
        let all_created = self.options.sessions > 0 && shelf.next_root == self.roots();
        all_created && shelf.last_change <= now
    }

    /// Calls `read` with all sessions created until `now` or later, ascending by creation, deleted ones included.
    pub(super) fn read<R>(&self, now: i64, read: impl FnOnce(&[Arc<Session>]) -> R) -> R {
        let shelf = self.shelf_at(now);
        let created = shelf.sessions.partition_point(|session| session.script.created_at <= now);
        read(&shelf.sessions[..created])
    }

    /// The session with this id, if it exists for callers at `now`.
    pub(super) fn session(&self, now: i64, id: Id) -> Option<Arc<Session>> {
        let shelf = self.shelf_at(now);
        let session = shelf.by_id.get(&id)?;
        session.is_visible(now).then(|| session.clone())
    }

    /// The rendered events of a session.
    pub(super) fn stream(&self, session: &Arc<Session>) -> Arc<Stream> {
        let id = session.script.id;
        if let Some(stream) = self.shelf().streams.get(id) {
            return stream;
        }
        let stream = Arc::new(Stream::render(&session.script, &self.options));
        self.shelf().streams.put(id, stream.clone());
        stream
    }

    /// Calls `read` with the sessions still remembered and the account, since `since`, of those forgotten.
    pub(super) fn audit<R>(&self, now: i64, since: i64, read: impl FnOnce(&[Arc<Session>], &Account) -> R) -> R {
        let mut shelf = self.shelf_at(now);
        let created = shelf.sessions.partition_point(|session| session.script.created_at <= now);
        let Shelf { forgotten, ledger, sessions, .. } = &mut *shelf;
        let account = ledger.account(since, |account| {
            for script in forgotten.iter().flat_map(|root| script::write_family(&self.options, self.epoch_us, *root)) {
                account.add(&script, &self.options, since, i64::MAX);
            }
        });
        read(&sessions[..created], account)
    }

    /// How many sessions are kept in memory.
    pub fn remembered(&self) -> usize {
        self.shelf().sessions.len()
    }

    fn roots(&self) -> u64 {
        match self.options.sessions {
            0 => u64::MAX,
            live => self.options.history + live,
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // A panic elsewhere leaves the shelf as it was before an append: still right.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shelf with every family written whose root is created until `now`.
    fn shelf_at(&self, now: i64) -> MutexGuard<'_, Shelf> {
        let mut shelf = self.shelf();
        while shelf.next_root < self.roots() {
            let root = shelf.next_root;
            let is_live = root >= self.options.history;
            if is_live && script::arrival(&self.options, self.epoch_us, root) > now {
                break;
            }
            for script in script::write_family(&self.options, self.epoch_us, root) {
                let deleted_at = script::deletion(&self.options, self.epoch_us, &script);
                shelf.add(Session { script, deleted_at });
            }
            shelf.next_root += 1;
        }
        if now >= shelf.next_cleaning {
            shelf.forget_deleted(now, &self.options);
            shelf.next_cleaning = now + REMEMBER_DELETED / 10;
        }
        shelf
    }
}

impl Shelf {
    fn add(&mut self, session: Session) {
        let session = Arc::new(session);
        self.last_change = self.last_change.max(session.script.last_change());
        self.by_id.insert(session.script.id, session.clone());
        let order = |session: &Session| (session.script.created_at, session.script.key);
        let position = self.sessions.partition_point(|other| order(other) < order(&session));
        self.sessions.insert(position, session);
    }

    /// Forgets families whose every member was deleted long ago.
    fn forget_deleted(&mut self, now: i64, options: &SimulateOptions) {
        if options.delete_after == 0.0 {
            return;
        }
        let mut latest: HashMap<u64, i64> = HashMap::new();
        for session in &self.sessions {
            let deleted_at = session.deleted_at.unwrap_or(i64::MAX);
            let family = latest.entry(session.script.key.root).or_insert(deleted_at);
            *family = deleted_at.max(*family);
        }
        let mut gone: Vec<u64> = latest
            .into_iter()
            .filter(|(_, deleted_at)| *deleted_at < now - REMEMBER_DELETED)
            .map(|(root, _)| root)
            .collect();
        gone.sort_unstable();
        let is_gone = |session: &Arc<Session>| gone.binary_search(&session.script.key.root).is_ok();
        for session in self.sessions.extract_if(.., |session| is_gone(session)) {
            self.by_id.remove(&session.script.id);
            self.streams.remove(session.script.id);
            self.ledger.add(|account, since| account.add(&session.script, options, since, i64::MAX));
        }
        self.forgotten.extend(&gone);
    }
}
