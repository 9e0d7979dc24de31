//! Answering which of this shard's connections are slowest. One look at each connection, and more
//! only at as many as are asked for.

use super::Shard;
use super::conn::{Conn, Lane};
use super::lists::Place;
use crate::hub::{Rank, Slow, Survey};

/// Channels that are told of a connection.
const MAX_CHANNELS: usize = 10;

impl Shard {
    pub(super) fn answer_survey(&self, survey: &Survey) {
        let mut found: Vec<(u64, usize)> = Vec::new();
        for (token, conn) in &self.conns {
            let weight = match survey.rank() {
                Rank::Queued => conn.queued() as u64,
                Rank::Messages => conn.queued_messages(),
                Rank::Age => conn.oldest(self.now).map_or(0, |age| age.max(1)),
                Rank::Dropped => self.dropped_of(token, conn),
            };
            if weight > 0 && !conn.dead {
                found.push((weight, token));
            }
        }
        let limit = survey.limit();
        if found.len() > limit && limit > 0 {
            found.select_nth_unstable_by(limit - 1, |a, b| b.cmp(a));
            found.truncate(limit);
        }
        let slow = found.into_iter().filter_map(|(_, token)| self.slow(token)).collect();
        survey.answer(slow);
    }

    fn dropped_of(&self, token: usize, conn: &Conn) -> u64 {
        match &conn.lane {
            Lane::Peer(peer) => {
                peer.connection.traffic().dropped.load(std::sync::atomic::Ordering::Relaxed)
            }
            _ => self.dropped.get(&(token as u32)).copied().unwrap_or(0),
        }
    }

    fn slow(&self, token: usize) -> Option<Slow> {
        let conn = self.conns.get(token)?;
        let name = |place: &Place| {
            self.locals.get(place.slot as usize).map(|local| local.channel.name().to_owned())
        };
        let mut slow = Slow {
            shard: self.id,
            socket: token,
            dialect: "other".into(),
            id: None,
            user: None,
            remote: conn.stream.peer_addr().ok(),
            channels: Vec::new(),
            queued_bytes: conn.queued() as u64,
            queued_messages: conn.queued_messages(),
            oldest_ms: conn.oldest(self.now).unwrap_or(0),
            dropped: self.dropped_of(token, conn),
        };
        match &conn.lane {
            Lane::Listener(place) | Lane::Metas(place) | Lane::Events(place) => {
                let events = matches!(conn.lane, Lane::Events(_));
                slow.dialect = if events { "events" } else { "listener" }.into();
                slow.channels.extend(name(place));
            }
            Lane::Stream(streams) => {
                slow.dialect = "stream".into();
                slow.channels.extend(streams.places.values().take(MAX_CHANNELS).filter_map(name));
            }
            Lane::Peer(peer) => {
                let connection = &peer.connection;
                slow.dialect = connection.dialect().name().into();
                slow.id = Some(connection.id().clone());
                slow.user = connection.user();
                slow.remote = Some(connection.remote());
                slow.channels.extend(peer.places.values().take(MAX_CHANNELS).filter_map(name));
            }
            Lane::Sender(channel) => {
                slow.dialect = "sender".into();
                slow.channels.push(channel.name().to_owned());
            }
            Lane::Http(_) | Lane::Closing | Lane::Lingering => {}
        }
        slow.channels.sort_unstable();
        Some(slow)
    }
}
