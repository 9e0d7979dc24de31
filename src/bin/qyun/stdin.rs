//! Reading messages from stdin.

use std::io::{self, BufRead, Read};

use crate::exit::Failure;

/// The longest message that is read; the server's limit is lower by default.
pub const MAX_MESSAGE: u64 = 1 << 30;

fn failure(error: &io::Error) -> Failure {
    Failure::failed(format!("cannot read stdin: {error}"))
}

fn too_long() -> Failure {
    Failure::usage(format!("a message on stdin has more than {MAX_MESSAGE} bytes"))
}

/// All of stdin.
pub fn whole(input: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    input.take(MAX_MESSAGE + 1).read_to_end(&mut bytes).map_err(|error| failure(&error))?;
    if bytes.len() as u64 > MAX_MESSAGE {
        return Err(too_long());
    }
    Ok(bytes)
}

/// The next line into `line`, without its `\n` or `\r\n`; false at the end.
pub fn next_line(mut input: impl BufRead, line: &mut Vec<u8>) -> Result<bool, Failure> {
    line.clear();
    let read = input.by_ref().take(MAX_MESSAGE + 1).read_until(b'\n', line);
    if read.map_err(|error| failure(&error))? == 0 {
        return Ok(false);
    }
    if line.ends_with(b"\n") {
        line.truncate(line.len() - 1 - usize::from(line.ends_with(b"\r\n")));
    } else if line.len() as u64 > MAX_MESSAGE {
        return Err(too_long());
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_ends_and_nothing_else() {
        let mut input = &b"one\r\n\n\rtwo\nlast"[..];
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while next_line(&mut input, &mut line).unwrap() {
            lines.push(line.clone());
        }
        assert_eq!(lines, [&b"one"[..], b"", b"\rtwo", b"last"]);
    }
}
