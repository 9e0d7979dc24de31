"""The server's own page in a browser, and its numbers as Prometheus' reader takes them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest
from conftest import Server, serving
from prometheus_client.parser import text_string_to_metric_families

HERE = Path(__file__).parent
SHOTS = Path(os.environ["QYUN_PEERS_NODE"]).parent / "peers-page"


def visit(server: Server, script: str = "page.mjs", **more: str) -> None:
    job = {"server": server.http, "shots": str(SHOTS), **more}
    command = ["node", str(HERE / script)]
    done = subprocess.run(
        command, input=json.dumps(job), text=True, timeout=170, capture_output=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(180)
def test_the_page_in_a_browser(server: Server) -> None:
    visit(server)


@pytest.mark.timeout(180)
def test_the_console_asks_for_the_token() -> None:
    with serving("--set", "admin_token=a secret") as server:
        visit(server, token="a secret")


@pytest.mark.timeout(180)
def test_the_page_continues_where_it_was() -> None:
    with serving("--set", "namespaces=kept.*: history_size=5") as server:
        visit(server, "page_resume.mjs")


def test_the_metrics_are_what_prometheus_reads(server: Server) -> None:
    path = server.create("metrics")
    server.send_all(path)
    text = httpx.get(f"{server.http}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(name.startswith("qyun_") for name in families)
    assert all(family.documentation for family in families.values())
    assert families["qyun_publish_to_write_seconds"].type == "histogram"
    assert families["qyun_messages_published"].type == "counter"
    [published] = families["qyun_messages_published"].samples
    assert published.value >= 20
