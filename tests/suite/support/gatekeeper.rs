//! An HTTP server in front of a platform that decides about every request by its path: passes it on, refuses it, or
//! answers so slowly that it never ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_session_exporter::domain::Clock;
use agent_session_exporter::telemetry::WallClock;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// An answer with this status and an empty body.
    Status(u16),
    /// A promising head, and then a byte now and then.
    Drip,
    /// Passed on, with the time of a clock that is so many seconds ahead.
    Ahead(i64),
}

type Judge = Box<dyn Fn(&str) -> Verdict + Send>;

/// Serves until the test's process ends.
pub struct Gatekeeper {
    pub url: String,
    judge: Arc<Mutex<Judge>>,
}

impl Gatekeeper {
    pub fn before(url: &str) -> Self {
        let server = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(|_| Verdict::Pass)));
        let shared = Arc::clone(&judge);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, judge) = (server.clone(), Arc::clone(&shared));
                // A connection that breaks is none of our business.
                std::thread::spawn(move || attend(client, &server, &judge).ok());
            }
        });
        Self { url, judge }
    }

    /// From now on this is what becomes of requests.
    pub fn decide(&self, judge: impl Fn(&str) -> Verdict + Send + 'static) {
        *self.judge.lock().expect("no judge panics") = Box::new(judge);
    }
}

/// One request per connection.
fn attend(mut client: TcpStream, server: &str, judge: &Mutex<Judge>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let verdict = judge.lock().expect("no judge panics")(&path);
    match verdict {
        Verdict::Pass => {
            std::io::copy(&mut pass_on(&head, server)?, &mut client)?;
        }
        Verdict::Ahead(seconds) => {
            let mut answer = Vec::new();
            pass_on(&head, server)?.read_to_end(&mut answer)?;
            let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("it has a head");
            let (head, body) = answer.split_at(end);
            let now = WallClock.now().micros() / 1_000_000;
            let date = jiff::Timestamp::from_second(now + seconds).expect("a time");
            let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).expect("a year");
            let lines = String::from_utf8_lossy(head).into_owned();
            let lines = lines.split("\r\n").filter(|line| !line.to_lowercase().starts_with("date:"));
            let head = lines.chain([format!("date: {date}").as_str()]).collect::<Vec<_>>().join("\r\n");
            client.write_all(&[head.as_bytes(), body].concat())?;
        }
        Verdict::Status(status) => {
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            client.write_all(answer.as_bytes())?;
        }
        Verdict::Drip => {
            client
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{")?;
            loop {
                std::thread::sleep(Duration::from_millis(20));
                client.write_all(b" ")?;
            }
        }
    }
    Ok(())
}

/// Where the server's answer comes from.
fn pass_on(head: &str, server: &str) -> std::io::Result<TcpStream> {
    let mut server = TcpStream::connect(server)?;
    server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
    Ok(server)
}
