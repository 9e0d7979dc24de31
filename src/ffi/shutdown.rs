//! Shutdown
//!
//! The library has no thread before the first open and none after a shutdown. A program that ends
//! without one neither hangs nor prints.
//!
//! ```c
//! #include <qyun.h>
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_status status = qy_shutdown(5000); // the server is stopped, every thread has ended
//!   qy_server_free(server);
//!   return status == QY_OK ? 0 : 1;
//! }
//! ```

use std::time::{Duration, Instant};

use super::error::Failure;
use super::guard::guard;
use super::server;
use super::status::*;
use crate::{ErrorKind, client, delivery, thread};

/// Closes every client and listener, stops every server, lets go of kept connections and joins all
/// threads of the library. Afterwards the library can be used again. Handles must still be freed;
/// until then calls on them return QY_ERR_CLOSED.
///
/// Threads: any. Blocks: about `timeout_ms` at most: for callbacks that still run, then for the
/// clients of servers to go. In callbacks: no.
/// Errors: QY_ERR_TIMEOUT when a callback still runs or clients of a server had to be cut,
/// QY_ERR_WOULD_DEADLOCK in a callback; nothing is closed then.
#[unsafe(no_mangle)]
pub extern "C" fn qy_shutdown(timeout_ms: u32) -> qy_status {
    guard("qy_shutdown", || {
        if thread::must_not_wait() || delivery::on_a_thread() {
            let message = "qy_shutdown waits for the callback that makes this call";
            return Err(Failure::new(QY_ERR_WOULD_DEADLOCK, message));
        }
        let timeout = Duration::from_millis(timeout_ms.into());
        let begun = Instant::now();
        // The clients first: those of the servers here then go by themselves.
        let clients = client::shutdown(timeout);
        if let Err(error) = &clients
            && error.kind() == ErrorKind::WouldDeadlock
        {
            return Ok(clients?);
        }
        let clean = server::stop_all(|| timeout.saturating_sub(begun.elapsed()));
        clients?;
        match clean {
            true => Ok(()),
            false => Err(Failure::new(
                QY_ERR_TIMEOUT,
                format!("some clients of a server had not gone after {timeout_ms} ms and were cut"),
            )),
        }
    })
}
