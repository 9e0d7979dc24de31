//! Many messages to many channels in one call.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use super::publish::stopped;
use super::{Done, Service};
use crate::delivery::waiting_for_peer;
use crate::hub::{BatchMessage, Channel, Report, Reports};
use crate::wire::websocket::Message;
use crate::{Error, ErrorKind, Result, thread};

/// Who is told what became of a batch, as [`Done`] is of one publication.
pub type BatchDone = Box<dyn FnOnce(Reports) + Send>;

/// The reports of a batch that come one by one. Whoever still owes one shares it; when the last of
/// them is done with it, the batch's publisher is told.
#[derive(Default)]
struct Collect(Mutex<Collected>);

#[derive(Default)]
struct Collected {
    reports: Vec<Option<Result<Report>>>,
    done: Option<BatchDone>,
}

impl Collect {
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is told the report of message `at`.
    fn place(self: &Arc<Self>, at: usize) -> Done {
        let collect = Arc::clone(self);
        Box::new(move |report| collect.set(at, report))
    }

    fn set(&self, at: usize, report: Result<Report>) {
        if let Some(place) = self.lock().reports.get_mut(at) {
            *place = Some(report);
        }
    }
}

impl Collected {
    fn reports(&mut self) -> Reports {
        let reports = std::mem::take(&mut self.reports);
        reports.into_iter().map(|report| report.unwrap_or_else(|| Err(stopped()))).collect()
    }
}

impl Drop for Collect {
    fn drop(&mut self) {
        let collected = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = collected.done.take() {
            done(collected.reports());
        }
    }
}

impl Service {
    /// Publishes a batch without waiting for anything, as a shard must; the rest as
    /// [`Service::publish_asking`] says. The messages of a batch to one channel stand in it one
    /// behind the other, in the batch's order and with nothing of others in between; the channels
    /// come in the order of their first messages. A message that fails keeps no other back.
    pub(in crate::server) fn publish_batch_asking(
        &self,
        batch: &[BatchMessage<'_>],
        later: impl FnOnce() -> BatchDone,
    ) -> Option<Reports> {
        let collect = Arc::new(Collect::default());
        collect.lock().reports.resize_with(batch.len(), || None);
        let mut runs: Vec<(Arc<Channel>, Vec<usize>)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (at, message) in batch.iter().enumerate() {
            let run = self.check(message.kind, message.payload).and_then(|()| {
                if let Some(run) = places.get(message.channel) {
                    return Ok(*run);
                }
                let channel = self.find(message.channel)?;
                places.insert(message.channel, runs.len());
                runs.push((channel, Vec::new()));
                Ok(runs.len() - 1)
            });
            match run {
                Ok(run) => {
                    if let Some((_, messages)) = runs.get_mut(run) {
                        messages.push(at);
                    }
                }
                Err(error) => collect.set(at, Err(error)),
            }
        }
        let mut waits = false;
        for (channel, messages) in &runs {
            let run: Vec<_> = messages
                .iter()
                .filter_map(|at| batch.get(*at))
                .map(|message| (Message::new(message.kind, message.payload), message.options))
                .collect();
            let place = |nth: usize| match messages.get(nth) {
                Some(at) => collect.place(*at),
                None => Box::new(drop),
            };
            let reports = self.publish_run_asking(channel, &run, place);
            for (at, report) in messages.iter().zip(reports) {
                match report {
                    Some(report) => collect.set(*at, report),
                    None => waits = true,
                }
            }
        }
        let mut collected = collect.lock();
        if !waits {
            return Some(collected.reports());
        }
        collected.done = Some(later());
        drop(collected);
        None
    }

    /// Publishes a batch, and waits for what is asked for. Errors: `Closed`; `WouldDeadlock` as of
    /// [`Service::publish_with`]. Those of its messages are in the reports.
    pub fn publish_batch(&self, batch: &[BatchMessage<'_>]) -> Result<Reports> {
        if batch.iter().any(|message| message.options.counts) && thread::must_not_wait() {
            let text = "the counts of a publication are waited for, and nothing may wait in an \
                        inline callback: publish without them";
            return Err(Error::new(ErrorKind::WouldDeadlock, text));
        }
        let holds = |message: &BatchMessage<'_>| {
            self.hub.get(message.channel).is_some_and(|channel| channel.hold().is_some())
        };
        if thread::must_not_wait() && batch.iter().any(holds) {
            let text = "publications to a channel with 'overload=hold' may have to wait, and nothing \
                        may wait in an inline callback";
            return Err(Error::new(ErrorKind::WouldDeadlock, text));
        }
        let commits = |name: &str| self.hub.get(name).is_some_and(|channel| channel.commits());
        if thread::must_not_wait()
            && let Some(message) = batch.iter().find(|message| commits(message.channel))
        {
            return Err(super::durable::would_wait(message.channel));
        }
        let (tell, told) = mpsc::sync_channel(1);
        self.publish_batch_then(batch, Box::new(move |reports| drop(tell.send(reports))))?;
        waiting_for_peer(&self.delivery, || told.recv()).map_err(|_| stopped())
    }

    /// The same without waiting for more than room: `done` is told what became of it, perhaps
    /// before this returns. It is not called after an error.
    pub fn publish_batch_then(&self, batch: &[BatchMessage<'_>], done: BatchDone) -> Result<()> {
        if self.stopped.load(Relaxed) {
            return Err(stopped());
        }
        if !thread::must_not_wait() {
            self.hub.wait_for_room();
        }
        let mut done = Some(done);
        let later = || done.take().unwrap_or_else(|| Box::new(drop));
        if let Some(reports) = self.publish_batch_asking(batch, later)
            && let Some(done) = done
        {
            done(reports);
        }
        Ok(())
    }
}
