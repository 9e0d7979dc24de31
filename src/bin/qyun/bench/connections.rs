//! What connections cost: idle listeners, and handshakes.

use std::time::Instant;

use super::clock::{Clock, Usage};
use super::dial::dial;
use super::plan::Plan;
use super::report::{Report, number};
use super::target::Target;
use crate::exit::Failure;
use crate::procfs::Memory;

/// Connects `idle` listeners and holds them, then tells how the server's memory has grown.
pub fn idle(target: &Target, plan: &Plan, idle: usize) -> Result<Report, Failure> {
    let memory = || plan.server_pid.map(Memory::of).transpose();
    let mut open = Vec::with_capacity(idle);
    // What the first connections make the server allocate once is not counted for each.
    let first = 16.min(idle);
    let start = Instant::now();
    let path = |number| (number < first).then(|| target.listen_path(0));
    dial(target, plan.concurrency, plan.timeout, path, |one| {
        open.push(one.stream);
        Ok(())
    })?;
    let before = memory()?;
    let rest = idle - first;
    let path = |number| (number < rest).then(|| target.listen_path(0));
    dial(target, plan.concurrency, plan.timeout, path, |one| {
        open.push(one.stream);
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    std::thread::sleep(plan.warmup);
    let after = memory()?;

    let mut report = Report::new(plan, format!("{} idle listeners", number(idle as f64)));
    report.put("connections", idle);
    report.put("connect_seconds", seconds);
    report.say("connected", format!("{} in {seconds:.2} s", number(open.len() as f64)));
    match before.zip(after) {
        Some((before, after)) => {
            let each =
                |before: u64, after: u64| (after as f64 - before as f64) / rest.max(1) as f64;
            let private = each(before.private_dirty, after.private_dirty);
            let anonymous = each(before.anonymous, after.anonymous);
            let rss = each(before.rss, after.rss);
            report.put("private_dirty_bytes_each", private);
            report.put("anonymous_bytes_each", anonymous);
            report.put("rss_bytes_each", rss);
            report.put("rss_bytes", after.rss);
            report.say("memory", format!("{} private bytes each", number(private)));
            report.say("", format!("{} anonymous, {} resident", number(anonymous), number(rss)));
        }
        None => report.say("memory", "give --server-pid to measure it".into()),
    }
    Ok(report)
}

/// Opens WebSockets and drops them.
pub fn handshakes(target: &Target, plan: &Plan) -> Result<Report, Failure> {
    let mut clock = Clock::start(plan);
    let (from, to) = (clock.from, clock.to);
    let mut done = 0_u64;
    let mut in_all = 0_u64;
    let mut start = None;
    let ends = Instant::now() + plan.warmup + plan.duration;
    let path = |_| (Instant::now() < ends).then(|| target.listen_path(0));
    dial(target, plan.concurrency, plan.timeout, path, |one| {
        Target::forget_on_close(&one.stream)?;
        drop(one);
        in_all += 1;
        let now = clock.now();
        if now >= from && now < to {
            done += 1;
            if start.is_none() {
                start = Some(Usage::now(plan)?);
            }
        }
        clock.tick(now, || format!("{} handshakes", number(done as f64)));
        Ok(())
    })?;
    let end = Usage::now(plan)?;
    let rate = done as f64 * 1e9 / (to - from) as f64;
    let title = format!("handshakes, {} at a time", number(plan.concurrency as f64));
    let mut report = Report::new(plan, title);
    report.put("concurrency", plan.concurrency);
    report.put("handshakes", done);
    report.put("handshakes_in_all", in_all);
    report.put("handshakes_per_s", rate);
    report.say("handshakes", format!("{}/s", number(rate)));
    let (generator, server) = end.since(&start.unwrap_or(end));
    report.cpu(generator, server);
    Ok(report)
}
