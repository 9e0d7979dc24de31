"""A client: publishing, subscribing, receiving."""

from __future__ import annotations

import gc
import select
import threading
import time
from typing import Iterator

import pytest

import qyun
from conftest import AWKWARD, AWKWARD_MESSAGES, PATIENCE, wait_until


def test_it_connects_and_closes(server: qyun.Server) -> None:
    client = qyun.Client(server.address)
    client.wait_connected(PATIENCE)
    assert client.state == qyun.ClientState.CONNECTED
    assert client.host == server.address and server.address in repr(client)
    client.close()
    client.close()
    wait_until(lambda: client.state == qyun.ClientState.CLOSED, "closed")
    with pytest.raises(qyun.Closed):
        client.publish("test", "x")
    with pytest.raises(qyun.Closed):
        client.subscribe("test")


@pytest.mark.parametrize("host", ["", "no port at all", "ftp://x", "a\0b", "host:99999"])
def test_a_bad_host_is_refused(host: str) -> None:
    with pytest.raises((qyun.InvalidUrl, qyun.InvalidArgument)):
        qyun.Client(host)


def test_a_server_that_is_not_there_is_a_connect_error() -> None:
    with qyun.Server(listen="127.0.0.1:0") as gone:
        address = gone.address
    with qyun.Client(address, request_timeout_ms=300) as client:
        with pytest.raises((qyun.ConnectError, qyun.Timeout)):
            client.publish("test", "x")
        with pytest.raises((qyun.ConnectError, qyun.Timeout)):
            client.wait_connected(0.2)


def test_channels_over_the_network(server: qyun.Server, client: qyun.Client) -> None:
    client.create_channel("made by the client")
    assert server.channel("made by the client").subscribers == 0
    with pytest.raises(qyun.ChannelExists):
        client.create_channel("made by the client")
    client.delete_channel("made by the client")
    with pytest.raises(qyun.ChannelNotFound):
        client.delete_channel("made by the client")


@pytest.mark.parametrize("text", AWKWARD_MESSAGES)
def test_a_text_arrives_unchanged(server: qyun.Server, client: qyun.Client, text: str) -> None:
    with client.subscribe("test") as messages:
        server.publish("test", text)
        client.publish("test", text)
        client.publish_nowait("test", text)
        for _ in range(3):
            message = messages.recv(PATIENCE)
            assert message.text == text
            assert message.kind is qyun.Kind.TEXT
            assert message.channel == "test"


def test_bytes_arrive_unchanged_as_binary(server: qyun.Server, client: qyun.Client) -> None:
    every_byte = bytes(range(256))
    with client.subscribe("test") as messages:
        for data in (every_byte, bytearray(every_byte), memoryview(every_byte), b""):
            server.publish("test", data)
            client.publish("test", data)
            for _ in range(2):
                message = messages.recv(PATIENCE)
                assert message.data == bytes(data)
                assert message.kind is qyun.Kind.BINARY
        server.publish("test", b"\xff")
        with pytest.raises(UnicodeDecodeError):
            messages.recv(PATIENCE).text


@pytest.mark.parametrize("name", AWKWARD)
def test_a_channel_of_any_name_carries_messages(
    server: qyun.Server, client: qyun.Client, name: str
) -> None:
    client.create_channel(name)
    with client.subscribe(name) as messages:
        assert messages.channel == name
        client.publish(name, "x")
        assert messages.recv(PATIENCE).channel == name


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_means_a_folder_works_wherever_it_is_not_in_a_url(
    server: qyun.Server, client: qyun.Client, name: str
) -> None:
    server.create_channel(name)
    with client.subscribe(name) as messages:
        client.publish(name, "x")
        assert messages.recv(PATIENCE).channel == name
    with pytest.raises(qyun.InvalidName):
        client.create_channel(name)
    with pytest.raises(qyun.InvalidName):
        qyun.send_message(server.address, name, "x")


def test_messages_know_their_place(server: qyun.Server, client: qyun.Client) -> None:
    with client.subscribe("test") as messages:
        places = [server.publish("test", str(n)) for n in range(3)]
        got = [messages.recv(PATIENCE) for _ in range(3)]
    assert [(m.epoch, m.offset) for m in got] == places
    assert client.publish("test", "over the network").offset == places[-1].offset + 1


def test_a_refused_publish_says_why(client: qyun.Client) -> None:
    with pytest.raises(qyun.ChannelNotFound) as caught:
        client.publish("nowhere", "x")
    assert client.host in str(caught.value)
    with pytest.raises(qyun.InvalidName):
        client.publish("a\0b", "x")
    with pytest.raises(qyun.ChannelNotFound) as caught:
        client.subscribe("nowhere")
    assert client.host in str(caught.value) and "nowhere" in str(caught.value)


