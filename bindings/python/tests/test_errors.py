"""The exceptions."""

from __future__ import annotations

import pickle

import pytest

import qyun
from qyun import _errors, _native


def test_every_status_has_its_exception() -> None:
    # BUFFER_TOO_SMALL (-23) is handled where texts are read and never raised.
    assert sorted(_errors.BY_CODE) == [-25, -24, *range(-22, 0)]
    for code, kind in _errors.BY_CODE.items():
        name = _native.lib.qy_status_name(code).decode()
        words = name.removeprefix("QY_ERR_").title().replace("_", "")
        assert kind.__name__.removesuffix("Error") == words.removesuffix("Error")
        assert kind.__name__ in qyun.__all__
        assert kind.__doc__


def test_an_unknown_status_is_still_an_error() -> None:
    failure = _native.error(-9999)
    assert type(failure) is qyun.Error
    assert failure.code == -9999


@pytest.mark.parametrize("kind", _errors.BY_CODE.values())
def test_exceptions_survive_pickling(kind: type[qyun.Error]) -> None:
    copy = pickle.loads(pickle.dumps(kind("why", kind.code)))
    assert type(copy) is kind
    assert (str(copy), copy.code) == ("why", kind.code)


def test_they_are_also_what_python_calls_them() -> None:
    assert issubclass(qyun.Timeout, TimeoutError)
    assert issubclass(qyun.ConnectError, ConnectionError)
    assert issubclass(qyun.InvalidName, ValueError)
    assert issubclass(qyun.ChannelNotFound, LookupError)


def test_the_version_is_the_librarys() -> None:
    assert qyun.__version__.count(".") == 2


def test_everything_in_all_exists() -> None:
    for name in qyun.__all__:
        thing = getattr(qyun, name)
        if callable(thing) and getattr(thing, "__module__", "").startswith("qyun"):
            assert thing.__doc__, name
