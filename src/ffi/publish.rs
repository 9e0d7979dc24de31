//! Publishing once, and many at a time
//!
//! A publisher that does not know whether its message arrived sends it again, under the same key: it
//! is published once. A publication can be told whom it reached, and can be the latest value of
//! something. A batch publishes many messages to many channels in one call.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   qy_publish_options once = {.struct_size = sizeof once, .key = "order-7", .key_len = 7};
//!   qy_publish_item items[] = {
//!     {.struct_size = sizeof *items, .channel = "news", .kind = QY_TEXT, .data = "a", .len = 1},
//!     {.struct_size = sizeof *items, .channel = "none", .kind = QY_TEXT, .data = "b", .len = 1},
//!   };
//!   qy_publish_result result = {.struct_size = sizeof result};
//!   qy_publish_result results[2] = {{.struct_size = sizeof *results}};
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_server_create_channel(server, "news");
//!   for (int i = 0; i < 2; i++) {
//!     qy_server_publish_with(server, "news", QY_TEXT, "order 7", 7, &once, &result);
//!     printf("number %llu%s\n", (unsigned long long)result.offset,
//!            result.duplicate ? ", published before" : "");
//!   }
//!   qy_server_publish_batch(server, items, 2, results);
//!   for (int i = 0; i < 2; i++) printf("%s\n", qy_status_name(results[i].status));
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::ptr;

use super::error::{self, Failure, Outcome};
use super::guard::{Handle, bytes, guard, on_object, text};
use super::message::payload_kind;
use super::server::{about, qy_server};
use super::status::*;
use super::structs::{self, Array, Versioned};
use crate::hub::{BatchMessage, PublishOptions, Report, Reports};

/// What is asked for beside a publication. Zeros ask for nothing.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_publish_options {
    /// sizeof(qy_publish_options), set by the caller.
    pub struct_size: usize,
    /// The message is published once within the channel's `idempotency_ms`, however often it comes
    /// under this key of any 1 to 255 bytes. NULL is no key.
    pub key: *const c_void,
    /// Its length in bytes.
    pub key_len: usize,
    /// What the message is the latest value of, 1 to 255 bytes, in a channel with
    /// `overload=keep_latest`; elsewhere it means nothing. NULL is nothing.
    pub conflate: *const c_char,
    /// Not 0: the call waits until it is known how many subscribers the message reached.
    pub counts: i32,
}

/// What became of a message.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_publish_result {
    /// sizeof(qy_publish_result), set by the caller.
    pub struct_size: usize,
    /// The channel's incarnation.
    pub epoch: u64,
    /// The number of the publication in that epoch.
    pub offset: u64,
    /// Subscribers of the channel when it was published.
    pub subscribers: u64,
    /// With `has_counts`: subscribers to whose sockets, or the queues in front of them, it was written.
    pub reached: u64,
    /// With `has_counts`: those of them that had to wait for room in their sockets.
    pub queued: u64,
    /// With `has_counts`: subscribers that do not get it, because a policy dropped it or they were
    /// closed as too slow.
    pub dropped: u64,
    /// QY_OK, or why this message of a batch was not published; then the rest is 0.
    pub status: i32,
    /// 1 when it was published before, under the same key: nothing was published now.
    pub duplicate: i32,
    /// 1 when the counts are there, because they were asked for. Those of a repeat are 0.
    pub has_counts: i32,
}

/// A message of a batch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_publish_item {
    /// sizeof(qy_publish_item), set by the caller.
    pub struct_size: usize,
    /// The channel's name.
    pub channel: *const c_char,
    /// The message of `len` bytes, which is copied.
    pub data: *const c_void,
    /// Its length in bytes.
    pub len: usize,
    /// What is asked for beside its publication, or NULL.
    pub options: *const qy_publish_options,
    /// QY_TEXT, QY_BINARY or QY_JSON.
    pub kind: i32,
    /// Where the text of its failure goes when the call returns QY_OK, NUL-terminated and cut to
    /// `error_cap` bytes; an empty text when it was published. NULL is nowhere.
    pub error: *mut c_char,
    /// The size of `error` in bytes.
    pub error_cap: usize,
}

