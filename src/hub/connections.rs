//! The connections by id and by user.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::Connection;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::wire::Dialect;
use crate::{Error, ErrorKind, Result};

/// Which connections an operation means. The default means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those that speak it.
    pub dialect: Option<Dialect>,
    /// Those that came to this path.
    pub path: Option<String>,
    /// Those that are bound to this user.
    pub user: Option<String>,
    /// Those that are in a channel of this name.
    pub channel: Option<String>,
}

impl Filter {
    /// Whether it means `connection`.
    pub fn matches(&self, connection: &Connection) -> bool {
        self.dialect.is_none_or(|dialect| dialect == connection.dialect())
            && self.path.as_deref().is_none_or(|path| path == &**connection.path())
            && self.user.as_deref().is_none_or(|user| connection.user().as_deref() == Some(user))
            && self.channel.as_deref().is_none_or(|name| {
                connection.channels().iter().any(|channel| channel.name() == name)
            })
    }

    /// Whether it means every connection.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

/// All named connections of a server.
#[derive(Debug, Default)]
pub struct Connections {
    maps: RwLock<Maps>,
    pub(super) next_serial: AtomicU64,
}

#[derive(Debug, Default)]
struct Maps {
    /// Ordered, so that a listing can be read in pages.
    by_id: BTreeMap<Arc<str>, Arc<Connection>>,
    /// The connections of each user by serial, which is the order in which they came. Lists, because
    /// most users have one connection.
    users: BTreeMap<Arc<str>, Vec<Arc<Connection>>>,
    by_path: HashMap<Arc<str>, usize>,
}

impl Maps {
    fn holds(&self, connection: &Arc<Connection>) -> bool {
        self.by_id.get(connection.id()).is_some_and(|other| Arc::ptr_eq(other, connection))
    }

    fn uncount(&mut self, path: &Arc<str>) {
        if let Some(count) = self.by_path.get_mut(path) {
            *count -= 1;
            if *count == 0 {
                self.by_path.remove(path);
            }
        }
    }

    fn unbind(&mut self, connection: &Arc<Connection>, user: Option<Arc<str>>) -> bool {
        let Some(user) = user else { return false };
        if let Some(connections) = self.users.get_mut(&user) {
            if let Ok(at) = place(connections, connection) {
                connections.remove(at);
            }
            if connections.is_empty() {
                self.users.remove(&user);
            }
        }
        true
    }
}

/// Where a connection stands in a user's list, or belongs.
fn place(
    connections: &[Arc<Connection>],
    connection: &Arc<Connection>,
) -> std::result::Result<usize, usize> {
    connections.binary_search_by_key(&connection.serial(), |other| other.serial())
}

impl Connections {
    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A serial for a new connection.
    pub fn new_serial(&self) -> u64 {
        self.next_serial.fetch_add(1, Relaxed)
    }

    /// Adds a connection; gives the one that had its id, which is no longer found from now on.
    pub fn insert(&self, connection: &Arc<Connection>) -> Option<Arc<Connection>> {
        let mut maps = self.write();
        let displaced = maps.by_id.insert(Arc::clone(connection.id()), Arc::clone(connection));
        *maps.by_path.entry(Arc::clone(connection.path())).or_default() += 1;
        displaced
    }

    /// Removes a connection and its binding; harmless when it is not there, or displaced.
    pub fn remove(&self, connection: &Arc<Connection>) {
        let mut maps = self.write();
        if maps.holds(connection) {
            maps.by_id.remove(connection.id());
        }
        maps.uncount(connection.path());
        let user = connection.set_user(None).ok().flatten();
        maps.unbind(connection, user);
    }

    /// The connection called `id`.
    pub fn get(&self, id: &str) -> Option<Arc<Connection>> {
        self.read().by_id.get(id).cloned()
    }

    /// Connections now.
    pub fn len(&self) -> usize {
        self.read().by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Connections that came to `path`, one that was displaced and not yet gone included.
    pub fn len_at(&self, path: &str) -> usize {
        self.read().by_path.get(path).copied().unwrap_or(0)
    }

    /// How many connections `filter` means. Without a filter, or with a path or user alone, it
    /// costs a look-up; otherwise a walk through all.
    pub fn count(&self, filter: &Filter) -> usize {
        if filter.is_all() {
            return self.len();
        }
        self.select(filter).len()
    }

    /// At most `limit` connections that `filter` means and whose ids sort behind `after`, by id.
    pub fn page(&self, filter: &Filter, after: Option<&str>, limit: usize) -> Vec<Arc<Connection>> {
        if filter.user.is_some() {
            return page_of(self.select(filter), after, limit);
        }
        let maps = self.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        maps.by_id
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(_, connection)| connection)
            .filter(|connection| filter.matches(connection))
            .take(limit)
            .cloned()
            .collect()
    }

    /// Every connection that `filter` means.
    pub fn select(&self, filter: &Filter) -> Vec<Arc<Connection>> {
        let maps = self.read();
        match &filter.user {
            Some(user) => maps
                .users
                .get(user.as_str())
                .into_iter()
                .flatten()
                .filter(|connection| filter.matches(connection))
                .cloned()
                .collect(),
            None => maps
                .by_id
                .values()
                .filter(|connection| filter.matches(connection))
                .cloned()
                .collect(),
        }
    }

    /// Binds a connection to a user; one that is bound is moved. Errors: `InvalidArgument` for an
    /// empty user, `Closed`.
    pub fn bind(&self, connection: &Arc<Connection>, user: &str) -> Result<()> {
        if user.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "a user's id is not empty"));
        }
        let mut maps = self.write();
        if !maps.holds(connection) {
            return Err(Error::new(ErrorKind::Closed, "the connection is closed"));
        }
        let user: Arc<str> = match maps.users.get_key_value(user) {
            Some((user, _)) => Arc::clone(user),
            None => user.into(),
        };
        let before = connection.set_user(Some(Arc::clone(&user)))?;
        maps.unbind(connection, before);
        let connections = maps.users.entry(user).or_insert_with(|| Vec::with_capacity(1));
        if let Err(at) = place(connections, connection) {
            connections.insert(at, Arc::clone(connection));
        }
        Ok(())
    }

    /// Unbinds a connection; false if it was bound to nobody.
    pub fn unbind(&self, connection: &Arc<Connection>) -> bool {
        let mut maps = self.write();
        let user = connection.set_user(None).ok().flatten();
        maps.unbind(connection, user)
    }

    /// The connections of a user, in the order in which they came; none if there is no such user.
    pub fn of_user(&self, user: &str) -> Vec<Arc<Connection>> {
        let maps = self.read();
        maps.users.get(user).cloned().unwrap_or_default()
    }

    /// Users now. A user is there while a connection is bound to it.
    pub fn users(&self) -> usize {
        self.read().users.len()
    }

    /// At most `limit` users whose ids sort behind `after`, in order, each with the number of its
    /// connections.
    pub fn users_page(&self, after: Option<&str>, limit: usize) -> Vec<(Arc<str>, usize)> {
        let maps = self.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        maps.users
            .range::<str, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(user, connections)| (Arc::clone(user), connections.len()))
            .collect()
    }
}

/// The page of a listing of these connections: at most `limit` whose ids sort behind `after`.
pub fn page_of(
    mut connections: Vec<Arc<Connection>>,
    after: Option<&str>,
    limit: usize,
) -> Vec<Arc<Connection>> {
    connections.retain(|connection| after.is_none_or(|after| &**connection.id() > after));
    connections.sort_unstable_by(|a, b| a.id().cmp(b.id()));
    connections.truncate(limit);
    connections
}
