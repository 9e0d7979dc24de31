//! What every subscriber of one channel must receive, and how far all of them have come.
//!
//! All messages have one size, so what a subscriber receives is one known run of bytes: it is
//! compared with that run as it comes, many frames at a time, however the reads cut it.

use super::payload::{self, Filling};
use super::wire::{Framing, Wire};

/// The frames of one channel that some subscriber still has to receive.
pub struct Stream {
    channel: u32,
    size: usize,
    filling: Filling,
    wire: Wire,
    /// Where the message stands in its frame.
    body: usize,
    frame_len: usize,
    /// Slots less one; the number of slots is a power of two.
    mask: usize,
    /// Frame `n` stands in slot `n & mask`.
    frames: Vec<u8>,
    /// Of each slot: when that message was sent, or should have been.
    sent_at: Vec<u64>,
    /// Of each slot: the subscribers that wait for that message next. Messages from `oldest` to
    /// `next`, both included, have their own slot.
    waiting: Vec<u32>,
    /// The first message that some subscriber has not received.
    oldest: u64,
    /// The next message to be sent.
    next: u64,
}

impl Stream {
    /// A channel with up to `in_flight` messages between the first that someone misses and the
    /// last sent.
    pub fn new(
        channel: u32,
        framing: &Framing,
        size: usize,
        filling: Filling,
        in_flight: usize,
    ) -> Self {
        let slots = (in_flight + 1).next_power_of_two();
        let body = framing.before.len();
        let frame_len = body + size + framing.after.len();
        let mut frames = vec![0; slots * frame_len];
        for frame in frames.chunks_exact_mut(frame_len) {
            frame[..body].copy_from_slice(&framing.before);
            frame[body + size..].copy_from_slice(framing.after);
        }
        let (sent_at, waiting) = (vec![0; slots], vec![0; slots]);
        Self {
            channel,
            size,
            filling,
            wire: framing.wire,
            body,
            frame_len,
            mask: slots - 1,
            frames,
            sent_at,
            waiting,
            oldest: 0,
            next: 0,
        }
    }

    /// The channel's number.
    pub fn channel(&self) -> u32 {
        self.channel
    }

    /// The size of each message.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What the messages are made of.
    pub fn filling(&self) -> Filling {
        self.filling
    }

    /// What its subscribers speak.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// The size of each frame.
    pub fn frame_len(&self) -> usize {
        self.frame_len
    }

    /// The number of messages sent: the sequence number of the next.
    pub fn sent(&self) -> u64 {
        self.next
    }

    /// Messages sent and not yet received by every subscriber.
    pub fn in_flight(&self) -> u64 {
        self.next - self.oldest
    }

    /// Whether one more message would have no slot.
    pub fn is_full(&self) -> bool {
        self.in_flight() >= self.mask as u64
    }

    fn slot(&self, sequence: u64) -> usize {
        sequence as usize & self.mask
    }

    /// Adds the next message, sent at `now`, and gives its payload. The stream must not be full.
    pub fn push(&mut self, now: u64) -> &[u8] {
        debug_assert!(!self.is_full());
        let slot = self.slot(self.next);
        let start = slot * self.frame_len + self.body;
        let body = &mut self.frames[start..start + self.size];
        payload::write(body, self.channel, self.next, self.filling);
        self.sent_at[slot] = now;
        self.next += 1;
        body
    }

    /// A subscriber begins, waiting for the next message that is sent.
    pub fn join(&mut self) -> u64 {
        let slot = self.slot(self.next);
        self.waiting[slot] += 1;
        self.next
    }

    /// The subscriber that waited for `from` waits for `to`. True when it was one of the last, so
    /// that [`Stream::settle`] may find something.
    pub fn advance(&mut self, from: u64, to: u64) -> bool {
        let (old, new) = (self.slot(from), self.slot(to));
        self.waiting[old] -= 1;
        self.waiting[new] += 1;
        from == self.oldest && self.waiting[old] == 0
    }

