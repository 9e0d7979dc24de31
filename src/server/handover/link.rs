//! The way between two processes: frames over a Unix stream socket, descriptors with them.
//!
//! A frame is a kind (u8), how many descriptors belong to it (u8), and how many bytes follow (u32,
//! little-endian). The descriptors go with its first byte, so they are there when it is read.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors of one frame. The kernel takes 253 in one message.
pub(in crate::server) const MAX_DESCRIPTORS: usize = 240;
/// The longest frame: the largest message there can be, and what stands around it.
const MAX_FRAME: usize = (1 << 30) + (1 << 20);
const HEADER: usize = 6;
const READ_BYTES: usize = 256 << 10;
const SPACE: usize = rustix::cmsg_space!(ScmRights(253));

/// What can be sent to the other side. Whatever takes longer than its deadline is an error of kind
/// `TimedOut`.
#[derive(Debug)]
pub(in crate::server) struct Outgoing {
    stream: UnixStream,
    deadline: Instant,
}

/// What comes from the other side, with a deadline likewise.
#[derive(Debug)]
pub(in crate::server) struct Incoming {
    stream: UnixStream,
    deadline: Instant,
    /// Read and not looked at yet, from `at` on.
    input: Vec<u8>,
    at: usize,
    descriptors: VecDeque<OwnedFd>,
}

