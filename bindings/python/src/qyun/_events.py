"""Reads the library's event structs into messages and notices."""

from __future__ import annotations

import ctypes
import struct
from typing import Callable, Iterable

from ._native import EVENT_MESSAGE, Event, bytes_at, lib
from ._types import EventType, Kind, Message, Notice, Position

NoticeCallback = Callable[[Notice], object]
MessageCallback = Callable[[Message], object]

# struct_size, event, kind, channel, channel_len, data, len, epoch, offset, recovered
_ROW = struct.Struct("@NiiPNPNQQi0Q")
assert _ROW.size == ctypes.sizeof(Event)

_KINDS = {int(kind): kind for kind in Kind}


def notice(
    event: int,
    channel: str,
    data: bytes,
    position: Position = Position(0, 0),
    recovered: int = -1,
) -> Notice:
    """What an event that is no message tells."""
    told = None if recovered < 0 else bool(recovered)
    return Notice(EventType(event), channel, data.decode("utf-8", "replace"), position, told)


def read_batch(batch: ctypes.c_void_p, channel: str, on_notice: NoticeCallback) -> list[Message]:
    """The messages of a batch; its other events go to `on_notice`, in their place.

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
    for _, event, kind, _, _, data, size, epoch, offset, recovered in rows:
        if event == EVENT_MESSAGE:
            messages.append(Message(channel, read(data, size), kinds[kind], epoch, offset))
        else:
            at = Position(epoch, offset)
            on_notice(notice(event, channel, read(data, size), at, recovered))
    return messages


def deliver(
    address: int,
    channel: str,
    on_message: MessageCallback,
    on_notice: NoticeCallback,
) -> None:
    """Hands the one event at `address` to a callback."""
    row = _ROW.unpack(bytes_at(address, _ROW.size))
    _, event, kind, _, _, data, size, epoch, offset, recovered = row
    payload = bytes_at(data, size)
    if event == EVENT_MESSAGE:
        on_message(Message(channel, payload, _KINDS[kind], epoch, offset))
    else:
        on_notice(notice(event, channel, payload, Position(epoch, offset), recovered))
