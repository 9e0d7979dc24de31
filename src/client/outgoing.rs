//! What a handle sends: publications on their way out, and whether a message can be one.

use std::sync::Arc;

use bytes::Bytes;

use super::promise::Promise;
use crate::hub::Report;
use crate::wire::stream::{Op, Request, encode_request};
use crate::wire::{MessageKind, name};
use crate::{Error, ErrorKind, Result};

/// A publication on its way out.
pub(crate) struct Outgoing {
    pub(crate) id: u32,
    pub(crate) packet: Bytes,
    /// Who waits for the acknowledgement; `None` when nobody does.
    pub(crate) promise: Option<Arc<Promise<Result<Report>>>>,
    /// How many more times it may be sent: it has a key, under which it is published once.
    pub(crate) retries: u32,
}

impl Outgoing {
    /// Tells who waits for it, if somebody does.
    pub(crate) fn answer(self, answer: Result<Report>) {
        if let Some(promise) = self.promise {
            promise.give(answer);
        }
    }

    pub(crate) fn fail(self, error: Error) {
        self.answer(Err(error));
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.promise.as_ref().is_some_and(|promise| promise.is_abandoned())
    }
}

/// One request as it travels.
pub(crate) fn packet(id: u32, channel: &str, op: Op<'_>) -> Bytes {
    let mut bytes = Vec::new();
    encode_request(&mut bytes, &Request { id, channel, op });
    bytes.into()
}

/// Whether a message can be published at all.
pub(super) fn check(channel: &str, kind: MessageKind, data: &[u8]) -> Result<()> {
    name::validate(channel)?;
    match kind {
        MessageKind::Binary => Ok(()),
        MessageKind::Text => std::str::from_utf8(data).map(drop).map_err(|error| {
            let at = error.valid_up_to();
            let text = format!("a text must be UTF-8 and is not at byte {at}; send it as binary");
            Error::new(ErrorKind::InvalidUtf8, text)
        }),
    }
}
