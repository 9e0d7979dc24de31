//! Channels with options
//!
//! A channel that is created by its name alone has the options of its namespace (`namespaces` of the
//! server). It can be given its own instead: how much history it keeps, whether it is durable, what
//! happens to subscribers that are slow. qy_options_describe(QY_OPTIONS_CHANNEL, ...) lists them.
//!
//! ```c
//! #include <qyun.h>
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   qy_options *with = NULL;
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_options_new(QY_OPTIONS_CHANNEL, &with);
//!   qy_options_set_int(with, "history_size", 1000);
//!   qy_options_set(with, "overload", "keep_latest");
//!   qy_server_create_channel_with(server, "prices", with);
//!   qy_options_free(with);
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::c_char;

use super::client::qy_client;
use super::error::Outcome;
use super::guard::{guard, object, on_object, text};
use super::options::qy_options;
use super::server::{about, qy_server};
use super::status::*;
use crate::hub::ChannelConfig;

/// A channel's options as the caller gives them.
///
/// # Safety
/// `options` is NULL or live.
unsafe fn config(options: *const qy_options) -> Outcome<ChannelConfig> {
    // SAFETY: the caller's.
    unsafe { object(options, "options") }?.channel()
}

/// Creates a channel with `options`, made with QY_OPTIONS_CHANNEL, in place of its namespace's: those
/// that are not set are at their defaults. They hold until the channel is deleted, and stay the
/// caller's.
///
/// Threads: any. Blocks: never, but with `durability` for as long as the store takes to open it. In
/// callbacks: yes.
/// Errors: those of qy_server_create_channel; QY_ERR_INVALID_ARGUMENT for options of something else;
/// QY_ERR_INVALID_OPTION for a `durability` in a server without `store`; QY_ERR_IO of the store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_create_channel_with(
    server: *mut qy_server,
    name: *const c_char,
    options: *const qy_options,
) -> qy_status {
    guard("qy_server_create_channel_with", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let (name, config) = (text(name, "name")?, config(options)?);
                let created = server.service()?.create_channel_with(name, config);
                Ok(created.map_err(about(name))?)
            })
        }
    })
}

/// Creates a channel on the client's server as qy_server_create_channel_with does. The server's admin
/// API does it: `token` is its `admin_token`, or NULL where it has none and the client is on its
/// machine.
///
/// Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
/// callbacks: yes.
/// Errors: those of qy_client_create_channel; QY_ERR_REFUSED for a wrong token, where the API may not
/// be used from, and for options that the server does not take; QY_ERR_INVALID_ARGUMENT for options of
/// something else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_create_channel_with(
    client: *mut qy_client,
    name: *const c_char,
    options: *const qy_options,
    token: *const c_char,
) -> qy_status {
    guard("qy_client_create_channel_with", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                let (name, config) = (text(name, "name")?, config(options)?);
                let token = match token.is_null() {
                    true => "",
                    false => text(token, "token")?,
                };
                Ok(client.client.create_channel_with(name, &config, token)?)
            })
        }
    })
}
