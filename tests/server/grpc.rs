//! gRPC as such: reflection, health, who may call, limits and the end. What the methods do is in
//! [`crate::gateway`].

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use qyun::ErrorKind;
use qyun::server::{Server, ServerOptions};

use crate::caller::{
    Caller, Field, INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE, UNIMPLEMENTED, read, string, strings,
};
use crate::kit::{PATIENCE, server};

const LOCAL: (&str, &str) = ("grpc_listen", "127.0.0.1:0");
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const METHODS: [&str; 21] = [
    "BroadcastMessage",
    "SendMessageToClient",
    "ClonseClient",
    "GetAllOnlineClient",
    "ClientIsOnline",
    "CountOnlineClient",
    "UnGroup",
    "SendMessageToGroup",
    "CountOnlineGroup",
    "CountGroup",
    "GetGroupOnlineClient",
    "LeaveGroup",
    "JoinGroup",
    "GetUidByClient",
    "CountOnlineUid",
    "GetAllOnlineUid",
    "SendMessageToUid",
    "UidIsOnline",
    "UnBindUid",
    "ClientBindUid",
    "GetClientByUid",
];

fn caller(server: &Server) -> Caller {
    Caller::connect(server.grpc_addr().expect("gRPC is on"))
}

/// What a message has in field `number`, a message itself.
fn inner(message: &[(u64, Field)], number: u64) -> Vec<Vec<(u64, Field)>> {
    let wanted = message.iter().filter_map(|(n, field)| match field {
        Field::Bytes(bytes) if *n == number => Some(read(bytes)),
        _ => None,
    });
    wanted.collect()
}

#[test]
fn without_an_address_there_is_none() {
    assert_eq!(server(&[]).grpc_addr(), None);
}

#[test]
fn an_address_in_use_is_an_error_that_names_the_option() {
    let first = server(&[LOCAL]);
    let mut options = ServerOptions::default();
    options.set("listen", "127.0.0.1:0").unwrap();
    options.set("grpc_listen", &first.grpc_addr().unwrap().to_string()).unwrap();
    let error = Server::start(options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddressInUse);
    assert!(error.to_string().contains("grpc_listen"), "{error}");
}

#[test]
fn health_is_serving_of_all_and_of_each_method() {
    let server = server(&[LOCAL]);
    let mut caller = caller(&server);
    let serving = Ok(vec![(1, Field::Number(1))]);
    assert_eq!(caller.call(HEALTH, &[]), serving);
    for method in METHODS {
        assert_eq!(caller.call(HEALTH, &[&format!("proto.{method}")]), serving);
    }
    assert_eq!(caller.call(HEALTH, &["proto.Nothing"]).unwrap_err().0, NOT_FOUND);
}

#[test]
fn both_reflections_list_and_describe_every_method() {
    let server = server(&[LOCAL]);
    let mut caller = caller(&server);
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let mut list = caller.open(&path, &string(7, "*"), true);
        let listed = inner(&read(&list.next(&caller).unwrap()), 6);
        let names: Vec<String> = inner(&listed[0], 1)
            .into_iter()
            .map(|service| match &service[0] {
                (1, Field::Bytes(name)) => String::from_utf8(name.clone()).unwrap(),
                other => panic!("a service is called {other:?}"),
            })
            .collect();
        for method in METHODS {
            assert!(names.contains(&format!("proto.{method}")), "{method} in {names:?}");
            let mut asked = caller.open(&path, &string(4, &format!("proto.{method}")), true);
            let answer = read(&asked.next(&caller).unwrap());
            assert!(matches!(answer[..], [.., (4, _)]), "{method} is described: {answer:?}");
        }
        assert!(names.contains(&"grpc.health.v1.Health".to_owned()));
        assert!(names.contains(&format!("grpc.reflection.{version}.ServerReflection")));
        assert_eq!(names.len(), METHODS.len() + 2);
    }
}

#[test]
fn an_unknown_method_is_unimplemented() {
    let server = server(&[LOCAL]);
    let mut caller = caller(&server);
    for path in ["/proto.CountGroup/JoinGroup", "/proto.Nothing/Nothing", "/", "/x"] {
        assert_eq!(caller.call(path, &[]).unwrap_err().0, UNIMPLEMENTED, "{path}");
    }
}

