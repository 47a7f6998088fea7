//! The address of a platform's API: http or https, a host, and perhaps a path in front of every call.

use std::fmt;

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
        let port = match authority.as_str()[host.len()..].strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None => None,
        };
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

    /// The URL, without a slash at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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
            "hk-secret",
            "/hk-secret",
        ] {
            let error = BaseUrl::parse(wrong).expect_err(wrong);
            assert!(!error.contains("hk-secret"), "{error}");
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
