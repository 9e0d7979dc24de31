use std::sync::atomic::{AtomicU32, AtomicU64};

use super::*;

const LONG: Duration = Duration::from_secs(3600);

fn table(side: Side) -> (Arc<Clock>, Arc<Requests>) {
    let clock = Clock::new("clock");
    (Arc::clone(&clock), Requests::new(clock, side))
}

/// Makes a request that is sent nowhere; its number.
fn ask(requests: &Arc<Requests>, timeout: Duration, tell: &mpsc::Sender<Outcome>) -> u32 {
    let mut number = 0;
    let tell = tell.clone();
    let sent = |sn| {
        number = sn;
        Ok(())
    };
    requests.request(7, timeout, sent, move |outcome| drop(tell.send(outcome))).unwrap();
    number
}

fn answer(text: &'static str) -> Outcome {
    Ok(Response { protocol: 8, data: Bytes::from_static(text.as_bytes()) })
}

fn kind(outcome: Outcome) -> ErrorKind {
    outcome.unwrap_err().kind()
}

#[test]
fn clients_ask_with_even_numbers_and_servers_with_odd_ones() {
    for (side, expected) in [(Side::Client, [2, 4, 6]), (Side::Server, [3, 5, 7])] {
        let (_, requests) = table(side);
        let (tell, _told) = mpsc::channel();
        assert_eq!([(); 3].map(|()| ask(&requests, LONG, &tell)), expected);
    }
}

#[test]
fn numbers_wrap_around_those_in_flight_and_never_are_0_or_1() {
    for (side, before, expected) in [
        (Side::Client, u32::MAX - 1, [u32::MAX - 1, 4, 6]),
        (Side::Server, u32::MAX, [u32::MAX, 5, 7]),
    ] {
        let (_, requests) = table(side);
        let (tell, _told) = mpsc::channel();
        let first = ask(&requests, LONG, &tell);
        assert_eq!(first, side.first_sn());
        requests.table().next = before;
        assert_eq!([(); 3].map(|()| ask(&requests, LONG, &tell)), expected);
    }
}

#[test]
fn a_response_completes_its_request_and_no_other() {
    let (clock, requests) = table(Side::Client);
    let (tell_first, first) = mpsc::channel();
    let (tell_second, second) = mpsc::channel();
    let sn = ask(&requests, LONG, &tell_first);
    ask(&requests, LONG, &tell_second);
    assert!(requests.answered(sn, 8, || Bytes::from_static(b"yes")));
    assert_eq!(first.try_recv().unwrap().unwrap(), answer("yes").unwrap());
    assert!(second.try_recv().is_err());
    assert_eq!(clock.count().in_flight, 1);
}

#[test]
fn a_response_that_nothing_waits_for_is_dropped_and_counted() {
    let (clock, requests) = table(Side::Client);
    let (tell, told) = mpsc::channel();
    let sn = ask(&requests, Duration::ZERO, &tell);
    assert_eq!(kind(told.recv().unwrap()), ErrorKind::Timeout);
    assert!(!requests.answered(sn, 7, || unreachable!("nobody wants the data")));
    assert!(!requests.answered(1000, 7, Bytes::new));
    let counted = RequestCounters { timed_out: 1, late: 2, in_flight: 0 };
    assert_eq!(clock.count(), counted);
}

#[test]
fn a_short_deadline_wakes_a_clock_that_sleeps_for_a_long_one() {
    let (clock, requests) = table(Side::Server);
    let (tell, told) = mpsc::channel();
    for timeout in [LONG, Duration::from_millis(1), LONG, Duration::ZERO] {
        ask(&requests, timeout, &tell);
    }
    let mut texts: Vec<_> = told.iter().take(2).map(|end| end.unwrap_err().to_string()).collect();
    texts.sort();
    let expected = ["0ns", "1ms"]
        .map(|time| format!("no response within {time} to a request with protocol id 7"));
    assert_eq!(texts, expected);
    assert_eq!(clock.count().in_flight, 2);
}

#[test]
fn closing_ends_what_is_under_way_and_refuses_what_comes() {
    let (clock, requests) = table(Side::Client);
    let (tell, told) = mpsc::channel();
    ask(&requests, LONG, &tell);
    ask(&requests, LONG, &tell);
    requests.close(Error::new(ErrorKind::Connect, "lost"));
    requests.close(gone());
    for _ in 0..2 {
        assert_eq!(kind(told.try_recv().unwrap()), ErrorKind::Connect);
    }
    let refused = requests.request(7, LONG, |_| unreachable!(), |_| unreachable!());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Connect);
    assert_eq!(clock.count().in_flight, 0);
}

#[test]
fn a_table_that_is_dropped_ends_what_is_under_way() {
    let (clock, requests) = table(Side::Client);
    let (tell, told) = mpsc::channel();
    ask(&requests, LONG, &tell);
    drop(requests);
    assert_eq!(kind(told.try_recv().unwrap()), ErrorKind::Closed);
    assert_eq!(clock.count().in_flight, 0);
}

#[test]
fn what_could_not_be_sent_is_an_error_and_never_completes() {
    let (clock, requests) = table(Side::Client);
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let sent = |_| Err(Error::new(ErrorKind::TooLarge, "too large"));
    let refused = requests.request(7, LONG, sent, move |_| drop(inside));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(clock.count().in_flight, 0);

    // It ended while it was being sent: the completion has told, so there is no second verdict.
    let (tell, told) = mpsc::channel();
    let table = Arc::clone(&requests);
    let sent = move |_| {
        table.close(gone());
        Err(gone())
    };
    requests.request(7, LONG, sent, move |outcome| drop(tell.send(outcome))).unwrap();
    assert_eq!(kind(told.try_recv().unwrap()), ErrorKind::Closed);
}

