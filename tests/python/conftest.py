# SPDX-License-Identifier: GPL-2.0-only
"""One suite for both backends: the fixture kw is the native one, then the pure one."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import threading
import warnings
from typing import Any

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from helpers import wait_until

# Started in the background by a shell without job control, a process ignores Ctrl-C, and so do
# those that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keep what was imported until here out of each later collection, of which there are many."""
    # Hypothesis' plugin imports it at the end; trio's part in that asks who refers to an object
    # of trio's, and of what is frozen nobody seems to.
    importlib.import_module("hypothesis")
    gc.collect()
    gc.freeze()


def load_backend(name: str) -> Any:
    if name == "pure":
        return importlib.import_module("pykworker.pure")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        module = importlib.import_module("pykworker")
    if getattr(module, "backend", None) != "native":
        reason = "the extension module is not built"
        if os.environ.get("PYKWORKER_REQUIRE_NATIVE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return module


@pytest.fixture(params=["native", "pure"])
def kw(request: pytest.FixtureRequest) -> Any:
    """The backend under test."""
    return load_backend(request.param)


@pytest.fixture
def worker(kw: Any) -> Any:
    """A running worker."""
    with kw.Worker("test") as worker:
        yield worker


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What sys.unraisablehook was called with."""
    calls: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", calls.append)
    return calls


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Any:
    """Every thread that a test starts has ended, or ends by itself, when the test is over."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    wait_until(lambda: set(threading.enumerate()) <= before)
