//! A question to all shards: which of their connections are slowest.

use std::net::SocketAddr;
use std::sync::Arc;

use super::lock;
use crate::sync::Mutex;

/// By what connections are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Bytes that wait for them.
    Queued,
    /// Messages of channels that wait for them.
    Messages,
    /// How long the first of those has waited.
    Age,
    /// Messages that overload policies dropped.
    Dropped,
}

impl Rank {
    const ALL: [(&'static str, Self); 4] = [
        ("queued", Self::Queued),
        ("messages", Self::Messages),
        ("age", Self::Age),
        ("dropped", Self::Dropped),
    ];

    /// Their names, for those who ask for another.
    pub const NAMES: &'static str = "queued, messages, age or dropped";

    /// Reads a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(other, _)| *other == name).map(|(_, rank)| *rank)
    }
}

/// A connection for which something waits or was dropped.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Slow {
    /// Its shard.
    pub shard: usize,
    /// The shard's number for its socket, which later connections get again.
    pub socket: usize,
    /// What it speaks: `listener`, `stream`, `events`, or the dialect of its endpoint; `other` for
    /// requests and for what is at its end.
    pub dialect: String,
    /// Its id, if it has a name.
    pub id: Option<Arc<str>>,
    /// The user it is bound to.
    pub user: Option<Arc<str>>,
    /// The other end.
    pub remote: Option<SocketAddr>,
    /// Channels it is in, at most ten of them.
    pub channels: Vec<String>,
    /// Bytes that wait.
    pub queued_bytes: u64,
    /// Messages of channels that wait.
    pub queued_messages: u64,
    /// How long the first of those has waited, in ms.
    pub oldest_ms: u64,
    /// Messages that overload policies dropped.
    pub dropped: u64,
}

impl Slow {
    /// What it is ranked by.
    pub fn weight(&self, rank: Rank) -> u64 {
        match rank {
            Rank::Queued => self.queued_bytes,
            Rank::Messages => self.queued_messages,
            Rank::Age => self.oldest_ms,
            Rank::Dropped => self.dropped,
        }
    }
}

type Told = Box<dyn FnOnce(Vec<Slow>) + Send>;

/// The answers as they come in. When the last shard has let go of it, whatever the reason, it tells
/// them, the slowest first.
pub struct Survey {
    rank: Rank,
    limit: usize,
    found: Mutex<Vec<Slow>>,
    told: Mutex<Option<Told>>,
}

impl std::fmt::Debug for Survey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Survey").field("rank", &self.rank).finish_non_exhaustive()
    }
}

impl Survey {
    /// A question for at most `limit` connections; `told` is called once, on the thread that answers
    /// last, and must not block.
    pub fn new(
        rank: Rank,
        limit: usize,
        told: impl FnOnce(Vec<Slow>) + Send + 'static,
    ) -> Arc<Self> {
        let told: Told = Box::new(told);
        Arc::new(Self { rank, limit, found: Mutex::default(), told: Mutex::new(Some(told)) })
    }

    /// By what is ranked.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// How many connections are asked for.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// A shard's answer: at most as many as are asked for.
    pub fn answer(&self, slow: Vec<Slow>) {
        lock(&self.found).extend(slow);
    }
}

impl Drop for Survey {
    fn drop(&mut self) {
        let mut found = std::mem::take(&mut *lock(&self.found));
        let rank = self.rank;
        found.sort_by_key(|slow| (std::cmp::Reverse(slow.weight(rank)), slow.shard, slow.socket));
        found.truncate(self.limit);
        if let Some(told) = lock(&self.told).take() {
            told(found);
        }
    }
}
