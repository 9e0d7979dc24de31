//! What concerns a whole process: threads, descriptors, fork, signals, exit. Each test runs alone in a
//! process of its own, with a time limit.

#[path = "../client/events.rs"]
#[allow(dead_code)]
mod events;
#[path = "../client/server.rs"]
mod server;
#[path = "../client/terminator.rs"]
mod terminator;

use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use qyun::ErrorKind;
use qyun::client::{
    Client, ClientOptions, ClientState, Delivery, EventKind, Overflow, PublishVia, create_channel,
    listen_channel, send_message, shutdown,
};
use qyun::wire::MessageKind;

use events::{callback_with, fast, inline, thread};
use server::{LONG, Script, Server};
use terminator::Terminator;

const ALONE: &str = "QYUN_TEST_ALONE";

/// True in a process that runs only the test `name`; otherwise starts that process, and fails when it
/// fails, prints anything of its own, or takes too long.
fn alone(name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = i32::try_from(child.id()).unwrap();
    let (over, is_over) = channel::<()>();
    let watch = std::thread::spawn(move || {
        if is_over.recv_timeout(LONG * 3).is_err() {
            // SAFETY: the child is not waited for yet, so the id is its own.
            unsafe { libc::kill(id, libc::SIGKILL) };
        }
    });
    let (mut out, mut err) = (String::new(), String::new());
    {
        use std::io::Read;
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    }
    let _ = over.send(());
    watch.join().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{name} alone: {status}\n{out}\n{err}");
    assert!(err.is_empty(), "{name} printed: {err}");
    assert!(out.contains("running 1 test"), "there is no test {name}");
    false
}

/// The threads and descriptors of this process.
fn census() -> (usize, usize) {
    let count = |path| std::fs::read_dir(path).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

#[test]
fn nothing_runs_before_the_first_use_and_after_a_shutdown() {
    if !alone("nothing_runs_before_the_first_use_and_after_a_shutdown") {
        return;
    }
    let server = Server::start();
    let before = census();
    create_channel(&server.host(), "c").unwrap();
    // One kept connection with its end and its thread in the server.
    server.wait(|state| (state.accepted == 1).then_some(()));
    assert_eq!(census().0, before.0 + 1, "one-shot calls start no thread");
    for round in 0..20 {
        let client = Client::open(&server.host(), fast()).unwrap();
        let (delivery, first) = thread();
        let subscription = client.subscribe("c", delivery).unwrap();
        let (delivery, second) = inline();
        let _second = client.subscribe("c", delivery).unwrap();
        let pull = client.subscribe("c", Delivery::Pull).unwrap();
        pull.poll_fd().unwrap();
        let (delivery, third) = thread();
        listen_channel(&format!("localhost:{}", server.address.port()), "c", delivery).unwrap();
        send_message(&server.host(), "c", "x").unwrap();
        for events in [&first, &second, &third] {
            events.expect(EventKind::Connected);
            assert_eq!(events.message(), "x");
        }
        shutdown(LONG).unwrap();
        for events in [first, second, third] {
            events.end();
        }
        assert_eq!(client.state(), ClientState::Closed);
        assert_eq!(pull.recv(LONG).unwrap_err().kind(), ErrorKind::Closed);
        subscription.close_wait(LONG).unwrap();
        drop((client, subscription, _second, pull));
        server.wait(|state| (state.closed == state.accepted).then_some(()));
        // The server's threads have said that they end, and return a moment later.
        let deadline = Instant::now() + LONG;
        while census() != before && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(census(), before, "round {round}");
    }
    shutdown(LONG).unwrap();
}

#[test]
fn shutdown_waits_for_callbacks_until_its_time_is_up() {
    if !alone("shutdown_waits_for_callbacks_until_its_time_is_up") {
        return;
    }
    let server = Server::start();
    server.create("c");
    let client = Client::open(&server.host(), fast()).unwrap();
    let (release, released) = channel::<()>();
    let (function, events) = callback_with(move |_| {
        let _ = released.recv();
    });
    let _subscription = client.subscribe("c", Delivery::Thread(function)).unwrap();
    events.expect(EventKind::Connected);
    let error = shutdown(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    // Meanwhile the library can be used anew.
    let other = Client::open(&server.host(), fast()).unwrap();
    other.wait_connected(LONG).unwrap();
    drop(release);
    shutdown(LONG).unwrap();
    events.end();
    assert_eq!(other.state(), ClientState::Closed);
}

#[test]
fn many_threads_may_shut_down_while_others_open() {
    if !alone("many_threads_may_shut_down_while_others_open") {
        return;
    }
    let server = Server::start();
    server.create("c");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| shutdown(LONG).unwrap()));
            scope.spawn(|| {
                for _ in 0..50 {
                    let Ok(client) = Client::open(&server.host(), fast()) else { continue };
                    let (delivery, events) = thread();
                    match client.subscribe("c", delivery) {
                        Err(_) => events.never_called(),
                        Ok(subscription) => drop(subscription),
                    }
                }
            });
        }
    });
    shutdown(LONG).unwrap();
}

