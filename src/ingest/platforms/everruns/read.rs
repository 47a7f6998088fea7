//! Reads one session's events, from the cursor to the end, on servers that each page in their own way.
//!
//! The newest servers go forward from `after_sequence` by `limit`. Some take `limit` for the last so many; older ones
//! ignore `after_sequence` and go by the id of an event. Each shows what it is by its answers: by events from before the
//! cursor, or by a page that begins elsewhere when another limit is asked for. Numbers may be left out, and a number may
//! become visible after a later one: what is missing just before a very young event is waited for.

use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use super::decode;
use super::events::Placed;
use super::{EVENTS_LIMIT, Learnt, Paging, locked};
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
    /// The next page is asked for without generations: one is too large.
    spare_generation: bool,
    cursor: u64,
    /// The id of the event before the cursor.
    bookmark: Bookmark,
    limit: u32,
    asked: Asked,
    /// A page whose meaning depends on what another limit brings.
    held: Option<Page>,
    then: Then,
    /// An event was given up because it was too large, and none was read since.
    gave_up: bool,
}

/// A page of events and what there is to know of its arrival.
struct Page {
    events: Vec<Placed>,
    bytes: u64,
    /// The platform's time, as near as can be told.
    now: Timestamp,
    /// How long it took to arrive: it may show what there was so long before.
    took: Span,
    /// Nothing follows it.
    is_end: bool,
}

