//! Publishing to channels whose messages count when the store has them.

use std::sync::{Arc, PoisonError};

use super::Service;
use super::publish::{Done, Wanted, outgoing};
use crate::hub::{Channel, Committed, PublishOptions, Report};
use crate::tally::Counts;
use crate::wire::websocket::Message;
use crate::{Error, ErrorKind, Result};

impl Service {
    /// Hands messages to the store, that stand one behind the other; `later` is asked whom to tell of
    /// which of them when it is published or refused, on the store's thread, or here if that is known
    /// at once. Who asked for counts is told when all shards have sent the message on.
    pub(super) fn commit_run_asking(
        &self,
        channel: &Arc<Channel>,
        run: &[(Message, PublishOptions<'_>)],
        mut later: impl FnMut(usize) -> Done,
    ) -> Vec<Option<Result<Report>>> {
        let mut commits = Vec::with_capacity(run.len());
        let mut reports = Vec::with_capacity(run.len());
        for (at, (message, options)) in run.iter().enumerate() {
            match outgoing(channel, message, options) {
                Err(error) => reports.push(Some(Err(error))),
                Ok((message, wanted)) => {
                    let key = options.key.map(<[u8]>::to_vec);
                    commits.push((message, key, told(later(at), wanted)));
                    reports.push(None);
                }
            }
        }
        channel.commit(commits);
        reports
    }
}

/// Tells a publisher what became of its message, with the counts if they are wanted.
fn told(done: Done, wanted: Option<Wanted>) -> Committed {
    Box::new(move |published| match (published, wanted) {
        // The message is held while this is called, so the tally has not ended.
        (Ok(published), Some(wanted)) if !published.duplicate => {
            *wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some((published, done));
        }
        (Ok(published), wanted) => {
            let counts = wanted.map(|_| Counts::default());
            done(Ok(Report { published, counts }));
        }
        (Err(error), _) => done(Err(error)),
    })
}

/// The refusal to wait for the store where nothing may wait.
pub(super) fn would_wait(channel: &str) -> Error {
    let text = format!(
        "channel '{channel}' is durable, and its store is waited for, which nothing may do here: \
         publish with a callback"
    );
    Error::new(ErrorKind::WouldDeadlock, text)
}
