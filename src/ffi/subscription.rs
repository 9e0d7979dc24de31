//! Subscriptions
//!
//! A subscription brings a channel's messages either to a callback or to whoever asks for them: with
//! a timeout, many at a time, or when a descriptor becomes readable in a loop of epoll, poll, select
//! or any framework. What waits is bounded by the option `queue_messages`, the option `overflow`
//! says what happens beyond it, and what is dropped is counted.
//!
//! A subscription continues by itself when its connection was lost: QY_EVENT_CONNECTED says by
//! `recovered` whether everything that was missed follows. A program that keeps the position of the
//! last message it has seen continues the same way when it is started again, with
//! qy_client_subscribe_since.
//!
//! ```c
//! #include <qyun.h>
//! #include <poll.h>
//! #include <stdio.h>
//!
//! int main(void) {
//!   qy_client *client = NULL;
//!   qy_subscription *subscription = NULL;
//!   struct pollfd ready = {-1, POLLIN, 0};
//!   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK ||
//!       qy_client_subscribe(client, "test", QY_DELIVER_THREAD, NULL, NULL, NULL, &subscription))
//!     return 1;
//!   qy_subscription_fd(subscription, &ready.fd);
//!   while (poll(&ready, 1, -1) > 0) {
//!     qy_batch *batch = NULL;
//!     if (qy_subscription_recv_many(subscription, 256, 0, &batch) != QY_OK) break; // closed
//!     const qy_event *events = qy_batch_events(batch);
//!     for (size_t i = 0; i < qy_batch_count(batch); i++)
//!       if (events[i].event == QY_EVENT_MESSAGE)
//!         printf("%.*s\n", (int)events[i].len, (const char *)events[i].data);
//!     qy_batch_free(batch);
//!   }
//!   qy_subscription_free(subscription);
//!   qy_client_free(client);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::time::Duration;

use super::callback::{UserData, qy_drop_callback};
use super::client::qy_client;
use super::error::{self, Failure};
use super::guard::{
    Handle, Head, clear, guard, guard_anywhere, guard_value, object, on_object, output, preset,
    release, text,
};
use super::message::{kind_code, qy_position};
use super::oneshot::event_code;
use super::status::*;
use super::structs;
use crate::client::{Delivery, Event, Subscription};

/// Callbacks come from a delivery thread of the subscription. They may take their time.
pub const QY_DELIVER_THREAD: i32 = 0;
/// Callbacks come from the I/O thread of the library: the lowest latency. They must not block, for
/// they hold up every client of the process.
pub const QY_DELIVER_INLINE: i32 = 1;

/// A subscription of a client.
pub struct qy_subscription {
    head: Head,
    subscription: Subscription,
}

impl qy_subscription {
    /// A handle for the caller.
    pub(super) fn hand_out(subscription: Subscription) -> *mut Self {
        Box::into_raw(Box::new(Self { head: Head::new(), subscription }))
    }
}

/// One event of a subscription.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_event {
    /// The size of this struct in the library that made it.
    pub struct_size: usize,
    /// A QY_EVENT_ constant.
    pub event: i32,
    /// QY_TEXT or QY_BINARY for a message; QY_TEXT otherwise.
    pub kind: i32,
    /// The channel's name, UTF-8, not NUL-terminated.
    pub channel: *const c_char,
    /// Its length in bytes.
    pub channel_len: usize,
    /// The message, or for QY_EVENT_JOIN and QY_EVENT_LEAVE the connection's id, or for QY_EVENT_CLOSED and QY_EVENT_ERROR a text that says why, and for
    /// QY_EVENT_CONNECTED one that says what was missed, if anything was. Not NUL-terminated, never
    /// NULL.
    pub data: *const c_void,
    /// Its length in bytes.
    pub len: usize,
    /// Of a message: the channel's incarnation; 0 where the server does not tell.
    pub epoch: u64,
    /// Of a message: its number in the channel; 0 where the server does not tell. Of
    /// QY_EVENT_CONNECTED: the number behind which the messages that follow begin.
    pub offset: u64,
    /// Of QY_EVENT_CONNECTED, when the subscription continues from a position, after a reconnection
    /// or by qy_client_subscribe_since: 1 when nothing was missed since, and what was published
    /// meanwhile follows; 0 when some of it is lost, and `offset` tells where it goes on. Otherwise
    /// -1.
    pub recovered: i32,
    /// Of QY_EVENT_JOIN and QY_EVENT_LEAVE: 1 when the user has no other connection there, and
    /// without a user; 0 otherwise.
    pub edge: i32,
    /// Of QY_EVENT_JOIN and QY_EVENT_LEAVE: the user that the connection is bound to, UTF-8, not
    /// NUL-terminated. NULL without one, and for other events.
    pub user: *const c_char,
    /// Its length in bytes.
    pub user_len: usize,
    /// Of QY_EVENT_JOIN and QY_EVENT_LEAVE: when, in ms since the Unix epoch. Of one that was there
    /// before, when it connected; 0 of one that went while the client was not connected.
    pub time_ms: u64,
}

