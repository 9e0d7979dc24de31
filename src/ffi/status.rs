//! Status codes
//!
//! Every function that can fail returns a `qy_status`: 0 is success, a negative number says what
//! kind of failure it was. The numbers never change. The text of the failure, with the value that
//! caused it and what to do, is kept for the thread that made the call (`qy_last_error`) and, where
//! there is one, on the object (`qy_server_last_error` and its kin).
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! int main(void) {
//!   char text[256];
//!   qy_status status = qy_send_message("localhost:8000", "", "hello");
//!   if (status != QY_OK) {
//!     qy_last_error(text, sizeof text, NULL);
//!     printf("%s: %s\n", qy_status_name(status), text); // QY_ERR_INVALID_NAME: ...
//!   }
//!   return 0;
//! }
//! ```

use std::ffi::{CStr, c_char};

use super::error;
use super::guard::guard_value;
use crate::ErrorKind;

/// The result of a call: `QY_OK` or one of the `QY_ERR_` constants.
pub type qy_status = i32;

/// The call did what it says.
pub const QY_OK: i32 = 0;
/// An argument is NULL where it must not be, or out of its range.
pub const QY_ERR_INVALID_ARGUMENT: i32 = -1;
/// Text that must be UTF-8 is not.
pub const QY_ERR_INVALID_UTF8: i32 = -2;
/// A channel name is empty, longer than 255 bytes, or has control characters.
pub const QY_ERR_INVALID_NAME: i32 = -3;
/// A host or URL cannot be understood.
pub const QY_ERR_INVALID_URL: i32 = -4;
/// No option has that key.
pub const QY_ERR_UNKNOWN_OPTION: i32 = -5;
/// The option exists and does not take that value.
pub const QY_ERR_INVALID_OPTION: i32 = -6;
/// The channel does not exist.
pub const QY_ERR_CHANNEL_NOT_FOUND: i32 = -7;
/// The channel exists already.
pub const QY_ERR_CHANNEL_EXISTS: i32 = -8;
/// A message, name or request is over a limit.
pub const QY_ERR_TOO_LARGE: i32 = -9;
/// No connection could be made, or it was lost before the answer. A retry may help.
pub const QY_ERR_CONNECT: i32 = -10;
/// It did not happen in time. A retry may help.
pub const QY_ERR_TIMEOUT: i32 = -11;
/// The object was closed.
pub const QY_ERR_CLOSED: i32 = -12;
/// The peer answered something that is not the protocol.
pub const QY_ERR_PROTOCOL: i32 = -13;
/// The peer, or the library, understood the request and refused it.
pub const QY_ERR_REFUSED: i32 = -14;
/// Another socket listens on the address.
pub const QY_ERR_ADDRESS_IN_USE: i32 = -15;
/// The operating system refused an operation.
pub const QY_ERR_IO: i32 = -16;
/// There is no such object.
pub const QY_ERR_NOT_FOUND: i32 = -17;
/// A bounded queue is full. A retry may help.
pub const QY_ERR_QUEUE_FULL: i32 = -18;
/// The call would wait for the callback that makes it.
pub const QY_ERR_WOULD_DEADLOCK: i32 = -19;
/// The object belongs to the parent process: make a new one after `fork`.
pub const QY_ERR_FORKED: i32 = -20;
/// A defect of the library was caught at its border; the process and other objects go on.
pub const QY_ERR_PANIC: i32 = -21;
/// The header that the program was compiled with does not fit this library.
pub const QY_ERR_ABI_MISMATCH: i32 = -22;
/// The buffer is too small; what fits was written and `*needed` says how large it must be.
pub const QY_ERR_BUFFER_TOO_SMALL: i32 = -23;
/// There is such an object already.
pub const QY_ERR_EXISTS: i32 = -24;
/// It contradicts what was done before under the same key.
pub const QY_ERR_CONFLICT: i32 = -25;

/// Every status with its name and its text. Append only; tests/native/golden/status.txt holds the
/// numbers to it.
pub(super) const STATUSES: &[(i32, &CStr, &CStr)] = &[
    (QY_OK, c"QY_OK", c"success"),
    (QY_ERR_INVALID_ARGUMENT, c"QY_ERR_INVALID_ARGUMENT", c"an argument is NULL or out of range"),
    (QY_ERR_INVALID_UTF8, c"QY_ERR_INVALID_UTF8", c"the text is not UTF-8"),
    (
        QY_ERR_INVALID_NAME,
        c"QY_ERR_INVALID_NAME",
        c"the channel name is not 1 to 255 bytes without control characters",
    ),
    (QY_ERR_INVALID_URL, c"QY_ERR_INVALID_URL", c"the host or URL cannot be understood"),
    (QY_ERR_UNKNOWN_OPTION, c"QY_ERR_UNKNOWN_OPTION", c"no option has that key"),
    (QY_ERR_INVALID_OPTION, c"QY_ERR_INVALID_OPTION", c"the option does not take that value"),
    (QY_ERR_CHANNEL_NOT_FOUND, c"QY_ERR_CHANNEL_NOT_FOUND", c"the channel does not exist"),
    (QY_ERR_CHANNEL_EXISTS, c"QY_ERR_CHANNEL_EXISTS", c"the channel exists already"),
    (QY_ERR_TOO_LARGE, c"QY_ERR_TOO_LARGE", c"it is over a limit"),
    (QY_ERR_CONNECT, c"QY_ERR_CONNECT", c"no connection could be made, or it was lost"),
    (QY_ERR_TIMEOUT, c"QY_ERR_TIMEOUT", c"it did not happen in time"),
    (QY_ERR_CLOSED, c"QY_ERR_CLOSED", c"the object was closed"),
    (QY_ERR_PROTOCOL, c"QY_ERR_PROTOCOL", c"the peer does not speak the protocol"),
    (QY_ERR_REFUSED, c"QY_ERR_REFUSED", c"the request was refused"),
    (QY_ERR_ADDRESS_IN_USE, c"QY_ERR_ADDRESS_IN_USE", c"another socket listens on the address"),
    (QY_ERR_IO, c"QY_ERR_IO", c"the operating system refused an operation"),
    (QY_ERR_NOT_FOUND, c"QY_ERR_NOT_FOUND", c"there is no such object"),
    (QY_ERR_QUEUE_FULL, c"QY_ERR_QUEUE_FULL", c"a bounded queue is full"),
    (
        QY_ERR_WOULD_DEADLOCK,
        c"QY_ERR_WOULD_DEADLOCK",
        c"the call would wait for the callback that makes it",
    ),
    (QY_ERR_FORKED, c"QY_ERR_FORKED", c"the object belongs to the parent process"),
    (QY_ERR_PANIC, c"QY_ERR_PANIC", c"a defect of the library was caught at its border"),
    (
        QY_ERR_ABI_MISMATCH,
        c"QY_ERR_ABI_MISMATCH",
        c"the header and the library do not belong together",
    ),
    (QY_ERR_BUFFER_TOO_SMALL, c"QY_ERR_BUFFER_TOO_SMALL", c"the buffer is too small"),
    (QY_ERR_EXISTS, c"QY_ERR_EXISTS", c"there is such an object already"),
    (
        QY_ERR_CONFLICT,
        c"QY_ERR_CONFLICT",
        c"it contradicts what was done before under the same key",
    ),
];

/// The status that stands for a class of failure.
pub(super) fn of(kind: ErrorKind) -> qy_status {
    match kind {
        ErrorKind::InvalidArgument => QY_ERR_INVALID_ARGUMENT,
        ErrorKind::InvalidUtf8 => QY_ERR_INVALID_UTF8,
        ErrorKind::InvalidName => QY_ERR_INVALID_NAME,
        ErrorKind::InvalidUrl => QY_ERR_INVALID_URL,
        ErrorKind::UnknownOption => QY_ERR_UNKNOWN_OPTION,
        ErrorKind::InvalidOption => QY_ERR_INVALID_OPTION,
        ErrorKind::ChannelNotFound => QY_ERR_CHANNEL_NOT_FOUND,
        ErrorKind::ChannelExists => QY_ERR_CHANNEL_EXISTS,
        ErrorKind::TooLarge => QY_ERR_TOO_LARGE,
        ErrorKind::Connect => QY_ERR_CONNECT,
        ErrorKind::Timeout => QY_ERR_TIMEOUT,
        ErrorKind::Closed => QY_ERR_CLOSED,
        ErrorKind::Protocol => QY_ERR_PROTOCOL,
        ErrorKind::Refused => QY_ERR_REFUSED,
        ErrorKind::AddressInUse => QY_ERR_ADDRESS_IN_USE,
        ErrorKind::Io => QY_ERR_IO,
        ErrorKind::NotFound => QY_ERR_NOT_FOUND,
        ErrorKind::QueueFull => QY_ERR_QUEUE_FULL,
        ErrorKind::WouldDeadlock => QY_ERR_WOULD_DEADLOCK,
        ErrorKind::Exists => QY_ERR_EXISTS,
        ErrorKind::Conflict => QY_ERR_CONFLICT,
    }
}

/// The constant's name, such as "QY_ERR_TIMEOUT"; "QY_UNKNOWN" for a number that is no status.
/// The string is static and never NULL.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub extern "C" fn qy_status_name(status: qy_status) -> *const c_char {
    guard_value(c"QY_UNKNOWN".as_ptr(), || match find(status) {
        Some((_, name, _)) => name.as_ptr(),
        None => c"QY_UNKNOWN".as_ptr(),
    })
}

