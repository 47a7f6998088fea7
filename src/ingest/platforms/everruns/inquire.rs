//! Asks for a session's own row: Everruns' word on its status and on the sum of what its calls used.

use std::sync::Arc;

use smol_str::SmolStr;

use super::route::Probe;
use super::{LIST_SIZE, Learnt, decode, locked};
use crate::domain::{SessionId, Usage};
use crate::ingest::platforms::Account;
use crate::ingest::{Failure, Heard, Inquiry, Next, Response, Statement, Used};

/// One question, and what has to be known to put it: where the server keeps sessions, and on old ones below which agent.
pub(super) struct Inquire {
    id: SessionId,
    /// The session's agent, as its label has it.
    agent: SmolStr,
    learnt: Arc<Learnt>,
    probe: Probe,
    /// Agents that were listed, on servers where sessions are kept below them.
    listed: u64,
    /// Agents below which the session may be; the likeliest last. `None` while they are not listed.
    homes: Option<Vec<SmolStr>>,
    asked: Asked,
    /// Costs are told of calls that are not read.
    without_cost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Route,
    Agents,
    Session,
}

impl Inquire {
    pub(super) fn new(account: &Account, learnt: Arc<Learnt>, id: &SessionId, agent: &str, without_cost: bool) -> Self {
        Self {
            id: id.clone(),
            agent: SmolStr::new(agent),
            learnt,
            probe: Probe::new(account),
            listed: 0,
            homes: None,
            asked: Asked::Route,
            without_cost,
        }
    }

    fn ask(&mut self) -> Next {
        let Some(route) = self.learnt.route() else {
            self.asked = Asked::Route;
            return match self.probe.ask() {
                Some(request) => Next::Fetch(request),
                None => Next::Failed(Failure::Status(404)),
            };
        };
        if route.is_flat() {
            self.asked = Asked::Session;
            return Next::Fetch(route.session("session", None, &self.id, "", Vec::new()));
        }
        let Some(homes) = &mut self.homes else {
            self.asked = Asked::Agents;
            return Next::Fetch(route.agents(self.listed));
        };
        self.asked = Asked::Session;
        match homes.pop() {
            Some(home) => Next::Fetch(route.session("session", Some(&home), &self.id, "", Vec::new())),
            None => Next::Unknown,
        }
    }

    fn answered(&mut self, response: &Response) -> Next {
        match (self.asked, response.status) {
            (Asked::Route, _) => {
                if let Some(route) = self.probe.answered(response) {
                    *locked(&self.learnt.route) = Some(route);
                }
                self.ask()
            }
            (Asked::Agents, 200) => match decode::agents(&response.body) {
                Ok(page) => self.agents(page),
                Err(error) => Next::Again(error.0),
            },
            (Asked::Session, 200) => match decode::session(&response.body) {
                Ok((listed, usage)) => Next::Told(Box::new(self.statement(&listed, usage))),
                Err(error) => Next::Again(error.0),
            },
            // Below another agent, perhaps.
            (Asked::Session, 404 | 410) if self.homes.is_some() => self.ask(),
            (Asked::Session, 404 | 410) => Next::Unknown,
            (_, status) => Next::Failed(Failure::Status(status)),
        }
    }

    /// A page of agents: first all of them are needed.
    fn agents(&mut self, page: decode::AgentPage) -> Next {
        self.listed += page.len as u64;
        let mut known = locked(&self.learnt.agents);
        known.extend(page.agents);
        if page.len as u64 >= LIST_SIZE && page.total.is_none_or(|total| self.listed < total) {
            drop(known);
            return self.ask();
        }
        let mut homes: Vec<(bool, SmolStr)> =
            known.iter().map(|(id, name)| (*name == self.agent || *id == self.agent, id.clone())).collect();
        drop(known);
        homes.sort();
        self.homes = Some(homes.into_iter().map(|(_, id)| id).collect());
        self.ask()
    }

