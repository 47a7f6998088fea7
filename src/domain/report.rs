//! What ingest hands to the engine, and what the engine answers.

use smol_str::SmolStr;

use super::{Event, Limits, SessionId, Sighting, SourceIx, Status, Timestamp};

/// The walk that every platform reports when a discovery came to its end, with our time when that began.
pub const DISCOVERED: &str = "discovered";

/// The length of an inherited head when the platform does not tell it: everything older than the session itself.
pub const COPIED_UNTIL_BORN: u64 = u64::MAX;

/// A fingerprint of everything a list says that changes when a session moves. Equal marks: nothing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Mark(pub u64);

/// How closely a session has to be watched, given what its platform's lists tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Watch {
    /// It may move without its row changing: it is read in every round.
    EachRound,
    /// It is read when its row has changed.
    OnChange,
    /// The same, and nothing happens in it before its row changes: once read it can be put away.
    AtRest,
}

/// What a list last said of a session's movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Listing {
    /// Fingerprint of its movement.
    pub mark: Mark,
    /// How closely it has to be watched.
    pub watch: Watch,
    /// The tokens, of all kinds and models, that the platform counts for it.
    pub tokens: Option<u64>,
    /// Its state.
    pub sighting: Sighting,
}

/// A session as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which session.
    pub id: SessionId,
    /// Its agent's name, as the platform writes it.
    pub agent: SmolStr,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its state.
    pub sighting: Sighting,
    /// Fingerprint of its movement.
    pub mark: Mark,
    /// How closely it has to be watched.
    pub watch: Watch,
    /// The status that every session of its platform begins in, where nothing else tells that it did.
    pub born: Option<Status>,
    /// So many positions at the head of its stream are copies of another session's.
    pub inherited: u64,
    /// The tokens, of all kinds and models, that the platform counts for it.
    pub tokens: Option<u64>,
    /// The session that started it, where the list says so.
    pub parent: Option<SessionId>,
}

/// One thing learnt from a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A list row.
    Row(Row),
    /// Part of a session's stream: the events at `from` and the positions after it.
    Page {
        /// Which session.
        id: SessionId,
        /// Position of the first event.
        from: u64,
        /// The events, in order, without holes.
        events: Vec<Event<SmolStr>>,
        /// What the platform wants to be told to go on after them; opaque. `None` if the position is enough.
        bookmark: Option<SmolStr>,
    },
    /// Facts beside the stream.
    Beside {
        /// Which session.
        id: SessionId,
        /// The facts; times are the platform's where it gives any.
        events: Vec<Event<SmolStr>>,
    },
    /// Events `from..to` of a session's stream can no longer be read.
    Skip {
        /// Which session.
        id: SessionId,
        /// The first lost position.
        from: u64,
        /// The first position that can be read again.
        to: u64,
        /// When the event there happened: the lost ones were before it. `None` if that is not known.
        before: Option<Timestamp>,
    },
    /// A session's stream was read to its end, as the list stood at `mark`.
    ReadUpTo {
        /// Which session.
        id: SessionId,
        /// The list's fingerprint before the reading began; `None` if no list had shown it.
        mark: Option<Mark>,
        /// Nothing more is to be expected before that fingerprint changes.
        rests: bool,
        /// The tokens that the platform counted for it then.
        tokens: Option<u64>,
    },
    /// The platform no longer knows the session.
    Gone {
        /// Which session.
        id: SessionId,
        /// The list's fingerprint that made us ask, if a list still shows it.
        mark: Option<Mark>,
    },
    /// The lists of a round are read: what is not settled and was in none of them may have to be asked for by name.
    RoundListed {
        /// Our time when the first page was asked for.
        began: Timestamp,
        /// They show everything that has not ended. Otherwise they show what has moved, and who was in none of them
        /// has not.
        shows_all: bool,
    },
    /// Everything the platform has was listed: what is known and not among it has to be asked for by name.
    AllListed {
        /// Every session that was in a list.
        seen: std::collections::HashSet<SessionId>,
    },
    /// How far a walk over a list has come; given back after a restart.
    Walked {
        /// The walk's name.
        walk: &'static str,
        /// Every session before this is known.
        until: Timestamp,
    },
    /// The account's limits.
    Limits(Limits),
}

/// Everything learnt from one answer; committed as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose answer.
    pub source: SourceIx,
    /// Our time when it was asked for.
    pub asked_at: Timestamp,
    /// Our time when it had arrived.
    pub received_at: Timestamp,
    /// What it said.
    pub items: Vec<Item>,
}

/// A session whose stream has to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which session.
    pub id: SessionId,
    /// The next position to read.
    pub cursor: u64,
    /// The list's fingerprint that made it due; `None` if it was missing from the list.
    pub mark: Option<Mark>,
    /// Set for a session that is older than counting, the first time it is read: what it has by then is its past.
    pub adopt: Option<Timestamp>,
    /// Whether the list says that it has ended.
    pub ended: bool,
    /// Since when nothing happens in it, if a list shows it ended or at rest.
    pub quiet_since: Option<Timestamp>,
    /// When it ended, as far as lists said.
    pub finished_at: Option<Timestamp>,
    /// When it was started, as far as anything said.
    pub started_at: Option<Timestamp>,
    /// The list shows it at rest.
    pub rests: bool,
    /// Its row has changed since it was last read to the end.
    pub moved: bool,
    /// The tokens that the platform counts for it.
    pub tokens: Option<u64>,
    /// What the platform wants to be told to go on at `cursor`.
    pub bookmark: Option<SmolStr>,
    /// It was put off once already until others were read.
    pub waited: bool,
}

/// The engine's answer once a report is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Sessions to read now.
    pub due: Vec<Due>,
    /// Rows of sessions that were not known before.
    pub discovered: u64,
    /// Who started the session that was told so, if that one was not yet read up to when it did.
    pub unread_parent: Option<SessionId>,
}

impl Row {
    /// A row that says no more than this.
    pub fn new(id: SessionId, agent: SmolStr, created_at: Timestamp, sighting: Sighting, mark: Mark) -> Self {
        Self {
            id,
            agent,
            created_at,
            sighting,
            mark,
            watch: Watch::OnChange,
            born: None,
            inherited: 0,
            tokens: None,
            parent: None,
        }
    }
}

impl Due {
    /// A session to be read on from here, of which nothing else is known.
    pub fn new(id: SessionId, cursor: u64) -> Self {
        Self {
            id,
            cursor,
            mark: None,
            adopt: None,
            ended: false,
            quiet_since: None,
            finished_at: None,
            started_at: None,
            rests: false,
            moved: false,
            tokens: None,
            bookmark: None,
            waited: false,
        }
    }
}

impl Item {
    /// Part of a stream, on a platform that goes by positions.
    pub fn page(id: SessionId, from: u64, events: Vec<Event<SmolStr>>) -> Self {
        Self::Page { id, from, events, bookmark: None }
    }

    /// The end of a stream, on a platform whose sessions end.
    pub fn read_up_to(id: SessionId, mark: Option<Mark>) -> Self {
        Self::ReadUpTo { id, mark, rests: false, tokens: None }
    }
}
