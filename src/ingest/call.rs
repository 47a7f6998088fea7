//! One question to a platform and what came of it.

use bytes::Bytes;
use smol_str::SmolStr;
use thiserror::Error;

use crate::domain::{Span, Timestamp};

/// A GET request below a source's base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The kind of call, as the label `endpoint` names it; holds no id.
    pub endpoint: &'static str,
    /// The path below the base URL, beginning with a slash, already percent-encoded.
    pub path: String,
    /// Query parameters in order; a name may come more than once.
    pub query: Vec<(&'static str, String)>,
    /// Whether a refusal (403) of it means that the key is good for nothing, rather than that this one thing is not
    /// ours to read.
    pub speaks_for_key: bool,
    /// The largest answer that is wanted, in bytes; a larger one is [`Failure::TooLarge`].
    pub at_most: u64,
}

/// The largest body that is read into memory at once.
pub const MAX_BODY: u64 = 64 << 20;

impl Request {
    /// A request about one thing, with an answer of any size that fits.
    pub fn new(endpoint: &'static str, path: String, query: Vec<(&'static str, String)>) -> Self {
        Self { endpoint, path, query, speaks_for_key: false, at_most: MAX_BODY }
    }
}

/// An answer that arrived whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The `ETag` header.
    pub etag: Option<SmolStr>,
    /// The body, decompressed.
    pub body: Bytes,
    /// Our time when the request was sent.
    pub asked_at: Timestamp,
    /// Our time when the body had arrived.
    pub received_at: Timestamp,
    /// How long that took; also where our clock was put back meanwhile.
    pub took: Span,
    /// The platform's own time, where it says so: whole seconds.
    pub date: Option<Timestamp>,
}

impl Response {
    /// One that came at once, and says no more than this.
    pub fn new(status: u16, body: impl Into<Bytes>, at: Timestamp) -> Self {
        let body = body.into();
        Self { status, etag: None, body, asked_at: at, received_at: at, took: Span::ZERO, date: None }
    }
}

/// A [`Failure::Transport`]: no answer in time.
pub const TIMED_OUT: &str = "timed out";
/// A [`Failure::Transport`]: the answer broke off.
pub const CUT: &str = "answer cut off";

/// Why no usable answer came, after all attempts.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Failure {
    /// The platform does not accept the key.
    #[error("key not accepted (HTTP {0}): check the source's api_key and that it belongs to this base_url's region")]
    KeyRefused(u16),
    /// The platform asked for fewer requests, again and again.
    #[error("throttled (HTTP 429): lower requests_per_second or lengthen poll_interval")]
    Throttled,
    /// The platform failed.
    #[error("the platform answered HTTP {0}")]
    Status(u16),
    /// Nothing usable arrived: no connection, a time-out, a cut body.
    #[error("no answer: {0}")]
    Transport(&'static str),
    /// The body is larger than we are ready to read.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
    /// None of the sessions in the store can be seen with this key.
    #[error(
        "none of the sessions in the store can be seen with this key: it belongs to another account; give this source \
         another name or the exporter another --storage.path"
    )]
    ForeignAccount,
    /// Its sessions are counted already.
    #[error("its sessions are those of source {0}: two sources on one account would count everything twice; keep one")]
    CountedTwice(String),
    /// What was read could not be stored; the platform has no part in it.
    #[error("what was read is not stored")]
    Unsaved,
    /// A whole body that is not what the platform documents.
    #[error("the answer could not be understood: {0}")]
    Nonsense(&'static str),
}

impl Failure {
    /// A short label that holds nothing of the answer.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::KeyRefused(_) => "key not accepted",
            Self::Throttled => "throttled",
            Self::Status(300..400) => "redirected: is base_url right?",
            Self::Status(404) => "not found: is base_url right?",
            Self::Status(400..500) => "request refused",
            Self::Status(_) => "server error",
            Self::Transport(what) => what,
            Self::TooLarge(_) => "answer too large",
            Self::ForeignAccount => "the key belongs to another account than the store",
            Self::CountedTwice(_) => "another source watches the same account",
            Self::Unsaved => "not stored",
            Self::Nonsense(_) => "answer not understood",
        }
    }
}
