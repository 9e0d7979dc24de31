"""Who is in a channel."""

from __future__ import annotations

import ctypes
import struct
from typing import Callable, Iterator, NamedTuple

from . import _native
from ._errors import InvalidName
from ._native import bytes_at, check, lib, name_of

# struct_size, id, id_len, user, user_len, connected_ms
_ROW = struct.Struct("@NPNPNQ")
assert _ROW.size == ctypes.sizeof(_native.Present)


class Present(NamedTuple):
    """One who is in a channel."""

    #: The connection's id.
    id: str
    #: The user that the server's program bound it to.
    user: str | None
    #: When it connected, in milliseconds since the Unix epoch.
    connected_ms: int


class Presence(NamedTuple):
    """Who is in a channel, in part."""

    #: By id.
    members: list[Present]
    #: How many there are in all.
    total: int
    #: Subscribers without a name.
    anonymous: int
    #: Whether there are more behind the last of `members`.
    more: bool


def read(
    function: Callable[..., int],
    handle: ctypes.c_void_p,
    channel: str,
    after: str | None,
    limit: int,
) -> Presence:
    """A part, by a C function that reads one."""
    if not 1 <= limit < 1 << 32:
        raise ValueError(f"limit is 1 to 1,000, not {limit}")
    page = ctypes.c_void_p()
    name = name_of(channel, "name", InvalidName)
    behind = None if after is None else name_of(after, "after", InvalidName)
    check(function(handle, name, behind, limit, ctypes.byref(page)))
    try:
        info = _native.PresenceInfo(struct_size=ctypes.sizeof(_native.PresenceInfo))
        check(lib.qy_presence_info_get(page, ctypes.byref(info)))
        return Presence(list(_rows(page)), info.count, info.anonymous, bool(info.more))
    finally:
        lib.qy_presence_free(page)


def _rows(page: ctypes.c_void_p) -> Iterator[Present]:
    count = lib.qy_presence_count(page)
    first = lib.qy_presence_members(page)
    if not count or not first:
        return
    # A newer library may have a longer struct; its struct_size is the distance to the next.
    stride: int = ctypes.c_size_t.from_address(first).value
    for index in range(count):
        row = _ROW.unpack(bytes_at(first + index * stride, _ROW.size))
        _, own, own_len, user, user_len, connected_ms = row
        bound = bytes_at(user, user_len).decode() if user else None
        yield Present(bytes_at(own, own_len).decode(), bound, connected_ms)
