//! Other options for a server that runs
//!
//! Limits, times and more can change without a restart; no connection is dropped for it.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! int main(void) {
//!   char restart[256];
//!   qy_options *options = NULL;
//!   qy_server *server = NULL;
//!   qy_options_new(QY_OPTIONS_SERVER, &options);
//!   qy_options_set(options, "listen", "127.0.0.1:0");
//!   if (qy_server_start(options, &server) != QY_OK) return 1;
//!
//!   qy_options_set_int(options, "max_message_bytes", 65536);
//!   qy_options_set(options, "thread_name", "other");
//!   if (qy_server_reload(server, options, restart, sizeof restart, NULL) != QY_OK) return 1;
//!   printf("needs a restart: %s\n", restart); // thread_name
//!
//!   qy_options_free(options);
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::c_char;

use super::error;
use super::guard::{guard, object, on_object};
use super::options::qy_options;
use super::server::qy_server;
use super::status::*;

/// Takes `options` over as far as they can change while the server runs. They are the whole set:
/// what is not set in them is the default again. The server's own options, kept from its start and
/// changed, are what is meant. A lower limit holds for what comes from now on, a time for what
/// begins from now on.
///
/// The keys of the options that would be others but need a restart are copied into `buf`, separated
/// by ", ", NUL-terminated and cut to `cap` bytes; `*needed` (or NULL) becomes their size with the
/// NUL. (NULL, 0) is for who does not want to know.
///
/// Threads: any. Blocks: until the server's threads have taken them over, a second at most.
/// In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for options of another kind, QY_ERR_INVALID_OPTION for a value
/// that cannot be; QY_ERR_CLOSED. Nothing changes then. QY_ERR_BUFFER_TOO_SMALL: the rest is done.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_reload(
    server: *mut qy_server,
    options: *const qy_options,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_server_reload", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            on_object(server, "server", |server| {
                let options = object(options, "options")?.server()?;
                if cap > 0 && buf.is_null() {
                    return Err(error::Failure::null("buf"));
                }
                let keys = server.live()?.reload(&options)?.needs_restart.join(", ");
                match error::copy_out(&keys, buf, cap, needed) {
                    Err(_) if buf.is_null() => Ok(()),
                    copied => copied,
                }
            })
        }
    })
}
