//! Where a server is: `HOST:PORT` or a URL, parsed once.

use std::fmt;
use std::net::Ipv6Addr;

use crate::{Error, ErrorKind, Result};

/// The port of a host that is given without a scheme and without a port.
const DEFAULT_PORT: u16 = 8000;
/// Longest text that is taken as a host; it must leave room for a path in one HTTP request line.
const MAX_LEN: usize = 2048;

const ACCEPTED: &str =
    "it takes HOST, HOST:PORT, [IPV6]:PORT, or a URL with http, https, ws or wss";

/// A server's address: `HOST`, `HOST:PORT` or a URL (`http`, `https`, `ws`, `wss`), parsed once. Its
/// text names the server in errors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    secure: bool,
    /// Lower-case name or address, an IPv6 address without its brackets.
    name: String,
    port: u16,
    /// What precedes `/channel/…`: empty, or `/` and segments without a `/` at the end.
    prefix: String,
}

impl Host {
    /// Reads what a caller gave; the error, `InvalidUrl`, names it and says what is accepted.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).map_err(|why| {
            let shown: String = text.chars().take(100).collect();
            Error::new(
                ErrorKind::InvalidUrl,
                format!("host '{}': {why}; {ACCEPTED}", shown.escape_debug()),
            )
        })
    }

    fn read(text: &str) -> std::result::Result<Self, String> {
        if text.len() > MAX_LEN {
            return Err(format!("has {} bytes, the limit is {MAX_LEN}", text.len()));
        }
        let (secure, default_port, rest) = match split_scheme(text) {
            (None, rest) => (false, DEFAULT_PORT, rest),
            (Some(scheme), rest) => match scheme.to_ascii_lowercase().as_str() {
                "http" | "ws" => (false, 80, rest),
                "https" | "wss" => (true, 443, rest),
                _ => return Err(format!("has the unknown scheme '{}'", scheme.escape_debug())),
            },
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err("has a user name, which is not supported".into());
        }
        let (name, port) = split_port(authority)?;
        let port = match port {
            None => default_port,
            Some(digits) => match digits.parse() {
                Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => port,
                _ => return Err(format!("has the port '{}'", digits.escape_debug())),
            },
        };
        Ok(Self { secure, name, port, prefix: prefix_of(path)? })
    }

    /// Whether TLS is spoken.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The name to resolve; an IPv6 address without brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://HOST:PORT/prefix`, to which `/channel/…` is appended.
    pub(crate) fn http(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }

    /// `ws://HOST:PORT/prefix`, to which `/channel/…` is appended.
    pub(crate) fn ws(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }

    /// What precedes `/channel/…` in every path: empty, or `/` and segments without a `/` at the
    /// end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `NAME:PORT`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        match self.name.contains(':') {
            true => format!("[{}]:{}", self.name, self.port),
            false => format!("{}:{}", self.name, self.port),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secure {
            f.write_str("https://")?;
        }
        write!(f, "{}{}", self.authority(), self.prefix)
    }
}

/// Splits `SCHEME://REST`. What stands behind the first `/`, `?` or `#` is no scheme, whatever it holds.
pub(super) fn split_scheme(text: &str) -> (Option<&str>, &str) {
    match text.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?', '#']) => (Some(scheme), rest),
        _ => (None, text),
    }
}

/// Splits `NAME[:PORT]`, checks the name, and writes it as [`Host::name`] keeps it.
fn split_port(authority: &str) -> std::result::Result<(String, Option<&str>), String> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or("has '[' without ']'")?;
        let address: Ipv6Addr =
            address.parse().map_err(|_| format!("has '[{address}]', no IPv6 address"))?;
        return match (after, after.strip_prefix(':')) {
            ("", _) => Ok((address.to_string(), None)),
            (_, Some(port)) => Ok((address.to_string(), Some(port))),
            _ => Err("has something else than a port after ']'".into()),
        };
    }
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Err("is an IPv6 address without brackets".into());
    }
    let (name, port) = match authority.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (authority, None),
    };
    if name.is_empty() {
        return Err("has no host name".into());
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._".contains(*c))) {
        None => Ok((name.to_ascii_lowercase(), port)),
        Some(c) => Err(format!("has '{}' in the host name", c.escape_debug())),
    }
}

fn prefix_of(path: &str) -> std::result::Result<String, String> {
    let prefix = path.trim_end_matches('/');
    if let Some(c) = prefix.chars().find(|c| !c.is_ascii_graphic() || "?#\"<>\\^`{|}".contains(*c))
    {
        return Err(format!("has '{}' in the path", c.escape_debug()));
    }
    if prefix.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("has '.' or '..' in the path".into());
    }
    Ok(prefix.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_form_is_understood() {
        for (text, http, ws) in [
            ("localhost:8000", "http://localhost:8000", "ws://localhost:8000"),
            ("LOCALHOST", "http://localhost:8000", "ws://localhost:8000"),
            ("http://a.example", "http://a.example:80", "ws://a.example:80"),
            ("HTTPS://a.example/", "https://a.example:443", "wss://a.example:443"),
            ("ws://a:81/x/y/", "http://a:81/x/y", "ws://a:81/x/y"),
            ("wss://a", "https://a:443", "wss://a:443"),
            ("[::1]:8000", "http://[::1]:8000", "ws://[::1]:8000"),
            ("https://[2001:DB8::1]", "https://[2001:db8::1]:443", "wss://[2001:db8::1]:443"),
            ("127.0.0.1:1/p", "http://127.0.0.1:1/p", "ws://127.0.0.1:1/p"),
            ("a:1/x://y", "http://a:1/x://y", "ws://a:1/x://y"),
        ] {
            let host = Host::parse(text).unwrap();
            assert_eq!((host.http().as_str(), host.ws().as_str()), (http, ws), "{text}");
        }
        assert_eq!(Host::parse("[::1]").unwrap().name(), "::1");
    }

    #[test]
    fn a_bad_host_is_refused_by_name() {
        for bad in [
            "",
            ":",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:b",
            "a b",
            "ftp://a",
            "http://",
            "::1",
            "[::1",
            "[x]:1",
            "[::1]8",
            "u@a:1",
            "a?x",
            "a/?x",
            "a/#f",
            "a/../b",
            "é.example",
            "a/\n",
            "http://http://a",
            "a\0",
        ] {
            let error = Host::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidUrl, "{bad:?}");
            let named = format!("host '{}'", bad.escape_debug());
            assert!(error.to_string().starts_with(&named), "{bad:?}: {error}");
        }
        assert!(Host::parse(&"a".repeat(3000)).is_err());
    }
}
