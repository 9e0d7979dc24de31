"""A connection of a server."""

from __future__ import annotations

import ctypes
from typing import Any, Callable

from . import _native
from ._native import check, lib
from ._packet import PacketConnection


class Connection(PacketConnection):
    """A client that has a name at a server. It may be kept, and used from any thread; when the client
    is gone, what is sent raises :class:`Closed`."""

    def __init__(self, borrowed: int) -> None:
        self._handle = ctypes.c_void_p()
        check(lib.qy_connection_clone(borrowed, ctypes.byref(self._handle)))

    # Not a finalizer: a handler makes one of these for each call.
    def __del__(self, _free: Callable[[Any], object] = lib.qy_connection_free) -> None:
        _free(self._handle)

    @property
    def id(self) -> str:
        """What it is called."""
        return _native.text_of(lib.qy_connection_id, self._handle)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Connection) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<qyun.Connection {self.id}>"