def test_ten_thousand_messages_in_order(server: qyun.Server, client: qyun.Client) -> None:
    count = 10_000
    with client.subscribe("test") as messages:
        for index in range(count):
            server.publish("test", str(index))
        got: list[qyun.Message] = []
        while len(got) < count:
            more = messages.recv_many(max=4096, timeout=PATIENCE)
            assert 0 < len(more) <= 4096
            got += more
        assert messages.dropped == 0
        assert messages.recv_many(timeout=0) == []
    assert [message.text for message in got] == [str(index) for index in range(count)]
    assert [message.offset for message in got] == list(
        range(got[0].offset, got[0].offset + count)
    )
    assert client.counters.received >= count


def test_recv_waits_no_longer_than_it_is_told(client: qyun.Client) -> None:
    with client.subscribe("test") as messages:
        for timeout in (0.0, 0.05):
            begun = time.monotonic()
            with pytest.raises(qyun.Timeout):
                messages.recv(timeout)
            assert messages.recv_many(timeout=timeout) == []
            assert timeout <= time.monotonic() - begun < timeout + 5
        with pytest.raises(ValueError):
            messages.recv_many(max=0)
        with pytest.raises(ValueError):
            messages.recv(float("nan"))


def test_a_message_wakes_a_waiting_thread(server: qyun.Server, client: qyun.Client) -> None:
    got: list[str] = []
    with client.subscribe("test") as messages:
        waiter = threading.Thread(target=lambda: got.append(messages.recv().text))
        waiter.start()
        server.publish("test", "wake")
        waiter.join(PATIENCE)
    assert got == ["wake"]


def test_close_wakes_a_waiting_thread(client: qyun.Client) -> None:
    ended = threading.Event()
    messages = client.subscribe("test")

    def wait() -> None:
        with pytest.raises(qyun.Closed):
            messages.recv()
        ended.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    messages.close()
    waiter.join(PATIENCE)
    assert ended.is_set()


def test_close_drops_what_waits(server: qyun.Server, client: qyun.Client) -> None:
    messages = client.subscribe("test")
    for index in range(3):
        server.publish("test", str(index))
    assert next(messages).text == "0"
    wait_until(lambda: client.counters.received == 3, "all have come")
    messages.close()
    messages.close()
    with pytest.raises(qyun.Closed):
        messages.recv(PATIENCE)
    assert list(messages) == []


def test_iteration_ends_with_the_subscription(server: qyun.Server, client: qyun.Client) -> None:
    messages = client.subscribe("test")
    for index in range(3):
        server.publish("test", str(index))
    seen = []
    for message in messages:
        seen.append(message.text)
        if len(seen) == 3:
            messages.close()
    assert seen == ["0", "1", "2"]


def test_a_broken_off_iteration_loses_nothing(server: qyun.Server, client: qyun.Client) -> None:
    with client.subscribe("test") as messages:
        for index in range(5):
            server.publish("test", str(index))
        for message in messages:
            assert message.text == "0"
            break
        assert messages.recv(PATIENCE).text == "1"
        rest: list[str] = []
        while len(rest) < 3:
            rest += [m.text for m in messages.recv_many(max=2, timeout=PATIENCE)]
    assert rest == ["2", "3", "4"]


def test_the_descriptor_is_readable_while_something_waits(
    server: qyun.Server, client: qyun.Client
) -> None:
    with client.subscribe("test") as messages:
        assert messages.take(10) == []  # that it is live
        assert messages.take(10) is None
        assert select.select([messages], [], [], 0)[0] == []
        server.publish("test", "1")
        for _ in range(2):  # level-triggered
            assert select.select([messages], [], [], PATIENCE)[0] == [messages]
        assert messages.recv(0).text == "1"
        assert select.select([messages], [], [], 0)[0] == []
        messages.close()
        assert select.select([messages], [], [], PATIENCE)[0] == [messages]


def test_notices_come_in_order_with_the_messages(
    server: qyun.Server, client: qyun.Client
) -> None:
    notices: list[qyun.Notice] = []
    messages = client.subscribe("test", on_notice=notices.append)
    server.publish("test", "x")
    assert messages.recv(PATIENCE).text == "x"
    assert [(n.type, n.channel) for n in notices] == [(qyun.EventType.CONNECTED, "test")]
    server.publish("test", "y")
    server.delete_channel("test")
    assert [message.text for message in messages] == ["y"]
    assert [n.type for n in notices] == [qyun.EventType.CONNECTED, qyun.EventType.CLOSED]
    assert notices[-1].text


def test_a_deleted_channel_ends_its_subscriptions(
    server: qyun.Server, client: qyun.Client
) -> None:
    server.create_channel("short")
    messages = client.subscribe("short")
    server.publish("short", "last")
    server.delete_channel("short")
    assert [message.text for message in messages] == ["last"]


def test_a_subscription_keeps_its_client(server: qyun.Server) -> None:
    messages = qyun.Client(server.address).subscribe("test")
    gc.collect()
    server.publish("test", "still here")
    assert messages.recv(PATIENCE).text == "still here"
    messages.close()


