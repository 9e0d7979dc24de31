//! Failures on their way to C: one value inside the layer, then a status, this thread's last error
//! text, and the object's.

use std::cell::RefCell;
use std::ffi::{c_char, c_void};
use std::sync::{Mutex, PoisonError};

use super::status::{self, *};

/// Why a call fails.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: qy_status,
    pub(super) message: String,
    /// The text speaks of a parameter: the guard puts the function's name in front.
    pub(super) of_parameter: bool,
}

/// What the body of an export returns.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(super) fn new(status: qy_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), of_parameter: false }
    }

    /// A parameter with a value that it does not take.
    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self { status: QY_ERR_INVALID_ARGUMENT, message: message.into(), of_parameter: true }
    }

    pub(super) fn null(parameter: &str) -> Self {
        Self::parameter(format!("'{parameter}' is NULL"))
    }
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Self::new(status::of(error.kind()), error.to_string())
    }
}

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps `message` as this thread's last error. Does nothing on a thread that is being torn down.
pub(super) fn set_last(message: String) {
    let _ = LAST.try_with(|last| *last.borrow_mut() = message);
}

/// This thread's last error.
pub(super) fn last() -> String {
    LAST.try_with(|last| last.borrow().clone()).unwrap_or_default()
}

/// An object's last error.
#[derive(Default)]
pub(super) struct ObjectError(Mutex<String>);

impl ObjectError {
    pub(super) fn set(&self, message: &str) {
        message.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Which failure of an object's background work was known when a call on it last failed: what came
/// later is newer than the call's.
#[derive(Default)]
pub(super) struct Background(Mutex<Option<String>>);

impl Background {
    /// A call has failed; `newest` is the newest failure of the background work.
    pub(super) fn call_failed(&self, newest: Option<crate::Error>) {
        let newest = newest.map(|error| error.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = newest;
    }

    /// The text of the newest failure: of the background work if that failed since, or of a call.
    pub(super) fn newest(&self, newest: Option<crate::Error>, call: &ObjectError) -> String {
        let newest = newest.map(|error| error.to_string());
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match newest {
            Some(newest) if seen.as_ref() != Some(&newest) => newest,
            _ => call.get(),
        }
    }
}

/// Sets what [`copy_out`] writes to an empty text and to 0, before anything can fail.
///
/// # Safety
/// As for [`copy_out`].
pub(super) unsafe fn clear_out(buf: *mut c_char, cap: usize, needed: *mut usize) {
    if !buf.is_null() && cap > 0 {
        // SAFETY: not NULL, and has a byte.
        unsafe { buf.write(0) };
    }
    if !needed.is_null() {
        // SAFETY: not NULL, so valid for writes.
        unsafe { needed.write(0) };
    }
}

/// Writes `text` to `buf`, NUL-terminated, cut at a character when it does not fit, and its size
/// with the NUL to `needed`.
///
/// # Safety
/// `buf` is NULL or has `cap` writable bytes; `needed` is NULL or valid for writes.
pub(super) unsafe fn copy_out(
    text: &str,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> Outcome {
    let size = text.len() + 1;
    if !needed.is_null() {
        // SAFETY: not NULL, so valid for writes.
        unsafe { needed.write(size) };
    }
    if cap > 0 {
        if buf.is_null() {
            return Err(Failure::null("buf"));
        }
        let mut length = text.len().min(cap - 1);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        // SAFETY: `length + 1 <= cap` bytes are writable, and a Rust string that was just made
        // does not overlap a buffer of the caller's.
        unsafe {
            buf.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), length);
            buf.add(length).write(0);
        }
    }
    if size > cap {
        let message = format!("'buf' has {cap} bytes and needs {size}");
        return Err(Failure::new(QY_ERR_BUFFER_TOO_SMALL, message));
    }
    Ok(())
}

/// Writes bytes to `buf` as far as they fit, and their number to `needed`.
///
/// # Safety
/// `buf` is NULL or has `cap` writable bytes; `needed` is NULL or valid for writes.
pub(super) unsafe fn copy_bytes(
    bytes: &[u8],
    buf: *mut c_void,
    cap: usize,
    needed: *mut usize,
) -> Outcome {
    let size = bytes.len();
    if !needed.is_null() {
        // SAFETY: not NULL, so valid for writes.
        unsafe { needed.write(size) };
    }
    if cap > 0 {
        if buf.is_null() {
            return Err(Failure::null("buf"));
        }
        // SAFETY: as many bytes are writable, and the library's are no memory of the caller's.
        unsafe { buf.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), size.min(cap)) };
    }
    if size > cap {
        let message = format!("'buf' has {cap} bytes and needs {size}");
        return Err(Failure::new(QY_ERR_BUFFER_TOO_SMALL, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(text: &str, cap: usize) -> (qy_status, usize, Vec<u8>) {
        let mut buffer = vec![b'#'; 16];
        let mut needed = 0;
        // SAFETY: `cap` is at most the buffer's size in these tests.
        let outcome = unsafe { copy_out(text, buffer.as_mut_ptr().cast(), cap, &mut needed) };
        (outcome.map_or_else(|failure| failure.status, |()| QY_OK), needed, buffer)
    }

    #[test]
    fn a_text_that_fits_is_whole_and_terminated() {
        let (status, needed, buffer) = copied("abc", 4);
        assert_eq!((status, needed, &buffer[..5]), (QY_OK, 4, &b"abc\0#"[..]));
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_never_past_the_capacity() {
        let (status, needed, buffer) = copied("a云", 4);
        assert_eq!((status, needed, &buffer[..3]), (QY_ERR_BUFFER_TOO_SMALL, 5, &b"a\0#"[..]));
        let (status, needed, buffer) = copied("abc", 0);
        assert_eq!((status, needed, buffer[0]), (QY_ERR_BUFFER_TOO_SMALL, 4, b'#'));
    }
}
