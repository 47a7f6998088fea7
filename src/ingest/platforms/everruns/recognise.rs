//! Asks for a few sessions of the store, to notice a key of another account before it mixes two accounts' numbers.

use std::sync::Arc;

use super::route::Probe;
use super::{Learnt, locked};
use crate::domain::SessionId;
use crate::ingest::platforms::Account;
use crate::ingest::{Failure, Finish, Input, Job, Output, Response};

/// One question per session until one is known.
pub(super) struct Recognise {
    learnt: Arc<Learnt>,
    probe: Probe,
    known: Vec<SessionId>,
}

impl Recognise {
    pub(super) fn new(account: &Account, learnt: Arc<Learnt>, known: &[SessionId]) -> Self {
        Self { learnt, probe: Probe::new(account), known: known.to_vec() }
    }

    fn ask(&mut self) -> Output {
        let Some(route) = self.learnt.route() else {
            return match self.probe.ask() {
                Some(request) => Output::Fetch(request),
                None => Output::Done(Finish::Failed(Failure::Status(404))),
            };
        };
        if !route.is_flat() {
            // There a session can only be asked for by who knows its agent; such servers have no accounts to confuse.
            return Output::Done(Finish::Well);
        }
        match self.known.pop() {
            Some(id) => Output::Fetch(route.session("session", None, &id, "", Vec::new())),
            // Sessions may be deleted; all of the newest ones at once hardly are.
            None => Output::Done(Finish::Failed(Failure::ForeignAccount)),
        }
    }

    fn answered(&mut self, response: &Response) -> Output {
        if self.learnt.route().is_none() {
            if let Some(route) = self.probe.answered(response) {
                *locked(&self.learnt.route) = Some(route);
            }
            return self.ask();
        }
        match response.status {
            200..300 => Output::Done(Finish::Well),
            404 => self.ask(),
            status => Output::Done(Finish::Failed(Failure::Status(status))),
        }
    }
}

impl Job for Recognise {
    fn stage(&self) -> &'static str {
        "session"
    }

    fn next(&mut self, input: Input) -> Output {
        match input {
            Input::Begin => self.ask(),
            Input::Response(response) => self.answered(&response),
            Input::Failed(failure) => Output::Done(Finish::Failed(failure)),
            Input::Committed(_) | Input::Crowded => Output::Done(Finish::Well),
        }
    }
}
