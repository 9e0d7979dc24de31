//! Options
//!
//! Everything a server, a client, an endpoint, a socket or a channel can be told, as `key = value`.
//! qy_options_describe lists the keys with their types, defaults and help; a later version may have
//! more of them.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! int main(void) {
//!   qy_option_info info = {sizeof info, NULL, NULL, NULL, NULL, 0, 0, NULL};
//!   for (size_t i = 0; qy_options_describe(QY_OPTIONS_SERVER, i, &info) == QY_OK; i++)
//!     printf("%-22s %-8s %-16s %s\n", info.key, info.type, info.default_value, info.help);
//!
//!   qy_options *options = NULL;
//!   qy_options_new(QY_OPTIONS_SERVER, &options);
//!   qy_options_set(options, "listen", "127.0.0.1:0");
//!   qy_options_set_int(options, "shards", 1);
//!   qy_options_free(options);
//!   return 0;
//! }
//! ```

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use once_cell::race::OnceBox;

use super::error::{Failure, Outcome};
use super::guard::{
    Handle, Head, clear, guard, guard_anywhere, guard_value, on_object, output, release, text,
};
use super::status::*;
use super::structs;
use crate::client::{self, ClientOptions, SocketOptions};
use crate::hub::{CHANNEL_OPTIONS, ChannelConfig};
use crate::options::{OptionKind, OptionSpec};
use crate::server::dialect::{ENDPOINT_OPTIONS, EndpointOptions};
use crate::server::{self, ServerOptions};

/// Options of a server.
pub const QY_OPTIONS_SERVER: i32 = 1;
/// Options of a client.
pub const QY_OPTIONS_CLIENT: i32 = 2;
/// Options of an endpoint.
pub const QY_OPTIONS_ENDPOINT: i32 = 3;
/// Options of a socket.
pub const QY_OPTIONS_SOCKET: i32 = 4;
/// Options of a channel.
pub const QY_OPTIONS_CHANNEL: i32 = 5;

/// A set of options. It is read when a server starts, a client opens or a channel is created, and can
/// be used again, changed or freed after that.
pub struct qy_options {
    head: Head,
    values: Mutex<Values>,
}

enum Values {
    Server(Box<ServerOptions>),
    Client(ClientOptions),
    Endpoint(EndpointOptions),
    Socket(SocketOptions),
    Channel(Box<ChannelConfig>),
}

/// What there is to know of one option. Set `struct_size` to the struct's size before the call. The
/// strings are static.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_option_info {
    /// sizeof(qy_option_info), set by the caller.
    pub struct_size: usize,
    /// What to pass to qy_options_set. A unit is its suffix (_ms, _us, _bytes).
    pub key: *const c_char,
    /// "integer", "text", "boolean" or "choice".
    pub r#type: *const c_char,
    /// The default, as it would be passed to qy_options_set.
    pub default_value: *const c_char,
    /// One sentence.
    pub help: *const c_char,
    /// The smallest value of an integer.
    pub min: u64,
    /// The largest value of an integer.
    pub max: u64,
    /// The words of a choice, joined by '|'; NULL for other types.
    pub choices: *const c_char,
}

// SAFETY: `repr(C)`, begins with its size, integers and raw pointers only.
unsafe impl structs::Versioned for qy_option_info {}

impl Handle for qy_options {
    const NAME: &'static str = "options object";
    fn head(&self) -> &Head {
        &self.head
    }
}

impl Values {
    fn set(&mut self, key: &str, value: &str) -> crate::Result<()> {
        match self {
            Self::Server(options) => options.set(key, value),
            Self::Client(options) => options.set(key, value),
            Self::Endpoint(options) => options.set(key, value),
            Self::Socket(options) => options.set(key, value),
            Self::Channel(options) => options.set(key, value),
        }
    }

    fn table(&self) -> &'static [OptionSpec] {
        match self {
            Self::Server(_) => server::OPTIONS,
            Self::Client(_) => client::OPTIONS,
            Self::Endpoint(_) => ENDPOINT_OPTIONS,
            Self::Socket(_) => client::SOCKET_OPTIONS,
            Self::Channel(_) => CHANNEL_OPTIONS,
        }
    }

    /// That these options are of another kind than `wanted`.
    fn refuse(&self, wanted: &str) -> Failure {
        let owner = match self {
            Self::Server(_) => "a server's",
            Self::Client(_) => "a client's",
            Self::Endpoint(_) => "an endpoint's",
            Self::Socket(_) => "a socket's",
            Self::Channel(_) => "a channel's",
        };
        Failure::parameter(format!("'options' are {owner}; make them with {wanted}"))
    }
}

