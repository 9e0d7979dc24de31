"""A connection of a server."""

from __future__ import annotations

import ctypes
import json
from typing import Any, Callable

from . import _native
from ._errors import ChannelNotFound, InvalidArgument, InvalidName, NotFound
from ._handle import Payload, payload
from ._native import OK, bytes_at, check, lib, name_of, utf8
from ._packet import PacketConnection
from ._types import ConnectionInfo, Dialect


def headers_of(function: Any, handle: int | ctypes.c_void_p) -> list[tuple[str, str]]:
    """The header fields that a C function shows; what is not UTF-8 in them is replaced."""
    found: list[tuple[str, str]] = []

    def visit(name: int, name_len: int, value: int, value_len: int, _user_data: int) -> None:
        texts = (bytes_at(name, name_len), bytes_at(value, value_len))
        found.append((texts[0].decode("utf-8", "replace"), texts[1].decode("utf-8", "replace")))

    check(function(handle, _native.HEADER_VISITOR(visit), None))
    return found


def first_header(fields: list[tuple[str, str]], name: str) -> str | None:
    """The first field of this name, whatever its case."""
    return next((value for other, value in fields if other.lower() == name.lower()), None)


class Connection(PacketConnection):
    """A client that has a name at a server. It may be kept, and used from any thread; when the client
    is gone, what is sent raises :class:`Closed`."""

    def __init__(self, borrowed: int) -> None:
        self._handle = ctypes.c_void_p()
        check(lib.qy_connection_clone(borrowed, ctypes.byref(self._handle)))

    @classmethod
    def _own(cls, handle: ctypes.c_void_p) -> Connection:
        made = cls.__new__(cls)
        made._handle = handle
        return made

    # Not a finalizer: a handler makes one of these for each call.
    def __del__(self, _free: Callable[[Any], object] = lib.qy_connection_free) -> None:
        _free(self._handle)

    @property
    def id(self) -> str:
        """What it is called."""
        return _native.text_of(lib.qy_connection_id, self._handle)

    @property
    def remote(self) -> str:
        """``HOST:PORT`` of the client."""
        return _native.text_of(lib.qy_connection_remote, self._handle)

    @property
    def path(self) -> str:
        """The path that it came to, without the query."""
        return _native.text_of(lib.qy_connection_path, self._handle)

    @property
    def query(self) -> str:
        """What followed the ``?``, percent-encoded."""
        return _native.text_of(lib.qy_connection_query, self._handle)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header fields of the request that it came with."""
        return headers_of(lib.qy_connection_list_headers, self._handle)

    def header(self, name: str) -> str | None:
        """The first header field of this name, whatever its case."""
        return first_header(self.headers, name)

    @property
    def user_agent(self) -> str | None:
        """What the client says it is."""
        return self.header("user-agent")

    @property
    def info(self) -> ConnectionInfo:
        """Its numbers now."""
        raw = _native.ConnectionInfo(struct_size=ctypes.sizeof(_native.ConnectionInfo))
        check(lib.qy_connection_info_get(self._handle, ctypes.byref(raw)))
        values = {name: getattr(raw, name) for name in ConnectionInfo._fields}
        return ConnectionInfo(
            **{**values, "dialect": Dialect(raw.dialect), "is_open": bool(raw.is_open)}
        )

    @property
    def is_open(self) -> bool:
        """Whether it can be sent to."""
        is_open = ctypes.c_int32()
        check(lib.qy_connection_is_open(self._handle, ctypes.byref(is_open)))
        return bool(is_open.value)

    def send(self, data: Payload) -> None:
        """Sends one message: str as text, bytes as binary."""
        check(lib.qy_connection_send(self._handle, *payload(data)))

    def send_json(self, value: Any) -> None:
        """Sends anything that :mod:`json` takes, as text."""
        self.send(json.dumps(value, ensure_ascii=False, allow_nan=False))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes it behind what was sent. Harmless when it is closed."""
        check(lib.qy_connection_close(self._handle, *_closing(code, reason)))

    @property
    def user(self) -> str | None:
        """The user it is bound to or, in a disconnect handler, was bound to."""
        needed = ctypes.c_size_t()
        status = lib.qy_connection_user(self._handle, None, 0, ctypes.byref(needed))
        if status not in (OK, _native.ERR_BUFFER_TOO_SMALL):
            if status == _native.ERR_NOT_FOUND:
                return None
            raise _native.error(status)
        return _native.text_of(lib.qy_connection_user, self._handle) or None

    def bind(self, user: str) -> None:
        """Binds it to a user; one that is bound is moved."""
        check(lib.qy_connection_bind(self._handle, name_of(user, "user", InvalidArgument)))

    def unbind(self) -> bool:
        """Unbinds it from its user; False if there was none."""
        return _found(lib.qy_connection_unbind(self._handle))

    def join(self, channel: str, create: bool = True) -> None:
        """Makes it a member of a channel. With `create`, one that is not there is made for its
        members and goes with the last of them; otherwise :class:`ChannelNotFound`."""
        name = name_of(channel, "channel", InvalidName)
        check(lib.qy_connection_join(self._handle, name, int(create)))

    def leave(self, channel: str) -> bool:
        """Ends a membership; False if there was none."""
        name = name_of(channel, "channel", InvalidName)
        try:
            return _found(lib.qy_connection_leave(self._handle, name))
        except ChannelNotFound:
            return False

    @property
    def channels(self) -> list[str]:
        """The channels that it is in or, in a disconnect handler, was in."""
        found: list[str] = []

        def visit(name: int, size: int, _user_data: int) -> None:
            found.append(bytes_at(name, size).decode("utf-8", "replace"))

        check(lib.qy_connection_list_channels(self._handle, _native.NAME_VISITOR(visit), None))
        return found

    def set(self, key: str, value: Payload) -> None:
        """Keeps bytes, or a str as UTF-8, with the connection."""
        raw = utf8(value, "value") if isinstance(value, str) else bytes(value)
        check(lib.qy_connection_set(self._handle, _key(key), raw, len(raw)))

    def get(self, key: str) -> bytes | None:
        """What is kept under `key`; a number as its decimal text."""
        needed = ctypes.c_size_t(64)
        while True:
            size = needed.value
            buffer = ctypes.create_string_buffer(size)
            status = lib.qy_connection_get(
                self._handle, _key(key), buffer, size, ctypes.byref(needed)
            )
            if status == _native.ERR_NOT_FOUND:
                return None
            if status != _native.ERR_BUFFER_TOO_SMALL:
                check(status)
                return buffer.raw[: needed.value]

    def remove(self, key: str) -> bool:
        """Takes away what is kept under `key`; False if there was nothing."""
        return _found(lib.qy_connection_remove(self._handle, _key(key)))

    def increment(self, key: str, by: int = 1) -> int:
        """Adds to the number under `key`, which begins at 0, in one step; gives the sum."""
        total = ctypes.c_int64()
        check(lib.qy_connection_increment(self._handle, _key(key), by, ctypes.byref(total)))
        return total.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Connection) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<qyun.Connection {self.id}>"


def _closing(code: int, reason: str) -> tuple[int, bytes]:
    if not 0 <= code <= 0xFFFF:
        raise InvalidArgument(f"close code cannot be {code}")
    return code, name_of(reason, "reason", InvalidArgument)


def _key(key: str) -> bytes:
    return name_of(key, "key", InvalidArgument)


def _found(status: int) -> bool:
    if status == NotFound.code:
        return False
    check(status)
    return True
