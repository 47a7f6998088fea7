//! How one request gets to the platform and back: over HTTP, or in tests straight into a simulator.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{DATE, ETAG, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use smol_str::SmolStr;
use thiserror::Error;

use super::{MAX_BODY, Request};
use crate::domain::Timestamp;
use crate::tls::{TlsError, Trust};

/// A whole answer, of whatever status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// How long the platform asks us to wait.
    pub retry_after: Option<Duration>,
    /// The platform's clock.
    pub date: Option<Timestamp>,
    /// The `ETag` header.
    pub etag: Option<SmolStr>,
    /// The body, decompressed.
    pub body: Bytes,
}

/// Why there is no whole answer. Holds nothing of what was sent or received.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TransportError {
    /// No connection could be made.
    #[error("cannot connect")]
    Connect,
    /// No answer in time.
    #[error("timed out")]
    Timeout,
    /// The answer broke off.
    #[error("answer cut off")]
    Cut,
    /// More than we are ready to read.
    #[error("answer larger than {limit} bytes")]
    TooLarge {
        /// What was asked for at most.
        limit: u64,
        /// What had arrived before that was known.
        read: u64,
    },
}

/// A pending answer.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, TransportError>> + Send + 'a>>;

/// Sends requests to one account.
pub trait Transport: Send + Sync {
    /// Sends one request and reads the whole answer.
    fn get<'a>(&'a self, request: &'a Request) -> Answering<'a>;
}

/// HTTP with a bearer token.
pub struct Http {
    client: reqwest::Client,
    base_url: String,
    key: SecretString,
    max_body: u64,
}

/// Why no client could be made.
#[derive(Debug, Error)]
pub enum HttpError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client cannot be built.
    #[error("cannot set up the HTTP client: {0}")]
    Client(String),
}

impl Http {
    /// A client for the account with this key below `base_url` (which has no trailing slash and may have a path); these
    /// headers go with every request.
    pub fn new(
        base_url: &str,
        key: SecretString,
        headers: &[(&'static str, String)],
        timeout: Duration,
    ) -> Result<Self, HttpError> {
        let mut always = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value)
                .map_err(|_| HttpError::Client(format!("the value for {name} cannot be a header")))?;
            always.insert(*name, value);
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(Trust::default().client_config()?)
            .default_headers(always)
            .user_agent(concat!("agent-session-exporter/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            // A redirect could carry the key to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| HttpError::Client(error.without_url().to_string()))?;
        Ok(Self { client, base_url: base_url.to_owned(), key, max_body: MAX_BODY })
    }

    /// The same with another limit on bodies.
    pub fn with_max_body(self, max_body: u64) -> Self {
        Self { max_body, ..self }
    }

    async fn send(&self, request: &Request) -> Result<Answer, TransportError> {
        let at_most = self.max_body.min(request.at_most);
        let mut url =
            reqwest::Url::parse(&format!("{}{}", self.base_url, request.path)).map_err(|_| TransportError::Connect)?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(request.query.iter().map(|(name, value)| (*name, value.as_str())));
        }
        let mut response = self
            .client
            .get(url)
            .bearer_auth(self.key.expose_secret())
            .send()
            .await
            .map_err(|error| if error.is_timeout() { TransportError::Timeout } else { TransportError::Connect })?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let date = header(response.headers(), &DATE).and_then(http_date);
        let etag = header(response.headers(), &ETAG).map(SmolStr::new);
        if response.content_length().is_some_and(|length| length > at_most) {
            return Err(TransportError::TooLarge { limit: at_most, read: 0 });
        }
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if (body.len() + chunk.len()) as u64 > at_most => {
                    let read = (body.len() + chunk.len()) as u64;
                    return Err(TransportError::TooLarge { limit: at_most, read });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) if error.is_timeout() => return Err(TransportError::Timeout),
                Err(_) => return Err(TransportError::Cut),
            }
        }
        Ok(Answer { status, retry_after, date, etag, body: body.freeze() })
    }
}

impl Transport for Http {
    fn get<'a>(&'a self, request: &'a Request) -> Answering<'a> {
        Box::pin(self.send(request))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// When the window of a limit ends, in seconds since the Unix epoch. H's own client goes by it where nothing else is said.
const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// How long the platform asks to be left alone: in seconds or until an HTTP date; or until the window of a limit ends.
/// Times are taken relative to the platform's own clock.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let now = || header(headers, &DATE).and_then(http_date);
    let Some(value) = header(headers, &RETRY_AFTER) else {
        let reset: i64 = header(headers, &RATE_LIMIT_RESET)?.trim().parse().ok()?;
        return Some(Timestamp::from_micros(reset.checked_mul(1_000_000)?).since(now()?)?.into());
    };
    if let Ok(seconds) = value.trim().parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(86_400.0)));
    }
    Some(http_date(value.trim())?.since(now()?)?.into())
}

fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(&text.replace("GMT", "+0000")).ok()?;
    Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn waits_as_long_as_asked() {
        for (value, expected) in [
            ("7", Some(Duration::from_secs(7))),
            ("0.5", Some(Duration::from_millis(500))),
            ("Sun, 22 Nov 2026 06:00:30 GMT", Some(Duration::from_secs(30))),
            ("Sun, 22 Nov 2026 05:00:30 GMT", None),
            ("-1", None),
            ("soon", None),
            ("NaN", None),
        ] {
            let headers = headers(&[("retry-after", value), ("date", "Sun, 22 Nov 2026 06:00:00 GMT")]);
            assert_eq!(retry_after(&headers), expected, "{value}");
        }
        assert_eq!(retry_after(&headers(&[("retry-after", "Sun, 22 Nov 2026 06:00:30 GMT")])), None, "since when?");
    }

    #[test]
    fn a_window_that_ends_is_waited_for_where_nothing_else_is_said() {
        // 2026-11-22T06:00:00Z.
        let date = ("date", "Sun, 22 Nov 2026 06:00:00 GMT");
        for (value, expected) in [
            ("1795327245", Some(Duration::from_secs(45))),
            ("1795327200", Some(Duration::ZERO)),
            ("1795320000", None),
            ("45", None),
            ("9223372036854775807", None),
        ] {
            assert_eq!(retry_after(&headers(&[("x-ratelimit-reset", value), date])), expected, "{value}");
        }
        let both = headers(&[("x-ratelimit-reset", "1795327245"), ("retry-after", "3"), date]);
        assert_eq!(retry_after(&both), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(&headers(&[("x-ratelimit-reset", "1795327245")])), None, "since when?");
    }
}
