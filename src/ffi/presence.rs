//! Patterns and presence
//!
//! A subscription to a pattern brings the messages of every channel that it matches, also of those that
//! are created later; `channel` of its events says which one. A subscription with presence tells, between
//! the messages of one channel, who is there, who comes and who goes; the channel has the option
//! `presence`. With the first of either kind the client makes a second connection, which all of them
//! share, and by which the client is seen in its channels. Who is there can also be asked for.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void on_event(const qy_event *event, void *user_data) {
//!   (void)user_data;
//!   if (event->event == QY_EVENT_JOIN || event->event == QY_EVENT_LEAVE)
//!     printf("%.*s %s\n", (int)event->len, (const char *)event->data,
//!            event->event == QY_EVENT_JOIN ? "is there" : "went");
//!   else if (event->event == QY_EVENT_MESSAGE)
//!     printf("%.*s: %.*s\n", (int)event->channel_len, event->channel, (int)event->len,
//!            (const char *)event->data);
//! }
//!
//! int main(void) {
//!   qy_client *client = NULL;
//!   qy_subscription *news = NULL, *room = NULL;
//!   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK) return 1;
//!   qy_client_subscribe_pattern(client, "news.*", QY_DELIVER_THREAD, on_event, NULL, NULL, &news);
//!   qy_client_subscribe_presence(client, "room", QY_DELIVER_THREAD, on_event, NULL, NULL, &room);
//!   getchar();
//!   qy_subscription_free(room);
//!   qy_subscription_free(news);
//!   qy_client_free(client);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::ptr;

use super::callback::{UserData, qy_drop_callback};
use super::client::qy_client;
use super::error::Failure;
use super::guard::{clear, guard, guard_value, on_object, output, text};
use super::server::{about, qy_server};
use super::status::*;
use super::structs;
use super::subscription::{delivery, qy_event_callback, qy_subscription};
use crate::client::{Presence, Present};

/// Of a subscription with presence: somebody came to the channel, or was there when the subscription
/// began. The data is the connection's id.
pub const QY_EVENT_JOIN: i32 = 8;
/// Of a subscription with presence: somebody went. The data is the connection's id.
pub const QY_EVENT_LEAVE: i32 = 9;

/// Those who are asked for when the limit is 0.
const PAGE: usize = 100;

/// Who is in a channel, in part. It stays as it is.
pub struct qy_presence {
    count: u64,
    anonymous: u64,
    more: bool,
    /// They point into the texts of `_members`, which do not move.
    views: Vec<qy_present>,
    _members: Vec<Present>,
}

/// One who is in a channel.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_present {
    /// The size of this struct in the library that made it.
    pub struct_size: usize,
    /// The connection's id, UTF-8, not NUL-terminated.
    pub id: *const c_char,
    /// Its length in bytes.
    pub id_len: usize,
    /// The user that it is bound to, UTF-8, not NUL-terminated; NULL without one.
    pub user: *const c_char,
    /// Its length in bytes.
    pub user_len: usize,
    /// When it connected, in ms since the Unix epoch.
    pub connected_ms: u64,
}

/// What a part tells of the whole.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_presence_info {
    /// sizeof(qy_presence_info), set by the caller.
    pub struct_size: usize,
    /// How many are there in all.
    pub count: u64,
    /// Subscribers without a name.
    pub anonymous: u64,
    /// 1 when there are more behind the last one of this part.
    pub more: i32,
}

// SAFETY: `repr(C)`, begins with its size, integers only.
unsafe impl structs::Versioned for qy_presence_info {}

impl qy_presence {
    fn new(presence: Presence) -> *mut Self {
        let views = presence.members.iter().map(|one| qy_present {
            struct_size: size_of::<qy_present>(),
            id: one.id.as_ptr().cast(),
            id_len: one.id.len(),
            user: one.user.as_ref().map_or(ptr::null(), |user| user.as_ptr().cast()),
            user_len: one.user.as_ref().map_or(0, String::len),
            connected_ms: one.connected_ms,
        });
        Box::into_raw(Box::new(Self {
            count: presence.count,
            anonymous: presence.anonymous,
            more: presence.more,
            views: views.collect(),
            _members: presence.members,
        }))
    }
}

/// Subscribes like qy_client_subscribe to all channels whose names match `pattern`: `*` stands for one
/// segment between dots, `>` at the end for one or more. Of channels that exist from now on, of others
/// from their first message on. The `channel` of QY_EVENT_MESSAGE is the channel's name, that of the
/// other events the pattern. After a reconnection it begins at the present, and QY_EVENT_CONNECTED says
/// so with a `recovered` of 0.
///
/// Threads: any. Blocks: until the subscription is live, at most `request_timeout_ms`. In callbacks:
/// yes, but not on the I/O thread (QY_DELIVER_INLINE).
/// Errors: as qy_client_subscribe; QY_ERR_INVALID_NAME for what is no pattern; QY_ERR_REFUSED when the
/// server takes none, or it matches more channels than a connection may have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_subscribe_pattern(
    client: *mut qy_client,
    pattern: *const c_char,
    delivery: i32,
    callback: qy_event_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
    out: *mut *mut qy_subscription,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_client_subscribe_pattern", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated.
        unsafe {
            on_object(client, "client", |client| {
                let (out, pattern) = (output(out, "out")?, text(pattern, "pattern")?);
                let delivery = self::delivery(delivery, callback, user_data)?;
                let subscription = client.client.subscribe_pattern(pattern, delivery)?;
                *out = qy_subscription::hand_out(subscription);
                Ok(())
            })
        }
    })
}

