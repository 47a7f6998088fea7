//! Binds the sockets, with errors that say what to do.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use tokio::net::TcpListener;

/// Why an address could not be listened on.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Somebody else has it.
    #[error(
        "cannot listen on {address}: the port is in use, perhaps by another exporter; stop that process or choose \
         another address with --web.listen-address"
    )]
    Busy {
        /// As it was configured.
        address: String,
    },
    /// It takes more rights than the process has.
    #[error(
        "cannot listen on {address}: permission denied; ports below 1024 need extra rights, choose a higher one with \
         --web.listen-address"
    )]
    Denied {
        /// As it was configured.
        address: String,
    },
    /// This machine does not have it.
    #[error(
        "cannot listen on {address}: this machine has no such address; choose one of its own, or :PORT for all, with \
         --web.listen-address"
    )]
    Elsewhere {
        /// As it was configured.
        address: String,
    },
    /// Nobody has handed over a socket.
    #[error(
        "--web.systemd-socket is given and systemd has handed over no socket; start the .socket unit, or leave the flag \
         out"
    )]
    NothingInherited,
    /// What was handed over is something else.
    #[error("socket {number} that systemd has handed over cannot be used: {source}; use ListenStream=PORT")]
    Inherited {
        /// From 1, in the order of the unit.
        number: usize,
        /// Why.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address}")]
    Io {
        /// As it was configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Listens on the first of `candidates` that this machine supports; `shown` is how the user wrote them.
///
/// For all interfaces the candidates are `[::]:PORT`, which takes IPv4 as well, and then `0.0.0.0:PORT` for machines
/// without IPv6. A port in use is an error at once: the next candidate would only hide it.
pub async fn listen(shown: &str, candidates: &[SocketAddr]) -> Result<TcpListener, ListenError> {
    let mut result = Err(ListenError::Elsewhere { address: shown.to_owned() });
    for candidate in candidates {
        match TcpListener::bind(candidate).await {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                let is_final = matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied);
                result = Err(explain(shown, error));
                if is_final {
                    break;
                }
            }
        }
    }
    result
}

/// The sockets that systemd has handed over. It changes the environment, so it is for before there are threads.
pub fn inherited() -> Result<Vec<std::net::TcpListener>, ListenError> {
    let mut handed = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..handed.len() {
        let wrong = |source| ListenError::Inherited { number: index + 1, source };
        if let Some(socket) = handed.take_tcp_listener(index).map_err(wrong)? {
            socket.set_nonblocking(true).map_err(wrong)?;
            sockets.push(socket);
        }
    }
    if sockets.is_empty() { Err(ListenError::NothingInherited) } else { Ok(sockets) }
}

fn explain(shown: &str, error: io::Error) -> ListenError {
    let address = shown.to_owned();
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::Busy { address },
        io::ErrorKind::PermissionDenied => ListenError::Denied { address },
        io::ErrorKind::AddrNotAvailable => ListenError::Elsewhere { address },
        _ => ListenError::Io { address, source: error },
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use tokio::net::TcpStream;

    use super::*;

    fn everywhere(port: u16) -> [SocketAddr; 2] {
        [IpAddr::from(Ipv6Addr::UNSPECIFIED), IpAddr::from(Ipv4Addr::UNSPECIFIED)].map(|ip| SocketAddr::new(ip, port))
    }

    #[tokio::test]
    async fn all_interfaces_take_ipv4_too() {
        let listener = listen(":0", &everywhere(0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    }

    #[tokio::test]
    async fn a_busy_port_is_an_error_that_says_what_to_do() {
        let first = listen(":0", &everywhere(0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let error = listen(&format!(":{port}"), &everywhere(port)).await.unwrap_err();
        assert!(matches!(error, ListenError::Busy { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!(":{port}")), "{error}");
        assert!(error.to_string().contains("--web.listen-address"), "{error}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let error = listen("192.0.2.1:0", &[SocketAddr::from(([192, 0, 2, 1], 0))]).await.unwrap_err();
        assert!(matches!(error, ListenError::Elsewhere { .. }), "{error:?}");
    }
}
