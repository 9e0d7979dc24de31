//! A histogram of latencies.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::exit::Failure;

/// The longest latency that is told apart, an hour in ns.
const LONGEST: u64 = 3_600_000_000_000;

/// Latencies in ns, to three digits.
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Latency {
    pub fn new() -> Result<Self, Failure> {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3);
        let histogram = histogram.map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self { histogram })
    }

    pub fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
    }

    fn at(&self, percent: f64) -> u64 {
        self.histogram.value_at_percentile(percent)
    }

    /// In µs.
    pub fn json(&self) -> Value {
        let us = |ns: u64| ns as f64 / 1000.0;
        json!({
            "count": self.histogram.len(),
            "mean": self.histogram.mean() / 1000.0,
            "p50": us(self.at(50.0)),
            "p90": us(self.at(90.0)),
            "p99": us(self.at(99.0)),
            "p99_9": us(self.at(99.9)),
            "max": us(self.histogram.max()),
        })
    }

    pub fn text(&self) -> String {
        if self.histogram.is_empty() {
            return "no message was measured".into();
        }
        let [p50, p90, p99, p999] = [50.0, 90.0, 99.0, 99.9].map(|at| duration(self.at(at)));
        let max = duration(self.histogram.max());
        format!("p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max}")
    }
}

fn duration(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}
