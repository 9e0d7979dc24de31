"""Callbacks on the library's threads."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from typing import Any

import pytest

import qyun
from conftest import PATIENCE, Collector, wait_until


@pytest.mark.parametrize("inline", [False, True])
def test_messages_come_in_order_on_another_thread(
    server: qyun.Server, client: qyun.Client, inline: bool
) -> None:
    hear = Collector()
    with client.subscribe("test", hear, inline=inline):
        for index in range(500):
            server.publish("test", str(index))
        assert hear.wait(500) == [str(index) for index in range(500)]
    assert hear.threads.isdisjoint({threading.get_ident()})
    assert len(hear.threads) == 1


def test_a_callback_subscription_needs_no_reference(
    server: qyun.Server, client: qyun.Client
) -> None:
    hear = Collector()
    client.subscribe("test", hear)
    gc.collect()
    server.publish("test", "x")
    assert hear.wait(1) == ["x"]


def test_after_close_wait_no_callback_runs_and_its_objects_are_gone(
    server: qyun.Server, client: qyun.Client
) -> None:
    class Target:
        def hear(self, message: qyun.Message) -> None:
            pass

    target = Target()
    kept = weakref.ref(target)
    messages = client.subscribe("test", target.hear)
    del target
    gc.collect()
    assert kept() is not None
    messages.close_wait(PATIENCE)
    wait_until(lambda: gc.collect() >= 0 and kept() is None, "the callback is dropped")


def test_a_failed_subscription_drops_its_callback(client: qyun.Client) -> None:
    hear = Collector()
    kept = weakref.ref(hear)
    with pytest.raises(qyun.ChannelNotFound):
        client.subscribe("nowhere", hear)
    del hear
    wait_until(lambda: gc.collect() >= 0 and kept() is None, "the callback is dropped")


def test_an_exception_goes_to_the_hook_and_messages_go_on(
    server: qyun.Server, client: qyun.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: reported.append(args.exc_value))
    hear = Collector()

    def fail_once(message: qyun.Message) -> None:
        hear(message)
        if message.text == "bad":
            raise RuntimeError("from the callback")

    with client.subscribe("test", fail_once):
        server.publish("test", "bad")
        server.publish("test", "good")
        assert hear.wait(2) == ["bad", "good"]
    assert [str(error) for error in reported] == ["from the callback"]


def test_every_method_works_inside_a_callback(
    server: qyun.Server, client: qyun.Client
) -> None:
    results: list[Any] = []
    done = threading.Event()

    def hear(message: qyun.Message) -> None:
        if message.text != "go":
            return
        try:
            client.create_channel("made in a callback")
            results.append(client.publish("test", "again").offset)
            with pytest.raises(qyun.WouldDeadlock):
                messages.close_wait(PATIENCE)
            messages.close()
        except BaseException as error:
            results.append(error)
        done.set()

    messages = client.subscribe("test", hear)
    first = server.publish("test", "go")
    assert done.wait(PATIENCE)
    assert results == [first.offset + 1]
    assert server.channel("made in a callback").name == "made in a callback"


def test_a_slow_callback_delays_no_other_subscription(
    server: qyun.Server, client: qyun.Client
) -> None:
    release, entered = threading.Event(), threading.Event()

    def stall(message: qyun.Message) -> None:
        entered.set()
        assert release.wait(PATIENCE)

    hear = Collector()
    slow = client.subscribe("test", stall)
    with client.subscribe("test", hear):
        server.publish("test", "x")
        assert entered.wait(PATIENCE)
        server.publish("test", "y")
        assert hear.wait(2) == ["x", "y"]
        with pytest.raises(qyun.Timeout):
            slow.close_wait(0.05)
        release.set()
        slow.close_wait(PATIENCE)


def test_notices_reach_a_callback_too(server: qyun.Server, client: qyun.Client) -> None:
    notices: list[qyun.Notice] = []
    hear = Collector()
    messages = client.subscribe("test", hear, on_notice=notices.append)
    server.publish("test", "x")
    assert hear.wait(1) == ["x"]
    messages.close_wait(PATIENCE)
    assert [notice.type for notice in notices] == [
        qyun.EventType.CONNECTED,
        qyun.EventType.CLOSED,
    ]


def test_a_callback_subscription_cannot_be_received_from(client: qyun.Client) -> None:
    with client.subscribe("test", lambda message: None) as messages:
        with pytest.raises(qyun.InvalidArgument):
            messages.recv(0)


def test_a_thousand_subscriptions_leave_nothing(
    server: qyun.Server, client: qyun.Client
) -> None:
    from qyun import _callbacks

    before = len(_callbacks._table), len(_callbacks._at_exit)
    for _ in range(1000):
        client.subscribe("test", lambda message: None).close_wait(PATIENCE)
    gc.collect()
    wait_until(
        lambda: (len(_callbacks._table), len(_callbacks._at_exit)) == before,
        "the tables are as before",
    )


def test_the_log_is_heard_until_it_is_removed() -> None:
    lines: list[tuple[int, str, str]] = []

    def write(level: int, target: str, text: str) -> None:
        lines.append((level, target, text))

    kept = weakref.ref(write)
    qyun.set_log(write, level=5)
    with qyun.Server(listen="127.0.0.1:0"):
        pass
    wait_until(lambda: bool(lines), "a log line")
    assert all(1 <= level <= 5 and target for level, target, _ in lines)
    qyun.set_log(None)
    del write
    wait_until(lambda: gc.collect() >= 0 and kept() is None, "the log callback is dropped")
