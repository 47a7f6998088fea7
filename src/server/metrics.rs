//! A scrape: the latest snapshot in the format and encoding that the scraper asked for.

use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue, VARY};
use http::{HeaderName, StatusCode};
use tokio::task;
use tracing::error;

use super::caller::Caller;
use super::respond::{self, Answer};
use super::{App, negotiate};
use crate::telemetry::broken_off;
use crate::views::prometheus::Format;

/// Shorter bodies fit into one packet as they are.
const WORTH_COMPRESSING: usize = 1400;

pub(super) async fn scrape(app: &Arc<App>, headers: &HeaderMap, caller: Caller) -> Answer {
    let format = negotiate::format(&joined(headers, &http::header::ACCEPT));
    let may_gzip = negotiate::takes_gzip(&joined(headers, &http::header::ACCEPT_ENCODING));
    // Rendering and compressing are pure computation, of up to a tenth of a second for the largest states.
    let Some(turn) = app.line.turn(caller).await else { return respond::crowded() };
    let app = Arc::clone(app);
    let rendered = task::spawn_blocking(move || {
        let (body, is_gzip) = render(&app, format, may_gzip);
        (body, is_gzip, turn.over())
    });
    let (body, is_gzip, place) = match rendered.await {
        Ok(rendered) => rendered,
        Err(error) => {
            error!(error = broken_off(&error), "a scrape could not be rendered");
            return respond::text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be rendered; see the log");
        }
    };
    let mut answer = respond::answer(StatusCode::OK, format.content_type(), body);
    let headers = answer.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if is_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    respond::held(answer, place)
}

fn render(app: &App, format: Format, may_gzip: bool) -> (Vec<u8>, bool) {
    let snapshot = app.snapshot.load_full();
    let own = app.instruments.gather();
    let body = app.exposition.render(&snapshot, &own, format, app.clock.now());
    if may_gzip && body.len() >= WORTH_COMPRESSING { (gzip(&body), true) } else { (body, false) }
}

/// Metrics are so repetitive that the fastest level already shrinks them to a twentieth.
fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 16), Compression::fast());
    encoder.write_all(body).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

/// A list header may come as several lines, which mean the same as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    lines.join(",")
}
