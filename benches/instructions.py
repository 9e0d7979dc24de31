#!/usr/bin/env python3
"""Instructions of the server per publication and per delivery, counted by callgrind: they do not depend
on how busy the machine is, so a change of the hot path shows that no timing would show.

    benches/instructions.py                 compares with instructions.json, ±5 %
    benches/instructions.py --write         makes instructions.json anew
    benches/instructions.py --qyun target/release/qyun --no-build

Each figure is the difference of two runs, one with more rounds than the other, so that starting and
stopping count for nothing; each is run three times, and the median counts. A round is a load that the server can read in one way only: requests that
come in one write, or one message whose deliveries are all awaited. Instructions differ between
compilers: with another rustc than the one that the file names, the comparison is told and not judged.
"""

import argparse
import json
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ROOT / "benches" / "instructions.json"
BOUND = 0.05
PATIENCE = 60
RUNS = 3
MESSAGE = "m" * 128
PIPELINE = 16


class Server:
    """`qyun serve` under callgrind; `instructions` is there once it has ended."""

    def __init__(self, qyun, folder):
        self.command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", qyun, "serve",
                        "--listen", "127.0.0.1:0", "--shards", "1", "--json", "--log", "off", "--drain", "0s",
                        "--set", "busy_poll_us=0", "--set", "ping_interval_ms=0"]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        told = self.process.stdout.readline()
        if not told:
            sys.exit(f"the server did not start: {self.process.stderr.read().strip()}")
        host, _, port = json.loads(told)["address"].rpartition(":")
        self.address = host, int(port)
        return self

    def dial(self):
        connection = socket.create_connection(self.address, PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def __exit__(self, *_):
        self.process.terminate()
        _, said = self.process.communicate(timeout=PATIENCE)
        counted = re.search(r"Collected : (\d+)", said)
        if not counted:
            sys.exit(f"callgrind counted nothing: {said.strip()}")
        self.instructions = int(counted[1])


def receive(connection, length):
    """Exactly so many bytes."""
    parts = []
    while length > 0:
        part = connection.recv(length)
        if not part:
            sys.exit("the server closed a connection")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def answers(connection, count, ends=b"}"):
    """So many answers with 200; the last ends with `ends`."""
    got = b""
    while got.count(b"HTTP/1.1 200") < count or not got.endswith(ends):
        part = connection.recv(65536)
        if not part:
            sys.exit("the server closed a connection")
        got += part


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def listen(server, name):
    listener = server.dial()
    listener.sendall(f"GET /channel/listen/{name} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                     "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive(listener, 1)
    if not head.startswith(b"HTTP/1.1 101"):
        sys.exit(f"no upgrade: {head!r}")
    return listener


def publish(server, rounds):
    """Requests that nobody listens to, so many in one write."""
    with server.dial() as publisher:
        publisher.sendall(get("/channel/create/c"))
        answers(publisher, 1)
        requests = get(f"/channel/send/c/{MESSAGE}") * PIPELINE
        for _ in range(rounds):
            publisher.sendall(requests)
            answers(publisher, PIPELINE)


def fan_out(listeners, in_one_write):
    """So many messages in one write to so many listeners, who all have them before the next."""
    frame = b"\x81\x7e" + len(MESSAGE).to_bytes(2, "big") + MESSAGE.encode()

    def load(server, rounds):
        with server.dial() as publisher:
            publisher.sendall(get("/channel/create/c"))
            answers(publisher, 1)
            connected = [listen(server, "c") for _ in range(listeners)]
            requests = get(f"/channel/send/c/{MESSAGE}") * in_one_write
            expected = frame * in_one_write
            for _ in range(rounds):
                publisher.sendall(requests)
                answers(publisher, in_one_write)
                for listener in connected:
                    if receive(listener, len(expected)) != expected:
                        sys.exit("a listener received something else")
            for listener in connected:
                listener.close()
    return load


def channels(count):
    """As many channels, with a listener each: a message to each of them in one write."""
    frame = b"\x81\x7e" + len(MESSAGE).to_bytes(2, "big") + MESSAGE.encode()

    def load(server, rounds):
        with server.dial() as publisher:
            for number in range(count):
                publisher.sendall(get(f"/channel/create/c{number}"))
                answers(publisher, 1)
            connected = [listen(server, f"c{number}") for number in range(count)]
            requests = b"".join(get(f"/channel/send/c{number}/{MESSAGE}") for number in range(count))
            for _ in range(rounds):
                publisher.sendall(requests)
                answers(publisher, count)
                for listener in connected:
                    if receive(listener, len(frame)) != frame:
                        sys.exit("a listener received something else")
            for listener in connected:
                listener.close()
    return load


# name: (the load, fewer rounds, more rounds, how many times a round does it)
FIGURES = {
    "publication, nobody listens": (publish, 100, 600, PIPELINE),
    "delivery, 100 listeners, 1 message at a time": (fan_out(100, 1), 50, 450, 100),
    "delivery, 100 listeners, 16 messages at a time": (fan_out(100, 16), 30, 230, 1600),
    "publication and delivery, 16 channels": (channels(16), 50, 300, 16),
}


def count(qyun, load, rounds):
    with tempfile.TemporaryDirectory() as folder:
        with Server(qyun, folder) as server:
            load(server, rounds)
        return server.instructions


def measure(qyun, figure):
    load, few, many, each = FIGURES[figure]
    # A read that is cut in two, or a sweep that falls into it, disturbs a run.
    usual = {rounds: statistics.median(count(qyun, load, rounds) for _ in range(RUNS)) for rounds in (few, many)}
    return (usual[many] - usual[few]) / ((many - few) * each)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the file instead of comparing with it")
    parser.add_argument("--qyun", default=str(ROOT / "target" / "release" / "qyun"))
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    if not options.no_build:
        subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "qyun"], cwd=ROOT, check=True)
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    built = {"rustc": rustc, "machine": platform.machine()}
    with ThreadPoolExecutor(2) as pool:
        counted = dict(zip(FIGURES, pool.map(lambda figure: measure(options.qyun, figure), FIGURES)))
    if options.write:
        figures = {figure: round(number, 2) for figure, number in counted.items()}
        BASELINE.write_text(json.dumps({**built, "bound": BOUND, "instructions": figures}, indent=2) + "\n")
        print(BASELINE.read_text(), end="")
        return
    baseline = json.loads(BASELINE.read_text())
    same = all(baseline[key] == built[key] for key in built)
    worse = []
    for figure, number in counted.items():
        was = baseline["instructions"].get(figure)
        if was is None:
            sys.exit(f"{BASELINE.name} has no figure '{figure}': make it anew with --write")
        change = number / was - 1
        print(f"{figure}: {number:,.1f} instructions, {change:+.1%} of {was:,.1f}")
        if abs(change) > baseline["bound"]:
            worse.append(figure)
    if worse and same:
        sys.exit(f"beyond ±{baseline['bound']:.0%}: {'; '.join(worse)}. If that is meant: benches/instructions.py --write")
    if not same:
        print(f"not judged: the file is of {baseline['rustc']} on {baseline['machine']}, this is {rustc}")


if __name__ == "__main__":
    main()
