//! Which path gives which answer.

use std::sync::Arc;

use http::{Method, Request, StatusCode};

use super::caller::Caller;
use super::respond::{self, Answer};
use super::{About, App, api, landing, metrics};

/// Characters of a path with its query; past it the request is refused. The longest legitimate one is an API query.
const MAX_TARGET: usize = 2048;

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Landing,
    Metrics,
    Healthy,
    Ready,
    Reload,
    Sessions,
    Session(&'a str),
}

impl<'a> Route<'a> {
    fn of(path: &'a str, about: &About) -> Option<Self> {
        if path == about.telemetry_path {
            return Some(Self::Metrics);
        }
        match path {
            "/" => Some(Self::Landing),
            "/-/healthy" | "/healthz" => Some(Self::Healthy),
            "/-/ready" | "/readyz" => Some(Self::Ready),
            "/-/reload" => Some(Self::Reload),
            "/api/v1/sessions" => Some(Self::Sessions),
            _ => path.strip_prefix("/api/v1/sessions/").filter(|id| !id.is_empty()).map(Self::Session),
        }
    }
}

/// The paths, with what they are for, as the pages list them.
pub(super) fn listed(about: &About) -> [(&str, &'static str); 5] {
    [
        (&about.telemetry_path, "Metrics, as Prometheus text, OpenMetrics or protobuf"),
        ("/-/healthy", "Whether the process answers"),
        ("/-/ready", "Whether what it shows is up to date"),
        ("/api/v1/sessions", "Sessions as JSON; filter by status, agent, source, since, limit"),
        ("/", "The page about its sources"),
    ]
}

/// Answers one request. Bodies of requests are never read.
pub(super) async fn answer<B>(app: &Arc<App>, request: &Request<B>, caller: Caller) -> Answer {
    let door = app.door.load_full();
    let mut answer = match door.admit(request.headers(), caller).await {
        Ok(()) => admitted(app, request, caller).await,
        Err(refusal) => refusal,
    };
    door.dress(&mut answer);
    if request.method() == Method::HEAD {
        // Over HTTP/2 nobody else leaves the body out.
        respond::without_body(&mut answer);
    }
    answer
}

async fn admitted<B>(app: &Arc<App>, request: &Request<B>, caller: Caller) -> Answer {
    let uri = request.uri();
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        return respond::text(StatusCode::URI_TOO_LONG, "the request target is too long");
    }
    let Some(route) = Route::of(uri.path(), &app.about) else {
        return respond::page(StatusCode::NOT_FOUND, landing::not_found(&app.about));
    };
    let allowed: &[Method] = match route {
        Route::Reload => &[Method::POST, Method::PUT],
        _ => &[Method::GET, Method::HEAD],
    };
    if !allowed.contains(request.method()) {
        return respond::wrong_method(allowed);
    }
    match route {
        Route::Reload => reload(app).await,
        Route::Landing => respond::page(StatusCode::OK, landing::page(app)),
        Route::Metrics => metrics::scrape(app, request.headers(), caller).await,
        Route::Healthy => respond::text(StatusCode::OK, "healthy"),
        Route::Ready => match app.health.ready(app.clock.now()) {
            Ok(()) => respond::text(StatusCode::OK, "ready"),
            Err(reason) => respond::text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {reason}")),
        },
        Route::Sessions => api::sessions(app, uri.query().unwrap_or_default(), caller).await,
        Route::Session(id) => api::session(app, id, caller).await,
    }
}

async fn reload(app: &App) -> Answer {
    let Some(reload) = &app.reload else {
        return respond::text(StatusCode::FORBIDDEN, "not enabled: start the exporter with --web.enable-lifecycle");
    };
    match reload.reload().await {
        Ok(()) => respond::text(StatusCode::OK, "the configuration was read again"),
        Err(why) => {
            let said = format!("the configuration from before goes on: {why}");
            respond::text(StatusCode::INTERNAL_SERVER_ERROR, &said)
        }
    }
}
