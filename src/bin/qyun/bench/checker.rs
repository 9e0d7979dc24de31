//! What one subscriber receives, judged: every message once, in order, unchanged.

use std::collections::BTreeSet;

use super::frame::{self, Parsed};
use super::payload;
use super::stream::Stream;

/// Missing messages that are remembered per subscriber, to tell a late one from a doubled one.
const MAX_MISSING: usize = 1 << 16;

/// What was found, over all subscribers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Messages received whole and unchanged, for the first time.
    pub delivered: u64,
    /// Messages that never came.
    pub lost: u64,
    /// Messages that came again.
    pub duplicated: u64,
    /// Messages that came after a later one.
    pub out_of_order: u64,
    /// Messages that are not what was sent to this channel.
    pub corrupted: u64,
    /// Subscribers that the server disconnected, or that broke off for bytes that are no frame.
    pub disconnected: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl Tally {
    /// Whether every message came once, in order, unchanged.
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.out_of_order + self.corrupted + self.disconnected == 0
    }
}

/// Whether a connection goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Open,
    /// The server closed it, or sent what cannot be read on from; the text says which.
    Ended(String),
}

/// One subscriber's place in its channel's stream. Costs no heap until something unexpected comes.
pub struct Checker {
    /// The message it waits for.
    next: u64,
    /// Bytes of that message's frame that came and were right.
    partial: usize,
    detour: Option<Box<Detour>>,
    /// It has left the stream.
    gone: bool,
}

/// What is kept of a subscriber that received something else than the next message.
#[derive(Default)]
struct Detour {
    /// The beginning of a frame; while it is not empty `partial` is 0.
    carry: Vec<u8>,
    missing: BTreeSet<u64>,
}

impl Checker {
    /// Joins `stream`.
    pub fn new(stream: &mut Stream) -> Self {
        Self { next: stream.join(), partial: 0, detour: None, gone: false }
    }

    /// Judges `data`, the next bytes that came. Answers to pings are appended to `replies`.
    /// `stream.settle` may find something afterwards if `*settles` was set.
    pub fn feed(
        &mut self,
        stream: &mut Stream,
        mut data: &[u8],
        tally: &mut Tally,
        replies: &mut Vec<u8>,
        settles: &mut bool,
    ) -> Verdict {
        tally.bytes += data.len() as u64;
        loop {
            if self.detour.as_ref().is_none_or(|detour| detour.carry.is_empty()) {
                let agreed = stream.agreement(self.next, self.partial, data);
                let received = self.partial + agreed;
                let frames = (received / stream.frame_len()) as u64;
                self.partial = received % stream.frame_len();
                self.advance(stream, frames, settles);
                tally.delivered += frames;
                data = &data[agreed..];
                if data.is_empty() {
                    return Verdict::Open;
                }
                let part = &stream.frame(self.next)[..self.partial];
                self.detour.get_or_insert_default().carry.extend_from_slice(part);
                self.partial = 0;
            }
            // One frame beside the expected run, then back to it.
            let mut detour = self.detour.take().unwrap_or_default();
            let held = detour.carry.len();
            detour.carry.extend_from_slice(data);
            let (verdict, used) = match stream.wire().parse(&detour.carry) {
                Parsed::Partial => (Verdict::Open, data.len()),
                Parsed::Bad(why) => (Verdict::Ended(why.into()), data.len()),
                Parsed::Frame { first, payload, total } => {
                    let missing = &mut detour.missing;
                    let verdict =
                        self.judge(stream, first, payload, missing, tally, replies, settles);
                    detour.carry.clear();
                    // What was held was the beginning of this frame, so it ends in `data`.
                    (verdict, total.saturating_sub(held))
                }
            };
            self.detour = Some(detour);
            data = &data[used..];
            if data.is_empty() || verdict != Verdict::Open {
                return verdict;
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn judge(
        &mut self,
        stream: &mut Stream,
        first: u8,
        body: &[u8],
        missing: &mut BTreeSet<u64>,
        tally: &mut Tally,
        replies: &mut Vec<u8>,
        settles: &mut bool,
    ) -> Verdict {
        match first {
            frame::PING => {
                stream.wire().pong(replies, body);
                return Verdict::Open;
            }
            frame::PONG => return Verdict::Open,
            frame::CLOSE => {
                let code = body.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                let reason = String::from_utf8_lossy(body.get(2..).unwrap_or_default());
                return Verdict::Ended(format!("closed by the server: {code} {reason}"));
            }
            _ => {}
        }
        let sequence = match first {
            frame::TEXT => payload::read(body, stream.channel(), stream.size(), stream.filling()),
            _ => None,
        };
        match sequence.filter(|sequence| *sequence < stream.sent()) {
            Some(sequence) if sequence >= self.next => {
                let skipped = sequence - self.next;
                tally.lost += skipped;
                tally.delivered += 1;
                let room = MAX_MISSING.saturating_sub(missing.len());
                missing.extend((self.next..sequence).take(room));
                self.advance(stream, skipped + 1, settles);
            }
            Some(sequence) if missing.remove(&sequence) => {
                tally.lost -= 1;
                tally.out_of_order += 1;
                tally.delivered += 1;
            }
            Some(_) => tally.duplicated += 1,
            None => {
                tally.corrupted += 1;
                // It stands where the next message should: not counted as lost as well.
                if self.next < stream.sent() {
                    self.advance(stream, 1, settles);
                }
            }
        }
        Verdict::Open
    }

    fn advance(&mut self, stream: &mut Stream, by: u64, settles: &mut bool) {
        if by > 0 {
            *settles |= stream.advance(self.next, self.next + by);
            self.next += by;
        }
    }

    /// The subscriber is disconnected: nobody waits for it any more.
    pub fn leave(&mut self, stream: &mut Stream) {
        if !std::mem::replace(&mut self.gone, true) {
            stream.leave(self.next);
        }
    }

    /// Messages that were sent and have not come, at the end of a run.
    pub fn outstanding(&self, stream: &Stream) -> u64 {
        stream.sent() - self.next
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
