//! Qyun (青云) broadcasts messages over channels in real time. This is the C interface of libqyun: a
//! server and a client runtime in one library.
//!
//! Rules that hold everywhere:
//!
//! - A function that can fail returns a `qy_status`, 0 or negative. Outputs are the last parameters
//!   and are 0 or NULL when it fails.
//! - Handles are opaque. What a function gives out in `*out` is freed with the `_free` function of
//!   its type; `_free(NULL)` does nothing. What the library allocates only the library frees.
//! - Every function may be called from any thread and on any handle at the same time, except that
//!   nothing may use a handle while or after it is freed.
//! - Names, hosts, keys and values are NUL-terminated UTF-8. Messages are a pointer and a length;
//!   (NULL, 0) is an empty one. The library copies what it keeps.
//! - Beyond the errors that a function lists, every function that takes a pointer returns
//!   QY_ERR_INVALID_ARGUMENT when it is NULL and may not be, every function with a handle
//!   QY_ERR_FORKED in a child process of the one that made it, and every function QY_ERR_PANIC when
//!   a defect of the library was caught.
//! - Threads, Blocks, In callbacks: below each function. "In callbacks: yes" means all but log
//!   callbacks.
//! - The library installs no signal handler and no exit handler, raises no SIGPIPE, reads no
//!   environment variable when it is loaded, prints nothing, and closes all its descriptors on exec.
//! - Structs that begin with `struct_size` may grow at their end in a later version. Where the
//!   caller provides one, it sets `struct_size` to the struct's sizeof first.

// The header is the contract of these functions, and it speaks of pointers in general terms above.
#![allow(clippy::missing_safety_doc, non_camel_case_types)]

mod belongings;
mod callback;
mod channel;
mod client;
mod connection;
mod connections;
mod endpoint;
mod error;
mod guard;
mod history;
mod log;
mod message;
mod oneshot;
mod options;
mod packet;
mod packet_client;
mod packet_client_calls;
mod panic;
mod presence;
mod process;
mod publish;
mod publish_client;
mod reload;
mod request;
mod rpc;
mod server;
mod shutdown;
mod socket;
mod socket_pull;
mod status;
mod structs;
mod subscription;
#[cfg(test)]
mod tests;
mod upgrade;
mod version;

pub use belongings::*;
pub use callback::qy_drop_callback;
pub use channel::*;
pub use client::*;
pub use connection::*;
pub use connections::*;
pub use endpoint::*;
pub use history::*;
pub use log::*;
pub use message::*;
pub use oneshot::*;
pub use options::*;
pub use packet::*;
pub use packet_client::*;
pub use packet_client_calls::*;
pub use presence::*;
pub use publish::*;
pub use publish_client::*;
pub use reload::*;
pub use request::*;
pub use rpc::*;
pub use server::*;
pub use shutdown::*;
pub use socket::*;
pub use socket_pull::*;
pub use status::*;
pub use subscription::*;
pub use upgrade::*;
pub use version::*;
