//! Who is there: the connections, and the members of a channel, in parts.
//!
//! A client learns ids, users and times, not addresses or headers. A part is bounded in what it
//! looks at, and nothing is listed while the shard has much to write: whoever asks often must read
//! what it gets.

use std::sync::Arc;

use serde::Serialize;

use super::{Answer, Asked, Fault, invalid};
use crate::ErrorKind;
use crate::hub::{Channel, Connection, Filter};
use crate::wire::Dialect;
use crate::wire::session::{self, Page, Presence, code};

/// The largest part, and the one of a request that names no limit.
const MAX_LIMIT: usize = 1000;
const LIMIT: usize = 100;
/// Connections that are looked at for one part.
const SCAN: usize = MAX_LIMIT;

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    user: Option<Arc<str>>,
    connected_ms: u64,
}

#[derive(Serialize)]
struct Listed<'a> {
    connections: Vec<Entry<'a>>,
    next: Option<&'a str>,
}

#[derive(Serialize)]
struct Present<'a> {
    channel: &'a str,
    members: Vec<Entry<'a>>,
    count: u64,
    anonymous: u64,
    next: Option<String>,
}

fn entry(connection: &Arc<Connection>) -> Entry<'_> {
    Entry { id: connection.id(), user: connection.user(), connected_ms: connection.connected_ms() }
}

pub(super) fn limit(asked: Option<usize>) -> Result<usize, Fault> {
    match asked {
        None => Ok(LIMIT),
        Some(limit @ 1..=MAX_LIMIT) => Ok(limit),
        Some(other) => Err(invalid(format!("'limit' cannot be {other}: it is 1 to {MAX_LIMIT}"))),
    }
}

impl Asked<'_> {
    fn list(&self, what: &impl Serialize) -> Answer {
        let data = serde_json::to_string(what)
            .map_err(|error| (session::code_of(ErrorKind::Io), error.to_string()))?;
        self.respond(&data)
    }

    fn may_list(&self) -> Result<(), Fault> {
        if !self.service.options().session_listing {
            return Err((code::FORBIDDEN, "this server does not list connections".into()));
        }
        match self.service.hub().is_congested() {
            true => Err((code::BUSY, "the server is busy; ask again".into())),
            false => Ok(()),
        }
    }

    pub(super) fn connections(&self) -> Answer {
        self.may_list()?;
        let page: Page<'_> = self.read()?;
        let limit = limit(page.limit)?;
        let after = page.after.as_deref();
        let registry = self.service.registry();
        let looked_at = match page.user.as_deref() {
            // Found by user: as many as the program has bound to it.
            Some(user) => {
                let mut found = registry.of_user(user);
                found.sort_unstable_by(|a, b| a.id().cmp(b.id()));
                found.retain(|connection| after.is_none_or(|after| &**connection.id() > after));
                found
            }
            None => registry.page(&Filter::default(), after, SCAN),
        };
        let mut connections = Vec::new();
        let mut rest = looked_at.iter();
        let mut last = None;
        while connections.len() < limit
            && let Some(connection) = rest.next()
        {
            last = Some(&**connection.id());
            if connection.dialect() == Dialect::Session {
                connections.push(entry(connection));
            }
        }
        let more = rest.len() > 0 || (page.user.is_none() && looked_at.len() == SCAN);
        self.list(&Listed { connections, next: last.filter(|_| more) })
    }

    /// Members in the order in which they connected.
    pub(super) fn members(&self, channel: &Channel, asked: &Presence<'_>) -> Answer {
        self.may_list()?;
        let limit = limit(asked.limit)?;
        let after = match &asked.after {
            None => None,
            Some(after) => match after.parse() {
                Ok(after) => Some(after),
                Err(_) => return Err(invalid("'after' is the 'next' of another part".into())),
            },
        };
        let mut members = channel.members_page(after, limit + 1);
        let more = members.len() > limit;
        members.truncate(limit);
        let info = channel.info();
        self.list(&Present {
            channel: channel.name(),
            members: members.iter().map(entry).collect(),
            count: info.members,
            anonymous: info.subscribers.saturating_sub(info.members),
            next: members.last().filter(|_| more).map(|last| last.serial().to_string()),
        })
    }
}
