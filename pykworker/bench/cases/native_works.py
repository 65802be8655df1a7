# SPDX-License-Identifier: GPL-2.0-only
"""What does it cost to hand C functions to the thread?"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter_ns
from typing import Any

from .. import opponents
from ..measure import Case, Contestant, Sample, Sizes
from . import burst

TIMED = (
    "Inside: queueing all, running all, learning that the last has run. Outside: the works, the"
    " thread. Each run calls the C library's free(NULL), which does nothing; the opponents call it"
    " through ctypes, which drops the interpreter's lock round each call."
)


def c_function() -> Any:
    """A C function that takes a pointer, returns nothing and does nothing with NULL.

    free is the one with exactly the signature of a native work that every C library has.
    """
    function = ctypes.CDLL(None).free
    function.argtypes = [ctypes.c_void_p]
    function.restype = None
    return function


def address() -> int:
    """`c_function`'s address."""
    return ctypes.cast(c_function(), ctypes.c_void_p).value or 0


def unavailable() -> str | None:
    try:
        return None if address() else "the C library's free has no address"
    except (OSError, AttributeError, TypeError) as error:
        return f"the C library's free cannot be had through ctypes ({error})"


class NativeWorkBurst(burst.WorkerBurst):
    """Distinct native works, ``queue`` for each, ``flush`` for the last."""

    def make_works(self) -> list[Any]:
        function = address()
        return [self.module.NativeWork(function) for _ in range(self.count)]


class NativeWorkManyBurst(NativeWorkBurst, burst.WorkerManyBurst):
    """The same works in one ``queue_many``."""


class ExecutorBurst(Contestant):
    """``submit`` of the C function for each, ``result`` of the last."""

    key = "executor"
    label = "ThreadPoolExecutor(1) + ctypes"

    def __init__(self, count: int) -> None:
        self.count = count

    def setup(self, cleanup: ExitStack) -> None:
        self.executor = opponents.make_executor(cleanup)
        self.function = c_function()

    def run(self) -> Sample:
        submit, function = self.executor.submit, self.function
        start = perf_counter_ns()
        for _ in range(self.count):
            future = submit(function, None)
        future.result()
        end = perf_counter_ns()
        return Sample([(end - start) / self.count])


class SimpleQueueBurst(burst.SimpleQueueBurst):
    """``put`` of the bound C function for each; the last sets an event."""

    label = "SimpleQueue + thread + ctypes"

    def make_calls(self, count: int) -> list[Callable[[], object]]:
        return [functools.partial(c_function(), None)] * count


def contestants(sizes: Sizes) -> list[Contestant]:
    count = sizes.native_works
    native = opponents.NATIVE
    ours: list[Contestant] = []
    if native is not None:
        ours = [
            NativeWorkBurst("native", "pykworker", native, count),
            NativeWorkManyBurst("native-many", "pykworker, queue_many", native, count),
        ]
    return [
        *ours,
        NativeWorkBurst("pure", "pykworker.pure", opponents.PURE, count),
        ExecutorBurst(count),
        SimpleQueueBurst(count),
    ]


CASE = Case(
    name="native-works",
    title=lambda sizes: f"Native works: queue {sizes.native_works:,} C calls, wait for the last",
    unit="ns",
    per="work",
    timed=TIMED,
    contestants=contestants,
    unavailable=unavailable,
)
