//! The one gate between C and the library: every export runs its body through it.
//!
//! It catches panics, refuses calls from a log callback, keeps the error text, and checks what C
//! hands over: NULL, another process's object, text that is not UTF-8. Every check names the
//! parameter.

use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use super::error::{self, Failure, ObjectError, Outcome};
use super::status::*;
use super::{log, panic};
use crate::{fork, thread};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether this thread is inside an export.
pub(super) fn entered() -> bool {
    DEPTH.try_with(|depth| depth.get() > 0).unwrap_or(false)
}

/// Runs the body of an export that must not be called in a log callback: a log record may be
/// written under any lock of the library.
pub(super) fn guard(function: &'static str, body: impl FnOnce() -> Outcome) -> qy_status {
    guard_anywhere(function, || {
        if log::in_callback() {
            let message = format!("{function} cannot be called in a log callback");
            return Err(Failure::new(QY_ERR_WOULD_DEADLOCK, message));
        }
        body()
    })
}

/// Runs the body of an export that may be called in a log callback too.
pub(super) fn guard_anywhere(function: &'static str, body: impl FnOnce() -> Outcome) -> qy_status {
    let outcome = caught(body).unwrap_or_else(|what| {
        let message = format!("{function} panicked: {what}; this is a defect of the library");
        Err(Failure::new(QY_ERR_PANIC, message))
    });
    match outcome {
        Ok(()) => QY_OK,
        Err(failure) => {
            // For a buffer that is too small `*needed` says all, and the caller is likely to be
            // reading a text just now.
            if failure.status != QY_ERR_BUFFER_TOO_SMALL {
                error::set_last(match failure.of_parameter {
                    true => format!("{function}: {}", failure.message),
                    false => failure.message,
                });
            }
            failure.status
        }
    }
}

/// Runs the body of an export that cannot fail; `default` stands in if it panics.
pub(super) fn guard_value<T>(default: T, body: impl FnOnce() -> T) -> T {
    caught(body).unwrap_or(default)
}

/// Runs `body`; a panic becomes its text.
fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    panic::install_hook();
    struct Entered;
    impl Drop for Entered {
        fn drop(&mut self) {
            let _ = DEPTH.try_with(|depth| depth.set(depth.get() - 1));
        }
    }
    let _ = DEPTH.try_with(|depth| depth.set(depth.get() + 1));
    let entered = Entered;
    // Unwind safety: what a panic may leave half done is behind locks whose poison is handled, or
    // dropped with the body.
    let result = catch_unwind(AssertUnwindSafe(body));
    drop(entered);
    result.map_err(describe)
}

fn describe(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast_ref::<&str>() {
            Some(text) => (*text).to_owned(),
            None => {
                // Dropping an unknown payload might panic again.
                std::mem::forget(payload);
                "a value that is no text".into()
            }
        },
    }
}

/// What every handle begins with.
pub(super) struct Head {
    generation: u64,
    pub(super) error: ObjectError,
}

impl Head {
    pub(super) fn new() -> Self {
        Self { generation: fork::generation(), error: ObjectError::default() }
    }

    pub(super) fn is_forked(&self) -> bool {
        self.generation != fork::generation()
    }
}

/// An object that C holds.
pub(super) trait Handle {
    /// What it is called in an error text.
    const NAME: &'static str;
    fn head(&self) -> &Head;
    /// Called when a call on the object has failed.
    fn failed(&self) {}
}

/// Refers to the object behind a handle.
///
/// # Safety
/// `pointer` is NULL or came from this library as a `T` and was not freed.
pub(super) unsafe fn object<'a, T: Handle>(pointer: *const T, parameter: &str) -> Outcome<&'a T> {
    // SAFETY: NULL or a live object, by the caller's contract.
    let object = unsafe { pointer.as_ref() }.ok_or_else(|| Failure::null(parameter))?;
    if object.head().is_forked() {
        return Err(Failure::new(
            QY_ERR_FORKED,
            format!("the {} belongs to the parent process; make a new one after fork", T::NAME),
        ));
    }
    Ok(object)
}

