"""How the package finds its library, and how it is built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import PATIENCE
from qyun._native import _FUNCTIONS, LIBRARY_NAME, lib

PROJECT = Path(__file__).resolve().parents[1]


def import_qyun(package: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Imports the package in `package`, with nothing else that could give it a library."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if key not in ("QYUN_LIBRARY", "LD_LIBRARY_PATH", "PYTHONPATH")
    }
    program = "import qyun, qyun._native as n; print(qyun.__file__); print(n.lib._name)"
    return subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**clean, "PYTHONPATH": str(package), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The package without a library in it."""
    shutil.copytree(
        PROJECT / "src" / "qyun",
        tmp_path / "qyun",
        ignore=shutil.ignore_patterns("*.so*", "__pycache__"),
    )
    return tmp_path


def test_the_bundled_library_comes_first(bare: Path) -> None:
    shutil.copy(lib._name, bare / "qyun" / LIBRARY_NAME)
    done = import_qyun(bare, QYUN_LIBRARY="/nowhere")
    assert done.stdout.splitlines() == [
        str(bare / "qyun" / "__init__.py"),
        str(bare / "qyun" / LIBRARY_NAME),
    ]


def test_the_environment_names_a_library(bare: Path) -> None:
    done = import_qyun(bare, QYUN_LIBRARY=lib._name)
    assert done.stdout.splitlines()[1] == lib._name


def test_without_a_library_the_error_says_where_it_looked(bare: Path) -> None:
    done = import_qyun(bare, PATH="/nowhere")
    assert done.returncode == 1
    assert "ImportError: qyun: no libqyun" in done.stderr and str(bare) in done.stderr
    done = import_qyun(bare, QYUN_LIBRARY="/nowhere/libqyun.so")
    assert "cannot use /nowhere/libqyun.so" in done.stderr


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("int qy_abi_version(void) { return 1; }", "cannot use"),
        (
            "".join(
                f"int {name}(void) {{ return 0; }}\n"
                for name in _FUNCTIONS
                if not name.startswith("qy_abi")
            )
            + "int qy_abi_check(int v) { return -22; }"
            + "unsigned qy_abi_version(void) { return 99; }",
            "has ABI version 99, this package needs 1",
        ),
    ],
    ids=["not libqyun", "another ABI"],
)
def test_a_library_that_does_not_belong_is_refused(bare: Path, source: str, says: str) -> None:
    other = bare / "other.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", other],
        input=source,
        text=True,
        check=True,
    )
    done = import_qyun(bare, QYUN_LIBRARY=str(other))
    assert done.returncode == 1
    assert says in done.stderr


def build(directory: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "-q", *command],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 5,
    )


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The source distribution's files, away from the Rust sources."""
    pytest.importorskip("setuptools")
    pytest.importorskip("wheel")
    there = tmp_path / "a" / "b" / "python"
    shutil.copytree(
        PROJECT,
        there,
        ignore=shutil.ignore_patterns("*.so*", "__pycache__", "build", "dist", "*.egg-info", ".*"),
    )
    (there / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: qyun\nVersion: 9.8.7\n")
    return there


def test_a_wheel_is_for_this_platform_and_any_python(sources: Path) -> None:
    done = build(sources, "bdist_wheel", QYUN_LIBRARY=lib._name)
    assert done.returncode == 0, done.stderr
    (wheel,) = (sources / "dist").iterdir()
    assert wheel.name.startswith("qyun-9.8.7-py3-none-") and "any" not in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert archive.read(f"qyun/{LIBRARY_NAME}") == Path(lib._name).read_bytes()
        assert "Root-Is-Purelib: false" in archive.read("qyun-9.8.7.dist-info/WHEEL").decode()
    assert "qyun/py.typed" in names
    assert not [name for name in names if "test" in name or name.endswith(".new")]


def test_without_the_rust_sources_the_build_says_what_to_do(sources: Path) -> None:
    clean = {"QYUN_LIBRARY": ""}
    done = build(sources, "bdist_wheel", **clean)
    assert done.returncode != 0
    assert "the Rust sources are not at" in done.stderr and "QYUN_LIBRARY" in done.stderr
    done = build(sources, "bdist_wheel", QYUN_LIBRARY="/nowhere.so")
    assert done.returncode != 0
    assert "/nowhere.so" in done.stderr
