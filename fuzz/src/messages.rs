//! The session dialect's JSON.

use qyun::wire::session::{
    self, Call, MAX_ID, Named, Page, Presence, Publish, Request, Say, parse, read,
};
use qyun::wire::{MessageKind, Position};
use serde::de::IgnoredAny;
use serde_json::Value;

/// A request is what another JSON reader finds; whatever is answered is JSON that echoes the id.
pub fn session(input: &[u8]) {
    let (id, fault) = match parse(input) {
        Ok(request) => {
            assert!(is_json(input));
            // What only who reads the values stumbles over is passed on: a number beyond every
            // float, half a surrogate pair, depth.
            if let Ok(value) = serde_json::from_slice(input) {
                request_is(&request, &value);
            }
            payloads(request.payload);
            (request.id, None)
        }
        Err(fault) => (fault.id, Some(fault.code)),
    };
    if fault == Some(session::code::PARSE_ERROR) {
        assert!(serde_json::from_slice::<Value>(input).is_err(), "JSON that is called none");
    }
    answers(id, input);
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

fn request_is(request: &Request<'_>, value: &Value) {
    assert_eq!(value["type"], "request");
    assert_eq!(value["action"], *request.action);
    match (request.id, value.get("id")) {
        (None, None | Some(Value::Null)) => {}
        (Some(id), Some(Value::Number(_) | Value::String(_))) => assert!(id.len() <= MAX_ID),
        other => panic!("{other:?}"),
    }
    match value.get("payload") {
        None | Some(Value::Null) => assert!(matches!(request.payload, "{}" | "null")),
        Some(payload) => {
            assert_eq!(*payload, serde_json::from_str::<Value>(request.payload).unwrap());
        }
    }
}

fn payloads(payload: &str) {
    if let Ok(say) = read::<Say<'_>>(payload) {
        assert!(payload.contains(say.message.get()));
    }
    if let Ok(publish) = read::<Publish<'_>>(payload) {
        let named: Named<'_> = read(payload).unwrap();
        assert_eq!(*named.channel, *publish.channel);
    }
    let _ = read::<Named<'_>>(payload);
    let _ = read::<Page<'_>>(payload);
    let _ = read::<Presence<'_>>(payload);
    let _ = read::<Call<'_>>(payload);
}

fn answers(id: Option<&str>, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let quoted = session::quoted(&text);
    assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
    let response = session::response(id, [&quoted, "", ""]);
    answers_are(response.payload(), id, "response");
    answers_are(session::error(id, "code", &text).payload(), id, "error");
    let at = Position { epoch: 1, offset: u64::MAX };
    for kind in [MessageKind::Text, MessageKind::Binary] {
        let bytes = session::notification(Some((&text, at)), kind, input);
        answers_are(&bytes, None, "notification");
    }
    answers_are(session::broadcast(&text, &quoted).payload(), None, "notification");
    answers_are(&session::channel_deleted(&text), None, "notification");
}

fn answers_are(bytes: &[u8], id: Option<&str>, kind: &str) {
    assert!(is_json(bytes), "{}", String::from_utf8_lossy(bytes));
    let id: Option<Value> = match id.map(serde_json::from_str) {
        Some(Err(_)) => return,
        id => id.transpose().unwrap(),
    };
    let value: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(value["type"], kind);
    assert_eq!(value.get("id"), id.as_ref());
}
