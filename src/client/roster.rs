//! Who is in a channel, as a client knows it, and what changed.
//!
//! It outlives connections: after a reconnection the list that the server tells is compared with it,
//! so that for each connection joins and leaves alternate, whatever was missed meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::Attendee;
use crate::wire::members::Presence;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// By id; whether it is known to be there on this connection.
    seats: BTreeMap<Box<str>, Seat>,
    users: HashMap<Arc<str>, u32>,
}

#[derive(Debug)]
struct Seat {
    user: Option<Arc<str>>,
    time_ms: u64,
    confirmed: bool,
}

/// Somebody came or went.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) went: bool,
    pub(super) attendee: Arc<Attendee>,
}

/// A part of who is there, by id.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    members: Vec<Row>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    user: Option<String>,
    connected_ms: u64,
}

impl Page {
    /// Reads what a server told; `None` when it is none.
    pub(super) fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Behind whom the rest begins.
    pub(super) fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }
}

impl Roster {
    /// A new connection: who is there will be told from the beginning.
    pub(super) fn begin(&mut self) {
        self.seats.values_mut().for_each(|seat| seat.confirmed = false);
    }

    /// What one page of those who are there changes. Pages come by id, from the beginning.
    pub(super) fn merge(&mut self, page: &Page) -> Vec<Change> {
        let mut changes = Vec::new();
        for row in &page.members {
            self.come(&row.id, row.user.as_deref(), row.connected_ms, &mut changes);
        }
        // Those who would stand in the pages so far, and do not.
        let gone: Vec<Box<str>> = self
            .seats
            .iter()
            .take_while(|(id, _)| page.next.as_deref().is_none_or(|last| ***id <= *last))
            .filter(|(_, seat)| !seat.confirmed)
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            changes.extend(self.go(&id, None));
        }
        changes
    }

    /// What an event changes; `None` if it was known.
    pub(super) fn apply(&mut self, event: &Presence<'_>) -> Option<Change> {
        if event.went {
            return self.go(event.id, Some(event.time_ms));
        }
        let mut changes = Vec::new();
        self.come(event.id, event.user, event.time_ms, &mut changes);
        changes.pop()
    }

    /// All who are there, as if they came now.
    pub(super) fn all(&self) -> impl Iterator<Item = Change> {
        self.seats.iter().map(|(id, seat)| {
            let Seat { user, time_ms, .. } = seat;
            let attendee = Attendee {
                id: id.clone(),
                user: user.clone(),
                edge: user.is_none(),
                time_ms: *time_ms,
            };
            Change { went: false, attendee: Arc::new(attendee) }
        })
    }

    fn come(&mut self, id: &str, user: Option<&str>, time_ms: u64, changes: &mut Vec<Change>) {
        if let Some(seat) = self.seats.get_mut(id) {
            if seat.user.as_deref() == user {
                seat.confirmed = true;
                return;
            }
            changes.extend(self.go(id, None));
        }
        let user = user.map(|user| match self.users.get_key_value(user) {
            Some((user, _)) => user.clone(),
            None => Arc::from(user),
        });
        let edge = user.as_ref().is_none_or(|user| {
            let count = self.users.entry(user.clone()).or_default();
            *count += 1;
            *count == 1
        });
        self.seats.insert(id.into(), Seat { user: user.clone(), time_ms, confirmed: true });
        let attendee = Arc::new(Attendee { id: id.into(), user, edge, time_ms });
        changes.push(Change { went: false, attendee });
    }

    /// `time_ms` is 0 when it went while nobody was told.
    fn go(&mut self, id: &str, time_ms: Option<u64>) -> Option<Change> {
        let Seat { user, .. } = self.seats.remove(id)?;
        let edge = match &user {
            None => true,
            Some(user) => {
                let left = self.users.get(user).map_or(0, |count| count - 1);
                match left {
                    0 => drop(self.users.remove(user)),
                    left => drop(self.users.insert(user.clone(), left)),
                }
                left == 0
            }
        };
        let time_ms = time_ms.unwrap_or_default();
        let attendee = Arc::new(Attendee { id: id.into(), user, edge, time_ms });
        Some(Change { went: true, attendee })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: &[(&str, Option<&str>)], next: Option<&str>) -> Page {
        let row = |(id, user): &(&str, Option<&str>)| Row {
            id: (*id).into(),
            user: user.map(Into::into),
            connected_ms: 1,
        };
        Page { members: ids.iter().map(row).collect(), next: next.map(Into::into) }
    }

    fn event<'a>(id: &'a str, user: Option<&'a str>, went: bool) -> Presence<'a> {
        Presence { channel: 1, offset: 2, time_ms: 3, went, edge: true, id, user }
    }

    fn told(changes: Vec<Change>) -> Vec<(bool, String, bool)> {
        changes
            .into_iter()
            .map(|one| (one.went, one.attendee.id.to_string(), one.attendee.edge))
            .collect()
    }

    #[test]
    fn joins_and_leaves_alternate_across_connections() {
        let mut roster = Roster::default();
        roster.begin();
        let first = page(&[("a", None), ("b", Some("u"))], Some("b"));
        assert_eq!(
            told(roster.merge(&first)),
            [(false, "a".into(), true), (false, "b".into(), true)]
        );
        // Between the pages: one who is still to be listed, and one who is not any more.
        assert!(roster.apply(&event("d", Some("u"), false)).is_some_and(|one| !one.attendee.edge));
        assert!(roster.apply(&event("c", None, true)).is_none());
        let rest = page(&[("d", Some("u"))], None);
        assert_eq!(told(roster.merge(&rest)), []);
        assert!(roster.apply(&event("d", Some("u"), false)).is_none());
        assert!(roster.apply(&event("b", None, true)).is_some_and(|one| !one.attendee.edge));
        assert_eq!(roster.all().count(), 2);
        // After a reconnection: "a" went and "e" came, and "d" is somebody else's.
        roster.begin();
        let changes = roster.merge(&page(&[("d", Some("v")), ("e", None)], None));
        let expected =
            [(true, "d", true), (false, "d", true), (false, "e", true), (true, "a", true)];
        assert_eq!(told(changes), expected.map(|(went, id, edge)| (went, id.to_owned(), edge)));
        assert!(roster.apply(&event("a", None, true)).is_none());
    }

    #[test]
    fn a_page_is_read_and_nothing_else() {
        let json = r#"{"members":[{"id":"a","user":null,"connected_ms":1}],"count":1,"anonymous":0,"next":"a"}"#;
        assert_eq!(Page::read(json).unwrap().next(), Some("a"));
        assert!(Page::read("{}").is_none());
    }
}