    /// The subscriber that waited for `from` has gone.
    pub fn leave(&mut self, from: u64) {
        let slot = self.slot(from);
        self.waiting[slot] -= 1;
    }

    /// Passes over the messages that every subscriber has received, telling when each was sent.
    /// Costs one step per message, whatever the number of subscribers.
    pub fn settle(&mut self, mut received: impl FnMut(u64)) {
        while self.oldest < self.next {
            let slot = self.slot(self.oldest);
            if self.waiting[slot] != 0 {
                return;
            }
            received(self.sent_at[slot]);
            self.oldest += 1;
        }
    }

    /// The frame of a message that was sent and is still in flight.
    pub fn frame(&self, sequence: u64) -> &[u8] {
        let start = self.slot(sequence) * self.frame_len;
        &self.frames[start..start + self.frame_len]
    }

    /// How many bytes of `data` are what a subscriber must receive that has received everything
    /// before `sequence` and `partial` bytes of its frame.
    pub fn agreement(&self, sequence: u64, partial: usize, data: &[u8]) -> usize {
        let sent = (self.next - sequence) as usize * self.frame_len - partial;
        let data = &data[..data.len().min(sent)];
        let start = self.slot(sequence) * self.frame_len + partial;
        let (first, second) = data.split_at(data.len().min(self.frames.len() - start));
        if first != &self.frames[start..start + first.len()] {
            return common(first, &self.frames[start..]);
        }
        if second != &self.frames[..second.len()] {
            return first.len() + common(second, &self.frames);
        }
        data.len()
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing() -> Framing {
        Framing::new(Wire::WebSocket, "", 32)
    }

    #[test]
    fn a_message_is_settled_when_the_last_subscriber_has_it() {
        let mut stream = Stream::new(0, &framing(), 32, Filling::Letter, 4);
        let mut at = [stream.join(), stream.join()];
        for now in 10..13 {
            stream.push(now);
        }
        let mut settled = Vec::new();
        stream.advance(at[0], 3);
        at[0] = 3;
        stream.settle(|sent| settled.push(sent));
        assert!(settled.is_empty());
        assert!(stream.advance(at[1], 2));
        stream.settle(|sent| settled.push(sent));
        assert_eq!(settled, [10, 11]);
        assert_eq!(stream.in_flight(), 1);
        stream.leave(2);
        stream.settle(|sent| settled.push(sent));
        assert_eq!(settled, [10, 11, 12], "one that has gone is not waited for");
        assert_eq!(at[0], stream.sent());
    }

    #[test]
    fn agreement_ends_at_the_first_other_byte_also_across_the_ring() {
        let mut stream = Stream::new(3, &framing(), 32, Filling::Letter, 3);
        let mut next = stream.join();
        let mut bytes = Vec::new();
        for _ in 0..10 {
            stream.push(0);
            stream.push(0);
            bytes.clear();
            bytes.extend_from_slice(stream.frame(next));
            bytes.extend_from_slice(stream.frame(next + 1));
            assert_eq!(stream.agreement(next, 0, &bytes), bytes.len());
            for at in 0..bytes.len() {
                assert_eq!(stream.agreement(next, 0, &bytes[..at]), at);
                let (whole, rest) = (next + (at / 34) as u64, at % 34);
                assert_eq!(stream.agreement(whole, rest, &bytes[at..]), bytes.len() - at);
                bytes[at] ^= 1;
                assert_eq!(stream.agreement(next, 0, &bytes), at);
                bytes[at] ^= 1;
            }
            let mut longer = bytes.clone();
            longer.extend_from_slice(&bytes);
            assert_eq!(stream.agreement(next, 0, &longer), bytes.len(), "not yet sent");
            stream.advance(next, next + 2);
            next += 2;
            stream.settle(|_| {});
        }
    }
}
