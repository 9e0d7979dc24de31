//! One channel of a handle, and everybody in the handle who receives it.

use std::sync::Arc;

use tokio::time::Instant;

use super::handle::Join;
use super::inbox::Inbox;
use crate::wire::Position;

/// See the module's documentation. It outlives connections.
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) members: Vec<Arc<Inbox>>,
    pub(super) joining: Vec<Join>,
    /// The server's number on this connection; set while the subscription is live.
    pub(super) number: Option<u64>,
    /// What the next connection continues from: the last message that was received, or where the
    /// subscription began. `None` before the first answer, unless the program said where to begin.
    pub(super) position: Option<Position>,
    /// A request is under way.
    pub(super) asked: bool,
    /// The answer to the request under way is to be undone and the topic asked for anew.
    pub(super) starts_over: bool,
    /// The channel was gone after a reconnection; it is asked for again then.
    pub(super) retry_at: Option<Instant>,
}

impl Topic {
    /// A topic that nobody has asked the server for.
    pub(super) fn new(name: Arc<str>, since: Option<Position>) -> Self {
        Self {
            name,
            members: Vec::new(),
            joining: Vec::new(),
            number: None,
            position: since,
            asked: false,
            starts_over: false,
            retry_at: None,
        }
    }

    /// The connection is lost; the position stays.
    pub(super) fn disconnected(&mut self) {
        (self.number, self.asked, self.starts_over, self.retry_at) = (None, false, false, None);
    }

    /// The subscription is live, and goes on behind `position`.
    pub(super) fn live(&mut self, number: u64, position: Position, recovered: bool) {
        (self.number, self.position) = (Some(number), Some(position));
        for inbox in &self.members {
            inbox.offer(inbox.connected(position, Some(recovered)));
        }
    }

    /// Moves on to a message and tells its position; `None` if it was received before, so that
    /// nobody gets a message twice whatever a server does.
    pub(super) fn advance(&mut self, offset: u64) -> Option<Position> {
        let position = self.position.as_mut().filter(|position| offset > position.offset)?;
        position.offset = offset;
        Some(*position)
    }

    /// Makes a subscription live, unless its caller gave up.
    pub(super) fn admit(&mut self, join: Join, recovered: Option<bool>) {
        if join.promise.give(Ok(())) {
            let inbox = join.inbox;
            inbox.offer(inbox.connected(self.position.unwrap_or_default(), recovered));
            self.members.push(inbox);
        }
    }
}
