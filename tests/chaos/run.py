"""Clients are killed, the server is killed, links are cut, all at random and under load; then every
client's log is judged: gapless and in order, or told so; nothing doubled.

    run.py --qyun PATH [--disconnections N] [--clients N] [--rate N] [--seed N]

Needs root and iproute2, for network namespaces; without them it says so and ends well.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from checker import Keeps, Log, Publications, Tally
from network import Network, NotPermitted

PORT = 8000
LINKS = 10
#: Every channel but the last keeps more than is published, one of them on disk, where the server's
#: deaths take nothing; the last lets go of what is missed.
CHANNELS = ["disk", "all.0", "all.1", "all.2", "few"]
NAMESPACES = (
    "all.*: history_size=1000000, history_bytes=1000000000; few: history_size=5; disk: durability=fsync"
)
#: More than anything here takes; only a fault waits that long.
PATIENCE = 60.0
CLIENT_OPTIONS = {
    "connect_timeout_ms": 1000,
    "request_timeout_ms": 60000,
    "reconnect_min_ms": 50,
    "reconnect_max_ms": 400,
    "ping_interval_ms": 300,
    "pong_wait_ms": 500,
}


class Server:
    """The server's process, killed and started again."""

    def __init__(self, qyun: str, network: Network, folder: Path, more: list[str]) -> None:
        create = [word for name in CHANNELS for word in ("--create", name)]
        self._command = [
            "ip", "netns", "exec", network.server, qyun, "serve", "--listen", f"0.0.0.0:{PORT}",
            "--namespaces", NAMESPACES, "--shards", "2", "--ping-interval-ms", "1000",
            "--pong-wait-ms", "1000", "--store", str(folder / "store"), *create, *more,
        ]
        self._log = folder / "server.log"
        self._host = network.driver_host
        self._start()

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._start()

    def ask(self, method: str, path: str) -> dict[str, object]:
        """One HTTP exchange."""
        connection = http.client.HTTPConnection(self._host, PORT, timeout=5)
        try:
            connection.request(method, path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.ask("GET", f"/channel/info/{CHANNELS[-1]}")
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"the server does not start:\n{self._log.read_text()}")
                time.sleep(0.02)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Client:
    """A `qyun listen` behind a link, and its log across its deaths."""

    def __init__(self, qyun: str, number: int, network: Network, folder: Path, log: Log) -> None:
        link = number % LINKS
        options = [f"--option={key}={value}" for key, value in CLIENT_OPTIONS.items()]
        self._command = [
            "ip", "netns", "exec", network.client(link), qyun, "listen", log.channel,
            "--host", f"{network.hosts[link]}:{PORT}", "--json", "--events", "--quiet",
            "--timeout", "60s", *options,
        ]
        self._path = folder / f"client{number}.log"
        self._path.touch()
        self._errors = folder / f"client{number}.err"
        self._read = 0
        self.log = log
        self.start()

    def start(self) -> None:
        """Continues from what its log says."""
        self.read()
        self.log.connected = False
        # What a death has torn was not received.
        os.truncate(self._path, self._read)
        since = []
        if self.log.position is not None:
            since = ["--since", "{}-{}".format(*self.log.position)]
        with self._path.open("ab") as out, self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [*self._command, *since], stdout=out, stderr=errors, stdin=subprocess.DEVNULL
            )

    def read(self) -> None:
        """Judges what is new in its log."""
        with self._path.open("rb") as log:
            log.seek(self._read)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        self.log.read(whole.decode().splitlines())

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def revive(self) -> None:
        """Starts it again if it gave up, because it could not connect when it was started."""
        if self._process.poll() is not None:
            self.start()


class Publisher(threading.Thread):
    """Publishes on every channel in turn, and keeps what the server acknowledged."""

    def __init__(self, host: str, rate: float, publications: Publications, tally: Tally) -> None:
        super().__init__(daemon=True)
        self._host, self._rate = host, rate
        self._publications, self._tally = publications, tally
        self._over = threading.Event()
        self.acknowledged = 0

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        serial, due = 0, time.monotonic()
        while not self._over.is_set():
            due = max(due + 1 / self._rate, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))
            channel = CHANNELS[serial % len(CHANNELS)]
            serial += 1
            data = f"{channel}:{serial}"
            try:
                connection = connection or http.client.HTTPConnection(self._host, PORT, timeout=5)
                connection.request("POST", f"/channel/send/{channel}", data)
                answer = json.loads(connection.getresponse().read())
            except (OSError, http.client.HTTPException, ValueError):
                # It may or may not have been published: the number is not used again.
                connection = None
                continue
            if answer["status"] != "success":
                continue
            self.acknowledged += 1
            at = (answer["epoch"], answer["offset"])
            if not self._publications.agree(channel, at, data):
                self._tally.faults.append(f"acknowledged {data!r} at {at}, where something else is")

    def stop(self) -> None:
        self._over.set()
        self.join()


