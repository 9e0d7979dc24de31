"""What is measured: name, title, arguments of `qyun bench`, figures as (key, unit, better)."""

MORE, LESS = "more", "less"
RATE = [("deliveries_per_s", "deliveries/s", MORE)]
P99 = ("latency_us.p99", "µs p99", LESS)
LATENCY = [("latency_us.p50", "µs p50", LESS), P99]

CASES = [
    ("fanout-64", "1,000 subscribers, 64 in flight", "", RATE),
    ("fanout-1", "1,000 subscribers, 1 in flight", "--window 1", [*RATE, P99]),
    ("fanout-256", "1,000 subscribers, 256 in flight", "--window 256", RATE),
    ("fanout-16k", "100 subscribers x 16 KiB, 16 in flight",
     "--subscribers 100 --size 16384 --window 16", RATE),
    ("channels", "1,000 channels x 1 subscriber",
     "--channels 1000 --window 1 --publishers 8", [("publishes_per_s", "publishes/s", MORE)]),
    ("pingpong", "1 subscriber, ping-pong", "--subscribers 1 --window 1", LATENCY),
    ("openloop", "1,000 subscribers, 50 messages/s open loop", "--rate 50",
     [*LATENCY, ("server_cpu_s_per_s", "server CPU s/s", LESS)]),
    ("publish", "8 publishers x 16 pipelined, nobody listens",
     "--subscribers 0 --publishers 8", [("publishes_per_s", "publishes/s", MORE)]),
    ("handshakes", "connect, upgrade, drop", "--handshakes",
     [("handshakes_per_s", "handshakes/s", MORE)]),
    ("idle", "10,000 idle listeners", "--idle 10000",
     [("private_dirty_bytes_each", "private bytes each", LESS)]),
]

# How many times as long a case is measured: at 50 messages a second, little comes together in a while.
LONGER = {"openloop": 3}

# Qyun alone: the others do not speak it.
SESSION_CASES = [
    ("session-publish", "8 sessions x 16 publish requests in flight",
     "--dialect session --subscribers 0 --publishers 8", [("publishes_per_s", "publishes/s", MORE)]),
    ("session-fanout", "1,000 sessions subscribe, 64 in flight", "--dialect session", RATE),
    ("session-10k", "10,000 sessions subscribe, 4 in flight",
     "--dialect session --subscribers 10000 --window 4", [*RATE, P99]),
]

# Subscribers that compress. The bare loop compresses for each of them, as servers do that have a
# compressor per connection; Qyun once for all.
COMPRESSION_CASES = [
    ("deflate", "1,000 compressing subscribers, 20 x 1 KiB a second", "--rate 20 --size 1024 --compress",
     [("server_cpu_s_per_s", "server CPU s/s", LESS), ("bytes_received_per_s", "bytes/s", LESS)]),
]

# A program that echoes packets through libqyun; there is no bare loop beside it.
REQUESTS = ("requests_per_s", "requests/s", MORE)
PACKET_CASES = [
    ("packet-1", "packets, 1 connection x 64 in flight", "--packets 1 --pipeline 64", [REQUESTS]),
    ("packet-pingpong", "packets, 1 connection, ping-pong", "--packets 1 --pipeline 1",
     [REQUESTS, *LATENCY]),
    ("packet-1000", "packets, 1,000 connections x 1", "--packets 1000 --pipeline 1", [REQUESTS, *LATENCY]),
]

# Targets, as ratios in the same run: (case, key, against, bound). `against` is "limit", "best" of all
# others but the limit, or a server's name; a bound is at least for what is better when more, at
# most for what is better when less.
TARGETS = [
    ("fanout-64", "deliveries_per_s", "limit", 0.95),
    ("fanout-64", "deliveries_per_s", "bun", 1.15),
    ("fanout-16k", "deliveries_per_s", "limit", 0.90),
    ("channels", "publishes_per_s", "limit", 0.93),
    ("channels", "publishes_per_s", "best", 1.0),
    ("pingpong", "latency_us.p50", "limit", 1.05),
    ("pingpong", "latency_us.p99", "limit", 1.05),
    ("pingpong", "latency_us.p50", "best", 1.0),
    ("pingpong", "latency_us.p99", "best", 1.0),
    ("fanout-1", "latency_us.p99", "limit", 1.10),
    ("openloop", "server_cpu_s_per_s", "limit", 1.10),
    ("fanout-256", "deliveries_per_s", "limit", 0.90),
    ("fanout-256", "deliveries_per_s", "best", 2.0),
    ("idle", "private_dirty_bytes_each", "best", 1.0),
    ("publish", "publishes_per_s", "limit", 0.75),
    ("publish", "publishes_per_s", "best", 1.0),
    ("handshakes", "handshakes_per_s", "best", 0.95),
    ("handshakes", "handshakes_per_s", "limit", 0.95),
]
# The same in absolute terms: (case, key, at most).
BOUNDS = [("idle", "private_dirty_bytes_each", 256)]


def value(report, key):
    """A figure of what `qyun bench` reports; `server_cpu_s_per_s` is counted here."""
    if key.endswith("_s_per_s") or key.endswith("_received_per_s"):
        return report[key.removesuffix("_per_s")] / report["seconds"]
    for part in key.split("."):
        report = report[part]
    return report
