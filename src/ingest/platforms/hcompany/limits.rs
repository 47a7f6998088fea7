//! Asks what the account is allowed and how much of it is in use.

use std::sync::Arc;

use super::{Learnt, decode};
use crate::domain::{Item, Limits};
use crate::ingest::{Failure, Finish, Input, Job, Output, Request};

/// One round of questions about limits.
pub(super) struct AskLimits {
    learnt: Arc<Learnt>,
    limits: Limits,
    asked: Asked,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Sessions,
    Tokens,
    Commit,
}

impl AskLimits {
    pub(super) fn new(learnt: Arc<Learnt>) -> Self {
        Self { learnt, limits: Limits::default(), asked: Asked::Sessions }
    }

    fn tokens_or_commit(&mut self) -> Output {
        if Learnt::knows(&self.learnt.token_quota) {
            self.asked = Asked::Tokens;
            return Output::Fetch(Request {
                endpoint: "quota_tokens",
                path: "/api/v2/quota/tokens".into(),
                query: Vec::new(),
            });
        }
        self.commit()
    }

    fn commit(&mut self) -> Output {
        self.asked = Asked::Commit;
        Output::Commit(vec![Item::Limits(std::mem::take(&mut self.limits))])
    }
}

impl Job for AskLimits {
    fn stage(&self) -> &'static str {
        "limits"
    }

    fn next(&mut self, input: Input) -> Output {
        let response = match input {
            Input::Begin => {
                return Output::Fetch(Request {
                    endpoint: "quota",
                    path: "/api/v2/sessions/quota".into(),
                    query: Vec::new(),
                });
            }
            Input::Committed(_) => return Output::Done(Finish::Well),
            Input::Failed(failure) => return Output::Done(Finish::Failed(failure)),
            Input::Response(response) => response,
        };
        match (self.asked, response.status) {
            (Asked::Sessions, 200) => match decode::quota(&response.body) {
                Ok(limit) => {
                    self.limits.concurrency = Some(limit);
                    self.tokens_or_commit()
                }
                Err(error) => Output::Again(error.0),
            },
            (Asked::Tokens, 200) => match decode::token_quota(&response.body) {
                Ok(limit) => {
                    self.limits.tokens = Some(limit);
                    self.commit()
                }
                Err(error) => Output::Again(error.0),
            },
            (Asked::Tokens, 404) => {
                Learnt::forget(&self.learnt.token_quota);
                self.commit()
            }
            (_, status) => Output::Done(Finish::Failed(Failure::Status(status))),
        }
    }
}
