//! History
//!
//! A channel with the option `history_size` keeps its last publications. They are read a page at a
//! time, forward or backward, from a server over the network or from the one in this process.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! int main(void) {
//!   qy_client *client = NULL;
//!   qy_history *page = NULL;
//!   qy_history_range newest = {.struct_size = sizeof newest, .limit = 10, .backward = 1};
//!   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK) return 1;
//!   if (qy_client_history(client, "test", &newest, &page) == QY_OK) {
//!     const qy_publication *rows = qy_history_publications(page);
//!     for (size_t i = 0; i < qy_history_count(page); i++)
//!       printf("%llu: %.*s\n", (unsigned long long)rows[i].offset, (int)rows[i].len,
//!              (const char *)rows[i].data);
//!     qy_history_free(page);
//!   }
//!   qy_client_free(client);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::ptr;

use super::client::qy_client;
use super::error::{Failure, Outcome};
use super::guard::{clear, guard, guard_value, on_object, output, text};
use super::message::kind_code;
use super::server::{about, qy_server};
use super::status::*;
use super::structs;
use crate::client::{History, Publication};
use crate::hub::Range;
use crate::wire::Position;

/// Publications of a page when the range says nothing.
const PAGE: usize = 100;

/// A page of a channel's history. It stays as it is.
pub struct qy_history {
    position: Position,
    first: u64,
    more: bool,
    /// They point into the data of `_publications`, which does not move.
    views: Vec<qy_publication>,
    _publications: Vec<Publication>,
}

/// A part of a history to read. Zeros mean all of it, from the oldest.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_history_range {
    /// sizeof(qy_history_range), set by the caller.
    pub struct_size: usize,
    /// Only publications behind this offset.
    pub after: u64,
    /// Only publications in front of this offset; 0 is no such bound.
    pub before: u64,
    /// At most so many, 1 to 1,000; 0 is 100. A page also ends at about 4 MiB of messages.
    pub limit: u32,
    /// Not 0: the newest first.
    pub backward: i32,
}

// SAFETY: `repr(C)`, begins with its size, integers only.
unsafe impl structs::Versioned for qy_history_range {}

/// One publication of a page.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_publication {
    /// The size of this struct in the library that made it.
    pub struct_size: usize,
    /// Its number in the channel.
    pub offset: u64,
    /// When it was published, in ms since the Unix epoch.
    pub time_ms: u64,
    /// The message. Not NUL-terminated, never NULL.
    pub data: *const c_void,
    /// Its length in bytes.
    pub len: usize,
    /// QY_TEXT or QY_BINARY.
    pub kind: i32,
}

/// What a page tells of its channel.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_history_info {
    /// sizeof(qy_history_info), set by the caller.
    pub struct_size: usize,
    /// The channel's incarnation.
    pub epoch: u64,
    /// The offset of its last publication.
    pub offset: u64,
    /// The oldest offset that is kept; the one behind the last if none is.
    pub first: u64,
    /// 1 when there is more of the range than the page.
    pub more: i32,
}

// SAFETY: `repr(C)`, begins with its size, integers only.
unsafe impl structs::Versioned for qy_history_info {}

impl qy_history {
    fn new(history: History) -> *mut Self {
        let views = history.publications.iter().map(|publication| qy_publication {
            struct_size: size_of::<qy_publication>(),
            offset: publication.offset,
            time_ms: publication.time_ms,
            data: publication.data.as_ptr().cast(),
            len: publication.data.len(),
            kind: kind_code(publication.kind),
        });
        Box::into_raw(Box::new(Self {
            position: history.position,
            first: history.first,
            more: history.more,
            views: views.collect(),
            _publications: history.publications,
        }))
    }
}

/// What the caller asks for.
///
/// # Safety
/// `input` is NULL or points to as many readable bytes as its `struct_size` says.
unsafe fn range(input: *const qy_history_range) -> Outcome<Range> {
    if input.is_null() {
        return Ok(Range { after: None, before: None, limit: PAGE, backward: false });
    }
    // SAFETY: the caller's.
    let range = unsafe { structs::read(input, "range") }?;
    Ok(Range {
        after: Some(range.after).filter(|after| *after != 0),
        before: Some(range.before).filter(|before| *before != 0),
        limit: match range.limit {
            0 => PAGE,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        },
        backward: range.backward != 0,
    })
}

/// Reads a page of a channel's history from the client's server. NULL for `range` is all of it, from
/// the oldest. `*out` is the caller's, to be freed with qy_history_free.
///
/// Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
/// callbacks: yes.
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CONNECT,
/// QY_ERR_TIMEOUT, QY_ERR_REFUSED for a limit that the server does not take, QY_ERR_PROTOCOL,
/// QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_history(
    client: *mut qy_client,
    channel: *const c_char,
    range: *const qy_history_range,
    out: *mut *mut qy_history,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_client_history", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated, NULL or as large as it says.
        unsafe {
            on_object(client, "client", |client| {
                let (out, channel) = (output(out, "out")?, text(channel, "channel")?);
                let range = self::range(range)?;
                *out = qy_history::new(client.client.history(channel, &range)?);
                Ok(())
            })
        }
    })
}

/// Reads a page of a channel's history from the server in this process, as qy_client_history does.
///
/// Threads: any. Blocks: for as long as it takes to copy the page. In callbacks: yes.
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_UTF8, QY_ERR_INVALID_ARGUMENT for a limit over
/// 1,000, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_history(
    server: *const qy_server,
    channel: *const c_char,
    range: *const qy_history_range,
    out: *mut *mut qy_history,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_history", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated, NULL or as large as it says.
        unsafe {
            on_object(server, "server", |server| {
                let (out, channel) = (output(out, "out")?, text(channel, "channel")?);
                let range = self::range(range)?;
                let extract = server.service()?.history(channel, &range);
                *out = qy_history::new(extract.map_err(about(channel))?.into());
                Ok(())
            })
        }
    })
}

/// Tells where the channel stood when the page was read, and whether there is more.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_history_info_get(
    history: *const qy_history,
    out: *mut qy_history_info,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_history_info_get", || {
        // SAFETY: as above; NULL or live.
        unsafe {
            let history = history.as_ref().ok_or_else(|| Failure::null("history"))?;
            let size = structs::check(out, "out")?;
            let info = qy_history_info {
                struct_size: size,
                epoch: history.position.epoch,
                offset: history.position.offset,
                first: history.first,
                more: i32::from(history.more),
            };
            structs::fill(out, size, &info);
            Ok(())
        }
    })
}

/// The number of publications of a page; 0 for NULL.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_history_count(history: *const qy_history) -> usize {
    // SAFETY: NULL or a live page, by the header's rules.
    guard_value(0, || unsafe { history.as_ref() }.map_or(0, |history| history.views.len()))
}

/// The publications of a page, in the order that was asked for: an array of qy_history_count
/// elements, valid until qy_history_free. NULL for NULL and for an empty page.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_history_publications(
    history: *const qy_history,
) -> *const qy_publication {
    // SAFETY: NULL or a live page, by the header's rules.
    guard_value(ptr::null(), || match unsafe { history.as_ref() } {
        Some(history) if !history.views.is_empty() => history.views.as_ptr(),
        _ => ptr::null(),
    })
}

/// Frees a page and what its publications point to; NULL is allowed.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_history_free(history: *mut qy_history) {
    guard_value((), || {
        if !history.is_null() {
            // SAFETY: a live page that no other call uses, by the header's rules.
            drop(unsafe { Box::from_raw(history) });
        }
    });
}
