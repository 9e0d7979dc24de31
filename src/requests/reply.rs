//! The right to answer one request, once.

use crate::sync::atomic::{AtomicBool, Ordering::SeqCst};
use crate::{Error, ErrorKind, Result};

type Send = Box<dyn Fn(u32, &[u8]) -> Result<()> + std::marker::Send + Sync>;

/// Answers a request that a peer made: from any thread, now or later. A request whose reply is
/// dropped is not answered, and times out at the peer.
pub struct Reply {
    protocol: u32,
    answered: AtomicBool,
    send: Send,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl Reply {
    /// The reply to a request with protocol id `protocol`; `send` sends a response of that protocol
    /// id and data.
    pub fn new(
        protocol: u32,
        send: impl Fn(u32, &[u8]) -> Result<()> + std::marker::Send + Sync + 'static,
    ) -> Self {
        Self { protocol, answered: AtomicBool::new(false), send: Box::new(send) }
    }

    /// The request's protocol id, which the answer has unless it is to have another.
    pub fn protocol(&self) -> u32 {
        self.protocol
    }

    /// Whether it was answered.
    pub fn is_answered(&self) -> bool {
        self.answered.load(SeqCst)
    }

    /// Answers. Errors: `InvalidArgument` when it was answered already, `TooLarge`, after which
    /// another attempt may succeed, and `Closed`.
    pub fn send(&self, protocol: u32, data: &[u8]) -> Result<()> {
        if self.answered.swap(true, SeqCst) {
            let text = format!("the request (protocol id {}) is answered already", self.protocol);
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        (self.send)(protocol, data).inspect_err(|_| self.answered.store(false, SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_once_and_a_failed_answer_may_be_tried_again() {
        let reply = Reply::new(7, |protocol, data| {
            assert_eq!(protocol, 8);
            match data.len() {
                0..4 => Ok(()),
                _ => Err(Error::new(ErrorKind::TooLarge, "too large")),
            }
        });
        assert_eq!(reply.send(8, b"long").unwrap_err().kind(), ErrorKind::TooLarge);
        assert!(!reply.is_answered());
        reply.send(8, b"ok").unwrap();
        assert!(reply.is_answered());
        assert_eq!(reply.send(8, b"ok").unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
