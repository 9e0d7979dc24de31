"""All connections and users of a server."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import Any, Callable, Iterator

from . import _native
from ._connection import Connection, _closing, _found
from ._errors import InvalidArgument, InvalidName
from ._handle import Payload, payload
from ._native import bytes_at, check, lib, name_of
from ._types import Dialect

#: What a C function may show at once.
_ALL = 0xFFFF_FFFF


def _filter(
    path: str | None, user: str | None, channel: str | None, dialect: Dialect | None
) -> Any:
    def text(value: str | None, what: str) -> bytes | None:
        return None if value is None else name_of(value, what, InvalidArgument)

    return ctypes.byref(
        _native.ConnectionFilter(
            ctypes.sizeof(_native.ConnectionFilter),
            text(path, "path"),
            text(user, "user"),
            text(channel, "channel"),
            int(dialect or 0),
        )
    )


@contextmanager
def _collected() -> Iterator[tuple[Any, list[Connection]]]:
    found: list[Connection] = []

    def visit(connection: int, _user_data: int) -> None:
        found.append(Connection(connection))

    yield _native.CONNECTION_CALLBACK(visit), found


class ConnectionsServer:
    """What a server does with its connections and users."""

    _handle: ctypes.c_void_p

    def connection(self, id: str) -> Connection:
        """The connection of this id; :class:`NotFound` if there is none."""
        out = ctypes.c_void_p()
        name = name_of(id, "id", InvalidArgument)
        check(lib.qy_server_find_connection(self._handle, name, ctypes.byref(out)))
        return Connection._own(out)

    def connections(
        self,
        *,
        path: str | None = None,
        user: str | None = None,
        channel: str | None = None,
        dialect: Dialect | None = None,
        after: str | None = None,
        limit: int = _ALL,
    ) -> list[Connection]:
        """The connections that fit, by id: at most `limit`, behind the id `after`."""
        chosen = _filter(path, user, channel, dialect)
        start = None if after is None else name_of(after, "after", InvalidArgument)
        with _collected() as (visit, found):
            check(
                lib.qy_server_list_connections(self._handle, chosen, start, limit, visit, None)
            )
        return found

    def count_connections(
        self,
        *,
        path: str | None = None,
        user: str | None = None,
        channel: str | None = None,
        dialect: Dialect | None = None,
    ) -> int:
        """The number of connections that fit."""
        out = ctypes.c_uint64()
        chosen = _filter(path, user, channel, dialect)
        check(lib.qy_server_count_connections(self._handle, chosen, ctypes.byref(out)))
        return out.value

    def send_to(self, id: str, data: Payload) -> None:
        """Sends to one connection; :class:`NotFound` if there is none of this id."""
        name = name_of(id, "id", InvalidArgument)
        check(lib.qy_server_send_to(self._handle, name, *payload(data)))

    def send_to_user(self, user: str, data: Payload) -> int:
        """Sends to every connection of a user and gives their number, 0 if there is none."""
        out = ctypes.c_uint64()
        name = name_of(user, "user", InvalidArgument)
        _found(lib.qy_server_send_to_user(self._handle, name, *payload(data), ctypes.byref(out)))
        return out.value

    def broadcast(self, data: Payload, path: str | None = None) -> int:
        """Sends to every connection of the endpoint at `path`, or of all endpoints; gives their
        number."""
        out = ctypes.c_uint64()
        where = None if path is None else name_of(path, "path", InvalidArgument)
        check(lib.qy_server_broadcast(self._handle, where, *payload(data), ctypes.byref(out)))
        return out.value

    def send_where(
        self,
        predicate: Callable[[Connection], bool],
        data: Payload,
        *,
        path: str | None = None,
        user: str | None = None,
        channel: str | None = None,
        dialect: Dialect | None = None,
    ) -> int:
        """Sends to every connection that fits and for which `predicate` is true; gives their
        number. What the predicate raises is raised here; those that were chosen before are sent to."""
        raised: list[BaseException] = []
        out = ctypes.c_uint64()

        def wanted(connection: int, _user_data: int) -> int:
            try:
                return not raised and bool(predicate(Connection(connection)))
            except BaseException as error:  # it cannot pass through C
                raised.append(error)
                return 0

        chosen = _filter(path, user, channel, dialect)
        kind, body, size = payload(data)
        ask = _native.CONNECTION_PREDICATE(wanted)
        check(
            lib.qy_server_send_where(
                self._handle, chosen, ask, None, kind, body, size, ctypes.byref(out)
            )
        )
        if raised:
            raise raised[0]
        return out.value

    def close_connection(self, id: str, code: int = 1000, reason: str = "") -> None:
        """Closes one connection; :class:`NotFound` if there is none of this id."""
        name = name_of(id, "id", InvalidArgument)
        check(lib.qy_server_close_connection(self._handle, name, *_closing(code, reason)))

    def bind_user(self, id: str, user: str) -> None:
        """Binds a connection to a user; one that is bound is moved."""
        names = name_of(id, "id", InvalidArgument), name_of(user, "user", InvalidArgument)
        check(lib.qy_server_bind_user(self._handle, *names))

    def unbind_user(self, id: str) -> bool:
        """Unbinds a connection from its user; False if there was none."""
        return _found(
            lib.qy_server_unbind_user(self._handle, name_of(id, "id", InvalidArgument))
        )

    def users(self, after: str | None = None, limit: int = _ALL) -> dict[str, int]:
        """The users that a connection is bound to, in order, each with the number of its
        connections."""
        found: dict[str, int] = {}

        def visit(user: int, size: int, connections: int, _user_data: int) -> None:
            found[bytes_at(user, size).decode("utf-8", "replace")] = connections

        start = None if after is None else name_of(after, "after", InvalidArgument)
        visitor = _native.USER_VISITOR(visit)
        check(lib.qy_server_list_users(self._handle, start, limit, visitor, None))
        return found

    @property
    def user_count(self) -> int:
        """The number of users."""
        out = ctypes.c_uint64()
        check(lib.qy_server_count_users(self._handle, ctypes.byref(out)))
        return out.value

    def members(self, channel: str) -> list[Connection]:
        """The connections that are members of a channel; :class:`ChannelNotFound` if there is no
        such channel."""
        name = name_of(channel, "channel", InvalidName)
        with _collected() as (visit, found):
            check(lib.qy_server_list_members(self._handle, name, visit, None))
        return found
