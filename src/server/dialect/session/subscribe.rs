//! Subscriptions: to channels by name, and to all whose names match a pattern.

use super::presence::There;
use super::{Answer, Asked, Fault, failed, invalid};
use crate::hub::{Attendance, Pattern, Start, Wish};
use crate::wire::Position;
use crate::wire::session::{self, Subject, Subscribe, Text, code};

/// Of how many members a subscriber is told at once that wants to know who is there.
const SNAPSHOT: usize = 1000;

impl Asked<'_> {
    pub(super) fn subscribe(&self) -> Answer {
        let mut asked: Subscribe<'_> = self.read()?;
        match asked.subject().map_err(invalid)? {
            Subject::Channel(name) => self.subscribe_channel(&name, &asked),
            Subject::Pattern(_) if asked.since.is_some() => {
                Err(invalid("'since' is of one channel: subscribe to it by its name".into()))
            }
            Subject::Pattern(_) if asked.presence.is_some() => {
                Err(invalid("'presence' is of one channel: subscribe to it by its name".into()))
            }
            Subject::Pattern(pattern) => self.subscribe_pattern(&pattern),
        }
    }

    /// The response tells the position that the subscription begins behind, and precedes the first
    /// message: it is sent under the channel's lock.
    fn subscribe_channel(&self, name: &str, asked: &Subscribe<'_>) -> Answer {
        let channel = self.service.find(name).map_err(failed)?;
        let connection = self.connection;
        self.service.check_room(connection, &channel).map_err(failed)?;
        if asked.presence == Some(true) && !channel.config().presence {
            let text = format!("channel '{}' tells no presence", name.escape_debug());
            return Err((code::UNSUPPORTED, text));
        }
        if self.service.is_presence_behind(&channel) && !connection.is_in(&channel) {
            return Err((code::BUSY, "the program is busy; ask again".into()));
        }
        let name = session::quoted(name);
        let tell = |start: &Start, there: Option<&Attendance>| {
            let Position { epoch, offset } = start.position;
            let recovered = match start.recovered {
                Some(recovered) => format!(r#","recovered":{recovered}"#),
                None => String::new(),
            };
            let there = match there {
                Some(there) => format!(r#","presence":{}"#, There::of(there).json()),
                None => String::new(),
            };
            let rest = format!(r#","epoch":{epoch},"offset":{offset}{recovered}{there}}}"#);
            session::response(self.request.id, [r#"{"channel":"#, &name, &rest])
        };
        let since = asked.since.map(Position::from);
        let wish = Wish { since, watch: asked.presence, page: SNAPSHOT };
        connection.join_watching(&channel, wish, tell).map_err(failed)?;
        Ok(None)
    }

    /// The response precedes the messages of all channels.
    fn subscribe_pattern(&self, text: &Text<'_>) -> Answer {
        let pattern = self.pattern(text)?;
        // It may look at very many channels.
        self.connection.end_turn();
        let quoted = session::quoted(text);
        let tell = |channels: usize| {
            let rest = format!(r#","channels":{channels}}}"#);
            session::response(self.request.id, [r#"{"pattern":"#, &quoted, &rest])
        };
        self.service.subscribe_pattern(self.connection, &pattern, tell).map_err(failed)?;
        Ok(None)
    }

    fn pattern(&self, text: &str) -> Result<Pattern, Fault> {
        match self.service.options().session_patterns {
            true => Pattern::parse(text).map_err(failed),
            false => Err((code::FORBIDDEN, "this server takes no patterns".into())),
        }
    }

    pub(super) fn unsubscribe(&self) -> Answer {
        let mut asked: Subscribe<'_> = self.read()?;
        let not_subscribed = |text: &str| {
            Err((code::NOT_SUBSCRIBED, format!("not subscribed to '{}'", text.escape_debug())))
        };
        match asked.subject().map_err(invalid)? {
            Subject::Channel(name) => match self.service.hub().get(&name) {
                Some(channel) if self.service.leave_channel(self.connection, &channel) => {
                    self.respond_about(&name)
                }
                _ => not_subscribed(&name),
            },
            Subject::Pattern(text) => {
                let pattern = Pattern::parse(&text).map_err(failed)?;
                match self.service.hub().unsubscribe_pattern(self.connection, &pattern) {
                    true => {
                        let quoted = session::quoted(&text);
                        Ok(Some(session::response(
                            self.request.id,
                            [r#"{"pattern":"#, &quoted, "}"],
                        )))
                    }
                    false => not_subscribed(&text),
                }
            }
        }
    }
}
