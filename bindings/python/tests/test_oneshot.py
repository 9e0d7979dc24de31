"""The calls without an object."""

from __future__ import annotations

import pytest

import qyun
from conftest import AWKWARD, AWKWARD_MESSAGES, PATIENCE, Collector, wait_until


@pytest.mark.parametrize("name", AWKWARD)
def test_create_listen_send_stop(server: qyun.Server, name: str) -> None:
    qyun.create_channel(server.address, name)
    with pytest.raises(qyun.ChannelExists) as caught:
        qyun.create_channel(server.address, name)
    assert server.address in str(caught.value)
    hear = Collector()
    qyun.listen_channel(server.address, name, hear)
    qyun.send_message(server.address, name, "x")
    assert hear.wait(1) == ["x"]
    assert hear.messages[0].channel == name
    qyun.stop_listening(server.address, name)
    wait_until(lambda: server.channel(name).subscribers == 0, "the listener is gone")
    with pytest.raises(qyun.NotFound):
        qyun.stop_listening(server.address, name)


def test_awkward_messages_arrive_unchanged_and_in_order(server: qyun.Server) -> None:
    texts = [text for text in AWKWARD_MESSAGES if "\0" not in text]
    hear = Collector()
    qyun.listen_channel(server.address, "test", hear)
    for text in texts:
        qyun.send_message(server.address, "test", text)
    assert hear.wait(len(texts)) == texts
    qyun.stop_listening(server.address, "test")


def test_a_nul_cannot_be_sent_and_is_not_cut(server: qyun.Server) -> None:
    with pytest.raises(qyun.InvalidArgument):
        qyun.send_message(server.address, "test", "a\0b")
    with pytest.raises(qyun.InvalidName):
        qyun.send_message(server.address, "te\0st", "a")
    assert server.counters.published == 0


def test_what_is_not_there(server: qyun.Server) -> None:
    hear = Collector()
    with pytest.raises(qyun.ChannelNotFound) as refused:
        qyun.send_message(server.address, "nowhere", "x")
    assert server.address in str(refused.value) and "nowhere" in str(refused.value)
    with pytest.raises(qyun.ChannelNotFound):
        qyun.listen_channel(server.address, "nowhere", hear)
    with pytest.raises(qyun.NotFound):
        qyun.stop_listening(server.address, "nowhere")
    with qyun.Server(listen="127.0.0.1:0") as gone:
        address = gone.address
    with pytest.raises(qyun.ConnectError) as caught:
        qyun.send_message(address, "test", "x")
    assert address in str(caught.value)
    assert isinstance(caught.value, ConnectionError)
    assert hear.messages == []


def test_listeners_hear_of_their_start_and_end(server: qyun.Server) -> None:
    notices: list[qyun.Notice] = []
    hear = Collector()
    qyun.listen_channel(server.address, "test", hear, on_notice=notices.append)
    qyun.send_message(server.address, "test", "x")
    assert hear.wait(1) == ["x"]
    qyun.stop_listening(server.address, "test")
    assert [notice.type for notice in notices] == [
        qyun.EventType.CONNECTED,
        qyun.EventType.CLOSED,
    ]


def test_two_listeners_both_hear_and_both_stop(server: qyun.Server) -> None:
    one, two = Collector(), Collector()
    qyun.listen_channel(server.address, "test", one)
    qyun.listen_channel(server.address, "test", two)
    qyun.send_message(server.address, "test", "x")
    assert one.wait(1) == two.wait(1) == ["x"]
    qyun.stop_listening(server.address, "test")
    wait_until(lambda: server.channel("test").subscribers == 0, "both are gone")
