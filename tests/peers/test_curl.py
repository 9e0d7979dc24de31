"""The contract, word for word, as curl sees it."""

from __future__ import annotations

import json
import subprocess

import pytest
from conftest import MESSAGES, Server, quote
from websockets.sync.client import connect

CREATED = '{"status":"success","message":"Channel \'%s\' created"}'
EXISTS = '{"status":"error","message":"Channel already exists"}'
BROADCASTED = '{"status":"success","message":"Message broadcasted"}'
NOT_FOUND = '{"status":"error","message":"Channel not found"}'


def curl(server: Server, path: str, *arguments: str, data: bytes = b"") -> tuple[int, str]:
    """The status and the body."""
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--path-as-is"]
    command += ["--write-out", "\n%{http_code} %{content_type}", *arguments, server.http + path]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    body, _, tail = done.stdout.decode().rpartition("\n")
    status, content_type = tail.split()
    assert content_type == "application/json"
    return int(status), body


def test_create_send_and_their_failures(server: Server) -> None:
    assert curl(server, "/channel/create/test") == (200, CREATED % "test")
    assert curl(server, "/channel/create/test") == (400, EXISTS)
    assert curl(server, "/channel/send/test/hello") == (200, BROADCASTED)
    assert curl(server, "/channel/send/none/hello") == (404, NOT_FOUND)
    name = "青/云 '?#%"
    assert curl(server, f"/channel/create/{quote(name)}") == (200, CREATED % name)
    assert curl(server, f"/channel/create/{quote(name)}") == (400, EXISTS)


@pytest.mark.parametrize("bad", ["", "%00", "%0a", "%ff", "%zz", "%", "%C3", "a" * 256, quote("云") * 86])
def test_bad_names_are_400(server: Server, bad: str) -> None:
    status, body = curl(server, f"/channel/create/{bad}")
    assert status == 400
    assert json.loads(body)["status"] == "error" and json.loads(body)["message"]
    assert list(json.loads(body)) == ["status", "message"]


def test_names_of_255_bytes_are_the_longest(server: Server) -> None:
    assert curl(server, f"/channel/create/{'n' * 255}") == (200, CREATED % ("n" * 255))


def test_bad_messages_are_400_and_not_broadcast(server: Server) -> None:
    server.create("test")
    with connect(f"{server.ws}/channel/listen/test") as listener:
        for bad in ["%ff", "%zz", "%4", "%", "%ed%a0%80", "%c0%80"]:
            status, body = curl(server, f"/channel/send/test/{bad}")
            assert (status, json.loads(body)["status"]) == (400, "error"), bad
        server.send("test", "the only one")
        assert listener.recv() == "the only one"


def test_messages_in_the_path_arrive_whole(server: Server) -> None:
    server.create("test")
    with connect(f"{server.ws}/channel/listen/test") as listener:
        for message in MESSAGES:
            assert curl(server, f"/channel/send/test/{quote(message)}") == (200, BROADCASTED)
            assert listener.recv() == message


def test_posts(server: Server) -> None:
    server.create("test")
    everything = bytes(range(256)) * 300
    octets = ("-H", "content-type: application/octet-stream")
    with connect(f"{server.ws}/channel/listen/test", max_size=None) as listener:
        for extra in [(), ("-H", "transfer-encoding: chunked"), ("-H", "expect: 100-continue")]:
            post = ("--data-binary", "@-", *extra)
            text = "文本\n\0" * 1000
            status, body = curl(server, "/channel/send/test", *post, data=text.encode())
            answer = json.loads(body)
            assert (status, answer["status"]) == (200, "success")
            assert answer["message"] == "Message broadcasted" and answer["subscribers"] == 1
            assert listener.recv() == text
            status, _ = curl(server, "/channel/send/test", *post, *octets, data=everything)
            assert status == 200
            assert listener.recv() == everything
        post = ("--data-binary", "@-")
        assert curl(server, "/channel/send/test", *post, data=b"\xff")[0] == 400
        assert curl(server, "/channel/send/test", *post, data=b"x" * (1 << 20 | 1))[0] == 413
        assert curl(server, "/channel/send/none", *post, data=b"x") == (404, NOT_FOUND)
        largest = "z" * (1 << 20)
        assert curl(server, "/channel/send/test", *post, data=largest.encode())[0] == 200
        assert listener.recv() == largest


def test_create_by_post_and_delete(server: Server) -> None:
    assert curl(server, "/channel/create/test", "-X", "POST") == (200, CREATED % "test")
    with connect(f"{server.ws}/channel/listen/test") as listener:
        assert curl(server, "/channel/test", "-X", "DELETE")[0] == 200
        with pytest.raises(Exception) as end:
            listener.recv(timeout=10)
        assert end.value.rcvd.code == 3504
    assert curl(server, "/channel/test", "-X", "DELETE") == (404, NOT_FOUND)
    assert curl(server, "/channel/send/test/x") == (404, NOT_FOUND)


def test_health_list_and_info(server: Server) -> None:
    status, body = curl(server, "/health")
    assert (status, json.loads(body)["status"]) == (200, "success")
    for name in ["b", "a", "青云"]:
        server.create(name)
    server.send("a", "one")
    status, body = curl(server, "/channels")
    listed = json.loads(body)
    assert (status, listed["total"]) == (200, 3)
    assert [channel["name"] for channel in listed["channels"]] == ["a", "b", "青云"]
    status, body = curl(server, "/channels?limit=1&after=a")
    assert [channel["name"] for channel in json.loads(body)["channels"]] == ["b"]
    status, body = curl(server, "/channel/info/a")
    info = json.loads(body)["channel"]
    assert (status, info["name"], info["offset"], info["subscribers"]) == (200, "a", 1, 0)
    assert curl(server, "/channel/info/none") == (404, NOT_FOUND)


def test_what_is_not_there(server: Server) -> None:
    for path in ["/channel", "/nothing", "/channel/send/a/b/c", "/channel/create/a/b"]:
        status, body = curl(server, path)
        assert (status, json.loads(body)["status"]) == (404, "error"), path
    assert curl(server, "/channel/send/test/x", "-X", "PUT")[0] == 405
    server.create("test")
    assert curl(server, "/channel/listen/test")[0] == 426


def test_an_upgrade_without_the_channel_is_403(server: Server) -> None:
    upgrade = []
    for field in ["connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13"]:
        upgrade += ["-H", field]
    upgrade += ["-H", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="]
    for path in ["/channel/listen/none", "/channel/send/none"]:
        assert curl(server, path, *upgrade) == (403, NOT_FOUND)


def test_curl_listens_to_server_sent_events(server: Server) -> None:
    path = server.create("test")
    command = ["curl", "--silent", "--no-buffer", "--max-time", "20", "--header"]
    command += ["Accept: text/event-stream", f"{server.http}/channel/listen/{path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        while json.loads(curl(server, f"/channel/info/{path}")[1])["channel"]["subscribers"] == 0:
            assert listener.poll() is None
        server.send(path, "two\nlines")
        server.send(path, b"\xff")
        assert curl(server, f"/channel/{path}", "--request", "DELETE")[0] == 200
        said, _ = listener.communicate(timeout=20)
    start, first, second, rest = said.split("\n\n")
    assert start.startswith("id: ") and "\n" not in start
    assert first.split("\n")[1:] == ["data: two", "data: lines"]
    assert second.split("\n")[1:] == ["event: binary", "data: /w=="]
    assert first.startswith("id: ") and rest == ""
