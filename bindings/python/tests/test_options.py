"""Options as keyword arguments."""

from __future__ import annotations

from datetime import timedelta

import pytest

import qyun
from qyun._native import OPTIONS_SERVER
from qyun._options import _text


def test_every_option_is_described() -> None:
    for options in (qyun.server_options(), qyun.client_options()):
        assert len({option.name for option in options}) == len(options) > 3
        for option in options:
            assert option.help.endswith(".")
            assert option.type in ("integer", "text", "boolean", "choice")
            if option.type == "integer":
                assert option.min is not None and option.max is not None
                assert option.min <= int(option.default) <= option.max
            if option.type == "choice":
                assert option.default in option.choices
    assert "listen" in {option.name for option in qyun.server_options()}
    assert "reconnect" in {option.name for option in qyun.client_options()}


def test_every_default_is_accepted() -> None:
    defaults = {option.name: option.default for option in qyun.server_options()}
    qyun.Server(**{**defaults, "listen": "127.0.0.1:0"}).stop()
    chosen = {option.name: option.default for option in qyun.client_options()}
    qyun.Client("127.0.0.1:1", **chosen).close()


def test_values_are_written_as_the_library_reads_them() -> None:
    assert OPTIONS_SERVER == 1
    assert _text("x_ms", timedelta(seconds=1.5)) == "1500"
    assert _text("x_us", timedelta(milliseconds=2)) == "2000"
    assert _text("x", True) == "true"
    assert _text("x", 7) == "7"


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(qyun.UnknownOption) as caught:
        qyun.Server(colour="red")
    assert "colour" in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_a_value_that_does_not_fit_is_named() -> None:
    with pytest.raises(qyun.InvalidOption) as caught:
        qyun.Server(shards=1000)
    assert "shards" in str(caught.value) and "1000" in str(caught.value)
    with pytest.raises(qyun.InvalidOption):
        qyun.Server(shards=1.5)  # type: ignore[arg-type]
    with pytest.raises(qyun.InvalidOption):
        qyun.Server(listen="127.0.0.1:0\0")