/// Receives one event; it is valid until the call returns.
pub type qy_event_callback =
    Option<unsafe extern "C" fn(event: *const qy_event, user_data: *mut c_void)>;

/// Events taken from a subscription, in one array.
pub struct qy_batch {
    /// They point into `_events`, whose text and data do not move.
    views: Vec<qy_event>,
    _events: Vec<Event>,
}

impl Handle for qy_subscription {
    const NAME: &'static str = "subscription";
    fn head(&self) -> &Head {
        &self.head
    }
}

impl qy_event {
    /// What C sees of `event`, valid while that lives.
    fn view(event: &Event) -> Self {
        let attendee = event.attendee.as_deref();
        let user = attendee.and_then(|attendee| attendee.user.as_deref());
        Self {
            struct_size: size_of::<Self>(),
            event: event_code(event.kind),
            kind: kind_code(event.message_kind),
            channel: event.channel.as_ptr().cast(),
            channel_len: event.channel.len(),
            data: event.data.as_ptr().cast(),
            len: event.data.len(),
            epoch: event.position.epoch,
            offset: event.position.offset,
            recovered: event.recovered.map_or(-1, i32::from),
            edge: attendee.map_or(0, |attendee| i32::from(attendee.edge)),
            user: user.map_or(ptr::null(), |user| user.as_ptr().cast()),
            user_len: user.map_or(0, str::len),
            time_ms: attendee.map_or(0, |attendee| attendee.time_ms),
        }
    }
}

impl qy_batch {
    fn new(events: Vec<Event>) -> *mut Self {
        let views = events.iter().map(qy_event::view).collect();
        Box::into_raw(Box::new(Self { views, _events: events }))
    }
}

/// Subscribes to `channel`; the subscription is live when the function returns, and its first event
/// is QY_EVENT_CONNECTED. With a callback, `delivery` is QY_DELIVER_THREAD or QY_DELIVER_INLINE and
/// the first call may come before the function returns. With NULL for `callback` the program takes
/// the events itself, with qy_subscription_recv and its kin; `delivery` is then QY_DELIVER_THREAD,
/// and `drop` runs at once, since nothing uses `user_data`.
///
/// `*out` is the caller's, to be freed with qy_subscription_free.
///
/// Threads: any. Blocks: until the subscription is live, at most `request_timeout_ms`. In callbacks:
/// yes, but not on the I/O thread (QY_DELIVER_INLINE).
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_TIMEOUT,
/// QY_ERR_CONNECT, QY_ERR_REFUSED, QY_ERR_QUEUE_FULL, QY_ERR_CLOSED, QY_ERR_WOULD_DEADLOCK on the
/// I/O thread, QY_ERR_INVALID_ARGUMENT for a delivery that does not exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_subscribe(
    client: *mut qy_client,
    channel: *const c_char,
    delivery: i32,
    callback: qy_event_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
    out: *mut *mut qy_subscription,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_client_subscribe", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated.
        unsafe {
            on_object(client, "client", |client| {
                let (out, channel) = (output(out, "out")?, text(channel, "channel")?);
                let delivery = self::delivery(delivery, callback, user_data)?;
                let subscription = client.client.subscribe(channel, delivery)?;
                *out = qy_subscription::hand_out(subscription);
                Ok(())
            })
        }
    })
}

