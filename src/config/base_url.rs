//! The address of a platform's API: http or https, a host, and perhaps a path in front of every call.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::Uri;

/// A checked base URL without a trailing slash, ready to have `/path` appended.
///
/// Scheme and host are lower case and default ports are dropped, so that equal accounts compare
/// equal. Credentials, queries and fragments are refused: keys belong into `api_key`, where they
/// are kept out of logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Checks and normalizes a URL.
    ///
    /// # Errors
    ///
    /// Says what is wrong without repeating the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "use e.g. https://agp.eu.hcompany.ai";
        if text.contains('#') {
            return Err("a base URL has no #fragment, remove it".into());
        }
        let uri: Uri = text.parse().map_err(|_| format!("not a URL, {EXAMPLE}"))?;
        let scheme = match uri.scheme_str() {
            Some("http") => "http",
            Some("https") => "https",
            _ => return Err(format!("not an http or https URL, {EXAMPLE}")),
        };
        let authority = uri.authority().ok_or_else(|| format!("a URL without a host, {EXAMPLE}"))?;
        if authority.as_str().contains('@') {
            return Err("a base URL holds no credentials, put the key into api_key".into());
        }
        if uri.query().is_some() {
            return Err("a base URL has no ?query, remove it; the key belongs into api_key".into());
        }
        if authority.host().is_empty() {
            return Err(format!("a URL without a host, {EXAMPLE}"));
        }
        let host = authority.host().to_ascii_lowercase();
        let behind = &authority.as_str()[host.len()..];
        let port = match behind.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None => None,
        };
        if !is_host(&host) || port.is_none() && !behind.is_empty() {
            return Err(format!("the host is neither a name nor an address, {EXAMPLE}"));
        }
        let port = match (scheme, port) {
            (_, None) | ("http", Some(80)) | ("https", Some(443)) => String::new(),
            (_, Some(port)) => format!(":{port}"),
        };
        let path = uri.path().trim_end_matches('/');
        Ok(Self(format!("{scheme}://{host}{port}{path}")))
    }

    /// The host, without a port.
    pub fn host(&self) -> &str {
        let (_, rest) = self.0.split_once("://").expect("a parsed URL has a scheme");
        let authority = rest.split('/').next().unwrap_or(rest);
        // Of an IPv6 address only what follows the bracket is the port.
        match authority.rfind(':') {
            Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
            _ => authority,
        }
    }

    /// Whether what is sent there leaves this machine without TLS.
    pub fn is_in_the_clear(&self) -> bool {
        let host = self.host();
        let is_local_name = host == "localhost" || host.ends_with(".localhost");
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        self.0.starts_with("http://") && !is_local_name && !address.is_ok_and(|address| address.is_loopback())
    }

    /// The URL, without a slash at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `http` takes nearly anything for a host, also what no request can be sent to.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
    }
}

/// `http` takes any text for a port.
fn parse_port(digits: &str) -> Result<u16, String> {
    digits.parse().map_err(|_| "the port is not a number from 0 to 65535".into())
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes() {
        let parsed = |text: &str| BaseUrl::parse(text).map(|url| url.to_string());
        assert_eq!(parsed("https://agp.eu.hcompany.ai/"), Ok("https://agp.eu.hcompany.ai".into()));
        assert_eq!(parsed("HTTPS://AGP.eu:443//"), Ok("https://agp.eu".into()));
        assert_eq!(parsed("http://127.0.0.1:8080/h/V1/"), Ok("http://127.0.0.1:8080/h/V1".into()));
        assert_eq!(parsed("http://[::1]:80/x"), Ok("http://[::1]/x".into()));
    }

    #[test]
    fn refuses_without_repeating() {
        for wrong in [
            "",
            "agp.eu.hcompany.ai",
            "ftp://hk-secret",
            "https://",
            "https:///x",
            "https://hk-secret@host",
            "https://user:hk-secret@host",
            "https://host?key=hk-secret",
            "https://host#hk-secret",
            "https://host:hk-secret",
            "https://host:99999",
            "https://host:",
            "http://[]d80/hk-secret",
            "http://[]/hk-secret",
            "http://[::1]8080",
            "http://[::1]hk-secret",
            "http://[hk-secret]",
            "http://hk%2Dsecret",
            "http://hk-secret,b",
            "hk-secret",
            "/hk-secret",
        ] {
            let error = BaseUrl::parse(wrong).expect_err(wrong);
            assert!(!error.contains("hk-secret"), "{error}");
        }
    }

    #[test]
    fn what_stays_on_the_machine_or_is_secured_is_not_in_the_clear() {
        for (url, in_the_clear) in [
            ("https://agp.eu.hcompany.ai", false),
            ("http://agp.eu.hcompany.ai", true),
            ("http://everruns.internal:9000/api", true),
            ("http://10.0.0.7", true),
            ("http://[fd00::7]:80/", true),
            ("http://0.0.0.0:80", true),
            ("http://localhost.example", true),
            ("http://127.0.0.1.example", true),
            ("http://localhost:8080", false),
            ("http://api.localhost", false),
            ("http://127.9.0.1:8080/x", false),
            ("http://[::1]:8080", false),
        ] {
            assert_eq!(BaseUrl::parse(url).unwrap().is_in_the_clear(), in_the_clear, "{url}");
        }
    }

    #[test]
    fn hosts_stand_alone() {
        for (url, host) in [
            ("https://agp.eu.hcompany.ai", "agp.eu.hcompany.ai"),
            ("http://localhost:8080/api", "localhost"),
            ("http://[::1]:8080", "[::1]"),
            ("http://[::1]/v1", "[::1]"),
        ] {
            assert_eq!(BaseUrl::parse(url).unwrap().host(), host);
        }
    }
}
