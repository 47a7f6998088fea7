//! Where a server keeps its sessions: below which prefix, and in which of three layouts.

use super::decode;
use super::{LIST_SIZE, ORGANIZATION};
use crate::domain::SessionId;
use crate::ingest::platforms::{Account, push_segment};
use crate::ingest::{Request, Response};

/// Where sessions are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    prefix: &'static str,
    layout: Layout,
}

/// How paths are built.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Layout {
    /// All sessions in one list.
    Flat,
    /// A list per agent, within an organization (January 2026).
    ByOrganization(String),
    /// A list per agent (before).
    ByAgent,
}

impl Route {
    /// Whether one list has the sessions of all agents.
    pub(super) fn is_flat(&self) -> bool {
        self.layout == Layout::Flat
    }

    fn path(&self, agent: Option<&str>, rest: &str) -> String {
        let mut path = format!("{}/v1", self.prefix);
        if let Layout::ByOrganization(organization) = &self.layout {
            path.push_str("/orgs/");
            push_segment(&mut path, organization);
        }
        if let Some(agent) = agent {
            path.push_str("/agents/");
            push_segment(&mut path, agent);
        }
        path.push_str(rest);
        path
    }

    /// A page of agents.
    pub(super) fn agents(&self, offset: u64) -> Request {
        let query = vec![
            ("include_archived", "true".to_owned()),
            ("limit", LIST_SIZE.to_string()),
            ("offset", offset.to_string()),
        ];
        Request::new("agents", self.path(None, "/agents"), query)
    }

    /// A page of sessions; `agent` where the layout has a list per agent.
    pub(super) fn sessions(&self, agent: Option<&str>, query: Vec<(&'static str, String)>) -> Request {
        Request { speaks_for_key: true, ..Request::new("sessions", self.path(agent, "/sessions"), query) }
    }

    /// The platform's own count of sessions.
    pub(super) fn stats(&self) -> Request {
        Request::new("stats", self.path(None, "/sessions/stats"), Vec::new())
    }

    /// A question about one session; `agent` where the layout needs it.
    pub(super) fn session(
        &self,
        endpoint: &'static str,
        agent: Option<&str>,
        id: &SessionId,
        suffix: &str,
        query: Vec<(&'static str, String)>,
    ) -> Request {
        let mut path = self.path(agent, "/sessions/");
        push_segment(&mut path, &id.to_string());
        path.push_str(suffix);
        Request::new(endpoint, path, query)
    }
}

/// Finds the route by asking for it, one possibility after the other.
#[derive(Debug)]
pub(super) struct Probe {
    ahead: Vec<Route>,
    trying: Option<Route>,
}

impl Probe {
    pub(super) fn new(account: &Account) -> Self {
        let mut ahead: Vec<Route> = candidates(account);
        ahead.reverse();
        Self { ahead, trying: None }
    }

    /// The possibility that is to be tried now, until it was answered; `None` if there is none left.
    pub(super) fn ask(&mut self) -> Option<Request> {
        let route = self.trying.take().or_else(|| self.ahead.pop())?;
        let request = route.question();
        self.trying = Some(route);
        Some(request)
    }

    /// What the answer means: the route, or that the next possibility is to be tried.
    pub(super) fn answered(&mut self, response: &Response) -> Option<Route> {
        // A page for people answers 200 to everything, too.
        let fits = response.status == 200 && decode::list(&response.body).is_ok();
        self.trying.take().filter(|_| fits)
    }
}

impl Route {
    /// The request whose answer shows whether this is how the server does it.
    pub(super) fn question(&self) -> Request {
        if self.is_flat() { self.sessions(None, vec![("limit", "1".to_owned())]) } else { self.agents(0) }
    }
}

/// Every route a server may have, the newest layout first.
pub(super) fn candidates(account: &Account) -> Vec<Route> {
    // The server's own prefix is `/api` unless it was told otherwise; a base URL may say so or not.
    let prefixes: &[&'static str] = if account.base_url.ends_with("/api") { &[""] } else { &["", "/api"] };
    let organization = account.setting(ORGANIZATION);
    let mut layouts = vec![Layout::Flat];
    if !organization.is_empty() {
        layouts.push(Layout::ByOrganization(organization.to_owned()));
    }
    layouts.push(Layout::ByAgent);
    let route = |layout: &Layout| prefixes.iter().map(|prefix| Route { prefix, layout: layout.clone() }).collect();
    layouts.iter().flat_map(|layout| -> Vec<Route> { route(layout) }).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::Timestamp;

    fn account(base_url: &str, organization: &str) -> Account {
        let mut account = Account::new(Timestamp::default());
        account.base_url = base_url.to_owned();
        account.settings.insert(ORGANIZATION, organization.to_owned());
        account
    }

    fn paths(account: &Account) -> Vec<String> {
        candidates(account).iter().map(|route| route.question().path).collect()
    }

    fn answer(status: u16, body: &'static str) -> Response {
        let body = Bytes::from_static(body.as_bytes());
        let now = Timestamp::default();
        Response::new(status, body, now)
    }

    #[test]
    fn a_base_url_may_say_the_prefix_or_not() {
        let short = ["/v1/sessions", "/v1/agents"];
        assert_eq!(paths(&account("https://app.everruns.com/api", "")), short);
        let both = ["/v1/sessions", "/api/v1/sessions", "/v1/agents", "/api/v1/agents"];
        assert_eq!(paths(&account("http://localhost:9000", "")), both);
    }

    #[test]
    fn where_an_organization_is_named_its_path_is_tried_too() {
        let paths = paths(&account("https://app.everruns.com/api", "org_1/2"));
        assert_eq!(paths, ["/v1/sessions", "/v1/orgs/org_1%2F2/agents", "/v1/agents"]);
    }

    #[test]
    fn only_a_list_is_taken_for_one() {
        let mut probe = Probe::new(&account("http://localhost:9000", ""));
        let pages = [
            answer(200, "<!doctype html><title>Everruns</title>"),
            answer(404, r#"{"data":[]}"#),
            answer(200, r#"{"data":[]}"#),
        ];
        let mut asked = Vec::new();
        let mut found = Vec::new();
        for page in &pages {
            asked.push(probe.ask().expect("there is another one").path);
            found.push(probe.answered(page));
        }
        assert_eq!(asked, ["/v1/sessions", "/api/v1/sessions", "/v1/agents"]);
        assert_eq!(found[..2], [None, None]);
        let route = found[2].clone().expect("the last one is a list");
        assert!(!route.is_flat());
        let id = SessionId::new("a/../b");
        let request = route.session("events", Some("an agent"), &id, "/events", Vec::new());
        assert_eq!(request.path, "/v1/agents/an%20agent/sessions/a%2F..%2Fb/events");
    }

    #[test]
    fn when_everything_was_tried_there_is_no_question_left() {
        let mut probe = Probe::new(&account("https://app.everruns.com/api", ""));
        for _ in 0..2 {
            let question = probe.ask();
            assert_eq!(question, probe.ask(), "a question that was not answered is asked again");
            assert_eq!(probe.answered(&answer(500, "")), None);
        }
        assert_eq!(probe.ask(), None);
    }
}