/// What the status means in general, in English, without a full stop; `qy_last_error` says what
/// failed in particular. The string is static and never NULL.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub extern "C" fn qy_status_text(status: qy_status) -> *const c_char {
    guard_value(c"unknown status".as_ptr(), || match find(status) {
        Some((_, _, text)) => text.as_ptr(),
        None => c"unknown status".as_ptr(),
    })
}

fn find(status: qy_status) -> Option<&'static (i32, &'static CStr, &'static CStr)> {
    STATUSES.iter().find(|(number, ..)| *number == status)
}

/// Copies the text of this thread's last failure into `buf`, NUL-terminated and cut at a
/// character to `cap` bytes; an empty text when no call of this thread has failed. A call that
/// succeeds, and one that returns QY_ERR_BUFFER_TOO_SMALL, leaves the text as it is.
///
/// `buf` may be NULL when `cap` is 0, to ask for the size. `needed` may be NULL; otherwise
/// `*needed` becomes the size of the whole text in bytes, with its NUL.
///
/// Threads: any; each has its own text. Blocks: never. In callbacks: yes, log callbacks too.
/// Errors: QY_ERR_BUFFER_TOO_SMALL when the text was cut, QY_ERR_INVALID_ARGUMENT when `buf` is
/// NULL and `cap` is not 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_last_error(
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    guard_value(QY_ERR_PANIC, || {
        let text = error::last();
        // SAFETY: by the caller's contract `buf` is NULL or has `cap` writable bytes, and `needed`
        // is NULL or valid.
        match unsafe { error::copy_out(&text, buf, cap, needed) } {
            Ok(()) => QY_OK,
            Err(failure) => failure.status,
        }
    })
}
