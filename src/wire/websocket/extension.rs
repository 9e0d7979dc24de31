//! Agreeing on `permessage-deflate` (RFC 7692 section 7) in the opening handshake
//! (`Sec-WebSocket-Extensions`, RFC 6455 section 9.1). No allocation.
//!
//! The one agreement that Qyun makes leaves no state between messages on either side
//! (`server_no_context_takeover`, `client_no_context_takeover`): a compressed frame is then the
//! same for every subscriber, and an idle connection holds no window.

use super::deflate::WINDOW_BITS;

/// `Sec-WebSocket-Extensions` of a client that offers compression.
pub const DEFLATE_OFFER: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The offer of a client that the server accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// The client limits the server's window, to no less than what the server uses: it must be told
    /// so (RFC 7692 section 7.1.2.1).
    limits_window: bool,
}

impl Agreement {
    /// `Sec-WebSocket-Extensions` of the answer. A `client_max_window_bits` that was offered is left
    /// out: the client may use any window.
    pub fn answer(self) -> &'static str {
        const { assert!(WINDOW_BITS == 12) };
        match self.limits_window {
            true => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=12"
            }
            false => DEFLATE_OFFER,
        }
    }
}

/// A field value that is no list of extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The first acceptable offer of `permessage-deflate` in a client's `Sec-WebSocket-Extensions`.
/// An offer with an unknown, repeated or misused parameter, or with a `server_max_window_bits` below
/// the window that Qyun compresses with (12), is declined; other extensions are passed over.
pub fn accept_deflate(offers: &[u8]) -> Result<Option<Agreement>, Malformed> {
    let mut accepted = None;
    let mut list = List(offers.trim_ascii());
    while let Some(name) = list.extension()? {
        let mut wanted = Wanted { known: name.eq_ignore_ascii_case(NAME), ..Wanted::default() };
        while let Some((name, value)) = list.parameter()? {
            wanted.offered(name, value);
        }
        if accepted.is_none() {
            accepted = wanted.agreement();
        }
    }
    Ok(accepted)
}

/// Whether a server's `Sec-WebSocket-Extensions` is an acceptable answer to [`DEFLATE_OFFER`]:
/// `permessage-deflate` alone, without context takeover by the server. A client fails the connection
/// on any other answer (RFC 6455 section 4.1).
pub fn is_deflate_answer(answer: &[u8]) -> bool {
    let read = || -> Result<bool, Malformed> {
        let mut list = List(answer.trim_ascii());
        let Some(name) = list.extension()? else { return Ok(false) };
        let mut told = Wanted { known: name.eq_ignore_ascii_case(NAME), ..Wanted::default() };
        while let Some((name, value)) = list.parameter()? {
            told.answered(name, value);
        }
        let alone = list.extension()?.is_none();
        Ok(alone && told.known && !told.declined && told.server_no_context_takeover)
    };
    read() == Ok(true)
}

const NAME: &[u8] = b"permessage-deflate";

/// The parameters of one extension of the list.
#[derive(Debug, Default)]
struct Wanted {
    /// It is `permessage-deflate`.
    known: bool,
    declined: bool,
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_bits: Option<u8>,
    client_bits: bool,
}

impl Wanted {
    fn offered(&mut self, name: &[u8], value: Option<&[u8]>) {
        match (name, value) {
            // The parameter's own rules: RFC 7692 section 7.1.2.2.
            (b"client_max_window_bits", value) if !self.client_bits => {
                self.client_bits = true;
                self.declined |= value.is_some_and(|value| window_bits(value).is_none());
            }
            (name, value) => self.common(name, value),
        }
    }

    /// An answer must not name `client_max_window_bits`, which was not offered.
    fn answered(&mut self, name: &[u8], value: Option<&[u8]>) {
        self.common(name, value);
    }

    fn common(&mut self, name: &[u8], value: Option<&[u8]>) {
        match (name, value) {
            (b"server_no_context_takeover", None) if !self.server_no_context_takeover => {
                self.server_no_context_takeover = true;
            }
            (b"client_no_context_takeover", None) if !self.client_no_context_takeover => {
                self.client_no_context_takeover = true;
            }
            (b"server_max_window_bits", Some(value)) if self.server_bits.is_none() => {
                self.server_bits = window_bits(value);
                self.declined |= self.server_bits.is_none();
            }
            _ => self.declined = true,
        }
    }

    fn agreement(&self) -> Option<Agreement> {
        let fits = self.server_bits.is_none_or(|bits| bits >= WINDOW_BITS);
        (self.known && !self.declined && fits)
            .then_some(Agreement { limits_window: self.server_bits.is_some() })
    }
}

/// 8 to 15, without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The rest of a list of extensions, without white space in front.
struct List<'a>(&'a [u8]);

impl<'a> List<'a> {
    /// The next extension's name; `None` at the list's end. Empty elements are allowed
    /// (RFC 9110 section 5.6.1.2).
    fn extension(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        while self.eat(b',') {}
        match self.0 {
            [] => Ok(None),
            _ => self.token().map(Some),
        }
    }

