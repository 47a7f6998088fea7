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
            return Output::Fetch(Request::new("quota_tokens", "/api/v2/quota/tokens".into(), Vec::new()));
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
                return Output::Fetch(Request::new("quota", "/api/v2/sessions/quota".into(), Vec::new()));
            }
            Input::Committed(_) | Input::Crowded => return Output::Done(Finish::Well),
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
            // Not every key may see its limits: sessions can be watched all the same.
            (Asked::Sessions, 403 | 404) => self.tokens_or_commit(),
            (Asked::Tokens, 403 | 404) => {
                Learnt::forget(&self.learnt.token_quota);
                self.commit()
            }
            (_, status) => Output::Done(Finish::Failed(Failure::Status(status))),
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::domain::Timestamp;
    use crate::ingest::Response;

    fn answer(status: u16, body: &'static str) -> Input {
        Input::Response(Response::new(status, body, Timestamp::default()))
    }

    fn asked(output: &Output) -> &'static str {
        match output {
            Output::Fetch(request) => request.endpoint,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_limit_that_a_key_may_not_see_does_not_hide_the_other() {
        let mut job = AskLimits::new(Arc::default());
        assert_eq!(asked(&job.next(Input::Begin)), "quota");
        assert_eq!(asked(&job.next(answer(403, "{}"))), "quota_tokens");
        let Output::Commit(items) = job.next(answer(200, r#"{"limit": 7, "used": 3}"#)) else { panic!("no commit") };
        let [Item::Limits(limits)] = &items[..] else { panic!("{items:?}") };
        assert!(limits.concurrency.is_none() && limits.tokens.is_some_and(|tokens| tokens.used == Some(3)));

        let mut job = AskLimits::new(Arc::default());
        job.next(Input::Begin);
        job.next(answer(200, r#"{"scope": "org", "limit": 5, "active": 1}"#));
        let Output::Commit(items) = job.next(answer(403, "{}")) else { panic!("no commit") };
        let [Item::Limits(limits)] = &items[..] else { panic!("{items:?}") };
        assert!(limits.concurrency.is_some() && limits.tokens.is_none());
        assert_eq!(job.next(Input::Committed(Default::default())), Output::Done(Finish::Well));
    }
}