    fn statement(&self, listed: &decode::Listed, usage: Option<Usage>) -> Statement {
        let usage = usage.map(|usage| Usage { cost: usage.cost.filter(|_| !self.without_cost), ..usage });
        Statement {
            status: listed.row.sighting.status,
            mark: Some(listed.row.mark),
            finished_at: None,
            steps: None,
            usage: usage.map_or(Used::Unsaid, Used::OfCalls),
            error: None,
            verdict: None,
            children: None,
        }
    }
}

impl Inquiry for Inquire {
    fn next(&mut self, heard: Heard) -> Next {
        match heard {
            Heard::Begin => self.ask(),
            Heard::Response(response) => self.answered(&response),
            Heard::Failed(failure) => Next::Failed(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::Timestamp;

    /// Asks about session `s` of agent `two`; a server answers by path. Gives the paths and how it ended.
    fn asked(answer: impl Fn(&str) -> (u16, &'static str)) -> (Vec<String>, Next) {
        let account = Account::new(Timestamp::default());
        let id = SessionId::new("s");
        let mut inquire = Inquire::new(&account, Arc::new(Learnt::default()), &id, "two", false);
        let (mut paths, mut heard) = (Vec::new(), Heard::Begin);
        loop {
            match inquire.next(heard) {
                Next::Fetch(request) => {
                    let (status, body) = answer(&request.path);
                    let (now, body) = (Timestamp::default(), Bytes::from_static(body.as_bytes()));
                    let response = Response::new(status, body, now);
                    heard = Heard::Response(response);
                    paths.push(request.path);
                }
                end => return (paths, end),
            }
        }
    }

    const LIST: &str = r#"{"data":[],"total":0,"limit":1}"#;
    const SESSION: &str = r#"{"id":"s","status":"idle","created_at":"2026-11-20T14:30:00Z"}"#;
    const AGENTS: &str = r#"{"data":[{"id":"1","name":"one"},{"id":"2","name":"two"},{"id":"3","name":"three"}]}"#;

    #[test]
    fn a_session_is_told_or_unknown_or_cannot_be_asked_for() {
        let of = |status: u16, body: &'static str| {
            asked(|path| match path {
                "/v1/sessions" => (200, LIST),
                "/v1/sessions/s" => (status, body),
                _ => (404, ""),
            })
            .1
        };
        assert!(matches!(of(200, SESSION), Next::Told(_)));
        assert!(matches!(of(200, "<html>"), Next::Again(_)));
        assert_eq!([404, 410].map(|status| of(status, "")), [Next::Unknown, Next::Unknown]);
        assert_eq!(of(500, ""), Next::Failed(Failure::Status(500)));
        assert_eq!(asked(|_| (404, "")).1, Next::Failed(Failure::Status(404)), "no list of sessions anywhere");
    }

    #[test]
    fn on_old_servers_it_is_looked_for_below_every_agent_its_own_first() {
        let below = |path: &str, home: &str| match path.split('/').collect::<Vec<_>>()[..] {
            ["", "v1", "agents"] => (200, AGENTS),
            ["", "v1", "agents", agent, "sessions", "s"] if agent == home => (200, SESSION),
            _ => (404, ""),
        };
        let agents = |paths: &[String]| -> String {
            paths
                .iter()
                .filter(|path| path.ends_with("/sessions/s"))
                .map(|path| &path["/v1/agents/".len()..][..1])
                .collect()
        };
        let (paths, end) = asked(|path| below(path, "2"));
        assert!(matches!(end, Next::Told(_)));
        assert_eq!(agents(&paths), "2");
        let (paths, end) = asked(|path| below(path, "1"));
        assert!(matches!(end, Next::Told(_)), "{paths:?}");
        assert!(agents(&paths).starts_with('2') && agents(&paths).ends_with('1'));
        let (paths, end) = asked(|path| below(path, "9"));
        assert_eq!((agents(&paths).len(), end), (3, Next::Unknown));
    }
}
