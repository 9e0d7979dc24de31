#!/usr/bin/env python3
"""Measures a Qyun server against a bare epoll loop that writes the same bytes (limit.cpp).

    benches/run.py                     all cases, three interleaved repetitions
    benches/run.py --cases fanout,idle --repetitions 1 --seconds 1
    benches/run.py --prefix stage      latency and packets through the C library installed there, too

The server runs on core 0 and the load generator, which checks every message, on core 1. Each run
has a server of its own; servers take turns within a repetition, and medians are told, so that what
changes on the machine meanwhile meets both. The table goes to stdout, all figures to
target/bench/latest.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "target" / "bench"
QYUN = ROOT / "target" / "release" / "qyun"
LIMIT = OUT / "limit"
LATENCY = OUT / "latency"
PACKET_ECHO = OUT / "packet_echo"

# name, what it is, arguments of `qyun bench`, figures as (key, unit)
RATE = [("deliveries_per_s", "deliveries/s")]
CASES = [
    ("fanout-64", "1,000 subscribers, 64 in flight", "", RATE),
    ("fanout-1", "1,000 subscribers, 1 in flight", "--window 1", RATE),
    ("fanout-256", "1,000 subscribers, 256 in flight", "--window 256", RATE),
    ("fanout-16k", "100 subscribers x 16 KiB, 16 in flight",
     "--subscribers 100 --size 16384 --window 16", RATE),
    ("channels", "1,000 channels x 1 subscriber",
     "--channels 1000 --window 1 --publishers 8", [("publishes_per_s", "publishes/s")]),
    ("pingpong", "1 subscriber, ping-pong", "--subscribers 1 --window 1",
     [("latency_us.p50", "µs p50"), ("latency_us.p99", "µs p99")]),
    ("openloop", "1,000 subscribers, 50 messages/s open loop", "--rate 50",
     [("latency_us.p50", "µs p50"), ("latency_us.p99", "µs p99"),
      ("server_cpu_s", "server CPU s")]),
    ("publish", "8 publishers x 16 pipelined, nobody listens",
     "--subscribers 0 --publishers 8", [("publishes_per_s", "publishes/s")]),
    ("handshakes", "connect, upgrade, drop", "--handshakes",
     [("handshakes_per_s", "handshakes/s")]),
    ("idle", "10,000 idle listeners", "--idle 10000",
     [("private_dirty_bytes_each", "private bytes each")]),
]

# Qyun alone: the bare loop speaks the channel dialect only.
SESSION_CASES = [
    ("session-publish", "8 sessions x 16 publish requests in flight",
     "--dialect session --subscribers 0 --publishers 8", [("publishes_per_s", "publishes/s")]),
    ("session-fanout", "1,000 sessions subscribe, 64 in flight", "--dialect session",
     [("deliveries_per_s", "deliveries/s")]),
    ("session-10k", "10,000 sessions subscribe, 4 in flight",
     "--dialect session --subscribers 10000 --window 4",
     [("deliveries_per_s", "deliveries/s"), ("latency_us.p99", "µs p99")]),
]

# Subscribers that compress. The bare loop compresses for each of them, as servers do that have a
# compressor per connection; Qyun once for all.
COMPRESSION_CASES = [
    ("deflate", "1,000 compressing subscribers, 20 x 1 KiB a second", "--rate 20 --size 1024 --compress",
     [("server_cpu_s", "server CPU s"), ("bytes_received", "bytes")]),
]

# The same, of a program that echoes packets through libqyun; there is no bare loop beside it.
REQUESTS = [("requests_per_s", "requests/s")]
PACKET_CASES = [
    ("packet-1", "packets, 1 connection x 64 in flight", "--packets 1 --pipeline 64", REQUESTS),
    ("packet-pingpong", "packets, 1 connection, ping-pong", "--packets 1 --pipeline 1",
     [*REQUESTS, ("latency_us.p50", "µs p50"), ("latency_us.p99", "µs p99")]),
    ("packet-1000", "packets, 1,000 connections x 1", "--packets 1000 --pipeline 1",
     [*REQUESTS, ("latency_us.p50", "µs p50"), ("latency_us.p99", "µs p99")]),
]

ALL_CASES = (*CASES, *SESSION_CASES, *COMPRESSION_CASES, *PACKET_CASES)


def pinned(core):
    """The command prefix that binds a process to one core, where there are two."""
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 else []


def build():
    OUT.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cargo", "build", "--release", "--bin", "qyun"], cwd=ROOT, check=True)
    subprocess.run(["c++", "-O2", "-std=c++17", "-o", LIMIT, ROOT / "benches" / "limit.cpp",
                    "-lz"], check=True)


def build_with(prefix, program):
    """Builds a program of this folder that uses the libqyun installed at `prefix`."""
    prefix = Path(prefix).resolve()
    library = prefix / "lib"
    subprocess.run(["cc", "-O2", "-std=c11", "-Wall", "-Wextra", "-o", program,
                    ROOT / "benches" / f"{program.name}.c", f"-I{prefix / 'include'}", f"-L{library}",
                    f"-Wl,-rpath,{library}", "-lqyun", "-lpthread"], check=True)


@contextmanager
def server(name):
    """A server on a free port; gives (address, pid)."""
    command = {
        "limit": [LIMIT],
        "qyun": [QYUN, "serve", "--listen", "127.0.0.1:0", "--shards", "1", "--json",
                 "--drain", "1s", "--log", "error"],
        "inline": [PACKET_ECHO, "inline", "127.0.0.1:0"],
        "thread": [PACKET_ECHO, "thread", "127.0.0.1:0"],
    }[name]
    # The echoing program ends with its stdin.
    with subprocess.Popen(pinned(0) + [str(word) for word in command], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            told = process.stdout.readline()
            if not told:
                sys.exit(f"the server '{name}' did not start")
            yield json.loads(told)["address"], process.pid
        finally:
            process.terminate()


def bench(name, arguments, seconds):
    """One run of the load generator: what it reports, or an end with its complaint."""
    with server(name) as (address, pid):
        command = pinned(1) + [str(QYUN), "bench", "--host", address, "--server-pid", str(pid),
                               "--json", "--duration", f"{seconds}s", *arguments.split()]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            sys.exit(f"{name}: {' '.join(command)}: {run.stderr.strip()}")
        return json.loads(run.stdout)


def value(report, key):
    for part in key.split("."):
        report = report[part]
    return report


def show(number):
    if number is None:
        return "-"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.2f}"


def row(title, limit, qyun, unit):
    ratio = f"{qyun / limit:.2f}" if limit else "-"
    print(f"{title:46} {show(limit):>12} {show(qyun):>12} {ratio:>6}  {unit}", flush=True)


def latency(count):
    """Messages through the C library and over bare sockets: {path: {p50, p99}}."""
    with server("qyun") as (qyun, _), server("limit") as (limit, _):
        run = subprocess.run([str(LATENCY), qyun, limit, str(count)],
                             capture_output=True, text=True, check=False)
        if run.returncode != 0:
            sys.exit(f"latency: {run.stderr.strip()}")
        return json.loads(run.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", help="names of cases or their beginnings, comma-separated: "
                        + ", ".join(case[0] for case in ALL_CASES) + ", latency")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--prefix", help="where libqyun is installed, for latency and packets")
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    if not options.no_build:
        build()
    wanted = options.cases.split(",") if options.cases else [""]
    measured = (*CASES, *SESSION_CASES, *COMPRESSION_CASES)
    chosen = [case for case in measured if any(case[0].startswith(w) for w in wanted)]
    known = [case[0] for case in ALL_CASES] + ["latency"]
    if not all(any(name.startswith(w) for name in known) for w in wanted):
        parser.error(f"no case begins with {options.cases}")

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT,
                            capture_output=True, text=True, check=False).stdout.strip()
    results = {"commit": commit, "cores": os.cpu_count(), "kernel": platform.release(),
               "machine": platform.machine(), "time": time.strftime("%Y-%m-%dT%H:%M:%SZ",
                                                                     time.gmtime()),
               "repetitions": options.repetitions, "seconds": options.seconds, "cases": {}}
    print(f"{'case':46} {'limit':>12} {'qyun':>12} {'ratio':>6}")
    for name, title, arguments, figures in chosen:
        kinds = ["qyun"] if "--dialect" in arguments else ["limit", "qyun"]
        runs = {kind: [] for kind in kinds}
        for _ in range(options.repetitions):
            for kind, reports in runs.items():
                reports.append(bench(kind, arguments, options.seconds))
        results["cases"][name] = runs
        for key, unit in figures:
            medians = {kind: statistics.median(value(report, key) for report in reports)
                       for kind, reports in runs.items()}
            row(title, medians.get("limit"), medians["qyun"], unit)
    packets = [case for case in PACKET_CASES if any(case[0].startswith(w) for w in wanted)]
    if options.prefix and packets:
        build_with(options.prefix, PACKET_ECHO)
        for name, title, arguments, figures in packets:
            runs = {"inline": [], "thread": []}
            for _ in range(options.repetitions):
                for kind, reports in runs.items():
                    reports.append(bench(kind, arguments, options.seconds))
            results["cases"][name] = runs
            for kind, reports in runs.items():
                for key, unit in figures:
                    median = statistics.median(value(report, key) for report in reports)
                    row(f"{title}, {kind}", None, median, unit)
    if options.prefix and any("latency".startswith(w) for w in wanted):
        build_with(options.prefix, LATENCY)
        runs = [latency(5000) for _ in range(options.repetitions)]
        results["cases"]["latency"] = runs
        for path, title in [("bare", "bare sockets to the same server"),
                            ("library", "qy_send_message to callback")]:
            for key in ("p50", "p99"):
                limit, qyun = (statistics.median(run[which][key] for run in runs)
                               for which in ("bare_limit", path))
                row(title, limit, qyun, f"µs {key}")
    (OUT / "latest.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nall figures: {(OUT / 'latest.json').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