#[test]
fn a_process_that_exits_without_a_shutdown_neither_hangs_nor_prints() {
    if !alone("a_process_that_exits_without_a_shutdown_neither_hangs_nor_prints") {
        return;
    }
    let server = Server::start();
    server.create("c");
    let client = Client::open(&server.host(), fast()).unwrap();
    let (delivery, events) = thread();
    let subscription = client.subscribe("c", delivery).unwrap();
    events.expect(EventKind::Connected);
    send_message(&server.host(), "c", "x").unwrap();
    std::mem::forget((client, subscription, server));
    std::process::exit(0);
}

/// Runs `body` in a child made by `fork`; its exit status.
fn forked(body: impl FnOnce()) -> i32 {
    // SAFETY: the child runs only `body` and leaves by `_exit`; that the library may be used in it is
    // what is tested.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(i32::from(done.is_err())) };
    }
    let mut status = 0;
    // SAFETY: waits for the child of above.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

#[test]
fn a_child_of_fork_refuses_old_handles_and_may_use_new_ones() {
    if !alone("a_child_of_fork_refuses_old_handles_and_may_use_new_ones") {
        return;
    }
    let server = Server::start();
    server.create("c");
    server.create("d");
    let host = server.host();
    let client = Client::open(&host, fast()).unwrap();
    let (delivery, events) = thread();
    let subscription = client.subscribe("c", delivery).unwrap();
    let pull = client.subscribe("c", Delivery::Pull).unwrap();
    listen_channel(&host, "c", thread().0).unwrap();
    send_message(&host, "c", "x").unwrap();
    events.expect(EventKind::Connected);
    let old = (client.clone(), subscription.clone(), pull.clone());
    for _ in 0..10 {
        // The library's locks are busy while the process forks.
        let busy = {
            let client = client.clone();
            std::thread::spawn(move || {
                for _ in 0..200 {
                    let _ = client.publish("c", MessageKind::Text, b"busy");
                }
            })
        };
        let host = host.clone();
        let (client, subscription, pull) = old.clone();
        let status = forked(move || {
            let refused = [
                client.publish("c", MessageKind::Text, b"").map(drop),
                client.publish_nowait("c", MessageKind::Text, "x".into()),
                client.subscribe("c", Delivery::Pull).map(drop),
                client.wait_connected(LONG),
                pull.recv(LONG).map(drop),
                subscription.close_wait(LONG),
            ];
            for result in refused {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
            }
            assert_eq!(client.state(), ClientState::Closed);
            client.close();
            subscription.close();
            drop((client, subscription, pull));
            send_message(&host, "c", "from a child").unwrap();
            let new = Client::open(&host, fast()).unwrap();
            let (delivery, events) = thread();
            let _new = new.subscribe("d", delivery).unwrap();
            events.expect(EventKind::Connected);
            new.publish("d", MessageKind::Text, b"to the child").unwrap();
            assert_eq!(events.message(), "to the child");
            shutdown(LONG).unwrap();
            events.end();
        });
        assert_eq!(status, 0);
        busy.join().unwrap();
    }
    // The parent's connection was not touched.
    let position = client.publish("c", MessageKind::Text, b"last").unwrap();
    while events.next().position != position {}
    assert_eq!(client.counters().reconnects, 0);
    shutdown(LONG).unwrap();
}

