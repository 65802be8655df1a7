# SPDX-License-Identifier: GPL-2.0-only
"""What disturbs the ticks meanwhile, and passes the time of the main thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic_ns

from pykworker.bench.cases.busy_interpreter import compute

Pass = Callable[[int], None]
"""Passes the time until a moment, ``time.monotonic_ns()``."""


def _compute_until(moment: int) -> None:
    number = 1
    while monotonic_ns() < moment:
        number = compute(number)


def _sleep_until(moment: int) -> None:
    time.sleep(max(0, moment - monotonic_ns()) / 1e9)


def begin(load: str, cleanup: ExitStack) -> Pass:
    """Begins it; *cleanup* ends it."""
    if load == "c":
        _begin_c(cleanup)
    return _compute_until if load == "python" else _sleep_until


def _begin_c(cleanup: ExitStack) -> None:
    """Memory and system calls, on a thread of its own that never takes the interpreter."""
    import pykworker as kw
    from pykworker._binding import ffi, lib

    stop = ffi.new("uint64_t *")
    worker = kw.Worker("load", daemon=True)
    cleanup.callback(worker.destroy)
    cleanup.callback(stop.__setitem__, 0, 1)
    worker.queue(kw.NativeWork(ffi.addressof(lib, "pykw_latency_load"), stop))
