//! The server that a command talks to.

use std::time::Duration;

use crate::duration;
use crate::exit::Failure;

/// The port of a host that names none.
const DEFAULT_PORT: u16 = 8000;

/// What every command that talks to a server takes.
#[derive(clap::Args, Debug, Clone)]
pub struct Remote {
    /// The server: HOST:PORT, or an http:// or https:// URL
    #[arg(long, env = "QYUN_HOST", default_value = "localhost:8000", value_name = "HOST")]
    pub host: String,
    /// How long to wait for the server
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

impl Remote {
    /// The server's base URL.
    pub fn base(&self) -> Result<Base, Failure> {
        Base::parse(&self.host)
    }
}

/// A server's base URL in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    pub tls: bool,
    /// The host as a URL writes it: an IPv6 address in brackets.
    pub host: String,
    pub port: u16,
    /// What stands before `/channel/…`: empty, or a path without a `/` at its end.
    pub prefix: String,
}

impl Base {
    /// Reads `HOST`, `HOST:PORT` or a URL, the same as the client library does. WebSocket schemes
    /// mean the same server.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| {
            Failure::usage(format!(
                "host '{text}': {why}; it takes HOST:PORT, http://HOST:PORT or https://HOST:PORT"
            ))
        };
        let (tls, default_port, rest) = match text.split_once("://") {
            None => (false, DEFAULT_PORT, text),
            Some(("http" | "ws", rest)) => (false, 80, rest),
            Some(("https" | "wss", rest)) => (true, 443, rest),
            Some((scheme, _)) => return Err(refuse(&format!("unknown scheme '{scheme}'"))),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if path.contains(['?', '#']) || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse("the path is none"));
        }
        let host_end = match authority.starts_with('[') {
            true => authority.find(']').map(|at| at + 1).ok_or_else(|| refuse("no ']'"))?,
            false => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at(host_end);
        let allowed = |c: char| c.is_alphanumeric() || "-._[]:".contains(c);
        if host.is_empty() || !host.chars().all(allowed) {
            return Err(refuse("no host name"));
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default_port,
            Some(port) => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(refuse("the port is not a number from 1 to 65535")),
            },
            None => return Err(refuse("text after the address")),
        };
        let prefix = path.trim_end_matches('/').into();
        Ok(Self { tls, host: host.into(), port, prefix })
    }

    /// `HOST:PORT`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_urls_become_a_base_url() {
        for (text, url) in [
            ("localhost", "http://localhost:8000"),
            ("localhost:9", "http://localhost:9"),
            ("http://example.org", "http://example.org:80"),
            ("wss://example.org/", "https://example.org:443"),
            ("https://example.org/push/", "https://example.org:443/push"),
            ("[::1]:80", "http://[::1]:80"),
            ("[::1]", "http://[::1]:8000"),
        ] {
            assert_eq!(Base::parse(text).unwrap().to_string(), url);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in
            ["", ":80", "a:0", "a:b", "a:70000", "ftp://a", "a/b?c", "/b", "[::1", "[::1]x", "a b"]
        {
            assert!(Base::parse(bad).is_err(), "{bad:?}");
        }
    }
}
