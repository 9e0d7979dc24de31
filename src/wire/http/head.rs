//! Request heads (RFC 9112 sections 2 to 6, RFC 6455 section 4.2.1).

use std::mem::MaybeUninit;

use crate::wire::events::MEDIA_TYPE;
use crate::wire::websocket;

/// A request's head, borrowed from the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The path of the request target, still percent-encoded.
    pub path: &'a str,
    /// What followed the first `?`, or nothing.
    pub query: &'a str,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
    /// How the body is delimited.
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// `Content-Type`, or nothing.
    pub content_type: &'a str,
    /// The client accepts server-sent events by their name; "anything" does not count.
    pub accepts_events: bool,
    /// `Origin`, or nothing.
    pub origin: &'a str,
    /// `Last-Event-ID` (WHATWG HTML, section 9.2), if it is there.
    pub last_event_id: Option<&'a str>,
    /// There is an `Idempotency-Key`.
    pub has_key: bool,
    /// A WebSocket upgrade that is in order.
    pub handshake: Option<Handshake<'a>>,
    /// The whole head as it was sent.
    pub raw: &'a [u8],
}

impl<'a> Head<'a> {
    /// The values of every field called `name`, which may be written in any case. For what is
    /// rarely asked: it reads the head again.
    pub fn fields(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        // Checked before: every line ends in CR LF, and has a colon right behind its name.
        self.raw.split(|&b| b == b'\n').skip(1).filter_map(move |line| {
            let colon = memchr::memchr(b':', line)?;
            let (key, value) = (line.get(..colon)?, line.get(colon + 1..)?);
            key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    }
}

/// How a request's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body, or one of this many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// What a WebSocket upgrade asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// `Sec-WebSocket-Key`.
    pub key: &'a str,
    /// The first sub-protocol offered.
    pub protocol: Option<&'a str>,
    /// The first acceptable offer to compress messages.
    pub deflate: Option<websocket::Agreement>,
}

/// Why a request is refused. The connection is to be closed: where the next request would begin
/// is not known for sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, in words.
    pub message: &'static str,
}

const fn bad(message: &'static str) -> Refusal {
    Refusal { status: 400, message }
}

/// What the input begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// Not a whole head yet.
    Partial,
    /// A head of this many bytes.
    Head(Head<'a>, usize),
    /// No acceptable head.
    Refused(Refusal),
}

const MAX_HEADERS: usize = 64;

/// Where the head ends that may be in `bytes`, of which all before `from` was searched before.
pub fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    let start = from.saturating_sub(3).min(bytes.len());
    memchr::memmem::find(&bytes[start..], b"\r\n\r\n").map(|at| start + at + 4)
}

/// Reads the head that `input` begins with. No allocation.
pub fn parse(input: &[u8]) -> Parsed<'_> {
    let mut storage = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let size = match request.parse_with_uninit_headers(input, &mut storage) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(error) => return Parsed::Refused(refusal(error, input)),
    };
    if let Some(head) = input.get(..size)
        && has_bare_lf(head)
    {
        return Parsed::Refused(bad("A line ends without CR"));
    }
    match interpret(&request, input.get(..size).unwrap_or_default()) {
        Ok(head) => Parsed::Head(head, size),
        Err(refusal) => Parsed::Refused(refusal),
    }
}

fn refusal(error: httparse::Error, input: &[u8]) -> Refusal {
    match error {
        // "GET /a b HTTP/1.1" is a wrong target rather than a version called "b".
        httparse::Error::Version if !has_three_words(input) => {
            bad("Malformed request line: a space in a path is sent as %20")
        }
        httparse::Error::TooManyHeaders => {
            Refusal { status: 431, message: "More than 64 header fields" }
        }
        httparse::Error::Version => {
            Refusal { status: 505, message: "HTTP version is not 1.0 or 1.1" }
        }
        httparse::Error::HeaderName => bad("Malformed header name"),
        httparse::Error::HeaderValue => bad("Malformed header value"),
        httparse::Error::NewLine => bad("Malformed line end"),
        _ => bad("Malformed request line"),
    }
}

fn has_three_words(input: &[u8]) -> bool {
    let line = input.split(|&b| b == b'\n').next().unwrap_or_default();
    line.iter().filter(|&&b| b == b' ').count() == 2
}

fn has_bare_lf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head)
        .any(|at| at.checked_sub(1).and_then(|before| head.get(before)) != Some(&b'\r'))
}

