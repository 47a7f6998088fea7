//! Reads one session's events, from the cursor to the end, on servers that each page in their own way.
//!
//! The newest servers go forward from `after_sequence` by `limit`. Some take `limit` for the last so many; older ones
//! ignore `after_sequence` and go by the id of an event. Each shows what it is by its answers: by events from before the
//! cursor, or by a page that begins later without a limit than it does with one. Numbers may be left out, and a number
//! may become visible after a later one: what is missing just before a very young event is waited for.

use std::sync::Arc;

use smol_str::SmolStr;

use super::decode;
use super::events::Placed;
use super::{EVENTS_LIMIT, Learnt, locked};
use crate::domain::{Due, Event, Fact, Item, SessionId, Span, Timestamp};
use crate::ingest::{CUT, Failure, Finish, Input, Job, MAX_BODY, Output, Request, Response, TIMED_OUT};

/// A page larger than this is asked for in smaller pieces.
const PAGE_BYTES: u64 = 16 << 20;
/// So young an event may have become visible before one with a lower number.
const UNSETTLED: Span = Span::from_secs(5);
/// How many numbers may be missing before the first event of a session that was never read.
const LEGAL_HEAD: u64 = 2;

/// The reading of one session.
pub(super) struct Read {
    id: SessionId,
    due: Due,
    learnt: Arc<Learnt>,
    skip_generations: bool,
    cursor: u64,
    /// The id of the event before the cursor.
    bookmark: Option<SmolStr>,
    limit: u32,
    asked: Asked,
    /// What comes once the last commit is durable.
    then: Then,
    /// The stream was read from its beginning in this reading.
    reread: bool,
    /// The bookmark led nowhere.
    bookmark_failed: bool,
    /// An event was given up because it was too large, and none was read since.
    gave_up: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// The first so many after the cursor.
    After { limit: Option<u32> },
    /// The same without a limit: did the limit take the last ones? It gave events from this position on.
    Unlimited { limited_from: u64 },
    /// Whether the event before the cursor is still there; if not, what is missing up to here was taken away.
    Before { first: u64 },
    /// Everything after the bookmark.
    Since,
    /// Everything.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Done,
    More,
}

impl Read {
    pub(super) fn new(due: &Due, learnt: Arc<Learnt>, skip_generations: bool) -> Self {
        Self {
            id: due.id.clone(),
            cursor: due.cursor,
            bookmark: due.bookmark.clone(),
            limit: learnt.events_limit(),
            asked: Asked::All,
            then: Then::More,
            reread: false,
            bookmark_failed: false,
            gave_up: false,
            skip_generations,
            due: due.clone(),
            learnt,
        }
    }

    /// Asks for what follows the cursor, in the way this server is known for.
    fn ask(&mut self) -> Output {
        self.asked = if Learnt::knows(&self.learnt.by_event_id) {
            if self.bookmark.is_some() && !self.bookmark_failed { Asked::Since } else { Asked::All }
        } else {
            let unlimited = Learnt::knows(&self.learnt.no_limit);
            Asked::After { limit: (!unlimited).then_some(self.limit) }
        };
        self.fetch()
    }

    fn fetch(&mut self) -> Output {
        let mut query = Vec::new();
        let mut at_most = MAX_BODY;
        match &self.asked {
            Asked::After { limit } => {
                query.push(("after_sequence", self.cursor.to_string()));
                if let Some(limit) = limit {
                    query.push(("limit", limit.to_string()));
                    // A single event may be as large as anything we are ready to read.
                    at_most = if *limit > 1 { PAGE_BYTES } else { MAX_BODY };
                }
            }
            Asked::Unlimited { .. } => query.push(("after_sequence", self.cursor.to_string())),
            Asked::Before { .. } => {
                query.push(("after_sequence", self.cursor.saturating_sub(1).to_string()));
                query.push(("limit", "1".to_owned()));
            }
            Asked::Since => query.extend(self.bookmark.as_ref().map(|id| ("since_id", id.to_string()))),
            Asked::All => {}
        }
        if self.skip_generations && !matches!(self.asked, Asked::Before { .. }) {
            query.push(("exclude", "llm.generation".to_owned()));
        }
        let Some(route) = self.learnt.route() else {
            return Output::Done(Finish::Failed(Failure::Nonsense("where the server keeps sessions is not known yet")));
        };
        let home = locked(&self.learnt.homes).get(&self.id).cloned();
        if home.is_none() && !route.is_flat() {
            // The next round lists it with its agent, or it is gone with it.
            return Output::Done(Finish::Well);
        }
        let request = route.session("events", home.as_deref(), &self.id, "/events", query);
        Output::Fetch(Request { at_most, ..request })
    }

