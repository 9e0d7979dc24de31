//! Request bodies (RFC 9112 sections 6 and 7), in whatever pieces they arrive.

use super::Framing;

/// A body that is being read. It keeps what arrived, never reserves what was announced.
#[derive(Debug)]
pub struct Body {
    state: State,
    limit: usize,
    /// Bytes of chunk extensions so far, which mean nothing here.
    extensions: usize,
    data: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Length(u64),
    /// A chunk-size line, kept until it is whole.
    ChunkSize(Vec<u8>),
    ChunkData(u64),
    /// The CR LF behind a chunk, of which so many bytes came.
    ChunkEnd(usize),
    /// Trailer fields: the current line's length so far, and bytes in all.
    Trailers {
        line: Vec<u8>,
        total: usize,
    },
    Done,
}

/// Why a body cannot be read. The connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// It is, or says it is, over the limit.
    TooLarge,
    /// The chunked coding is broken.
    Malformed,
}

/// A chunk-size line with its extensions, and all trailers together.
const MAX_CHUNK_LINE: usize = 1024;
/// The extensions of all chunks: else a body of a few bytes could be a long read.
const MAX_EXTENSIONS: usize = 16 << 10;
const MAX_TRAILERS: usize = 8192;

impl Body {
    /// A body delimited by `framing` of at most `limit` bytes.
    pub fn new(framing: Framing, limit: usize) -> Result<Self, BodyFault> {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) if length > limit as u64 => return Err(BodyFault::TooLarge),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize(Vec::new()),
        };
        Ok(Self { state, limit, extensions: 0, data: Vec::new() })
    }

    /// Takes what belongs to the body from the front of `input`; true when the body is whole.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<bool, BodyFault> {
        loop {
            match &mut self.state {
                State::Done => return Ok(true),
                State::Length(remaining) => {
                    *remaining -= take(input, *remaining, &mut self.data);
                    match remaining {
                        0 => self.state = State::Done,
                        _ => return Ok(false),
                    }
                }
                State::ChunkSize(line) => {
                    if !take_line(input, line, MAX_CHUNK_LINE)? {
                        return Ok(false);
                    }
                    // httparse takes a line without any digit for size 0.
                    let size = match httparse::parse_chunk_size(line) {
                        Ok(httparse::Status::Complete((_, size)))
                            if line.first().is_some_and(u8::is_ascii_hexdigit) =>
                        {
                            size
                        }
                        _ => return Err(BodyFault::Malformed),
                    };
                    // Sixteen digits say every size.
                    self.extensions += line.len().saturating_sub(16 + 2);
                    if self.extensions > MAX_EXTENSIONS {
                        return Err(BodyFault::Malformed);
                    }
                    if size > (self.limit - self.data.len()) as u64 {
                        return Err(BodyFault::TooLarge);
                    }
                    self.state = match size {
                        0 => State::Trailers { line: Vec::new(), total: 0 },
                        size => State::ChunkData(size),
                    };
                }
                State::ChunkData(remaining) => {
                    *remaining -= take(input, *remaining, &mut self.data);
                    match remaining {
                        0 => self.state = State::ChunkEnd(0),
                        _ => return Ok(false),
                    }
                }
                State::ChunkEnd(seen) => {
                    let Some((&byte, rest)) = input.split_first() else { return Ok(false) };
                    if b"\r\n".get(*seen) != Some(&byte) {
                        return Err(BodyFault::Malformed);
                    }
                    *input = rest;
                    *seen += 1;
                    if *seen == 2 {
                        self.state = State::ChunkSize(Vec::new());
                    }
                }
                State::Trailers { line, total } => {
                    if !take_line(input, line, MAX_TRAILERS - *total)? {
                        return Ok(false);
                    }
                    *total += line.len();
                    match line.len() {
                        2 => self.state = State::Done,
                        _ => line.clear(),
                    }
                }
            }
        }
    }

    /// Appends input that brings a new body of the same framing to where this one is. What came of
    /// trailers is the current line alone.
    pub fn replay(&self, out: &mut Vec<u8>) {
        let data = &self.data;
        let chunk = |out: &mut Vec<u8>, more: u64| {
            let size = data.len() as u64 + more;
            if size > 0 {
                out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                out.extend_from_slice(data);
            }
        };
        let whole_chunk = |out: &mut Vec<u8>| {
            chunk(out, 0);
            if !data.is_empty() {
                out.extend_from_slice(b"\r\n");
            }
        };
        match &self.state {
            State::Length(_) | State::Done => out.extend_from_slice(data),
            State::ChunkSize(line) => {
                whole_chunk(out);
                out.extend_from_slice(line);
            }
            State::ChunkData(remaining) => chunk(out, *remaining),
            State::ChunkEnd(seen) => {
                chunk(out, 0);
                out.extend_from_slice(b"\r\n".get(..*seen).unwrap_or_default());
            }
            State::Trailers { line, .. } => {
                whole_chunk(out);
                out.extend_from_slice(b"0\r\n");
                out.extend_from_slice(line);
            }
        }
    }

    /// Whether `input` has all of it that is still to come. Only the count is looked at: of chunks
    /// it is taken that they are not all there.
    pub fn is_within(&self, input: &[u8]) -> bool {
        match self.state {
            State::Done => true,
            State::Length(remaining) => remaining <= input.len() as u64,
            _ => false,
        }
    }

    /// The bytes of a whole body.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }
}

