//! What the current thread is to the library, and who waits for whom: what makes
//! `WouldDeadlock` an answer instead of a hang.

use std::cell::Cell;

use super::state::{lock, state};
use crate::{Error, ErrorKind, Result, thread};

/// What a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A thread of the program.
    Program,
    /// The I/O thread, which also runs inline callbacks, or another that must not wait.
    Io,
    /// The delivery thread of the inbox with this number.
    Delivery(u64),
}

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::Program) };
}

/// Tells what the current thread is; once, when the thread begins.
pub(crate) fn assume(role: Role) {
    ROLE.with(|cell| cell.set(role));
}

/// What the current thread is.
pub(crate) fn current() -> Role {
    // A shard of a server in this process, and a clock of requests: what waits there may wait for
    // itself, as on the I/O thread.
    if thread::must_not_wait() {
        return Role::Io;
    }
    ROLE.try_with(Cell::get).unwrap_or(Role::Program)
}

/// Refuses `what` on the I/O thread, where it would wait for that very thread.
pub(crate) fn refuse_on_io(what: &str) -> Result<()> {
    match current() {
        Role::Io => Err(would_deadlock(format!(
            "{what} would wait on an I/O thread, in an inline callback"
        ))),
        _ => Ok(()),
    }
}

pub(crate) fn would_deadlock(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::WouldDeadlock, message)
}

/// Says, while it lives, that the current delivery thread waits for the end of an inbox.
#[derive(Debug)]
pub(crate) struct Waiting(Option<u64>);

impl Waiting {
    /// Begins to wait for the inbox `target`; refused when that inbox' thread waits, through any
    /// number of others, for the current thread.
    pub(crate) fn begin(target: u64) -> Result<Self> {
        let Role::Delivery(me) = current() else { return Ok(Self(None)) };
        let mut waits = lock(&state().waits);
        let mut at = Some(target);
        while let Some(inbox) = at {
            if inbox == me {
                return Err(would_deadlock(
                    "that subscription's callback waits for the callback that makes this call",
                ));
            }
            at = waits.get(&inbox).copied();
        }
        waits.insert(me, target);
        Ok(Self(Some(me)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(me) = self.0 {
            lock(&state().waits).remove(&me);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_circle_of_waiting_callbacks_is_refused() {
        let (first, second) = (u64::MAX - 1, u64::MAX - 2);
        let (begun, is_begun) = channel();
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            assume(Role::Delivery(first));
            let waiting = Waiting::begin(second).unwrap();
            begun.send(()).unwrap();
            let _ = ended.recv();
            drop(waiting);
        });
        is_begun.recv().unwrap();
        let other = std::thread::spawn(move || {
            assume(Role::Delivery(second));
            assert_eq!(Waiting::begin(first).unwrap_err().kind(), ErrorKind::WouldDeadlock);
            assert_eq!(Waiting::begin(second).unwrap_err().kind(), ErrorKind::WouldDeadlock);
            drop(end);
            thread.join().unwrap();
            assert!(Waiting::begin(first).is_ok());
        });
        other.join().unwrap();
    }
}