// SAFETY: `repr(C)`, begins with its size, integers and raw pointers only.
unsafe impl Versioned for qy_publish_options {}
// SAFETY: as above.
unsafe impl Versioned for qy_publish_result {}
// SAFETY: as above.
unsafe impl Versioned for qy_publish_item {}

impl From<Report> for qy_publish_result {
    fn from(report: Report) -> Self {
        let (published, counts) = (report.published, report.counts.unwrap_or_default());
        Self {
            struct_size: size_of::<Self>(),
            epoch: published.position.epoch,
            offset: published.position.offset,
            subscribers: published.subscribers,
            reached: counts.reached,
            queued: counts.queued,
            dropped: counts.dropped,
            status: QY_OK,
            duplicate: i32::from(published.duplicate),
            has_counts: i32::from(report.counts.is_some()),
        }
    }
}

impl qy_publish_result {
    /// Of a message that was not published.
    fn failed(status: qy_status) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            epoch: 0,
            offset: 0,
            subscribers: 0,
            reached: 0,
            queued: 0,
            dropped: 0,
            status,
            duplicate: 0,
            has_counts: 0,
        }
    }
}

/// What the caller asks for.
///
/// # Safety
/// `input` is NULL or points to a struct of its `struct_size` whose pointers are as the header says.
pub(super) unsafe fn asked<'a>(input: *const qy_publish_options) -> Outcome<PublishOptions<'a>> {
    if input.is_null() {
        return Ok(PublishOptions::default());
    }
    // SAFETY: the caller's.
    unsafe {
        let options = structs::read(input, "options")?;
        let key = bytes(options.key, options.key_len, "options->key")?;
        let conflate = match options.conflate.is_null() {
            true => None,
            false => Some(text(options.conflate, "options->conflate")?),
        };
        Ok(PublishOptions {
            key: (!options.key.is_null()).then_some(key),
            conflate,
            counts: options.counts != 0,
        })
    }
}

/// A message as the service takes it.
///
/// # Safety
/// The item's pointers are as the header says.
unsafe fn message<'a>(item: &qy_publish_item) -> Outcome<BatchMessage<'a>> {
    // SAFETY: the caller's.
    unsafe {
        let channel = text(item.channel, "channel")?;
        let payload = bytes(item.data, item.len, "data")?;
        let kind = payload_kind(item.kind, payload)?;
        Ok(BatchMessage { channel, kind, payload, options: asked(item.options)? })
    }
}

