//! What the packet dialect keeps with a connection.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::delivery::Lane;
use crate::requests::{Clock, Requests};
use crate::wire::packet::Side;

/// A connection's requests under way, the line in which its callbacks wait, and the pull channels
/// that wait for their run. Made when the first of them is there: a connection that only listens has
/// none.
#[derive(Debug)]
pub(super) struct Peer {
    requests: OnceLock<Arc<Requests>>,
    pub(super) lane: Arc<Lane>,
    /// It broke the protocol: what else came with that is not looked at.
    pub(super) faulty: AtomicBool,
    /// Its socket is gone. It may be registered still, while the program is told.
    pub(super) ended: AtomicBool,
    /// As few as a program has pull channels: a list is enough.
    signalled: Mutex<Vec<u32>>,
}

impl Peer {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        Self {
            requests: OnceLock::new(),
            lane,
            faulty: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            signalled: Mutex::default(),
        }
    }

    /// The server's requests under way.
    pub(super) fn requests(&self, clock: &Arc<Clock>) -> &Arc<Requests> {
        self.requests.get_or_init(|| Requests::new(Arc::clone(clock), Side::Server))
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
