"""A subscription, as the caller's thread sees it."""

from __future__ import annotations

import ctypes
import functools
import select
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Iterator

from . import _callbacks
from ._errors import Closed, Timeout, WouldDeadlock
from ._events import NoticeCallback, read_batch
from ._handle import milliseconds, owned
from ._native import ERR_TIMEOUT, check, lib
from ._types import Message, Notice

if TYPE_CHECKING:
    from ._client import Client

#: What an iteration takes at once.
BATCH = 1024


def _free(at_exit: int | None, handle: ctypes.c_void_p) -> None:
    _callbacks.not_before_exit(at_exit)
    lib.qy_subscription_free(handle)


def ignore(_notice: Notice) -> None:
    """What happens to notices that nobody asked for."""


class Subscription:
    """A subscription of :class:`Client`, made by :meth:`Client.subscribe`.

    Without a callback it is an iterable of messages, with :meth:`recv`, :meth:`recv_many` and a
    descriptor for select and its kin. As a context manager it closes at the end.
    """

    def __init__(
        self,
        client: Client,
        handle: ctypes.c_void_p,
        channel: str,
        on_notice: NoticeCallback,
        called: bool,
        pattern: bool = False,
    ) -> None:
        self._client = client  # its connection carries this
        self._handle = handle
        self._channel = channel
        #: What all its messages are of; None for a pattern.
        self._name = None if pattern else channel
        self._on_notice = on_notice
        self._called = called
        self._ready: deque[Message] = deque()
        # While its callback may run, the interpreter must not end.
        self._at_exit = (
            _callbacks.before_exit(lambda: lib.qy_subscription_close_wait(handle, 2000))
            if called
            else None
        )
        owned(self, handle, functools.partial(_free, self._at_exit))

    @property
    def channel(self) -> str:
        """The channel's name, or the pattern."""
        return self._channel

    def recv(self, timeout: float | None = None) -> Message:
        """The next message.

        Raises :class:`Timeout` if none came within `timeout` seconds (None waits for ever, 0 does
        not wait) and :class:`Closed` after the last one.
        """
        return self._recv(1, timeout)[0]

    def recv_many(self, max: int = BATCH, timeout: float | None = None) -> list[Message]:
        """Waits for one message, then takes all that wait, at most `max`.

        The list is empty if none came within `timeout` seconds. Raises :class:`Closed` after the
        last message.
        """
        if max < 1:
            raise ValueError(f"max must be at least 1, not {max}")
        try:
            return self._recv(max, timeout)
        except Timeout:
            return []

    def __iter__(self) -> Iterator[Message]:
        """The messages until the subscription closes."""
        return self

    def __next__(self) -> Message:
        while True:
            left = self._leftover(1)
            if left:
                return left[0]
            try:
                self._ready.extend(self._recv(BATCH, None))
            except Closed:
                raise StopIteration from None

    def _leftover(self, limit: int) -> list[Message]:
        """What an iteration took and did not yield yet. Other threads may take from it too."""
        left: list[Message] = []
        try:
            while len(left) < limit:
                left.append(self._ready.popleft())
        except IndexError:
            pass
        return left

    def _recv(self, limit: int, timeout: float | None) -> list[Message]:
        left = self._leftover(limit)
        if left:
            return left
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            taken = self.take(limit)
            if taken:
                return taken
            if taken is None and not self._wait(deadline):
                raise Timeout(f"no message on '{self._channel}' in {timeout:g} s")

    def take(self, limit: int) -> list[Message] | None:
        """What waits now, at most `limit`, without waiting; None if nothing does.

        An empty list means that there were only notices: ask again. For event loops, with
        :meth:`fileno`.
        """
        batch = ctypes.c_void_p()
        status = lib.qy_subscription_recv_many(self._handle, limit, 0, ctypes.byref(batch))
        if status == ERR_TIMEOUT:
            return None
        check(status)
        try:
            return read_batch(batch, self._name, self._on_notice)
        finally:
            lib.qy_batch_free(batch)

    def _wait(self, deadline: float | None) -> bool:
        # Not in the library: there, Ctrl-C would wait for the next message.
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(None if left is None else milliseconds(left)))

    def fileno(self) -> int:
        """A descriptor that is readable while an event waits or the subscription has ended.

        It belongs to the subscription. Take events with :meth:`recv`, :meth:`recv_many` or
        :meth:`take`: an iteration takes more than it yields at once.
        """
        fd = ctypes.c_int(-1)
        check(lib.qy_subscription_fd(self._handle, ctypes.byref(fd)))
        return fd.value

    @property
    def dropped(self) -> int:
        """Messages dropped because the queue was full."""
        count = ctypes.c_uint64()
        check(lib.qy_subscription_dropped(self._handle, ctypes.byref(count)))
        return count.value

    def close(self) -> None:
        """Ends the subscription without waiting; from any thread or callback, and again.

        What waits and was not received is dropped.
        """
        check(lib.qy_subscription_close(self._handle))
        self._ready.clear()
        self._client._forget(self)

    def close_wait(self, timeout: float | None = None) -> None:
        """Ends the subscription and waits until no callback runs or will run.

        Raises :class:`Timeout` if one still runs, :class:`WouldDeadlock` inside that callback.
        """
        self.close()
        check(lib.qy_subscription_close_wait(self._handle, milliseconds(timeout)))
        _callbacks.not_before_exit(self._at_exit)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._called:
            return self.close()
        try:
            self.close_wait(60)
        except WouldDeadlock:  # closed inside its own callback, which is allowed
            pass

    def __repr__(self) -> str:
        return f"<qyun.Subscription of '{self._channel}'>"
