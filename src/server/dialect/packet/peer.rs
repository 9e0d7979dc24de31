//! What the packet dialect keeps with a connection.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::delivery::Lane;
use crate::requests::Requests;

/// A connection's requests under way, the line in which its callbacks wait, and the pull channels
/// that wait for their run.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) requests: Arc<Requests>,
    pub(super) lane: Arc<Lane>,
    /// It broke the protocol: what else came with that is not looked at.
    pub(super) faulty: AtomicBool,
    /// Its socket is gone. It may be registered still, while the program is told.
    pub(super) ended: AtomicBool,
    /// As few as a program has pull channels: a list is enough.
    signalled: Mutex<Vec<u32>>,
}

impl Peer {
    pub(super) fn new(requests: Arc<Requests>, lane: Arc<Lane>) -> Self {
        Self {
            requests,
            lane,
            faulty: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            signalled: Mutex::default(),
        }
    }

    /// Notes a signal; false if one waits already.
    pub(super) fn signal(&self, channel: u32) -> bool {
        let mut signalled = self.signalled();
        let new = !signalled.contains(&channel);
        if new {
            signalled.push(channel);
        }
        new
    }

    /// The run that was signalled begins.
    pub(super) fn take_signal(&self, channel: u32) {
        self.signalled().retain(|other| *other != channel);
    }

    fn signalled(&self) -> MutexGuard<'_, Vec<u32>> {
        self.signalled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
