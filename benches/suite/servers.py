"""The servers: how each is started, and what the load generator has to say to it.

All are given one core and their documented settings for speed; none keeps messages, logs requests or
compresses.
"""

import json
import os
import re
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .paths import DEBIAN, LIMIT, NAIVE, NODE_MODULES, OUT, PEERS, QYUN, SERVER_CORE, VENV, pinned

PATIENCE = 20


class Down(Exception):
    """A server that does not start."""


@dataclass(frozen=True)
class Server:
    """A server. `command` gets a free port and a folder of its own; one that prints its address as
    JSON takes a port itself."""
    name: str
    what: str
    command: object
    version: object
    tells: bool = True
    load: tuple = ()
    # What else goes to its command line, unless a run says otherwise.
    more: tuple = ()
    environment: dict = field(default_factory=dict)
    # The process that serves is a child of the one that is started.
    forks: bool = False
    # Cases it cannot take part in, and why.
    cannot: dict = field(default_factory=dict)


def first_line(*command, pattern=r"\d+\.\S+", environment=None):
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False,
                         env={**os.environ, **(environment or {})})
    found = re.search(pattern, ran.stdout + ran.stderr)
    return found[0] if found else "?"


def pip_version(*packages):
    def read():
        code = f"import importlib.metadata as m; print(*[p + ' ' + m.version(p) for p in {packages}], sep=', ')"
        return first_line(VENV / "bin" / "python", "-c", code, pattern=".+")
    return read


def npm_version(package):
    return lambda: json.loads((NODE_MODULES / package / "package.json").read_text())["version"]


def commit():
    ran = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PEERS, capture_output=True, text=True,
                         check=False)
    return ran.stdout.strip()


def filled(template, **values):
    def command(port, folder):
        text = template.read_text()
        for key, value in {"PORT": port, "PREFIX": folder, **values}.items():
            text = text.replace(f"@{key}@", str(value))
        path = folder / template.name
        path.write_text(text)
        return path
    return command


NGINX_CONF = filled(PEERS / "nchan" / "nginx.conf", MODULES=DEBIAN / "usr/lib/nginx/modules")
MOSQUITTO_CONF = filled(PEERS / "mosquitto" / "mosquitto.conf")
DEBIAN_LIBRARIES = {"LD_LIBRARY_PATH": ":".join(
    str(DEBIAN / folder / f"{os.uname().machine}-linux-gnu") for folder in ("lib", "usr/lib"))}
NO_ANSWER = {"publish": "its publications are not answered", "handshakes": "it has another handshake"}

SERVERS = {server.name: server for server in [
    Server("limit", "a bare C++ epoll loop that writes the same bytes", lambda port, folder: [LIMIT], commit),
    Server("qyun", "qyun serve", lambda port, folder: [
        QYUN, "serve", "--listen", "127.0.0.1:0", "--json", "--drain", "1s", "--log", "error"],
        commit, more=("--shards", "1")),
    Server("bun", "Bun's WebSocket server (uWebSockets inside)",
           lambda port, folder: [
               NODE_MODULES / ".bin" / "bun", "--max-http-header-size=131072", PEERS / "bun" / "server.ts"], npm_version("bun")),
    Server("nchan", "nchan, a module of nginx",
           lambda port, folder: [DEBIAN / "usr/sbin/nginx", "-p", folder, "-c", NGINX_CONF(port, folder)],
           lambda: debian_version("libnginx-mod-nchan") + ", nginx " + debian_version("nginx"),
           tells=False, load=("--publish", "post"), forks=True),
    Server("ws", "Node with ws", lambda port, folder: ["node", OUT / "node" / "server.mjs"],
           lambda: npm_version("ws")() + ", Node " + first_line("node", "--version")),
    Server("naive", "axum and tokio's broadcast channel", lambda port, folder: [NAIVE], commit),
    Server("fastapi", "FastAPI on uvicorn, uvloop and httptools",
           lambda port, folder: [VENV / "bin" / "python", PEERS / "fastapi" / "server.py"],
           pip_version("fastapi", "uvicorn", "uvloop", "httptools", "websockets")),
    Server("nats", "nats-server, over its own protocol",
           lambda port, folder: [DEBIAN / "usr/sbin/nats-server", "-a", "127.0.0.1", "-p", port],
           lambda: debian_version("nats-server"), tells=False, load=("--dialect", "nats"), cannot=NO_ANSWER),
    Server("mosquitto", "mosquitto, over MQTT with quality of service 0",
           lambda port, folder: [DEBIAN / "usr/sbin/mosquitto", "-c", MOSQUITTO_CONF(port, folder)],
           lambda: debian_version("mosquitto"), tells=False, load=("--dialect", "mqtt"),
           environment=DEBIAN_LIBRARIES, cannot=NO_ANSWER),
]}


def debian_version(package):
    found = list((DEBIAN.parent).glob(f"{package}_*.deb"))
    return found[0].name.split("_")[1].replace("%3a", ":") if found else "?"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def child_of(pid):
    """The process that `pid` has started, once it has."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        if children := path.read_text().split():
            return int(children[0])
        time.sleep(0.01)
    raise Down(f"process {pid} starts no other")


def wait_for(port, process):
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.02)
    raise Down("it does not listen")


@contextmanager
def running(name, *more, core=SERVER_CORE):
    """Runs a server on a core, or on all for `None`; gives (address, pid). `more` stands for the server's own."""
    server = SERVERS[name]
    with tempfile.TemporaryDirectory(prefix="qyun-bench-") as folder:
        port = 0 if server.tells else free_port()
        if name == "ws":
            # Node finds modules beside the file only.
            source = (PEERS / "node-ws" / "server.mjs").read_text()
            (OUT / "node" / "server.mjs").write_text(source)
        command = [*server.command(port, Path(folder)), *(more or server.more)]
        words = ([] if core is None else pinned(core)) + [str(word) for word in command]
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL if not server.tells else None,
                              env={**os.environ, **server.environment}) as process:
            try:
                if server.tells:
                    told = process.stdout.readline()
                    if not told:
                        raise Down(f"'{name}' did not start")
                    address = json.loads(told)["address"]
                else:
                    wait_for(port, process)
                    address = f"127.0.0.1:{port}"
                yield address, child_of(process.pid) if server.forks else process.pid
            finally:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
