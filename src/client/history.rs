//! A part of a channel's history, as a client has it.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use crate::hub::{Extract, Range};
use crate::wire::{MessageKind, Position};

/// A page of a channel's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Where the channel stands: its last publication.
    pub position: Position,
    /// The oldest offset that is kept; the one behind the last if none is.
    pub first: u64,
    /// Whether there is more of what was asked for.
    pub more: bool,
    /// The publications, in the order that was asked for.
    pub publications: Vec<Publication>,
}

/// A publication that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Its number in the channel.
    pub offset: u64,
    /// When it was published, in ms since the Unix epoch.
    pub time_ms: u64,
    /// Text or binary.
    pub kind: MessageKind,
    /// The message.
    pub data: Bytes,
}

#[derive(Deserialize)]
struct Page<'a> {
    epoch: u64,
    offset: u64,
    first: u64,
    more: bool,
    #[serde(borrow)]
    publications: Vec<Row<'a>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    offset: u64,
    time_ms: u64,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    encoding: Cow<'a, str>,
}

impl History {
    /// Reads the answer of a server; `None` when it is none.
    pub(super) fn read(body: Vec<u8>) -> Option<Self> {
        let body = Bytes::from(body);
        let page: Page<'_> = serde_json::from_slice(&body).ok()?;
        let publications = page.publications.into_iter().map(|row| {
            let (kind, data) = match (&*row.encoding, row.message) {
                ("base64", coded) => (MessageKind::Binary, STANDARD.decode(&*coded).ok()?.into()),
                ("", Cow::Borrowed(text)) => (MessageKind::Text, body.slice_ref(text.as_bytes())),
                ("", Cow::Owned(text)) => (MessageKind::Text, text.into()),
                _ => return None,
            };
            Some(Publication { offset: row.offset, time_ms: row.time_ms, kind, data })
        });
        Some(Self {
            position: Position { epoch: page.epoch, offset: page.offset },
            first: page.first,
            more: page.more,
            publications: publications.collect::<Option<_>>()?,
        })
    }
}

impl From<Extract> for History {
    fn from(extract: Extract) -> Self {
        let publications = extract.publications.iter().map(|publication| Publication {
            offset: publication.offset,
            time_ms: publication.time_ms,
            kind: publication.message.kind(),
            data: Bytes::copy_from_slice(publication.message.payload()),
        });
        Self {
            position: extract.position,
            first: extract.first,
            more: extract.more,
            publications: publications.collect(),
        }
    }
}

/// The query that asks for a range.
pub(super) fn query(range: &Range) -> String {
    let mut query = format!("?limit={}", range.limit);
    // Writing to memory does not fail.
    if let Some(after) = range.after {
        let _ = write!(query, "&after={after}");
    }
    if let Some(before) = range.before {
        let _ = write!(query, "&before={before}");
    }
    if range.backward {
        query.push_str("&reverse=1");
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_and_nothing_else() {
        let body = r#"{"status":"success","message":"2 publications","epoch":7,"offset":9,"first":5,
            "more":true,"publications":[{"offset":8,"time_ms":1,"message":"青\n"},
            {"offset":9,"time_ms":2,"message":"/w==","encoding":"base64"}]}"#;
        let row = |offset, time_ms, kind, data: &'static [u8]| Publication {
            offset,
            time_ms,
            kind,
            data: Bytes::from_static(data),
        };
        let expected = History {
            position: Position { epoch: 7, offset: 9 },
            first: 5,
            more: true,
            publications: vec![
                row(8, 1, MessageKind::Text, "青\n".as_bytes()),
                row(9, 2, MessageKind::Binary, b"\xff"),
            ],
        };
        assert_eq!(History::read(body.into()), Some(expected));
        for (old, new) in [("/w==", "/w="), ("base64", "hex"), ("\"first\":5,", ""), ("8", "-8")] {
            assert_eq!(History::read(body.replacen(old, new, 1).into()), None, "{new}");
        }
    }

    #[test]
    fn a_range_is_asked_for_as_documented() {
        let mut range = Range { after: None, before: None, limit: 100, backward: false };
        assert_eq!(query(&range), "?limit=100");
        range = Range { after: Some(2), before: Some(9), limit: 1, backward: true };
        assert_eq!(query(&range), "?limit=1&after=2&before=9&reverse=1");
    }
}
