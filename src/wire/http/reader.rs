//! Reading one request head after another, most of which end like the one before.

use super::head::{Head, Parsed, interpret_line, parse};

/// The longest header section that is remembered, in bytes: that of a browser with its cookies.
const MAX_REMEMBERED: usize = 1024;

/// Reads request heads. A client sends the same header section with each of its requests: where it
/// is byte for byte the one that was read before, and asks for nothing that a request line does not
/// say, only the request line is read. What the bytes mean does not depend on who sent them, so one
/// reader serves any number of connections.
#[derive(Debug, Default)]
pub struct Reader {
    /// Everything behind the request line, to the end of the head.
    section: Vec<u8>,
}

impl Reader {
    /// Reads the head that `input` begins with, exactly as [`parse`] does.
    pub fn parse<'a>(&mut self, input: &'a [u8]) -> Parsed<'a> {
        if let Some(parsed) = self.parse_line(input) {
            return parsed;
        }
        let parsed = parse(input);
        if let Parsed::Head(head, _) = &parsed {
            self.remember(head);
        }
        parsed
    }

    /// `None` when there is more to read than the line.
    fn parse_line<'a>(&self, input: &'a [u8]) -> Option<Parsed<'a>> {
        let (line, rest) = input.split_at_checked(end_of_line(input)?)?;
        if self.section.is_empty() || !rest.starts_with(&self.section) {
            return None;
        }
        let head = interpret_line(line, input.get(..line.len() + self.section.len())?)?;
        Some(Parsed::Head(head, line.len() + self.section.len()))
    }

    fn remember(&mut self, head: &Head<'_>) {
        if head.handshake.is_some() {
            return;
        }
        let section = end_of_line(head.raw).and_then(|end| head.raw.split_at_checked(end));
        let Some((line, section)) = section else { return };
        if section.len() <= MAX_REMEMBERED
            && interpret_line(line, head.raw).is_some_and(|plain| plain == *head)
        {
            self.section.clear();
            self.section.extend_from_slice(section);
        }
    }
}

fn end_of_line(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_section_that_says_something_is_not_remembered() {
        for field in [
            "Connection: close",
            "Content-Length: 1",
            "Transfer-Encoding: chunked",
            "Expect: 100-continue",
            "Origin: http://a",
            "Accept: text/event-stream",
            "Last-Event-ID: 1-1",
            "Content-Type: text/plain",
            "Idempotency-Key: a",
        ] {
            let mut reader = Reader::default();
            let bytes = format!("GET /a HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
            reader.parse(bytes.as_bytes());
            assert!(reader.section.is_empty(), "{field}");
        }
        let mut reader = Reader::default();
        reader.parse(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert!(reader.section.is_empty(), "1.1 needs a Host");
        reader.parse(b"GET /a HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n\r\n");
        assert_eq!(reader.section, b"Host: h\r\nUser-Agent: u\r\n\r\n");
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            "(GET|POST|HEAD) /[a-z%?=#]{0,8} HTTP/1\\.[01]\r\n",
            "\r\nGET /a HTTP/1.1\r\n",
            "GET /a HTTP/1.1\n",
            "GET http://h/a\\?b HTTP/1.1\r\n",
            "[ -~\r\n\u{e9}]{0,20}\r\n",
        ]
    }

    fn section() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            4 => Just("Host: h\r\n\r\n"),
            2 => Just("Host: h\r\nUser-Agent: u\r\n\r\n"),
            1 => Just("Host: h\r\n"),
            1 => Just("Host: h\r\nContent-Length: 3\r\n\r\n"),
            1 => Just("Host: h\r\nConnection: close\r\n\r\n"),
            1 => Just("Connection: keep-alive\r\n\r\n"),
            1 => Just("Host: h\n\r\n"),
            1 => Just("\r\n"),
        ]
    }

    proptest! {
        /// Whatever came before, a head means what it means alone.
        #[test]
        fn it_reads_as_parse_does(heads in prop::collection::vec((line(), section(), ".{0,3}"), 1..12)) {
            let mut reader = Reader::default();
            for (line, section, more) in heads {
                let bytes = format!("{line}{section}{more}");
                prop_assert_eq!(reader.parse(bytes.as_bytes()), parse(bytes.as_bytes()));
            }
        }
    }
}
