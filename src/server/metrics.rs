//! What `/metrics` tells, in Prometheus' text exposition format, version 0.0.4.

use std::fmt::{Display, Write};

use super::Service;
use crate::hub::{BOUNDS, Deliveries, Distribution};
use crate::store::Stats;

/// The format's media type.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is counted, now.
pub(super) fn exposition(service: &Service) -> String {
    let counters = service.counters();
    let process = service.process();
    let mut out = Exposition(String::with_capacity(8192));

    out.family("qyun_build_info", "gauge", "Always 1; the version that serves.");
    out.sample("qyun_build_info", &format!(r#"version="{}""#, env!("CARGO_PKG_VERSION")), 1);
    let started = service.started_ms();
    out.gauge(
        "qyun_start_time_seconds",
        "When the server started, in seconds since the Unix epoch.",
        format_args!("{}.{:03}", started / 1000, started % 1000),
    );
    out.gauge("qyun_shards", "Threads that own sockets.", service.options().shards);
    out.gauge("qyun_connections", "Connections open now.", counters.connections);
    out.family(
        "qyun_endpoint_connections",
        "gauge",
        "Connections of an endpoint: those of a dialect that gives them a name.",
    );
    for endpoint in service.endpoints() {
        let (path, dialect) = (escape(&endpoint.path), endpoint.handler.dialect().name());
        let labels = format!(r#"path="{path}",dialect="{dialect}""#);
        let connections = service.registry().len_at(&endpoint.path);
        out.sample("qyun_endpoint_connections", &labels, connections);
    }
    out.gauge("qyun_users", "Users that a connection is bound to now.", service.user_count());
    out.counter(
        "qyun_connections_accepted_total",
        "Connections accepted.",
        counters.connections_total,
    );
    out.counter(
        "qyun_connections_closed_slow_total",
        "Connections closed because their queue reached its limit.",
        counters.closed_slow,
    );
    out.gauge("qyun_channels", "Channels now.", counters.channels);
    out.gauge("qyun_subscribers", "Subscriptions now.", counters.subscribers);
    out.counter("qyun_messages_published_total", "Messages published.", counters.published);
    out.counter(
        "qyun_messages_delivered_total",
        "Messages handed to subscribers' sockets or queues; one to ten subscribers is ten.",
        counters.delivered,
    );
    deliveries(&mut out, &counters.deliveries);
    out.counter("qyun_sent_bytes_total", "Bytes written to sockets.", counters.bytes_out);
    out.counter("qyun_received_bytes_total", "Bytes read from sockets.", counters.bytes_in);
    out.gauge(
        "qyun_queued_bytes",
        "Bytes waiting in the queues of slow connections now.",
        counters.queued_bytes,
    );
    out.counter(
        "qyun_compressions_total",
        "Messages compressed: each once, however many connections get it.",
        counters.compressions,
    );
    out.counter(
        "qyun_compressed_bytes_in_total",
        "Their bytes before compression.",
        counters.compressed_bytes_in,
    );
    out.counter(
        "qyun_compressed_bytes_out_total",
        "Their bytes after compression.",
        counters.compressed_bytes_out,
    );
    out.counter(
        "qyun_inflations_total",
        "Messages that came compressed and were decompressed.",
        counters.inflations,
    );
    out.counter(
        "qyun_requests_rejected_total",
        "Requests and connections refused for breaking a protocol or a limit.",
        counters.rejected,
    );
    out.family(
        "qyun_limited_total",
        "counter",
        "What was refused for a limit, by the option that sets it.",
    );
    for (limit, count) in service.limited() {
        out.sample("qyun_limited_total", &format!(r#"limit="{limit}""#), count);
    }
    out.histogram(
        "qyun_publish_to_write_seconds",
        "From a publication to the end of the writes to a shard's subscribers.",
        &service.publish_to_write(),
    );

    if let Some(stats) = service.hub().store_stats() {
        store(&mut out, &stats);
    }

    out.counter(
        "qyun_process_cpu_seconds_total",
        "Processor time of the process, user and system.",
        format_args!("{}.{:03}", process.cpu_ms / 1000, process.cpu_ms % 1000),
    );
    for (name, help, value) in [
        ("qyun_process_resident_memory_bytes", "Memory of the process.", process.resident_bytes),
        ("qyun_process_virtual_memory_bytes", "Its address space.", process.virtual_bytes),
        ("qyun_process_threads", "Its threads.", process.threads),
        ("qyun_process_open_fds", "Its open descriptors.", process.open_fds),
    ] {
        if let Some(value) = value {
            out.gauge(name, help, value);
        }
    }
    out.0
}

/// What became of the channels' messages.
fn deliveries(out: &mut Exposition, all: &Deliveries) {
    out.counter(
        "qyun_deliveries_due_total",
        "Messages times the subscribers that they found.",
        all.due,
    );
    out.counter(
        "qyun_deliveries_written_total",
        "Of those, taken by the subscribers' sockets, whole.",
        all.written,
    );
    out.gauge("qyun_deliveries_queued", "Of those, waiting for their sockets now.", all.queued);
    let name = "qyun_deliveries_dropped_total";
    out.family(name, "counter", "Of those, dropped by an overload policy.");
    for (why, count) in [
        ("oldest", all.dropped_oldest),
        ("newest", all.dropped_newest),
        ("conflated", all.conflated),
    ] {
        out.sample(name, &format!(r#"why="{why}""#), count);
    }
    out.counter("qyun_deliveries_lost_total", "Of those, ended with their connection.", all.lost);
    out.counter(
        "qyun_publications_held_total",
        "Publications that had to wait for subscribers.",
        all.held,
    );
}

/// What the store of durable channels does.
fn store(out: &mut Exposition, stats: &Stats) {
    out.counter("qyun_store_records_total", "Publications written to the store.", stats.records);
    out.counter("qyun_store_bytes_total", "Bytes written for them.", stats.bytes);
    out.counter(
        "qyun_store_writes_total",
        "Writes they went out with, each a group of them.",
        stats.writes,
    );
    out.counter("qyun_store_syncs_total", "Times the disk was waited for.", stats.syncs);
    out.gauge("qyun_store_segments", "Segment files now.", stats.segments);
    out.gauge("qyun_store_segment_bytes", "Bytes in them.", stats.segment_bytes);
    out.gauge("qyun_store_queued_bytes", "Bytes that wait to be written.", stats.queued_bytes);
}

/// A label's value as the format writes it.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

/// The text as it grows. Writing to a string cannot fail.
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One line; `labels` without their braces, their values escaped.
    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    /// Buckets are cumulative, and the last one holds all.
    fn histogram(&mut self, name: &str, help: &str, distribution: &Distribution) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut total = 0;
        let bounds = BOUNDS.iter().map(|(_, seconds)| *seconds).chain(["+Inf"]);
        for (bound, count) in bounds.zip(distribution.counts) {
            total += count;
            self.sample(&bucket, &format!(r#"le="{bound}""#), total);
        }
        let sum = distribution.sum_ns;
        self.sample(
            &format!("{name}_sum"),
            "",
            format_args!("{}.{:09}", sum / 1_000_000_000, sum % 1_000_000_000),
        );
        self.sample(&format!("{name}_count"), "", total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_escaped() {
        assert_eq!(escape("/a\"b\\c\nd"), r#"/a\"b\\c\nd"#);
    }

    #[test]
    fn a_histogram_is_cumulative() {
        let mut distribution = Distribution { sum_ns: 2_000_000_005, ..Distribution::default() };
        distribution.counts[0] = 2;
        distribution.counts[BOUNDS.len()] = 1;
        let mut out = Exposition(String::new());
        out.histogram("x", "Help.", &distribution);
        assert!(
            out.0.starts_with("# HELP x Help.\n# TYPE x histogram\nx_bucket{le=\"5e-06\"} 2\n")
        );
        let end = "x_bucket{le=\"1\"} 2\nx_bucket{le=\"+Inf\"} 3\nx_sum 2.000000005\nx_count 3\n";
        assert!(out.0.ends_with(end), "{}", out.0);
    }
}
