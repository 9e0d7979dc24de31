//! What can be asked for beside a publication, and what a publisher is told of it.

use super::{MAX_KEY, Published};
use crate::tally::Counts;
use crate::wire::MessageKind;
use crate::{Error, ErrorKind, Result};

/// What a publisher asks for beside the publication.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishOptions<'a> {
    /// The message is published once, however often it comes under this key (1 to 255 bytes) within
    /// the channel's `idempotency_ms`.
    pub key: Option<&'a [u8]>,
    /// What the message is the latest value of (1 to 255 bytes), in a channel with
    /// `overload=keep_latest`. Elsewhere it means nothing.
    pub conflate: Option<&'a str>,
    /// How many subscribers it reached, which is known only when all shards have sent it on.
    pub counts: bool,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Where it is.
    pub published: Published,
    /// Whom it reached, if that was asked for. A repeat reaches nobody.
    pub counts: Option<Counts>,
}

/// One message of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchMessage<'a> {
    /// The channel's name.
    pub channel: &'a str,
    /// Text or binary.
    pub kind: MessageKind,
    /// The message.
    pub payload: &'a [u8],
    /// What is asked for beside its publication.
    pub options: PublishOptions<'a>,
}

/// What became of the messages of a batch, in their order.
pub type Reports = Vec<Result<Report>>;

impl PublishOptions<'_> {
    /// Error: `InvalidArgument` for a key, or what the message is the latest value of, that is too
    /// long or empty.
    pub fn check(&self) -> Result<()> {
        self.key.map_or(Ok(()), check_key)?;
        self.conflate.map_or(Ok(()), check_conflate)
    }
}

/// Error: `InvalidArgument` for a key that is not 1 to [`MAX_KEY`] bytes.
pub(super) fn check_key(key: &[u8]) -> Result<()> {
    if !(1..=MAX_KEY).contains(&key.len()) {
        let text = format!("an idempotency key is 1 to {MAX_KEY} bytes, not {}", key.len());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    Ok(())
}

/// The same for what a message is the latest value of.
pub fn check_conflate(conflate: &str) -> Result<()> {
    if !(1..=MAX_KEY).contains(&conflate.len()) {
        let text = format!(
            "what a message is the latest value of is named by 1 to {MAX_KEY} bytes: there are {}",
            conflate.len()
        );
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    Ok(())
}