    fn answered(&mut self, response: Response) -> Output {
        match response.status {
            200 => match decode::events(&response.body, response.received_at) {
                Ok((events, without_place)) => {
                    if without_place > 0 {
                        tracing::warn!(events = without_place, "events without a number are left out");
                    }
                    self.events(events, &response)
                }
                Err(error) => Output::Again(error.0),
            },
            404 | 410 => self.commit(vec![Item::Gone { id: self.id.clone(), mark: self.due.mark }], Then::Done),
            400 | 422 => match self.asked {
                // Strict servers refuse an id that is gone, but hardly one that they have just given.
                Asked::Since if !self.reread => {
                    self.bookmark_failed = true;
                    self.ask()
                }
                Asked::After { .. } | Asked::Unlimited { .. } => {
                    Learnt::learn(&self.learnt.by_event_id);
                    self.ask()
                }
                Asked::Before { first } => self.lost(first),
                Asked::Since | Asked::All => Output::Done(Finish::Failed(Failure::Status(response.status))),
            },
            status => Output::Done(Finish::Failed(Failure::Status(status))),
        }
    }

    fn events(&mut self, events: Vec<Placed>, response: &Response) -> Output {
        let first = events.first().map(|placed| placed.position);
        match self.asked.clone() {
            Asked::After { .. } | Asked::Unlimited { .. } if first.is_some_and(|first| first < self.cursor) => {
                // It gave what was not asked for. What it gave is good all the same.
                Learnt::learn(&self.learnt.by_event_id);
                self.take_in(events, response, false)
            }
            Asked::After { limit: Some(limit) } => {
                if self.cursor > 0 {
                    // It was asked to leave something out, and did.
                    Learnt::learn(&self.learnt.by_sequence);
                }
                let is_full = events.len() as u64 >= u64::from(limit) || !Learnt::knows(&self.learnt.by_sequence);
                match first {
                    Some(first) if events.len() as u64 >= u64::from(limit) && first > self.cursor => {
                        self.asked = Asked::Unlimited { limited_from: first };
                        self.fetch()
                    }
                    // From the beginning every server gives the same: only what comes next shows what kind it is.
                    _ => self.take_in(events, response, !is_full || first.is_none()),
                }
            }
            Asked::After { limit: None } => {
                let is_end = events.is_empty();
                self.take_in(events, response, is_end)
            }
            Asked::Unlimited { limited_from } => {
                if first.is_some_and(|first| first < limited_from) {
                    Learnt::learn(&self.learnt.no_limit);
                }
                self.take_in(events, response, false)
            }
            Asked::Before { first: missing_until } => {
                let is_missing = |placed: &Placed| (self.cursor..missing_until).contains(&placed.position);
                if events.iter().any(is_missing) {
                    // It has become visible meanwhile.
                    self.take_in(events, response, false)
                } else if first.is_some_and(|first| first < self.cursor) {
                    self.pass(missing_until, response.received_at)
                } else {
                    self.lost(missing_until)
                }
            }
            Asked::Since if events.is_empty() && self.due.moved && !self.reread => {
                // An id whose event was archived answers so for ever: the whole stream shows whether this one does.
                self.bookmark_failed = true;
                self.ask()
            }
            Asked::Since => {
                let is_end = events.is_empty();
                self.take_in(events, response, is_end)
            }
            Asked::All => {
                self.reread = true;
                self.bookmark_failed = false;
                // Even everything may be only the first ten thousand.
                let is_end = events.last().is_none_or(|last| last.id.is_none());
                self.take_in(events, response, is_end)
            }
        }
    }

    /// Takes in what a page has past the cursor; `is_end` if the page shows that nothing follows it.
    fn take_in(&mut self, events: Vec<Placed>, response: &Response, is_end: bool) -> Output {
        let knows_last = events.first().is_some_and(|placed| placed.position < self.cursor);
        let end = events.last().and_then(|placed| placed.id.clone());
        let news: Vec<Placed> = events.into_iter().filter(|placed| placed.position >= self.cursor).collect();
        let Some(first) = news.first().map(|placed| placed.position) else {
            let before = self.bookmark.clone();
            self.bookmark = end.or(self.bookmark.take());
            // Asked again it would say the same: there is nothing after the bookmark, or the server does not go by it.
            let is_stuck = self.asked == Asked::Since && self.bookmark == before;
            return if is_end || is_stuck { self.drained() } else { self.ask() };
        };
        if first > self.cursor && !is_unsettled(&news[0].event, response.received_at) {
            if self.cursor == 0 {
                if !is_beginning(&news[0]) {
                    return self.lost(first);
                }
            } else if !knows_last && !matches!(self.asked, Asked::Since) && !self.may_be_a_generation(first) {
                self.asked = Asked::Before { first };
                return self.fetch();
            }
        }
        let from = self.cursor;
        let mut page: Vec<Event<SmolStr>> = Vec::with_capacity(news.len());
        let mut is_waiting = false;
        for placed in news {
            let missing = placed.position - self.cursor;
            if missing > 0 {
                if is_unsettled(&placed.event, response.received_at) {
                    is_waiting = true;
                    break;
                }
                page.push(Event { at: placed.event.at, fact: Fact::Passed(missing) });
            }
            self.cursor = placed.position + 1;
            self.bookmark = placed.id;
            page.push(placed.event);
        }
        self.gave_up = false;
        self.grow(&response.body, page.len());
        let mut items = Vec::new();
        if !page.is_empty() {
            // Only servers that go by ids need to be told one.
            let bookmark = self.bookmark.clone().filter(|_| Learnt::knows(&self.learnt.by_event_id));
            items.push(Item::Page { id: self.id.clone(), from, events: page, bookmark });
        }
        if is_waiting {
            // Not read to its end: the next round asks for it again.
            return self.commit(items, Then::Done);
        }
        if is_end {
            items.push(self.read_up_to());
            return self.commit(items, Then::Done);
        }
        self.commit(items, Then::More)
    }

