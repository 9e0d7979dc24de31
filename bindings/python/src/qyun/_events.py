"""Reads the library's event structs into messages and notices."""

from __future__ import annotations

import ctypes
import struct
from typing import Callable, Iterable

from ._native import EVENT_MESSAGE, Event, bytes_at, lib
from ._types import Attendee, EventType, Kind, Message, Notice, Position

NoticeCallback = Callable[[Notice], object]
MessageCallback = Callable[[Message], object]

# struct_size, event, kind, channel, channel_len, data, len, epoch, offset, recovered, edge, user,
# user_len, time_ms
_ROW = struct.Struct("@NiiPNPNQQiiPNQ")
assert _ROW.size == ctypes.sizeof(Event)

_KINDS = {int(kind): kind for kind in Kind}


def notice(
    event: int,
    channel: str,
    data: bytes,
    position: Position = Position(0, 0),
    recovered: int = -1,
    attendee: Attendee | None = None,
) -> Notice:
    """What an event that is no message tells."""
    told = None if recovered < 0 else bool(recovered)
    text = data.decode("utf-8", "replace")
    return Notice(EventType(event), channel, text, position, told, attendee)


def _who(
    event: int, data: bytes, edge: int, user: int, user_len: int, time_ms: int
) -> Attendee | None:
    """Who came or went, if somebody did."""
    if event not in (EventType.JOIN, EventType.LEAVE):
        return None
    bound = bytes_at(user, user_len).decode() if user else None
    return Attendee(data.decode(), bound, bool(edge), time_ms)


def read_batch(
    batch: ctypes.c_void_p, channel: str | None, on_notice: NoticeCallback
) -> list[Message]:
    """The messages of a batch; its other events go to `on_notice`, in their place.

    Without `channel` they are those of a pattern, and each says its own.

    One C call and one allocation per message: this is the path that limits messages a second.
    """
    count = lib.qy_batch_count(batch)
    first = lib.qy_batch_events(batch)
    if not count or not first:
        return []
    # A newer library may have a longer struct; its struct_size is the distance to the next.
    stride: int = ctypes.c_size_t.from_address(first).value
    raw = bytes_at(first, count * stride)
    rows: Iterable[tuple[int, ...]]
    if stride == _ROW.size:
        rows = _ROW.iter_unpack(raw)
    else:
        rows = (_ROW.unpack_from(raw, at) for at in range(0, len(raw), stride))
    kinds, read = _KINDS, bytes_at
    messages = []
    for _, event, kind, named, length, data, size, epoch, offset, recovered, *who in rows:
        name = channel if channel is not None else read(named, length).decode()
        if event == EVENT_MESSAGE:
            messages.append(Message(name, read(data, size), kinds[kind], epoch, offset))
        else:
            text, at = read(data, size), Position(epoch, offset)
            on_notice(notice(event, name, text, at, recovered, _who(event, text, *who)))
    return messages


def deliver(
    address: int,
    channel: str | None,
    on_message: MessageCallback,
    on_notice: NoticeCallback,
) -> None:
    """Hands the one event at `address` to a callback."""
    row = _ROW.unpack(bytes_at(address, _ROW.size))
    _, event, kind, named, length, data, size, epoch, offset, recovered, *who = row
    payload = bytes_at(data, size)
    name = channel if channel is not None else bytes_at(named, length).decode()
    if event == EVENT_MESSAGE:
        on_message(Message(name, payload, _KINDS[kind], epoch, offset))
    else:
        at = Position(epoch, offset)
        on_notice(notice(event, name, payload, at, recovered, _who(event, payload, *who)))
