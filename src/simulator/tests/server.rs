//! The shell: connections, long polls, cut bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{EPOCH, KEY, busy, changes, rows, seconds, text};
use crate::simulator::{Platform, Request, SimulateOptions, Simulator, serve};

/// A served simulator whose clock the test turns.
struct Running {
    simulator: Arc<Simulator>,
    now: Arc<AtomicI64>,
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn start(options: SimulateOptions) -> Running {
    let now = Arc::new(AtomicI64::new(EPOCH));
    let hand = now.clone();
    let clock = Arc::new(move || hand.load(Ordering::SeqCst));
    let simulator = Arc::new(Simulator::new(options, EPOCH).unwrap().with_clock(clock));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(listener, simulator.clone(), shutdown.clone()));
    Running { simulator, now, address, shutdown, task }
}

impl Running {
    /// Sends a request on a connection of its own and reads until the other side closes.
    async fn ask(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A cut connection may end in a reset; what came before is the answer.
        let _ = socket.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[tokio::test]
async fn answers_and_shuts_down() {
    let running = start(busy()).await;
    let answer = running.ask("/api/v2/sessions?size=1").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("server: agent-session-exporter-simulator\r\n"));
    assert!(answer.contains("date: Fri, 20 Nov 2026 14:30:00 GMT\r\n"));
    running.shutdown.cancel();
    running.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_long_poll_ends_with_the_next_event() {
    let running = start(busy()).await;
    let now = seconds(5.0);
    running.now.store(now, Ordering::SeqCst);
    let world = running.simulator.world();
    let id = text(&rows(world, now, "status=running")[0]["id"]);
    let path =
        format!("/api/v2/sessions/{id}/changes?from_index={}&wait_for_seconds=30", changes(world, now, &id).len());
    let turn_the_clock = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        running.now.store(now + 5_000_000, Ordering::SeqCst);
    };
    let started = tokio::time::Instant::now();
    let (answer, ()) = tokio::join!(running.ask(&path), turn_the_clock);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(140) && waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test]
async fn a_long_poll_without_events_ends_in_real_time_too() {
    let running = start(busy()).await;
    let now = seconds(5.0);
    running.now.store(now, Ordering::SeqCst);
    let id = text(&rows(running.simulator.world(), now, "status=completed")[0]["id"]);
    let answer = running.ask(&format!("/api/v2/sessions/{id}/changes?from_index=9999&wait_for_seconds=1")).await;
    assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("etag: 9999\r\n"), "{answer}");
}

#[tokio::test]
async fn cut_bodies_are_announced_whole() {
    let running = start(SimulateOptions { fault_rate_cut: 1.0, ..busy() }).await;
    let (mut dropped, mut truncated) = (0, 0);
    for _ in 0..20 {
        let answer = running.ask("/api/v2/sessions?size=50").await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("the head always arrives");
        let announced: usize =
            head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap().parse().unwrap();
        if body.len() < announced {
            dropped += 1;
        } else {
            assert!(serde_json::from_str::<serde_json::Value>(body).is_err());
            truncated += 1;
        }
    }
    assert!(dropped > 0 && truncated > 0, "{dropped} {truncated}");
    let truth = running.ask("/_truth").await;
    assert!(truth.ends_with("}}") || truth.ends_with('}'), "the simulator's own pages stay whole");
}

#[tokio::test]
async fn faults_are_answers_too() {
    let running = start(SimulateOptions { fault_rate_429: 0.5, fault_rate_5xx: 0.5, ..busy() }).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let answer = running.ask("/api/v2/sessions").await;
        seen.insert(answer[9..12].to_owned());
        assert_eq!(
            answer.starts_with("HTTP/1.1 429"),
            answer.contains("retry-after: ") && !answer.starts_with("HTTP/1.1 503")
        );
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["429", "500", "502", "503", "504"]);
}

#[tokio::test]
async fn serves_another_platform_too() {
    let options = SimulateOptions { sessions: 5, ..SimulateOptions::of(Platform::Everruns) };
    let simulator = Arc::new(Simulator::everruns(options, EPOCH).unwrap().with_clock(Arc::new(|| seconds(60.0))));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(listener, simulator.clone(), shutdown.clone()));
    let organization = simulator.answer(&Request::get("/_simulator", ""));
    let organization: serde_json::Value = serde_json::from_slice(&organization.body).unwrap();
    let own = text(&organization["organization"]);
    for (organization, status) in [(own.as_str(), "200 OK"), ("org_other", "403 Forbidden")] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let key = Platform::Everruns.default_key();
        let request = format!(
            "GET /api/v1/sessions HTTP/1.1\r\nhost: x\r\nauthorization: ApiKey {key}\r\nx-org-id: {organization}\r\n\
             connection: close\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert!(simulator.truth(None).account.sessions > 20);
    shutdown.cancel();
    task.await.unwrap().unwrap();
}
