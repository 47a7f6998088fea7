//! Reads one session: its stream from the cursor to the end, repairs what was evicted, and asks the status how it
//! ended.
//!
//! Order is everything here. The stream never tells a failure, a status can be older or newer than the events beside
//! it, and an ended session can be taken up again at any moment. So an end is believed only when the status tells it
//! *and* the stream, asked afterwards, holds nothing more: then nothing had happened after the cursor when the status
//! was told, and both speak of the same moment.

use super::{CHANGES_LIMIT, HISTORY_SIZE, decode, of_session};
use crate::domain::{Due, Event, Fact, Item, Receipt, SessionId, Sighting, Status, Timestamp};
use crate::ingest::{CUT, Failure, Finish, Input, Job, Output, Response, TIMED_OUT};
use smol_str::SmolStr;

/// No session has so many events; a server that says that it dropped more is mistaken.
const MOST_EVICTED: u64 = 1 << 32;

/// The reading of one session.
pub(super) struct Read {
    id: SessionId,
    due: Due,
    cursor: u64,
    limit: u32,
    asked: Asked,
    /// An end the status told after everything up to the cursor was read.
    told: Option<decode::StatusPage>,
    /// Whether the status has to be asked before this is over.
    ask_status: bool,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    /// An event was given up because it was too large, and none was read since.
    gave_up: bool,
    /// Who started the session is still to be asked.
    ask_origin: bool,
    /// The answer to that made no sense once.
    odd_origin: bool,
    after_commit: AfterCommit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Changes,
    /// The whole session before anything is read of it, to learn who started it: what it does belongs to what its parent
    /// was doing.
    Origin,
    /// The status of a session from before counting began: the child sessions it has by now are its past.
    Past {
        created_at: Timestamp,
    },
    /// Events from the cursor to `until` were evicted from `/changes`, whose first event now has this time.
    History {
        until: u64,
        first_at: Option<Timestamp>,
    },
    Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterCommit {
    Done,
    Begin,
    Changes,
    Status,
    History { until: u64, first_at: Option<Timestamp> },
}

impl Read {
    /// Of a session that was never read, the one that started it is asked for if `traces` are wanted.
    pub(super) fn new(due: &Due, traces: bool) -> Self {
        Self {
            id: due.id.clone(),
            cursor: due.cursor,
            limit: CHANGES_LIMIT,
            asked: Asked::Changes,
            told: None,
            // One that no list shows any more has ended, or is gone.
            ask_status: due.ended || due.mark.is_none(),
            started_at: due.started_at,
            finished_at: due.finished_at,
            gave_up: false,
            ask_origin: traces && due.cursor == 0 && !due.waited,
            odd_origin: false,
            after_commit: AfterCommit::Done,
            // What it was before counting began was told before it was put off.
            due: Due { adopt: due.adopt.filter(|_| !due.waited), ..due.clone() },
        }
    }

    /// What has to be known before the stream is read, then the stream.
    fn begin(&mut self) -> Output {
        if std::mem::take(&mut self.ask_origin) {
            self.asked = Asked::Origin;
            return Output::Fetch(of_session("session", &self.id, "", Vec::new()));
        }
        match self.due.adopt.take() {
            Some(created_at) => {
                self.asked = Asked::Past { created_at };
                Output::Fetch(of_session("status", &self.id, "/status", Vec::new()))
            }
            None => self.ask_changes(),
        }
    }

    fn ask_changes(&mut self) -> Output {
        self.asked = Asked::Changes;
        let query = vec![("from_index", self.cursor.to_string()), ("limit", self.limit.to_string())];
        Output::Fetch(of_session("changes", &self.id, "/changes", query))
    }

    fn ask_history(&mut self, until: u64, first_at: Option<Timestamp>) -> Output {
        self.asked = Asked::History { until, first_at };
        let page = self.cursor / HISTORY_SIZE + 1;
        let query =
            vec![("page", page.to_string()), ("size", HISTORY_SIZE.to_string()), ("sort", "timestamp".to_owned())];
        Output::Fetch(of_session("events", &self.id, "/events", query))
    }

    /// The status; or the whole session, which says the same, where its times are not known from anywhere else.
    fn ask_status(&mut self) -> Output {
        self.asked = Asked::Status;
        if self.finished_at.is_some() {
            Output::Fetch(of_session("status", &self.id, "/status", Vec::new()))
        } else {
            Output::Fetch(of_session("session", &self.id, "", Vec::new()))
        }
    }

    fn commit(&mut self, items: Vec<Item>, then: AfterCommit) -> Output {
        self.after_commit = then;
        Output::Commit(items)
    }

    fn read_up_to(&self) -> Item {
        Item::read_up_to(self.id.clone(), self.due.mark)
    }

    fn beside(&self, at: Timestamp, fact: Fact<SmolStr>) -> Item {
        Item::Beside { id: self.id.clone(), events: vec![Event { at, fact }] }
    }

