#!/usr/bin/env python3
"""Draws the figures of a report, or of the curves, as SVG: plots.py REPORT.json FOLDER.

Needs matplotlib, which the environment of the peers has.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

from suite.report import plot  # noqa: E402

# The same file for the same figures: no dates, no random ids, text as text.
matplotlib.rcParams.update({"svg.hashsalt": "qyun", "svg.fonttype": "none", "font.size": 9,
                            "axes.spines.top": False, "axes.spines.right": False})
OURS, LIMIT, PEER, REFERENCE = "#1f6fb2", "#777777", "#d98f39", "#c9c2b6"
BROKERS = ("nats", "mosquitto")


def save(figure, path):
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def colour(name):
    if name == "qyun":
        return OURS
    if name == "limit":
        return LIMIT
    return REFERENCE if name in BROKERS else PEER


def short(number):
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.3g}"


def bars(title, row, path):
    """One figure of all servers, the best on top: bars, or points where they lie far apart."""
    measured = [(name, median) for name, median in row["medians"].items() if median is not None and median > 0]
    if not measured:
        return
    measured.sort(key=lambda one: one[1], reverse=row["better"] == "less")
    names, values = zip(*measured)
    spread = [value * row["spreads"].get(name, 0) / 2 for name, value in measured]
    figure, axes = plt.subplots(figsize=(6, 0.32 * len(names) + 0.9))
    colours = [colour(name) for name in names]
    if max(values) / min(values) > 20:
        # A logarithmic axis has no zero that a bar could begin at.
        axes.set_xscale("log")
        axes.grid(True, axis="both", lw=0.4, alpha=0.5)
        axes.errorbar(values, names, xerr=spread, fmt="none", ecolor="#444444", lw=1)
        axes.scatter(values, names, color=colours, s=36, zorder=3)
    else:
        axes.barh(names, values, xerr=spread, color=colours, error_kw={"lw": 1})
    for (name, value), half in zip(measured, spread):
        axes.annotate(short(value), (value + half, name), xytext=(6, 0), textcoords="offset points", va="center")
    axes.margins(x=0.15)
    axes.set_xlabel(f"{row['unit']} ({'less' if row['better'] == 'less' else 'more'} is better)")
    axes.set_title(title, loc="left")
    save(figure, path)


def report(document, folder):
    for case in document["cases"]:
        for number, row in enumerate(case["rows"]):
            if set(row["medians"]) - {"inline", "thread", "qyun"}:
                bars(case["title"], row, folder / plot(case["name"], number))


def curves(document, folder):
    for curve in document["curves"]:
        figure, axes = plt.subplots(figsize=(6, 3.4))
        for side, points in curve["sides"].items():
            xs, ys, low, high = zip(*[(p["x"], p["median"], p["least"], p["most"]) for p in points])
            axes.plot(xs, ys, marker="o", ms=3, color=colour(side), label=side)
            axes.fill_between(xs, low, high, color=colour(side), alpha=0.15, lw=0)
        axes.set_xscale("log", base=curve["base"])
        axes.set_yscale("log")
        axes.set_xlabel(curve["x"])
        axes.set_ylabel(curve["y"])
        axes.set_title(curve["title"], loc="left")
        axes.grid(True, which="major", lw=0.4, alpha=0.5)
        axes.legend(frameon=False)
        save(figure, folder / f"curve-{curve['name']}.svg")


def main():
    document, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    (curves if "curves" in document else report)(document, folder)


if __name__ == "__main__":
    main()