impl qy_options {
    fn with<T>(&self, body: impl FnOnce(&mut Values) -> T) -> T {
        body(&mut self.values.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Panics while the values are locked.
    #[cfg(test)]
    pub(super) fn poison(&self) -> Outcome {
        self.with(|_| panic!("planted"))
    }

    /// A copy of the server's options.
    pub(super) fn server(&self) -> Outcome<ServerOptions> {
        self.with(|values| match values {
            Values::Server(options) => Ok((**options).clone()),
            other => Err(other.refuse("QY_OPTIONS_SERVER")),
        })
    }

    /// A copy of the client's options.
    pub(super) fn client(&self) -> Outcome<ClientOptions> {
        self.with(|values| match values {
            Values::Client(options) => Ok(options.clone()),
            other => Err(other.refuse("QY_OPTIONS_CLIENT")),
        })
    }

    /// A copy of the endpoint's options.
    pub(super) fn endpoint(&self) -> Outcome<EndpointOptions> {
        self.with(|values| match values {
            Values::Endpoint(options) => Ok(options.clone()),
            other => Err(other.refuse("QY_OPTIONS_ENDPOINT")),
        })
    }

    /// A copy of the socket's options.
    pub(super) fn socket(&self) -> Outcome<SocketOptions> {
        self.with(|values| match values {
            Values::Socket(options) => Ok(options.clone()),
            other => Err(other.refuse("QY_OPTIONS_SOCKET")),
        })
    }

    /// A copy of the channel's options.
    pub(super) fn channel(&self) -> Outcome<ChannelConfig> {
        self.with(|values| match values {
            Values::Channel(options) => Ok((**options).clone()),
            other => Err(other.refuse("QY_OPTIONS_CHANNEL")),
        })
    }
}

/// Makes a set of options with the defaults for `kind`, a QY_OPTIONS_ constant. `*out` is the
/// caller's, to be freed with qy_options_free.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for a kind that does not exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_options_new(kind: i32, out: *mut *mut qy_options) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_options_new", || {
        // SAFETY: as above.
        let out = unsafe { output(out, "out") }?;
        let values = match kind {
            QY_OPTIONS_SERVER => Values::Server(Box::default()),
            QY_OPTIONS_CLIENT => Values::Client(ClientOptions::default()),
            QY_OPTIONS_ENDPOINT => Values::Endpoint(EndpointOptions::default()),
            QY_OPTIONS_SOCKET => Values::Socket(SocketOptions::default()),
            QY_OPTIONS_CHANNEL => Values::Channel(Box::default()),
            other => return Err(unknown_kind(other)),
        };
        *out =
            Box::into_raw(Box::new(qy_options { head: Head::new(), values: Mutex::new(values) }));
        Ok(())
    })
}

/// Frees a set of options; NULL is allowed.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_options_free(options: *mut qy_options) {
    guard_value((), || {
        // SAFETY: NULL or a live object that no other call uses, by the header's rules.
        unsafe { release(options, |_| ()) }
    });
}

/// Sets `key` from text: a decimal number, "true" or "false", a word, any text; what the key takes.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_UNKNOWN_OPTION, QY_ERR_INVALID_OPTION, QY_ERR_INVALID_UTF8; the text names what
/// would be accepted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_options_set(
    options: *mut qy_options,
    key: *const c_char,
    value: *const c_char,
) -> qy_status {
    guard("qy_options_set", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(options, "options", |options| {
                let (key, value) = (text(key, "key")?, text(value, "value")?);
                Ok(options.with(|values| values.set(key, value))?)
            })
        }
    })
}