    fn answered(&mut self, response: Response) -> Output {
        match (self.asked, response.status) {
            (Asked::Changes | Asked::Status | Asked::Past { .. } | Asked::Origin, 404 | 410) => {
                self.commit(vec![Item::Gone { id: self.id.clone(), mark: self.due.mark }], AfterCommit::Done)
            }
            (Asked::Origin, 200) => match decode::session_document(&response.body) {
                Ok(page) => self.origin(page, response.received_at),
                Err(error) if !std::mem::replace(&mut self.odd_origin, true) => Output::Again(error.0),
                Err(_) => self.begin(),
            },
            // Only where its spans belong depends on it: nothing that would keep the session from being read.
            (Asked::Origin, _) => self.begin(),
            (Asked::Past { created_at }, 200) => match decode::status_document(&response.body) {
                Ok(page) if page.children.is_empty() => self.ask_changes(),
                Ok(page) => {
                    let past = self.beside(created_at, Fact::Children(page.children));
                    self.commit(vec![past], AfterCommit::Changes)
                }
                Err(error) => Output::Again(error.0),
            },
            (Asked::Changes, 204) => match response.etag.as_deref().map(position) {
                // The empty answer says which position it is about; a cache between us could confuse two.
                Some(Some(about)) if about != self.cursor => Output::Again("an empty answer about another position"),
                _ => self.drained(response.received_at),
            },
            (Asked::Changes, 200) => match decode::changes(&response.body, response.received_at) {
                Ok(page) => self.changes(page, response.received_at),
                Err(error) => Output::Again(error.0),
            },
            (Asked::History { until, first_at }, 200) => match decode::history(&response.body, response.received_at) {
                Ok((events, _)) => self.history(events, until, first_at),
                Err(error) => Output::Again(error.0),
            },
            // What was evicted is not to be had here either.
            (Asked::History { until, first_at }, _) => self.skip_to(until, first_at),
            (Asked::Status, 200) => {
                let page = if self.finished_at.is_some() {
                    decode::status_document(&response.body)
                } else {
                    decode::session_document(&response.body)
                };
                match page {
                    Ok(page) => self.status(page, response.received_at),
                    Err(error) => Output::Again(error.0),
                }
            }
            (_, status) => Output::Done(Finish::Failed(Failure::Status(status))),
        }
    }

    fn origin(&mut self, page: decode::StatusPage, received_at: Timestamp) -> Output {
        let mut items: Vec<Item> = self.child_of(page.parent, received_at).into_iter().collect();
        // The same document tells what the status would.
        if let Some(created_at) = self.due.adopt.take()
            && !page.children.is_empty()
        {
            items.push(self.beside(created_at, Fact::Children(page.children)));
        }
        if items.is_empty() { self.ask_changes() } else { self.commit(items, AfterCommit::Begin) }
    }

    fn child_of(&self, parent: Option<SessionId>, at: Timestamp) -> Option<Item> {
        let parent = parent.filter(|parent| *parent != self.id)?;
        Some(self.beside(at, Fact::ChildOf(parent)))
    }

    fn changes(&mut self, page: decode::ChangesPage, received_at: Timestamp) -> Output {
        self.started_at = page.started_at.or(self.started_at);
        if page.finished_at.is_some() || !page.status.is_terminal() {
            // Of a session that goes on the list may have told an end that is over.
            self.finished_at = page.finished_at;
        }
        // Servers of before do not say where the batch begins; then nothing can be said of evictions.
        let first = page.first_index.unwrap_or(self.cursor);
        if first.saturating_sub(self.cursor) > MOST_EVICTED {
            return Output::Again("a position beyond reason");
        }
        if first > self.cursor {
            return self.ask_history(first, page.events.first().map(|event| event.at));
        }
        let count = page.events.len() as u64;
        let next = (first + count).max(self.cursor);
        let was_short = count < u64::from(self.limit);
        if next == self.cursor {
            // The same as 204, but with a state.
            self.ask_status |= page.status.is_terminal();
            return self.drained(received_at);
        }
        self.told = None;
        self.gave_up = false;
        let newest = page.events.last().map(|event| event.at);
        let mut items = vec![Item::page(self.id.clone(), first, page.events)];
        self.cursor = next;
        if page.status.is_terminal() {
            self.ask_status = true;
        } else if was_short {
            // With a backlog the state would be later than the events; at its end it is the state to show.
            let since = newest.unwrap_or(received_at);
            let sighting = Sighting { status: page.status, since, started_at: self.started_at, finished_at: None };
            items.push(self.beside(received_at, Fact::Sighted(sighting)));
        }
        if !was_short {
            return self.commit(items, AfterCommit::Changes);
        }
        if self.ask_status {
            return self.commit(items, AfterCommit::Status);
        }
        if page.status == Status::Running {
            // It will move again, or end: both make it due. In a quiet status this page might be the last chance to
            // find out that the server gives less than it was asked for.
            items.push(self.read_up_to());
            return self.commit(items, AfterCommit::Done);
        }
        self.commit(items, AfterCommit::Changes)
    }

