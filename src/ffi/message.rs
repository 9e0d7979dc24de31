//! Messages
//!
//! A message is text (UTF-8) or binary (any bytes), and who receives it sees which. Every message of
//! a channel has a position, the same for all subscribers, without holes.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void send(qy_server *server, const void *picture, size_t size) {
//!   qy_position at = {sizeof at, 0, 0};
//!   qy_server_publish(server, "news", QY_TEXT, "a picture follows", 17, NULL);
//!   if (qy_server_publish(server, "news", QY_BINARY, picture, size, &at) == QY_OK)
//!     printf("number %llu since the channel was made\n", (unsigned long long)at.offset);
//! }
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_server_create_channel(server, "news");
//!   send(server, "\x89PNG", 4);
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use super::error::{Failure, Outcome};
use super::structs;
use crate::wire::{MessageKind, Position};

/// A message of UTF-8 text: WebSocket clients receive a text message.
pub const QY_TEXT: i32 = 1;
/// A message of any bytes: WebSocket clients receive a binary message.
pub const QY_BINARY: i32 = 2;
/// A message of text that must be JSON: checked where it is sent, and received as QY_TEXT.
pub const QY_JSON: i32 = 3;

/// Where a message stands in its channel.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_position {
    /// sizeof(qy_position), set by the caller.
    pub struct_size: usize,
    /// The channel's incarnation.
    pub epoch: u64,
    /// The number of the publication in that epoch: the first is 1, and there are no holes.
    pub offset: u64,
}

// SAFETY: `repr(C)`, begins with its size, integers only.
unsafe impl structs::Versioned for qy_position {}

impl From<qy_position> for Position {
    fn from(position: qy_position) -> Self {
        Self { epoch: position.epoch, offset: position.offset }
    }
}

impl From<Position> for qy_position {
    fn from(position: Position) -> Self {
        Self { struct_size: size_of::<Self>(), epoch: position.epoch, offset: position.offset }
    }
}

/// The number that C knows a message's kind by.
pub(super) fn kind_code(kind: MessageKind) -> i32 {
    match kind {
        MessageKind::Text => QY_TEXT,
        MessageKind::Binary => QY_BINARY,
    }
}

/// Reads a message's kind. Whether a text is one is judged where it is published, once.
pub(super) fn message_kind(kind: i32) -> Outcome<MessageKind> {
    match kind {
        QY_TEXT => Ok(MessageKind::Text),
        QY_BINARY => Ok(MessageKind::Binary),
        other => Err(Failure::parameter(format!(
            "'kind' is {other}; it takes QY_TEXT (1) or QY_BINARY (2)"
        ))),
    }
}

/// Reads the kind of a message that is sent by this process, where text may be promised to be JSON.
pub(super) fn payload_kind(kind: i32, data: &[u8]) -> Outcome<MessageKind> {
    if kind != QY_JSON {
        return match kind {
            QY_TEXT => Ok(MessageKind::Text),
            QY_BINARY => Ok(MessageKind::Binary),
            other => Err(Failure::parameter(format!(
                "'kind' is {other}; it takes QY_TEXT (1), QY_BINARY (2) or QY_JSON (3)"
            ))),
        };
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(data) {
        Ok(_) => Ok(MessageKind::Text),
        Err(error) => Err(Failure::parameter(format!("'data' is not JSON: {error}"))),
    }
}

/// The checked size of a position that may be left out.
///
/// # Safety
/// `out` is NULL or points to a struct of its `struct_size`.
pub(super) unsafe fn optional_size(out: *mut qy_position) -> Outcome<Option<usize>> {
    match out.is_null() {
        true => Ok(None),
        // SAFETY: the caller's.
        false => unsafe { structs::check(out, "out") }.map(Some),
    }
}
