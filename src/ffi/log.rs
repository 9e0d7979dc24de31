//! Log
//!
//! The library prints nothing. What it has to say goes to a callback, if there is one.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void on_log(int32_t level, const char *target, size_t target_len, const char *message,
//!                    size_t message_len, void *user_data) {
//!   (void)user_data;
//!   fprintf(stderr, "%d %.*s %.*s\n", (int)level, (int)target_len, target, (int)message_len,
//!           message);
//! }
//!
//! int main(void) {
//!   return qy_set_log_callback(QY_LOG_INFO, on_log, NULL, NULL) == QY_OK ? 0 : 1;
//! }
//! ```

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::callback::{UserData, qy_drop_callback};
use super::error::{Failure, Outcome};
use super::guard::guard_anywhere;
use super::process::PerProcess;
use super::status::*;

/// Something failed and needs attention.
pub const QY_LOG_ERROR: i32 = 1;
/// Something is not as it should be; the library goes on.
pub const QY_LOG_WARN: i32 = 2;
/// Starts, stops and other events of interest.
pub const QY_LOG_INFO: i32 = 3;
/// For whoever looks for a fault.
pub const QY_LOG_DEBUG: i32 = 4;
/// Everything.
pub const QY_LOG_TRACE: i32 = 5;

/// Receives one log record. `target` (where in the library it comes from) and `message` are UTF-8
/// and not NUL-terminated.
///
/// It runs on whichever thread has something to say, perhaps on several at once, and perhaps under
/// a lock of the library. So it must not block, and may call only these: qy_version,
/// qy_abi_version, qy_abi_check, qy_status_name, qy_status_text, qy_last_error,
/// qy_options_describe, qy_set_log_callback, qy_batch_count, qy_batch_events,
/// qy_server_last_error, qy_subscription_last_error, and every `_free` function; those of servers,
/// clients and subscriptions then leave the work to another thread. All others return
/// QY_ERR_WOULD_DEADLOCK. What is logged during its own calls is not reported to it.
pub type qy_log_callback = Option<
    unsafe extern "C" fn(
        level: i32,
        target: *const c_char,
        target_len: usize,
        message: *const c_char,
        message_len: usize,
        user_data: *mut c_void,
    ),
>;

/// The registered callback. Whoever logs holds a share while it calls; the last share drops it.
struct Sink {
    level: LevelFilter,
    callback: unsafe extern "C" fn(i32, *const c_char, usize, *const c_char, usize, *mut c_void),
    user_data: UserData,
}

/// The lock is held to take or replace the share, never during a call.
static SINK: PerProcess<Mutex<Option<Arc<Sink>>>> = PerProcess::new();

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs the log callback now.
pub(super) fn in_callback() -> bool {
    IN_CALLBACK.try_with(Cell::get).unwrap_or(false)
}

struct Logger {
    /// Gives the static an address of its own.
    _address: u8,
}

static LOGGER: Logger = Logger { _address: 0 };

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        // `log::max_level` has filtered already.
        true
    }

    fn log(&self, record: &Record<'_>) {
        if in_callback() {
            return;
        }
        let Some(sink) = SINK.get().lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return;
        };
        // The level may have been another one's when the record passed it.
        if record.level() > sink.level {
            return;
        }
        let target = record.target();
        let message = record.args().to_string();
        let _ = IN_CALLBACK.try_with(|inside| inside.set(true));
        // SAFETY: the caller registered the function for this user data; the texts outlive the call.
        unsafe {
            (sink.callback)(
                record.level() as i32,
                target.as_ptr().cast(),
                target.len(),
                message.as_ptr().cast(),
                message.len(),
                sink.user_data.pointer(),
            );
        }
        // This may be the last share, and the library's locks are as they were during the call.
        drop(sink);
        let _ = IN_CALLBACK.try_with(|inside| inside.set(false));
    }

    fn flush(&self) {}
}

/// Sends log records up to `max_level` (a QY_LOG_ constant) to `callback`, in place of the one
/// before. NULL removes it; `max_level` is then ignored. `drop` (or NULL) runs when this callback
/// has been replaced or removed and no call of it runs or will run.
///
/// There is one log callback for the process; a forked child begins without one.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
/// Errors: QY_ERR_INVALID_ARGUMENT for a level that does not exist, QY_ERR_REFUSED when other Rust
/// code in the process has taken the log facility for itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_set_log_callback(
    max_level: i32,
    callback: qy_log_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    guard_anywhere("qy_set_log_callback", || match callback {
        None => {
            replace(LevelFilter::Off, None);
            Ok(())
        }
        Some(callback) => {
            let level = level_filter(max_level)?;
            claim_log_facility()?;
            replace(level, Some(Arc::new(Sink { level, callback, user_data })));
            Ok(())
        }
    })
}

fn level_filter(level: i32) -> Outcome<LevelFilter> {
    Ok(match level {
        QY_LOG_ERROR => LevelFilter::Error,
        QY_LOG_WARN => LevelFilter::Warn,
        QY_LOG_INFO => LevelFilter::Info,
        QY_LOG_DEBUG => LevelFilter::Debug,
        QY_LOG_TRACE => LevelFilter::Trace,
        other => {
            let message =
                format!("'max_level' is {other}; it takes QY_LOG_ERROR (1) to QY_LOG_TRACE (5)");
            return Err(Failure::parameter(message));
        }
    })
}

fn claim_log_facility() -> Outcome {
    let ours = std::ptr::from_ref(&LOGGER).cast::<()>();
    match log::set_logger(&LOGGER) {
        Err(_) if std::ptr::from_ref(log::logger()).cast::<()>() != ours => Err(Failure::new(
            QY_ERR_REFUSED,
            "another logger is installed in this process; it receives the library's records",
        )),
        _ => Ok(()),
    }
}

fn replace(level: LevelFilter, sink: Option<Arc<Sink>>) {
    let mut slot = SINK.get().lock().unwrap_or_else(PoisonError::into_inner);
    let old = std::mem::replace(&mut *slot, sink);
    // Under the lock, so that the level is always that of the sink.
    log::set_max_level(level);
    std::mem::drop(slot);
    // Its drop function, if nobody calls it now, runs here, outside the lock.
    std::mem::drop(old);
}

// `Level as i32` is what C sees.
const _: () = assert!(
    Level::Error as i32 == QY_LOG_ERROR
        && Level::Warn as i32 == QY_LOG_WARN
        && Level::Info as i32 == QY_LOG_INFO
        && Level::Debug as i32 == QY_LOG_DEBUG
        && Level::Trace as i32 == QY_LOG_TRACE
);
