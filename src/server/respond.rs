//! How every answer is put together: its type, its length, and the headers that all of them share.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use serde_json::json;

use super::line::Place;

pub(super) type Answer = Response<Payload>;

/// Bytes that are handed to a connection at once: large enough to cost nothing, small enough to tell how far it is.
const PIECE: usize = 64 * 1024;

/// A body that goes out piece by piece, so that it lasts until it is taken.
#[derive(Default)]
pub(super) struct Payload {
    rest: Bytes,
    place: Option<Place>,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// The answer keeps its caller's place until it is taken.
pub(super) fn held(mut answer: Answer, place: Place) -> Answer {
    answer.body_mut().place = Some(place);
    answer
}

/// Nothing is loaded from anywhere and nothing runs: styles stand in the page and the icon is empty.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'";

/// An answer of any type. All of it is about this moment, so none of it is to be stored on the way.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Payload { rest: body.into(), place: None });
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
    *answer.body_mut() = Payload::default();
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
pub(super) fn wrong_method(allowed: &[Method]) -> Answer {
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    let said = format!("only {} are allowed here", names.join(" and "));
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, &said);
    let names = HeaderValue::from_str(&names.join(", ")).expect("names of methods are plain");
    answer.headers_mut().insert(ALLOW, names);
    answer
}
