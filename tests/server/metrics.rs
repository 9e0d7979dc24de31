//! `/metrics`, `/ready` and `/health`.

use std::collections::HashMap;

use qyun::wire::MessageKind;

use crate::kit::{PATIENCE, Raw, server, until};

/// The samples by name and labels, once every line was found to be one or a comment that the format
/// knows, each family declared before its samples and once.
fn samples(text: &str) -> HashMap<String, f64> {
    let mut families = HashMap::new();
    let mut samples = HashMap::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(_), Some(help)) => {
                assert!(help.ends_with('.'), "{line}")
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                assert!(families.insert(name.to_string(), kind.to_string()).is_none(), "{line}");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            }
            (Some(sample), Some(value), None, None) => {
                let name = sample.split('{').next().unwrap();
                let family = families.keys().find(|family| {
                    let rest = name.strip_prefix(family.as_str());
                    rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
                });
                assert!(family.is_some() && name.starts_with("qyun_"), "{line}");
                assert!(samples.insert(sample.into(), value.parse().unwrap()).is_none(), "{line}");
            }
            _ => panic!("{line}"),
        }
    }
    samples
}

fn scrape(raw: &mut Raw) -> HashMap<String, f64> {
    let answer = raw.get("/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    samples(&answer.body)
}

#[test]
fn metrics_count_what_happens() {
    let server = server(&[("shards", "2")]);
    let service = server.service();
    service.create_channel("test").unwrap();
    service.create_channel("empty").unwrap();
    let mut listeners: Vec<_> =
        (0..3).map(|_| Raw::websocket(server.local_addr(), "/channel/listen/test")).collect();
    let mut raw = Raw::connect(server.local_addr());
    for n in 0..10 {
        raw.get(&format!("/channel/send/test/{n}"));
        for listener in &mut listeners {
            assert_eq!(listener.message().payload, n.to_string().as_bytes());
        }
    }
    service.publish("empty", MessageKind::Text, b"nobody").unwrap();
    raw.get("/channel/send/nowhere/x");

    // A batch is counted and then observed behind its writes, perhaps after a listener has read it.
    // Once per message and shard with subscribers: one or both shards have some of the three.
    let observed = |samples: &HashMap<String, f64>| samples["qyun_publish_to_write_seconds_count"];
    let mut samples = HashMap::new();
    until("the shards have counted and observed all", || {
        samples = scrape(&mut raw);
        samples["qyun_messages_delivered_total"] == 30.0
            && [10.0, 20.0].contains(&observed(&samples))
    });
    for (name, value) in [
        ("qyun_connections", 4.0),
        ("qyun_connections_accepted_total", 4.0),
        ("qyun_connections_closed_slow_total", 0.0),
        ("qyun_channels", 2.0),
        ("qyun_subscribers", 3.0),
        ("qyun_messages_published_total", 11.0),
        ("qyun_messages_delivered_total", 30.0),
        ("qyun_queued_bytes", 0.0),
        ("qyun_requests_rejected_total", 1.0),
        ("qyun_shards", 2.0),
    ] {
        assert_eq!(samples[name], value, "{name}");
    }
    assert!(samples["qyun_sent_bytes_total"] > 100.0);
    assert!(samples["qyun_received_bytes_total"] > 100.0);
    assert!(samples["qyun_start_time_seconds"] > 1.7e9);
    assert!(samples["qyun_process_resident_memory_bytes"] > 1e6);
    assert!(samples["qyun_process_open_fds"] >= 8.0);
    let version = format!("qyun_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(samples[&version], 1.0);

    let count = observed(&samples);
    assert_eq!(samples["qyun_publish_to_write_seconds_bucket{le=\"+Inf\"}"], count);
    let sum = samples["qyun_publish_to_write_seconds_sum"];
    assert!(sum > 0.0 && sum < count * PATIENCE.as_secs_f64(), "{sum}");
    let mut buckets: Vec<(f64, f64)> = samples
        .iter()
        .filter_map(|(name, count)| {
            let bound = name.strip_prefix("qyun_publish_to_write_seconds_bucket{le=\"")?;
            Some((bound.strip_suffix("\"}")?.parse().ok()?, *count))
        })
        .collect();
    buckets.sort_by(|a, b| a.partial_cmp(b).unwrap());
    assert_eq!(buckets.len(), 18);
    assert_eq!((buckets[0].0, buckets[16].0), (5e-6, 1.0));
    assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
}

#[test]
fn head_and_other_methods() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    for target in ["/metrics", "/ready", "/health", "/", "/qyun/main.js"] {
        let head = raw.request("HEAD", target, "", b"");
        assert_eq!((head.status, &*head.body), (200, ""), "{target}");
        assert!(head.field("content-length").unwrap().parse::<usize>().unwrap() > 0);
        let answer = raw.request("POST", target, "", b"body");
        assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD")), "{target}");
    }
}

#[test]
fn ready_while_it_serves_and_not_while_it_stops() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    let answer = raw.get("/ready");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, r#"{"status":"success","message":"Ready"}"#);

    // A request that began before the stop is answered during the drain. Half a head keeps the
    // connection; the server must have read it when the stop comes.
    let mut late = Raw::connect(server.local_addr());
    let before = server.service().counters().bytes_in;
    late.send("GET /ready HTTP/1.1\r\n");
    until("half a request is read", || server.service().counters().bytes_in > before);
    std::thread::scope(|scope| {
        scope.spawn(|| server.stop(PATIENCE));
        until("the server stops", || server.service().readiness().is_err());
        late.send("Host: t\r\n\r\n");
        let answer = late.answer();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.body, r#"{"status":"error","message":"Stopping"}"#);
        assert!(late.is_closed());
        drop(late);
    });
}

#[test]
fn not_ready_while_a_shard_is_behind() {
    let server = server(&[("shards", "1"), ("inbox_bytes", "65536")]);
    let service = server.service();
    service.create_channel("test").unwrap();
    let _listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    assert!(service.readiness().is_ok());
    // The publisher is quicker than the shard can be woken, at one of the moments.
    let payload = vec![b'x'; 70_000];
    until("the shard was seen to be behind", || {
        service.publish("test", MessageKind::Text, &payload).unwrap();
        service.readiness().is_err()
    });
    until("the shard has caught up", || service.readiness().is_ok());
}
