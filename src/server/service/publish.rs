//! Publishing with a key, with counts, and with answers that come later.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use super::{Patience, Service};
use crate::delivery::waiting_for_peer;
use crate::hub::{Channel, Overload, PublishOptions, Published, Report, check_conflate};
use crate::tally::{Counts, Tally};
use crate::wire::websocket::{Extras, Message};
use crate::wire::{MessageKind, Position};
use crate::{Error, ErrorKind, Result, thread};

impl Report {
    /// The members of its JSON object.
    pub(in crate::server) fn members(&self) -> String {
        let Published { position: Position { epoch, offset }, subscribers, duplicate } =
            self.published;
        let mut members =
            format!(r#""epoch":{epoch},"offset":{offset},"subscribers":{subscribers}"#);
        if duplicate {
            members.push_str(r#","duplicate":true"#);
        }
        if let Some(Counts { reached, queued, dropped }) = self.counts {
            let counts = format!(r#","reached":{reached},"queued":{queued},"dropped":{dropped}"#);
            members.push_str(&counts);
        }
        members
    }
}

/// Who is told what became of a publication, once, on whatever thread knows it: often one that must
/// not wait.
pub type Done = Box<dyn FnOnce(Result<Report>) + Send>;

/// Where the counts of a message go: filled once it is published.
pub(super) type Wanted = Arc<Mutex<Option<(Published, Done)>>>;

/// A message as it is published with where its counts go, and its key.
type Prepared<'a> = Result<((Message, Option<Wanted>), Option<&'a [u8]>)>;

/// A message as it is published, and where its counts go if they are asked for. Error:
/// `InvalidArgument` for what it is the latest value of.
pub(super) fn outgoing(
    channel: &Channel,
    message: &Message,
    options: &PublishOptions<'_>,
) -> Result<(Message, Option<Wanted>)> {
    let conflation = conflation(channel, options.conflate)?;
    if !options.counts {
        return Ok(match conflation {
            None => (message.clone(), None),
            conflation => (message.sharing(Extras { tally: None, conflation }), None),
        });
    }
    let wanted = Wanted::default();
    let teller = Arc::clone(&wanted);
    let tally = Tally::new(move |counts| {
        let told = teller.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((published, done)) = told {
            done(Ok(Report { published, counts: Some(counts) }));
        }
    });
    Ok((message.sharing(Extras { tally: Some(tally), conflation }), Some(wanted)))
}

/// The answer to every publication once the server is stopped.
pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "the server is stopped")
}

impl Service {
    /// Publishes without waiting for anything, as a shard must. The result is there at once or, with
    /// `None`, comes later: then, and only then, `later` was asked whom to tell, who may have been
    /// told by the time that this returns.
    ///
    /// Errors, which come at once: those of [`Channel::publish_with`]; `InvalidArgument` for what it is
    /// the latest value of.
    pub(in crate::server) fn publish_asking(
        &self,
        channel: &Arc<Channel>,
        message: &Message,
        options: PublishOptions<'_>,
        later: impl FnOnce() -> Done,
    ) -> Option<Result<Report>> {
        self.publish_patiently(channel, message, options, Patience::Deadline, later)
    }

    /// The same with as much patience for the channel's subscribers.
    pub(in crate::server) fn publish_patiently(
        &self,
        channel: &Arc<Channel>,
        message: &Message,
        options: PublishOptions<'_>,
        patience: Patience,
        later: impl FnOnce() -> Done,
    ) -> Option<Result<Report>> {
        match channel.hold() {
            Some(hold) => self.publish_held((channel, hold), message, options, patience, later),
            None => self.publish_now(channel, message, options, later),
        }
    }

    /// The same without asking whether the channel's subscribers have room.
    pub(super) fn publish_now(
        &self,
        channel: &Arc<Channel>,
        message: &Message,
        options: PublishOptions<'_>,
        later: impl FnOnce() -> Done,
    ) -> Option<Result<Report>> {
        let plain = options.key.is_none() && options.conflate.is_none() && !options.counts;
        if plain && !channel.commits() {
            let published = self.publish_at_once(channel, message);
            return Some(published.map(|published| Report { published, counts: None }));
        }
        let mut later = Some(later);
        let later = |_| later.take().map_or_else(|| Box::new(drop) as Done, |later| later());
        let run = [(message.clone(), options)];
        let report = self.publish_run_now(channel, &run, later).pop();
        report.unwrap_or_else(|| Some(Err(stopped())))
    }

