"""A program behind every connection of a path."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
from typing import Any, Callable, TypeVar, Union

from . import _callbacks, _native
from ._connection import Connection, first_header, headers_of
from ._errors import InvalidArgument
from ._handle import milliseconds
from ._native import DELIVER_INLINE, DELIVER_THREAD, OPTIONS_ENDPOINT, check, lib, name_of
from ._options import OptionValue, built

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Upgrade:
    """A client that asks to be admitted. A connect handler that returns without a decision admits
    it; after :meth:`later`, any thread may decide."""

    def __init__(self, borrowed: int | ctypes.c_void_p) -> None:
        self._handle: Union[int, ctypes.c_void_p] = borrowed
        self._own: ctypes.c_void_p | None = None

    def __del__(self, _free: Callable[[Any], object] = lib.qy_upgrade_free) -> None:
        if self._own is not None:
            _free(self._own)

    def later(self) -> Upgrade:
        """Leaves the decision to whoever has what this gives: letting go of it undecided refuses
        with 503."""
        kept = ctypes.c_void_p()
        check(lib.qy_upgrade_clone(self._handle, ctypes.byref(kept)))
        other = Upgrade(kept)
        other._own = kept
        return other

    def accept(self, *, id: str | None = None, user: str | None = None) -> None:
        """Admits it, under a UUID unless `id` is given, bound to `user` if there is one. Another
        connection that has the id is closed. :class:`Closed` when it was decided about before."""
        check(lib.qy_upgrade_accept(self._handle, _optional(id, "id"), _optional(user, "user")))

    def refuse(self, status: int = 403, text: str = "") -> None:
        """Refuses it with an HTTP status from 400 to 599."""
        if not 0 <= status <= 0xFFFF:
            raise InvalidArgument(f"a request is refused with a status from 400 to 599, not {status}")
        body = name_of(text, "text", InvalidArgument)
        check(lib.qy_upgrade_refuse(self._handle, status, body))

    @property
    def remote(self) -> str:
        """``HOST:PORT`` of the client."""
        return _native.text_of(lib.qy_upgrade_remote, self._handle)

    @property
    def path(self) -> str:
        """The path, without the query."""
        return _native.text_of(lib.qy_upgrade_path, self._handle)

    @property
    def query(self) -> str:
        """What followed the ``?``, percent-encoded: :func:`urllib.parse.parse_qs` reads it."""
        return _native.text_of(lib.qy_upgrade_query, self._handle)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header fields of the request."""
        return headers_of(lib.qy_upgrade_list_headers, self._handle)

    def header(self, name: str) -> str | None:
        """The first header field of this name, whatever its case."""
        return first_header(self.headers, name)


def _optional(text: str | None, what: str) -> bytes | None:
    return None if text is None else name_of(text, what, InvalidArgument)


