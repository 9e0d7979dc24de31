"""Judges what clients have written: gapless and in order, or told so; nothing doubled."""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import Any, Iterable

Position = tuple[int, int]


@dataclasses.dataclass
class Tally:
    """What the logs of all clients say."""

    messages: int = 0
    #: Connections that were lost and were noticed by the client itself.
    lost: int = 0
    #: Starts that continued from a position, and missed nothing.
    recovered: int = 0
    #: Starts that were told that something is missing, and where it goes on.
    told: int = 0
    #: Messages that are missing without a word.
    missing: int = 0
    #: Messages that came again.
    doubled: int = 0
    #: Messages that are not those that were published there.
    wrong: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.missing or self.doubled or self.wrong or self.faults)


class Keeps(enum.IntEnum):
    """What a channel keeps."""

    #: Not all: who was away may have missed something.
    FEW = 1
    #: Everything while the server lives: within an epoch there is nothing that cannot be had.
    ALL = 2
    #: Everything, on disk: there is nothing at all that cannot be had.
    DISK = 3


class Publications:
    """What stands at each place of each channel: as published, or as first seen."""

    def __init__(self) -> None:
        self._data: dict[tuple[str, int, int], str] = {}

    def agree(self, channel: str, at: Position, data: str) -> bool:
        """Whether everybody says the same of this place."""
        return self._data.setdefault((channel, *at), data) == data


class Log:
    """One client's log, judged row by row, across the client's restarts."""

    def __init__(
        self, name: str, channel: str, keeps: Keeps, publications: Publications, tally: Tally
    ) -> None:
        self.name = name
        self.channel = channel
        self._keeps = keeps
        #: Behind the last message, or where it was told to go on.
        self.position: Position | None = None
        #: Whether it is connected, as far as its log says.
        self.connected = False
        self._serial = 0
        self._publications = publications
        self._tally = tally

    def read(self, lines: Iterable[str]) -> None:
        """Judges more of it."""
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            event = row.get("event")
            if event is None:
                self._message((row["epoch"], row["offset"]), row["data"])
            elif event == "connected":
                self._connected((row["epoch"], row["offset"]), row["recovered"])
            elif event == "error":
                self._tally.lost += "lost the connection" in row["text"]
                self.connected = False
            else:
                self._fault(f"ended: {row}")

    def _connected(self, at: Position, recovered: bool | None) -> None:
        self.connected = True
        if self.position is None:
            if recovered is not None:
                self._fault(f"recovered={recovered} at its first start")
        elif recovered:
            self._tally.recovered += 1
            if at != self.position:
                self._fault(f"recovered at {at}, not at {self.position}")
        elif recovered is None:
            self._fault(f"comes back at {at} without a word whether it missed something")
        else:
            self._tally.told += 1
            if self._keeps >= (Keeps.ALL if at[0] == self.position[0] else Keeps.DISK):
                self._fault(f"told to go on at {at}, behind {self.position}, although all is kept")
            if at[0] == self.position[0] and at[1] <= self.position[1]:
                self._fault(f"told to go on at {at}, behind {self.position}, as if missed")
        self.position = at

    def _message(self, at: Position, data: str) -> None:
        self._tally.messages += 1
        if self.position is None:
            return self._fault(f"a message at {at} before it was connected")
        epoch, last = self.position
        if at[0] != epoch:
            self._fault(f"epoch {at[0]} follows {epoch} without a word")
        elif at[1] <= last:
            self._tally.doubled += 1
            self._fault(f"{at} comes again behind {last}")
        elif at[1] != last + 1:
            self._tally.missing += at[1] - last - 1
            self._fault(f"{at} follows {last}")
        self.position = at
        # The publisher's numbers grow, across epochs too.
        channel, _, serial = data.partition(":")
        if channel != self.channel or not self._publications.agree(channel, at, data):
            self._tally.wrong += 1
            self._fault(f"{data!r} at {at}")
        elif int(serial) <= self._serial:
            self._tally.doubled += 1
            self._fault(f"number {serial} comes behind {self._serial}")
        else:
            self._serial = int(serial)

    def _fault(self, text: str) -> None:
        if len(self._tally.faults) < 100:
            self._tally.faults.append(f"{self.name} ({self.channel}): {text}")
