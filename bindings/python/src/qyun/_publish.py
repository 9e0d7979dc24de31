"""Publishing once, with counts, and many at a time."""

from __future__ import annotations

import ctypes
from typing import Any, Iterable, NamedTuple, Optional, Union

from . import _native
from ._errors import BY_CODE, Error, InvalidArgument, InvalidName
from ._handle import Payload, payload
from ._native import OK, check, lib, name_of, utf8
from ._types import Position


class DeliveryCounts(NamedTuple):
    """How many subscribers a message went to."""

    #: Those to whose sockets, or the queues in front of them, it was written.
    reached: int
    #: Of those, how many had to wait for room in their sockets.
    queued: int
    #: Those that do not get it: a policy dropped it, or they were closed as too slow.
    dropped: int


class Published(NamedTuple):
    """What became of a message."""

    position: Position
    #: Of the channel, when the message was published.
    subscribers: int
    #: It was published before, under the same key, and not again now.
    duplicate: bool
    #: ``None`` unless they were asked for.
    counts: Optional[DeliveryCounts]


class Outgoing(NamedTuple):
    """A message of :meth:`Server.publish_many`, as :meth:`Server.publish_with` takes it."""

    channel: str
    data: Payload
    key: Union[str, bytes, None] = None
    conflate: Optional[str] = None
    counts: bool = False


class _Native:
    """A message for C, with what its structs point to."""

    def __init__(self, message: Outgoing) -> None:
        self.channel = name_of(message.channel, "name", InvalidName)
        self.kind, self.data, self.len = payload(message.data)
        self.options = _native.PublishOptions(struct_size=ctypes.sizeof(_native.PublishOptions))
        if message.key is not None:
            key = message.key
            raw = utf8(key, "key") if isinstance(key, str) else bytes(key)
            self.options.key, self.options.key_len = raw, len(raw)
        if message.conflate is not None:
            self.options.conflate = name_of(message.conflate, "conflate", InvalidArgument)
        self.options.counts = int(message.counts)

    def item(self) -> _native.PublishItem:
        return _native.PublishItem(
            struct_size=ctypes.sizeof(_native.PublishItem),
            channel=self.channel,
            data=self.data,
            len=self.len,
            options=ctypes.pointer(self.options),
            kind=self.kind,
        )


def _published(raw: Any) -> Published:
    counts = DeliveryCounts(raw.reached, raw.queued, raw.dropped) if raw.has_counts else None
    at = Position(raw.epoch, raw.offset)
    return Published(at, raw.subscribers, bool(raw.duplicate), counts)


def publish(handle: ctypes.c_void_p, message: Outgoing) -> Published:
    """Publishes one message."""
    made = _Native(message)
    raw = _native.PublishResult(struct_size=ctypes.sizeof(_native.PublishResult))
    check(
        lib.qy_server_publish_with(
            handle,
            made.channel,
            made.kind,
            made.data,
            made.len,
            ctypes.byref(made.options),
            ctypes.byref(raw),
        )
    )
    return _published(raw)


def publish_many(
    handle: ctypes.c_void_p, messages: Iterable[Outgoing]
) -> list[Union[Published, Error]]:
    """Publishes a batch."""
    made = [_Native(message) for message in messages]
    items = (_native.PublishItem * len(made))(*(one.item() for one in made))
    results = (_native.PublishResult * len(made))()
    if made:
        results[0].struct_size = ctypes.sizeof(_native.PublishResult)
    check(lib.qy_server_publish_batch(handle, items, len(made), results))
    return [_published(raw) if raw.status == OK else _failure(raw.status) for raw in results]


def _failure(status: int) -> Error:
    text = lib.qy_status_text(status).decode("utf-8", "replace")
    return BY_CODE.get(status, Error)(text, status)
