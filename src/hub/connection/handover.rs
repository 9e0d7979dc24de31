//! A connection, written down for the process that serves it from now on.

use std::time::{Duration, Instant};

use super::{Connection, Home, Origin, State, Traffic, Value};
use crate::hub::wildcard::Wild;
use crate::hub::{Channel, Notices, Pattern, lock};
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};
use crate::sync::{Arc, Mutex, OnceLock};
use crate::wire::Dialect;
use crate::wire::handover::{Reader, Writer};
use crate::wire::http::RequestHead;

impl Connection {
    /// Writes down who it is and what belongs to it, but for its channels, which are where its
    /// places in them are.
    pub fn hand_over(&self, out: &mut Writer) {
        let origin = &self.origin;
        out.u64(self.serial);
        out.text(&origin.id);
        out.text(origin.dialect.name());
        out.text(&origin.path);
        out.text(&origin.remote.to_string());
        out.bytes(origin.request.as_bytes());
        out.flag(origin.deflates);
        out.u64(self.uptime_ms());
        out.u64(self.connected_ms);
        let Traffic { bytes_in, bytes_out, messages_in, messages_out, dropped } = &self.traffic;
        for count in [bytes_in, bytes_out, messages_in, messages_out, dropped] {
            out.u64(count.load(Relaxed));
        }
        out.u64(self.beat.load(Relaxed));
        out.flag(self.is_dismissed());
        let state = lock(&self.state);
        out.option(state.user.as_deref(), Writer::text);
        out.option(state.wild.as_deref(), |out, wild| {
            out.list(wild.patterns.iter(), |out, pattern| out.text(pattern.as_str()));
            out.list(wild.loose.iter(), |out, channel| out.u64(*channel));
        });
        out.list(state.data.iter(), |out, (key, value)| {
            out.text(key);
            match value {
                Value::Bytes(bytes) => {
                    out.flag(false);
                    out.bytes(bytes);
                }
                Value::Integer(number) => {
                    out.flag(true);
                    out.u64(number.cast_unsigned());
                }
            }
        });
    }

    /// Reads what [`Connection::hand_over`] wrote: the connection, in no registry, and the user that
    /// it is to be bound to. `notices` tells, by the dialect, what is as of [`Hub::subscribe_pattern`](crate::hub::Hub).
    pub fn take_over(
        input: &mut Reader<'_>,
        home: Home,
        notices: fn(Dialect) -> Notices,
    ) -> Option<(Self, Option<String>)> {
        let serial = input.u64()?;
        let origin = Origin {
            id: input.text()?.into(),
            dialect: Dialect::from_name(input.text()?)?,
            path: input.text()?.into(),
            remote: input.text()?.parse().ok()?,
            request: RequestHead::new(input.bytes()?),
            deflates: input.flag()?,
        };
        let uptime = Duration::from_millis(input.u64()?);
        let now = Instant::now();
        let connected_ms = input.u64()?;
        let traffic = Traffic::default();
        let Traffic { bytes_in, bytes_out, messages_in, messages_out, dropped } = &traffic;
        for count in [bytes_in, bytes_out, messages_in, messages_out, dropped] {
            count.store(input.u64()?, Relaxed);
        }
        let beat = input.u64()?.into();
        let dismissed = input.flag()?.into();
        let user = input.option(Reader::text)?.map(str::to_owned);
        let wild = input.option(|input| {
            let patterns = input.list(|input| Pattern::parse(input.text()?).ok())?;
            let loose = input.list(Reader::u64)?.into_iter().collect();
            let notices = notices(origin.dialect);
            Some(Box::new(Wild { patterns, loose, notices }))
        })?;
        let data = input.list(|input| {
            let key = input.text()?.into();
            let value = match input.flag()? {
                false => Value::Bytes(input.bytes()?.into()),
                true => Value::Integer(input.u64()?.cast_signed()),
            };
            Some((key, value))
        })?;
        let state = State { data: data.into_iter().collect(), wild, ..State::default() };
        let connection = Self {
            serial,
            origin,
            home,
            // A clock that began after the connection has no such moment.
            connected: now.checked_sub(uptime).unwrap_or(now),
            connected_ms,
            traffic,
            beat,
            state: Mutex::new(state),
            attachment: OnceLock::new(),
            dismissed,
            turn_is_over: AtomicBool::new(false),
            end: OnceLock::new(),
        };
        Some((connection, user))
    }

    /// The numbers of the channels of which it wants to be told who comes and goes.
    pub fn watched_channels(&self) -> Vec<u64> {
        let state = lock(&self.state);
        let watched = state.channels.values().filter(|channel| channel.is_watched_by(self.serial));
        watched.map(|channel| channel.id()).collect()
    }

    /// Makes it the member of `channel` again that it was, who watched it or did not; `since` is the
    /// last publication that it got, if it was catching up. Its shard is told through the inbox.
    pub fn rejoin(self: &Arc<Self>, channel: &Arc<Channel>, watches: bool, since: Option<u64>) {
        let mut state = lock(&self.state);
        let loose = state.wild.as_ref().is_some_and(|wild| wild.loose.contains(&channel.id()));
        if channel.readmit(self, (loose, watches), state.user.as_ref(), since).is_ok() {
            state.channels.insert(channel.id(), Arc::clone(channel));
        }
    }
}
