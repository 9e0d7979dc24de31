"""The examples and the scenarios run as they are, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qyun
from qyun import _native
from chat import chatting, converse
from conftest import PATIENCE

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples" / "python"
SCENARIOS = sorted((ROOT / "tests" / "scenarios").glob("*.scenario"))


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", *map(str, command)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
        timeout=PATIENCE * 4,
    )


@pytest.mark.parametrize("way", [[], ["--ws"]])
def test_the_latency_test_receives_all(way: list[str]) -> None:
    done = run(EXAMPLES / "latency.py", "--rate", 1000, *way)
    assert (done.returncode, done.stderr) == (0, "")
    assert "received 100 of 100\n" in done.stdout
    assert "p99" in done.stdout


def test_the_latency_test_runs_against_another_process(server: qyun.Server) -> None:
    done = run(EXAMPLES / "latency.py", server.address, "--rate", 1000)
    assert (done.returncode, done.stderr) == (0, "")
    assert "received 100 of 100\n" in done.stdout
    assert server.counters.published == 101


def test_the_latency_test_fails_without_a_server() -> None:
    with qyun.Server(listen="127.0.0.1:0") as gone:
        address = gone.address
    done = run(EXAMPLES / "latency.py", address)
    assert done.returncode == 1
    assert address in done.stderr


def test_the_embedding_example() -> None:
    done = run(EXAMPLES / "embed.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "news 1: 青云 hello from inside\n" in done.stdout
    assert "4 published, 4 delivered\n" in done.stdout


def test_the_asyncio_example() -> None:
    done = run(EXAMPLES / "listen_async.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "test: 你好 0\ntest: 你好 1\ntest: 你好 2\n"


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_a_scenario_gives_its_transcript(file: Path) -> None:
    done = run(ROOT / "tests" / "scenarios" / "run.py", file)
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout == file.read_text(encoding="utf-8")


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 4


def test_the_chat_server() -> None:
    program = ROOT / "examples" / "chat_server.py"
    assert len(program.read_text("utf-8").splitlines()) < 40
    with chatting([sys.executable, "-X", "dev", str(program), "127.0.0.1:0"]) as url:
        converse(url)


def test_the_chat_server_in_cpp(tmp_path: Path) -> None:
    program = ROOT / "examples" / "chat_server.cpp"
    assert len(program.read_text("utf-8").splitlines()) < 80
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    # With the very library that this package is tested with.
    library, built = Path(_native.lib._name), tmp_path / "chat_server"
    (tmp_path / "libqyun.so.0").symlink_to(library)
    headers = [f"-I{ROOT / 'include'}", f"-I{ROOT / 'bindings' / 'cpp'}"]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", *headers]
    link = [str(library), f"-Wl,-rpath,{tmp_path}", "-pthread", "-o", str(built)]
    subprocess.run([compiler, *flags, str(program), *link], check=True)
    with chatting([str(built), "127.0.0.1:0"]) as url:
        converse(url)
