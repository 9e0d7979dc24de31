//! The URL of one WebSocket: host, path and query, parsed once.

use std::fmt;
use std::str::FromStr;

use tokio_tungstenite::tungstenite::http::uri::PathAndQuery;

use super::host::{Host, split_scheme};
use crate::{Error, ErrorKind, Result};

/// Longest path with query.
const MAX_PATH: usize = 8192;

/// `ws://HOST[:PORT][/PATH][?QUERY]`, or with `wss`, `http`, `https`, or no scheme, which is `ws` on
/// port 8000.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) host: Host,
    /// Begins with `/`; with the query.
    pub(crate) path: String,
}

impl Url {
    /// Reads what a caller gave; the error, `InvalidUrl`, names it and says what is accepted.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let start = text.len() - split_scheme(text).1.len();
        let end = text
            .get(start..)
            .and_then(|rest| rest.find(['/', '?', '#']))
            .map_or(text.len(), |at| start + at);
        let (origin, path) = text.split_at(end);
        let refuse = |why: String| {
            let shown: String = text.chars().take(100).collect();
            Error::new(
                ErrorKind::InvalidUrl,
                format!(
                    "URL '{}' {why}; it takes ws://HOST:PORT/PATH?QUERY, or wss, \
                     percent-encoded where needed",
                    shown.escape_debug()
                ),
            )
        };
        let host = Host::parse(origin)?;
        if path.contains('#') {
            return Err(refuse("has a fragment".into()));
        }
        if path.len() > MAX_PATH {
            return Err(refuse(format!("has a path of {} bytes, over {MAX_PATH}", path.len())));
        }
        if let Some(c) = path.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(refuse(format!("has '{}' in the path", c.escape_debug())));
        }
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        if PathAndQuery::from_str(&path).is_err() {
            return Err(refuse("has a character in the path that must be percent-encoded".into()));
        }
        Ok(Self { host, path })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host.ws(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_form_is_understood() {
        for (text, whole) in [
            ("ws://a", "ws://a:80/"),
            ("wss://a/x?y=1/2", "wss://a:443/x?y=1/2"),
            ("ws://a:81?q", "ws://a:81/?q"),
            ("a/ws", "ws://a:8000/ws"),
            ("a/ws?next=http://b/", "ws://a:8000/ws?next=http://b/"),
            ("http://[::1]:9/a%20b/", "ws://[::1]:9/a%20b/"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), whole, "{text}");
        }
    }

    #[test]
    fn a_bad_url_is_refused_by_name() {
        for bad in
            ["", "ws://", "ftp://a/", "ws://a/ b", "ws://a/é", "ws://a/x#y", "ws:///x", "ws://a/`"]
        {
            let error = Url::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidUrl, "{bad:?}");
        }
        assert!(Url::parse(&format!("ws://a/{}", "x".repeat(9000))).is_err());
    }
}
