//! Requests and answers as plain values, so that the platform can be asked without sockets.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::timestamp::http_date;

/// The `Server` header of every answer: nobody may take it for the real platform.
pub const SERVER_NAME: &str = "agent-session-exporter-simulator";

/// What a caller asks.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, percent-encoded as received, without the query.
    pub path: String,
    /// The raw query without the question mark; empty if there is none.
    pub query: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `X-Org-Id` header.
    pub organization: Option<String>,
}

impl Request {
    /// A GET with a bearer token.
    pub fn get(path_and_query: &str, key: &str) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            authorization: Some(format!("Bearer {key}")),
            organization: None,
        }
    }
}

/// What the platform answers, and how badly.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Headers without `Content-Length`, lower-case names.
    pub headers: Vec<(&'static str, String)>,
    /// The whole body.
    pub body: Bytes,
    /// Let this time pass before sending.
    pub delay: Option<Duration>,
    /// Announce the whole body but drop the connection after this many bytes.
    pub cut: Option<usize>,
    /// A long poll that has nothing to say yet; ask again with [`super::respond_again`].
    pub wait: Option<Wait>,
}

/// Until when a long poll may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Answer with what there is at this time.
    pub deadline_us: i64,
    /// When the next event will happen, if any ever does.
    pub next_event_us: Option<i64>,
}

impl Response {
    /// An answer without a body.
    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), delay: None, cut: None, wait: None }
    }

    /// A body of some media type.
    pub(super) fn body(status: u16, media_type: &str, body: impl Into<Bytes>) -> Self {
        Self::empty(status).with(Self::CONTENT_TYPE, media_type).with_body(body.into())
    }

    /// A JSON document.
    pub(super) fn json(status: u16, document: &impl Serialize) -> Self {
        let body = serde_json::to_vec(document).expect("documents have string keys and no fallible serializers");
        Self::body(status, "application/json", body)
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| *known == name);
        header.map(|(_, value)| value.as_str())
    }

    /// Adds the headers that every answer has.
    pub(super) fn signed(self, now_us: i64) -> Self {
        self.with("server", SERVER_NAME).with("date", http_date(now_us))
    }

    const CONTENT_TYPE: &'static str = "content-type";

    fn with_body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }
}
