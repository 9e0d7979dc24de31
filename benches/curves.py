#!/usr/bin/env python3
"""How the cost of a delivery changes with what there is more of: subscribers, channels, bytes, shards.

    benches/curves.py                            all curves, three repetitions
    benches/curves.py --curves size --seconds 0.3 --repetitions 1

Told is the server's CPU time per delivery, which the load generator's speed does not change; and
deliveries a second. The bare loop (limit.cpp) is measured beside, where it can take part. The
result (curves.md, curves.json, plots) goes to target/bench/report.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from suite import install
from suite.measure import Noise, bench
from suite.paths import BENCHES, OUT, VENV
from suite.report import command, machine, show
from suite.servers import running

KIB = 1024
TENFOLD = [1, 10, 100, 1000, 10_000]
SIZES = [16, 64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB]


def window(size):
    """Messages in flight: as many as make some 64 KiB to each subscriber, 64 at most."""
    return max(1, min(64, 64 * KIB // size))


# name, title, what x is, base of its axis, [(x, arguments of the load generator)], who takes part
CURVES = [
    ("subscribers", "Subscribers of one channel, 64 messages in flight", "subscribers", 10,
     [(n, f"--subscribers {n}") for n in TENFOLD], ("limit", "qyun")),
    ("subscribers-1", "Subscribers of one channel, 1 message in flight", "subscribers", 10,
     [(n, f"--subscribers {n} --window 1") for n in TENFOLD], ("limit", "qyun")),
    ("channels", "Channels with one subscriber each, 1 message in flight in each", "channels", 10,
     [(n, f"--channels {n} --subscribers {n} --window 1 --publishers {min(8, n)}") for n in TENFOLD],
     ("limit", "qyun")),
    ("size", "Size of a message, 100 subscribers, at most 64 KiB in flight to each", "bytes", 2,
     [(n, f"--subscribers 100 --size {n} --window {window(n)} --publish post") for n in SIZES], ("qyun",)),
    ("size-get", "Size of a message in a URL, 100 subscribers", "bytes", 2,
     [(n, f"--subscribers 100 --size {n} --window {window(n)}") for n in SIZES if n <= 64 * KIB],
     ("limit", "qyun")),
]
# Server and load generator share all cores here.
SHARDS = [1, 2]
SHARD_LOADS = [("--subscribers 1000", "1,000 subscribers, 64 in flight"),
               ("--subscribers 1000 --window 1", "1,000 subscribers, 1 in flight"),
               ("--channels 1000 --subscribers 1000 --window 1 --publishers 8", "1,000 channels, 1 in flight"),
               ("--subscribers 1000 --rate 200", "1,000 subscribers, 200 messages/s open loop"),
               ("--subscribers 10000 --rate 10", "10,000 subscribers, 10 messages/s open loop")]


def cost(report):
    """µs of the server's CPU time per delivery."""
    return report["server_cpu_s"] / report["deliveries"] * 1e6 if report["deliveries"] else float("nan")


def point(x, reports):
    costs = [cost(report) for report in reports]
    rates = [report["deliveries_per_s"] for report in reports]
    return {"x": x, "median": statistics.median(costs), "least": min(costs), "most": max(costs),
            "deliveries_per_s": statistics.median(rates),
            "generator_cpu": statistics.median(one["generator_cpu_s"] / one["seconds"] for one in reports)}


def once(name, arguments, timing, *more, core=0):
    with running(name, *more, core=core) as (address, pid):
        command, report, failed = bench(name, arguments, timing, address, pid)
        if failed:
            sys.exit(f"{name}: {command}: {failed}")
        return report


def measure(curve, options, timing):
    name, title, x, base, points, sides = curve
    found = {side: [] for side in sides}
    print(f"\n{title}")
    for at, arguments in points:
        reports = {side: [] for side in sides}
        for _ in range(options.repetitions):
            for side in sides:
                reports[side].append(once(side, arguments, timing))
        for side in sides:
            found[side].append(point(at, reports[side]))
        told = "  ".join(f"{side} {show(found[side][-1]['median'])} µs ({show(found[side][-1]['deliveries_per_s'])}/s)"
                         for side in sides)
        print(f"{at:>10,}  {told}", flush=True)
    return {"name": name, "title": title, "x": x, "base": base, "y": "µs of server CPU per delivery",
            "arguments": dict(points), "sides": found}