/// What the header fields say, gathered in one pass.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade_websocket: bool,
    expects_continue: bool,
    accepts_events: bool,
    content_type: &'a str,
    origin: &'a str,
    last_event_id: Option<&'a str>,
    has_key: bool,
    key: Option<&'a str>,
    version: Option<&'a str>,
    protocol: Option<&'a str>,
    deflate: Option<websocket::Agreement>,
}

fn interpret<'a>(request: &httparse::Request<'_, 'a>, raw: &'a [u8]) -> Result<Head<'a>, Refusal> {
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(bad("Malformed request line"));
    };
    let mut fields = Fields::default();
    for header in request.headers.iter() {
        fields.read(header.name, header.value)?;
    }
    let http_11 = version == 1;
    match fields.host {
        None if http_11 => return Err(bad("Host is missing")),
        Some(host) if host.iter().any(|b| matches!(b, b' ' | b'\t' | b',' | b'/' | b'@')) => {
            return Err(bad("Host is malformed"));
        }
        _ => {}
    }
    if fields.chunked && (fields.length.is_some() || !http_11) {
        return Err(bad("Transfer-Encoding beside Content-Length, or in HTTP/1.0"));
    }
    let (path, query) = split_target(target)?;
    let framing = match fields.chunked {
        true => Framing::Chunked,
        false => Framing::Length(fields.length.unwrap_or(0)),
    };
    let keep_alive = !fields.close && (http_11 || fields.keep_alive);
    let handshake = match fields.connection_upgrade && fields.upgrade_websocket {
        true => Some(fields.handshake(method, http_11, framing)?),
        false => None,
    };
    let Fields {
        expects_continue,
        content_type,
        accepts_events,
        origin,
        last_event_id,
        has_key,
        ..
    } = fields;
    Ok(Head {
        method,
        path,
        query,
        keep_alive,
        framing,
        expects_continue,
        content_type,
        accepts_events,
        origin,
        last_event_id,
        has_key,
        handshake,
        raw,
    })
}

/// The head `raw` of HTTP/1.1 that begins with the request line `line`, if its header fields ask for
/// nothing. `None` also when the line is not acceptable.
pub(super) fn interpret_line<'a>(line: &'a [u8], raw: &'a [u8]) -> Option<Head<'a>> {
    let mut request = httparse::Request::new(&mut []);
    // Without a header it is never complete, and says what it has read.
    let partial = request.parse(line).ok()?.is_partial();
    let (Some(method), Some(target), Some(1)) = (request.method, request.path, request.version)
    else {
        return None;
    };
    if !partial || !line.ends_with(b"\r\n") {
        return None;
    }
    let (path, query) = split_target(target).ok()?;
    Some(Head {
        method,
        path,
        query,
        keep_alive: true,
        framing: Framing::Length(0),
        expects_continue: false,
        content_type: "",
        accepts_events: false,
        origin: "",
        last_event_id: None,
        has_key: false,
        handshake: None,
        raw,
    })
}