    /// The same for messages that stand one behind the other; `later` is asked whom to tell of
    /// which of them.
    pub(in crate::server) fn publish_run_asking(
        &self,
        channel: &Arc<Channel>,
        run: &[(Message, PublishOptions<'_>)],
        mut later: impl FnMut(usize) -> Done,
    ) -> Vec<Option<Result<Report>>> {
        let Some(hold) = channel.hold() else { return self.publish_run_now(channel, run, later) };
        // Each waits in its turn.
        let mut one = |at: usize, message: &Message, options: PublishOptions<'_>| {
            let patience = Patience::Deadline;
            self.publish_held((channel, hold), message, options, patience, || later(at))
        };
        run.iter().enumerate().map(|(at, (message, options))| one(at, message, *options)).collect()
    }

    fn publish_run_now(
        &self,
        channel: &Arc<Channel>,
        run: &[(Message, PublishOptions<'_>)],
        mut later: impl FnMut(usize) -> Done,
    ) -> Vec<Option<Result<Report>>> {
        if channel.commits() {
            return self.commit_run_asking(channel, run, later);
        }
        // With the counts that are wanted. A tally cannot end while its message is held here.
        let prepared: Vec<_> = run
            .iter()
            .map(|(message, options)| -> Prepared<'_> {
                Ok((outgoing(channel, message, options)?, options.key))
            })
            .collect();
        let keyable: Vec<_> = prepared
            .iter()
            .filter_map(|prepared| prepared.as_ref().ok())
            .map(|((message, _), key)| (message, *key))
            .collect();
        let mut results = channel.publish_run(&self.hub, &keyable).into_iter();
        let settle = |(at, prepared): (usize, &Prepared<'_>)| {
            let published = match prepared {
                Ok(_) => results.next().unwrap_or_else(|| Err(stopped())),
                Err(error) => Err(error.clone()),
            };
            let published = match published {
                Ok(published) => published,
                Err(error) => return Some(Err(error)),
            };
            let wanted = prepared.as_ref().ok().and_then(|((_, wanted), _)| wanted.as_ref());
            if published.duplicate {
                let counts = wanted.map(|_| Counts::default());
                return Some(Ok(Report { published, counts }));
            }
            self.hub.count_published();
            let Some(wanted) = wanted else { return Some(Ok(Report { published, counts: None })) };
            *wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some((published, later(at)));
            None
        };
        prepared.iter().enumerate().map(settle).collect()
    }

    /// Broadcasts a message like [`Service::publish`], and waits for what is asked for. Errors: those
    /// of [`Service::publish`]; `InvalidArgument` and `Conflict` for the key; `WouldDeadlock` for
    /// counts on a thread that counts them, which is where inline callbacks run.
    pub fn publish_with(
        &self,
        channel: &str,
        kind: MessageKind,
        payload: &[u8],
        options: PublishOptions<'_>,
    ) -> Result<Report> {
        if options.counts && thread::must_not_wait() {
            let text = "the counts of a publication are waited for, and nothing may wait in an \
                        inline callback: publish without them";
            return Err(Error::new(ErrorKind::WouldDeadlock, text));
        }
        if thread::must_not_wait() && self.hub.get(channel).is_some_and(|one| one.commits()) {
            return Err(super::durable::would_wait(channel));
        }
        let patience = match thread::must_not_wait() {
            true => Patience::None,
            false => Patience::Deadline,
        };
        self.wait_for(|done| self.start(channel, (kind, payload), options, patience, done))
    }

    /// Waits for the one report of what `start` starts.
    fn wait_for(&self, start: impl FnOnce(Done) -> Result<()>) -> Result<Report> {
        let (tell, told) = mpsc::sync_channel(1);
        start(Box::new(move |report| drop(tell.send(report))))?;
        // Exactly one report comes, unless the server ended.
        let report = waiting_for_peer(&self.delivery, || told.recv());
        report.unwrap_or_else(|_| Err(stopped()))
    }

    /// Publishes to a channel whose subscribers may make it wait, and waits.
    pub(super) fn publish_waiting(
        &self,
        channel: &Arc<Channel>,
        message: &Message,
    ) -> Result<Report> {
        let options = PublishOptions::default();
        self.wait_for(|done| self.launch(channel, message, options, Patience::Deadline, done))
    }

    /// The same without waiting for more than room: `done` is told what became of it, perhaps
    /// before this returns. It is not called after an error.
    pub fn publish_then(
        &self,
        channel: &str,
        kind: MessageKind,
        payload: &[u8],
        options: PublishOptions<'_>,
        done: Done,
    ) -> Result<()> {
        self.start(channel, (kind, payload), options, Patience::Deadline, done)
    }

    fn start(
        &self,
        channel: &str,
        (kind, payload): (MessageKind, &[u8]),
        options: PublishOptions<'_>,
        patience: Patience,
        done: Done,
    ) -> Result<()> {
        if self.stopped.load(Relaxed) {
            return Err(stopped());
        }
        self.check(kind, payload)?;
        let channel = self.find(channel)?;
        if !thread::must_not_wait() {
            self.hub.wait_for_room();
        }
        self.launch(&channel, &Message::new(kind, payload), options, patience, done)
    }

    fn launch(
        &self,
        channel: &Arc<Channel>,
        message: &Message,
        options: PublishOptions<'_>,
        patience: Patience,
        done: Done,
    ) -> Result<()> {
        let mut done = Some(done);
        let later = || done.take().unwrap_or_else(|| Box::new(drop));
        if let Some(report) = self.publish_patiently(channel, message, options, patience, later) {
            let report = report?;
            if let Some(done) = done {
                done(Ok(report));
            }
        }
        Ok(())
    }
}

/// What the channel takes of what a message is said to be the latest value of.
fn conflation(channel: &Channel, conflate: Option<&str>) -> Result<Option<Arc<str>>> {
    let Some(conflate) = conflate else { return Ok(None) };
    check_conflate(conflate)?;
    let keeps = channel.config().policy() == Overload::KeepLatest;
    Ok(keeps.then(|| conflate.into()))
}
