//! The paths of plain requests and of the channel dialect.

/// Where a path leads. Names and messages are path segments, still percent-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/channel/create/{name}`
    Create(&'a str),
    /// `/channel/send/{name}/{message}`
    SendInPath(&'a str, &'a str),
    /// `/channel/send/{name}`: POST, or a WebSocket of messages
    Send(&'a str),
    /// `/channel/listen/{name}`
    Listen(&'a str),
    /// `/channel/info/{name}`
    Info(&'a str),
    /// `/channel/history/{name}`
    History(&'a str),
    /// `/channel/presence/{name}`
    Presence(&'a str),
    /// `/channel/{name}`
    Channel(&'a str),
    /// `/channel/stream`
    Stream,
    /// `/channels`
    Channels,
    /// `/channels/publish`
    Batch,
    /// `/health`
    Health,
    /// `/ready`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/` and what stands below `/qyun/`: the page and its files
    Page(&'a str),
    /// What stands below `/api/v1/`
    Admin(&'a str),
    /// Nowhere.
    Unknown,
}

/// Finds where `path` leads. A message is one segment: a `/` in it must be sent as `%2F`.
pub fn route(path: &str) -> Route<'_> {
    let Some(rest) = path.strip_prefix("/channel/") else {
        return match path {
            "/channels" => Route::Channels,
            "/channels/publish" => Route::Batch,
            "/health" => Route::Health,
            "/ready" => Route::Ready,
            "/metrics" => Route::Metrics,
            "/" => Route::Page("index.html"),
            _ => match (path.strip_prefix("/qyun/"), path.strip_prefix("/api/v1/")) {
                (Some(file), _) => Route::Page(file),
                (_, Some(rest)) => Route::Admin(rest),
                _ => Route::Unknown,
            },
        };
    };
    // The hot one first.
    if let Some(rest) = rest.strip_prefix("send/") {
        return match cut(rest) {
            None => Route::Send(rest),
            Some((name, message)) if cut(message).is_none() => Route::SendInPath(name, message),
            Some(_) => Route::Unknown,
        };
    }
    if path == crate::wire::stream::PATH {
        return Route::Stream;
    }
    match cut(rest) {
        None => Route::Channel(rest),
        Some((_, name)) if cut(name).is_some() => Route::Unknown,
        Some(("create", name)) => Route::Create(name),
        Some(("listen", name)) => Route::Listen(name),
        Some(("info", name)) => Route::Info(name),
        Some(("history", name)) => Route::History(name),
        Some(("presence", name)) => Route::Presence(name),
        Some(_) => Route::Unknown,
    }
}

/// What stands before and behind the first slash. On the hot path, where std's search by character
/// is several times slower.
fn cut(path: &str) -> Option<(&str, &str)> {
    let at = memchr::memchr(b'/', path.as_bytes())?;
    Some((&path[..at], &path[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_contract_says() {
        for (path, expected) in [
            ("/channel/create/a", Route::Create("a")),
            ("/channel/create/", Route::Create("")),
            ("/channel/create/a/b", Route::Unknown),
            ("/channel/send/a/b%2Fc", Route::SendInPath("a", "b%2Fc")),
            ("/channel/send/a/", Route::SendInPath("a", "")),
            ("/channel/send/a", Route::Send("a")),
            ("/channel/send/a/b/c", Route::Unknown),
            ("/channel/listen/a", Route::Listen("a")),
            ("/channel/info/a", Route::Info("a")),
            ("/channel/history/a", Route::History("a")),
            ("/channel/presence/a", Route::Presence("a")),
            ("/channel/a", Route::Channel("a")),
            ("/channel/stream", Route::Stream),
            ("/channel/other/a", Route::Unknown),
            ("/channels", Route::Channels),
            ("/channels/publish", Route::Batch),
            ("/channels/other", Route::Unknown),
            ("/health", Route::Health),
            ("/ready", Route::Ready),
            ("/metrics", Route::Metrics),
            ("/metrics/", Route::Unknown),
            ("/", Route::Page("index.html")),
            ("/qyun/main.js", Route::Page("main.js")),
            ("/api/v1/stats", Route::Admin("stats")),
            ("/api/v2/stats", Route::Unknown),
            ("/channel", Route::Unknown),
            ("*", Route::Unknown),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }
}
