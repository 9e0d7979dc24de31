//! Channels, written down for the process that serves them from now on. Nothing may be published
//! meanwhile.

use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::durable::Durable;
use super::keys::Keys;
use super::{Channel, ChannelConfig, Connection, Connections, Deliveries, Hub, lock};
use crate::wire::MessageKind;
use crate::wire::handover::{Reader, Writer};
use crate::wire::websocket::Message;

impl Hub {
    /// Writes down what is no channel's own.
    pub fn hand_over(&self, out: &mut Writer) {
        out.u64(self.next_id.load(Relaxed));
        out.u64(self.last_epoch.load(Relaxed));
        out.u64(self.published());
    }

    /// Reads what [`Hub::hand_over`] wrote. Before there is any channel, so that no number is given
    /// twice.
    pub fn take_over(&self, input: &mut Reader<'_>) -> Option<()> {
        self.next_id.store(input.u64()?, Relaxed);
        self.last_epoch.store(input.u64()?, Relaxed);
        self.published.store(input.u64()?, Relaxed);
        Some(())
    }

    /// Reads what [`Channel::hand_over`] wrote; the channel is found by its name then.
    pub fn take_over_channel(&self, input: &mut Reader<'_>) -> Option<Arc<Channel>> {
        let name = input.text()?;
        let (id, epoch, offset) = (input.u64()?, input.u64()?, input.u64()?);
        let (created_ms, ephemeral) = (input.u64()?, input.flag()?);
        let mut config = ChannelConfig::default();
        config.set_all(input.text()?).ok()?;
        let durable = match input.option(Reader::u64)? {
            Some(id) => Some(Durable::inherit(self.store()?, id, &config, &self.outlet)?),
            None => None,
        };
        let shards = self.inboxes.len();
        let mut channel = Channel::new(name, id, epoch, shards, ephemeral, Arc::new(config));
        if let Some(durable) = durable {
            channel = channel.durable(durable);
        }
        // What waits is counted with the connections that it waits for.
        let account = channel.account(0);
        for count in [
            &account.due,
            &account.written,
            &account.dropped_oldest,
            &account.dropped_newest,
            &account.conflated,
            &account.lost,
            &account.closed_slow,
        ] {
            count.store(input.u64()?, Relaxed);
        }
        let keys = input.option(|input| {
            input.list(|input| {
                let (key, offset, print) = (input.bytes()?, input.u64()?, input.u64()?);
                Some((key, offset, print, Duration::from_millis(input.u64()?)))
            })
        })?;
        let mut known: Option<Box<Keys>> = None;
        let now = Instant::now();
        for (key, offset, print, age) in keys.unwrap_or_default() {
            // A clock that began after the publication has no such moment: then it was long ago.
            if let Some(at) = now.checked_sub(age) {
                known.get_or_insert_default().restore(key, offset, print, at);
            }
        }
        let channel = channel.restored(created_ms, offset, known).observed_by(&self.observers);
        let channel = Arc::new(channel);
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        let before = channels.insert(name.into(), Arc::clone(&channel));
        drop(channels);
        // The time in which it must be used begins anew.
        self.watch_emptiness(&channel);
        before.is_none().then_some(channel)
    }

    /// Notes the patterns of a connection of another process: it becomes a member of the channels
    /// that come from now on. Those that there are it is in already, or was not brought into.
    pub fn take_over_patterns(&self, connection: &Arc<Connection>) {
        let mut interest = self.interest.write().unwrap_or_else(PoisonError::into_inner);
        for pattern in connection.patterns() {
            interest.insert(&pattern, connection.serial(), Arc::clone(connection));
        }
    }

    /// Whether no shard has anything waiting, nor the store.
    pub fn is_at_rest(&self) -> bool {
        // The store before the shards: what it has done is theirs to deliver.
        self.store().is_none_or(|store| store.is_idle())
            && self.inboxes.iter().all(|inbox| inbox.is_empty())
    }

