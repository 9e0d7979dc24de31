//! The gateway dialect: clients that a back end speaks to, over gRPC or from the program.
//!
//! A client learns its id by its first frame, must send `ping` now and then, and gets `pong`. All
//! else that it sends is ignored: the back end is told nothing. Its groups are channels, its uid is
//! a user.

use std::sync::Arc;

use super::{Closure, Handler};
use crate::hub::Connection;
use crate::server::{ServerOptions, Service};
use crate::wire::websocket::Message;
use crate::wire::{self, MessageKind};

/// What handles the gateway's clients.
pub(super) struct Dialect {
    kind: MessageKind,
    pong: Message,
}

impl Dialect {
    pub(super) fn new(options: &ServerOptions) -> Self {
        let kind = kind(options);
        Self { kind, pong: Message::new(kind, b"pong") }
    }
}

/// The kind of the frames that clients get.
pub(in crate::server) fn kind(options: &ServerOptions) -> MessageKind {
    match options.gateway_format.as_str() {
        "binary" => MessageKind::Binary,
        _ => MessageKind::Text,
    }
}

impl Handler for Dialect {
    fn dialect(&self) -> wire::Dialect {
        wire::Dialect::Gateway
    }

    fn greeting(&self, connection: &Connection) -> Option<Message> {
        Some(Message::new(self.kind, connection.id().as_bytes()))
    }

    fn opened(&self, _: &Arc<Service>, _: &Arc<Connection>, _: Option<Arc<Connection>>) {}

    fn message(&self, _: &Arc<Service>, from: &Arc<Connection>, _: MessageKind, data: &[u8]) {
        if data == b"ping" {
            from.beat();
            // It fails only when the client is going.
            let _ = from.send(&self.pong);
        }
    }

    fn closed(&self, _: &Arc<Service>, _: &Arc<Connection>, _: &Closure) {}
}
