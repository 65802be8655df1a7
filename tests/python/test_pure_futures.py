# SPDX-License-Identifier: GPL-2.0-only
"""Instants in the life of a future that only the pure backend has."""

from __future__ import annotations

import sys
from concurrent.futures import CancelledError
from concurrent.futures.thread import BrokenThreadPool

import pytest
from conftest import load_backend
from helpers import Background


def fail():
    raise ValueError("expected")


@pytest.mark.parametrize(
    ("how", "expected"),
    [("cancel", CancelledError), ("destroy", CancelledError), ("initializer", BrokenThreadPool)],
)
def test_call_is_never_seen_without_an_owner_and_without_a_fate(how, expected):
    """Another thread asks for the result between any two lines of what drops the call."""
    kw = load_backend("pure")
    worker = kw.Worker(start=False, initializer=fail if how == "initializer" else None)
    future = worker.submit(int)
    answers = []

    def trace(frame, event, arg):
        if frame.f_code.co_name == "drop" and event == "line" and future._status.owner is None:
            answers.append(Background(future.exception))
            answers[-1]._thread.join()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        {"cancel": future.cancel, "destroy": worker.destroy, "initializer": worker.run_pending}[
            how
        ]()
    finally:
        sys.settrace(before)
    worker.destroy()
    assert answers
    for answer in answers:
        if expected is CancelledError:
            with pytest.raises(CancelledError):
                answer.result()
        else:
            assert type(answer.result()) is BrokenThreadPool