/// Subscribes like qy_client_subscribe, and first brings what was published behind `since`: the
/// `epoch` and `offset` of the last message that the program has. The first event,
/// QY_EVENT_CONNECTED, says by `recovered` whether all of it follows; for that the channel has to keep
/// a history.
///
/// When the client is subscribed to the channel already, the new subscription has a connection of its
/// own, until it is closed, so that neither disturbs the other.
///
/// Threads: any. Blocks: until the subscription is live, at most `request_timeout_ms`. In callbacks:
/// yes, but not on the I/O thread (QY_DELIVER_INLINE).
/// Errors: as qy_client_subscribe; QY_ERR_INVALID_ARGUMENT also for a `struct_size` of `since` that
/// cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_subscribe_since(
    client: *mut qy_client,
    channel: *const c_char,
    since: *const qy_position,
    delivery: i32,
    callback: qy_event_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
    out: *mut *mut qy_subscription,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_client_subscribe_since", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated, NULL or as large as it says.
        unsafe {
            on_object(client, "client", |client| {
                let (out, channel) = (output(out, "out")?, text(channel, "channel")?);
                let since = structs::read(since, "since")?.into();
                let delivery = self::delivery(delivery, callback, user_data)?;
                let subscription = client.client.subscribe_since(channel, since, delivery)?;
                *out = qy_subscription::hand_out(subscription);
                Ok(())
            })
        }
    })
}

pub(super) fn delivery(
    delivery: i32,
    callback: qy_event_callback,
    user_data: UserData,
) -> Result<Delivery, Failure> {
    let Some(callback) = callback else {
        return match delivery {
            QY_DELIVER_THREAD => Ok(Delivery::Pull),
            other => Err(Failure::parameter(format!(
                "'delivery' is {other} and 'callback' is NULL; it takes QY_DELIVER_THREAD (0) then"
            ))),
        };
    };
    let call = Box::new(move |event: &Event| {
        let view = qy_event::view(event);
        // SAFETY: the caller registered the function for this pointer; the view outlives the call.
        unsafe { callback(&view, user_data.pointer()) };
    });
    match delivery {
        QY_DELIVER_THREAD => Ok(Delivery::Thread(call)),
        QY_DELIVER_INLINE => Ok(Delivery::Inline(call)),
        other => Err(Failure::parameter(format!(
            "'delivery' is {other}; it takes QY_DELIVER_THREAD (0) or QY_DELIVER_INLINE (1)"
        ))),
    }
}

/// Takes one event as a batch of one, to be freed with qy_batch_free. A `timeout_ms` of 0 does not
/// wait; UINT32_MAX is 49 days.
///
/// Threads: any, several at once; each event goes to one of them. Blocks: at most `timeout_ms`;
/// closing wakes it. In callbacks: yes, but without waiting on the I/O thread (QY_DELIVER_INLINE).
/// Errors: QY_ERR_TIMEOUT when no event came, QY_ERR_CLOSED after the last one (QY_EVENT_CLOSED, when
/// the server ended it) was taken or the program closed it, QY_ERR_INVALID_ARGUMENT for a
/// subscription with a callback, QY_ERR_WOULD_DEADLOCK on the I/O thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_subscription_recv(
    subscription: *mut qy_subscription,
    timeout_ms: u32,
    out: *mut *mut qy_batch,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_subscription_recv", || {
        // SAFETY: as above; `subscription` is NULL or live.
        unsafe {
            on_object(subscription, "subscription", |subscription| {
                let out = output(out, "out")?;
                let timeout = Duration::from_millis(timeout_ms.into());
                *out = qy_batch::new(vec![subscription.subscription.recv(timeout)?]);
                Ok(())
            })
        }
    })
}

/// Waits like qy_subscription_recv for one event and takes it with all others that are waiting, at
/// most `max`.
///
/// Threads: any. Blocks: at most `timeout_ms`. In callbacks: as qy_subscription_recv.
/// Errors: as qy_subscription_recv; QY_ERR_INVALID_ARGUMENT also for a `max` of 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_subscription_recv_many(
    subscription: *mut qy_subscription,
    max: usize,
    timeout_ms: u32,
    out: *mut *mut qy_batch,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_subscription_recv_many", || {
        // SAFETY: as above; `subscription` is NULL or live.
        unsafe {
            on_object(subscription, "subscription", |subscription| {
                let out = output(out, "out")?;
                if max == 0 {
                    return Err(Failure::parameter("'max' is 0; it takes 1 or more"));
                }
                let mut events = Vec::new();
                let timeout = Duration::from_millis(timeout_ms.into());
                subscription.subscription.recv_many(&mut events, max, timeout)?;
                *out = qy_batch::new(events);
                Ok(())
            })
        }
    })
}

