"""Python callables that C may call.

C gets one of the few trampolines below, which live as long as the process, and a number as its
`user_data`; the number finds the callable in a table until the library drops it. A number that is
not in the table any more is harmless, a pointer would not be.

What a callable raises ends in ctypes, which gives it to ``sys.unraisablehook``.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import os
import threading
import time
from typing import Any, Callable

from . import _native
from ._errors import BY_CODE, Error
from ._types import Closure, EndedBy

_EXIT_PATIENCE = 2.0

_numbers = itertools.count(1)
_table: dict[int, Callable[..., object]] = {}
_changed = threading.Condition()
_at_exit: dict[int, Callable[[], object]] = {}


def register(target: Callable[..., object]) -> int:
    """Keeps `target` until :func:`forget`; the answer is its `user_data`."""
    number = next(_numbers)
    _table[number] = target
    return number


def forget(number: int) -> None:
    """Lets a callable go: the library calls it no more."""
    with _changed:
        _table.pop(number, None)
        _changed.notify_all()


def before_exit(stop: Callable[[], object]) -> int:
    """Has `stop` called before the interpreter ends, unless :func:`not_before_exit` comes first.

    A thread of the library must not be inside Python when the interpreter goes: whatever can call
    back is stopped, and waited for, while Python still runs.
    """
    number = next(_numbers)
    _at_exit[number] = stop
    return number


def not_before_exit(number: int | None) -> None:
    """Undoes :func:`before_exit`; None is nothing to undo."""
    if number is not None:
        _at_exit.pop(number, None)


def _on_event(address: int, number: int) -> None:
    target = _table.get(number)
    if target is not None:
        target(address)


def _on_listen(event: int, data: int, size: int, number: int) -> None:
    target = _table.get(number)
    try:
        if target is not None:
            target(event, _native.bytes_at(data, size))
    finally:
        if event == _native.EVENT_CLOSED:  # the last call
            forget(number)


def _on_log(level: int, target: int, target_len: int, text: int, size: int, number: int) -> None:
    write = _table.get(number)
    if write is not None:
        write(
            level,
            _native.bytes_at(target, target_len).decode("utf-8", "replace"),
            _native.bytes_at(text, size).decode("utf-8", "replace"),
        )


def _on_packet(
    connection: int, protocol: int, data: int | None, size: int, reply: int | None, number: int
) -> None:
    target = _table.get(number)
    if target is not None:
        target(connection, protocol, _native.bytes_at(data, size) if data else b"", reply)


def _on_packet_event(connection: int, event: Any, number: int) -> None:
    target = _table.get(number)
    if target is not None:
        target(connection, event.contents)


def _on_pull(connection: int, channel: int, number: int) -> None:
    target = _table.get(number)
    if target is not None:
        target(connection, channel)


def _on_client_packet(
    protocol: int, data: int | None, size: int, reply: int | None, number: int
) -> None:
    target = _table.get(number)
    if target is not None:
        target(protocol, _native.bytes_at(data, size) if data else b"", reply)


def _on_client_event(event: Any, number: int) -> None:
    target = _table.get(number)
    if target is not None:
        target(event.contents)


def _on_client_pull(channel: int, number: int) -> None:
    target = _table.get(number)
    if target is not None:
        target(channel)


def _on_response(status: int, response: int | None, number: int) -> None:
    target = _table.get(number)
    if target is not None:
        target(status, response)


def _on_rpc(
    connection: int, _method: int, params: int, size: int, reply: int, number: int
) -> None:
    target = _table.get(number)
    if target is not None:
        target(connection, _native.bytes_at(params, size), reply)


def _on_origin(upgrade: int, origin: int, size: int, number: int) -> int:
    target = _table.get(number)
    if target is None:
        return 0
    text = _native.bytes_at(origin, size).decode("utf-8", "replace")
    return bool(target("check_origin", upgrade, text))


def _on_message(connection: int, kind: int, data: int, size: int, number: int) -> None:
    target = _table.get(number)
    if target is not None:
        raw = _native.bytes_at(data, size)
        target("message", connection, raw.decode() if kind == _native.TEXT else raw)


def _on_error(connection: int, status: int, text: int, size: int, number: int) -> None:
    target = _table.get(number)
    if target is not None:
        why = _native.bytes_at(text, size).decode("utf-8", "replace")
        target("error", connection, BY_CODE.get(status, Error)(why, status))


def _on_disconnect(connection: int, closure: Any, number: int) -> None:
    target = _table.get(number)
    if target is not None:
        raw = closure.contents
        reason = _native.bytes_at(raw.reason, raw.reason_len).decode("utf-8", "replace")
        target("disconnect", connection, Closure(raw.code, reason, EndedBy(raw.ended_by)))


def _on_ping(connection: int, data: int, size: int, number: int) -> None:
    target = _table.get(number)
    if target is not None:
        target("ping", connection, _native.bytes_at(data, size))


def _on(event: str) -> Callable[[int, int], None]:
    def call(lent: int, number: int) -> None:
        target = _table.get(number)
        if target is not None:
            target(event, lent)

    return call


def _on_drop(number: int) -> None:
    forget(number)


on_event = _native.EVENT_CALLBACK(_on_event)
on_listen = _native.LISTEN_CALLBACK(_on_listen)
on_log = _native.LOG_CALLBACK(_on_log)
on_packet = _native.PACKET_CALLBACK(_on_packet)
on_packet_event = _native.PACKET_EVENT_CALLBACK(_on_packet_event)
on_pull = _native.PULL_CALLBACK(_on_pull)
on_client_packet = _native.PACKET_CLIENT_CALLBACK(_on_client_packet)
on_client_event = _native.PACKET_CLIENT_EVENT_CALLBACK(_on_client_event)
on_client_pull = _native.PACKET_CLIENT_PULL_CALLBACK(_on_client_pull)
on_response = _native.RESPONSE_CALLBACK(_on_response)
on_rpc = _native.RPC_CALLBACK(_on_rpc)
on_drop = _native.DROP_CALLBACK(_on_drop)
#: What an endpoint can hear, by the name of the C callback. The target is called with that name.
on_endpoint: dict[str, Any] = {
    "check_origin": _native.ORIGIN_CALLBACK(_on_origin),
    "connect": _native.CONNECTION_CALLBACK(_on("connect")),
    "open": _native.CONNECTION_CALLBACK(_on("open")),
    "message": _native.MESSAGE_CALLBACK(_on_message),
    "disconnect": _native.DISCONNECT_CALLBACK(_on_disconnect),
    "error": _native.MESSAGE_CALLBACK(_on_error),
    "ping": _native.PING_CALLBACK(_on_ping),
    "pong": _native.CONNECTION_CALLBACK(_on("pong")),
}
_on_socket = _native.SOCKET_CALLBACK(_on_event)
#: Pings and pongs are told when the option `control_events` says so.
on_socket = _native.SocketCallbacks(
    ctypes.sizeof(_native.SocketCallbacks), *[_on_socket] * 7
)


@atexit.register
def _stop_all() -> None:
    for stop in list(_at_exit.values()):
        try:
            stop()
        except Exception:  # it is stopped already, or a callback does not return
            pass
    _at_exit.clear()
    deadline = time.monotonic() + _EXIT_PATIENCE
    with _changed:
        while _table and _changed.wait(max(0.0, deadline - time.monotonic())):
            pass


def _after_fork_in_child() -> None:
    # The threads that could call these exist in the parent only.
    global _changed
    _changed = threading.Condition()
    _table.clear()
    _at_exit.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def log(write: Callable[[int, str, str], Any] | None, level: int) -> None:
    """Sets or removes the log callback."""
    global _log_stop
    not_before_exit(_log_stop)
    _log_stop = None
    if write is None:
        _native.check(
            _native.lib.qy_set_log_callback(
                0, _native.LOG_CALLBACK(), None, _native.DROP_CALLBACK()
            )
        )
        return
    _native.check(
        _native.lib.qy_set_log_callback(level, on_log, register(write), on_drop)
    )
    _log_stop = before_exit(lambda: log(None, 0))


_log_stop: int | None = None
