//! Slow, greedy and hostile clients, while an ordinary scrape goes on being answered.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

use super::door::{BASIC, secured, user};
use super::*;

/// More than there are seats.
const CROWD: usize = 300;
const ORDINARY: Ipv4Addr = Ipv4Addr::LOCALHOST;
pub(super) const HOSTILE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

pub(super) async fn connect(server: &Server, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(server.address).await.unwrap()
}

/// A connection that is kept alive, and what its requests bring.
struct Scraper(TcpStream);

impl Scraper {
    async fn get(&mut self, path: &str, headers: &str) -> String {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&reply).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if body.len() >= length.parse().unwrap() {
                    return text;
                }
            }
            assert!(self.0.read_buf(&mut reply).await.unwrap() > 0, "closed after {text:?}");
        }
    }
}

/// Whether the other side has closed it, or does now.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.is_ok_and(|_| rest.is_empty()) || rest.is_empty()
}

async fn hostile_crowd(server: &Server, says: &[u8]) -> Vec<TcpStream> {
    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        let mut stream = connect(server, HOSTILE).await;
        stream.write_all(says).await.unwrap();
        crowd.push(stream);
    }
    crowd
}

#[tokio::test]
async fn half_requests_take_seats_from_their_own_kind_only() {
    let server = Server::start().await;
    // Nobody has been waited for longer, but he comes from elsewhere.
    let mut ordinary = Scraper(connect(&server, ORDINARY).await);
    assert!(ordinary.get("/-/healthy", "").await.starts_with("HTTP/1.1 200"));
    let mut crowd = hostile_crowd(&server, b"GET /metrics HTTP/1.1\r\nX-Slow: ").await;
    assert!(ordinary.get("/metrics", "").await.starts_with("HTTP/1.1 200"), "the open connection goes on");
    let new = tokio::time::timeout(Duration::from_secs(30), server.get("/metrics"));
    assert_eq!(new.await.expect("nobody's patience has to end").status(), "200", "and a new one is answered");
    assert!(is_closed(&mut crowd[0]).await, "the one waited for longest had to go");
}

#[tokio::test]
async fn handshakes_that_never_end_do_not_stand_in_the_way_of_one_that_does() {
    let (door, client) = secured();
    let server = Server::behind(door).await;
    // Nothing, and the beginning of a record that never comes.
    let silent = hostile_crowd(&server, b"").await;
    let mut half = hostile_crowd(&server, b"\x16\x03\x01\x01\x00\x01\x00").await;
    let stream = client.connect(connect(&server, ORDINARY).await).await;
    assert_eq!(Server::send_over(stream, "GET /metrics HTTP/1.1").await.status(), "200");
    assert!(is_closed(&mut half[0]).await);
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_is_given_up_after_a_while() {
    let (door, _) = secured();
    let server = Server::behind(door).await;
    for says in [&b""[..], b"\x16\x03\x01\x01\x00\x01\x00"] {
        let mut stream = connect(&server, HOSTILE).await;
        stream.write_all(says).await.unwrap();
        let began = tokio::time::Instant::now();
        assert!(is_closed(&mut stream).await);
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(9) && took < Duration::from_secs(12), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_take_his_answer_is_not_kept() {
    let server = Server::start().await;
    let mut slow = connect(&server, HOSTILE).await;
    slow.write_all(b"GET /api/v1/sessions/large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    slow.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let began = tokio::time::Instant::now();
    assert_eq!(server.app.line.places(), 1, "it is larger than what is under way");
    while server.app.line.places() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(began.elapsed() < Duration::from_secs(100), "it is held for ever");
    }
    assert!(began.elapsed() > Duration::from_secs(60), "for who is only slow it is held for a while");
}

#[tokio::test]
async fn a_caller_cannot_have_any_number_of_answers_made() {
    let server = Server::start().await;
    // All places are his already.
    let mut places = Vec::new();
    let hostile = SocketAddr::from((HOSTILE, 0)).into();
    while let Some(turn) = server.app.line.turn(hostile).await {
        places.push(turn.over());
        assert!(places.len() < 1000, "there is no end to it");
    }
    let mut greedy = Scraper(connect(&server, HOSTILE).await);
    for path in ["/metrics", "/api/v1/sessions", "/api/v1/sessions/a"] {
        let reply = greedy.get(path, "").await;
        assert!(reply.starts_with("HTTP/1.1 429") && reply.contains("retry-after: 1"), "{path}: {reply}");
    }
    assert!(greedy.get("/-/healthy", "").await.starts_with("HTTP/1.1 200"), "what costs nothing he still has");
    assert_eq!(server.get("/metrics").await.status(), "200", "others are served");
    places.pop();
    assert!(greedy.get("/metrics", "").await.starts_with("HTTP/1.1 200"), "and he, once there is place");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_passwords_is_not_waited_for() {
    // So dear that the flood is still going on when the others have been answered.
    let server = Arc::new(Server::behind(Door::default().known_to(vec![user("prom", 10)])).await);
    let mut proven = Scraper(connect(&server, ORDINARY).await);
    assert!(proven.get("/metrics", BASIC).await.starts_with("HTTP/1.1 200"));

    let mut guesses = Vec::new();
    for guess in 0..60 {
        let server = Arc::clone(&server);
        guesses.push(tokio::spawn(async move {
            let name = if guess % 2 == 0 { "prom" } else { "nobody" };
            let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("{name}:guess-{guess}"));
            let mut guesser = Scraper(connect(&server, HOSTILE).await);
            guesser.get("/metrics", &format!("Authorization: Basic {encoded}\r\n")).await
        }));
    }
    let (mut refused, mut crowded) = (0, 0);
    for guess in guesses {
        let reply = guess.await.unwrap();
        match &reply[9..12] {
            "401" => refused += 1,
            "429" => crowded += 1,
            other => panic!("{other}: {reply}"),
        }
        assert!(proven.get("/metrics", BASIC).await.starts_with("HTTP/1.1 200"));
    }
    assert!(refused >= 8 && crowded > 0, "{refused} were looked at, {crowded} turned away");
}