fn take(input: &mut &[u8], most: u64, out: &mut Vec<u8>) -> u64 {
    let (now, rest) = input.split_at(input.len().min(usize::try_from(most).unwrap_or(usize::MAX)));
    out.extend_from_slice(now);
    *input = rest;
    now.len() as u64
}

/// Moves bytes up to and with the next LF to `line`; true when the line is whole. It must end in
/// CR LF and be at most `max` bytes long.
fn take_line(input: &mut &[u8], line: &mut Vec<u8>, max: usize) -> Result<bool, BodyFault> {
    let end = memchr::memchr(b'\n', input).map(|at| at + 1);
    let (now, rest) = input.split_at(end.unwrap_or(input.len()));
    if line.len() + now.len() > max {
        return Err(BodyFault::Malformed);
    }
    line.extend_from_slice(now);
    *input = rest;
    match end {
        None => Ok(false),
        Some(_) if line.ends_with(b"\r\n") => Ok(true),
        Some(_) => Err(BodyFault::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` in pieces of `step`: the body, and what was left of the input.
    fn read(
        framing: Framing,
        bytes: &[u8],
        step: usize,
    ) -> Result<Option<(Vec<u8>, usize)>, BodyFault> {
        let mut body = Body::new(framing, 20)?;
        let mut done = 0;
        for piece in bytes.chunks(step) {
            let mut input = piece;
            let whole = body.read(&mut input)?;
            done += piece.len() - input.len();
            if whole {
                return Ok(Some((body.into_data(), bytes.len() - done)));
            }
            assert!(input.is_empty());
        }
        Ok(None)
    }

    #[test]
    fn a_counted_body_ends_where_it_says() {
        for step in 1..12 {
            let read = read(Framing::Length(5), b"helloGET /", step);
            assert_eq!(read, Ok(Some((b"hello".to_vec(), 5))));
        }
        assert_eq!(read(Framing::Length(5), b"hell", 9), Ok(None));
        assert_eq!(read(Framing::Length(21), b"", 9), Err(BodyFault::TooLarge));
    }

    #[test]
    fn chunks_with_extensions_and_trailers_are_joined() {
        let bytes = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\nZ: w\r\n\r\nGET /";
        for step in 1..bytes.len() {
            let read = read(Framing::Chunked, bytes, step);
            assert_eq!(read, Ok(Some((b"abc0123456789".to_vec(), 5))), "{step}");
        }
    }

    /// The body is left at every byte, and another one goes on behind what it replays.
    #[test]
    fn a_replay_brings_another_body_to_the_same_place() {
        let chunked = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\nZ: w\r\n\r\nGET /";
        for (framing, bytes) in [(Framing::Chunked, &chunked[..]), (Framing::Length(5), b"helloG")]
        {
            for end in 0..bytes.len() {
                let (first, rest) = bytes.split_at(end);
                let mut body = Body::new(framing, 20).unwrap();
                if body.read(&mut &first[..]).unwrap() {
                    continue;
                }
                let mut replayed = Vec::new();
                body.replay(&mut replayed);
                let mut other = Body::new(framing, 20).unwrap();
                let mut input = &replayed[..];
                assert!(!other.read(&mut input).unwrap() && input.is_empty(), "{end}");
                let mut input = rest;
                assert!(other.read(&mut input).unwrap(), "{end}");
                let expected = if framing == Framing::Chunked { "abc0123456789" } else { "hello" };
                assert_eq!(String::from_utf8(other.into_data()).unwrap(), expected, "{end}");
                assert!(input.starts_with(b"G"), "{end}");
            }
        }
    }

    #[test]
    fn broken_chunks_are_malformed() {
        for bytes in [
            &b"3\nabc\r\n0\r\n\r\n"[..],
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"-3\r\nabc\r\n",
            b"0x3\r\nabc\r\n",
            b"\r\nabc\r\n",
            b"fffffffffffffffff\r\n",
            b"0\r\nX: y\n\r\n",
            &[b'1'; 2000],
        ] {
            for step in [1, 7, 4000] {
                let read = read(Framing::Chunked, bytes, step);
                assert_eq!(read, Err(BodyFault::Malformed), "{:?}", String::from_utf8_lossy(bytes));
            }
        }
        let endless = [&b"0\r\n"[..], &b"X: y\r\n".repeat(2000)].concat();
        assert_eq!(read(Framing::Chunked, &endless, 99), Err(BodyFault::Malformed));
    }

    #[test]
    fn extensions_count_together() {
        let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1000));
        assert_eq!(read(Framing::Chunked, chunk.repeat(16).as_bytes(), 999), Ok(None));
        let many = chunk.repeat(17);
        assert_eq!(read(Framing::Chunked, many.as_bytes(), 999), Err(BodyFault::Malformed));
    }

    #[test]
    fn chunks_count_against_the_limit_together() {
        assert_eq!(read(Framing::Chunked, b"15\r\n", 9), Err(BodyFault::TooLarge));
        let bytes = b"A\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n";
        assert_eq!(read(Framing::Chunked, bytes, 9), Err(BodyFault::TooLarge));
    }
}
