//! Error answers: problem documents, the older `{"error"}`, and the nearly silent oldest generation.

use serde_json::json;

use super::era::Era;
use crate::simulator::faults::Refusal;
use crate::simulator::wire::Response;

/// What the real limiter asks for without knowing better.
const LIMITER_PAUSE: u32 = 60;

/// An error in the words of this generation.
pub(super) fn plain(era: Era, status: u16, detail: &str) -> Response {
    coded(era, status, detail, None)
}

fn coded(era: Era, status: u16, detail: &str, code: Option<(&str, u32)>) -> Response {
    let title = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Error",
    };
    match era {
        Era::D0 if status == 404 || status == 405 => Response::empty(status),
        Era::D0 if status == 400 => Response::body(400, "text/plain; charset=utf-8", detail.to_owned()),
        Era::D0 | Era::D1 | Era::D2 => Response::json(status, &json!({ "error": detail })),
        Era::D3 | Era::D4 | Era::Serve => {
            let mut problem = json!({ "title": title, "status": status, "detail": detail });
            if let Some((code, pause)) = code {
                problem["code"] = json!(code);
                problem["retry_after_seconds"] = json!(pause);
            }
            Response::body(status, "application/problem+json", problem.to_string())
        }
    }
}

/// A request without a valid key.
pub(super) fn unauthorized(era: Era) -> Response {
    let refusal = plain(era, 401, "a valid bearer credential is required");
    if era == Era::Serve { refusal.with("www-authenticate", "Bearer") } else { refusal }
}

/// A fault on the way.
pub(super) fn refused(era: Era, refusal: Refusal) -> Response {
    if let Some(response) = refusal.by_proxy() {
        return response;
    }
    if let Refusal::TooManyRequests(pause) = refusal {
        let response = coded(era, 429, "Rate limit exceeded", Some(("rate_limited", pause.unwrap_or(LIMITER_PAUSE))));
        return match pause {
            Some(pause) => response.with("retry-after", pause.to_string()),
            None => response,
        };
    }
    coded(era, 503, "The database is busy", Some(("database_pool_exhausted", 1))).with("retry-after", "1")
}
