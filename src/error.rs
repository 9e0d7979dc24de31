//! The one error type of the crate.

use std::fmt;

/// The result of every fallible operation of the crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What failed, with which value, and what to do about it.
///
/// [`Error::kind`] is for programs, [`fmt::Display`] for people.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: Box<str>,
}

/// The classes of failure that a caller may want to tell apart. The C ABI gives each a status code.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// An argument is out of its range.
    InvalidArgument,
    /// Text that must be UTF-8 is not.
    InvalidUtf8,
    /// A channel name is empty, too long, or has control characters.
    InvalidName,
    /// A host or URL cannot be understood.
    InvalidUrl,
    /// No option has that key.
    UnknownOption,
    /// The option exists and does not take that value.
    InvalidOption,
    /// The channel does not exist.
    ChannelNotFound,
    /// The channel exists already.
    ChannelExists,
    /// A message, name or request is over a limit.
    TooLarge,
    /// No connection to the peer could be made, or it was lost before the answer. A retry may help.
    Connect,
    /// The peer did not answer in time. A retry may help.
    Timeout,
    /// The object was closed.
    Closed,
    /// The peer answered something that is not the protocol.
    Protocol,
    /// The peer understood the request and refused it.
    Refused,
    /// Another socket listens on the address.
    AddressInUse,
    /// The operating system refused an operation.
    Io,
    /// There is no such object.
    NotFound,
    /// A bounded queue is full. A retry may help.
    QueueFull,
    /// Waiting here would wait for the caller itself.
    WouldDeadlock,
    /// There is such an object already.
    Exists,
    /// It contradicts what was done before under the same key.
    Conflict,
}

impl Error {
    /// An error of `kind` that reads `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into().into_boxed_str() }
    }

    /// The class of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text for people.
    pub fn text(&self) -> &str {
        &self.message
    }

    /// The same error with `context` in front of its text.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{context}: {}", self.message).into_boxed_str() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
            std::io::ErrorKind::TimedOut => ErrorKind::Timeout,
            _ => ErrorKind::Io,
        };
        Self::new(kind, error.to_string())
    }
}
