//! Appends 128-byte records in batches, each made durable before the next, in several ways; the
//! ways take turns, so that what else the machine does meets all of them.
//!
//!     cargo run --release --manifest-path benches/store/Cargo.toml -- [DIR] [SECONDS] [ROUNDS]
//!
//! DIR is a folder on the disk to measure (default: the current one), SECONDS how long each way is
//! measured per batch size and round (default 2), ROUNDS how often all take their turn (default 3).
//! It prints the median of records/s for each, and its ratio to the bare loop; and the CPU time of
//! the whole process per record, which other programs on the machine disturb less.

mod qyun_way;
mod ways;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use ways::{Way, all};

const RECORD: usize = 128;
const BATCHES: [usize; 4] = [1, 16, 256, 4096];

fn main() {
    let mut args = std::env::args().skip(1);
    let parent = args.next().unwrap_or_else(|| ".".into());
    let seconds: f64 = args.next().map_or(2.0, |text| text.parse().expect("SECONDS is a number"));
    let rounds: usize = args.next().map_or(3, |text| text.parse().expect("ROUNDS is a number"));
    let folder = Path::new(&parent).join(format!("qyun-bench-store-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder in DIR");

    let payload: Vec<u8> = (0..RECORD).map(|i| i as u8).collect();
    let mut costs = Vec::new();
    head("records/s");
    for batch in BATCHES {
        let mut rates = vec![Vec::new(); all().len()];
        let mut cpu = vec![Vec::new(); all().len()];
        for round in 0..rounds {
            for (at, (name, open)) in all().into_iter().enumerate() {
                let place = folder.join(format!("{name}-{batch}-{round}").replace(' ', "-"));
                std::fs::create_dir(&place).expect("a folder of its own");
                let (rate, cost) = measure(open(&place), batch, &payload, seconds);
                rates[at].push(rate);
                cpu[at].push(cost);
                std::fs::remove_dir_all(&place).expect("its folder can be removed");
            }
        }
        let rates: Vec<f64> = rates.into_iter().map(median).collect();
        let cells = rates.iter().map(|rate| format!("{rate:.0} ({:.2})", rate / rates[0]));
        println!("| {batch} | {} |", cells.collect::<Vec<_>>().join(" | "));
        costs.push((batch, cpu));
    }
    head("µs of CPU per record");
    for (batch, cpu) in costs {
        let cells = cpu.into_iter().map(|cost| format!("{:.2}", median(cost)));
        println!("| {batch} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
}

fn head(unit: &str) {
    println!("\n| batch, {unit} | {} |", all().map(|(name, _)| name).join(" | "));
    println!("|---|{}", "---|".repeat(all().len()));
}

/// Seconds of CPU that all threads took.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Records per second, and µs of CPU per record.
fn measure(mut way: Box<dyn Way>, batch: usize, payload: &[u8], seconds: f64) -> (f64, f64) {
    way.append(batch, payload);
    let limit = Duration::from_secs_f64(seconds);
    let (start, before, mut done) = (Instant::now(), cpu(), 0);
    while start.elapsed() < limit {
        way.append(batch, payload);
        done += batch;
    }
    (done as f64 / start.elapsed().as_secs_f64(), (cpu() - before) * 1e6 / done as f64)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