impl<'a> Fields<'a> {
    fn read(&mut self, name: &str, value: &'a [u8]) -> Result<(), Refusal> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") && self.host.replace(value).is_some() => {
                return Err(bad("Host is repeated"));
            }
            6 if is("expect") => match value.eq_ignore_ascii_case(b"100-continue") {
                true => self.expects_continue = true,
                false => {
                    return Err(Refusal { status: 417, message: "Expect is not 100-continue" });
                }
            },
            6 if is("origin") => self.origin = text(value)?,
            6 if is("accept") => {
                self.accepts_events |= tokens(value).any(|range| {
                    let media_type = range.split(|&b| b == b';').next().unwrap_or_default();
                    media_type.trim_ascii().eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())
                });
            }
            7 if is("upgrade") => {
                self.upgrade_websocket |=
                    tokens(value).any(|t| t.eq_ignore_ascii_case(b"websocket"));
            }
            10 if is("connection") => {
                for token in tokens(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    self.connection_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                }
            }
            13 if is("last-event-id") => {
                self.last_event_id = Some(std::str::from_utf8(value).unwrap_or_default());
            }
            15 if is("idempotency-key") => self.has_key = true,
            12 if is("content-type") => {
                self.content_type = std::str::from_utf8(value).unwrap_or_default();
            }
            14 if is("content-length") => {
                let length = plain_number(value).ok_or(bad("Content-Length is not a number"))?;
                if self.length.replace(length).is_some() {
                    return Err(bad("Content-Length is repeated"));
                }
            }
            17 if is("transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal {
                        status: 501,
                        message: "Transfer-Encoding is not chunked",
                    });
                }
                self.chunked = true;
            }
            17 if is("sec-websocket-key") && self.key.replace(text(value)?).is_some() => {
                return Err(bad("Sec-WebSocket-Key is repeated"));
            }
            21 if is("sec-websocket-version") => self.version = Some(text(value)?),
            22 if is("sec-websocket-protocol") => {
                for token in tokens(value) {
                    if !token.iter().all(|&b| websocket::is_token_byte(b)) {
                        return Err(bad("Sec-WebSocket-Protocol is malformed"));
                    }
                    self.protocol = self.protocol.or(Some(text(token)?));
                }
            }
            24 if is("sec-websocket-extensions") => {
                let deflate = websocket::accept_deflate(value)
                    .map_err(|_| bad("Sec-WebSocket-Extensions is malformed"))?;
                self.deflate = self.deflate.or(deflate);
            }
            _ => {}
        }
        Ok(())
    }

    fn handshake(
        &self,
        method: &str,
        http_11: bool,
        framing: Framing,
    ) -> Result<Handshake<'a>, Refusal> {
        if method != "GET" || !http_11 || framing != Framing::Length(0) {
            return Err(bad("A WebSocket upgrade is an HTTP/1.1 GET without a body"));
        }
        if self.version != Some("13") {
            return Err(Refusal { status: 426, message: "Sec-WebSocket-Version is not 13" });
        }
        match self.key {
            Some(key) if websocket::is_key(key) => {
                Ok(Handshake { key, protocol: self.protocol, deflate: self.deflate })
            }
            _ => Err(bad("Sec-WebSocket-Key is not 16 bytes of base64")),
        }
    }
}

/// Path and query of an origin-form or absolute-form target (RFC 9112 section 3.2). The reader of
/// the request line has refused spaces and control characters.
fn split_target(target: &str) -> Result<(&str, &str), Refusal> {
    let bytes = target.as_bytes();
    let mark = memchr::memchr2(b'#', b'?', bytes);
    if mark.is_some_and(|at| memchr::memchr(b'#', &bytes[at..]).is_some()) {
        return Err(bad("Request target has a '#': it is sent as %23"));
    }
    let origin = match target.strip_prefix('/') {
        Some(_) => target,
        None => match target.strip_prefix("http://").or(target.strip_prefix("https://")) {
            Some(rest) => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
            None => target,
        },
    };
    match mark {
        Some(_) => Ok(origin.split_once('?').unwrap_or((origin, ""))),
        None => Ok((origin, "")),
    }
}

/// The elements of a comma-separated list (RFC 9110 section 5.6.1).
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Digits only: no sign, no space, no list.
fn plain_number(value: &[u8]) -> Option<u64> {
    match value.iter().all(u8::is_ascii_digit) {
        true => std::str::from_utf8(value).ok()?.parse().ok(),
        false => None,
    }
}

