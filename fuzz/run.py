#!/usr/bin/env python3
"""Builds the fuzz targets and runs them one after the other: first over the seeds, then for a while
over what libFuzzer makes of them.

    fuzz/run.py [--seconds N] [--target NAME]... [--no-build] [--merge]

Needs cargo-fuzz and a C++ compiler; the stable toolchain is enough. What is found is left in
fuzz/artifacts/TARGET, and the corpus that grows in fuzz/corpus/TARGET. With --merge, the corpus's
smallest inputs that together reach what all of it reaches are written back to the seeds.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TRIPLE = "x86_64-unknown-linux-gnu"
BINARIES = HERE / "target" / TRIPLE / "release"
# Longer inputs than this reach nothing that shorter ones do not, and cost time.
MAX_LEN = {"http_head": 4096, "ws_frames": 4096, "ws_deflate": 4096, "server": 2048}
# Seeds of a target are text in one file, of at most so many bytes.
MAX_SEEDS = 30_000
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


def targets():
    return sorted(path.stem for path in (HERE / "fuzz_targets").glob("*.rs"))


def escape(seed):
    return "".join(
        ESCAPES.get(chr(byte)) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in seed
    )


def unescape(line):
    def plain(match):
        return {"\\": "\\", "n": "\n", "r": "\r"}.get(match[1]) or chr(int(match[1][1:], 16))

    return re.sub(r"\\(\\|n|r|x[0-9a-f]{2})", plain, line).encode("latin-1")


def seeds(target):
    path = HERE / "seeds" / f"{target}.txt"
    return [unescape(line) for line in path.read_text("ascii").split("\n")[:-1]]


def build():
    # -Z options and the sanitizer's runtime are in the stable toolchain; this is what unlocks them.
    env = {**os.environ, "RUSTC_BOOTSTRAP": "1"}
    subprocess.run(["cargo", "fuzz", "build"], cwd=HERE.parent, env=env, check=True)


def unpack(target):
    corpus = HERE / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (corpus / f"seed-{number:04}").write_bytes(seed)
    return corpus


def fuzz(target, seconds):
    """Runs one target; gives its row of the table, and whether something was found."""
    corpus = unpack(target)
    artifacts = HERE / "artifacts" / target
    artifacts.mkdir(parents=True, exist_ok=True)
    command = [
        str(BINARIES / target), str(corpus), f"-artifact_prefix={artifacts}/", "-timeout=20",
        "-rss_limit_mb=2048", f"-max_len={MAX_LEN.get(target, 1024)}", "-print_final_stats=1",
        f"-max_total_time={seconds}", "-detect_leaks=0" if target == "server" else "-detect_leaks=1",
    ]
    if seconds == 0:
        command.append("-runs=0")
    dictionary = HERE / "dictionaries" / f"{target}.dict"
    if dictionary.exists():
        command.append(f"-dict={dictionary}")
    env = {**os.environ, "ASAN_OPTIONS": "detect_odr_violation=0"}
    started = time.monotonic()
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env)
    took = time.monotonic() - started
    said = run.stderr
    coverage = re.findall(r"cov: (\d+) ft: (\d+)", said)
    executed = re.search(r"stat::number_of_executed_units: +(\d+)", said)
    row = (target, took, int(executed[1]) if executed else 0, *(coverage[-1] if coverage else ("0", "0")))
    if run.returncode != 0:
        print(said[-6000:])
    return row, run.returncode != 0


def merge(target):
    corpus = HERE / "corpus" / target
    merged = HERE / "corpus" / f"{target}.merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    command = [str(BINARIES / target), "-set_cover_merge=1", str(merged), str(corpus),
               f"-max_len={MAX_LEN.get(target, 1024)}"]
    subprocess.run(command, check=True, capture_output=True)
    kept = seeds(target)
    size = sum(len(escape(seed)) + 1 for seed in kept)
    for path in sorted(merged.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        seed = path.read_bytes()
        size += len(escape(seed)) + 1
        if size > MAX_SEEDS:
            break
        if seed not in kept:
            kept.append(seed)
    shutil.rmtree(merged)
    (HERE / "seeds" / f"{target}.txt").write_text("".join(escape(seed) + "\n" for seed in kept), "ascii")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10, help="of each target; 0 is the seeds alone")
    parser.add_argument("--target", action="append", choices=targets(), default=[])
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--merge", action="store_true", help="write the best of the corpus to the seeds")
    args = parser.parse_args()
    chosen = args.target or targets()
    if not args.no_build:
        build()
    if args.merge:
        for target in chosen:
            merge(target)
        return
    found = []
    print(f"{'target':<18} {'seconds':>8} {'executions':>12} {'edges':>7} {'features':>9}")
    total = [0.0, 0]
    for target in chosen:
        (name, took, executed, edges, features), failed = fuzz(target, args.seconds)
        total = [total[0] + took, total[1] + executed]
        verdict = "  FOUND" if failed else ""
        print(f"{name:<18} {took:8.1f} {executed:12} {edges:>7} {features:>9}{verdict}", flush=True)
        if failed:
            found.append(name)
    print(f"{'all':<18} {total[0]:8.1f} {total[1]:12}")
    if found:
        sys.exit(f"found something in {', '.join(found)}: see fuzz/artifacts")
    print(f"{len(chosen)} passed")


main()
