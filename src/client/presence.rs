//! Who is in a channel, in part, as a client has it.

use serde::Deserialize;

use crate::hub::Attendance;

/// Who is in a channel, in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// By id.
    pub members: Vec<Present>,
    /// How many there are in all.
    pub count: u64,
    /// Subscribers without a name.
    pub anonymous: u64,
    /// Whether there are more behind the last of `members`.
    pub more: bool,
}

/// One who is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Present {
    /// The connection's id.
    pub id: String,
    /// The user that the server's program bound it to.
    pub user: Option<String>,
    /// When it connected, in ms since the Unix epoch.
    pub connected_ms: u64,
}

impl Presence {
    /// Reads the answer of a server; `None` when it is none.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Answer {
            members: Vec<Present>,
            count: u64,
            anonymous: u64,
            next: Option<String>,
        }
        let Answer { members, count, anonymous, next } = serde_json::from_slice(body).ok()?;
        Some(Self { members, count, anonymous, more: next.is_some() })
    }
}

impl From<Attendance> for Presence {
    fn from(attendance: Attendance) -> Self {
        let members = attendance.members.iter().map(|one| Present {
            id: one.id.to_string(),
            user: one.user.as_deref().map(str::to_owned),
            connected_ms: one.connected_ms,
        });
        Self {
            members: members.collect(),
            count: attendance.count as u64,
            anonymous: attendance.anonymous,
            more: attendance.more,
        }
    }
}