    /// A channel that was deleted: senders who have not heard of it yet hold such a one.
    pub fn deleted(&self) -> Arc<Channel> {
        let channel = self.private("deleted");
        channel.delete(self);
        channel
    }
}

/// About how many bytes of a channel's history are written at a time.
const PAGE_BYTES: usize = 1 << 20;

impl Channel {
    /// Writes down all but its subscribers and its history.
    pub fn hand_over(&self, out: &mut Writer) {
        out.text(self.name());
        out.u64(self.id());
        out.u64(self.epoch());
        let info = self.info();
        out.u64(info.offset);
        out.u64(info.created_ms);
        out.flag(self.is_ephemeral());
        out.text(&self.config.text());
        out.option(self.durable.as_ref().map(|durable| durable.id()), Writer::u64);
        let Deliveries {
            due,
            written,
            queued: _,
            dropped_oldest,
            dropped_newest,
            conflated,
            lost,
            closed_slow,
            // Counted anew.
            held: _,
        } = info.deliveries;
        for count in [due, written, dropped_oldest, dropped_newest, conflated, lost, closed_slow] {
            out.u64(count);
        }
        let state = lock(&self.state);
        out.option(state.keys.as_ref(), |out, keys| {
            out.list(keys.iter(Instant::now()), |out, (key, offset, print, age)| {
                out.bytes(key);
                out.u64(offset);
                out.u64(print);
                out.u64(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            });
        });
    }

    /// Writes down a part of its history: what it kept from the `skip`-th publication on. Gives how
    /// many it has written, 0 at the end, and for a channel of which the store has everything.
    pub fn hand_over_history(&self, skip: usize, out: &mut Writer) -> usize {
        if self.commits {
            return 0;
        }
        let state = lock(&self.state);
        let Some(history) = &state.history else { return 0 };
        let mut count = 0;
        for (offset, time, message) in history.iter().skip(skip) {
            out.u64(offset);
            out.u64(time);
            out.flag(message.kind() == MessageKind::Binary);
            out.bytes(message.payload());
            count += 1;
            if out.bytes_so_far().len() >= PAGE_BYTES {
                break;
            }
        }
        count
    }

    /// Reads what [`Channel::hand_over_history`] wrote, part after part.
    pub fn take_over_history(&self, input: &mut Reader<'_>) -> Option<()> {
        let mut state = lock(&self.state);
        let last = state.offset;
        let history = state.history.as_mut()?;
        while !input.is_at_end() {
            let (offset, time) = (input.u64()?, input.u64()?);
            let kind = if input.flag()? { MessageKind::Binary } else { MessageKind::Text };
            let message = Message::new(kind, input.bytes()?);
            if offset > last || !history.is_next(offset) {
                return None;
            }
            history.push(self.tail_config(), offset, time, message);
        }
        Some(())
    }
}

impl Connections {
    /// Writes down what is no connection's own.
    pub fn hand_over(&self, out: &mut Writer) {
        out.u64(self.next_serial.load(Relaxed));
    }

    /// Reads what [`Connections::hand_over`] wrote.
    pub fn take_over(&self, input: &mut Reader<'_>) -> Option<()> {
        self.next_serial.store(input.u64()?, Relaxed);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Inbox, Range};

    fn hub() -> Hub {
        let inbox = Inbox::new(1 << 20, Box::new(|| {}));
        Hub::new(vec![Arc::new(inbox)], 0)
    }

    fn moved(hub: &Hub, name: &str) -> (Hub, Arc<Channel>) {
        let other = self::hub();
        let mut out = Writer::default();
        hub.hand_over(&mut out);
        let channel = hub.get(name).unwrap();
        channel.hand_over(&mut out);
        let bytes = out.take();
        let mut input = Reader::new(&bytes);
        other.take_over(&mut input).unwrap();
        let taken = other.take_over_channel(&mut input).unwrap();
        assert!(input.is_at_end());
        let mut sent = 0;
        loop {
            match channel.hand_over_history(sent, &mut out) {
                0 => return (other, taken),
                count => sent += count,
            }
            let bytes = out.take();
            taken.take_over_history(&mut Reader::new(&bytes)).unwrap();
        }
    }