/// Runs `body` on the object behind a handle and keeps a failure's text on the object.
///
/// # Safety
/// As for [`object`].
pub(super) unsafe fn on_object<T: Handle>(
    pointer: *const T,
    parameter: &str,
    body: impl FnOnce(&T) -> Outcome,
) -> Outcome {
    // SAFETY: the caller's.
    let object = unsafe { object(pointer, parameter) }?;
    body(object).inspect_err(|failure| {
        if failure.status != QY_ERR_BUFFER_TOO_SMALL {
            object.head().error.set(&failure.message);
            object.failed();
        }
    })
}

/// Frees a handle: `close` it, then drop it. NULL is nothing to free. In a forked child the object
/// is leaked, because dropping it would wait for threads that are not there. In a log callback,
/// where nothing may wait, a thread of its own does it.
///
/// # Safety
/// `pointer` is NULL or came from this library as a `T`, was not freed, and no other call uses it.
pub(super) unsafe fn release<T: Handle + Send + 'static>(pointer: *mut T, close: fn(&T)) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: not NULL; the object is the caller's alone from here on.
    let object = unsafe { Box::from_raw(pointer) };
    if object.head().is_forked() {
        std::mem::forget(object);
        return;
    }
    let free = move || {
        close(&object);
        drop(object);
    };
    if log::in_callback() {
        // A thread that cannot be started drops the closure here, and the object with it.
        let _ = thread::spawn("qy-free", free);
    } else {
        free();
    }
}

/// Sets an output to zero, or NULL, before anything can fail. NULL is left for the body to refuse.
///
/// # Safety
/// `out` is NULL or valid for writes; zero bytes are a value of `T`.
pub(super) unsafe fn clear<T>(out: *mut T) {
    if !out.is_null() {
        // SAFETY: not NULL, so valid for writes.
        unsafe { out.write_bytes(0, 1) };
    }
}

/// Sets an output to a value that says nothing, where 0 would say something.
///
/// # Safety
/// `out` is NULL or valid for writes.
pub(super) unsafe fn preset<T: Copy>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: not NULL, so valid for writes.
        unsafe { out.write(value) };
    }
}

/// Refers to an output that [`clear`] has set.
///
/// # Safety
/// `pointer` is NULL or valid for writes, holds a value, and nothing else uses it during the call.
pub(super) unsafe fn output<'a, T>(pointer: *mut T, parameter: &str) -> Outcome<&'a mut T> {
    // SAFETY: NULL or valid, by the caller's contract.
    unsafe { pointer.as_mut() }.ok_or_else(|| Failure::null(parameter))
}

/// Reads a NUL-terminated text.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string that stays as it is during the call.
pub(super) unsafe fn text<'a>(pointer: *const c_char, parameter: &str) -> Outcome<&'a str> {
    if pointer.is_null() {
        return Err(Failure::null(parameter));
    }
    // SAFETY: not NULL, so NUL-terminated.
    let bytes = unsafe { CStr::from_ptr(pointer) }.to_bytes();
    utf8(bytes, parameter)
}

/// Reads bytes; (NULL, 0) is none.
///
/// # Safety
/// `pointer` is NULL or points to `len` bytes that stay as they are during the call.
pub(super) unsafe fn bytes<'a>(
    pointer: *const c_void,
    len: usize,
    parameter: &str,
) -> Outcome<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Failure::parameter(format!("'{parameter}' is NULL and its length is {len}")));
    }
    if len > isize::MAX as usize {
        let message = format!("the length of '{parameter}' is {len}: no buffer is so large");
        return Err(Failure::parameter(message));
    }
    // SAFETY: not NULL, so `len` readable bytes; `len` fits an isize.
    Ok(unsafe { slice::from_raw_parts(pointer.cast(), len) })
}

/// Reads bytes as UTF-8; the error says where they are not.
fn utf8<'a>(bytes: &'a [u8], parameter: &str) -> Outcome<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| Failure {
        status: QY_ERR_INVALID_UTF8,
        message: format!("'{parameter}' is not UTF-8 at byte {}", error.valid_up_to()),
        of_parameter: true,
    })
}
