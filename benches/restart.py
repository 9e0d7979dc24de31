#!/usr/bin/env python3
"""Measures the pause of `qyun restart` under load.

    benches/restart.py                                  5,000 subscribers, 20,000 deliveries/s
    benches/restart.py --subscribers 500 --rate 40      fewer
    benches/restart.py --durable fsync                  the channels are on disk, and the store goes along
    benches/restart.py --no-build --qyun target/debug/qyun

The load generator checks every message and fails when a connection is closed, or a message is lost,
doubled or out of order. Meanwhile the server is restarted again and again. Told are the pauses, in
which nobody is served, and the delay from sending to receiving that subscribers saw.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(qyun, *arguments):
    """A command's answer in JSON; `None` if it failed."""
    ran = subprocess.run([qyun, *arguments, "--json"], capture_output=True, text=True, check=False)
    return json.loads(ran.stdout) if ran.returncode == 0 else None


def restart(qyun, pid_file):
    """Restarts; the new process's control socket may take a moment to be there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if told := run(qyun, "restart", "--pid-file", pid_file):
            return told
    sys.exit("the server does not restart")


def measure(options, pid_file, host):
    channels = min(100, options.subscribers)
    load = [options.qyun, "bench", "--host", host, "--json", "--subscribers", str(options.subscribers),
            "--channels", str(channels), "--rate", str(options.rate), "--duration", f"{options.seconds}s"]
    pauses = []
    with subprocess.Popen(load, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as bench:
        while bench.poll() is None:
            status = run(options.qyun, "status", "--pid-file", pid_file)
            if status and status["subscribers"] >= options.subscribers:
                told = restart(options.qyun, pid_file)
                if told["connections"] >= options.subscribers:
                    pauses.append(told["pause_ms"])
            time.sleep(options.every)
        out, err = bench.communicate()
    if bench.returncode != 0:
        sys.exit(f"qyun bench: {err.strip()}")
    return pauses, json.loads(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=5000)
    parser.add_argument("--rate", type=int, default=400, help="messages a second over all channels")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between restarts")
    parser.add_argument("--qyun", default=str(ROOT / "target" / "release" / "qyun"))
    parser.add_argument("--durable", choices=("memory", "os", "fsync"), help="keep the channels on disk")
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    if not options.no_build:
        subprocess.run(["cargo", "build", "--release", "--bin", "qyun"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        pid_file = str(Path(folder) / "qyun.pid")
        store = []
        if options.durable:
            store = ["--store", str(Path(folder) / "store"),
                     "--namespaces", f">: durability={options.durable}, history_bytes=1000000000"]
        started = run(options.qyun, "start", "--listen", "127.0.0.1:0", "--pid-file", pid_file, *store)
        if not started:
            sys.exit("the server does not start")
        try:
            pauses, report = measure(options, pid_file, started["address"])
        finally:
            while run(options.qyun, "stop", "--pid-file", pid_file) is None:
                time.sleep(0.1)
    if not pauses:
        sys.exit("no restart came while all subscribers were there")
    print(f"{len(pauses)} restarts under {options.subscribers} connections: the pause was "
          f"{statistics.median(pauses):.1f} ms in the median, {max(pauses):.1f} ms at most")
    print(f"deliveries/s: {report['deliveries_per_s']:,.0f}; from sending to receiving: "
          f"{json.dumps(report.get('latency_us', {}))} µs")


if __name__ == "__main__":
    main()
