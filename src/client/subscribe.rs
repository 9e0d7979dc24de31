//! How subscriptions come to a handle's connection and leave it.
//!
//! Subscriptions of a handle to one channel share what the server sends, and a position of its own
//! would make the server send one of them what the others have, or have not yet. So a subscription
//! with a position shares with nobody who is there before it: it gets an *aside*, a second connection
//! of the handle for it alone, which ends with it.

use std::sync::{Arc, Weak};

use super::handle::{Join, Purpose, Shared};
use super::inbox::{Callback, Inbox};
use super::members::Wish;
use super::promise::Promise;
use super::runtime::Closable;
use super::state::lock;
use super::{ClientState, Delivery, Subscription, role};
use crate::Result;
use crate::hub::Pattern;
use crate::wire::{Position, name};

/// Where a new subscription goes.
enum Admission {
    /// To the connection of all.
    Here(Arc<Inbox>, Option<Callback>),
    /// To a connection of its own.
    Aside(Delivery),
}

impl Shared {
    pub(super) fn subscribe(
        self: &Arc<Self>,
        channel: &str,
        since: Option<Position>,
        delivery: Delivery,
    ) -> Result<Subscription> {
        let subscribed = name::validate(channel)
            .and_then(|()| role::refuse_on_io("subscribe"))
            .and_then(|()| match self.admit(channel, since, delivery) {
                Admission::Here(inbox, callback) => {
                    self.become_live(inbox, callback, since, Wish::Messages)
                }
                Admission::Aside(delivery) => {
                    let aside = self.aside()?;
                    let (inbox, callback) = aside.inbox(channel, delivery);
                    lock(&aside.inboxes).push(Arc::downgrade(&inbox));
                    aside.become_live(inbox, callback, since, Wish::Messages)
                }
            });
        subscribed.map_err(|error| self.cannot("subscribe to", channel, error))
    }

    /// Subscribes to what only a connection with a name can have.
    pub(super) fn subscribe_as_member(
        self: &Arc<Self>,
        text: &str,
        wish: Wish,
        delivery: Delivery,
    ) -> Result<Subscription> {
        let valid = match wish {
            Wish::Pattern => Pattern::parse(text).map(drop),
            _ => name::validate(text),
        };
        let subscribed = valid.and_then(|()| role::refuse_on_io("subscribe")).and_then(|()| {
            let member = self.member()?;
            let (inbox, callback) = member.inbox(text, delivery);
            let mut inboxes = lock(&member.inboxes);
            if inboxes.len() == inboxes.capacity() {
                inboxes.retain(|inbox| inbox.strong_count() > 0);
            }
            inboxes.push(Arc::downgrade(&inbox));
            drop(inboxes);
            member.become_live(inbox, callback, None, wish)
        });
        subscribed.map_err(|error| self.cannot("subscribe to", text, error))
    }

    /// The connection with a name, made when it is first asked for, and again when it has ended.
    fn member(&self) -> Result<Arc<Self>> {
        let mut member = lock(&self.member);
        // Under the lock that `close` takes it with: it finds this one, or is seen here.
        if self.is_closing() {
            return Err(self.closed());
        }
        if let Some(member) = member.as_ref().filter(|one| one.state() != ClientState::Closed) {
            return Ok(Arc::clone(member));
        }
        let (target, options) = (self.target.clone(), self.options.clone());
        let (runtime, tally) = (self.runtime.clone(), self.tally.clone());
        let made = Self::start(target, options, runtime, tally, Purpose::Member)?;
        *member = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Makes `close` know the new subscription, or says that it needs a connection of its own. One
    /// lock, so that of two with a position only one can be the first of its channel.
    fn admit(&self, channel: &str, since: Option<Position>, delivery: Delivery) -> Admission {
        let mut inboxes = lock(&self.inboxes);
        let receives = |inbox: Arc<Inbox>| &**inbox.channel() == channel && !inbox.is_leaving();
        if since.is_some() && inboxes.iter().filter_map(Weak::upgrade).any(receives) {
            return Admission::Aside(delivery);
        }
        let (inbox, callback) = self.inbox(channel, delivery);
        if inboxes.len() == inboxes.capacity() {
            inboxes.retain(|inbox| inbox.strong_count() > 0);
        }
        inboxes.push(Arc::downgrade(&inbox));
        Admission::Here(inbox, callback)
    }

    fn inbox(&self, channel: &str, delivery: Delivery) -> (Arc<Inbox>, Option<Callback>) {
        let dropped = self.tally.dropped.clone();
        Inbox::new(channel.into(), delivery, self.options.bounds(), self.wake.clone(), dropped)
    }

    fn become_live(
        self: &Arc<Self>,
        inbox: Arc<Inbox>,
        callback: Option<Callback>,
        since: Option<Position>,
        wish: Wish,
    ) -> Result<Subscription> {
        let live = self.join(&inbox, since, wish).and_then(|promise| {
            let limit = self.options.request_timeout;
            promise.wait(limit).unwrap_or_else(|| Err(self.late("not live", limit)))
        });
        let live = live.and_then(|()| match callback {
            Some(callback) => inbox.start(callback, &self.runtime),
            None => Ok(()),
        });
        match live {
            Ok(()) => Ok(Subscription::new(inbox, self.clone())),
            Err(error) => {
                inbox.dismiss();
                self.leave(&inbox);
                Err(error)
            }
        }
    }

    /// A connection for one subscription; see the module's documentation.
    fn aside(&self) -> Result<Arc<Self>> {
        let (target, options) = (self.target.clone(), self.options.clone());
        let aside =
            Self::start(target, options, self.runtime.clone(), self.tally.clone(), Purpose::Aside)?;
        let mut asides = lock(&self.asides);
        asides.retain(|aside| aside.strong_count() > 0);
        asides.push(Arc::downgrade(&aside));
        drop(asides);
        // Checked after it is known to `close`: one of the two sees the other.
        if self.is_closing() {
            aside.close();
        }
        Ok(aside)
    }

    fn join(
        &self,
        inbox: &Arc<Inbox>,
        since: Option<Position>,
        wish: Wish,
    ) -> Result<Arc<Promise<Result<()>>>> {
        let promise = Arc::new(Promise::new());
        let mut outbox = lock(&self.outbox);
        // Checked after the inbox is known to `close`: one of the two sees the other.
        if outbox.ended || self.is_closing() {
            drop(outbox);
            return Err(self.closed());
        }
        outbox.joins.push_back(Join {
            inbox: inbox.clone(),
            promise: promise.clone(),
            since,
            wish,
        });
        drop(outbox);
        self.wake.wake();
        Ok(promise)
    }

    /// Tells the connection's task that an inbox was closed. Once per inbox.
    pub(crate) fn leave(&self, inbox: &Arc<Inbox>) {
        let mut outbox = lock(&self.outbox);
        if !outbox.ended {
            outbox.leaving.push_back(inbox.clone());
        }
        drop(outbox);
        match self.is_aside {
            true => self.close(),
            false => self.wake.wake(),
        }
    }
}
