//! The task of a client handle: connect, subscribe, publish, deliver, and again after a loss.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::ClientState;
use super::backoff::Backoff;
use super::handle::Shared;
use super::session::Session;
use crate::wire::stream;
use crate::{Error, ErrorKind};

/// A connection that lasted as long as this was a good one: the back-off begins anew.
const GOOD: Duration = Duration::from_secs(2);

/// Runs until the handle is closed, by the program or for good by the server. The session comes
/// from outside, so that its end is told even when the runtime drops this before its first step.
pub(crate) async fn run(shared: Arc<Shared>, mut session: Session) {
    let mut backoff = Backoff::new(&shared.options);
    let mut before = false;
    loop {
        let Some(dialled) = while_serving(&mut session, shared.target.dial(stream::PATH)).await
        else {
            return;
        };
        let may_retry = match dialled {
            Ok((mut link, _)) => {
                let since = Instant::now();
                session.connected(before);
                before = true;
                let Some(lost) = poll_fn(|cx| session.poll(&mut link, cx)).await else {
                    // The subscriptions' end does not wait for the goodbye.
                    drop(session);
                    return link.close().await;
                };
                link.finish().await;
                if since.elapsed() >= GOOD {
                    backoff.reset();
                }
                backoff.heed(&lost.reason);
                session.disconnected(&lost);
                lost.come_back
            }
            Err(error) => {
                let error = error.context("cannot connect");
                // 403 and 404 name the path here, not a channel.
                let error = match error.kind() {
                    ErrorKind::ChannelNotFound => Error::new(ErrorKind::Refused, error.to_string()),
                    _ => error,
                };
                session.failed(&error);
                true
            }
        };
        let delay = backoff.next().filter(|_| may_retry && shared.options.reconnect);
        let Some(delay) = delay else { return };
        shared.set_state(ClientState::Connecting);
        if while_serving(&mut session, sleep(delay)).await.is_none() {
            return;
        }
    }
}

/// Runs `future` without a connection; subscriptions come and go meanwhile. `None` as soon as the
/// program closes the handle.
async fn while_serving<F: Future>(session: &mut Session, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match session.poll_changes(cx) {
        true => Poll::Ready(None),
        false => future.as_mut().poll(cx).map(Some),
    })
    .await
}