    #[test]
    fn a_channel_goes_on_where_it_was() {
        let hub = hub();
        let mut config = ChannelConfig::default();
        config.set_all("history_size=3").unwrap();
        hub.create_with("青云", config).unwrap();
        let channel = hub.get("青云").unwrap();
        for n in 1..=5u8 {
            channel.publish(&hub, Message::new(MessageKind::Binary, &[n])).unwrap();
        }
        let (other, taken) = moved(&hub, "青云");
        assert_eq!(taken.info(), channel.info());
        assert_eq!((taken.id(), taken.is_ephemeral()), (channel.id(), false));
        let all = Range { after: None, before: None, limit: 9, backward: false };
        let (kept, before) = (taken.history(&all).unwrap(), channel.history(&all).unwrap());
        assert_eq!(kept.first, 3);
        let plain = |extract: &crate::hub::Extract| {
            let publications = extract.publications.iter();
            let plain = publications.map(|p| (p.offset, p.time_ms, p.message.payload().to_vec()));
            plain.collect::<Vec<_>>()
        };
        assert_eq!(plain(&kept), plain(&before));
        let next = taken.publish(&other, Message::new(MessageKind::Text, b"x")).unwrap();
        assert_eq!((next.position.epoch, next.position.offset), (channel.epoch(), 6));
        // A repeat of what was published there is not published here.
        let keyed = Message::new(MessageKind::Text, b"once");
        let first = channel.publish_with(&hub, (&keyed, Some(b"key"))).unwrap();
        let (other, taken) = moved(&hub, "青云");
        let again = taken.publish_with(&other, (&keyed, Some(b"key"))).unwrap();
        assert_eq!((again.position, again.duplicate), (first.position, true));
        let wrong = Message::new(MessageKind::Text, b"other");
        let error = taken.publish_with(&other, (&wrong, Some(b"key"))).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Conflict);
        // Numbers and epochs of channels that come later are others.
        let new = other.create("new").unwrap();
        assert!(new.id() > channel.id() && new.epoch() > channel.epoch());
    }

    #[test]
    fn a_long_history_goes_in_parts() {
        let hub = hub();
        let mut config = ChannelConfig::default();
        config.set_all("history_size=100").unwrap();
        hub.create_with("c", config).unwrap();
        let channel = hub.get("c").unwrap();
        for _ in 0..10 {
            channel.publish(&hub, Message::new(MessageKind::Text, &[b'x'; 300_000])).unwrap();
        }
        let (_, taken) = moved(&hub, "c");
        let all = Range { after: None, before: None, limit: 100, backward: false };
        assert_eq!(taken.history(&all).unwrap().first, 1);
        let mut after = 0;
        loop {
            let range = Range { after: Some(after), ..all };
            let page = taken.history(&range).unwrap();
            let Some(last) = page.publications.last() else { break };
            after = last.offset;
        }
        assert_eq!(after, 10);
    }

    #[test]
    fn a_hole_in_a_history_is_refused() {
        let hub = hub();
        let mut config = ChannelConfig::default();
        config.set_all("history_size=9").unwrap();
        let channel = hub.create_with("c", config).unwrap();
        lock(&channel.state).offset = 9;
        let part = |offsets: &[u64]| {
            let mut out = Writer::default();
            for offset in offsets {
                out.u64(*offset);
                out.u64(0);
                out.flag(false);
                out.text("x");
            }
            out.take()
        };
        for bad in [&[4, 6][..], &[10], &[0]] {
            let hub = self::hub();
            let mut config = ChannelConfig::default();
            config.set_all("history_size=9").unwrap();
            let channel = hub.create_with("c", config).unwrap();
            lock(&channel.state).offset = 9;
            let bytes = part(bad);
            assert_eq!(channel.take_over_history(&mut Reader::new(&bytes)), None, "{bad:?}");
        }
        let bytes = part(&[8, 9]);
        assert_eq!(channel.take_over_history(&mut Reader::new(&bytes)), Some(()));
    }
}
