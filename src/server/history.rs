//! A part of a channel's history as JSON, the same over HTTP and in the session dialect.

use std::fmt::Write;

use crate::hub::Extract;
use crate::wire::{Position, meta};

/// The members of the object: where the channel stands, the oldest offset that is kept, whether
/// there is more of what was asked for, and the publications.
pub(super) fn members(extract: &Extract) -> String {
    let Position { epoch, offset } = extract.position;
    let (first, more) = (extract.first, extract.more);
    let mut out = format!(
        r#""epoch":{epoch},"offset":{offset},"first":{first},"more":{more},"publications":["#
    )
    .into_bytes();
    for (index, publication) in extract.publications.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let (offset, time_ms) = (publication.offset, publication.time_ms);
        let mut head = String::new();
        // Writing to memory does not fail.
        let _ = write!(head, r#"{{"offset":{offset},"time_ms":{time_ms},"#);
        out.extend_from_slice(head.as_bytes());
        meta::append_message(&mut out, publication.message.kind(), publication.message.payload());
        out.push(b'}');
    }
    out.push(b']');
    // JSON of UTF-8 is UTF-8.
    String::from_utf8(out).unwrap_or_default()
}
