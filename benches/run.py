#!/usr/bin/env python3
"""Measures a Qyun server beside a bare epoll loop that writes the same bytes (limit.cpp) and beside
other systems (peers/).

    benches/run.py                     all cases and peers, three interleaved repetitions
    benches/run.py --cases fanout,idle --servers limit,qyun,bun --repetitions 1 --seconds 0.3
    benches/run.py --prefix stage      what needs the C library as well: packets, latency, publishing
    benches/run.py --out docs/benchmarks

The server runs on core 0 and the load generator, which checks every message, on core 1. Each run
has a server of its own; servers take turns within a repetition, and medians are told, so that what
changes on the machine meanwhile meets all. The report (report.md, report.json, plots) goes to
target/bench/report. Ends with 1 when Qyun or the bare loop has no figure in a case.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

from suite import install, programs
from suite.cases import CASES, COMPRESSION_CASES, LONGER, PACKET_CASES, SESSION_CASES
from suite.measure import Noise, turns
from suite.paths import BENCHES, OUT, VENV
from suite.report import Report
from suite.servers import SERVERS, Down

MEASURED = (*CASES, *COMPRESSION_CASES, *SESSION_CASES)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case[0] for case in (*MEASURED, *PACKET_CASES)] + list(programs.PROGRAMS)
    parser.add_argument("--cases", default="", help="names of cases or their beginnings, comma-separated: "
                        + ", ".join(names))
    parser.add_argument("--servers", default=",".join(SERVERS), help="comma-separated; by default all: %(default)s")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--prefix", help="where libqyun is installed")
    parser.add_argument("--out", type=Path, default=OUT / "report")
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    options.words = sys.argv[1:]
    options.wanted = options.cases.split(",")
    for word in options.wanted:
        if not any(name.startswith(word) for name in names):
            parser.error(f"no case begins with {word}")
    options.names = options.servers.split(",")
    for name in options.names:
        if name not in SERVERS:
            parser.error(f"no server {name}: {', '.join(SERVERS)}")
    return options


def timing_of(options, times):
    return ["--duration", f"{options.seconds * times:g}s", "--warmup", f"{options.warmup:g}s", "--timeout", "20s"]


def main():
    options = arguments()
    # Servers and the load generator inherit it.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    started = time.monotonic()
    if not options.no_build:
        install.qyun()
        absent = install.peers(options.names)
        options.names = [name for name in options.names if name not in absent]
    print(f"built and fetched in {time.monotonic() - started:.0f} s\n", flush=True)

    noise = Noise()
    if noise.busy_before > 0.1:
        print(f"the machine is {noise.busy_before:.0%} busy with something else: these figures will not be good\n")
    report = Report(options, options.names)
    report.print_head()
    timing = timing_of(options, 1)
    chosen = lambda cases: [case for case in cases if any(case[0].startswith(word) for word in options.wanted)]
    missing = []
    for case in chosen(MEASURED):
        names = options.names
        if case in SESSION_CASES:
            names = [name for name in names if name == "qyun"]
        elif case in COMPRESSION_CASES:
            names = [name for name in names if name in ("limit", "qyun")]
        if not names:
            continue
        runs = turns(case, names, options.repetitions, timing_of(options, LONGER.get(case[0], 1)))
        report.add(case, runs)
        missing += [f"{case[0]}: {name}: {of.failed}" for name, of in runs.items()
                    if of.failed and name in ("limit", "qyun")]
    if options.prefix:
        programs.packets(report, chosen(PACKET_CASES), options, timing)
        for name, program in programs.PROGRAMS.items():
            if any(name.startswith(word) for word in options.wanted):
                try:
                    program(report, options)
                except (programs.Failed, Down, subprocess.CalledProcessError) as why:
                    print(f"{name}: {why}", flush=True)
                    missing.append(f"{name}: {why}")
    report.head["noise"] = noise.report()
    report.head["took_s"] = round(time.monotonic() - started)
    report.write(options.out)
    if (VENV / "bin" / "python").exists():
        subprocess.run([VENV / "bin" / "python", BENCHES / "plots.py", options.out / "report.json", options.out],
                       check=True)
    print(f"\nall figures, in {report.head['took_s']} s: {options.out}")
    if missing:
        sys.exit("\n".join(["without a figure:", *missing]))


if __name__ == "__main__":
    main()