#[test]
fn who_is_not_on_the_list_is_refused_everywhere() {
    let server = server(&[LOCAL, ("grpc_allow", "10.0.0.0/8, 127.0.0.2")]);
    let address = server.grpc_addr().unwrap();
    let mut refused = Caller::connect(address);
    let paths = ["/proto.CountGroup/CountGroup", HEALTH, WATCH, "/x"];
    for path in paths {
        let (code, text) = refused.call(path, &[]).unwrap_err();
        assert_eq!(code, INVALID_ARGUMENT, "{path}");
        assert!(text.contains("127.0.0.1"), "{text}");
    }
    let mut allowed = Caller::connect_from("127.0.0.2".parse().unwrap(), address);
    assert!(allowed.call(HEALTH, &[]).is_ok());
}

#[test]
fn a_reload_changes_the_list_for_those_who_come_then() {
    let server = server(&[LOCAL]);
    let mut before = caller(&server);
    assert!(before.call(HEALTH, &[]).is_ok());
    let mut options = ServerOptions::clone(&server.service().options());
    options.set("grpc_allow", "10.0.0.0/8").unwrap();
    assert_eq!(server.reload(&options).unwrap().changed, ["grpc_allow"]);
    assert_eq!(caller(&server).call(HEALTH, &[]).unwrap_err().0, INVALID_ARGUMENT);
    assert!(before.call(HEALTH, &[]).is_ok());
}

#[test]
fn a_message_over_the_limit_is_refused_and_the_connection_lives() {
    let server = server(&[LOCAL, ("max_message_bytes", "1000")]);
    let mut caller = caller(&server);
    let path = "/proto.BroadcastMessage/BroadcastMessage";
    assert!(caller.call(path, &[&"x".repeat(5000)]).is_err());
    assert!(caller.call(HEALTH, &[]).is_ok());
}

#[test]
fn bytes_that_are_no_request_are_an_error_and_the_connection_lives() {
    let server = server(&[LOCAL]);
    let mut caller = caller(&server);
    // Field 1 with 200 bytes, of which none is there; field 1 that is not UTF-8.
    for bytes in [&b"\x0a\xc8\x01"[..], b"\x0a\x01\xff"] {
        let stream = caller.open("/proto.ClientIsOnline/ClientIsOnline", bytes, true);
        assert_ne!(stream.status(&caller).0, 0, "{bytes:?}");
    }
    // Fields that the method does not know are skipped, as protobuf has it.
    let unknown = caller.open("/proto.CountGroup/CountGroup", b"\x78\x05\x82\x01\x01x", true);
    assert_eq!(unknown.status(&caller).0, 0);
    assert!(caller.call(HEALTH, &[]).is_ok());
}

#[test]
fn silence_and_http_1_are_cut_off() {
    let server = server(&[LOCAL, ("handshake_timeout_ms", "50")]);
    for bytes in [&b""[..], b"PRI * HT", b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.grpc_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    }
    assert!(caller(&server).call(HEALTH, &[]).is_ok());
}

#[test]
fn a_stop_ends_streams_with_a_status_and_waits_for_nobody_else() {
    let server = server(&[LOCAL]);
    let mut caller = caller(&server);
    let mut watch = caller.open(WATCH, &strings(&[]), true);
    assert_eq!(read(&watch.next(&caller).unwrap()), [(1, Field::Number(1))]);
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    // Its client does not say that it is done.
    let mut reflection = caller.open(path, &string(7, "*"), false);
    assert!(reflection.next(&caller).is_some());
    let silent = TcpStream::connect(server.grpc_addr().unwrap()).unwrap();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop(PATIENCE));
        assert_eq!(watch.status(&caller).0, UNAVAILABLE);
        assert_eq!(reflection.status(&caller).0, UNAVAILABLE);
        assert!(stopping.join().unwrap(), "nothing had to be cut");
    });
    drop(silent);
    assert!(TcpStream::connect(server.grpc_addr().unwrap()).is_err(), "nobody listens");
    assert!(server.stop(Duration::ZERO), "again is harmless");
}

#[test]
fn a_caller_that_has_its_answers_and_does_not_go_holds_up_no_stop() {
    let server = server(&[LOCAL, ("handshake_timeout_ms", "50")]);
    let mut stuck = TcpStream::connect(server.grpc_addr().unwrap()).unwrap();
    stuck.set_read_timeout(Some(PATIENCE)).unwrap();
    // SETTINGS without any.
    stuck.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut settings = [0; 9];
    stuck.read_exact(&mut settings).unwrap();
    assert_eq!(settings[3], 4, "the server's SETTINGS");
    assert!(server.stop(PATIENCE), "nothing had to be cut");
}
