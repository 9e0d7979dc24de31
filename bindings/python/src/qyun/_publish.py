"""Publishing once, with counts, and many at a time."""

from __future__ import annotations

import ctypes
from typing import Any, Callable, Iterable, NamedTuple, Optional, Union

from . import _native
from ._errors import BY_CODE, Error, InvalidArgument, InvalidName
from ._handle import Payload, payload
from ._native import OK, check, name_of, utf8
from ._types import Position


#: What a C function publishes to: a handle, or a host.
_Where = Union[ctypes.c_void_p, bytes]

#: Room for the text of a message that failed; longer ones are cut.
_TEXT = 512


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
    """A message of ``publish_many`` or :func:`send_many`, as ``publish_with`` takes it."""

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

    def item(self, error: int) -> _native.PublishItem:
        """For a batch; the text of its failure goes to the address `error`."""
        return _native.PublishItem(
            struct_size=ctypes.sizeof(_native.PublishItem),
            channel=self.channel,
            data=self.data,
            len=self.len,
            options=ctypes.pointer(self.options),
            kind=self.kind,
            error=error,
            error_cap=_TEXT,
        )


def _published(raw: Any) -> Published:
    counts = DeliveryCounts(raw.reached, raw.queued, raw.dropped) if raw.has_counts else None
    at = Position(raw.epoch, raw.offset)
    return Published(at, raw.subscribers, bool(raw.duplicate), counts)


def publish(call: Callable[..., int], to: _Where, message: Outgoing) -> Published:
    """Publishes one message by the C function `call`."""
    made = _Native(message)
    raw = _native.PublishResult(struct_size=ctypes.sizeof(_native.PublishResult))
    check(
        call(
            to,
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
    call: Callable[..., int], to: _Where, messages: Iterable[Outgoing]
) -> list[Union[Published, Error]]:
    """Publishes a batch by the C function `call`."""
    made = [_Native(message) for message in messages]
    texts = ctypes.create_string_buffer(max(1, len(made) * _TEXT))
    start = ctypes.addressof(texts)
    items = (_native.PublishItem * len(made))(
        *(one.item(start + at * _TEXT) for at, one in enumerate(made))
    )
    results = (_native.PublishResult * len(made))()
    if made:
        results[0].struct_size = ctypes.sizeof(_native.PublishResult)
    check(call(to, items, len(made), results))

    def told(at: int, raw: Any) -> Union[Published, Error]:
        if raw.status == OK:
            return _published(raw)
        text = ctypes.string_at(start + at * _TEXT).decode("utf-8", "replace")
        return BY_CODE.get(raw.status, Error)(text, raw.status)

    return [told(at, raw) for at, raw in enumerate(results)]
