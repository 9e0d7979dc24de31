"""The values that pass between the library and the program."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Kind(enum.IntEnum):
    """What a message's payload is."""

    TEXT = 1
    BINARY = 2


class EventType(enum.IntEnum):
    """What a :class:`Notice` tells."""

    #: The subscription is live, for the first time or again after a reconnection.
    CONNECTED = 1
    #: The last event of a subscription.
    CLOSED = 3
    #: The connection was lost, or an attempt to restore it failed; it is tried again.
    ERROR = 4
    #: Somebody came to the channel, or was there when the subscription began.
    JOIN = 8
    #: Somebody went.
    LEAVE = 9


class Attendee(NamedTuple):
    """Who came to a channel, or went."""

    #: The connection's id.
    id: str
    #: The user that the server's program bound it to.
    user: str | None
    #: Of a join: the user had no other connection there. Of a leave: none is left. True without a user.
    edge: bool
    #: When, in milliseconds since the Unix epoch: of one that was there before, when it connected;
    #: 0 of one that went while the client was not connected.
    time_ms: int


class Position(NamedTuple):
    """A place in a channel; zeros where it is not known."""

    epoch: int
    offset: int


class Message:
    """A message of a channel."""

    __slots__ = ("channel", "data", "kind", "epoch", "offset")

    def __init__(self, channel: str, data: bytes, kind: Kind, epoch: int, offset: int) -> None:
        #: The channel's name.
        self.channel = channel
        #: The payload.
        self.data = data
        #: Whether the payload is text or bytes.
        self.kind = kind
        #: With `offset` the message's place in the channel; zeros where it is not known.
        self.epoch = epoch
        #: Counts up by one per message of the channel within an epoch.
        self.offset = offset

    @property
    def position(self) -> Position:
        """Where the message stands in the channel: what a later subscription continues from."""
        return Position(self.epoch, self.offset)

    @property
    def text(self) -> str:
        """The payload as text. A binary message may not be UTF-8: UnicodeDecodeError."""
        return self.data.decode()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.channel, self.data, self.epoch, self.offset))

    def __repr__(self) -> str:
        data = self.data if len(self.data) <= 60 else self.data[:57] + b"..."
        return (
            f"Message(channel={self.channel!r}, data={data!r}, kind={self.kind.name}, "
            f"epoch={self.epoch}, offset={self.offset})"
        )


class Notice(NamedTuple):
    """What a subscription tells besides messages."""

    type: EventType
    channel: str
    #: Why, for CLOSED and ERROR.
    text: str
    #: For CONNECTED: the messages that follow begin behind it.
    position: Position = Position(0, 0)
    #: For CONNECTED, when the subscription continues from a position, after a reconnection or with
    #: ``since``: whether nothing was missed. None otherwise.
    recovered: bool | None = None
    #: For JOIN and LEAVE: who.
    attendee: Attendee | None = None


class ChannelInfo(NamedTuple):
    """A channel as a server sees it."""

    name: str
    subscribers: int
    epoch: int
    #: Of the newest message.
    offset: int
    #: Milliseconds since the Unix epoch.
    created_ms: int
    #: Subscribers that are connections with a name.
    members: int


class Dialect(enum.IntEnum):
    """What a connection speaks."""

    SESSION = 1
    PACKET = 2
    GATEWAY = 3
    #: The program handles its messages.
    HOST = 4
    STREAM = 5


class EndedBy(enum.IntEnum):
    """Who ended a connection."""

    #: The client, with a Close, or by vanishing (1006).
    CLIENT = 1
    #: The program, or whoever operates the server.
    PROGRAM = 2
    #: The server: a fault of the client, a limit, the end of the endpoint or of the server.
    SERVER = 3


class Closure(NamedTuple):
    """How a connection ended."""

    #: 1005 for a Close without a code, 1006 for a connection without a Close.
    code: int
    reason: str
    by: EndedBy


class ConnectionInfo(NamedTuple):
    """A connection in numbers, at one moment."""

    #: No other connection of the server ever has it, unlike an id.
    serial: int
    dialect: Dialect
    is_open: bool
    #: Milliseconds since the Unix epoch.
    connected_ms: int
    uptime_ms: int
    bytes_in: int
    bytes_out: int
    messages_in: int
    messages_out: int
    #: The number of channels that it is in.
    channels: int


class ServerCounters(NamedTuple):
    """Totals of a server since it started, and what is the case now."""

    connections: int
    connections_total: int
    channels: int
    subscribers: int
    published: int
    delivered: int
    bytes_in: int
    bytes_out: int
    closed_slow: int
    rejected: int
    queued_bytes: int
    compressions: int
    compressed_bytes_in: int
    compressed_bytes_out: int
    inflations: int


class ClientCounters(NamedTuple):
    """Totals of a client since it was opened."""

    received: int
    published: int
    dropped: int
    reconnects: int


class ClientState(enum.IntEnum):
    """Where a client stands."""

    CONNECTING = 1
    CONNECTED = 2
    CLOSED = 3