fn text(value: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(value).map_err(|_| bad("Header value is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &[u8]) -> Head<'_> {
        match parse(bytes) {
            Parsed::Head(head, size) => {
                assert_eq!(size, bytes.len());
                head
            }
            other => panic!("{other:?}"),
        }
    }

    fn refused(bytes: &[u8]) -> u16 {
        match parse(bytes) {
            Parsed::Refused(refusal) => refusal.status,
            other => panic!("{other:?} of {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn a_plain_get() {
        let head = head(b"GET /a%20b?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!((head.method, head.path, head.query), ("GET", "/a%20b", "x=1"));
        assert!(head.keep_alive && head.handshake.is_none());
        assert_eq!(head.framing, Framing::Length(0));
    }

    #[test]
    fn every_prefix_is_partial() {
        let whole = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), Parsed::Partial, "{cut}");
        }
        assert_eq!(head(whole).framing, Framing::Length(3));
        assert_eq!(find_end(whole, 0), Some(whole.len()));
        assert_eq!(find_end(&whole[..whole.len() - 1], 0), None);
        assert_eq!(find_end(whole, whole.len() - 1), Some(whole.len()));
    }

    #[test]
    fn persistence_follows_version_and_connection() {
        for (bytes, keep_alive) in [
            (&b"GET / HTTP/1.0\r\n\r\n"[..], false),
            (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
            (b"GET / HTTP/1.1\r\nHost:\r\nConnection: foo, Close\r\n\r\n", false),
        ] {
            assert_eq!(head(bytes).keep_alive, keep_alive);
        }
    }

    #[test]
    fn events_are_accepted_by_their_name_only() {
        for (accept, accepts) in [
            ("text/event-stream", true),
            ("text/html, Text/Event-Stream;q=0.9", true),
            ("*/*", false),
            ("text/event-streams", false),
        ] {
            let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\n\r\n");
            assert_eq!(head(bytes.as_bytes()).accepts_events, accepts, "{accept}");
        }
    }

    #[test]
    fn an_absolute_target_is_understood() {
        assert_eq!(head(b"GET http://h:1/a?b HTTP/1.1\r\nHost: h\r\n\r\n").path, "/a");
        assert_eq!(head(b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n").path, "/");
    }

    #[test]
    fn what_smuggling_lives_on_is_refused() {
        for (fields, status) in [
            ("Content-Length: 1\r\nContent-Length: 1", 400),
            ("Content-Length: 1\r\nContent-Length: 2", 400),
            ("Content-Length: 1, 1", 400),
            ("Content-Length: +1", 400),
            ("Content-Length: -1", 400),
            ("Content-Length: 0x1", 400),
            ("Content-Length: 99999999999999999999", 400),
            ("Content-Length:", 400),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1", 400),
            ("Transfer-Encoding: xchunked", 501),
            ("Transfer-Encoding: chunked, identity", 501),
            ("Transfer-Encoding: gzip, chunked", 501),
            ("Transfer-Encoding: identity", 501),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
            ("Transfer-Encoding : chunked", 400),
            (" Transfer-Encoding: chunked", 400),
            ("X: a\r\n folded", 400),
            ("X: a\nY: b", 400),
            ("X: a\rY: b", 400),
            ("X: a\0b", 400),
            ("Host: again", 400),
            ("Expect: a-pony", 417),
        ] {
            let bytes = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
            assert_eq!(refused(bytes.as_bytes()), status, "{fields:?}");
        }
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET / HTTP/1.1\nHost: h\n\n",
            b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /a\x01b HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /a\x7fb HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01",
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(refused(bytes), 400, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(refused(b"GET / HTTP/2.0\r\n\r\n"), 505);
        let many = "X: y\r\n".repeat(65);
        assert_eq!(refused(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()), 431);
    }

    #[test]
    fn a_handshake_is_checked_field_by_field() {
        let upgrade = |method: &str, version: &str, key: &str, more: &str| {
            format!(
                "{method} /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\n\
                 Upgrade: WebSocket\r\n{version}{key}{more}\r\n"
            )
        };
        const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
        const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let good = upgrade("GET", VERSION, KEY, "Sec-WebSocket-Protocol: one, two\r\n");
        let handshake = head(good.as_bytes()).handshake.unwrap();
        assert_eq!(handshake.key, "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(handshake.protocol, Some("one"));
        assert_eq!(handshake.deflate, None);
        let offers = "Sec-WebSocket-Extensions: permessage-deflate; unknown\r\n\
                      Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let bytes = upgrade("GET", VERSION, KEY, offers);
        assert!(head(bytes.as_bytes()).handshake.unwrap().deflate.is_some());
        for (bytes, status) in [
            (upgrade("GET", "", KEY, ""), 426),
            (upgrade("GET", "Sec-WebSocket-Version: 8\r\n", KEY, ""), 426),
            (upgrade("GET", VERSION, "", ""), 400),
            (upgrade("GET", VERSION, "Sec-WebSocket-Key:\r\n", ""), 400),
            (upgrade("GET", VERSION, KEY, KEY), 400),
            (upgrade("POST", VERSION, KEY, ""), 400),
            (upgrade("GET", VERSION, KEY, "Content-Length: 5\r\n"), 400),
            (upgrade("GET", VERSION, KEY, "Sec-WebSocket-Protocol: a b\r\n"), 400),
            (upgrade("GET", VERSION, KEY, "Sec-WebSocket-Extensions: a b\r\n"), 400),
        ] {
            assert_eq!(refused(bytes.as_bytes()), status, "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_input_breaks_it(bytes: Vec<u8>, tail in "[ -~\r\n]{0,80}") {
            let _ = parse(&bytes);
            let _ = parse(format!("GET / HTTP/1.1\r\n{tail}\r\n\r\n").as_bytes());
        }
    }
}
