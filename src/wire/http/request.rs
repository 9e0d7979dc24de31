//! A request head that outlives its request.

use std::borrow::Cow;

/// The head that a connection came with, as it was sent: one allocation, read again when somebody
/// asks.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RequestHead(Box<[u8]>);

impl std::fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl RequestHead {
    /// Keeps a head that was found to be in order.
    pub fn new(raw: &[u8]) -> Self {
        Self(raw.into())
    }

    /// The head as it was sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The request target: path and query, percent-encoded.
    pub fn target(&self) -> Cow<'_, str> {
        let line = self.lines().next().unwrap_or_default();
        String::from_utf8_lossy(line.split(|&b| b == b' ').nth(1).unwrap_or_default())
    }

    /// The header fields, in the order in which they came.
    pub fn headers(&self) -> impl Iterator<Item = (Cow<'_, str>, &[u8])> {
        self.lines().skip(1).filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = line.split_at_checked(colon)?;
            Some((String::from_utf8_lossy(name), value.get(1..)?.trim_ascii()))
        })
    }

    /// The first header field of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The same as text; what is not UTF-8 in it is replaced.
    pub fn header_text(&self, name: &str) -> Option<String> {
        self.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_their_case() {
        let head = RequestHead::new(
            b"GET /ws?a=1 HTTP/1.1\r\nHost: x\r\nUser-Agent:  me \r\nx-a: 1\r\nX-A: \xff\r\n\r\n",
        );
        assert_eq!(head.target(), "/ws?a=1");
        assert_eq!(head.header_text("user-agent").as_deref(), Some("me"));
        assert_eq!(head.header("X-a"), Some(&b"1"[..]));
        assert_eq!(head.header("absent"), None);
        let all: Vec<_> = head.headers().collect();
        assert_eq!(all.len(), 4);
        assert_eq!(all[3], ("X-A".into(), &b"\xff"[..]));
        assert_eq!(RequestHead::default().target(), "");
    }
}
