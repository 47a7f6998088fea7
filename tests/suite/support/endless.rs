//! A platform of H's kind with one session that has as many events as are wanted. They are made when they are asked for,
//! so that all memory is the exporter's.

use std::fmt::Write;

use agent_session_exporter::domain::Timestamp;
use agent_session_exporter::ingest::Request;
use agent_session_exporter::ingest::transport::{Answer, Answering, Transport};

use super::bench_of_one::START;

pub const ID: &str = "a1b2c3d4-e5f6-4890-abcd-000000000001";
/// Tokens of each step.
pub const TOKENS: u64 = 10;

/// An event a second, and every fourth ends a step.
pub struct Endless {
    pub events: u64,
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(START - 2_000_000_000_000 + i64::try_from(second).expect("a small number") * 1_000_000)
}

impl Endless {
    pub fn steps(&self) -> u64 {
        self.events / 4
    }

    fn event(number: u64) -> String {
        let (time, call) = (at(number), number / 4);
        let (kind, data) = match number % 4 {
            0 => (
                "AgentEvent",
                format!(
                    r#"{{"kind":"policy_event","tool_reqs":[{{"tool_name":"click","id":"call_{call}"}}],"validation_errors":[]}}"#
                ),
            ),
            1 => (
                "AgentEvent",
                format!(
                    r#"{{"kind":"tool_result","tool_req":{{"tool_name":"click","id":"call_{call}"}},"result":"ok"}}"#
                ),
            ),
            2 => ("AgentEvent", r#"{"kind":"observation_event","type":"web","text":"a page"}"#.to_owned()),
            _ => ("MetricsUpdateEvent", format!(r#"{{"metrics":{}}}"#, Self::usage(call + 1, "cost_per_model"))),
        };
        format!(r#"{{"timestamp":"{time}","type":"{kind}","data":{data}}}"#)
    }

    fn usage(steps: u64, models: &str) -> String {
        format!(r#"{{"steps":{steps},"{models}":[{{"name":"holo","input_tokens":{}}}]}}"#, steps * TOKENS)
    }

    fn answer(&self, request: &Request) -> (u16, String) {
        let number = |name: &str| {
            let value = request.query.iter().find(|(known, _)| *known == name).map(|(_, value)| value.parse());
            value.and_then(Result::ok).unwrap_or(0)
        };
        let (created, finished) = (at(0), at(self.events));
        let row = format!(
            r#"{{"id":"{ID}","agent":"a","status":"completed","created_at":"{created}","started_at":"{created}","finished_at":"{finished}"}}"#
        );
        let below = request.path.trim_start_matches("/api/v2/sessions").trim_start_matches(&format!("/{ID}"));
        match (request.endpoint, below) {
            ("sessions", _) => (200, format!(r#"{{"items":[{row}],"total":1,"page":1}}"#)),
            ("changes", _) => {
                let (from, limit): (u64, u64) = (number("from_index"), number("limit"));
                let until = self.events.min(from + limit);
                if from >= until {
                    return (204, String::new());
                }
                let mut body = format!(r#"{{"status":"completed","first_index":{from},"new_events":["#);
                for number in from..until {
                    let comma = if number == from { "" } else { "," };
                    write!(body, "{comma}{}", Self::event(number)).expect("it is memory");
                }
                body.push_str("]}");
                (200, body)
            }
            ("status", _) => {
                let totals = Self::usage(self.steps(), "usage_per_model");
                (200, totals.replacen('{', r#"{"status":"completed","subagent_session_ids":[],"#, 1))
            }
            _ => (404, r#"{"detail":"no"}"#.to_owned()),
        }
    }
}

impl Transport for Endless {
    fn get<'a>(&'a self, request: &'a Request) -> Answering<'a> {
        let (status, body) = self.answer(request);
        Box::pin(async move { Ok(Answer { status, retry_after: None, date: None, etag: None, body: body.into() }) })
    }
}
