//! `GET /api/v2/sessions/quota` and `GET /api/v2/quota/tokens`: what is left of the plan.

use serde_json::json;

use crate::simulator::timestamp::{SECOND, rfc3339};
use crate::simulator::truth::truth;
use crate::simulator::wire::Response;
use crate::simulator::world::World;

/// Sessions run as long as their scripts say; the limit only has to look like one that fits the load.
const SMALLEST_LIMIT: i64 = 10;
/// A typical session holds its slot for about this long, in seconds.
const TYPICAL_RUN: f64 = 120.0;
const TOKEN_LIMIT: u64 = 15_000_000_000;
const TOKEN_WINDOW: i64 = 30 * 24 * 3600 * SECOND;

/// Slots in use now.
pub(super) fn sessions(world: &World, now: i64) -> Response {
    let options = &world.options;
    let typical = options.rate * TYPICAL_RUN / options.speed * f64::from(options.steps) / 12.0;
    let limit = SMALLEST_LIMIT.max((2.0 * typical).ceil() as i64);
    let active = world.read(now, |sessions| {
        let holding = sessions.iter().filter(|session| session.is_visible(now) && session.status(now).holds_slot());
        holding.count() as i64
    });
    Response::json(200, &json!({ "scope": "org", "limit": limit, "active": active, "available": limit - active }))
}

/// Tokens used in the current window of thirty days; windows are counted from a day before the start.
pub(super) fn tokens(world: &World, now: i64) -> Response {
    let origin = world.epoch_us - 24 * 3600 * SECOND;
    let window_start = origin + (now - origin).div_euclid(TOKEN_WINDOW) * TOKEN_WINDOW;
    let consumed = truth(world, now, Some(window_start)).account.tokens;
    let used: u64 = consumed.values().map(|tokens| tokens.input + tokens.output).sum();
    Response::json(
        200,
        &json!({
            "limit": TOKEN_LIMIT,
            "used": used,
            "remaining": TOKEN_LIMIT.saturating_sub(used),
            "window_start": rfc3339(window_start),
            "window_end": rfc3339(window_start + TOKEN_WINDOW),
        }),
    )
}