/// Where a server that goes by ids is asked to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bookmark {
    id: Option<SmolStr>,
    /// Something followed it, or it was just given.
    works: bool,
    /// The stream was read from its beginning: there is no other way to try.
    reread: bool,
    /// The position after it: an answer that leads no further leads nowhere.
    reached: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// What follows the cursor, the first so many of it.
    After { limit: Option<u32> },
    /// The same with another limit: is the first one that it gives still this?
    Otherwise { first: u64, limit: u32 },
    /// Whether the event before the cursor is still there; if not, what is missing up to here was taken away.
    Before { first: u64, at: Timestamp, limit: Option<u32> },
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
            bookmark: Bookmark { id: due.bookmark.clone(), ..Bookmark::default() },
            limit: learnt.events_limit(),
            asked: Asked::All,
            held: None,
            then: Then::More,
            gave_up: false,
            skip_generations,
            spare_generation: false,
            due: due.clone(),
            learnt,
        }
    }

    /// Asks for what follows the cursor, in the way this server is known for.
    fn ask(&mut self) -> Output {
        self.asked = match self.learnt.paging() {
            Paging::ById if self.bookmark.id.is_some() => Asked::Since,
            Paging::ById => Asked::All,
            Paging::LastOnes => Asked::After { limit: None },
            Paging::Unknown | Paging::BySequence | Paging::Forward => {
                Asked::After { limit: Some(if self.spare_generation { 1 } else { self.limit }) }
            }
        };
        self.fetch()
    }

    fn fetch(&mut self) -> Output {
        let mut query = Vec::new();
        let mut at_most = MAX_BODY;
        match self.asked {
            Asked::After { limit } => {
                query.push(("after_sequence", self.cursor.to_string()));
                if let Some(limit) = limit {
                    query.push(("limit", limit.to_string()));
                    // A single event may be as large as anything we are ready to read.
                    at_most = if limit > 1 { PAGE_BYTES } else { MAX_BODY };
                }
            }
            Asked::Otherwise { limit, .. } => {
                query.extend([("after_sequence", self.cursor.to_string()), ("limit", limit.to_string())]);
            }
            Asked::Before { limit, .. } => {
                query.push(("after_sequence", self.cursor.saturating_sub(1).to_string()));
                query.extend(limit.map(|limit| ("limit", limit.to_string())));
            }
            Asked::Since => query.extend(self.bookmark.id.as_ref().map(|id| ("since_id", id.to_string()))),
            Asked::All => {}
        }
        let spares = self.skip_generations || self.spare_generation;
        if spares && !matches!(self.asked, Asked::Before { .. }) {
            query.push(("exclude", "llm.generation".to_owned()));
        }
        let Some(route) = self.learnt.route() else {
            return Output::Done(Finish::Failed(Failure::Nonsense("where the server keeps sessions is not known yet")));
        };
        let (home, is_complete) = {
            let homes = locked(&self.learnt.homes);
            (homes.agents.get(&self.id).cloned(), homes.is_complete)
        };
        if home.is_none() && !route.is_flat() {
            // No agent lists it: it is gone, or the next round says where it is.
            return if is_complete { self.gone() } else { Output::Done(Finish::Well) };
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
                    let bytes = response.body.len() as u64;
                    let now = response.date.unwrap_or(response.received_at);
                    self.events(Page { events, bytes, now, took: response.took, is_end: false })
                }
                Err(error) => Output::Again(error.0),
            },
            404 | 410 if is_the_platforms(&response.body) => self.gone(),
            400 | 422 => match self.asked {
                // Strict servers refuse an id that is gone.
                Asked::Since => self.read_anew(Failure::Status(response.status)),
                Asked::After { .. } | Asked::Otherwise { .. } => {
                    self.learnt.set_paging(Paging::ById);
                    self.ask()
                }
                Asked::Before { first, at, .. } => self.lost(first, Some(at)),
                Asked::All => Output::Done(Finish::Failed(Failure::Status(response.status))),
            },
            status => Output::Done(Finish::Failed(Failure::Status(status))),
        }
    }

    fn events(&mut self, page: Page) -> Output {
        let first = page.events.first().map(|placed| placed.position);
        match self.asked {
            Asked::After { .. } | Asked::Otherwise { .. } if first.is_some_and(|first| first < self.cursor) => {
                // It gave what was not asked for. What it gave is good all the same.
                self.learnt.set_paging(Paging::ById);
                self.bookmark.reread = true;
                self.take_in(page)
            }
            Asked::After { limit: Some(limit) } => {
                if self.cursor > 0 && self.learnt.paging() == Paging::Unknown {
                    // It was asked to leave something out, and did.
                    self.learnt.set_paging(Paging::BySequence);
                }
                let is_full = page.events.len() as u64 >= u64::from(limit);
                match first {
                    // Forward there may be a gap, or these are the last ones.
                    Some(first) if is_full && first > self.cursor && self.learnt.paging() != Paging::Forward => {
                        self.held = Some(page);
                        self.asked = Asked::Otherwise { first, limit: if limit == 1 { 2 } else { 1 } };
                        self.fetch()
                    }
                    // From the beginning every server gives the same: only what comes next shows what kind it is. Another
                    // reader may have found out meanwhile that the limit means nothing here.
                    _ => {
                        let heeds_limits = matches!(self.learnt.paging(), Paging::BySequence | Paging::Forward);
                        self.take_in(Page { is_end: first.is_none() || (!is_full && heeds_limits), ..page })
                    }
                }
            }
            Asked::After { limit: None } => self.take_in(Page { is_end: page.events.is_empty(), ..page }),
            Asked::Otherwise { first: before, limit } => {
                let is_same = first == Some(before);
                // Of a single event the first is the last one, too.
                let tells = self.held.as_ref().is_some_and(|held| held.events.len().max(page.events.len()) > 1);
                if is_same && tells {
                    self.learnt.set_paging(Paging::Forward);
                } else if first > Some(before) || (!is_same && limit > 1) {
                    // A lower one with fewer events has become visible meanwhile, and says nothing. With more events it may be
                    // the last but one; to read without a limit is right either way.
                    self.learnt.set_paging(Paging::LastOnes);
                }
                match self.held.take().filter(|_| is_same) {
                    Some(mut held) => {
                        // What has become visible meanwhile is as good.
                        held.events.extend(page.events);
                        held.events.sort_by_key(|placed| placed.position);
                        held.events.dedup_by_key(|placed| placed.position);
                        self.take_in(held)
                    }
                    None => self.ask(),
                }
            }
            Asked::Before { first: missing_until, at, .. } => {
                let is_missing = |placed: &Placed| (self.cursor..missing_until).contains(&placed.position);
                if page.events.iter().any(is_missing) {
                    // It has become visible meanwhile.
                    self.take_in(page)
                } else if first.is_some_and(|first| first < self.cursor) {
                    self.pass(missing_until, page.now)
                } else {
                    self.lost(missing_until, Some(at))
                }
            }
            Asked::Since if page.events.is_empty() => {
                // An id whose event was archived answers so for ever. The whole stream shows whether this one does.
                if self.due.moved && !self.bookmark.works {
                    return self.read_anew(Failure::Nonsense("the server does not go on from its own events"));
                }
                self.take_in(Page { is_end: true, ..page })
            }
            Asked::Since => {
                self.bookmark.works = true;
                self.take_in(page)
            }
            Asked::All => {
                self.bookmark = Bookmark { works: true, reread: true, ..Bookmark::default() };
                // Even everything may be only the first ten thousand.
                let is_end = page.events.last().is_none_or(|last| last.id.is_none());
                self.take_in(Page { is_end, ..page })
            }
        }
    }

    /// The bookmark leads nowhere: reads the stream from its beginning, if that was not done.
    fn read_anew(&mut self, failure: Failure) -> Output {
        if self.bookmark.reread {
            return Output::Done(Finish::Failed(failure));
        }
        self.bookmark.id = None;
        self.ask()
    }

    /// Takes in what a page has past the cursor.
    fn take_in(&mut self, page: Page) -> Output {
        let Page { events, bytes, now, took, is_end } = page;
        let knows_last = events.first().is_some_and(|placed| placed.position < self.cursor);
        let last = events.last().map(|placed| (placed.position + 1, placed.id.clone()));
        let news: Vec<Placed> = events.into_iter().filter(|placed| placed.position >= self.cursor).collect();
        let Some(first) = news.first() else {
            return match last {
                Some((reached, id)) if !is_end && id.is_some() && reached > self.bookmark.reached => {
                    // Nothing new yet: on from where it ends.
                    self.bookmark = Bookmark { id, reached, works: true, ..self.bookmark };
                    self.ask()
                }
                Some(_) if !is_end && self.asked == Asked::Since => {
                    Output::Done(Finish::Failed(Failure::Nonsense("the server does not go on from its own events")))
                }
                _ if is_end => self.drained(),
                _ => self.ask(),
            };
        };
        if first.position > self.cursor && !is_unsettled(first, now, took) {
            let (first, at) = (first.position, first.event.at);
            if self.cursor == 0 {
                if !is_beginning(&news[0]) {
                    return self.lost(first, Some(at));
                }
            } else if knows_last || self.asked == Asked::Since || self.may_be_a_generation(first) {
                // What was there before is there still: the numbers between were left out.
            } else if self.asked == Asked::All {
                return self.lost(first, Some(at));
            } else {
                // Where a limit may take the last ones, it would leave out the one that is asked for.
                let limit = (self.learnt.paging() == Paging::Forward).then_some(1);
                self.asked = Asked::Before { first, at, limit };
                return self.fetch();
            }
        }
        let from = self.cursor;
        let mut page: Vec<Event<SmolStr>> = Vec::with_capacity(news.len());
        let mut is_waiting = false;
        for placed in news {
            let missing = placed.position - self.cursor;
            if missing > 0 {
                if is_unsettled(&placed, now, took) {
                    is_waiting = true;
                    break;
                }
                page.push(Event { at: placed.event.at, fact: Fact::Passed(missing) });
            }
            self.cursor = placed.position + 1;
            self.bookmark.id = placed.id;
            self.bookmark.reached = self.cursor;
            self.bookmark.works = true;
            page.push(placed.event);
        }
        self.gave_up = false;
        self.spare_generation = false;
        self.learnt.went_on(&self.id);
        self.grow(bytes, page.len());
        let mut items = Vec::new();
        if !page.is_empty() {
            // Only servers that go by ids need to be told one.
            let bookmark = self.bookmark.id.clone().filter(|_| self.learnt.paging() == Paging::ById);
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
        (self.skip_generations || self.spare_generation) && first == self.cursor + 1
    }

    /// The numbers up to `until` were never given away, or are hidden.
    fn pass(&mut self, until: u64, at: Timestamp) -> Output {
        let event = Event { at, fact: Fact::Passed(until - self.cursor) };
        let item = Item::page(self.id.clone(), self.cursor, vec![event]);
        self.cursor = until;
        self.commit(vec![item], Then::More)
    }

    /// Events up to `until`, before this time, were taken away before they could be read.
    fn lost(&mut self, until: u64, before: Option<Timestamp>) -> Output {
        let item = Item::Skip { id: self.id.clone(), from: self.cursor, to: until, before };
        self.cursor = until;
        self.commit(vec![item], Then::More)
    }

    fn gone(&mut self) -> Output {
        self.commit(vec![Item::Gone { id: self.id.clone(), mark: self.due.mark }], Then::Done)
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
    fn grow(&mut self, bytes: u64, events: usize) {
        if self.limit < EVENTS_LIMIT && events as u64 >= u64::from(self.limit) && bytes < PAGE_BYTES / 8 {
            self.limit = (self.limit * 2).min(EVENTS_LIMIT);
            self.learnt.set_events_limit(self.limit);
        }
    }

    fn too_large(&mut self, failure: Failure) -> Output {
        let spares = self.skip_generations || self.spare_generation;
        match self.asked {
            Asked::After { limit: Some(limit) } if limit > 1 => {
                self.limit = (limit / 4).max(1);
                self.learnt.set_events_limit(self.limit);
                self.ask()
            }
            // What else can be done costs something. Answers may break off by chance; at the same place in a
            // second reading it is no chance.
            _ if !matches!(failure, Failure::TooLarge(_)) && !self.learnt.breaks_off_again(&self.id, self.cursor) => {
                Output::Done(Finish::Failed(failure))
            }
            Asked::Otherwise { limit: 2, .. } => {
                // Two are too many: what a limit takes shows without one, too.
                self.held = None;
                self.asked = Asked::After { limit: None };
                self.fetch()
            }
            // What is so large is a prompt: the end of the thinking stands for it.
            Asked::After { limit: Some(_) } | Asked::Otherwise { .. } if !spares => {
                self.held = None;
                self.spare_generation = true;
                self.ask()
            }
            Asked::Before { first, at, limit } if limit != Some(1) => {
                self.asked = Asked::Before { first, at, limit: Some(1) };
                self.fetch()
            }
            // What is there cannot be asked for: better one count of losses too many than a session that stands still.
            Asked::Before { first, at, .. } => self.lost(first, Some(at)),
            // Anything else so large is given up, rather than everything after it; a second one only once there was time
            // to see whether it is the platform that answers so whatever it is asked.
            Asked::After { limit: Some(_) } if matches!(failure, Failure::TooLarge(_)) && !self.gave_up => {
                self.gave_up = true;
                self.lost(self.cursor + 1, None)
            }
            // Without pages there is only one way to make an answer smaller.
            Asked::After { limit: None } | Asked::Since | Asked::All if !spares => {
                self.skip_generations = true;
                self.fetch()
            }
            _ => Output::Done(Finish::Failed(failure)),
        }
    }
}

/// Whether it was so young when it was shown that one with a lower number could still become visible. One without a time
/// says nothing, nor does one from a future that no difference of clocks explains.
fn is_unsettled(placed: &Placed, now: Timestamp, took: Span) -> bool {
    let at = placed.event.at;
    let is_young = match now.since(at) {
        Some(age) => age.micros() < UNSETTLED.micros().saturating_add(took.micros()),
        None => at.since(now).is_some_and(|ahead| ahead < UNSETTLED),
    };
    placed.is_timed && is_young
}

/// Whether a stream can begin so: with what begins every session, and hardly a number missing before it.
fn is_beginning(first: &Placed) -> bool {
    first.position <= LEGAL_HEAD && matches!(first.event.fact, Fact::Message | Fact::Noted)
}

/// Whether an answer can be the platform's own: a document or nothing. A page for people comes from something between.
fn is_the_platforms(body: &Bytes) -> bool {
    body.is_empty() || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
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
