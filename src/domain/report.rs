//! What ingest hands to the engine, and what the engine answers.

use smol_str::SmolStr;

use super::{Event, Limits, SessionId, Sighting, SourceIx, Timestamp};

/// The walk that every platform reports when a discovery came to its end, with our time when that began.
pub const DISCOVERED: &str = "discovered";

/// A fingerprint of everything a list says that changes when a session moves. Equal marks: nothing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Mark(pub u64);

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
    /// The list cannot tell whether this session moves, so it has to be read every time.
    pub always_due: bool,
}

/// One thing learnt from a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A list row.
    Row(Row),
    /// Part of a session's stream: the events at positions `from..from + events.len()`.
    Page {
        /// Which session.
        id: SessionId,
        /// Position of the first event.
        from: u64,
        /// The events, in order, without holes.
        events: Vec<Event<SmolStr>>,
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
    },
    /// A session's stream was read to its end, as the list stood at `mark`.
    ReadUpTo {
        /// Which session.
        id: SessionId,
        /// The list's fingerprint before the reading began; `None` if no list had shown it.
        mark: Option<Mark>,
    },
    /// The platform no longer knows the session.
    Gone {
        /// Which session.
        id: SessionId,
        /// The list's fingerprint that made us ask, if a list still shows it.
        mark: Option<Mark>,
    },
    /// The list of everything that has not ended was read from end to end, beginning at this time.
    ActiveListed {
        /// Our time when the first page was asked for.
        began: Timestamp,
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
    /// When it ended, as far as lists said.
    pub finished_at: Option<Timestamp>,
    /// When it was started, as far as anything said.
    pub started_at: Option<Timestamp>,
}

/// The engine's answer once a report is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Sessions to read now.
    pub due: Vec<Due>,
    /// Rows of sessions that were not known before.
    pub discovered: u64,
}
