//! Calls of the program's methods.

use std::sync::{Arc, Mutex, mpsc};

use qyun::ErrorKind;
use qyun::delivery::Mode;
use qyun::server::rpc::{Call, Reply};
use serde_json::{Value, json};

use super::Session;
use crate::kit::{PATIENCE, server, until};

fn call(method: &str, params: &Value) -> Value {
    json!({ "method": method, "params": params })
}

/// Keeps the replies of what is called.
fn keeping(kept: &Arc<Mutex<Vec<Arc<Reply>>>>) -> impl Fn(&Call<'_>) + Send + Sync + use<> {
    let kept = Arc::clone(kept);
    move |call| kept.lock().unwrap().push(Arc::clone(call.reply))
}

#[test]
fn a_method_is_given_what_the_client_wrote_and_answers_with_json() {
    let server = server(&[("shards", "2")]);
    let rpc = server.service().rpc();
    for (method, mode) in [("thread", Mode::Thread), ("inline", Mode::Inline)] {
        let answer = |call: &Call<'_>| {
            let user = call.connection.user();
            let user = user.as_deref().unwrap_or("nobody");
            let json = format!(r#"["{}", {}, "{user}"]"#, call.method, call.params);
            call.reply.result(json.as_bytes()).unwrap();
            let again = call.reply.result(b"1").unwrap_err();
            assert_eq!(again.kind(), ErrorKind::InvalidArgument);
        };
        rpc.on(method, mode, answer).unwrap();
    }
    let mut session = Session::connect(server.local_addr());
    server.service().bind_user(&session.id, "ann").unwrap();
    for method in ["thread", "inline"] {
        assert_eq!(
            session.raw(&format!(
                r#"{{"id":"r","type":"request","action":"rpc","payload":{{"method":"{method}","params":{{"a": 1.50}}}}}}"#
            )),
            format!(
                r#"{{"id":"r","type":"response","data":["{method}", {{"a": 1.50}}, "ann"]}}"#
            )
        );
        let without = session.ask("rpc", &json!({ "method": method }));
        assert_eq!(without, json!([method, null, "ann"]));
    }
}

