//! How one request gets to the platform and back: over HTTP, or in tests straight into a simulator.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{DATE, ETAG, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use smol_str::SmolStr;
use thiserror::Error;

use super::{MAX_BODY, Request};
use crate::connection;
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

impl Answer {
    /// By how many seconds the platform's clock is ahead of ours, if it tells, having been asked and heard at these times.
    pub fn skew(&self, asked_at: Timestamp, received_at: Timestamp) -> Option<f64> {
        // The header counts whole seconds: on average half of one has passed.
        let theirs = self.date?.seconds() + 0.5;
        Some(theirs - f64::midpoint(asked_at.seconds(), received_at.seconds()))
    }
}

/// Why there is no whole answer. Holds nothing of what was sent or received.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TransportError {
    /// No connection could be made, or it was lost before anything came.
    #[error("{0}")]
    Connect(&'static str),
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

/// Who asks.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Whoever it is.
    Nobody,
    /// A bearer token.
    Key(SecretString),
    /// A name and a password.
    User(String, SecretString),
}

/// HTTP with credentials.
pub struct Http {
    client: reqwest::Client,
    base_url: String,
    credentials: Credentials,
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
        Self::of(Self::client(&Trust::default(), timeout)?.default_headers(always), base_url, Credentials::Key(key))
    }

    /// A client for a running exporter, over connections that are secured so; on this machine without the proxy that the
    /// environment names.
    pub fn to_exporter(
        base_url: &str,
        credentials: Credentials,
        trust: &Trust,
        timeout: Duration,
    ) -> Result<Self, HttpError> {
        let client = Self::client(trust, timeout)?;
        Self::of(if is_here(base_url) { client.no_proxy() } else { client }, base_url, credentials)
    }

    fn client(trust: &Trust, timeout: Duration) -> Result<reqwest::ClientBuilder, HttpError> {
        Ok(reqwest::Client::builder()
            .tls_backend_preconfigured(trust.client_config()?)
            .user_agent(concat!("agent-session-exporter/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            // A redirect could carry the key to another host.
            .redirect(reqwest::redirect::Policy::none()))
    }

    fn of(client: reqwest::ClientBuilder, base_url: &str, credentials: Credentials) -> Result<Self, HttpError> {
        let client = client.build().map_err(|error| HttpError::Client(error.without_url().to_string()))?;
        Ok(Self { client, base_url: base_url.to_owned(), credentials })
    }

    async fn send(&self, request: &Request) -> Result<Answer, TransportError> {
        let at_most = MAX_BODY.min(request.at_most);
        let mut url = reqwest::Url::parse(&format!("{}{}", self.base_url, request.path))
            .map_err(|_| TransportError::Connect(connection::CANNOT_CONNECT))?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(request.query.iter().map(|(name, value)| (*name, value.as_str())));
        }
        let asked = self.client.get(url);
        let asked = match &self.credentials {
            Credentials::Nobody => asked,
            Credentials::Key(key) => asked.bearer_auth(key.expose_secret()),
            Credentials::User(name, password) => asked.basic_auth(name, Some(password.expose_secret())),
        };
        let mut response = asked.send().await.map_err(|error| match error.is_timeout() {
            true => TransportError::Timeout,
            false => TransportError::Connect(connection::reason(&error, !error.is_connect())),
        })?;
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

/// Whether a URL leads to this very machine, where no proxy could find what we mean.
fn is_here(url: &str) -> bool {
    let url = reqwest::Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
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

    #[tokio::test]
    async fn of_an_answer_that_is_too_large_no_more_is_read_than_is_allowed() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = [
            "content-length: 10\r\n\r\n0123456789",
            "content-length: 11\r\n\r\n0123456789+",
            "transfer-encoding: chunked\r\n\r\nb\r\n0123456789+\r\n0\r\n\r\n",
        ];
        let answering = async {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                // Its end, as nothing follows the head.
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{answer}").as_bytes()).await.unwrap();
            }
        };
        let http = Http::to_exporter(&url, Credentials::Nobody, &Trust::default(), Duration::from_secs(30)).unwrap();
        let request = Request { at_most: 10, ..Request::new("list", "/".into(), Vec::new()) };
        let asking = async {
            assert_eq!(http.get(&request).await.unwrap().body, "0123456789");
            let told = http.get(&request).await;
            assert!(matches!(told, Err(TransportError::TooLarge { limit: 10, read: 0 })), "{told:?}");
            let untold = http.get(&request).await;
            assert!(matches!(untold, Err(TransportError::TooLarge { limit: 10, read: 11 })), "{untold:?}");
        };
        tokio::join!(answering, asking);
    }

    #[test]
    fn no_proxy_stands_before_this_machine() {
        for url in ["http://127.0.0.1:17377", "http://127.9.9.9", "http://[::1]:1", "http://LocalHost:17377"] {
            assert!(is_here(url), "{url}");
        }
        for url in ["http://10.0.0.1:17377", "http://localhost.example", "https://exporter", "127.0.0.1:17377", ""] {
            assert!(!is_here(url), "{url}");
        }
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
