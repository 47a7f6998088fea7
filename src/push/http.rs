//! OTLP over HTTP: a POST of one protobuf message, and what its answer means.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use secrecy::ExposeSecret;

use super::client::{Answer, Destination, MOST_ANSWER, Outcome, PushError, Signal, USER_AGENT as OURS};
use crate::connection::reason;

/// A collector, over HTTP.
pub(super) struct Http {
    client: reqwest::Client,
    url: reqwest::Url,
    gzip: bool,
}

impl Http {
    pub(super) fn new(destination: &Destination, signal: Signal) -> Result<Self, PushError> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(OURS));
        for (name, value) in &destination.headers {
            let refused = || PushError::Header(name.clone());
            let name = HeaderName::try_from(name.to_ascii_lowercase()).map_err(|_| refused())?;
            let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| refused())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(destination.trust.client_config()?)
            .default_headers(headers)
            .timeout(destination.timeout)
            // A redirect could carry the headers to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| PushError::Client(error.without_url().to_string()))?;
        let url = reqwest::Url::parse(&destination.url).map_err(|_| PushError::Endpoint(signal.name()))?;
        Ok(Self { client, url, gzip: destination.gzip })
    }

    pub(super) async fn post<M: Message, A: Message + Answer + Default>(&self, message: &M) -> Outcome {
        let body = message.encode_to_vec();
        let mut request = self.client.post(self.url.clone());
        request = if self.gzip {
            request.header(CONTENT_ENCODING, "gzip").body(compressed(&body))
        } else {
            request.body(body)
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_timeout() => return Outcome::Retry { after: None, reason: "timed out" },
            Err(error) => return Outcome::Retry { after: None, reason: reason(&error, !error.is_connect()) },
        };
        let after = retry_after(response.headers());
        // The statuses that the OTLP specification calls retryable; all others are for good.
        match response.status().as_u16() {
            200..300 => {
                let mut answer = Vec::new();
                loop {
                    match response.chunk().await {
                        Ok(Some(chunk)) if answer.len() + chunk.len() <= MOST_ANSWER => {
                            answer.extend_from_slice(&chunk);
                        }
                        Ok(None) => break,
                        // It was taken all the same; only what it says about it is lost.
                        _ => return Outcome::Accepted { rejected: 0, warned: false },
                    }
                }
                A::decode(&*answer).unwrap_or_default().outcome()
            }
            429 => Outcome::Retry { after, reason: "throttled" },
            502..=504 => Outcome::Retry { after, reason: "unavailable" },
            300..400 => Outcome::Refused { reason: "redirected" },
            401 | 403 => Outcome::Refused { reason: "not authorized" },
            404 => Outcome::Refused { reason: "not found" },
            413 => Outcome::TooLarge,
            400..500 => Outcome::Refused { reason: "refused" },
            _ => Outcome::Refused { reason: "server error" },
        }
    }
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// Seconds, or a date, which is taken relative to the collector's own clock. A date without that tells nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let value: &str = text(RETRY_AFTER)?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| jiff::fmt::rfc2822::parse(&text.replace("GMT", "+0000")).ok();
    let (until, now) = (date(value)?, date(text(DATE)?)?);
    until.timestamp().duration_since(now.timestamp()).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_as_long_as_asked() {
        for (value, expected) in [
            ("7", Some(Duration::from_secs(7))),
            (" 0 ", Some(Duration::ZERO)),
            ("Sun, 22 Nov 2026 06:00:30 GMT", Some(Duration::from_secs(30))),
            ("Sun, 22 Nov 2026 05:00:30 GMT", None),
            ("-1", None),
            ("soon", None),
        ] {
            let pairs = [(RETRY_AFTER, value), (DATE, "Sun, 22 Nov 2026 06:00:00 GMT")];
            let headers = pairs.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect();
            assert_eq!(retry_after(&headers), expected, "{value}");
        }
        let alone = [(RETRY_AFTER, "Sun, 22 Nov 2026 06:00:30 GMT".parse().unwrap())].into_iter().collect();
        assert_eq!(retry_after(&alone), None, "by whose clock?");
    }
}
