//! Paths, queries, names, and the URLs that a program gives.

use qyun::client::Host;
use qyun::client::fuzzing::url;
use qyun::server::fuzzing::query;
use qyun::wire::http::{Route, route};
use qyun::wire::packet::{Identity, MAX_ID_BYTES};
use qyun::wire::{name, percent};

/// What is encoded is decoded again; a decoded name stays within its bounds.
pub fn paths(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let encoded = percent::encode(text);
    assert_eq!(percent::decode(&encoded).unwrap(), text);
    if let Ok(decoded) = percent::decode(text) {
        assert!(decoded.len() <= text.len());
        assert_eq!(percent::decode(&percent::encode(&decoded)).unwrap(), decoded);
    }
    if name::validate(text).is_ok() {
        assert!((1..=255).contains(&text.len()) && !text.chars().any(char::is_control));
    }
    // A name that is encoded leads to where it was meant, whatever it is.
    if !matches!(text, "" | "stream") {
        assert_eq!(route(&format!("/channel/listen/{encoded}")), Route::Listen(&encoded));
    }
    match route(text) {
        Route::SendInPath(name, message) => assert!(!name.contains('/') && !message.contains('/')),
        Route::Listen(name) | Route::Send(name) | Route::Info(name) | Route::Channel(name) => {
            assert!(!name.contains('/'));
        }
        _ => {}
    }
    let (_, limit) = query(text, "limit");
    assert!(limit.is_none_or(|limit| (1..=1000).contains(&limit)));
    let _ = query(text, "after");
    if let Ok(identity) = Identity::parse(text) {
        assert!(!identity.uid.is_empty() && identity.id().len() <= MAX_ID_BYTES);
        assert!(!identity.id().chars().any(char::is_control));
        assert_eq!(Identity::parse(&identity.query()).unwrap(), identity);
    }
}

/// A URL that is accepted is written so that it is read as the same again.
pub fn urls(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(host) = Host::parse(text) {
        assert!(host.port() > 0 && !host.name().is_empty());
        assert!(host.name().bytes().all(|b| b.is_ascii_graphic()));
        assert!(!host.prefix().ends_with('/') && !host.prefix().contains(['?', '#', ' ']));
        assert_eq!(Host::parse(&host.to_string()).unwrap(), host);
    }
    if let Ok(written) = url(text) {
        assert!(written.starts_with("ws://") || written.starts_with("wss://"));
        assert!(written.bytes().all(|b| b.is_ascii_graphic()));
        assert_eq!(url(&written).unwrap(), written);
        assert!(
            tungstenite::http::Uri::try_from(&*written).is_ok(),
            "{written} is no URI to those who dial it"
        );
    }
}
