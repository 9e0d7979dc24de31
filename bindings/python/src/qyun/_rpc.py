"""Methods that clients of the session dialect call."""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from . import _callbacks
from ._errors import InvalidArgument, InvalidName
from ._native import (
    DELIVER_INLINE,
    DELIVER_THREAD,
    DROP_CALLBACK,
    RPC_CALLBACK,
    check,
    lib,
    name_of,
    utf8,
)

if TYPE_CHECKING:
    from ._connection import Connection


class RpcError(Exception):
    """Raised in a method, it is the caller's answer: a code for programs, a text for people."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class RpcReply:
    """Answers one call, once, from any thread. A call whose reply is let go of unanswered gets the
    error ``no_answer``."""

    def __init__(self, borrowed: int) -> None:
        self._handle = ctypes.c_void_p()
        check(lib.qy_rpc_reply_clone(borrowed, ctypes.byref(self._handle)))

    def __del__(self, _free: Callable[[Any], object] = lib.qy_rpc_reply_free) -> None:
        _free(self._handle)

    def result(self, value: Any = None) -> None:
        """Answers with anything that :mod:`json` takes; :class:`InvalidArgument` when it was
        answered, :class:`Closed` when the call's time is over or its client is gone."""
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        check(lib.qy_rpc_reply_result(self._handle, text, len(text)))

    def error(self, code: str, message: str = "") -> None:
        """Answers with an error."""
        check(
            lib.qy_rpc_reply_error(
                self._handle,
                name_of(code, "code", InvalidArgument),
                name_of(message, "message", InvalidArgument),
            )
        )


class RpcCall:
    """One call of a method."""

    __slots__ = ("connection", "method", "params", "_reply", "_later")

    def __init__(self, connection: Connection, method: str, params: Any, reply: RpcReply) -> None:
        #: Who calls.
        self.connection = connection
        self.method = method
        #: What the client gave, None if nothing.
        self.params = params
        self._reply = reply
        self._later = False

    def later(self) -> RpcReply:
        """The call is answered later: what the method returns does not count."""
        self._later = True
        return self._reply

    def __repr__(self) -> str:
        return f"<qyun.RpcCall {self.method}>"


Method = TypeVar("Method", bound=Callable[[RpcCall], Any])


class RpcServer:
    """What a server does with calls."""

    _handle: ctypes.c_void_p

    def _called(self) -> None:
        """Python is about to be registered: it must not be called when the interpreter is gone."""
        raise NotImplementedError

    def rpc(self, method: str, *, inline: bool = False) -> Callable[[Method], Method]:
        """Decorates a function that clients of the session dialect call by `method`.

        >>> import qyun
        >>> with qyun.Server(listen="127.0.0.1:0") as server:
        ...     @server.rpc("add")
        ...     def add(call):
        ...         return call.params["a"] + call.params["b"]

        What it returns is the result, :class:`RpcError` the error; any other exception is the error
        ``internal`` and goes to ``sys.unraisablehook``. Calls of one connection come in order, those
        of different connections perhaps at the same time. `inline` calls it on the thread that reads
        the connection, where it must not block.
        """
        name = name_of(method, "method", InvalidName)
        where = DELIVER_INLINE if inline else DELIVER_THREAD

        def register(function: Method) -> Method:
            self._called()
            number = _callbacks.register(_receiver(method, function))
            check(
                lib.qy_server_on_rpc(
                    self._handle, name, where, _callbacks.on_rpc, number, _callbacks.on_drop
                )
            )
            return function

        return register

    def remove_rpc(self, method: str) -> None:
        """Ends what :meth:`rpc` began; harmless when there is nothing."""
        name = name_of(method, "method", InvalidName)
        nothing = (RPC_CALLBACK(), None, DROP_CALLBACK())
        check(lib.qy_server_on_rpc(self._handle, name, DELIVER_THREAD, *nothing))


def _receiver(
    method: str, function: Callable[[RpcCall], Any]
) -> Callable[[int, bytes, int], None]:
    from ._connection import Connection

    def received(connection: int, params: bytes, borrowed: int) -> None:
        reply = RpcReply(borrowed)
        try:
            given = json.loads(params)
        except (ValueError, RecursionError) as error:  # it is JSON, but more than Python takes
            return reply.error("invalid_payload", f"'params': {error}")
        call = RpcCall(Connection(connection), method, given, reply)
        try:
            result = function(call)
            if not call._later:
                reply.result(result)
        except RpcError as error:
            reply.error(error.code, error.message)
        except Exception:
            if not call._later:
                reply.error("internal", "the method failed")
            raise

    return received