/// Publishes those of `items` that can be by `publish`, whose errors name their channels, and tells
/// what became of all of them; gives the text of the first that failed.
///
/// # Safety
/// The arrays are as the header says.
pub(super) unsafe fn publish_batch<'a>(
    items: *const qy_publish_item,
    count: usize,
    results: *mut qy_publish_result,
    publish: impl FnOnce(&[BatchMessage<'a>]) -> crate::Result<Reports>,
) -> Outcome<Option<String>> {
    if count == 0 {
        publish(&[])?;
        return Ok(None);
    }
    // SAFETY: the caller's.
    unsafe {
        let items = Array::new(items.cast_mut(), count, "items")?;
        let results = Array::new(results, count, "results")?;
        let messages: Vec<_> = items.values().map(|item| message(&item)).collect();
        let good: Vec<_> = messages.iter().filter_map(|m| m.as_ref().ok()).copied().collect();
        let mut reports = publish(&good)?.into_iter();
        let mut first = None;
        for (at, (message, item)) in messages.into_iter().zip(items.values()).enumerate() {
            let outcome = message.and_then(|_| match reports.next() {
                Some(report) => Ok(report?),
                None => Err(Failure::new(QY_ERR_CLOSED, "the server was stopped")),
            });
            let (result, text) = match outcome {
                Ok(report) => (report.into(), String::new()),
                Err(failure) => (qy_publish_result::failed(failure.status), failure.message),
            };
            results.set(at, &result);
            if !item.error.is_null() {
                // One that is cut has been told as far as there is room.
                let _ = error::copy_out(&text, item.error, item.error_cap, ptr::null_mut());
            }
            if result.status != QY_OK && first.is_none() {
                first = Some(format!("items[{at}]: {text}"));
            }
        }
        Ok(first)
    }
}

/// Keeps what failed first in a batch as the last error of the object and of the thread.
pub(super) fn tell_first(object: &impl Handle, first: Option<String>) {
    if let Some(first) = first {
        object.head().error.set(&first);
        object.failed();
        error::set_last(first);
    }
}

/// Broadcasts a message as qy_server_publish does, with `options`, or NULL for none. `*out`, unless
/// NULL, tells what became of it; set its `struct_size` first.
///
/// Threads: any, many at once. Blocks: as qy_server_publish; with `counts` also until all threads of
/// the server have sent the message on. In callbacks: yes; where it would wait, not on the server's
/// own threads (QY_DELIVER_INLINE).
/// Errors: those of qy_server_publish; QY_ERR_CONFLICT when another message came under the key;
/// QY_ERR_INVALID_ARGUMENT for a key or `conflate` that is not 1 to 255 bytes and for a key in a
/// channel with `idempotency_ms` 0; QY_ERR_WOULD_DEADLOCK for `counts` on a server's own thread, and
/// then nothing is published.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_publish_with(
    server: *mut qy_server,
    channel: *const c_char,
    kind: i32,
    data: *const c_void,
    len: usize,
    options: *const qy_publish_options,
    out: *mut qy_publish_result,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_server_publish_with", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated, `len` bytes, NULL or as large as
        // it says.
        unsafe {
            on_object(server, "server", |server| {
                let channel = text(channel, "channel")?;
                let data = bytes(data, len, "data")?;
                let kind = payload_kind(kind, data)?;
                let options = asked(options)?;
                let size = match out.is_null() {
                    true => None,
                    false => Some(structs::check(out, "out")?),
                };
                let service = server.service()?;
                let report = service.publish_with(channel, kind, data, options);
                let report = report.map_err(about(channel))?;
                if let Some(size) = size {
                    structs::fill(out, size, &report.into());
                }
                Ok(())
            })
        }
    })
}

/// Broadcasts `count` messages. Those to one channel stand in it one behind the other, in this order
/// and with nothing of others in between; one that fails keeps no other back. `results` are `count`
/// structs that tell, in the same order, what became of each: look at `status`. Of both arrays the
/// first element's `struct_size` holds for all; the library sets those of the other results. QY_OK
/// means that all were looked at; qy_server_last_error then tells of the first that failed, if any did,
/// and `error` of each item of its own failure.
///
/// Threads: any, many at once. Blocks: as qy_server_publish_with; messages to a channel with
/// `overload=hold` wait each in its turn, and then those of others may come in between. In callbacks:
/// as qy_server_publish_with.
/// Errors: QY_ERR_CLOSED; QY_ERR_WOULD_DEADLOCK on a server's own thread for `counts` and for channels
/// with `overload=hold`, or `durability` `os` or `fsync`; QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be; then nothing is published. Of a
/// message: those of qy_server_publish_with, in its result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_publish_batch(
    server: *mut qy_server,
    items: *const qy_publish_item,
    count: usize,
    results: *mut qy_publish_result,
) -> qy_status {
    // SAFETY: NULL or `count` structs of the first one's `struct_size`, by the header's rules.
    unsafe { structs::clear_all(results, count) };
    guard("qy_server_publish_batch", || {
        // SAFETY: as above; NULL or live, and what the items point to is as the header says.
        unsafe {
            on_object(server, "server", |server| {
                let service = server.service()?;
                let first = publish_batch(items, count, results, |batch| {
                    let reports = service.publish_batch(batch)?.into_iter().zip(batch);
                    let named = |(report, message): (crate::Result<_>, &BatchMessage<'_>)| {
                        report.map_err(about(message.channel))
                    };
                    Ok(reports.map(named).collect())
                })?;
                tell_first(server, first);
                Ok(())
            })
        }
    })
}
