//! What every request passes before it is looked at, and every answer on its way out: the limit on requests, the users,
//! the headers that were asked for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::caller::Caller;
use super::respond::{self, Answer};
use super::users::{Users, Verdict};

/// Replaced as a whole when what it is made from changes. By default it is open to everybody, without TLS.
#[derive(Default)]
pub struct Door {
    pub(super) tls: Option<TlsAcceptor>,
    users: Option<Users>,
    headers: Vec<(HeaderName, HeaderValue)>,
    limit: Option<Bucket>,
}

impl Door {
    /// Only for connections that are secured so.
    #[must_use]
    pub fn secured(self, tls: Arc<rustls::ServerConfig>) -> Self {
        Self { tls: Some(TlsAcceptor::from(tls)), ..self }
    }

    /// Only for these users, by name and bcrypt hash, if there are any.
    #[must_use]
    pub fn known_to(self, users: Vec<(String, SecretString)>) -> Self {
        Self { users: (!users.is_empty()).then(|| Users::new(users)), ..self }
    }

    /// Puts these headers on every answer, in place of our own.
    #[must_use]
    pub fn with_headers(self, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { headers, ..self }
    }

    /// For `burst` requests at once and one more after each interval.
    #[must_use]
    pub fn limited(self, interval: Duration, burst: usize) -> Self {
        Self { limit: Some(Bucket::new(interval, burst)), ..self }
    }

    /// Whether connections are secured.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether only users are let in.
    pub fn has_users(&self) -> bool {
        self.users.is_some()
    }

    /// The answer to a request that is not let in.
    pub(super) async fn admit(&self, headers: &HeaderMap, caller: Caller) -> Result<(), Answer> {
        if self.limit.as_ref().is_some_and(|limit| !limit.take(Instant::now())) {
            return Err(respond::too_many("too many requests, see rate_limit in the web configuration"));
        }
        let Some(users) = &self.users else { return Ok(()) };
        match users.judge(headers, caller).await {
            Verdict::Admitted => Ok(()),
            Verdict::Crowded => Err(respond::too_many("too many passwords to check, come again in a second")),
            Verdict::Refused => {
                let mut answer = respond::text(StatusCode::UNAUTHORIZED, "a user name and password are needed");
                let challenge = HeaderValue::from_static("Basic realm=\"agent-session-exporter\", charset=\"UTF-8\"");
                answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                Err(answer)
            }
        }
    }

    /// Puts the headers on an answer.
    pub(super) fn dress(&self, answer: &mut Answer) {
        for (name, value) in &self.headers {
            answer.headers_mut().insert(name, value.clone());
        }
    }
}

/// Requests that may still be made. On tokio's clock, so that tests can run it in no time.
struct Bucket {
    interval: Duration,
    burst: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    fn new(interval: Duration, burst: usize) -> Self {
        let burst = burst as f64;
        Self { interval, burst, state: Mutex::new((burst, Instant::now())) }
    }

    fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock().expect("nobody panics while holding it");
        let (tokens, counted_at) = *state;
        let earned = now.saturating_duration_since(counted_at).as_secs_f64() / self.interval.as_secs_f64();
        let tokens = (tokens + earned).min(self.burst);
        let taken = tokens >= 1.0;
        *state = (if taken { tokens - 1.0 } else { tokens }, now);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bucket_gives_its_burst_and_then_its_rate() {
        let bucket = Bucket::new(Duration::from_secs(10), 2);
        let began = Instant::now();
        let at = |seconds| bucket.take(began + Duration::from_secs(seconds));
        assert_eq!([at(0), at(0), at(0)], [true, true, false]);
        assert_eq!([at(9), at(11), at(12)], [false, true, false]);
        assert_eq!([at(1000), at(1000), at(1000)], [true, true, false], "no more than a burst is saved");
    }
}
