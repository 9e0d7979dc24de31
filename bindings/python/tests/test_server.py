"""A server in this process."""

from __future__ import annotations

import gc
import threading
import time

import pytest

import qyun
from conftest import AWKWARD, PATIENCE, wait_until


def test_it_says_where_it_listens(server: qyun.Server) -> None:
    host, _, port = server.address.rpartition(":")
    assert host == "127.0.0.1"
    assert server.port == int(port) > 0
    assert server.address in repr(server)


def test_it_says_where_its_grpc_listens() -> None:
    with qyun.Server(listen="127.0.0.1:0") as server:
        assert server.grpc_port is None
    with qyun.Server(listen="127.0.0.1:0", grpc_listen="127.0.0.1:0") as server:
        assert server.grpc_port not in (None, 0, server.port)
    assert server.grpc_port is not None, "also after it stopped"


def test_it_takes_other_options_over() -> None:
    with qyun.Server(listen="127.0.0.1:0", max_channels=1, max_message_bytes=10) as server:
        server.create_channel("one")
        with pytest.raises(qyun.TooLarge):
            server.publish("one", "x" * 20)
        assert server.reload(max_message_bytes=20) == []
        server.publish("one", "x" * 20)
        with pytest.raises(qyun.Error, match="limit"):
            server.create_channel("two")
        assert server.reload(max_channels=2, thread_name="other") == ["thread_name"]
        server.create_channel("two")
        with pytest.raises(qyun.TooLarge):
            server.publish("one", "x" * 21)
        with pytest.raises(qyun.InvalidOption):
            server.reload(max_channels=-1)
        with pytest.raises(qyun.UnknownOption):
            server.reload(colour="red")
    with pytest.raises(qyun.Closed):
        server.reload(max_channels=3)


def test_two_servers_in_one_process_have_their_own_channels(server: qyun.Server) -> None:
    with qyun.Server(listen="127.0.0.1:0") as other:
        assert other.port != server.port
        other.create_channel("only here")
        with pytest.raises(qyun.ChannelNotFound):
            server.channel("only here")


def test_an_address_in_use_is_refused(server: qyun.Server) -> None:
    with pytest.raises(qyun.AddressInUse) as caught:
        qyun.Server(listen=server.address)
    assert str(server.port) in str(caught.value)


@pytest.mark.parametrize("name", AWKWARD)
def test_a_channel_is_created_listed_and_deleted(server: qyun.Server, name: str) -> None:
    before = time.time() * 1000
    server.create_channel(name)
    with pytest.raises(qyun.ChannelExists):
        server.create_channel(name)
    assert [one.name for one in server.channels()] == sorted(["test", name], key=str.encode)
    info = server.channel(name)
    assert (info.name, info.subscribers) == (name, 0)
    assert info.created_ms >= before - 1000 or info.created_ms > 0
    server.delete_channel(name)
    for gone in (server.channel, server.delete_channel):
        with pytest.raises(qyun.ChannelNotFound):
            gone(name)


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "a\0b", "\x7f", "青" * 86])
def test_a_bad_name_is_refused(server: qyun.Server, name: str) -> None:
    with pytest.raises(qyun.InvalidName):
        server.create_channel(name)
    assert [one.name for one in server.channels()] == ["test"]


def test_a_lone_surrogate_is_no_name_and_no_message(server: qyun.Server) -> None:
    with pytest.raises(qyun.InvalidUtf8):
        server.create_channel("a\ud800")
    with pytest.raises(qyun.InvalidUtf8):
        server.publish("test", "a\ud800")


def test_arguments_of_a_wrong_type_are_type_errors(server: qyun.Server) -> None:
    with pytest.raises(TypeError):
        server.create_channel(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        server.publish("test", 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        qyun.Client(8000)  # type: ignore[arg-type]


def test_offsets_count_up_by_one(server: qyun.Server) -> None:
    first = server.publish("test", "one")
    second = server.publish("test", b"two")
    assert second == (first.epoch, first.offset + 1)
    assert server.channel("test").offset == second.offset


def test_publishing_where_there_is_no_channel_or_too_much_is_refused(server: qyun.Server) -> None:
    with pytest.raises(qyun.ChannelNotFound) as caught:
        server.publish("nowhere", "x")
    assert "nowhere" in str(caught.value)
    assert caught.value.code == -7
    with pytest.raises(qyun.TooLarge):
        server.publish("test", b"x" * (1 << 21))


def test_the_counters_count(server: qyun.Server, client: qyun.Client) -> None:
    with client.subscribe("test") as messages:
        server.publish("test", "x")
        messages.recv(PATIENCE)
        wait_until(lambda: server.counters.delivered == 1, "the delivery is counted")
        totals = server.counters
    assert totals.channels == 1
    assert totals.subscribers == 1
    assert totals.published == 1
    assert totals.connections >= 1


def test_stop_ends_subscriptions_after_the_last_message(
    server: qyun.Server, client: qyun.Client
) -> None:
    with client.subscribe("test") as messages:
        server.publish("test", "last")
        server.stop(5)
        assert messages.recv(PATIENCE).text == "last"
    server.stop()
    with pytest.raises(qyun.Closed):
        server.publish("test", "x")


def test_a_server_without_references_stops() -> None:
    server = qyun.Server(listen="127.0.0.1:0")
    address = server.address
    del server
    gc.collect()
    qyun.Server(listen=address).stop()


def test_threads_publish_at_once_and_one_order_comes_out(
    server: qyun.Server, client: qyun.Client
) -> None:
    threads, each = 4, 250

    def publish(writer: int) -> None:
        for index in range(each):
            server.publish("test", f"{writer} {index}")

    with client.subscribe("test") as first, client.subscribe("test") as second:
        writers = [threading.Thread(target=publish, args=(n,)) for n in range(threads)]
        for writer in writers:
            writer.start()
        seen = []
        for messages in (first, second):
            got: list[qyun.Message] = []
            while len(got) < threads * each:
                more = messages.recv_many(timeout=PATIENCE)
                assert more, f"{len(got)} came"
                got += more
            seen.append([message.text for message in got])
        for writer in writers:
            writer.join()
    assert seen[0] == seen[1]
    for n in range(threads):
        mine = [text for text in seen[0] if text.startswith(f"{n} ")]
        assert mine == [f"{n} {index}" for index in range(each)]
