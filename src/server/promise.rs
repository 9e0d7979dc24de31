//! Answers that come later than their requests were read.

use std::sync::Arc;

use super::answer::Answer;
use crate::hub::{Inbox, Item, Late, Told};

/// The right, and the duty, to answer one HTTP request, on any thread. The connection waits for it
/// and looks at nothing that comes behind the request. One that is dropped answers 503.
#[derive(Debug)]
pub(super) struct Promise {
    inbox: Arc<Inbox>,
    token: u32,
    ticket: u64,
    kept: bool,
}

impl Promise {
    pub(super) fn new(inbox: Arc<Inbox>, token: u32, ticket: u64) -> Self {
        Self { inbox, token, ticket, kept: false }
    }

    /// Answers. The client may be gone by now.
    pub(super) fn answer(mut self, answer: Answer) {
        self.keep(answer);
    }

    fn keep(&mut self, answer: Answer) {
        self.kept = true;
        let (status, body) = answer.into_json();
        let answer = Told::Json(status, body);
        self.inbox.push(Item::Answer(Box::new(Late {
            token: self.token,
            ticket: self.ticket,
            answer,
        })));
        self.inbox.notify();
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.kept {
            self.keep(Answer::failure(503, "The server stopped before the answer was known"));
        }
    }
}
