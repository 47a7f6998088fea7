//! A configuration of arbitrary text: no panic, and no key from the environment or a file in what is said about it.

use std::io;

use agent_session_exporter::config::{ConfigError, Overrides, judge};
use secrecy::ExposeSecret;

/// What the variable `KEY` and every readable file holds.
const KEY: &str = "hk-5f3a9c1e77b2";

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let env = |name: &str| match name {
        "KEY" => Some(KEY.to_owned()),
        "EMPTY" => Some(String::new()),
        "NUMBER" => Some("15".to_owned()),
        _ => None,
    };
    let files = |path: &std::path::Path| match path.to_str() {
        Some("/key") => Ok(format!("{KEY}\n")),
        Some("/headers") => Ok(format!("authorization=Bearer {KEY}\n")),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    match judge("fuzz.yaml", text, &Overrides::default(), &env, &files) {
        Ok(config) => {
            let printed = format!("{config:?}");
            if config.sources.iter().any(|source| source.api_key.expose_secret() == KEY) {
                assert!(!printed.contains(KEY), "it shows in a configuration");
            }
        }
        Err(error) => {
            // What stands in the text may be a path, and is repeated then.
            assert!(text.contains(KEY) || !format!("{error} {error:?}").contains(KEY), "it shows in {error}");
            assert!(!matches!(error, ConfigError::Unreadable { .. }), "no file was to be read");
        }
    }
}
