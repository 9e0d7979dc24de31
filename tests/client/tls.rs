//! https and wss with a certificate authority of one's own.

use qyun::ErrorKind;
use qyun::client::{Client, ClientOptions, Delivery, EventKind, PublishVia};
use qyun::wire::MessageKind;

use crate::events::fast;
use crate::server::{LONG, Server};
use crate::terminator::Terminator;

#[test]
fn a_handle_speaks_tls_on_both_ways() {
    let server = Server::start();
    server.create("c");
    let tls = Terminator::start(server.address, "both");
    for host in
        [format!("wss://localhost:{}", tls.address.port()), format!("https://{}", tls.address)]
    {
        let options = ClientOptions { publish_via: PublishVia::Http, ..tls.options() };
        let client = Client::open(&host, options).unwrap();
        let subscription = client.subscribe("c", Delivery::Pull).unwrap();
        assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Connected);
        let before = server.state().accepted;
        for number in 0..20 {
            let text = format!("{number} {}", "青".repeat(3000));
            client.publish("c", MessageKind::Text, text.as_bytes()).unwrap();
            assert_eq!(subscription.recv(LONG).unwrap().data, text);
        }
        assert_eq!(server.state().accepted, before + 1, "the TLS connection is kept");
        client.publish_nowait("c", MessageKind::Text, "by WebSocket".into()).unwrap();
        assert_eq!(subscription.recv(LONG).unwrap().data, "by WebSocket");
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused() {
    let server = Server::start();
    let tls = Terminator::start(server.address, "refused");
    let other = Terminator::start(server.address, "other");
    let host = format!("https://{}", tls.address);
    let options = ClientOptions { reconnect: false, ..other.options() };
    let client = Client::open(&host, options.clone()).unwrap();
    assert_eq!(client.wait_connected(LONG).unwrap_err().kind(), ErrorKind::Closed);
    let error = client.last_error().unwrap();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");

    let options = ClientOptions { publish_via: PublishVia::Http, reconnect: true, ..options };
    let client = Client::open(&host, options).unwrap();
    let error = client.publish("c", MessageKind::Text, b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");

    // A name that the certificate does not have.
    let client =
        Client::open(&format!("https://127.0.0.2:{}", tls.address.port()), tls.options()).unwrap();
    let error = client.create_channel("c").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert_eq!(server.state().seen, []);
}

#[test]
fn a_ca_file_that_cannot_be_read_is_told_when_the_handle_is_opened() {
    let options = ClientOptions { ca_file: "/nowhere.pem".into(), ..fast() };
    let error = Client::open("https://localhost:1", options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("/nowhere.pem"), "{error}");
}

#[test]
fn tls_to_a_server_that_speaks_none_is_a_connect_error() {
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("https://{}", plain.local_addr().unwrap());
    let server = Server::start();
    let tls = Terminator::start(server.address, "plain");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2 {
                use std::io::{Read, Write};
                let (mut tcp, _) = plain.accept().unwrap();
                let _ = tcp.read(&mut [0; 4096]);
                tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            }
        });
        let options = ClientOptions { reconnect: false, ..tls.options() };
        let client = Client::open(&host, options).unwrap();
        client.wait_connected(LONG).unwrap_err();
        assert_eq!(client.last_error().unwrap().kind(), ErrorKind::Connect);
        let error = client.create_channel("c").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    });
}
