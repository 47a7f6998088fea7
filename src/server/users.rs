//! Names and passwords: checked with bcrypt, one at a time, and without telling which names exist.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::hmac;
use ring::rand::SystemRandom;
use secrecy::{ExposeSecret, SecretString};
use tokio::task;
use tracing::error;

use super::caller::Caller;
use super::line::Line;

/// Passwords of one caller that are checked or wait for it; past it he is asked to come later. Whoever else asks waits
/// for so many checks at most.
const CHECKS_OF_EACH: usize = 8;

/// Who may ask.
pub(super) struct Users {
    known: Arc<[User]>,
    /// What passwords that were right are remembered under: of no use to anybody without this key, which is never
    /// written down.
    key: Arc<hmac::Key>,
    /// A check takes a processor for a tenth of a second or longer.
    line: Line,
}

struct User {
    name: String,
    hash: SecretString,
    /// The password that was found to be right, so that a scrape need not find it out every time. One for each user,
    /// so that wrong ones cannot push it out.
    proven: Mutex<Option<hmac::Tag>>,
    #[cfg(test)]
    checks: std::sync::atomic::AtomicUsize,
}

/// What comes of a request's name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Admitted,
    Refused,
    /// Not looked at: too many others of this caller are.
    Crowded,
}

impl Users {
    /// With bcrypt hashes, which must be sound.
    pub(super) fn new(users: Vec<(String, SecretString)>) -> Self {
        let user = |(name, hash)| User {
            name,
            hash,
            proven: Mutex::default(),
            #[cfg(test)]
            checks: Default::default(),
        };
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.expect("where there is no randomness there is no TLS, and the process has not started");
        Self { known: users.into_iter().map(user).collect(), key: Arc::new(key), line: Line::new(1, CHECKS_OF_EACH) }
    }

    pub(super) async fn judge(&self, headers: &HeaderMap, caller: Caller) -> Verdict {
        let Some((name, password)) = credentials(headers) else { return Verdict::Refused };
        let found = self.known.iter().position(|user| user.name == name);
        if found.is_some_and(|index| self.known[index].is_proven(&self.key, &password)) {
            return Verdict::Admitted;
        }
        let Some(turn) = self.line.turn(caller).await else { return Verdict::Crowded };
        // Nobody is told by the time it takes whether there is such a user: somebody else's hash takes as long.
        let index = found.unwrap_or_else(|| self.decoy(&name));
        let (known, key) = (Arc::clone(&self.known), Arc::clone(&self.key));
        let checked = task::spawn_blocking(move || {
            let right = known[index].check(&key, &password, found.is_some());
            // Not before: who hangs up meanwhile would otherwise get the next check started.
            drop(turn);
            right
        });
        match checked.await {
            Ok(true) => Verdict::Admitted,
            Ok(false) => Verdict::Refused,
            Err(error) => {
                error!(%error, "a password could not be checked");
                Verdict::Refused
            }
        }
    }

    /// Always the same one for a name, as the costs of hashes may differ.
    fn decoy(&self, name: &str) -> usize {
        let tag = hmac::sign(&self.key, name.as_bytes());
        let mut number = [0; 8];
        number.copy_from_slice(&tag.as_ref()[..8]);
        (u64::from_le_bytes(number) % self.known.len() as u64) as usize
    }
}

impl User {
    fn is_proven(&self, key: &hmac::Key, password: &SecretString) -> bool {
        let proven = self.proven.lock().expect("nobody panics while holding it");
        proven.is_some_and(|tag| hmac::verify(key, password.expose_secret().as_bytes(), tag.as_ref()).is_ok())
    }

    /// Blocks for as long as the hash demands.
    fn check(&self, key: &hmac::Key, password: &SecretString, is_meant: bool) -> bool {
        if is_meant && self.is_proven(key, password) {
            // While it waited for its turn.
            return true;
        }
        #[cfg(test)]
        self.checks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let right = bcrypt::verify(password.expose_secret(), self.hash.expose_secret()).unwrap_or(false);
        if right && is_meant {
            let tag = hmac::sign(key, password.expose_secret().as_bytes());
            *self.proven.lock().expect("nobody panics while holding it") = Some(tag);
        }
        right && is_meant
    }
}

