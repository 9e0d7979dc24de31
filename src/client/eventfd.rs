//! A descriptor that is readable while a flag is up.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};

/// An `eventfd(2)`, CLOEXEC and non-blocking. Whoever owns it serialises [`EventFd::set`].
#[derive(Debug)]
pub(crate) struct EventFd {
    file: File,
    raised: bool,
}

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { file: File::from(fd), raised: false })
    }

    /// The descriptor to poll. Reading from it would break the flag.
    pub(crate) fn raw(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Makes the descriptor readable or not; one system call when that changes, else none.
    pub(crate) fn set(&mut self, readable: bool) {
        if readable == self.raised {
            return;
        }
        // Neither can fail: the counter goes from 0 to 1 and back.
        let done = match readable {
            true => self.file.write_all(&1u64.to_ne_bytes()),
            false => self.file.read_exact(&mut [0; 8]),
        };
        debug_assert!(done.is_ok(), "eventfd: {done:?}");
        self.raised = readable;
    }
}
