//! Calls of the program's methods. The answer comes when the program gives it, and other requests of
//! the connection are answered meanwhile.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Answer, Asked, failed};
use crate::ErrorKind;
use crate::server::rpc::{self, Calls};
use crate::wire::session::{self, Call, code};

impl Asked<'_> {
    pub(super) fn call(&self) -> Answer {
        let Call { method, params } = self.read()?;
        let rpc = self.service.rpc();
        let calls = match self.connection.attachment::<Calls>() {
            Some(calls) => calls,
            None => {
                self.connection.attach(rpc.calls());
                let Some(calls) = self.connection.attachment() else { return Ok(None) };
                calls
            }
        };
        let id: Option<Box<str>> = self.request.id.map(Into::into);
        let to = Arc::downgrade(self.connection);
        let name: Box<str> = (*method).into();
        let complete = move |outcome: rpc::Outcome| {
            let Some(to) = to.upgrade() else { return };
            let id = id.as_deref();
            let message = match outcome {
                Ok(rpc::Answer::Result(json)) => session::response_of(id, [&json, b"", b""]),
                Ok(rpc::Answer::Failure(json)) => session::error_of(id, &json),
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    let text =
                        format!("the method '{}' did not answer in time", name.escape_debug());
                    session::error(id, session::code_of(error.kind()), &text)
                }
                Err(error) => {
                    session::error(id, session::code_of(error.kind()), &error.to_string())
                }
            };
            // It fails only when the connection is closed.
            let _ = to.send(&message);
        };
        let params = params.map_or("null", RawValue::get);
        match rpc.call(calls, self.connection, &method, params, complete) {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err((code::METHOD_NOT_FOUND, error.to_string()))
            }
            Err(error) if error.kind() == ErrorKind::QueueFull => {
                Err((code::BUSY, error.to_string()))
            }
            Err(error) => Err(failed(error)),
        }
    }
}
