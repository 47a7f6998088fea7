//! The conversation a platform leads with its API, without IO.

use super::call::{Failure, Request, Response};
use crate::domain::{Item, Receipt, SessionId};

/// What a job is told.
#[derive(Debug)]
pub enum Input {
    /// Begin.
    Begin,
    /// The answer to its request. Statuses 2xx, and such 4xx as speak of the request itself (400, 404, 409, 422, ...).
    Response(Response),
    /// No answer came.
    Failed(Failure),
    /// Its request was not sent: more sessions than is good wait to be read. Only told to jobs that find sessions, once
    /// per request; asked for again, it is sent.
    Crowded,
    /// What it asked to commit is durable.
    Committed(Receipt),
}

/// What a job wants next.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this and tell the answer.
    Fetch(Request),
    /// The last answer was cut or garbled; ask again, if attempts are left.
    Again(&'static str),
    /// Make this durable; it comes from the last answer.
    Commit(Vec<Item>),
    /// It is over.
    Done(Finish),
}

/// How a job ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Finish {
    /// It did what it was for.
    Well,
    /// What it needs to know is known when this other session was read: its own is read after that. Said once only.
    Later(SessionId),
    /// It could not.
    Failed(Failure),
}

/// A conversation. Asked again and again until it says [`Output::Done`].
pub trait Job: Send {
    /// The next move, given what came of the last one.
    fn next(&mut self, input: Input) -> Output;

    /// Which stage of a source's health its success speaks for: `sessions`, `events` or `limits`.
    fn stage(&self) -> &'static str;
}
