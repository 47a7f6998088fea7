//! Asks for a few sessions of the store, to notice a key of another account before it mixes two accounts' numbers.

use super::of_session;
use crate::domain::SessionId;
use crate::ingest::{Failure, Finish, Input, Job, Output};

/// One question per session until one is known.
pub(super) struct Recognise {
    known: Vec<SessionId>,
}

impl Recognise {
    pub(super) fn new(known: &[SessionId]) -> Self {
        Self { known: known.to_vec() }
    }

    fn ask(&mut self) -> Output {
        match self.known.pop() {
            Some(id) => Output::Fetch(of_session("status", &id, "/status", Vec::new())),
            // Sessions are deleted after a while; all of the newest ones at once never are.
            None => Output::Done(Finish::Failed(Failure::ForeignAccount)),
        }
    }
}

impl Job for Recognise {
    fn stage(&self) -> &'static str {
        "status"
    }

    fn next(&mut self, input: Input) -> Output {
        match input {
            Input::Begin => self.ask(),
            Input::Response(response) if response.status == 404 => self.ask(),
            Input::Response(response) if response.status < 300 => Output::Done(Finish::Well),
            Input::Response(response) => Output::Done(Finish::Failed(Failure::Status(response.status))),
            Input::Failed(failure) => Output::Done(Finish::Failed(failure)),
            Input::Committed(_) | Input::Crowded => Output::Done(Finish::Well),
        }
    }
}
