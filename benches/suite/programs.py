"""What is measured with programs of its own instead of `qyun bench`: they use the C library installed
at a prefix."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from .measure import Runs, bench
from .paths import BENCHES, LOAD_CORE, OUT, ROOT, SERVER_CORE, VENV, pinned
from .servers import running

MESSAGES, SIZE = 200_000, 128


class Failed(Exception):
    """A program that does not do what it should: what it says."""


def build(prefix, source, *flags):
    """Builds a program that uses the libqyun installed at `prefix`, or no more than `flags`."""
    prefix = Path(prefix).resolve()
    program = OUT / source.stem
    compiler = ["cc", "-std=c11"] if source.suffix == ".c" else ["c++", "-std=c++17"]
    library = [f"-I{prefix / 'include'}", f"-L{prefix / 'lib'}", f"-Wl,-rpath,{prefix / 'lib'}", "-lqyun"]
    subprocess.run([*compiler, "-O2", "-Wall", "-Wextra", "-o", program, source, *(flags or library), "-lpthread"],
                   check=True)
    return program


def output(command, what):
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise Failed(f"{what}: {ran.stdout}{ran.stderr}".strip())
    return ran.stdout


@contextmanager
def telling(command, core=SERVER_CORE):
    """A program that tells its address and ends with its stdin; gives (address, process)."""
    words = pinned(core) + [str(word) for word in command]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            told = process.stdout.readline()
            if not told:
                raise Failed(f"{command[0]} did not start")
            yield json.loads(told)["address"], process
        finally:
            process.terminate()


def packets(report, cases, options, timing):
    """`qyun bench --packets` against a program that echoes packets, inline and on a thread."""
    if not cases:
        return
    echo = build(options.prefix, BENCHES / "packet_echo.c")
    for case in cases:
        runs = {"inline": Runs(), "thread": Runs()}
        for _ in range(options.repetitions):
            for kind, of in runs.items():
                with telling([echo, kind, "127.0.0.1:0"]) as (address, process):
                    of.command, told, of.failed = bench("qyun", case[2], timing, address, process.pid)
                if told:
                    of.reports.append(told)
        report.add(case, runs)


def latency(report, options):
    """Messages through the C library and over bare sockets."""
    program = build(options.prefix, BENCHES / "latency.c")
    runs, rested = [], []
    for _ in range(options.repetitions):
        with running("qyun") as (qyun, _), running("limit") as (limit, _):
            runs.append(json.loads(output([program, qyun, limit, 5000], "latency")))
    sides = {"bare sockets to limit": "bare_limit", "bare sockets to qyun": "bare",
             "qy_send_message to callback": "library"}
    rows = [(key, "µs", {side: [run[path][key] for run in runs] for side, path in sides.items()})
            for key in ("p50", "p99")]
    report.add_program("latency", "one message at a time", rows, "target/bench/latency QYUN LIMIT 5000")
    # As the C++ latency test sends them: between two messages the cores fall asleep. It ends before
    # the first ping, which the bare sockets do not answer, would have to be answered.
    for _ in range(options.repetitions):
        with running("qyun") as (qyun, _), running("limit") as (limit, _):
            command = [*pinned(LOAD_CORE), program, qyun, limit, 60, 33]
            rested.append(json.loads(output(command, "latency")))
    rows = [(key, "µs", {side: [run[path][key] for run in rested] for side, path in sides.items()})
            for key in ("p50", "p99")]
    report.add_program("latency-rested", "one message every 33 ms", rows, "target/bench/latency QYUN LIMIT 60 33")


FIGURES = re.compile(r"average ([\d.]+) ms, p50 ([\d.]+) ms, p99 ([\d.]+) ms")


def cpp_latency(report, options):
    """The C++ latency test on Qyun, and the same with libcurl and libwebsockets on FastAPI."""
    if "fastapi" not in options.names:
        return
    flags = output(["pkg-config", "--cflags", "--libs", "libcurl", "libwebsockets"], "pkg-config").split()
    ours = build(options.prefix, ROOT / "examples" / "test_latency.cpp")
    theirs = build(options.prefix, BENCHES / "latency_curl_lws.cpp", *flags)
    sides = {"libqyun + qyun": ("qyun", ours, []), "libcurl + libwebsockets + FastAPI": ("fastapi", theirs, []),
             "the same, a handle per message": ("fastapi", theirs, ["--fresh"]),
             "libcurl + libwebsockets + qyun": ("qyun", theirs, [])}
    found = {side: [] for side in sides}
    for _ in range(options.repetitions):
        for side, (server, program, more) in sides.items():
            with running(server) as (address, _):
                said = output([*pinned(LOAD_CORE), program, address, *more], side)
            found[side].append([float(number) for number in FIGURES.search(said).groups()])
    rows = [(figure, "ms", {side: [run[at] for run in runs] for side, runs in found.items()})
            for at, figure in enumerate(("average", "p50", "p99"))]
    report.add_program("cpp-latency", "the C++ latency test, 100 messages at 30/s", rows,
                       "target/bench/test_latency HOST")


def in_process(report, options):
    """Publishing through the C ABI, and by HTTP to the same server."""
    program = build(options.prefix, BENCHES / "publish.c")
    runs = [json.loads(output([program], "publish")) for _ in range(options.repetitions)]
    sides = {"C ABI": [run["abi_ns"] for run in runs], "HTTP": [run["http_ns"] for run in runs]}
    report.add_program("in-process", "publishing, nobody listens", [("time per publish", "ns", sides)],
                       "target/bench/publish")


def python_environment(options):
    """The Python package, in the environment of the peers."""
    environment = {**os.environ, "QYUN_LIBRARY": str(Path(options.prefix).resolve() / "lib" / "libqyun.so")}
    subprocess.run([VENV / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--force-reinstall",
                    "--no-deps", ROOT / "bindings" / "python"], check=True, env=environment)
    return VENV / "bin" / "python"


def receiving(report, options):
    """Messages a second into a Python program."""
    if "fastapi" not in options.names:
        print("recv-many: left out, the environment of the peers is made for fastapi", file=sys.stderr)
        return
    feed, python = build(options.prefix, BENCHES / "feed.c"), python_environment(options)
    sides = {"qyun recv_many": "qyun", "websockets, a thread": "websockets", "websockets, asyncio": "asyncio"}
    rates = {side: [] for side in sides}
    cpu = {side: [] for side in sides}
    for _ in range(options.repetitions):
        for side, kind in sides.items():
            with telling([feed, SIZE]) as (address, process):
                words = [*pinned(LOAD_CORE), python, BENCHES / "recv_many.py", kind, address, MESSAGES, SIZE]
                with subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True) as program:
                    if program.stdout.readline() != "ready\n":
                        raise Failed(f"recv_many.py {kind}: it does not listen")
                    process.stdin.write(f"{MESSAGES}\n")
                    process.stdin.flush()
                    said, _ = program.communicate()
                if program.returncode != 0:
                    raise Failed(f"recv_many.py {kind} failed")
            told = json.loads(said)
            rates[side].append(MESSAGES / told["seconds"])
            cpu[side].append(told["cpu_s"] / MESSAGES * 1e6)
    report.add_program("recv-many", f"{MESSAGES:,} messages of {SIZE} bytes into Python",
                       [("received", "messages/s", rates), ("CPU time each", "µs", cpu)],
                       "recv_many.py KIND HOST COUNT SIZE")


PROGRAMS = {"latency": latency, "cpp-latency": cpp_latency, "in-process": in_process, "recv-many": receiving}