    /// The next parameter of the current extension; `None` at its end.
    #[allow(clippy::type_complexity)]
    fn parameter(&mut self) -> Result<Option<(&'a [u8], Option<&'a [u8]>)>, Malformed> {
        if !self.eat(b';') {
            return match self.0 {
                [] | [b',', ..] => Ok(None),
                _ => Err(Malformed),
            };
        }
        let name = self.token()?;
        let value = match self.eat(b'=') {
            true if self.0.first() == Some(&b'"') => Some(self.quoted()?),
            true => Some(self.token()?),
            false => None,
        };
        Ok(Some((name, value)))
    }

    fn eat(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest.trim_ascii_start();
                true
            }
            _ => false,
        }
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.0.iter().position(|&b| !is_token_byte(b)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest.trim_ascii_start();
        match token {
            [] => Err(Malformed),
            token => Ok(token),
        }
    }

    /// A quoted value, which must be a token once unquoted. One with an escape is a value that no
    /// parameter here takes, and is given with its backslash.
    fn quoted(&mut self) -> Result<&'a [u8], Malformed> {
        let inside = &self.0[1..];
        let end = inside.iter().position(|&b| b == b'"').ok_or(Malformed)?;
        let (value, rest) = inside.split_at(end);
        if value.is_empty() || !value.iter().all(|&b| is_token_byte(b) || b == b'\\') {
            return Err(Malformed);
        }
        self.0 = rest[1..].trim_ascii_start();
        Ok(value)
    }
}

/// Whether `b` may stand in a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Option<Agreement> = Some(Agreement { limits_window: false });
    const LIMITED: Option<Agreement> = Some(Agreement { limits_window: true });

    #[test]
    fn offers_of_real_clients_are_accepted() {
        for (offer, agreement) in [
            // Browsers and Node's ws; Go's gorilla; Python's websockets and aiohttp.
            ("permessage-deflate; client_max_window_bits", PLAIN),
            ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", PLAIN),
            ("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12", LIMITED),
            ("permessage-deflate; server_no_context_takeover; client_max_window_bits=15", PLAIN),
            ("permessage-deflate", PLAIN),
            ("Permessage-Deflate", PLAIN),
        ] {
            assert_eq!(accept_deflate(offer.as_bytes()), Ok(agreement), "{offer}");
        }
    }

    #[test]
    fn the_first_acceptable_offer_of_several_is_taken() {
        for (offers, agreement) in [
            ("permessage-deflate; server_max_window_bits=9, permessage-deflate", PLAIN),
            ("permessage-bzip2, permessage-deflate; server_max_window_bits=\"15\"", LIMITED),
            ("permessage-deflate; server_max_window_bits=12, permessage-deflate", LIMITED),
            (", ,permessage-deflate;server_no_context_takeover,", PLAIN),
            ("x-webkit-deflate-frame", None),
            ("x; client_max_window_bits", None),
            ("", None),
        ] {
            assert_eq!(accept_deflate(offers.as_bytes()), Ok(agreement), "{offers}");
        }
    }

    #[test]
    fn an_offer_that_cannot_be_kept_is_declined() {
        for parameters in [
            "server_max_window_bits=8",
            "server_max_window_bits=11",
            "server_max_window_bits=16",
            "server_max_window_bits=012",
            "server_max_window_bits",
            "server_max_window_bits=\"1\\2\"",
            "server_max_window_bits=12; server_max_window_bits=12",
            "client_max_window_bits=7",
            "client_max_window_bits=x",
            "client_max_window_bits; client_max_window_bits",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "unknown",
            "unknown=1",
        ] {
            let offer = format!("permessage-deflate; {parameters}");
            assert_eq!(accept_deflate(offer.as_bytes()), Ok(None), "{offer}");
        }
    }

    #[test]
    fn what_is_no_list_is_malformed() {
        for offers in [
            "permessage-deflate;",
            "permessage-deflate; =",
            "permessage-deflate; a=",
            "permessage-deflate; a=\"",
            "permessage-deflate; a=\"b c\"",
            "permessage-deflate; a=\"\"",
            "permessage deflate",
            "permessage-deflate; a b",
            "; a",
            "permessage-deflate, @",
            "青",
        ] {
            assert_eq!(accept_deflate(offers.as_bytes()), Err(Malformed), "{offers}");
        }
    }

    #[test]
    fn both_sides_understand_each_other() {
        for agreement in [PLAIN, LIMITED] {
            assert!(is_deflate_answer(agreement.unwrap().answer().as_bytes()));
        }
        assert_eq!(accept_deflate(DEFLATE_OFFER.as_bytes()), Ok(PLAIN));
    }

    #[test]
    fn an_answer_to_something_else_is_no_answer() {
        for answer in [
            "",
            "permessage-deflate",
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=12",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=7",
            "permessage-deflate; server_no_context_takeover; other",
            "permessage-deflate; server_no_context_takeover, permessage-deflate",
            "other; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover;",
        ] {
            assert!(!is_deflate_answer(answer.as_bytes()), "{answer}");
        }
        assert!(is_deflate_answer(
            b"permessage-deflate; server_max_window_bits=10; server_no_context_takeover"
        ));
    }

    proptest! {
        #[test]
        fn no_input_breaks_it(bytes: Vec<u8>, text in "[a-z;,=\" \\\\0-9]{0,60}") {
            let _ = accept_deflate(&bytes);
            let _ = is_deflate_answer(&bytes);
            let _ = accept_deflate(format!("permessage-deflate;{text}").as_bytes());
        }
    }
}
