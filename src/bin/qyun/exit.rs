//! How the command ends: exit codes and the text of a failure.

use std::io::Write;
use std::process::ExitCode;

use qyun::{Error, ErrorKind};

/// The exit codes, as `qyun --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Whoever read the output has gone: an ordinary end.
    Quiet = 0,
    Failed = 1,
    Usage = 2,
    Connect = 3,
    NotFound = 4,
    Exists = 5,
    Timeout = 6,
}

impl Exit {
    /// The exit with that code; what is none of the list is a failure.
    pub fn from_code(code: u64) -> Self {
        [Self::Usage, Self::Connect, Self::NotFound, Self::Exists, Self::Timeout]
            .into_iter()
            .find(|exit| *exit as u64 == code)
            .unwrap_or(Self::Failed)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Connect => "connect",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Timeout => "timeout",
        }
    }
}

/// Why the command ends early.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub text: String,
}

impl Failure {
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    /// Something that was tried did not work.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(Exit::Failed, text)
    }

    /// The arguments make no sense.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// The same failure with `context` in front of its text.
    pub fn context(mut self, context: impl std::fmt::Display) -> Self {
        self.text = format!("{context}: {}", self.text);
        self
    }

    /// Tells it on stderr, as a JSON object if asked, and gives the exit code. One without a text
    /// has been told already.
    pub fn report(&self, json: bool) -> ExitCode {
        let mut stderr = std::io::stderr();
        // Nobody is left to tell when stderr is closed.
        let _ = match (self.exit, json) {
            (Exit::Quiet, _) => Ok(()),
            _ if self.text.is_empty() => Ok(()),
            (exit, true) => {
                let error = serde_json::json!({
                    "error": exit.name(), "message": self.text, "exit_code": exit as u8,
                });
                writeln!(stderr, "{error}")
            }
            (_, false) => writeln!(stderr, "qyun: {}", self.text),
        };
        ExitCode::from(self.exit as u8)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::InvalidArgument
            | ErrorKind::InvalidUtf8
            | ErrorKind::InvalidName
            | ErrorKind::InvalidUrl
            | ErrorKind::UnknownOption
            | ErrorKind::InvalidOption => Exit::Usage,
            ErrorKind::Connect | ErrorKind::AddressInUse => Exit::Connect,
            ErrorKind::ChannelNotFound | ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::ChannelExists => Exit::Exists,
            ErrorKind::Timeout => Exit::Timeout,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{ConnectionRefused, TimedOut};
        let exit = match error.kind() {
            ConnectionRefused => Exit::Connect,
            TimedOut => Exit::Timeout,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_error_have_the_documented_codes() {
        for (kind, code) in [
            (ErrorKind::Refused, 1),
            (ErrorKind::Protocol, 1),
            (ErrorKind::InvalidOption, 2),
            (ErrorKind::InvalidName, 2),
            (ErrorKind::Connect, 3),
            (ErrorKind::AddressInUse, 3),
            (ErrorKind::ChannelNotFound, 4),
            (ErrorKind::ChannelExists, 5),
            (ErrorKind::Timeout, 6),
        ] {
            assert_eq!(Failure::from(Error::new(kind, "x")).exit as u8, code, "{kind:?}");
        }
    }
}
