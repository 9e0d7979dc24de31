"""The report: a table for the terminal, Markdown, JSON."""

import json
import os
import platform
import statistics
import subprocess
import time

from .cases import BOUNDS, LESS, TARGETS
from .paths import ROOT
from .servers import SERVERS


def show(number):
    if number is None:
        return "–"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.2f}" if abs(number) >= 1 else f"{number:.3f}"


def machine():
    model = "?"
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as info:
        memory = int(info.readline().split()[1]) >> 20
    tool = lambda *words: subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
    return {"processor": model, "cores": os.cpu_count(), "memory_gib": memory, "kernel": platform.release(),
            "system": next((line.partition("=")[2].strip().strip('"') for line in open("/etc/os-release", encoding="utf-8")
                            if line.startswith("PRETTY_NAME")), "?"),
            "rustc": (tool("rustc", "--version") or ["?"])[0], "compiler": (tool("c++", "--version") or ["?"])[0],
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def command(program, words):
    """A command as it is told: it is the same in whatever folder the project lies."""
    return " ".join([program, *words]).replace(f"{ROOT}/", "")


def plot(case, number):
    """The file of a case's plot: of its first figure, its second and so on."""
    return f"{case}{f'-{number + 1}' if number else ''}.svg"


def best_other(medians, better):
    """The best of the peers of the same protocol: (name, figure)."""
    peers = {name: median for name, median in medians.items()
             if median is not None and name not in ("qyun", "limit") and "--dialect" not in SERVERS[name].load}
    if not peers:
        return None, None
    choose = min if better == LESS else max
    name = choose(peers, key=peers.get)
    return name, peers[name]


class Report:
    """All figures of a run."""

    def __init__(self, options, names):
        self.names = names
        self.cases, self.programs = [], []
        self.head = {"machine": machine(), "repetitions": options.repetitions, "seconds": options.seconds,
                     "command": command("benches/run.py", options.words),
                     "servers": {name: {"what": SERVERS[name].what, "version": SERVERS[name].version()}
                                 for name in names}}

    def add(self, case, runs):
        """Adds a case's runs, and prints its lines."""
        key, title, arguments, figures = case
        rows = []
        for figure, unit, better in figures:
            medians = {name: of.median(figure) for name, of in runs.items()}
            spreads = {name: round(of.spread(figure), 3) for name, of in runs.items() if of.reports}
            rows.append({"figure": figure, "unit": unit, "better": better, "medians": medians, "spreads": spreads})
            if set(runs) & set(self.names):
                self.print_row(title, unit, medians)
            else:
                self.print_sides(title, unit, medians)
        for name, of in runs.items():
            if of.failed and name not in SERVERS or of.failed and not SERVERS[name].cannot.get(key):
                print(f"    {name}: {of.failed}", flush=True)
        self.cases.append({"name": key, "title": title, "arguments": arguments, "rows": rows,
                           "commands": {name: of.command for name, of in runs.items()},
                           "failed": {name: of.failed for name, of in runs.items() if of.failed},
                           "runs": {name: of.reports for name, of in runs.items()}})

    def print_head(self):
        print(f"{'case':44} " + " ".join(f"{name:>11}" for name in self.names) + "  unit")

    def print_row(self, title, unit, medians):
        cells = " ".join(f"{show(medians.get(name)):>11}" for name in self.names)
        print(f"{title:44} {cells}  {unit}", flush=True)

    def print_sides(self, title, unit, medians):
        told = ", ".join(f"{side} {show(median)}" for side, median in medians.items())
        print(f"{title}: {told} {unit}", flush=True)

    def add_program(self, name, title, rows, command):
        """Adds a comparison of two programs: `rows` are (figure's name, unit, {side: [values]})."""
        out = []
        for figure, unit, sides in rows:
            medians = {side: statistics.median(values) for side, values in sides.items()}
            spreads = {side: round((max(values) - min(values)) / medians[side], 3) if medians[side] else 0.0
                       for side, values in sides.items()}
            out.append({"figure": figure, "unit": unit, "medians": medians, "spreads": spreads, "runs": sides})
            self.print_sides(f"{title}, {figure}", unit, medians)
        self.programs.append({"name": name, "title": title, "rows": out, "command": command})

    def targets(self):
        """Each target: (title, figure, against, bound, ratio, whether it holds)."""
        rows = {(case["name"], row["figure"]): (case["title"], row) for case in self.cases for row in case["rows"]}
        out = []
        for case, figure, against, bound in TARGETS:
            title, row = rows.get((case, figure), (None, None))
            if row is None or row["medians"].get("qyun") is None:
                continue
            other = row["medians"].get(against)
            if against == "best":
                name, other = best_other(row["medians"], row["better"])
                against = f"best peer ({name})"
            if not other:
                continue
            ratio = row["medians"]["qyun"] / other
            holds = ratio <= bound if row["better"] == LESS else ratio >= bound
            sign = "≤" if row["better"] == LESS else "≥"
            out.append((title, row["unit"], f"{sign} {bound:g} × {against}", f"{ratio:.2f}", holds))
        for case, figure, most in BOUNDS:
            title, row = rows.get((case, figure), (None, None))
            if row and row["medians"].get("qyun") is not None:
                measured = row["medians"]["qyun"]
                out.append((title, row["unit"], f"≤ {most}", show(measured), measured <= most))
        for program in self.programs:
            for row in program["rows"]:
                if bound := PROGRAM_TARGETS.get((program["name"], row["figure"])):
                    slow, fast, least = bound
                    ratio = row["medians"][slow] / row["medians"][fast]
                    out.append((program["title"], row["figure"], f"{slow} ≥ {least:g} × {fast}", f"{ratio:.1f}",
                                ratio >= least))
        return out

    def markdown(self):
        head, known = self.head, self.head["machine"]
        out = ["# Figures", "", f"Measured {known['time']} by `{head['command']}`: {known['cores']} cores of "
               f"{known['processor']}, {known['memory_gib']} GiB, {known['system']}, Linux {known['kernel']}, "
               f"{known['rustc']}, {known['compiler']}.", "",
               f"The server on one core, the load on another; {head['repetitions']} interleaved repetitions of "
               f"{head['seconds']:g} s each (the open loop longer), medians. Every message is checked by every "
               "subscriber; a server that loses, doubles, swaps or changes one has no figure.", ""]
        noise = head.get("noise")
        if noise:
            out += [f"Noise: before the run the machine was {noise['busy_before']:.0%} busy; the host took "
                    f"{noise['stolen']:.1%} of its time away. The runs of one server and figure lie "
                    f"{self.median_spread():.1%} apart in the median."
                    + (" **The machine was not quiet.**" if noise["busy_before"] > 0.1 else ""), ""]
        if targets := self.targets():
            out += ["## Targets", "", "| case | figure | target | measured | |", "|---|---|---|---|---|"]
            out += [f"| {title} | {unit} | {bound} | {ratio} | {'holds' if holds else '**missed**'} |"
                    for title, unit, bound, ratio, holds in targets]
            out.append("")
        out += ["## All servers", "", "Of each figure the median, and how far the runs lie apart (±, half of "
                "largest less smallest).", "", "| case | unit | " + " | ".join(self.names) + " |",
                "|---|---|" + "---|" * len(self.names)]
        for case in self.cases:
            if set(case["runs"]) & set(self.names):
                out += self.case_rows(case)
        out.append("")
        alone = [case for case in self.cases if not set(case["runs"]) & set(self.names)]
        if alone or self.programs:
            out += ["## Programs", "", "| what | figure | sides |", "|---|---|---|"]
            for case in alone:
                for row in case["rows"]:
                    sides = ", ".join(f"{side} {show(median)}" for side, median in row["medians"].items())
                    out.append(f"| {case['title']} | {row['unit']} | {sides} |")
            for program in self.programs:
                for row in program["rows"]:
                    sides = ", ".join(f"{side} {show(median)}" for side, median in row["medians"].items())
                    out.append(f"| {program['title']} | {row['figure']}, {row['unit']} | {sides} |")
            out.append("")
        out += ["## Plots", ""]
        for case in self.cases:
            if len(set(case["runs"]) & set(self.names)) > 1:
                out += [f"![{case['title']}, {row['unit']}]({plot(case['name'], number)})"
                        for number, row in enumerate(case["rows"])]
        out.append("")
        failed = [(case["title"], name, why) for case in self.cases for name, why in case["failed"].items()]
        if failed:
            out += ["## Without a figure", "", "| case | server | why |", "|---|---|---|"]
            out += [f"| {title} | {name} | {why} |" for title, name, why in failed] + [""]
        out += ["## The load generator's own CPU", "",
                "CPU seconds of the generator and of the server in each second measured: where the generator is "
                "at 1, it is measured, too.", "", "| case | " + " | ".join(self.names) + " |",
                "|---|" + "---|" * len(self.names)]
        for case in self.cases:
            cells = [self.cpu(case["runs"].get(name)) for name in self.names]
            if any(cell != "–" for cell in cells):
                out.append(f"| {case['title']} | " + " | ".join(cells) + " |")
        out += ["", "## Versions and commands", "", "| server | what | version |", "|---|---|---|"]
        out += [f"| {name} | {one['what']} | {one['version']} |" for name, one in head["servers"].items()]
        out += ["", "| case | the load generator's command |", "|---|---|"]
        for case in self.cases:
            command = case["commands"].get("qyun") or next((one for one in case["commands"].values() if one), "")
            out.append(f"| {case['title']} | `{command}` |")
        out += [f"| {program['title']} | `{program['command']}` |" for program in self.programs]
        return "\n".join(out) + "\n"

    def case_rows(self, case):
        for row in case["rows"]:
            cells = []
            for name in self.names:
                median = row["medians"].get(name)
                spread = row["spreads"].get(name, 0.0) / 2
                cells.append("–" if median is None else f"{show(median)} ±{spread:.0%}")
            yield f"| {case['title']} | {row['unit']} | " + " | ".join(cells) + " |"

    def cpu(self, reports):
        used = [(report["generator_cpu_s"] / report["seconds"], (report["server_cpu_s"] or 0) / report["seconds"])
                for report in reports or () if "generator_cpu_s" in report and report.get("seconds")]
        if not used:
            return "–"
        return " / ".join(f"{statistics.median(side):.2f}" for side in zip(*used))

    def median_spread(self):
        spreads = [spread for case in self.cases for row in case["rows"] for spread in row["spreads"].values()]
        return statistics.median(spreads) if spreads else 0.0

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        everything = {**self.head, "cases": self.cases, "programs": self.programs,
                      "targets": [dict(zip(("case", "figure", "target", "measured", "holds"), one))
                                  for one in self.targets()]}
        (folder / "report.json").write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
        (folder / "report.md").write_text(self.markdown())


# (program, figure): (the slow side, the fast side, how many times faster)
PROGRAM_TARGETS = {
    ("cpp-latency", "p50"): ("libcurl + libwebsockets + FastAPI", "libqyun + qyun", 10),
    ("in-process", "time per publish"): ("HTTP", "C ABI", 20),
}
