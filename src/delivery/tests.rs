use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use super::*;

/// A job that says when it runs and waits to be let go.
fn gate() -> (impl FnOnce() + Send + 'static, Receiver<()>, Sender<()>) {
    let (running, runs) = channel();
    let (open, opened) = channel::<()>();
    let job = move || {
        running.send(()).unwrap();
        let _ = opened.recv();
    };
    (job, runs, open)
}

#[test]
fn the_jobs_of_a_lane_run_in_order_and_one_at_a_time() {
    const LANES: usize = 20;
    const JOBS: usize = 500;
    let delivery = Delivery::new("deliver", 4, usize::MAX);
    let order: Arc<Vec<Mutex<Vec<usize>>>> =
        Arc::new((0..LANES).map(|_| Mutex::default()).collect());
    std::thread::scope(|scope| {
        for (number, lane) in (0..LANES).map(|_| delivery.lane()).enumerate() {
            let order = &order;
            scope.spawn(move || {
                for job in 0..JOBS {
                    let order = Arc::clone(order);
                    let run = move || {
                        let mut done = order[number].try_lock().expect("two jobs at a time");
                        done.push(job);
                    };
                    assert!(lane.push(0, run));
                }
            });
        }
    });
    delivery.stop();
    for done in order.iter() {
        assert!(lock(done).iter().copied().eq(0..JOBS));
    }
    assert_eq!((delivery.jobs(), delivery.shared.bytes.load(Relaxed)), (0, 0));
}

#[test]
fn a_slow_job_delays_its_own_lane_alone() {
    let delivery = Delivery::new("deliver", 2, usize::MAX);
    let (slow, fast) = (delivery.lane(), delivery.lane());
    let (job, runs, open) = gate();
    slow.push(0, job);
    runs.recv().unwrap();
    let (tell, told) = channel();
    let behind = tell.clone();
    slow.push(0, move || behind.send("slow").unwrap());
    fast.push(0, move || tell.send("fast").unwrap());
    assert_eq!(told.recv().unwrap(), "fast");
    drop(open);
    assert_eq!(told.recv().unwrap(), "slow");
}

#[test]
fn a_busy_lane_does_not_keep_the_others_waiting() {
    let delivery = Delivery::new("deliver", 1, usize::MAX);
    let (busy, other) = (delivery.lane(), delivery.lane());
    let (job, runs, open) = gate();
    busy.push(0, job);
    runs.recv().unwrap();
    let (tell, told) = channel();
    for _ in 0..10 * TURN {
        let tell = tell.clone();
        busy.push(0, move || tell.send("busy").unwrap());
    }
    other.push(0, move || tell.send("other").unwrap());
    drop(open);
    let turn = told.iter().take_while(|who| *who == "busy").count();
    assert!(turn <= TURN, "{turn} jobs ran before the other lane's");
}

#[test]
fn threads_start_when_they_are_needed_and_no_more_than_allowed() {
    let delivery = Delivery::new("deliver", 2, usize::MAX);
    let started = || delivery.shared.line().started;
    assert_eq!(started(), 0);
    let gates: Vec<_> = (0..3)
        .map(|_| {
            let (job, runs, open) = gate();
            delivery.lane().push(0, job);
            (runs, open)
        })
        .collect();
    assert_eq!(started(), 2);
    for (runs, _) in &gates[..2] {
        runs.recv().unwrap();
    }
    assert!(gates[2].0.try_recv().is_err());
    for (runs, open) in gates {
        drop(open);
        let _ = runs.recv();
    }
}

#[test]
fn what_waits_is_bounded_and_the_bound_gives_way_to_who_waits_for_a_peer() {
    let delivery = Arc::new(Delivery::new("deliver", 1, 10 * JOB_BYTES));
    let lane = delivery.lane();
    let (running, runs) = channel();
    let (open, opened) = channel::<()>();
    let inside = Arc::clone(&delivery);
    lane.push(0, move || {
        waiting_for_peer(&inside, || {
            running.send(()).unwrap();
            let _ = opened.recv();
        });
        running.send(()).unwrap();
        let _ = opened.recv();
        // The last reference may be this one.
        drop(inside);
    });
    runs.recv().unwrap();
    lane.push(9 * JOB_BYTES, || ());
    assert!(!delivery.is_busy());
    lane.push(30 * JOB_BYTES, || ());
    assert!(delivery.is_busy());
    lane.push(0, || ());
    // Over the bound by far, and nobody waits for a peer any more.
    open.send(()).unwrap();
    runs.recv().unwrap();
    assert!(delivery.is_busy());
    drop(open);
    delivery.stop();
    assert!(!delivery.is_busy());
}

#[test]
fn stopping_runs_what_waits_and_takes_nothing_more() {
    let delivery = Delivery::new("deliver", 1, usize::MAX);
    let lane = delivery.lane();
    let (job, runs, open) = gate();
    lane.push(0, job);
    runs.recv().unwrap();
    let (tell, told) = channel();
    lane.push(0, move || tell.send(()).unwrap());
    drop(open);
    delivery.stop();
    assert!(told.try_recv().is_ok());
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    assert!(!lane.push(0, move || drop(inside)));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_job_may_stop_all_and_drop_all() {
    let delivery = Arc::new(Delivery::new("deliver", 2, usize::MAX));
    let lane = delivery.lane();
    let (tell, told) = channel();
    let (go, wait) = sync_channel::<()>(0);
    let inside = Arc::clone(&delivery);
    lane.push(0, move || {
        wait.recv().unwrap();
        assert!(inside.is_own_thread());
        inside.stop();
        drop(inside);
        tell.send(()).unwrap();
    });
    assert!(!delivery.is_own_thread());
    drop(delivery);
    go.send(()).unwrap();
    told.recv().unwrap();
}

#[test]
fn a_panic_ends_its_job_alone() {
    let delivery = Delivery::new("deliver", 1, usize::MAX);
    let lane = delivery.lane();
    let (tell, told) = channel();
    lane.push(0, || panic!("planted"));
    lane.push(0, move || tell.send(()).unwrap());
    told.recv().unwrap();
    delivery.stop();
    assert_eq!(delivery.jobs(), 0);
}