    /// The stream holds nothing past the cursor.
    fn drained(&mut self, received_at: Timestamp) -> Output {
        let Some(told) = self.told.take() else {
            if self.ask_status {
                return self.ask_status();
            }
            return self.commit(vec![self.read_up_to()], AfterCommit::Done);
        };
        let mut items: Vec<Item> = self.child_of(told.parent, received_at).into_iter().collect();
        if let Some(mut ending) = told.ending {
            ending.started_at = ending.started_at.or(self.started_at);
            ending.finished_at = ending.finished_at.or(self.finished_at);
            let at = ending.finished_at.unwrap_or(received_at);
            items.push(self.beside(at, told.totals));
            if !told.children.is_empty() {
                items.push(self.beside(at, Fact::Children(told.children)));
            }
            items.push(self.beside(at, Fact::Ended(ending)));
        }
        items.push(self.read_up_to());
        self.commit(items, AfterCommit::Done)
    }

    fn status(&mut self, page: decode::StatusPage, received_at: Timestamp) -> Output {
        if page.ending.is_some() {
            self.told = Some(page);
            return self.ask_changes();
        }
        // It was taken up again, or the list was ahead of the status: then the list shows it as ended once more.
        let started_at = page.started_at.or(self.started_at);
        let sighting = Sighting { status: page.status, since: received_at, started_at, finished_at: None };
        let mut items: Vec<Item> = self.child_of(page.parent, received_at).into_iter().collect();
        items.extend([self.beside(received_at, Fact::Sighted(sighting)), self.read_up_to()]);
        self.commit(items, AfterCommit::Done)
    }

    /// A page of `/events`: what is missing before `until` is taken from it, if its positions agree with `/changes`.
    fn history(&mut self, events: Vec<Event<SmolStr>>, until: u64, first_at: Option<Timestamp>) -> Output {
        let start = self.cursor / HISTORY_SIZE * HISTORY_SIZE;
        let place = |position: u64| usize::try_from(position - start).unwrap_or(usize::MAX);
        // Rows that are hidden from some keys could shift all positions after them: check where both overlap.
        let agrees = match (events.get(place(until)), first_at) {
            (Some(event), Some(first_at)) => event.at == first_at,
            _ => true,
        };
        let from = place(self.cursor).min(events.len());
        let to = place(until).min(events.len());
        if !agrees || from >= to {
            return self.skip_to(until, first_at);
        }
        let events = events[from..to].to_vec();
        let first = self.cursor;
        self.cursor += events.len() as u64;
        let then = if self.cursor < until { AfterCommit::History { until, first_at } } else { AfterCommit::Changes };
        self.commit(vec![Item::page(self.id.clone(), first, events)], then)
    }

    /// Gives up what is before `until`; what is there may have a time, which all of it was before.
    fn skip_to(&mut self, until: u64, before: Option<Timestamp>) -> Output {
        let item = Item::Skip { id: self.id.clone(), from: self.cursor, to: until, before };
        self.cursor = until;
        self.commit(vec![item], AfterCommit::Changes)
    }
}

/// A position as `ETag` writes it: bare digits, or quoted as the standard has it.
fn position(etag: &str) -> Option<u64> {
    etag.trim_start_matches("W/").trim_matches('"').parse().ok()
}

impl Job for Read {
    fn stage(&self) -> &'static str {
        "events"
    }

    fn next(&mut self, input: Input) -> Output {
        match input {
            Input::Begin => self.begin(),
            Input::Response(response) => self.answered(response),
            // Its turns stand below its parent's, which are told when that is read.
            Input::Committed(Receipt { unread_parent: Some(parent), .. })
                if self.after_commit == AfterCommit::Begin && !self.due.waited =>
            {
                Output::Done(Finish::Later(parent))
            }
            Input::Committed(_) => match self.after_commit {
                AfterCommit::Done => Output::Done(Finish::Well),
                AfterCommit::Begin => self.begin(),
                AfterCommit::Changes => self.ask_changes(),
                AfterCommit::Status => self.ask_status(),
                AfterCommit::History { until, first_at } => self.ask_history(until, first_at),
            },
            // A page that never arrives whole may be too much for whatever is between us.
            Input::Failed(Failure::TooLarge(_) | Failure::Transport(CUT | TIMED_OUT))
                if self.asked == Asked::Changes && self.limit > 1 =>
            {
                self.limit = (self.limit / 4).max(1);
                self.ask_changes()
            }
            Input::Failed(Failure::TooLarge(_) | Failure::Transport(_) | Failure::Status(_))
                if self.asked == Asked::Origin =>
            {
                self.begin()
            }
            Input::Failed(Failure::TooLarge(size)) => match self.asked {
                // A single event that is too large is given up, rather than everything after it; a second one only once
                // there was time to see whether it is the platform that answers so whatever it is asked.
                Asked::Changes if !self.gave_up => {
                    self.gave_up = true;
                    self.skip_to(self.cursor + 1, None)
                }
                Asked::History { until, first_at } => self.skip_to(until, first_at),
                _ => Output::Done(Finish::Failed(Failure::TooLarge(size))),
            },
            Input::Failed(failure) => Output::Done(Finish::Failed(failure)),
            // Only told to jobs that find sessions.
            Input::Crowded => self.ask_changes(),
        }
    }
}
