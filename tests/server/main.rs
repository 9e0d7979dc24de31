//! The server over real sockets, with raw bytes.

#![allow(missing_docs)]

mod admin;
mod bad_input;
mod batch;
#[cfg(feature = "grpc")]
mod caller;
mod client;
mod contract;
mod deflate;
mod deflate_peers;
mod drain;
mod durable;
mod endpoint;
mod events;
mod fanout;
#[cfg(feature = "grpc")]
mod gateway;
#[cfg(feature = "grpc")]
mod grpc;
mod handover;
mod handover_durable;
mod history;
mod host;
mod kit;
mod lifecycle;
mod lifecycle_channels;
mod limits;
mod members;
mod metrics;
#[cfg(not(feature = "grpc"))]
mod no_grpc;
mod operations;
mod overload;
mod packet;
mod page;
mod publish;
mod reload;
mod session;
mod stream;
mod websocket;