#[test]
fn a_peer_that_closes_raises_no_sigpipe() {
    if !alone("a_peer_that_closes_raises_no_sigpipe") {
        return;
    }
    // As in a C program; Rust's runtime ignores the signal.
    // SAFETY: sets a signal's disposition before the library runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let server = Server::start();
    server.create("c");
    let tls = Terminator::start(server.address, "sigpipe");
    let big = vec![b'x'; 200_000];
    for (host, options) in
        [(server.host(), fast()), (format!("https://{}", tls.address), tls.options())]
    {
        let client = Client::open(&host, options.clone()).unwrap();
        let by_http =
            Client::open(&host, ClientOptions { publish_via: PublishVia::Http, ..options })
                .unwrap();
        for _ in 0..20 {
            client.wait_connected(LONG).unwrap();
            let sockets =
                server.wait(|state| (!state.sockets.is_empty()).then(|| state.sockets.clone()));
            for _ in 0..20 {
                let _ = client.publish_nowait("c", MessageKind::Binary, big.clone().into());
            }
            sockets.iter().for_each(|socket| socket.kill());
            server.script([Script::Close]);
            let _ = by_http.publish("c", MessageKind::Binary, &big);
        }
    }
    shutdown(LONG).unwrap();
}

#[test]
fn tls_trusts_the_systems_authorities_and_no_others() {
    if !alone("tls_trusts_the_systems_authorities_and_no_others") {
        return;
    }
    let server = Server::start();
    let trusted = Terminator::start(server.address, "trusted");
    let stranger = Terminator::start(server.address, "stranger");
    // SAFETY: the tests' own threads do not touch the environment, and the library reads it only when
    // it is called, below.
    unsafe {
        std::env::set_var("SSL_CERT_FILE", trusted.ca_file());
        std::env::remove_var("SSL_CERT_DIR");
    }
    let host = format!("https://localhost:{}", trusted.address.port());
    create_channel(&host, "c").unwrap();
    let client = Client::open(&host, fast()).unwrap();
    let (delivery, events) = thread();
    let _subscription = client.subscribe("c", delivery).unwrap();
    events.expect(EventKind::Connected);
    let (delivery, listened) = thread();
    listen_channel(&host, "c", delivery).unwrap();
    listened.expect(EventKind::Connected);
    send_message(&host, "c", "by HTTP").unwrap();
    client.publish("c", MessageKind::Text, b"by WebSocket").unwrap();
    for events in [&events, &listened] {
        assert_eq!(events.message(), "by HTTP");
        assert_eq!(events.message(), "by WebSocket");
    }

    let host = format!("https://localhost:{}", stranger.address.port());
    for error in [
        create_channel(&host, "d").unwrap_err(),
        listen_channel(&host, "c", thread().0).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    assert!(!server.state().channels.contains_key("d"));
    // With an authority of its own the handle does not ask the system.
    let client = Client::open(&host, stranger.options()).unwrap();
    client.wait_connected(LONG).unwrap();
    shutdown(LONG).unwrap();
}

#[test]
fn a_blocked_connection_closes_at_once_and_burns_no_cpu() {
    if !alone("a_blocked_connection_closes_at_once_and_burns_no_cpu") {
        return;
    }
    let server = Server::start();
    server.create("c");
    server.create("d");
    let options = ClientOptions { queue_messages: 3, overflow: Overflow::Block, ..fast() };
    let client = Client::open(&server.host(), options).unwrap();
    let (release, released) = channel::<()>();
    let (function, events) = callback_with(move |event| {
        if event.kind == EventKind::Message {
            let _ = released.recv();
        }
    });
    let subscription = client.subscribe("c", Delivery::Thread(function)).unwrap();
    events.expect(EventKind::Connected);
    (0..10).for_each(|number| server.text("c", &number.to_string()));
    assert_eq!(events.message(), "0");
    // Three wait and one is stalled: the connection reads no more. What it burns meanwhile is seen
    // in the time of the I/O thread.
    while client.counters().received < 5 {
        std::thread::yield_now();
    }
    let before = io_thread_ticks();
    std::thread::park_timeout(Duration::from_millis(300));
    assert!(io_thread_ticks() - before <= 5, "the I/O thread spins");
    assert_eq!(client.counters().received, 5);
    subscription.close();
    // Another subscription of the handle is served again at once.
    client.publish("d", MessageKind::Text, b"").unwrap();
    release.send(()).unwrap();
    events.end();
}

/// CPU time of the I/O thread in clock ticks.
fn io_thread_ticks() -> u64 {
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        if std::fs::read_to_string(path.join("comm")).unwrap_or_default().trim() == "qy-client-io" {
            let stat = std::fs::read_to_string(path.join("stat")).unwrap();
            let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            return fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    panic!("no I/O thread");
}