    /// Whether the only number that is missing may be that of an event we asked to be spared.
    fn may_be_a_generation(&self, first: u64) -> bool {
        self.skip_generations && first == self.cursor + 1
    }

    /// The numbers up to `until` were never given away, or are hidden.
    fn pass(&mut self, until: u64, at: Timestamp) -> Output {
        let event = Event { at, fact: Fact::Passed(until - self.cursor) };
        let item = Item::page(self.id.clone(), self.cursor, vec![event]);
        self.cursor = until;
        self.commit(vec![item], Then::More)
    }

    /// Events up to `until` were taken away before they could be read.
    fn lost(&mut self, until: u64) -> Output {
        let item = Item::Skip { id: self.id.clone(), from: self.cursor, to: until };
        self.cursor = until;
        self.commit(vec![item], Then::More)
    }

    fn drained(&mut self) -> Output {
        let item = self.read_up_to();
        self.commit(vec![item], Then::Done)
    }

    fn read_up_to(&self) -> Item {
        let Due { mark, rests, tokens, .. } = self.due;
        Item::ReadUpTo { id: self.id.clone(), mark, rests, tokens }
    }

    fn commit(&mut self, items: Vec<Item>, then: Then) -> Output {
        self.then = then;
        Output::Commit(items)
    }

    /// Pages that came out small may be longer again.
    fn grow(&mut self, body: &[u8], events: usize) {
        if self.limit < EVENTS_LIMIT && events as u64 >= u64::from(self.limit) && (body.len() as u64) < PAGE_BYTES / 8 {
            self.limit = (self.limit * 2).min(EVENTS_LIMIT);
            self.learnt.set_events_limit(self.limit);
        }
    }

    fn too_large(&mut self, failure: Failure) -> Output {
        match self.asked {
            Asked::After { limit: Some(limit) } if limit > 1 => {
                self.limit = (limit / 4).max(1);
                self.learnt.set_events_limit(self.limit);
                self.ask()
            }
            // A single event that is too large is given up, rather than everything after it; a second one only once
            // there was time to see whether it is the platform that answers so whatever it is asked.
            Asked::After { limit: Some(_) } if matches!(failure, Failure::TooLarge(_)) && !self.gave_up => {
                self.gave_up = true;
                self.lost(self.cursor + 1)
            }
            // Without pages there is only one way to make an answer smaller.
            Asked::After { limit: None } | Asked::Since | Asked::All if !self.skip_generations => {
                self.skip_generations = true;
                self.fetch()
            }
            _ => Output::Done(Finish::Failed(failure)),
        }
    }
}

/// Whether it is so young that one with a lower number may still become visible. A clock that is far off says nothing.
fn is_unsettled(event: &Event<SmolStr>, now: Timestamp) -> bool {
    let age = now.since(event.at).or_else(|| event.at.since(now));
    age.is_some_and(|age| age < UNSETTLED)
}

/// Whether a stream can begin so: with what begins every session, and hardly a number missing before it.
fn is_beginning(first: &Placed) -> bool {
    first.position <= LEGAL_HEAD && matches!(first.event.fact, Fact::Message | Fact::Noted)
}

impl Job for Read {
    fn stage(&self) -> &'static str {
        "events"
    }

    fn next(&mut self, input: Input) -> Output {
        match input {
            // Only jobs that find sessions are told of crowds.
            Input::Begin | Input::Crowded => self.ask(),
            Input::Response(response) => self.answered(response),
            Input::Committed(_) => match self.then {
                Then::Done => Output::Done(Finish::Well),
                Then::More => self.ask(),
            },
            // A page that never arrives whole may be too much for whatever is between us.
            Input::Failed(failure @ (Failure::TooLarge(_) | Failure::Transport(CUT | TIMED_OUT))) => {
                self.too_large(failure)
            }
            Input::Failed(failure) => Output::Done(Finish::Failed(failure)),
        }
    }
}

#[cfg(test)]
mod tests;
