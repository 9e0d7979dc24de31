"""Publishing with a key, with counts, and in batches."""

from __future__ import annotations

import threading

import pytest

import qyun
from conftest import PATIENCE


@pytest.mark.parametrize("key", ["order-7", "青云", b"a\0b", b"\xff" * 255])
def test_a_message_is_published_once_under_its_key(server: qyun.Server, key: str | bytes) -> None:
    first = server.publish_with("test", "x", key=key)
    assert (first.position.offset, first.duplicate, first.counts) == (1, False, None)
    again = server.publish_with("test", "x", key=key)
    assert again == first._replace(duplicate=True)
    with pytest.raises(qyun.Conflict, match="test"):
        server.publish_with("test", b"x", key=key)
    assert server.publish_with("test", "x").position.offset == 2
    assert server.counters.published == 2


def test_what_is_no_key_is_refused(server: qyun.Server) -> None:
    for key in ("", b"", "x" * 256):
        with pytest.raises(qyun.InvalidArgument, match="1 to 255 bytes"):
            server.publish_with("test", "x", key=key)
    with pytest.raises(qyun.InvalidArgument, match="NUL"):
        server.publish_with("test", "x", conflate="a\0b")
    with pytest.raises(qyun.InvalidArgument):
        server.publish_with("test", "x", conflate="")
    assert server.channel("test").offset == 0


def test_counts_say_whom_a_message_reached(server: qyun.Server, client: qyun.Client) -> None:
    subscriptions = [client.subscribe("test"), qyun.Client(server.address).subscribe("test")]
    told = server.publish_with("test", b"\0\1", counts=True)
    assert told.subscribers == 2
    assert told.counts == qyun.DeliveryCounts(2, 0, 0)
    for subscription in subscriptions:
        message = subscription.recv(timeout=PATIENCE)
        assert message is not None and message.data == b"\0\1"
        assert message.position == told.position


def test_a_batch_tells_of_each_message(server: qyun.Server) -> None:
    server.create_channel("more")
    told = server.publish_many(
        [
            qyun.Outgoing("test", "1", key="k"),
            qyun.Outgoing("none", "2"),
            qyun.Outgoing("more", b"", counts=True),
            qyun.Outgoing("test", "1", key="k"),
            qyun.Outgoing("test", "other", key="k"),
            qyun.Outgoing("test", "a\0b", conflate="price"),
        ]
    )
    assert [type(one) for one in told] == [
        qyun.Published,
        qyun.ChannelNotFound,
        qyun.Published,
        qyun.Published,
        qyun.Conflict,
        qyun.Published,
    ]
    assert "'none'" in str(told[1]) and "'test'" in str(told[4]), told
    assert "another message" in str(told[4])
    good = [one for one in told if isinstance(one, qyun.Published)]
    assert [one.position.offset for one in good] == [1, 1, 1, 2]
    assert [one.duplicate for one in good] == [False, False, True, False]
    assert good[1].counts == qyun.DeliveryCounts(0, 0, 0)
    assert server.publish_many([]) == []
    with pytest.raises(qyun.InvalidName):
        server.publish_many([qyun.Outgoing("test", "x"), qyun.Outgoing("a\0b", "y")])
    assert server.channel("test").offset == 2
    server.stop(0)
    with pytest.raises(qyun.Closed):
        server.publish_many([qyun.Outgoing("test", "x")])


def test_repeats_from_many_threads_are_one_publication(server: qyun.Server) -> None:
    firsts: list[bool] = []

    def repeat() -> None:
        for _ in range(50):
            if not server.publish_with("test", "x", key="order-7").duplicate:
                firsts.append(True)

    threads = [threading.Thread(target=repeat) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert firsts == [True]
    assert server.channel("test").offset == 1


def test_over_the_network_a_message_is_published_once_under_its_key(
    server: qyun.Server, client: qyun.Client
) -> None:
    subscription = client.subscribe("test")
    first = client.publish_with("test", b"\0x", key=b"\xff\0")
    assert first == qyun.Published(qyun.Position(first.position.epoch, 1), 1, False, None)
    assert client.publish_with("test", b"\0x", key=b"\xff\0").duplicate
    assert qyun.send_message_with(server.address, "test", b"\0x", key=b"\xff\0").duplicate
    with pytest.raises(qyun.Conflict, match=server.address):
        client.publish_with("test", "other", key=b"\xff\0")
    with pytest.raises(qyun.Conflict, match=server.address):
        qyun.send_message_with(server.address, "test", "other", key=b"\xff\0")
    with pytest.raises(qyun.InvalidArgument, match="1 to 255 bytes"):
        client.publish_with("test", "x", key="")
    reached = qyun.DeliveryCounts(1, 0, 0)
    assert client.publish_with("test", "a\0b", counts=True).counts == reached
    told = qyun.send_message_with(server.address, "test", "", conflate="price", counts=True)
    assert (told.position.offset, told.counts) == (3, reached)
    for data in (b"\0x", b"a\0b", b""):
        message = subscription.recv(timeout=PATIENCE)
        assert message is not None and message.data == data


def test_over_the_network_a_batch_tells_of_each_message(
    server: qyun.Server, client: qyun.Client
) -> None:
    batch = [
        qyun.Outgoing("test", "1", key="k"),
        qyun.Outgoing("none", "2"),
        qyun.Outgoing("test", b"\xff", counts=True),
        qyun.Outgoing("test", "x", key=b"\xff"),
    ]
    for told in (client.publish_many(batch), qyun.send_many(server.address, batch)):
        assert [type(one) for one in told] == [
            qyun.Published,
            qyun.ChannelNotFound,
            qyun.Published,
            qyun.InvalidUtf8,
        ]
        assert "'none'" in str(told[1]) and server.address in str(told[1])
        assert isinstance(told[2], qyun.Published)
        assert told[2].counts == qyun.DeliveryCounts(0, 0, 0)
    assert server.channel("test").offset == 3
    assert client.publish_many([]) == []
    with pytest.raises(qyun.TooLarge, match="1000"):
        client.publish_many([qyun.Outgoing("test", "x")] * 1001)
    with pytest.raises(qyun.InvalidUrl):
        qyun.send_many("a b", batch)
    server.stop(0)
    with pytest.raises(qyun.ConnectError):
        qyun.send_many(server.address, batch)


def test_a_channel_has_the_options_that_it_is_created_with() -> None:
    with qyun.Server(listen="127.0.0.1:0", admin_token="secret") as server:
        client = qyun.Client(server.address)
        server.create_channel("near", history_size=2, overload="keep_latest")
        client.create_channel("far", token="secret", history_size=2)
        for name in ("near", "far"):
            for text in "abc":
                server.publish(name, text)
            assert [one.data for one in server.history(name).publications] == [b"b", b"c"]
        with pytest.raises(qyun.ChannelExists):
            server.create_channel("near", history_size=2)
        with pytest.raises(qyun.Refused):
            client.create_channel("more", token="guess", history_size=2)
        with pytest.raises(qyun.InvalidOption, match="store"):
            server.create_channel("more", durability="fsync")
        with pytest.raises(qyun.UnknownOption):
            server.create_channel("more", colour="red")
        assert {one.name for one in qyun.channel_options()} >= {"history_size", "durability"}
        assert len(server.channels()) == 2
        client.close()
