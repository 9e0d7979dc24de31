"""Threads, signals, fork, and the end of the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from typing import Callable

import pytest

import qyun
from conftest import PATIENCE


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
    )


def in_child(check: Callable[[], None]) -> None:
    """Forks, runs `check` in the child, and fails if it does or hangs."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            check()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + PATIENCE
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.005)


def test_other_threads_run_while_one_waits(server: qyun.Server, client: qyun.Client) -> None:
    # Each wait is 0.3 s: a thread that could not run in it would stand still that long.
    with client.subscribe("test") as messages:
        waits: list[Callable[[], object]] = [
            lambda: messages.recv_many(timeout=0.3),
            lambda: pytest.raises(qyun.Timeout, messages.recv, 0.3),
        ]
        for wait in waits:
            stop, ticks = threading.Event(), 0

            def tick() -> None:
                nonlocal ticks
                while not stop.wait(0.001):
                    ticks += 1

            ticker = threading.Thread(target=tick)
            ticker.start()
            wait()
            during = ticks
            stop.set()
            ticker.join()
            assert during > 20


def test_a_signal_interrupts_a_wait(client: qyun.Client) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with client.subscribe("test") as messages:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupted):
                messages.recv(PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_handles_of_the_parent_say_so_in_a_child(
    server: qyun.Server, client: qyun.Client
) -> None:
    messages = client.subscribe("test")
    client.wait_connected(PATIENCE)

    def check() -> None:
        for call in (
            lambda: client.publish("test", "x"),
            lambda: messages.recv(0),
            lambda: messages.close(),
        ):
            with pytest.raises(qyun.Forked):
                call()

    in_child(check)
    server.publish("test", "the parent goes on")
    assert messages.recv(PATIENCE).text == "the parent goes on"
    messages.close()


def test_a_child_can_make_its_own(server: qyun.Server, client: qyun.Client) -> None:
    messages = client.subscribe("test")
    hear = client.subscribe("test", lambda message: None)

    def check() -> None:
        with qyun.Server(listen="127.0.0.1:0") as own, qyun.Client(own.address) as mine:
            own.create_channel("child")
            with mine.subscribe("child") as received:
                mine.publish("child", "x")
                assert received.recv(PATIENCE).text == "x"

    in_child(check)
    hear.close_wait(PATIENCE)
    messages.close()


def test_a_child_that_ends_normally_neither_hangs_nor_prints() -> None:
    done = python(
        """
        import os, sys, qyun
        server = qyun.Server(listen="127.0.0.1:0")
        server.create_channel("test")
        client = qyun.Client(server.address)
        hear = client.subscribe("test", lambda message: None)
        messages = client.subscribe("test")
        child = os.fork()
        if child == 0:
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")


@pytest.mark.parametrize("load", ["idle", "busy"])
def test_a_program_that_just_ends_neither_hangs_nor_prints(load: str) -> None:
    done = python(
        """
        import sys, threading, qyun
        server = qyun.Server(listen="127.0.0.1:0")
        server.create_channel("test")
        client = qyun.Client(server.address)
        heard = threading.Event()
        client.subscribe("test", lambda message: heard.set())
        client.subscribe("test", lambda message: heard.set(), inline=True)
        qyun.listen_channel(server.address, "test", lambda message: heard.set())
        qyun.set_log(lambda level, target, text: None, level=5)
        messages = client.subscribe("test")
        if sys.argv[1] == "busy":
            def publish():
                while True:
                    server.publish("test", "x" * 100)
            def receive():
                for message in messages:
                    pass
            for work in (publish, receive):
                threading.Thread(target=work, daemon=True).start()
        else:
            server.publish("test", "x")
        assert heard.wait(10)
        """,
        load,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_exception_in_the_main_program_is_the_only_thing_printed() -> None:
    done = python(
        """
        import qyun
        with qyun.Server(listen="127.0.0.1:0") as server:
            server.create_channel("test")
            qyun.listen_channel(server.address, "test", lambda message: None)
            raise SystemExit("the reason")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "the reason\n")


def test_shutdown_closes_everything_and_the_library_works_again() -> None:
    done = python(
        """
        import threading, qyun
        def use():
            server = qyun.Server(listen="127.0.0.1:0")
            server.create_channel("test")
            client = qyun.Client(server.address)
            messages = client.subscribe("test")
            server.publish("test", "x")
            assert messages.recv(10).text == "x"
            return server, client, messages
        for _ in range(3):
            server, client, messages = use()
            qyun.shutdown(10)
            for call in (lambda: messages.recv(10), lambda: client.publish("test", "x")):
                try:
                    call()
                except qyun.Closed:
                    print("closed")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n" * 6, "")
