//! The admin API: who may use it, and what it does.

use std::net::SocketAddr;

use serde_json::Value;

use crate::kit::{Answer, Raw, server};

const STATS: &str = "/api/v1/stats";

/// A request with this `Host`, and fields besides.
fn ask(address: SocketAddr, method: &str, target: &str, host: &str, fields: &str) -> Answer {
    let mut raw = Raw::connect(address);
    raw.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
    raw.answer_to(method)
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

#[test]
fn stats_tell_what_the_counters_tell() {
    let server = server(&[("shards", "2")]);
    server.service().create_channel("test").unwrap();
    let answer = ask(server.local_addr(), "GET", STATS, "localhost", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let stats = json(&answer);
    assert_eq!(stats["status"], "success");
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(stats["shards"], 2);
    assert_eq!(stats["counters"]["channels"], 1);
    assert_eq!(stats["counters"]["connections"], 1);
    assert_eq!(stats["publish_to_write"]["counts"].as_array().unwrap().len(), 18);
    assert!(stats["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(stats["now_ms"].as_u64().unwrap() >= stats["started_ms"].as_u64().unwrap());
}

#[test]
fn without_a_token_it_is_for_programs_here_and_the_page_of_this_server() {
    let server = server(&[]);
    let address = server.local_addr();
    let here = address.to_string();
    let localhost = format!("localhost:{}", address.port());
    for (host, fields) in [
        (&*here, String::new()),
        (&localhost, String::new()),
        (&localhost, format!("Origin: http://{localhost}\r\nSec-Fetch-Site: same-origin\r\n")),
        (&here, format!("Origin: http://{here}\r\n")),
        ("[::1]:8000", "Sec-Fetch-Site: none\r\n".into()),
    ] {
        let answer = ask(address, "GET", STATS, host, &fields);
        assert_eq!(answer.status, 200, "{host} {fields} {answer:?}");
    }
    for (host, fields, why) in [
        // A name that its owner made to lead here.
        ("evil.example:8000", "Origin: http://evil.example:8000\r\n", "Host"),
        ("evil.example", "", "Host"),
        ("127.0.0.1.evil.example", "", "Host"),
        (&here, "Origin: http://evil.example\r\n", "Origin"),
        (&here, "Origin: null\r\n", "Origin"),
        (&here, "Origin: http://127.0.0.1:1\r\n", "Origin"),
        (&here, "Origin:\r\n", "Origin"),
        (&here, "Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site"),
        (&here, "Sec-Fetch-Site: same-site\r\n", "Sec-Fetch-Site"),
        // A proxy on this machine speaks for anybody.
        (&here, "X-Forwarded-For: 203.0.113.9\r\n", "proxy"),
        (&here, "Forwarded: for=203.0.113.9\r\n", "proxy"),
        (&here, "x-real-ip: 203.0.113.9\r\n", "proxy"),
        (&here, "Via: 1.1 somebody\r\n", "proxy"),
    ] {
        let answer = ask(address, "GET", STATS, host, fields);
        assert_eq!(answer.status, 403, "{host} {fields} {answer:?}");
        assert!(json(&answer)["message"].as_str().unwrap().contains(why), "{answer:?}");
    }
    // Two origins of which one is right are none.
    let two = format!("Origin: http://{here}\r\nOrigin: http://evil.example\r\n");
    assert_eq!(ask(address, "GET", STATS, &here, &two).status, 403);
}

#[test]
fn with_a_token_whoever_has_it_may() {
    let server = server(&[("admin_token", "a secret")]);
    let address = server.local_addr();
    for fields in [
        "Authorization: Bearer a secret\r\n",
        "authorization: bearer  a secret \r\n",
        "Authorization: Bearer a secret\r\nX-Forwarded-For: 203.0.113.9\r\n",
    ] {
        let answer = ask(address, "GET", STATS, "qyun.example", fields);
        assert_eq!(answer.status, 200, "{fields}");
    }
    for fields in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer a secre\r\n",
        "Authorization: Bearer a secret2\r\n",
        "Authorization: Basic a secret\r\n",
        "Authorization: a secret\r\n",
        "Authorization: Bearer x\r\nAuthorization: Bearer a secret\r\n",
    ] {
        let answer = ask(address, "GET", STATS, "localhost", fields);
        assert_eq!(answer.status, 401, "{fields}");
        assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"qyun\""));
        assert!(!answer.body.contains("a secret"));
    }
    assert!(!format!("{:?}", server.service().options()).contains("a secret"));
}

#[test]
fn a_token_that_is_set_while_it_runs_counts_at_once() {
    let server = server(&[]);
    let status = |fields| ask(server.local_addr(), "GET", STATS, "localhost", fields).status;
    assert_eq!(status(""), 200);
    let mut options = (*server.service().options()).clone();
    options.set("admin_token", "new").unwrap();
    server.reload(&options).unwrap();
    assert_eq!(status(""), 401);
    assert_eq!(status("Authorization: Bearer new\r\n"), 200);
    options.set("admin", "false").unwrap();
    server.reload(&options).unwrap();
    assert_eq!(status("Authorization: Bearer new\r\n"), 404);
}

#[test]
fn it_can_be_off_and_knows_its_paths() {
    let off = server(&[("admin", "false")]);
    let answer = ask(off.local_addr(), "GET", STATS, "localhost", "");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("'admin' is false"));

    let on = server(&[]);
    for target in ["/api/v1/", "/api/v1/nothing", "/api/v1/stats/more", "/api/v2/stats"] {
        assert_eq!(ask(on.local_addr(), "GET", target, "localhost", "").status, 404, "{target}");
    }
    let answer = ask(on.local_addr(), "DELETE", STATS, "localhost", "");
    assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD")));
    let answer = ask(on.local_addr(), "HEAD", STATS, "localhost", "");
    assert_eq!((answer.status, &*answer.body), (200, ""));
}
