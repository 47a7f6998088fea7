//! Asks for a session's own document: H's word on its status, steps and tokens. It has no cost.

use super::{decode, of_session};
use crate::domain::{Fact, SessionId};
use crate::ingest::{Failure, Heard, Inquiry, Next, Statement, Used};

/// One question.
pub(super) struct Inquire {
    id: SessionId,
}

impl Inquire {
    pub(super) fn new(id: &SessionId) -> Self {
        Self { id: id.clone() }
    }
}

fn statement(page: decode::StatusPage) -> Statement {
    let (steps, models) = match page.totals {
        Fact::Totals { steps, models } => (steps, models),
        _ => (None, Vec::new()),
    };
    let ending = page.ending.as_ref();
    Statement {
        status: page.status,
        // Lists know when it was last active; the document does not.
        mark: None,
        finished_at: ending.and_then(|ending| ending.finished_at),
        steps,
        usage: Used::ByModel(models),
        error: ending.and_then(|ending| ending.error.clone()),
        verdict: ending.and_then(|ending| ending.verdict),
        children: Some(page.children),
    }
}

impl Inquiry for Inquire {
    fn next(&mut self, heard: Heard) -> Next {
        match heard {
            Heard::Begin => Next::Fetch(of_session("session", &self.id, "", Vec::new())),
            Heard::Response(response) => match response.status {
                200..300 => match decode::session_document(&response.body) {
                    Ok(page) => Next::Told(Box::new(statement(page))),
                    Err(error) => Next::Again(error.0),
                },
                404 | 410 => Next::Unknown,
                status => Next::Failed(Failure::Status(status)),
            },
            Heard::Failed(failure) => Next::Failed(failure),
        }
    }
}