/// Sets an integer, or a boolean from 0 and 1.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_UNKNOWN_OPTION, QY_ERR_INVALID_OPTION (also for a key that takes no number),
/// QY_ERR_INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_options_set_int(
    options: *mut qy_options,
    key: *const c_char,
    value: i64,
) -> qy_status {
    guard("qy_options_set_int", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(options, "options", |options| {
                let key = text(key, "key")?;
                options.with(|values| {
                    let spec = values.table().iter().find(|spec| spec.key == key);
                    if let Some(kind @ (OptionKind::Text | OptionKind::Choice(_))) =
                        spec.map(|spec| spec.kind)
                    {
                        let kind = kind.name();
                        let message =
                            format!("option '{key}' is a {kind}: set it with qy_options_set");
                        return Err(Failure::new(QY_ERR_INVALID_OPTION, message));
                    }
                    Ok(values.set(key, &value.to_string())?)
                })
            })
        }
    })
}

/// Describes the `index`-th option of `kind`, from 0. Set `out->struct_size` first. The other
/// fields are zero when the function fails.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
/// Errors: QY_ERR_NOT_FOUND past the last option, QY_ERR_INVALID_ARGUMENT for a kind that does not
/// exist or a `struct_size` that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_options_describe(
    kind: i32,
    index: usize,
    out: *mut qy_option_info,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard_anywhere("qy_options_describe", || {
        // SAFETY: as above.
        let size = unsafe { structs::check(out, "out") }?;
        let described = match kind {
            QY_OPTIONS_SERVER => describe(server::OPTIONS, &SERVER),
            QY_OPTIONS_CLIENT => describe(client::OPTIONS, &CLIENT),
            QY_OPTIONS_ENDPOINT => describe(ENDPOINT_OPTIONS, &ENDPOINT),
            QY_OPTIONS_SOCKET => describe(client::SOCKET_OPTIONS, &SOCKET),
            QY_OPTIONS_CHANNEL => describe(CHANNEL_OPTIONS, &CHANNEL),
            other => return Err(unknown_kind(other)),
        };
        let info = described.get(index).ok_or_else(|| {
            let message = format!("there is no option {index}: there are {}", described.len());
            Failure::new(QY_ERR_NOT_FOUND, message)
        })?;
        // SAFETY: as above, and the size was checked.
        unsafe { structs::fill(out, size, &info.0) };
        Ok(())
    })
}

fn unknown_kind(kind: i32) -> Failure {
    Failure::parameter(format!(
        "'kind' is {kind}; it takes QY_OPTIONS_SERVER (1), QY_OPTIONS_CLIENT (2), \
         QY_OPTIONS_ENDPOINT (3), QY_OPTIONS_SOCKET (4) or QY_OPTIONS_CHANNEL (5)"
    ))
}

/// An option's description in C's terms.
struct Described(qy_option_info);

// SAFETY: its pointers are to strings that nobody changes or frees.
unsafe impl Send for Described {}
// SAFETY: as above.
unsafe impl Sync for Described {}

/// Made on first use and kept, with their strings, for as long as the library is loaded. The cell
/// takes no lock, so a fork at any moment leaves it usable.
static SERVER: OnceBox<Vec<Described>> = OnceBox::new();
static CLIENT: OnceBox<Vec<Described>> = OnceBox::new();
static ENDPOINT: OnceBox<Vec<Described>> = OnceBox::new();
static SOCKET: OnceBox<Vec<Described>> = OnceBox::new();
static CHANNEL: OnceBox<Vec<Described>> = OnceBox::new();

fn describe(
    table: &'static [OptionSpec],
    cell: &'static OnceBox<Vec<Described>>,
) -> &'static [Described] {
    cell.get_or_init(|| Box::new(table.iter().map(Described::new).collect()))
}

impl Described {
    fn new(spec: &OptionSpec) -> Self {
        let (min, max) = match spec.kind {
            OptionKind::Integer { min, max } => (min, max),
            _ => (0, 0),
        };
        let choices = match spec.kind {
            OptionKind::Choice(words) => lasting(&words.join("|")),
            _ => ptr::null(),
        };
        Self(qy_option_info {
            struct_size: size_of::<qy_option_info>(),
            key: lasting(spec.key),
            r#type: lasting(spec.kind.name()),
            default_value: lasting(spec.default),
            help: lasting(spec.help),
            min,
            max,
            choices,
        })
    }
}

/// A C string that is never freed. The tables have no NUL in them.
fn lasting(text: &str) -> *const c_char {
    CString::new(text).unwrap_or_default().into_raw()
}
