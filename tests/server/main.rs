//! The server over real sockets, with raw bytes.

#![allow(missing_docs)]

mod admin;
mod bad_input;
mod client;
mod contract;
mod deflate;
mod endpoint;
mod events;
mod fanout;
mod kit;
mod lifecycle;
mod metrics;
mod packet;
mod page;
mod stream;
mod websocket;
