//! Writing to stdout: a reader that has gone ends the command quietly.

use std::io::{self, Write};

use crate::exit::{Exit, Failure};

/// What a failed write to stdout means: nothing, when the reader has gone.
pub fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Exit::Quiet, ""),
        _ => Failure::failed(format!("cannot write to stdout: {error}")),
    }
}

/// Writes `bytes` and flushes, so that a program that reads them need not wait for more.
pub fn write_all(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| failure(&error))
}

/// Writes `text` as a line and flushes.
pub fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    write_all(format!("{text}\n").as_bytes())
}