#[test]
fn what_goes_wrong_with_a_method_is_an_error() {
    let server = server(&[]);
    let rpc = server.service().rpc();
    rpc.on("fails", Mode::Thread, |call| {
        assert_eq!(call.reply.result(b"no json").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(call.reply.failure("", "").unwrap_err().kind(), ErrorKind::InvalidArgument);
        call.reply.failure("out_of_tea", "no \"tea\" left").unwrap();
    })
    .unwrap();
    rpc.on("silent", Mode::Thread, |_| {}).unwrap();
    rpc.on("panics", Mode::Thread, |_| panic!("on purpose")).unwrap();
    rpc.on("panics inline", Mode::Inline, |_| panic!("on purpose")).unwrap();
    let mut session = Session::connect(server.local_addr());
    let error = session.request("rpc", &call("fails", &Value::Null))["error"].clone();
    assert_eq!(error, json!({ "code": "out_of_tea", "message": "no \"tea\" left" }));
    for (payload, code) in [
        (call("silent", &Value::Null), "no_answer"),
        (call("panics", &Value::Null), "no_answer"),
        (call("panics inline", &Value::Null), "no_answer"),
        (call("none", &Value::Null), "method_not_found"),
        (json!({}), "invalid_payload"),
        (json!({ "method": 1 }), "invalid_payload"),
    ] {
        assert_eq!(session.refused("rpc", &payload), code, "{payload}");
    }
    assert!(rpc.off("silent"));
    assert!(!rpc.off("silent"));
    assert_eq!(session.refused("rpc", &call("silent", &Value::Null)), "method_not_found");
    for name in ["", "a\n", &"x".repeat(256)] {
        let error = rpc.on(name, Mode::Thread, |_| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName);
    }
}

#[test]
fn calls_are_answered_later_in_any_order_and_others_go_on() {
    let server = server(&[("shards", "2")]);
    let kept = Arc::default();
    server.service().rpc().on("later", Mode::Thread, keeping(&kept)).unwrap();
    let mut session = Session::connect(server.local_addr());
    for id in 0..100 {
        session.say(&format!(
            r#"{{"id":{id},"type":"request","action":"rpc","payload":{{"method":"later"}}}}"#
        ));
    }
    until("all are called", || kept.lock().unwrap().len() == 100);
    // Nothing of it keeps other requests waiting.
    assert_eq!(session.ask("ping", &json!({})), json!({}));
    let replies = std::mem::take(&mut *kept.lock().unwrap());
    let answering = std::thread::spawn(move || {
        for (n, reply) in replies.iter().enumerate().rev() {
            reply.result(n.to_string().as_bytes()).unwrap();
        }
    });
    for id in (0..100).rev() {
        assert_eq!(session.hear(), format!(r#"{{"id":{id},"type":"response","data":{id}}}"#));
    }
    answering.join().unwrap();
}

#[test]
fn calls_of_a_connection_come_in_order_one_at_a_time() {
    let server = server(&[("delivery_threads", "4")]);
    let (sender, told) = mpsc::channel();
    let running = Arc::new(Mutex::new(()));
    server
        .service()
        .rpc()
        .on("note", Mode::Thread, move |call| {
            let _alone = running.try_lock().expect("two calls of one connection at a time");
            sender.send(call.params.parse::<u64>().unwrap()).unwrap();
            call.reply.result(b"null").unwrap();
        })
        .unwrap();
    let mut session = Session::connect(server.local_addr());
    for n in 0..500 {
        session.say(&format!(
            r#"{{"type":"request","action":"rpc","payload":{{"method":"note","params":{n}}}}}"#
        ));
    }
    for n in 0..500 {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), n);
        assert_eq!(session.hear(), r#"{"type":"response","data":null}"#);
    }
}

#[test]
fn a_call_ends_with_its_time_or_its_connection() {
    let server = server(&[("rpc_timeout_ms", "30")]);
    let kept = Arc::default();
    server.service().rpc().on("later", Mode::Inline, keeping(&kept)).unwrap();
    let mut session = Session::connect(server.local_addr());
    assert_eq!(session.refused("rpc", &call("later", &Value::Null)), "timeout");
    let late = kept.lock().unwrap().pop().unwrap();
    assert_eq!(late.result(b"1").unwrap_err().kind(), ErrorKind::Closed);

    let patient = crate::kit::server(&[]);
    patient.service().rpc().on("later", Mode::Inline, keeping(&kept)).unwrap();
    let mut session = Session::connect(patient.local_addr());
    session.say(r#"{"type":"request","action":"rpc","payload":{"method":"later"}}"#);
    until("it is called", || kept.lock().unwrap().len() == 1);
    drop(session);
    until("the connection is gone", || patient.service().registry().is_empty());
    let late = kept.lock().unwrap().pop().unwrap();
    until("the call is over", || late.failure("c", "m").is_err());
    // A reply may outlive its server.
    let mut session = Session::connect(patient.local_addr());
    session.say(r#"{"type":"request","action":"rpc","payload":{"method":"later"}}"#);
    until("it is called", || kept.lock().unwrap().len() == 1);
    drop(patient);
    let late = kept.lock().unwrap().pop().unwrap();
    assert_eq!(late.result(b"1").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn the_number_of_calls_that_wait_is_limited() {
    let server = server(&[("rpc_max_in_flight", "3")]);
    let kept = Arc::default();
    server.service().rpc().on("later", Mode::Inline, keeping(&kept)).unwrap();
    let mut session = Session::connect(server.local_addr());
    for _ in 0..3 {
        session.say(r#"{"id":"k","type":"request","action":"rpc","payload":{"method":"later"}}"#);
    }
    assert_eq!(session.refused("rpc", &call("later", &Value::Null)), "busy");
    let one = kept.lock().unwrap().pop().unwrap();
    one.result(b"{}").unwrap();
    assert_eq!(session.hear(), r#"{"id":"k","type":"response","data":{}}"#);
    session.say(r#"{"id":"k","type":"request","action":"rpc","payload":{"method":"later"}}"#);
    until("it is called", || kept.lock().unwrap().len() == 3);
}
