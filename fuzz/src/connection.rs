//! A connection that says arbitrary bytes: it is answered or closed in order, and never kept waiting for ever.

use std::sync::Arc;
use std::time::Duration;

use agent_session_exporter::domain::{Clock, Span, Timestamp};
use agent_session_exporter::projection::{LabelPolicy, State};
use agent_session_exporter::server::{About, App, Archive, ArchiveError, Line, SessionQuery, converse};
use agent_session_exporter::telemetry::{Health, Instruments};
use agent_session_exporter::views::prometheus::{Exposition, Hold};
use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

const NOW: Timestamp = Timestamp::from_micros(1_795_185_000_000_000);
/// Longer than anything may take: in virtual time, so that it costs nothing.
const FOR_EVER: Duration = Duration::from_secs(3600);

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }
}

struct Shelf;

impl Archive for Shelf {
    fn sessions(&self, query: &SessionQuery) -> Result<Vec<u8>, ArchiveError> {
        Ok(format!("[{}]", query.limit).into_bytes())
    }

    fn session(&self, id: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        assert!(!id.is_empty());
        Ok(id.len().is_multiple_of(2).then(|| b"{}".to_vec()))
    }
}

fn app() -> App {
    let instruments = Instruments::new("1.2.3", "abcdef0");
    let health = Health::new(instruments.clone());
    health.add_source("one", "hcompany", Span::from_secs(15));
    App {
        about: About {
            version: "1.2.3".to_owned(),
            revision: "abcdef0".to_owned(),
            telemetry_path: "/metrics".to_owned(),
            simulated: false,
        },
        snapshot: Arc::new(ArcSwap::from_pointee(State::new(LabelPolicy::default(), []).snapshot())),
        exposition: Exposition::new(Hold { span: Span::from_secs(30), since: NOW }),
        instruments,
        health: Arc::new(health),
        archive: Arc::new(Shelf),
        clock: Arc::new(Stopped),
        reload: None,
        door: ArcSwap::default(),
        line: Line::default(),
    }
}

/// One input. The first byte says in what pieces the rest is sent, and whether the client then goes, waits, or whether
/// the exporter stops.
pub fn run(data: &[u8]) {
    let Some((manner, said)) = data.split_first() else { return };
    let piece = match manner >> 2 {
        0 => usize::MAX,
        length => usize::from(length),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let (ours, theirs) = tokio::io::duplex(4096);
        let shutdown = CancellationToken::new();
        let served = converse(theirs, Arc::new(app()), shutdown.clone());
        let (mut hear, mut speak) = tokio::io::split(ours);
        let speaking = async {
            for piece in said.chunks(piece) {
                // Closed already: what was said before was enough.
                if speak.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            match manner & 3 {
                0 => drop(speak.shutdown().await),
                1 => shutdown.cancel(),
                _ => {}
            }
        };
        let hearing = async {
            let mut answers = Vec::new();
            // Broken off is an end as well.
            let _ = hear.read_to_end(&mut answers).await;
            answers
        };
        let all = async { tokio::join!(served, speaking, hearing) };
        let ((), (), answers) = tokio::time::timeout(FOR_EVER, all).await.expect("a connection comes to its end");
        assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."), "what is answered is an answer");
        let is_stopped = manner & 3 == 1;
        let is_whole = ["/-/healthy", "/metrics", "/api/v1/sessions"]
            .iter()
            .any(|path| said.starts_with(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()));
        if is_whole && !is_stopped {
            assert!(answers.starts_with(b"HTTP/1.1 200 OK\r\n"), "whatever comes after it, it is answered");
        }
    });
}
