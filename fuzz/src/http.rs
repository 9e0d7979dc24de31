//! HTTP heads, bodies and what proxies add.

use std::net::{IpAddr, SocketAddr};

use qyun::server::fuzzing::client_behind;
use qyun::wire::http::{
    Body, BodyFault, Framing, Head, Parsed, Reader, RequestHead, find_end, parse, route,
};
use qyun::wire::websocket::is_key;

use crate::cuts::{Cuts, steered};

/// A head is a whole one or no head, whatever came of it before; one that is accepted holds nothing
/// that two readers could understand differently.
pub fn head(input: &[u8]) {
    let whole = parse(input);
    for cut in (0..input.len()).rev().take(64) {
        match (parse(&input[..cut]), &whole) {
            (Parsed::Partial, _) => {}
            (Parsed::Refused(_), Parsed::Refused(_)) => {}
            (Parsed::Head(part, size), Parsed::Head(head, whole)) => {
                assert_eq!((&part, size), (head, *whole), "what comes behind changes a head");
            }
            (part, whole) => panic!("{cut} bytes: {part:?}, and then {whole:?}"),
        }
    }
    let found = find_end(input, 0);
    for from in 0..input.len().min(32) {
        // What was searched before has no end in it.
        if find_end(&input[..from], 0).is_none() {
            assert_eq!(find_end(input, from), found);
        }
    }
    // What was read before changes nothing: neither the same head nor one with other fields.
    let mut reader = Reader::default();
    for before in [&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..], input] {
        reader.parse(before);
        assert_eq!(reader.parse(input), whole);
    }
    if let Parsed::Head(head, size) = whole {
        assert!(found.is_some_and(|end| end <= size), "the shard would not have looked");
        check(&head, &input[..size]);
    }
}

fn check(head: &Head<'_>, raw: &[u8]) {
    assert_eq!(head.raw, raw);
    let text: Vec<&[u8]> = raw.split(|&b| b == b'\n').collect();
    for line in &text[..text.len() - 1] {
        let inner = line.strip_suffix(b"\r").expect("a line that ends without CR");
        assert!(!inner.contains(&b'\r') && !inner.contains(&0), "{inner:?}");
    }
    assert!(head.method.bytes().all(|b| b.is_ascii_graphic()));
    assert!(!head.path.contains(['#', '?', ' ', '\r', '\n']));
    assert!(!head.query.contains(['#', ' ', '\r', '\n']));
    let lengths: Vec<_> = head.fields("Content-Length").collect();
    let codings: Vec<_> = head.fields("transfer-encoding").collect();
    assert!(lengths.len() + codings.len() <= 1, "smuggling: {lengths:?} {codings:?}");
    match head.framing {
        Framing::Chunked => assert!(codings[0].eq_ignore_ascii_case(b"chunked")),
        Framing::Length(n) => {
            assert!(codings.is_empty());
            let told = lengths.first().map(|length| std::str::from_utf8(length).unwrap());
            assert_eq!(told.unwrap_or("0").parse(), Ok(n));
        }
    }
    assert!(head.fields("host").count() <= 1);
    if let Some(handshake) = &head.handshake {
        assert!(is_key(handshake.key) && head.method == "GET");
        assert!(head.framing == Framing::Length(0));
        assert!(handshake.protocol.is_none_or(|p| !p.is_empty() && p.is_ascii()));
    }
    let _ = route(head.path);
    let kept = RequestHead::new(raw);
    assert!(kept.target().contains(head.path) || head.path == "/");
    for (name, value) in kept.headers() {
        assert!(kept.header(&name).is_some());
        assert!(!value.contains(&b'\n'));
    }
}

/// A body is the same however it is cut, is never over the limit, and leaves what is behind it.
pub fn body(input: &[u8]) {
    let Some((cuts, input)) = steered(input) else { return };
    let Some((framing, input)) = steered(input) else { return };
    let limit = 64 + usize::from(framing >> 4) * 64;
    let framing = match framing & 15 {
        n @ 0..5 => Framing::Length(u64::from(n) * 37),
        5 => Framing::Length(u64::MAX),
        _ => Framing::Chunked,
    };
    let at_once = read_body(framing, limit, &[input]);
    let pieces = Cuts::new(cuts).pieces(input);
    let in_pieces = read_body(framing, limit, &pieces);
    assert_eq!(at_once, in_pieces);
    if let Ok(Some((data, _))) = at_once {
        assert!(data.len() <= limit);
        if let Framing::Length(n) = framing {
            assert_eq!(data, input[..n as usize]);
        }
    }
}

/// The body and how many bytes it took; `None` when it is not whole.
fn read_body(
    framing: Framing,
    limit: usize,
    pieces: &[&[u8]],
) -> Result<Option<(Vec<u8>, usize)>, BodyFault> {
    let mut body = Body::new(framing, limit)?;
    let mut taken = 0;
    for piece in pieces.iter().copied().chain([&[][..]]) {
        let mut rest = piece;
        let whole = body.read(&mut rest)?;
        taken += piece.len() - rest.len();
        if whole {
            return Ok(Some((body.into_data(), taken)));
        }
        assert!(rest.is_empty(), "a body that wants more leaves bytes");
    }
    Ok(None)
}

/// Nobody but a trusted proxy moves the client's address, and then to one that a field names.
pub fn forwarded(input: &[u8]) {
    let head = [b"GET / HTTP/1.1\r\nhost: h\r\n", input, b"\r\n\r\n"].concat();
    let peer: SocketAddr = "10.0.0.1:4000".parse().unwrap();
    assert_eq!(client_behind("", peer, &head).unwrap(), peer);
    assert_eq!(client_behind("192.0.2.0/24", peer, &head).unwrap(), peer);
    let client = client_behind("10.0.0.0/8, ::1", peer, &head).unwrap();
    if client != peer {
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        assert!(text.contains("forwarded"), "{client}");
        assert!(text.contains(':'), "{client}");
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(client) =
            client_behind(text, peer, b"GET / HTTP/1.1\r\nForwarded: for=1.2.3.4\r\n\r\n")
    {
        assert!(client == peer || client.ip() == IpAddr::from([1, 2, 3, 4]));
    }
}
