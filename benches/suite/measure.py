"""Interleaved runs of the load generator."""

import json
import os
import statistics
import subprocess
import time
from dataclasses import dataclass, field

from .cases import value
from .paths import LOAD_CORE, QYUN, pinned
from .servers import SERVERS, Down, running


@dataclass
class Runs:
    """The reports of one server in one case, and why there are no more of them."""
    reports: list = field(default_factory=list)
    command: str = ""
    failed: str = ""

    def figures(self, key):
        return [value(report, key) for report in self.reports]

    def median(self, key):
        return statistics.median(self.figures(key)) if self.reports else None

    def spread(self, key):
        """How far the runs lie apart, as a part of their median."""
        median = self.median(key)
        figures = self.figures(key)
        return (max(figures) - min(figures)) / median if median else 0.0


def bench(name, arguments, timing, address, pid):
    """One run of the load generator: (its command, what it reports, its complaint)."""
    words = [str(QYUN), "bench", "--host", address, "--server-pid", str(pid), "--json", *timing,
             *SERVERS[name].load, *arguments.split()]
    ran = subprocess.run(pinned(LOAD_CORE) + words, capture_output=True, text=True, check=False)
    told = "qyun bench --host … " + " ".join([*SERVERS[name].load, *arguments.split(), *timing])
    if ran.returncode != 0:
        return told, None, complaint(ran.stderr.strip())
    return told, json.loads(ran.stdout), ""


def complaint(said):
    """What `qyun bench --json` says on stderr, in words."""
    last = said.splitlines()[-1] if said else "it failed"
    try:
        return json.loads(last)["message"]
    except (ValueError, KeyError):
        return last


def turns(case, names, repetitions, timing, before_each=lambda name: None):
    """A case with all servers, which take turns; each run has a server of its own, and each
    repetition begins with another of them."""
    key, _, arguments, _ = case
    runs = {name: Runs(failed=SERVERS[name].cannot.get(key, "")) for name in names}
    for repetition in range(repetitions):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            of = runs[name]
            if of.failed:
                continue
            before_each(name)
            try:
                with running(name) as (address, pid):
                    of.command, report, of.failed = bench(name, arguments, timing, address, pid)
            except Down as why:
                report, of.failed = None, str(why)
            if report is not None:
                of.reports.append(report)
    return runs


def processor_times():
    """(all, idle, stolen) in ticks since the machine's start."""
    with open("/proc/stat", encoding="ascii") as stat:
        ticks = [int(word) for word in stat.readline().split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4], ticks[7]


class Noise:
    """What else went on on the machine: how busy it was before, and what the host took away."""

    def __init__(self, seconds=1.0):
        before = processor_times()
        time.sleep(seconds)
        self.start = processor_times()
        total = self.start[0] - before[0]
        self.busy_before = 1 - (self.start[1] - before[1]) / total if total else 0.0

    def report(self):
        now = processor_times()
        total = now[0] - self.start[0]
        return {"busy_before": round(self.busy_before, 3),
                "stolen": round((now[2] - self.start[2]) / total, 4) if total else 0.0,
                "load_average": os.getloadavg()[0]}
