//! The server over real sockets, with raw bytes.

#![allow(missing_docs)]

mod bad_input;
mod client;
mod contract;
mod deflate;
mod endpoint;
mod events;
mod fanout;
mod kit;
mod lifecycle;
mod packet;
mod stream;
mod websocket;
