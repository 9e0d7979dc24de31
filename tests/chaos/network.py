"""Network namespaces: a server on one side, clients behind links that can be cut on the other."""

from __future__ import annotations

import os
import subprocess


class NotPermitted(Exception):
    """Namespaces cannot be made here."""


def ip(*words: str) -> None:
    """Runs `ip`; NotPermitted when it is not there or may not."""
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise NotPermitted("there is no `ip` here: install iproute2") from None
    except subprocess.CalledProcessError as error:
        raise NotPermitted(f"ip {' '.join(words)}: {error.stderr.strip()}") from None


class Network:
    """The server's namespace, and one namespace per link. The driver has a link of its own, which is
    never cut. Everything goes when it is closed."""

    def __init__(self, links: int) -> None:
        self._names: list[str] = []
        self._mark = f"qy{os.getpid()}"
        self.server = f"{self._mark}-server"
        try:
            self._add(self.server)
            self.driver_host = self._link(0, None)
            self.hosts = []
            for number in range(1, links + 1):
                self._add(self.client(number - 1))
                self.hosts.append(self._link(number, self.client(number - 1)))
        except BaseException:
            self.close()
            raise

    def client(self, link: int) -> str:
        """The namespace behind a link."""
        return f"{self._mark}-client{link}"

    def _add(self, name: str) -> None:
        ip("netns", "add", name)
        self._names.append(name)
        ip("-n", name, "link", "set", "lo", "up")

    def _link(self, number: int, other: str | None) -> str:
        """A pair of devices from the server to `other`; the server's address on it."""
        here, there = f"{self._mark}s{number}", f"{self._mark}c{number}"
        ip("link", "add", here, "type", "veth", "peer", "name", there)
        ip("link", "set", here, "netns", self.server)
        address = f"10.213.{number}.1"
        ip("-n", self.server, "address", "add", f"{address}/30", "dev", here)
        ip("-n", self.server, "link", "set", here, "up")
        where = []
        if other is not None:
            ip("link", "set", there, "netns", other)
            where = ["-n", other]
        ip(*where, "address", "add", f"10.213.{number}.2/30", "dev", there)
        ip(*where, "link", "set", there, "up")
        return address

    def cut(self, link: int) -> None:
        """Nothing passes the link any longer."""
        ip("-n", self.server, "link", "set", f"{self._mark}s{link + 1}", "down")

    def mend(self, link: int) -> None:
        """It does again."""
        ip("-n", self.server, "link", "set", f"{self._mark}s{link + 1}", "up")

    def close(self) -> None:
        """Removes everything. Devices go with their namespaces."""
        while self._names:
            subprocess.run(["ip", "netns", "delete", self._names.pop()], capture_output=True)
