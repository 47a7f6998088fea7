//! An HTTP server in front of a platform that decides about every request by its path: passes it on, refuses it, or
//! answers so slowly that it never ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// An answer with this status and an empty body.
    Status(u16),
    /// A promising head, and then a byte now and then.
    Drip,
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
            let mut server = TcpStream::connect(server)?;
            server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
            std::io::copy(&mut server, &mut client)?;
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
