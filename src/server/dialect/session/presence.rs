//! Who is in a channel: the list, and the notifications of who comes and goes.

use serde::Serialize;

use super::listing::limit;
use super::{Answer, Asked, failed};
use crate::hub::{Attendance, Attendee, Change, Connection, PresenceEvent};
use crate::wire::session::{self, Presence, code};
use crate::wire::websocket::Message;
use crate::wire::{MessageKind, Position};
use crate::{Error, ErrorKind};

/// The notification of somebody who came to a channel, or went.
pub(in crate::server) fn notification(event: &PresenceEvent) -> Message {
    let (change, edge) = match event.change {
        Change::Join => ("join", "first"),
        Change::Leave => ("leave", "last"),
    };
    let (channel, id) = (session::quoted(&event.channel), session::quoted(&event.id));
    let user = event.user.as_deref().map_or("null".into(), session::quoted);
    let PresenceEvent { edge: is_edge, position, time_ms, .. } = event;
    let Position { epoch, offset } = position;
    let text = format!(
        r#"{{"type":"notification","data":{{"event":"{change}","channel":{channel},"id":{id},"user":{user},"{edge}":{is_edge},"epoch":{epoch},"offset":{offset},"time_ms":{time_ms}}}}}"#
    );
    Message::new(MessageKind::Text, text.as_bytes())
}

/// A part of those who are there, as JSON has it.
#[derive(Serialize)]
pub(in crate::server) struct There<'a> {
    members: &'a [Attendee],
    count: usize,
    anonymous: u64,
    /// What the next part is asked for with.
    next: Option<&'a str>,
}

impl<'a> There<'a> {
    pub(in crate::server) fn of(attendance: &'a Attendance) -> Self {
        let last = attendance.members.last().filter(|_| attendance.more);
        Self {
            members: &attendance.members,
            count: attendance.count,
            anonymous: attendance.anonymous,
            next: last.map(|last| &*last.id),
        }
    }

    /// Its JSON; without the braces, if it is to stand among other members.
    pub(in crate::server) fn json(&self) -> String {
        // Its keys are strings, and nothing of it can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Asked<'_> {
    /// Of a channel with the option `presence`, exact at its place among the events. Of others, as
    /// far as the server lists them.
    pub(super) fn presence(&self) -> Answer {
        let asked: Presence<'_> = self.read()?;
        let channel =
            self.service.hub().get(&asked.channel).ok_or_else(|| {
                failed(Error::new(ErrorKind::ChannelNotFound, "Channel not found"))
            })?;
        if !channel.config().presence {
            return self.members(&channel, &asked);
        }
        if self.service.hub().is_congested() {
            return Err((code::BUSY, "the server is busy; ask again".into()));
        }
        let limit = limit(asked.limit)?;
        let name = session::quoted(&asked.channel);
        let tell = |attendance: &Attendance| {
            let Position { epoch, offset } = attendance.position;
            let there = There::of(attendance).json();
            let rest = format!(r#","epoch":{epoch},"offset":{offset},{}"#, inner(&there));
            session::response(self.request.id, [r#"{"channel":"#, &name, &rest])
        };
        let connection: &std::sync::Arc<Connection> = self.connection;
        channel.tell_attendance(connection, asked.after.as_deref(), limit, tell);
        Ok(None)
    }
}

/// An object's members and its closing brace.
fn inner(object: &str) -> &str {
    object.strip_prefix('{').unwrap_or(object)
}