def shards(options, timing):
    """CPU time per delivery with one shard and with two, and the capacity that follows from it."""
    found = []
    print("\nShards, on all cores")
    for arguments, title in SHARD_LOADS:
        reports = {count: [] for count in SHARDS}
        for _ in range(options.repetitions):
            for count in SHARDS:
                reports[count].append(once("qyun", arguments, timing, "--shards", str(count), core=None))
        costs = {count: point(count, reports[count]) for count in SHARDS}
        capacity = SHARDS[-1] * costs[1]["median"] / costs[SHARDS[-1]]["median"]
        found.append({"title": title, "arguments": arguments, "points": list(costs.values()), "capacity": capacity})
        print(f"{title}: " + ", ".join(f"{count}: {show(costs[count]['median'])} µs" for count in SHARDS)
              + f"; capacity × {capacity:.2f}", flush=True)
    return found


def markdown(document):
    known = document["machine"]
    out = ["# Scaling", "", f"Measured {known['time']} by `{document['command']}`: {known['cores']} cores of "
           f"{known['processor']}, {known['system']}, Linux {known['kernel']}. Medians of {document['repetitions']} "
           f"interleaved repetitions of {document['seconds']:g} s; before the run the machine was "
           f"{document['noise']['busy_before']:.0%} busy.", "",
           "The cost is the server's CPU time per delivery, so it does not depend on the load generator's speed.", ""]
    for curve in document["curves"]:
        out += [f"## {curve['title']}", "", f"![{curve['title']}](curve-{curve['name']}.svg)", "",
                f"| {curve['x']} | " + " | ".join(f"{side}, µs | {side}, deliveries/s" for side in curve["sides"])
                + " |", "|---|" + "---|---|" * len(curve["sides"])]
        for at in zip(*curve["sides"].values()):
            cells = " | ".join(f"{show(p['median'])} | {show(p['deliveries_per_s'])}" for p in at)
            out.append(f"| {at[0]['x']:,} | {cells} |")
        out.append("")
    if document["shards"]:
        out += ["## Shards", "", "Server and load generator share all cores, so what counts is the CPU time per "
                "delivery: capacity is how much more two shards on two cores of their own could deliver.", "",
                "The target is × 1.7.", "", "| load | 1 shard, µs | 2 shards, µs | capacity |", "|---|---|---|---|"]
        out += [f"| {one['title']} | {show(one['points'][0]['median'])} | {show(one['points'][1]['median'])} "
                f"| × {one['capacity']:.2f} |" for one in document["shards"]]
        out.append("")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [curve[0] for curve in CURVES] + ["shards"]
    parser.add_argument("--curves", default=",".join(names), help="comma-separated; by default all: %(default)s")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=OUT / "report")
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    wanted = options.curves.split(",")
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"no curve {unknown[0]}: {', '.join(names)}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if not options.no_build:
        install.qyun()
        install.python()
    noise = Noise()
    timing = ["--duration", f"{options.seconds}s", "--warmup", f"{options.warmup}s", "--timeout", "20s"]
    started = time.monotonic()
    found = [measure(curve, options, timing) for curve in CURVES if curve[0] in wanted]
    document = {"machine": machine(), "command": command("benches/curves.py", sys.argv[1:]),
                "repetitions": options.repetitions, "seconds": options.seconds, "curves": found,
                "shards": shards(options, timing) if "shards" in wanted else [], "noise": noise.report(),
                "took_s": round(time.monotonic() - started)}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "curves.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    (options.out / "curves.md").write_text(markdown(document))
    if (VENV / "bin" / "python").exists():
        subprocess.run([VENV / "bin" / "python", BENCHES / "plots.py", options.out / "curves.json", options.out],
                       check=True)
    print(f"\nall figures: {options.out}")


if __name__ == "__main__":
    main()