class Chaos:
    """The disconnections, and what is counted of them."""

    def __init__(
        self, network: Network, server: Server, clients: list[Client], dice: random.Random
    ) -> None:
        self._network, self._server, self._clients, self._dice = network, server, clients, dice
        self._cut: dict[int, float] = {}
        self._quiet_until = 0.0
        self.killed = self.server_kills = self.cuts = 0

    def rage(self, disconnections: int, tally: Tally) -> None:
        """Until so many connections were lost."""
        looked = 0.0
        while self.killed + tally.lost < disconnections:
            now = time.monotonic()
            self._mend(now)
            if now - looked > 0.5:
                looked = now
                for client in self._clients:
                    client.read()
                    client.revive()
                if tally.faults:
                    return
            # A link has ten clients and the server all of them.
            choice = self._dice.choices(["client", "link", "server"], [100, 10, 0.5])[0]
            if not self.server_kills and self.killed + tally.lost > disconnections // 4:
                choice = "server"
            if choice == "client":
                client = self._dice.choice(self._clients)
                client.read()
                if client.log.connected:
                    client.kill()
                    client.start()
                    self.killed += 1
            elif choice == "link":
                link = self._dice.randrange(LINKS)
                if link not in self._cut and len(self._cut) < LINKS // 2:
                    self._network.cut(link)
                    self._cut[link] = now + self._dice.uniform(0.05, 1.5)
                    self.cuts += 1
            elif now > self._quiet_until:
                self._server.kill()
                self.server_kills += 1
                self._quiet_until = now + 2
            time.sleep(self._dice.uniform(0, 0.04))

    def _mend(self, now: float) -> None:
        for link in [link for link, until in self._cut.items() if until <= now]:
            del self._cut[link]
            self._network.mend(link)

    def calm(self) -> None:
        self._mend(float("inf"))


def connect(clients: list[Client]) -> None:
    """Waits until every client is connected for the first time."""
    deadline = time.monotonic() + PATIENCE
    while not all(client.log.connected for client in clients):
        if time.monotonic() > deadline:
            sys.exit("the clients do not connect")
        time.sleep(0.1)
        for client in clients:
            client.read()
            client.revive()


def settle(server: Server, clients: list[Client], tally: Tally) -> None:
    """Waits until every client is where its channel stands."""
    ends = {}
    for name in CHANNELS:
        channel = server.ask("GET", f"/channel/info/{name}")["channel"]
        assert isinstance(channel, dict)
        ends[name] = (channel["epoch"], channel["offset"])
    deadline = time.monotonic() + PATIENCE
    late = clients
    while late and time.monotonic() < deadline and not tally.faults:
        time.sleep(0.1)
        for client in late:
            client.read()
            client.revive()
        late = [client for client in late if client.log.position != ends[client.log.channel]]
    for client in late:
        end = ends[client.log.channel]
        tally.faults.append(f"{client.log.name}: at {client.log.position}, not at the end, {end}")


def run(arguments: argparse.Namespace, network: Network, folder: Path) -> bool:
    dice = random.Random(arguments.seed)
    publications, tally = Publications(), Tally()
    began = time.monotonic()
    server = Server(arguments.qyun, network, folder, arguments.serve)
    clients: list[Client] = []
    try:
        server.wait_ready()
        for number in range(arguments.clients):
            channel = CHANNELS[number // LINKS % len(CHANNELS)]
            keeps = Keeps.FEW if channel == "few" else Keeps.DISK if channel == "disk" else Keeps.ALL
            log = Log(f"client {number}", channel, keeps, publications, tally)
            clients.append(Client(arguments.qyun, number, network, folder, log))
        publisher = Publisher(network.driver_host, arguments.rate, publications, tally)
        publisher.start()
        connect(clients)
        chaos = Chaos(network, server, clients, dice)
        chaos.rage(arguments.disconnections, tally)
        publisher.stop()
        chaos.calm()
        server.wait_ready()
        settle(server, clients, tally)
    finally:
        for client in clients:
            client.kill()
        server.stop()
    print(
        f"chaos: {arguments.clients} clients, seed {arguments.seed}, "
        f"{time.monotonic() - began:.0f} s\n"
        f"  disconnections  {chaos.killed + tally.lost}: clients killed {chaos.killed}, connections "
        f"lost {tally.lost} (server killed {chaos.server_kills} times, links cut {chaos.cuts} times)\n"
        f"  published       {publisher.acknowledged} acknowledged\n"
        f"  received        {tally.messages}\n"
        f"  came back       recovered {tally.recovered}, told of a gap {tally.told}\n"
        f"  missing         {tally.missing}\n"
        f"  doubled         {tally.doubled}\n"
        f"  wrong           {tally.wrong}"
    )
    for fault in tally.faults[:20]:
        print(f"  {fault}")
    enough = tally.recovered > 0 and tally.told > 0 and tally.messages > 0
    if not enough:
        print("  nothing was shown: something to recover, to tell and to receive is needed")
    print("chaos: passed" if tally.good and enough else "chaos: FAILED")
    return tally.good and enough


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--qyun", required=True, help="the qyun command")
    parser.add_argument(
        "--disconnections", type=int, default=int(os.environ.get("CHAOS") or 200),
        help="how many; by default the environment's CHAOS, or 200",
    )
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200.0, help="messages per second")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--keep", action="store_true", help="keep the logs")
    parser.add_argument("--serve", nargs="*", default=[], help="more arguments of qyun serve")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="qyun-chaos-"))
    kept = True
    try:
        network = Network(LINKS)
        try:
            passed = run(arguments, network, folder)
        finally:
            network.close()
        kept = arguments.keep or not passed
        return 0 if passed else 1
    except NotPermitted as why:
        print(f"chaos: skipped, no network namespaces here: {why}")
        kept = False
        return 0
    finally:
        if kept:
            print(f"logs: {folder}")
        else:
            shutil.rmtree(folder)


sys.exit(main())
