"""A subscription, as asyncio sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

from ._errors import Closed
from ._events import NoticeCallback
from ._handle import readable
from ._subscription import BATCH, Subscription
from ._types import Message, Position

if TYPE_CHECKING:
    from ._client import Client


class Listener:
    """The messages of a channel for ``async for``, made by :meth:`Client.listen`.

    The subscription is made at the first message asked for, or at the start of ``async with``,
    which also closes it at the end; otherwise :meth:`aclose` does, or garbage collection. One task
    may wait at a time. Cancelling a wait loses nothing: it can go on.
    """

    def __init__(
        self,
        client: Client,
        channel: str,
        since: Position | None,
        on_notice: NoticeCallback | None,
    ) -> None:
        self._client = client
        self._channel = channel
        self._since = since
        self._on_notice = on_notice
        self._subscription: Subscription | None = None
        self._ready: deque[Message] = deque()
        self._busy = False
        self._closed = False

    async def __aenter__(self) -> Listener:
        await self._live()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> Message:
        if not self._ready:
            if self._busy:
                raise RuntimeError(f"another task waits for a message of '{self._channel}'")
            self._busy = True
            try:
                await self._fill()
            except Closed:
                raise StopAsyncIteration from None
            finally:
                self._busy = False
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Ends the subscription; a task that waits for a message sees the end."""
        self._closed = True
        self._ready.clear()
        if self._subscription is not None:
            self._subscription.close()

    async def _live(self) -> Subscription:
        """The subscription, made in a thread because that waits for the server."""
        if self._closed:
            raise Closed(f"the listener of '{self._channel}' is closed")
        if self._subscription is None:
            loop = asyncio.get_running_loop()
            making = loop.run_in_executor(None, self._subscribe)
            try:
                self._subscription = await asyncio.shield(making)
            except asyncio.CancelledError:
                making.add_done_callback(_close_result)
                raise
            if self._closed:  # while it was made
                self._subscription.close()
        return self._subscription

    def _subscribe(self) -> Subscription:
        return self._client.subscribe(
            self._channel, since=self._since, on_notice=self._on_notice
        )

    async def _fill(self) -> None:
        subscription = await self._live()
        while not self._ready:
            taken = subscription.take(BATCH)
            if taken is None:
                await readable(subscription.fileno())
            else:
                self._ready.extend(taken)


def _close_result(making: asyncio.Future[Subscription]) -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().close()