class Endpoint:
    """What a program does with the connections of a path. Decorate the handlers that it has, then
    give it to :meth:`Server.handle`.

    >>> import qyun
    >>> echo = qyun.Endpoint("/echo", max_connections=100)
    >>> @echo.on_message
    ... def message(connection, data):
    ...     connection.send(data)
    >>> with qyun.Server(listen="127.0.0.1:0") as server:
    ...     server.handle(echo)

    Keyword arguments are the options that :func:`endpoint_options` lists. The handlers of one
    connection are called one at a time and in order, on up to ``delivery_threads`` threads of the
    server. `inline` calls them on the threads that read the connections, where they must not block.

    A handler may be an ``async def``: it runs in the event loop in which :meth:`Server.handle` was
    called, and the connection's next call waits for its end. Stop the server from another thread
    then: ``await asyncio.to_thread(server.stop)``.
    """

    def __init__(self, path: str, *, inline: bool = False, **options: OptionValue) -> None:
        self.path = path
        self._delivery = DELIVER_INLINE if inline else DELIVER_THREAD
        self._options = options
        self._handlers: dict[str, Callable[..., Any]] = {}

    def check_origin(self, handler: Handler) -> Handler:
        """``handler(upgrade, origin) -> bool``: whether a web page of this origin may connect."""
        return self._set("check_origin", handler)

    def on_connect(self, handler: Handler) -> Handler:
        """``handler(upgrade)`` decides whether a client is admitted. One that raises refuses it
        with 500."""
        return self._set("connect", handler)

    def on_open(self, handler: Handler) -> Handler:
        """``handler(connection)``: a connection is there."""
        return self._set("open", handler)

    def on_message(self, handler: Handler) -> Handler:
        """``handler(connection, data)``: a text came as str, a binary message as bytes."""
        return self._set("message", handler)

    def on_disconnect(self, handler: Handler) -> Handler:
        """``handler(connection, closure)``: a connection is gone; its last call."""
        return self._set("disconnect", handler)

    def on_error(self, handler: Handler) -> Handler:
        """``handler(connection, error)``: a connection has failed, and ``on_disconnect`` follows."""
        return self._set("error", handler)

    def on_ping(self, handler: Handler) -> Handler:
        """``handler(connection, data)``: a ping came, and was answered."""
        return self._set("ping", handler)

    def on_pong(self, handler: Handler) -> Handler:
        """``handler(connection)``: a pong came."""
        return self._set("pong", handler)

    def _set(self, event: str, handler: Handler) -> Handler:
        self._handlers[event] = handler
        return handler

    def _receiver(self) -> Callable[..., Any]:
        """What is called for every event, with the handlers as they are now."""
        handlers = dict(self._handlers)
        loop = None
        if any(inspect.iscoroutinefunction(handler) for handler in handlers.values()):
            loop = asyncio.get_running_loop()

        def call(event: str, lent: int, *values: Any) -> Any:
            if event == "connect":
                upgrade = Upgrade(lent)
                try:
                    return run(event, upgrade)
                except BaseException:
                    # It fails if it was decided about, which is then the word.
                    lib.qy_upgrade_refuse(lent, 500, b"The program failed")
                    raise
                finally:
                    upgrade._handle = 0  # it was lent
            first = Upgrade(lent) if event == "check_origin" else Connection(lent)
            return run(event, first, *values)

        def run(event: str, *values: Any) -> Any:
            outcome = handlers[event](*values)
            if loop is not None and inspect.iscoroutine(outcome):
                return asyncio.run_coroutine_threadsafe(outcome, loop).result()
            return outcome

        return call


class HostServer:
    """What a server does with endpoints of the program."""

    _handle: ctypes.c_void_p

    def _called(self) -> None:
        """Python is about to be registered: it must not be called when the interpreter is gone."""
        raise NotImplementedError

    def handle(self, endpoint: Endpoint) -> None:
        """Lets the endpoint's handlers, as they are now, speak with who comes to its path.
        :class:`Exists` if something handles the path already."""
        callbacks = _native.EndpointCallbacks(ctypes.sizeof(_native.EndpointCallbacks))
        for event in endpoint._handlers:
            setattr(callbacks, event, _callbacks.on_endpoint[event])
        receiver = endpoint._receiver()
        path = name_of(endpoint.path, "path", InvalidArgument)
        with built(OPTIONS_ENDPOINT, endpoint._options) as options:
            self._called()
            number = _callbacks.register(receiver)
            check(
                lib.qy_server_handle(
                    self._handle,
                    path,
                    options,
                    ctypes.byref(callbacks),
                    endpoint._delivery,
                    number,
                    _callbacks.on_drop,
                )
            )

    def unhandle(self, path: str, wait: float | None = None) -> None:
        """Admits nobody at `path` any more and closes its connections with 1001. With `wait`, no
        handler of it runs when this returns; :class:`Timeout` after as many seconds.
        :class:`NotFound` if the program handles no such path."""
        name = name_of(path, "path", InvalidArgument)
        if wait is None:
            check(lib.qy_server_unhandle(self._handle, name))
        else:
            check(lib.qy_server_unhandle_wait(self._handle, name, milliseconds(wait)))
