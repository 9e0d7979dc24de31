//! Version
//!
//! The macros tell the version of the header, the functions that of the library that was loaded.
//! A program that may meet another library than it was compiled for checks once:
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! int main(void) {
//!   if (qy_abi_check(QY_ABI_VERSION) != QY_OK) {
//!     fprintf(stderr, "libqyun %s does not fit a program made for %s\n", qy_version(), QY_VERSION);
//!     return 1;
//!   }
//!   return 0;
//! }
//! ```

use std::ffi::{CStr, c_char};

use super::error::Failure;
use super::guard::{guard_anywhere, guard_value};
use super::status::*;

/// Goes up when a program compiled with an older header would no longer work. New functions and
/// new fields at the end of a struct do not raise it.
pub const QY_ABI_VERSION: u32 = 1;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a version has no NUL"),
    };

/// The library's version, such as "0.1.0". The string is static.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub extern "C" fn qy_version() -> *const c_char {
    guard_value(VERSION.as_ptr(), || VERSION.as_ptr())
}

/// The library's ABI version.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub extern "C" fn qy_abi_version() -> u32 {
    guard_value(QY_ABI_VERSION, || QY_ABI_VERSION)
}

/// Checks that a program compiled with `header_abi_version` works with this library. Pass
/// QY_ABI_VERSION.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
/// Errors: QY_ERR_ABI_MISMATCH.
#[unsafe(no_mangle)]
pub extern "C" fn qy_abi_check(header_abi_version: u32) -> qy_status {
    guard_anywhere("qy_abi_check", || match header_abi_version {
        QY_ABI_VERSION => Ok(()),
        other => Err(Failure::new(
            QY_ERR_ABI_MISMATCH,
            format!(
                "the program was compiled for ABI version {other} and libqyun {} has {QY_ABI_VERSION}; \
                 compile it with the qyun.h of the installed library",
                env!("CARGO_PKG_VERSION")
            ),
        )),
    })
}