/// Subscribes like qy_client_subscribe to a channel with the option `presence`, and is told who is
/// there: behind QY_EVENT_CONNECTED comes a QY_EVENT_JOIN for each one, the client itself among them,
/// then a QY_EVENT_JOIN or QY_EVENT_LEAVE for each who comes or goes, between the messages. For each
/// connection they alternate, also across reconnections. In the subscription's queue they are as
/// messages are: with an `overflow` other than "block", a full queue drops them, and counts them.
///
/// Threads: any. Blocks: until the subscription is live, at most `request_timeout_ms`. In callbacks:
/// yes, but not on the I/O thread (QY_DELIVER_INLINE).
/// Errors: as qy_client_subscribe; QY_ERR_CHANNEL_NOT_FOUND also for a channel without the option.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_subscribe_presence(
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
    guard("qy_client_subscribe_presence", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated.
        unsafe {
            on_object(client, "client", |client| {
                let (out, channel) = (output(out, "out")?, text(channel, "channel")?);
                let delivery = self::delivery(delivery, callback, user_data)?;
                let subscription = client.client.subscribe_presence(channel, delivery)?;
                *out = qy_subscription::hand_out(subscription);
                Ok(())
            })
        }
    })
}

/// Whom to begin behind, and how many at most.
///
/// # Safety
/// `after` is NULL or NUL-terminated, and stays for as long as the result is used.
unsafe fn part<'a>(after: *const c_char, limit: u32) -> Result<(Option<&'a str>, usize), Failure> {
    // SAFETY: the caller's.
    let after = if after.is_null() { None } else { Some(unsafe { text(after, "after") }?) };
    let limit = if limit == 0 { PAGE } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    Ok((after, limit))
}

/// Asks the client's server who is in a channel with the option `presence`: at most `limit` (1 to
/// 1,000; 0 is 100) of those whose ids sort behind `after`, or, with NULL, from the beginning. Whoever
/// is cut off is there until the server notices, within its `ping_interval_ms` and `pong_wait_ms`.
/// `*out` is the caller's, to be freed with qy_presence_free.
///
/// Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
/// callbacks: yes.
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, also for a channel without the option; QY_ERR_INVALID_NAME,
/// QY_ERR_INVALID_UTF8, QY_ERR_CONNECT, QY_ERR_TIMEOUT, QY_ERR_REFUSED for a limit that the server does
/// not take, QY_ERR_PROTOCOL, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_presence(
    client: *mut qy_client,
    channel: *const c_char,
    after: *const c_char,
    limit: u32,
    out: *mut *mut qy_presence,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_client_presence", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated.
        unsafe {
            on_object(client, "client", |client| {
                let (out, channel) = (output(out, "out")?, text(channel, "channel")?);
                let (after, limit) = part(after, limit)?;
                *out = qy_presence::new(client.client.presence(channel, after, limit)?);
                Ok(())
            })
        }
    })
}

/// Asks the server in this process who is in a channel, as qy_client_presence does.
///
/// Threads: any. Blocks: for as long as it takes to copy the part. In callbacks: yes.
/// Errors: QY_ERR_CHANNEL_NOT_FOUND; QY_ERR_NOT_FOUND for a channel without the option;
/// QY_ERR_INVALID_UTF8, QY_ERR_INVALID_ARGUMENT for a limit over 1,000, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_presence(
    server: *const qy_server,
    channel: *const c_char,
    after: *const c_char,
    limit: u32,
    out: *mut *mut qy_presence,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_presence", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated.
        unsafe {
            on_object(server, "server", |server| {
                let (out, channel) = (output(out, "out")?, text(channel, "channel")?);
                let (after, limit) = part(after, limit)?;
                if limit > 1000 {
                    return Err(Failure::parameter(format!(
                        "'limit' is {limit}; it takes 1 to 1000, or 0 for {PAGE}"
                    )));
                }
                let there = server.service()?.presence(channel, after, limit);
                *out = qy_presence::new(there.map_err(about(channel))?.into());
                Ok(())
            })
        }
    })
}

/// Tells how many there are in all, and whether there are more than this part.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_presence_info_get(
    presence: *const qy_presence,
    out: *mut qy_presence_info,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_presence_info_get", || {
        // SAFETY: as above; NULL or live.
        unsafe {
            let presence = presence.as_ref().ok_or_else(|| Failure::null("presence"))?;
            let size = structs::check(out, "out")?;
            let info = qy_presence_info {
                struct_size: size,
                count: presence.count,
                anonymous: presence.anonymous,
                more: i32::from(presence.more),
            };
            structs::fill(out, size, &info);
            Ok(())
        }
    })
}

/// The number of members of a part; 0 for NULL.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_presence_count(presence: *const qy_presence) -> usize {
    // SAFETY: NULL or a live part, by the header's rules.
    guard_value(0, || unsafe { presence.as_ref() }.map_or(0, |presence| presence.views.len()))
}

/// The members of a part, by id: an array of qy_presence_count elements, valid until
/// qy_presence_free. NULL for NULL and for an empty part.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_presence_members(presence: *const qy_presence) -> *const qy_present {
    // SAFETY: NULL or a live part, by the header's rules.
    guard_value(ptr::null(), || match unsafe { presence.as_ref() } {
        Some(presence) if !presence.views.is_empty() => presence.views.as_ptr(),
        _ => ptr::null(),
    })
}

/// Frees a part and what its members point to; NULL is allowed.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_presence_free(presence: *mut qy_presence) {
    guard_value((), || {
        if !presence.is_null() {
            // SAFETY: a live part that no other call uses, by the header's rules.
            drop(unsafe { Box::from_raw(presence) });
        }
    });
}
