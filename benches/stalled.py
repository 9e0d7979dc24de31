#!/usr/bin/env python3
"""Measures what one reader that takes nothing costs the others, with each overload policy.

    benches/stalled.py                     1,000 subscribers, 3 pairs of runs for each policy
    benches/stalled.py --pairs 6 --no-build --qyun target/release/qyun

Runs with the stalled reader and without it take turns, the server on one core and the load on the
other. The load generator checks every message of its subscribers. Told are the deliveries a second
with it, as a part of those without; the most that waited in the server; and whether every message
that was due to a subscriber is accounted for. The reader comes, and its queue is full, before the
measured time begins: with `hold`, publishers have waited for it for HOLD_MS and gone on without it.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POLICIES = ["disconnect", "drop_oldest", "drop_newest", "keep_latest", "hold"]
QUEUE_BYTES = 1 << 20
HOLD_MS = 500


def get(host, path):
    with urllib.request.urlopen(f"http://{host}{path}", timeout=10) as answer:
        return json.load(answer)


def stall(host, name):
    """A listener with a small receive buffer that never reads."""
    address, port = host.rsplit(":", 1)
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect((address, int(port)))
    reader.sendall(f"GET /channel/listen/{name} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
    return reader


class Watch(threading.Thread):
    """Finds the load's channel, adds the stalled reader if there is to be one, looks at the queues."""

    def __init__(self, host, stalled):
        super().__init__(daemon=True)
        self.host, self.stalled, self.most, self.deliveries = host, stalled, 0, None
        self.ended = threading.Event()

    def run(self):
        reader = None
        while not self.ended.wait(0.05):
            try:
                channels = get(self.host, "/channels")["channels"]
                counters = get(self.host, "/api/v1/stats")["counters"]
            except (OSError, KeyError):
                continue
            if channels:
                self.deliveries = channels[0]["deliveries"]
                if self.stalled and reader is None:
                    reader = stall(self.host, channels[0]["name"])
            self.most = max(self.most, counters["queued_bytes"])


def run(options, policy, stalled):
    server = ["taskset", "-c", "0", options.qyun, "serve", "--listen", "127.0.0.1:0", "--shards", "1",
              "--json", "--log", "off", "--set", f"namespaces=>: overload={policy}, hold_ms={HOLD_MS}",
              "--set", f"queue_bytes={QUEUE_BYTES}"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as serving:
        try:
            host = json.loads(serving.stdout.readline())["address"]
            watch = Watch(host, stalled)
            watch.start()
            load = ["taskset", "-c", "1", options.qyun, "bench", "--host", host, "--json",
                    "--subscribers", str(options.subscribers), "--duration", options.duration,
                    "--window", str(options.window), "--warmup", "3s"]
            report = json.loads(subprocess.run(load, stdout=subprocess.PIPE, check=True).stdout)
            watch.ended.set()
            watch.join()
        finally:
            serving.terminate()
    return report["deliveries_per_s"], watch


def adds_up(counts):
    ends = ["written", "queued", "dropped_oldest", "dropped_newest", "conflated", "lost"]
    return counts["due"] == sum(counts[end] for end in ends)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--duration", default="2s")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--policies", nargs="*", default=POLICIES)
    parser.add_argument("--qyun", default=str(ROOT / "target" / "release" / "qyun"))
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    if not options.no_build:
        subprocess.run(["cargo", "build", "--release", "--bin", "qyun"], cwd=ROOT, check=True)
    print(f"{os.cpu_count()} cores; one stalled reader among {options.subscribers}, bound {QUEUE_BYTES}")
    for policy in options.policies:
        ratios, most, last = [], 0, None
        for _ in range(options.pairs):
            without, _ = run(options, policy, False)
            time.sleep(0.1)
            beside, watch = run(options, policy, True)
            ratios.append(beside / without)
            most, last = max(most, watch.most), watch.deliveries
        print(f"{policy:12} others {statistics.median(ratios):.3f} of without "
              f"({', '.join(f'{ratio:.2f}' for ratio in ratios)}); queued {most} bytes at most; "
              f"adds up: {adds_up(last)} {json.dumps(last)}", flush=True)


if __name__ == "__main__":
    main()
