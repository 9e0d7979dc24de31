//! Qyun (青云) broadcasts messages over channels in real time: a server and a client runtime in one
//! native library with a C ABI (`libqyun`), and the `qyun` command made of the same code.
//!
//! The rooms, from the bottom up; each knows only those below it:
//!
//! - [`tally`]: what became of one message;
//! - [`wire`]: formats (HTTP heads, WebSocket frames, the stream protocol, packets), no I/O;
//! - [`requests`]: requests of the packet dialect under way, and their deadlines, for both sides;
//! - [`hub`]: channels, order, fan-out to shards, counters, no I/O;
//! - [`store`]: the log of durable channels on disk;
//! - [`delivery`]: the threads that a program's callbacks run on;
//! - [`server`] and [`client`]: sockets and threads;
//! - [`ffi`]: the C ABI, as thin as it can be.

pub mod client;
pub mod delivery;
mod error;
pub mod ffi;
pub(crate) mod fork;
pub mod hub;
#[cfg(all(test, feature = "shuttle"))]
mod interleavings;
pub mod options;
pub mod requests;
pub mod server;
pub mod store;
pub(crate) mod sync;
pub mod tally;
pub(crate) mod thread;
pub mod wire;

pub use error::{Error, ErrorKind, Result};
