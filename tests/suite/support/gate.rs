//! A way to a server that can be shut and opened again, so that a platform goes away and comes back as itself; or that
//! leads to another one.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Passes connections on while it is open; shut, it drops those there are and all that come.
pub struct Gate {
    pub url: String,
    is_open: Arc<AtomicBool>,
    leads_to: Arc<Mutex<String>>,
    passing: Arc<Mutex<Vec<TcpStream>>>,
}

impl Gate {
    pub fn before(url: &str) -> Self {
        let leads_to = Arc::new(Mutex::new(host(url)));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let is_open = Arc::new(AtomicBool::new(true));
        let passing: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (open, to, through) = (Arc::clone(&is_open), Arc::clone(&leads_to), Arc::clone(&passing));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let server = to.lock().expect("no thread panics with it").clone();
                let Ok(server) = TcpStream::connect(server) else { continue };
                through.lock().expect("no thread panics with it").extend([clone(&client), clone(&server)]);
                pass(clone(&client), clone(&server));
                pass(server, client);
            }
        });
        Self { url, is_open, leads_to, passing }
    }

    /// From now on another server is behind it.
    pub fn lead_to(&self, url: &str) {
        *self.leads_to.lock().expect("no thread panics with it") = host(url);
        self.shut();
        self.open();
    }

    pub fn shut(&self) {
        self.is_open.store(false, Ordering::SeqCst);
        for stream in self.passing.lock().expect("no thread panics with it").drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a handle more")
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        // A broken connection is what this is for.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}