/// What a request says of who sends it.
fn credentials(headers: &HeaderMap) -> Option<(String, SecretString)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = SecretString::from(String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?);
    let (name, password) = decoded.expose_secret().split_once(':')?;
    Some((name.to_owned(), password.into()))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn basic(name: &str, password: &str) -> HeaderMap {
        let value = format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")));
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    fn users() -> Users {
        let user = |name: &str, password, cost| (name.to_owned(), bcrypt::hash(password, cost).unwrap().into());
        Users::new(vec![user("prom", "secret", 4), user("ann", "se:cr\u{e9}t", 5)])
    }

    fn caller() -> Caller {
        SocketAddr::from(([192, 0, 2, 1], 1)).into()
    }

    fn checks(users: &Users) -> usize {
        users.known.iter().map(|user| user.checks.load(std::sync::atomic::Ordering::Relaxed)).sum()
    }

    #[tokio::test]
    async fn who_is_known_and_who_is_not() {
        let users = users();
        for _ in 0..2 {
            assert_eq!(users.judge(&basic("prom", "secret"), caller()).await, Verdict::Admitted);
            assert_eq!(users.judge(&basic("ann", "se:cr\u{e9}t"), caller()).await, Verdict::Admitted);
        }
        assert_eq!(checks(&users), 2, "what was right is remembered");
        for (name, password) in [("prom", "Secret"), ("ann", "secret"), ("", ""), ("prom", "")] {
            for _ in 0..2 {
                let before = checks(&users);
                assert_eq!(users.judge(&basic(name, password), caller()).await, Verdict::Refused, "{name}:{password}");
                assert_eq!(checks(&users), before + 1);
            }
        }
    }

    #[tokio::test]
    async fn unknown_names_are_checked_like_known_ones_and_never_right() {
        let users = users();
        for number in 0..20 {
            let name = format!("nobody-{number}");
            for password in ["secret", "se:cr\u{e9}t"] {
                let before = checks(&users);
                assert_eq!(users.judge(&basic(&name, password), caller()).await, Verdict::Refused);
                assert_eq!(checks(&users), before + 1);
            }
        }
    }

    /// Whether a password is found to be right or wrong before a turn can be had.
    async fn is_looked_up(users: &Users, name: &str, password: &str) -> bool {
        let head = basic(name, password);
        let mut judged = std::pin::pin!(users.judge(&head, caller()));
        tokio::select! {
            biased;
            _ = &mut judged => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn unknown_names_wait_for_a_check_like_known_ones() {
        let users = users();
        assert_eq!(users.judge(&basic("prom", "secret"), caller()).await, Verdict::Admitted);
        let elsewhere = SocketAddr::from(([192, 0, 2, 2], 1)).into();
        let _somebody = users.line.turn(elsewhere).await.unwrap();
        assert!(is_looked_up(&users, "prom", "secret").await, "what was right is remembered");
        assert!(!is_looked_up(&users, "prom", "wrong").await);
        assert!(!is_looked_up(&users, "ann", "se:cr\u{e9}t").await, "nothing is known of others");
        assert!(!is_looked_up(&users, "nobody", "secret").await, "that there is no such user does not show");
    }

    #[test]
    fn a_decoy_is_the_same_for_a_name_and_not_for_all() {
        let users = users();
        let decoys: Vec<usize> = (0..50).map(|number| users.decoy(&format!("name-{number}"))).collect();
        assert_eq!(decoys, (0..50).map(|number| users.decoy(&format!("name-{number}"))).collect::<Vec<_>>());
        assert!(decoys.contains(&0) && decoys.contains(&1), "{decoys:?}");
    }
}