def test_a_subscription_without_references_ends(
    server: qyun.Server, client: qyun.Client
) -> None:
    messages = client.subscribe("test")
    assert server.channel("test").subscribers == 1
    del messages
    gc.collect()
    wait_until(lambda: server.channel("test").subscribers == 0, "the subscriber is gone")


def test_messages_compare_and_print() -> None:
    one = qyun.Message("c", b"data", qyun.Kind.TEXT, 1, 2)
    assert one == qyun.Message("c", b"data", qyun.Kind.TEXT, 1, 2)
    assert hash(one) == hash(qyun.Message("c", b"data", qyun.Kind.TEXT, 1, 2))
    assert one != qyun.Message("c", b"data", qyun.Kind.BINARY, 1, 2)
    assert one != "data"
    assert "b'data'" in repr(one) and "offset=2" in repr(one)
    assert len(repr(qyun.Message("c", b"x" * 1000, qyun.Kind.TEXT, 1, 2))) < 200
    with pytest.raises(AttributeError):
        one.extra = 1  # type: ignore[attr-defined]


@pytest.fixture
def keeping() -> Iterator[qyun.Server]:
    with qyun.Server(
        listen="127.0.0.1:0", shards=1, namespaces="kept: history_size=10"
    ) as running:
        running.create_channel("kept")
        yield running


def test_a_subscription_begins_behind_a_position(keeping: qyun.Server) -> None:
    places = [keeping.publish("kept", str(number)) for number in range(1, 13)]
    notices: list[qyun.Notice] = []
    with qyun.Client(keeping.address) as client:
        with client.subscribe("kept", since=places[4], on_notice=notices.append) as messages:
            received = [messages.recv(PATIENCE) for _ in range(7)]
        assert [message.text for message in received] == [str(n) for n in range(6, 13)]
        assert [message.position for message in received] == places[5:]
        assert (notices[0].type, notices[0].recovered) == (qyun.EventType.CONNECTED, True)
        assert notices[0].position == places[4]
        # What is not kept any more is told, with the position it goes on from.
        notices.clear()
        with client.subscribe("kept", since=places[0], on_notice=notices.append) as messages:
            at = keeping.publish("kept", "next")
            assert messages.recv(PATIENCE).position == at
        assert notices[0].recovered is False
        assert notices[0].position == places[-1]
        assert "missed" in notices[0].text
        notices.clear()
        with client.subscribe("kept", on_notice=notices.append) as messages:
            # Who receives is told on the way.
            wait_until(lambda: not messages.recv_many(timeout=0.0) and bool(notices), "the notice")
        assert notices[0].recovered is None


def test_it_continues_when_the_connection_was_lost(keeping: qyun.Server) -> None:
    heard: list[qyun.Message] = []
    notices: list[qyun.Notice] = []
    with qyun.Client(keeping.address, reconnect_min_ms=1) as client:
        with client.subscribe("kept", heard.append, on_notice=notices.append):
            for round in range(3):
                keeping.publish("kept", f"{round}: before")
                # So large that the server closes the connection.
                with pytest.raises(qyun.TooLarge):
                    client.publish("kept", bytes(17 * 1024 * 1024))
                keeping.publish("kept", f"{round}: after")
                wait_until(lambda: len(heard) == 2 * round + 2, "both messages")
            wait_until(
                lambda: sum(notice.recovered is not None for notice in notices) == 3,
                "three reconnections",
            )
    assert [message.offset for message in heard] == list(range(1, 7))
    assert all(notice.recovered in (None, True) for notice in notices)


def test_history_is_read_forward_and_backward(keeping: qyun.Server) -> None:
    for number in range(1, 12):
        keeping.publish("kept", str(number))
    last = keeping.publish("kept", b"\xff\0")
    with qyun.Client(keeping.address) as client:
        for reader in (client, keeping):
            page = reader.history("kept")
            assert (page.position, page.first, page.more) == (last, 3, False)
            assert [row.position.offset for row in page.publications] == list(range(3, 13))
            newest = page.publications[-1]
            assert (newest.data, newest.kind) == (b"\xff\0", qyun.Kind.BINARY)
            assert abs(newest.time_ms / 1000 - time.time()) < 3600
            back = reader.history("kept", after=4, before=12, limit=3, reverse=True)
            assert [row.text for row in back.publications] == ["11", "10", "9"]
            assert back.more
            assert reader.history("kept", before=0).publications == []
            assert reader.history("kept", after=12).publications == []
            with pytest.raises(qyun.ChannelNotFound):
                reader.history("none such")
            with pytest.raises((qyun.Refused, qyun.InvalidArgument)):
                reader.history("kept", limit=1001)
            for wrong in ({"after": -1}, {"before": 1 << 64}, {"limit": 0}):
                with pytest.raises(ValueError):
                    reader.history("kept", **wrong)  # type: ignore[arg-type]
