"""What a channel has kept."""

from __future__ import annotations

import ctypes
import struct
from typing import Callable, Iterator, NamedTuple

from . import _native
from ._errors import InvalidName
from ._native import bytes_at, check, lib, name_of
from ._types import Kind, Position

# struct_size, offset, time_ms, data, len, kind
_ROW = struct.Struct("@NQQPNi0Q")
assert _ROW.size == ctypes.sizeof(_native.Publication)


class Publication(NamedTuple):
    """A message that was kept."""

    data: bytes
    kind: Kind
    position: Position
    #: When it was published, in milliseconds since the Unix epoch.
    time_ms: int

    @property
    def text(self) -> str:
        """The payload as text. A binary message may not be UTF-8: UnicodeDecodeError."""
        return self.data.decode()


class History(NamedTuple):
    """A page of a channel's history."""

    #: Where the channel stood: its last publication.
    position: Position
    #: The oldest offset that is kept; the one behind the last if none is.
    first: int
    #: Whether there is more of what was asked for.
    more: bool
    #: In the order that was asked for.
    publications: list[Publication]


def _optional(value: int | None, what: str) -> int:
    if value is None:
        return 0
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{what} is an offset from 0 to 2**64 - 1, not {value}")
    return value


def read(
    function: Callable[..., int],
    handle: ctypes.c_void_p,
    channel: str,
    after: int | None,
    before: int | None,
    limit: int,
    reverse: bool,
) -> History:
    """One page, by a C function that reads one."""
    if not 1 <= limit < 1 << 32:
        raise ValueError(f"limit is 1 to 1,000, not {limit}")
    if before == 0:  # which the library takes for no bound
        before, after = 1, 1
    asked = _native.HistoryRange(
        struct_size=ctypes.sizeof(_native.HistoryRange),
        after=_optional(after, "after"),
        before=_optional(before, "before"),
        limit=limit,
        backward=int(reverse),
    )
    page = ctypes.c_void_p()
    name = name_of(channel, "name", InvalidName)
    check(function(handle, name, ctypes.byref(asked), ctypes.byref(page)))
    try:
        info = _native.HistoryInfo(struct_size=ctypes.sizeof(_native.HistoryInfo))
        check(lib.qy_history_info_get(page, ctypes.byref(info)))
        rows = list(_rows(page, info.epoch))
        at = Position(info.epoch, info.offset)
        return History(at, info.first, bool(info.more), rows)
    finally:
        lib.qy_history_free(page)


def _rows(page: ctypes.c_void_p, epoch: int) -> Iterator[Publication]:
    count = lib.qy_history_count(page)
    first = lib.qy_history_publications(page)
    if not count or not first:
        return
    # A newer library may have a longer struct; its struct_size is the distance to the next.
    stride: int = ctypes.c_size_t.from_address(first).value
    for index in range(count):
        row = _ROW.unpack(bytes_at(first + index * stride, _ROW.size))
        _, offset, time_ms, data, size, kind = row
        at = Position(epoch, offset)
        yield Publication(bytes_at(data, size), Kind(kind), at, time_ms)