#[test]
fn waiting_takes_the_answer_of_another_thread() {
    let (_, requests) = table(Side::Client);
    let peer = Arc::clone(&requests);
    let sent = |sn| {
        std::thread::spawn(move || peer.answered(sn, 8, || Bytes::from_static(b"yes")));
        Ok(())
    };
    assert_eq!(requests.wait(7, LONG, sent).unwrap(), answer("yes").unwrap());
    let timeout = requests.wait(7, Duration::from_millis(1), |_| Ok(()));
    assert_eq!(kind(timeout), ErrorKind::Timeout);
}

#[test]
fn a_completion_may_ask_again_and_may_panic() {
    let (clock, requests) = table(Side::Client);
    let (tell, told) = mpsc::channel();
    requests.request(7, Duration::ZERO, |_| Ok(()), |_| panic!("planted")).unwrap();
    let again = Arc::clone(&requests);
    requests
        .request(
            7,
            Duration::ZERO,
            |_| Ok(()),
            move |_| {
                ask(&again, Duration::ZERO, &tell);
            },
        )
        .unwrap();
    assert_eq!(kind(told.recv().unwrap()), ErrorKind::Timeout);
    assert_eq!(clock.count().timed_out, 3);
}

#[test]
fn waiting_in_a_completion_is_refused() {
    let (_, requests) = table(Side::Client);
    let (tell, told) = mpsc::channel();
    let again = Arc::clone(&requests);
    let complete = move |_| drop(tell.send(again.wait(7, LONG, |_| unreachable!())));
    requests.request(7, Duration::ZERO, |_| Ok(()), complete).unwrap();
    assert_eq!(kind(told.recv().unwrap()), ErrorKind::WouldDeadlock);
}

#[test]
fn a_completion_may_hold_the_last_reference_to_all() {
    let (clock, requests) = table(Side::Client);
    let weak = Arc::downgrade(&clock);
    let all = (clock, Arc::clone(&requests));
    requests.request(7, Duration::from_millis(1), |_| Ok(()), move |_| drop(all)).unwrap();
    drop(requests);
    // The deadline passes on the clock's thread, which then drops the clock.
    while weak.strong_count() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn an_endless_timeout_is_refused() {
    let (clock, requests) = table(Side::Client);
    let refused = requests.request(7, Duration::MAX, |_| unreachable!(), |_| unreachable!());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(clock.count().in_flight, 0);
}

/// A third is answered, a third times out, a third loses its connection, while two more threads
/// answer at random what may just be ending.
#[test]
fn of_100_000_requests_in_flight_none_is_lost_and_none_leaks() {
    const TABLES: usize = 300;
    const EACH: usize = 334;
    let clock = Clock::new("clock");
    let tables: Vec<_> =
        (0..TABLES).map(|_| Requests::new(Arc::clone(&clock), Side::Server)).collect();
    let completed: Arc<Vec<AtomicU32>> =
        Arc::new((0..TABLES * EACH).map(|_| AtomicU32::new(0)).collect());
    let ended = Arc::new([const { AtomicU64::new(0) }; 3]);
    let (done, all_done) = mpsc::channel::<()>();
    for (number, requests) in tables.iter().enumerate() {
        let timeout = match number % 3 {
            1 => Duration::from_millis(2000),
            _ => LONG,
        };
        for at in number * EACH..(number + 1) * EACH {
            let (completed, ended, done) = (completed.clone(), ended.clone(), done.clone());
            let complete = move |outcome: Outcome| {
                completed[at].fetch_add(1, Relaxed);
                let way = match outcome.map_err(|error| error.kind()) {
                    Ok(_) => 0,
                    Err(ErrorKind::Timeout) => 1,
                    Err(kind) => {
                        assert_eq!(kind, ErrorKind::Closed);
                        2
                    }
                };
                ended[way].fetch_add(1, Relaxed);
                drop((completed, ended));
                drop(done);
            };
            requests.request(7, timeout, |_| Ok(()), complete).unwrap();
        }
    }
    drop(done);
    let answer_all = |tables: &[Arc<Requests>], which: usize| {
        for requests in tables.iter().skip(which).step_by(3) {
            for sn in (3..3 + 2 * EACH as u32).step_by(2) {
                requests.answered(sn, 8, Bytes::new);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| answer_all(&tables, 0));
        // Two that answer the same, and one that closes what is being answered.
        scope.spawn(|| answer_all(&tables, 0));
        scope.spawn(|| answer_all(&tables, 2));
        scope.spawn(|| tables.iter().skip(2).step_by(3).for_each(|table| table.close(gone())));
        // Every completion is dropped once it has run: then nobody can tell any more.
        assert!(all_done.recv().is_err());
    });
    assert!(completed.iter().all(|times| times.load(Relaxed) == 1));
    let [answered, timed_out, closed] = [0, 1, 2].map(|way| ended[way].load(Relaxed));
    assert_eq!(answered + timed_out + closed, (TABLES * EACH) as u64);
    assert_eq!(timed_out, (TABLES / 3 * EACH) as u64);
    assert!(answered >= (TABLES / 3 * EACH) as u64, "{answered}");
    assert_eq!(clock.count().in_flight, 0);
    assert!(tables.iter().all(|requests| requests.in_flight() == 0));
    assert_eq!(Arc::strong_count(&completed), 1);
}
