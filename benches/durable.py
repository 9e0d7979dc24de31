#!/usr/bin/env python3
"""Measures publishing to a durable channel beside a bare loop of write and fdatasync.

    benches/durable.py                     1, 16, 64, 256 and 1,024 messages under way, 3 rounds of 3 s
    benches/durable.py --folder /data --no-build --qyun target/release/qyun

The server keeps one channel with durability=fsync and is sent messages of 128 bytes over a WebSocket;
a subscriber gets each when the disk has it, which lets the next one go. How many shared a sync is
read from the server's metrics. Then the bare loop writes batches of that many records of the same size, each synced before the next, into a file
of the same folder. Both take turns; told are the medians.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIZE = 128


def metrics(host):
    with urllib.request.urlopen(f"http://{host}/metrics", timeout=10) as answer:
        lines = (line.split() for line in answer.read().decode().splitlines())
        return {words[0]: float(words[1]) for words in lines if len(words) == 2}


def served(options, folder, window):
    """Publications a second that came back from the disk, and how many shared a sync."""
    store = Path(folder) / "store"
    server = ["taskset", "-c", "0", options.qyun, "serve", "--listen", "127.0.0.1:0", "--shards", "1",
              "--json", "--log", "off", "--store", str(store),
              "--namespaces", ">: durability=fsync, history_bytes=1000000000000"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as serving:
        try:
            host = json.loads(serving.stdout.readline())["address"]
            load = ["taskset", "-c", "1", options.qyun, "bench", "--host", host, "--json", "--size",
                    str(SIZE), "--subscribers", "1", "--publish", "ws", "--window", str(window),
                    "--warmup", "0.5s", "--duration", f"{options.seconds}s"]
            report = json.loads(subprocess.run(load, stdout=subprocess.PIPE, check=True).stdout)
            counts = metrics(host)
        finally:
            serving.terminate()
    shutil.rmtree(store)
    batch = counts["qyun_store_records_total"] / counts["qyun_store_syncs_total"]
    return report["publishes_per_s"], batch


def bare(options, folder, batch):
    """Records a second of write and fdatasync alone."""
    batch = max(1, round(batch))
    data, path = bytes(SIZE * batch), Path(folder) / "bare"
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        begun, count = time.monotonic(), 0
        while (took := time.monotonic() - begun) < options.seconds:
            os.write(file, data)
            os.fdatasync(file)
            count += batch
    finally:
        os.close(file)
        path.unlink()
    return count / took


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default=".", help="on the disk to measure")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--qyun", default=str(ROOT / "target" / "release" / "qyun"))
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    if not options.no_build:
        subprocess.run(["cargo", "build", "--release", "--bin", "qyun"], cwd=ROOT, check=True)
    print("| under way | published/s | records per sync | bare loop/s | ratio |\n|---|---|---|---|---|")
    for window in [1, 16, 64, 256, 1024]:
        rows = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                rate, batch = served(options, folder, window)
                rows.append((rate, batch, bare(options, folder, batch)))
        rate, batch, alone = (statistics.median(column) for column in zip(*rows))
        ratio = statistics.median(rate / alone for rate, _, alone in rows)
        print(f"| {window} | {rate:,.0f} | {batch:.1f} | {alone:,.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
