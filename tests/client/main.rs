//! The client runtime against a small server that speaks the contract.

mod close;
mod deflate;
mod delivery;
mod errors;
mod events;
mod handle;
mod listener;
mod members;
mod oneshot;
mod packet;
mod peer;
mod poll_fd;
mod publish;
mod recovery;
mod reentrancy;
mod relay;
mod resume;
mod server;
mod socket;
mod terminator;
mod tls;
