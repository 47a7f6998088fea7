//! How every answer is put together: its type, its length, and the headers that all of them share.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use serde_json::json;

pub(super) type Answer = Response<Full<Bytes>>;

/// Nothing is loaded from anywhere and nothing runs: styles stand in the page and the icon is empty.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'";

/// An answer of any type. All of it is about this moment, so none of it is to be stored on the way.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// A line of text.
pub(super) fn text(status: StatusCode, line: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// A page.
pub(super) fn page(status: StatusCode, html: String) -> Answer {
    let mut answer = answer(status, "text/html; charset=utf-8", html);
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    answer
}

/// JSON that is ready.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Answer {
    answer(status, "application/json", body)
}

/// What is wrong with a call of the API.
pub(super) fn json_error(status: StatusCode, error: &str) -> Answer {
    json(status, json!({ "error": error }).to_string().into_bytes())
}

/// What a HEAD request gets: the same, and its length, but for the body.
pub(super) fn without_body(answer: &mut Answer) {
    let length = answer.body().size_hint().exact().unwrap_or_default();
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    *answer.body_mut() = Full::default();
}

/// Somebody asks for too much at once.
pub(super) fn too_many(line: &str) -> Answer {
    let mut answer = text(StatusCode::TOO_MANY_REQUESTS, line);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// Somebody asks for more at once than is made for one caller.
pub(super) fn crowded() -> Answer {
    too_many("too many requests at once from your address, come again in a second")
}

/// The path is right and the method is not.
pub(super) fn wrong_method() -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed here");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}
