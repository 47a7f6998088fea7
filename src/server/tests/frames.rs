//! Hostile HTTP/2, frame by frame: clients that take nothing, ask for everything at once, or take back what they asked.

use std::net::Ipv4Addr;

use tokio_rustls::client::TlsStream;

use super::crowd::{HOSTILE, connect};
use super::door::{Client, secured_for};
use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What an answer of ours is that takes room.
const LARGE: &str = "/api/v1/sessions/large";
/// Types of frames, and the flags that end a request.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const WHOLE: u8 = 0x5;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET` of a path on this stream, its names by their places in HPACK's table.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'x']);
    frame(HEADERS, WHOLE, stream, &block)
}

/// One client, as far as frames go.
struct Peer(TlsStream<TcpStream>);

impl Peer {
    /// Grants so many bytes for each answer.
    async fn greet(server: &Server, client: &Client, window: u32) -> Self {
        let mut stream = client.connect(connect(server, HOSTILE).await).await;
        let mut hello = PREFACE.to_vec();
        let initial_window = [&4u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
        hello.extend(frame(SETTINGS, 0, 0, &initial_window));
        stream.write_all(&hello).await.unwrap();
        Self(stream)
    }

    /// Frames until one of that kind; `None` once the connection is closed.
    async fn until(&mut self, wanted: u8) -> Option<Vec<u8>> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            if head[3] == wanted {
                return Some(payload);
            }
        }
    }
}

async fn others_are_served(server: &Server, client: &Client) {
    let stream = client.connect(connect(server, Ipv4Addr::LOCALHOST).await).await;
    assert_eq!(Server::send_over(stream, "GET /metrics HTTP/1.1").await.status(), "200");
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_nothing_of_many_answers_is_not_kept() {
    let (door, [frames, lines]) = secured_for([&[b"h2"], &[b"http/1.1"]]);
    let server = Server::behind(door).await;
    let mut peer = Peer::greet(&server, &frames, 0).await;
    for stream in 0..8 {
        peer.0.write_all(&get(2 * stream + 1, LARGE)).await.unwrap();
    }
    let began = tokio::time::Instant::now();
    while server.app.line.places() < 8 {
        tokio::task::yield_now().await;
    }
    others_are_served(&server, &lines).await;
    while server.app.line.places() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(began.elapsed() < Duration::from_secs(100), "they are held for ever");
    }
    assert!(began.elapsed() > Duration::from_secs(60), "for who is only slow they are held for a while");
    assert!(peer.until(DATA).await.is_none(), "nothing was sent that was not granted, and it is over");
}

#[tokio::test]
async fn more_requests_at_once_than_there_are_places_are_refused() {
    let (door, [frames, lines]) = secured_for([&[b"h2"], &[b"http/1.1"]]);
    let server = Server::behind(door).await;
    let mut peer = Peer::greet(&server, &frames, 0).await;
    let asked: Vec<u8> = (0..100).flat_map(|stream| get(2 * stream + 1, LARGE)).collect();
    peer.0.write_all(&asked).await.unwrap();
    let why = peer.until(RESET).await.expect("one is refused");
    assert_eq!(why, 7u32.to_be_bytes(), "REFUSED_STREAM");
    others_are_served(&server, &lines).await;
    assert!(server.app.line.places() <= 8, "{} answers are held for him", server.app.line.places());
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let (door, [frames, lines]) = secured_for([&[b"h2"], &[b"http/1.1"]]);
    let server = Server::behind(door).await;
    let mut peer = Peer::greet(&server, &frames, 65_535).await;
    let cancel = 8u32.to_be_bytes();
    let flood =
        (0..2000).flat_map(|stream| [get(2 * stream + 1, LARGE), frame(RESET, 0, 2 * stream + 1, &cancel)].concat());
    // It may be closed before all of that is written.
    let _ = peer.0.write_all(&flood.collect::<Vec<u8>>()).await;
    let goodbye = peer.until(GO_AWAY).await;
    assert_eq!(goodbye.map(|payload| payload[4..8].to_vec()), Some(11u32.to_be_bytes().to_vec()), "ENHANCE_YOUR_CALM");
    others_are_served(&server, &lines).await;
    while server.app.line.places() > 0 {
        tokio::task::yield_now().await;
    }
}