/// Both ways over `stream`, for as long as `patience`.
pub(in crate::server) fn open(
    stream: UnixStream,
    patience: Duration,
) -> io::Result<(Incoming, Outgoing)> {
    stream.set_nonblocking(false)?;
    let deadline = Instant::now() + patience;
    let outgoing = Outgoing { stream: stream.try_clone()?, deadline };
    let (input, descriptors) = (Vec::new(), VecDeque::new());
    Ok((Incoming { stream, deadline, input, at: 0, descriptors }, outgoing))
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

/// What came.
#[derive(Debug)]
pub(in crate::server) struct Frame {
    pub kind: u8,
    pub payload: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

impl Outgoing {
    /// Gives what is still to be sent other patience, from now on.
    pub(in crate::server) fn allow(&mut self, patience: Duration) {
        self.deadline = Instant::now() + patience;
    }

    /// When there is no time any more.
    pub(in crate::server) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Sends a frame.
    pub(in crate::server) fn send(
        &self,
        kind: u8,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let too_much = || io::Error::from(io::ErrorKind::InvalidInput);
        let size = u32::try_from(payload.len()).map_err(|_| too_much())?;
        if payload.len() > MAX_FRAME || descriptors.len() > MAX_DESCRIPTORS {
            return Err(too_much());
        }
        let mut header = [kind, descriptors.len() as u8, 0, 0, 0, 0];
        header[2..].copy_from_slice(&size.to_le_bytes());
        let mut sent = 0;
        while sent < HEADER + payload.len() {
            self.stream.set_write_timeout(Some(left(self.deadline)?))?;
            let parts = [
                IoSlice::new(header.get(sent..).unwrap_or_default()),
                IoSlice::new(payload.get(sent.saturating_sub(HEADER)..).unwrap_or_default()),
            ];
            let mut space = [MaybeUninit::uninit(); SPACE];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if sent == 0
                && !descriptors.is_empty()
                && !control.push(SendAncillaryMessage::ScmRights(descriptors))
            {
                return Err(too_much());
            }
            match sendmsg(&self.stream, &parts, &mut control, SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Incoming {
    /// Gives what is still to come other patience, from now on.
    pub(in crate::server) fn allow(&mut self, patience: Duration) {
        self.deadline = Instant::now() + patience;
    }

    /// The next frame. The end is an error of kind `UnexpectedEof`.
    pub(in crate::server) fn receive(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(frame);
            }
            self.stream.set_read_timeout(Some(left(self.deadline)?))?;
            if self.read()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take_frame(&mut self) -> io::Result<Option<Frame>> {
        let waiting = self.input.get(self.at..).unwrap_or_default();
        let Some((header, rest)) = waiting.split_at_checked(HEADER) else { return Ok(None) };
        let &[kind, count, a, b, c, d] = header else { return Ok(None) };
        let size = u32::from_le_bytes([a, b, c, d]) as usize;
        if size > MAX_FRAME {
            return Err(broken("a frame over the limit"));
        }
        let Some(payload) = rest.get(..size) else { return Ok(None) };
        let payload = payload.to_vec();
        let count = usize::from(count);
        if count > self.descriptors.len() {
            return Err(broken("descriptors are missing"));
        }
        self.at += HEADER + size;
        if self.at == self.input.len() {
            self.input.clear();
            self.at = 0;
        }
        Ok(Some(Frame { kind, payload, descriptors: self.descriptors.drain(..count).collect() }))
    }

    fn read(&mut self) -> io::Result<usize> {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        let before = self.input.len();
        self.input.resize(before + READ_BYTES, 0);
        let read = self.read_into(before);
        self.input.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }

    fn read_into(&mut self, from: usize) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let room = self.input.get_mut(from..).unwrap_or_default();
            let parts = &mut [IoSliceMut::new(room)];
            match recvmsg(&self.stream, parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error.into()),
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        // The kernel drops descriptors for which this process has no room.
        match received.flags.contains(ReturnFlags::CTRUNC) {
            true => Err(io::Error::other(
                "there is no room for the descriptors: raise the limit of open files",
            )),
            false => Ok(received.bytes),
        }
    }

    /// Nothing can be sent to this side any more: what the other side tries to send from now on
    /// fails there. What it sent before can still be read; a frame that says `kind` is looked for.
    ///
    /// The kernel decides under one lock whether a byte came before or fails, so both sides agree.
    pub(in crate::server) fn close_and_look_for(&mut self, kind: u8) -> bool {
        // It fails only for a socket that has no other side, from which nothing comes either.
        let _ = self.stream.shutdown(Shutdown::Both);
        let _ = self.stream.set_read_timeout(Some(Duration::from_millis(100)));
        loop {
            match self.take_frame() {
                Ok(Some(frame)) if frame.kind == kind => return true,
                Ok(Some(_)) => {}
                Ok(None) => match self.read() {
                    Ok(0) | Err(_) => return false,
                    Ok(_) => {}
                },
                Err(_) => return false,
            }
        }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn pair() -> (Incoming, Outgoing) {
        let (a, b) = UnixStream::pair().unwrap();
        (open(a, PATIENCE).unwrap().0, open(b, PATIENCE).unwrap().1)
    }

    #[test]
    fn frames_come_whole_and_in_order_with_what_belongs_to_them() {
        let (mut from, to) = pair();
        let pipes: Vec<_> = (0..300).map(|_| io::pipe().unwrap()).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                to.send(1, b"", &[]).unwrap();
                let (first, second) = pipes.split_at(MAX_DESCRIPTORS);
                for (kind, pipes) in [(2, first), (3, second)] {
                    let fds: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
                    to.send(kind, &vec![kind; 1_000_000], &fds).unwrap();
                }
                to.send(4, b"end", &[]).unwrap();
            });
            assert_eq!(from.receive().unwrap().kind, 1);
            let mut at = 0;
            for (kind, count) in [(2, MAX_DESCRIPTORS), (3, 300 - MAX_DESCRIPTORS)] {
                let frame = from.receive().unwrap();
                assert_eq!((frame.kind, frame.descriptors.len()), (kind, count));
                assert_eq!(frame.payload, vec![kind; 1_000_000]);
                for descriptor in frame.descriptors {
                    io::PipeWriter::from(descriptor).write_all(&[at as u8]).unwrap();
                    let mut byte = [0];
                    (&pipes[at].0).read_exact(&mut byte).unwrap();
                    assert_eq!(byte[0], at as u8);
                    at += 1;
                }
            }
            let end = from.receive().unwrap();
            assert_eq!((end.kind, &*end.payload), (4, &b"end"[..]));
        });
        drop(to);
        assert_eq!(from.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn who_waits_longer_than_there_is_time_is_told() {
        let (a, _b) = UnixStream::pair().unwrap();
        let (mut from, to) = open(a, Duration::from_millis(5)).unwrap();
        assert_eq!(from.receive().unwrap_err().kind(), io::ErrorKind::TimedOut);
        let full = to.send(1, &vec![0; 10 << 20], &[]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn both_sides_agree_whether_the_last_word_was_said() {
        let (mut old, new) = pair();
        new.send(9, b"", &[]).unwrap();
        assert!(old.close_and_look_for(9), "it was said before");
        let (mut old, new) = pair();
        assert!(!old.close_and_look_for(9));
        assert!(new.send(9, b"", &[]).is_err(), "too late, and known to be");
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut link = open(a, PATIENCE).unwrap().0;
        (&b).write_all(&[1, 0, 0xff, 0xff, 0xff, 0xff]).unwrap();
        assert_eq!(link.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (a, b) = UnixStream::pair().unwrap();
        let mut link = open(a, PATIENCE).unwrap().0;
        (&b).write_all(&[1, 1, 0, 0, 0, 0]).unwrap();
        assert_eq!(link.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
