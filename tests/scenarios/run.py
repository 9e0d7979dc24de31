"""Runs scenario files through the Python package; see README.md beside this."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Callable, Union
from urllib.parse import quote, unquote_to_bytes

import qyun
from qyun._native import lib

PATIENCE = 10.0


def decode(word: str) -> bytes:
    if word == "-":
        return b""
    if word.startswith("*"):
        return b"x" * int(word[1:])
    return unquote_to_bytes(word)


def encode(data: bytes) -> str:
    if len(data) > 64 and not data.strip(b"x"):
        return f"*{len(data)}"
    return quote(data, safe="") or "-"


def name(word: str) -> str:
    return decode(word).decode()


class Scenario:
    """The objects that the steps name."""

    def __init__(self) -> None:
        self.servers: dict[str, qyun.Server] = {}
        self.clients: dict[str, qyun.Client] = {}
        self.subscriptions: dict[str, qyun.Subscription] = {}

    def answer(self, step: list[str]) -> str:
        try:
            act: Callable[..., str] = getattr(self, f"do_{step[0]}")
            return act(*step[1:])
        except qyun.Error as error:
            status: bytes = lib.qy_status_name(error.code)
            return status.decode()

    def who(self, word: str) -> Union[qyun.Server, qyun.Client]:
        return self.servers[word] if word in self.servers else self.clients[word]

    def do_server(self, label: str, *options: str) -> str:
        chosen = dict(option.split("=", 1) for option in options)
        self.servers[label] = qyun.Server(**{"listen": "127.0.0.1:0", **chosen})
        return "ok"

    def do_client(self, label: str, server: str, *options: str) -> str:
        chosen = dict(option.split("=", 1) for option in options)
        self.clients[label] = qyun.Client(self.servers[server].address, **chosen)
        return "ok"

    def do_create(self, who: str, channel: str) -> str:
        if who.startswith("@"):
            qyun.create_channel(self.servers[who[1:]].address, name(channel))
        else:
            self.who(who).create_channel(name(channel))
        return "ok"

    def do_delete(self, who: str, channel: str) -> str:
        self.who(who).delete_channel(name(channel))
        return "ok"

    def do_publish(self, who: str, channel: str, kind: str, data: str) -> str:
        payload = decode(data)
        if who.startswith("@"):
            address = self.servers[who[1:]].address
            qyun.send_message(address, name(channel), payload.decode())
        elif kind == "binary":
            self.who(who).publish(name(channel), payload)
        else:
            self.who(who).publish(name(channel), payload.decode("utf-8", "surrogateescape"))
        return "ok"

    def do_subscribe(self, label: str, client: str, channel: str) -> str:
        self.subscriptions[label] = self.clients[client].subscribe(name(channel))
        return "ok"

    def do_recv(self, label: str) -> str:
        return self.received(label, PATIENCE)

    def do_poll(self, label: str) -> str:
        return self.received(label, 0)

    def received(self, label: str, timeout: float) -> str:
        for message in self.subscriptions[label].recv_many(1, timeout):
            return f"{message.kind.name.lower()} {encode(message.data)}"
        return "none"

    def do_channels(self, server: str) -> str:
        names = sorted(info.name.encode() for info in self.servers[server].channels())
        return " ".join(map(encode, names)) or "-"

    def do_info(self, server: str, channel: str) -> str:
        info = self.servers[server].channel(name(channel))
        return f"subscribers={info.subscribers} offset={info.offset}"

    def do_close(self, label: str) -> str:
        if label in self.subscriptions:
            self.subscriptions[label].close()
        else:
            self.clients[label].close()
        return "ok"

    def do_stop(self, server: str) -> str:
        return "ok" if self.servers[server].stop(PATIENCE) else "cut"


def transcript(expected: list[str]) -> list[str]:
    scenario = Scenario()
    lines = []
    for line in expected:
        step, arrow, _ = line.partition(" => ")
        lines.append(f"{step} => {scenario.answer(step.split())}" if arrow else line)
    return lines


def main(files: list[str]) -> int:
    bad = not files
    for file in files:
        expected = Path(file).read_text(encoding="utf-8").splitlines()
        got = transcript(expected)
        print(*got, sep="\n")
        if got != expected:
            bad = True
            diff = difflib.unified_diff(expected, got, file, "this run", n=0, lineterm="")
            print(*diff, sep="\n", file=sys.stderr)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
