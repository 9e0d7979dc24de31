//! Channels, connections and users: their order, their fan-out to shards and their registries; no
//! sockets, no threads of its own.
//!
//! A **shard** is whoever owns a set of subscribers' sockets: one thread, one [`Inbox`]. Publishing
//! takes the channel's short lock, gives the message the next offset, and appends it to the inbox
//! of every shard that has a subscriber. That lock makes one order for all subscribers of a
//! channel, on every shard. Lock order: registry, connection, channel, inbox.

use crate::sync::{Mutex, MutexGuard, PoisonError};

mod channel;
mod config;
mod connection;
mod connections;
mod counters;
mod durable;
mod expiry;
mod handover;
mod histogram;
mod history;
mod hold;
mod inbox;
mod interest;
mod keys;
mod members;
mod outgoing;
mod overload;
mod pattern;
mod presence;
mod publish;
mod registry;
mod resume;
mod survey;
mod wildcard;

pub use channel::{Channel, ChannelInfo, Deleted, NO_SLOT, Published, Start};
pub use config::{CHANNEL_OPTIONS, ChannelConfig, Namespaces};
pub(crate) use connection::increment;
pub use connection::{Connection, ConnectionInfo, Home, Origin, Traffic, Value};
pub use connections::{Connections, Filter, page_of};
pub use counters::{Counters, Gauges};
pub use durable::{Commit, Committed};
pub use histogram::{BOUNDS, Distribution, Histogram};
pub use history::{Publication, Range};
pub use hold::{Budget, Hold};
pub use inbox::{Decision, Inbox, Item, Late, Told, Wake};
pub use interest::Interest;
pub use keys::MAX_KEY;
pub use members::Wish;
pub use outgoing::{BatchMessage, PublishOptions, Report, Reports, check_conflate};
pub use overload::{Account, Deliveries, Overload};
pub use pattern::Pattern;
pub use presence::{Attendance, Attendee, Change, Observer, PresenceEvent};
pub use publish::Keyable;
pub use registry::Hub;
pub use resume::{Extract, Page, Resume};
pub use survey::{Rank, Slow, Survey};
pub use wildcard::{Entered, MAX_SCAN, MAX_SEGMENTS, Notices};

/// Locks `mutex`. No code that holds one of the hub's locks can panic halfway through a change, so
/// a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