/// The number of events in a batch; 0 for NULL.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_batch_count(batch: *const qy_batch) -> usize {
    // SAFETY: NULL or a live batch, by the header's rules.
    guard_value(0, || unsafe { batch.as_ref() }.map_or(0, |batch| batch.views.len()))
}

/// The events of a batch, oldest first: an array of qy_batch_count elements, valid until
/// qy_batch_free. NULL for NULL and for an empty batch.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_batch_events(batch: *const qy_batch) -> *const qy_event {
    // SAFETY: NULL or a live batch, by the header's rules.
    guard_value(ptr::null(), || match unsafe { batch.as_ref() } {
        Some(batch) if !batch.views.is_empty() => batch.views.as_ptr(),
        _ => ptr::null(),
    })
}

/// Frees a batch and what its events point to; NULL is allowed.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_batch_free(batch: *mut qy_batch) {
    guard_value((), || {
        if !batch.is_null() {
            // SAFETY: a live batch that no other call uses, by the header's rules.
            drop(unsafe { Box::from_raw(batch) });
        }
    });
}

/// Tells a descriptor that is readable (level-triggered) while an event waits, and when the
/// subscription has ended until a receiving call has told so. It is made on first use and belongs to the subscription: watch it, but do not read,
/// write or close it, and watch it no longer when the subscription is freed. `*out` is -1 when the
/// function fails.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_IO, QY_ERR_INVALID_ARGUMENT for a subscription with a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_subscription_fd(
    subscription: *mut qy_subscription,
    out: *mut c_int,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { preset(out, -1) };
    guard("qy_subscription_fd", || {
        // SAFETY: as above; `subscription` is NULL or live.
        unsafe {
            on_object(subscription, "subscription", |subscription| {
                let out = output(out, "out")?;
                *out = subscription.subscription.poll_fd()?;
                Ok(())
            })
        }
    })
}

/// Tells how many messages were dropped because the subscription's queue was full.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_subscription_dropped(
    subscription: *const qy_subscription,
    out: *mut u64,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_subscription_dropped", || {
        // SAFETY: as above; `subscription` is NULL or live.
        unsafe {
            on_object(subscription, "subscription", |subscription| {
                *output(out, "out")? = subscription.subscription.dropped();
                Ok(())
            })
        }
    })
}

/// Copies the text of the last failure on this subscription, by any thread, into `buf`, as
/// qy_last_error does; an empty text when there was none.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_subscription_last_error(
    subscription: *const qy_subscription,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard_anywhere("qy_subscription_last_error", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            let text = object(subscription, "subscription")?.head.error.get();
            error::copy_out(&text, buf, cap, needed)
        }
    })
}

/// Ends the subscription. Receiving calls, those that wait and later ones, return QY_ERR_CLOSED, and
/// what was queued is given up; a callback that runs finishes, and only the one that tells
/// QY_EVENT_CLOSED still comes. Safe to call again. The handle must still be freed.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_subscription_close(subscription: *mut qy_subscription) -> qy_status {
    guard("qy_subscription_close", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(subscription, "subscription", |subscription| {
                subscription.subscription.close();
                Ok(())
            })
        }
    })
}

/// Ends the subscription and waits: when it has returned QY_OK, no callback runs or will run, and
/// `drop` has run.
///
/// Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not in one of this very
/// subscription, one that this one waits for, or on the I/O thread (QY_DELIVER_INLINE).
/// Errors: QY_ERR_TIMEOUT when a callback still runs, QY_ERR_WOULD_DEADLOCK in a callback that may
/// not wait for it; it is closed all the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_subscription_close_wait(
    subscription: *mut qy_subscription,
    timeout_ms: u32,
) -> qy_status {
    guard("qy_subscription_close_wait", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(subscription, "subscription", |subscription| {
                let timeout = Duration::from_millis(timeout_ms.into());
                Ok(subscription.subscription.close_wait(timeout)?)
            })
        }
    })
}

/// Frees a subscription, after closing it as qy_subscription_close does; NULL is allowed. Callbacks
/// may still come until QY_EVENT_CLOSED and `drop`. In a forked child it only forgets the parent's.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_subscription_free(subscription: *mut qy_subscription) {
    guard_value((), || {
        // SAFETY: NULL or a live object that no other call uses, by the header's rules.
        unsafe { release(subscription, |subscription| subscription.subscription.close()) };
    });
}
