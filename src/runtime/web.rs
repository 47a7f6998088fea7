//! The server's door, from the web configuration: built at the start, and anew whenever its files change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{ConfigError, WebConfigFile, WebFile};
use crate::domain::Timestamp;
use crate::server::{App, Door};

/// Between two looks at the files. A change counts when two have seen it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the file, if there is one, makes of the door, and what to look at from then on.
pub(super) fn open(path: Option<&Path>, now: Timestamp) -> Result<(Door, Option<WebConfigFile>), ConfigError> {
    let Some(path) = path else { return Ok((Door::default(), None)) };
    let (file, web) = WebConfigFile::open(path)?;
    remark(&web, now);
    Ok((door(web), Some(file)))
}

fn door(web: WebFile) -> Door {
    let mut door = Door::default().known_to(web.users).with_headers(web.headers);
    if let Some(tls) = web.tls {
        door = door.secured(tls);
    }
    if let Some(limit) = web.rate_limit {
        door = door.limited(limit.interval, limit.burst);
    }
    door
}

fn remark(web: &WebFile, now: Timestamp) {
    for remark in web.remarks(now) {
        warn!("web configuration: {remark}");
    }
}

/// Puts each new content of the files in place; until `stop`.
pub(super) async fn keep_up(mut file: WebConfigFile, app: Arc<App>, stop: CancellationToken) {
    app.instruments.web_reloaded(true);
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = stop.cancelled() => return,
        }
        let looked = task::spawn_blocking(move || {
            let read = file.look_again();
            (file, read)
        });
        // A disk that does not answer must not hold up the end.
        let looked = tokio::select! {
            looked = looked => looked,
            () = stop.cancelled() => return,
        };
        let Ok((same, read)) = looked else { return error!("the web configuration is no longer read") };
        file = same;
        match read.map(|read| read.map_err(|error| error.to_string()).and_then(|web| allowed(&app.door.load(), web))) {
            None => {}
            Some(Ok(web)) => {
                remark(&web, app.clock.now());
                app.door.store(Arc::new(door(web)));
                app.instruments.web_reloaded(true);
                app.health.web_configuration_works(true);
                info!("the web configuration has changed and is in use");
            }
            Some(Err(error)) => {
                app.instruments.web_reloaded(false);
                app.health.web_configuration_works(false);
                warn!(%error, "the web configuration has changed and cannot be used; the old one stays");
            }
        }
    }
}

/// Whether this may follow without a restart. A file that was emptied by mistake must not open the door.
fn allowed(before: &Door, web: WebFile) -> Result<WebFile, String> {
    if before.has_tls() != web.tls.is_some() {
        return Err("tls_server_config came or went; restart the exporter if that is wanted".to_owned());
    }
    if before.has_users() && web.users.is_empty() {
        return Err(
            "basic_auth_users is gone, so everybody could ask; restart the exporter if that is wanted".to_owned()
        );
    }
    Ok(web)
}
