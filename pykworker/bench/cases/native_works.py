# SPDX-License-Identifier: GPL-2.0-only
"""What does it cost to hand C functions to the thread?"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter_ns
from types import ModuleType
from typing import Any

from .. import opponents
from ..measure import Case, Contestant, Sample, Sizes

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


class NativeWorkBurst(Contestant):
    """Distinct native works, ``queue`` for each, ``flush`` for the last."""

    ours = True

    def __init__(self, key: str, label: str, module: ModuleType, count: int) -> None:
        self.key = key
        self.label = label
        self.module = module
        self.count = count

    def setup(self, cleanup: ExitStack) -> None:
        self.worker = opponents.make_worker(self.module, cleanup)
        function = address()
        self.works = [self.module.NativeWork(function) for _ in range(self.count)]

    def run(self) -> Sample:
        queue = self.worker.queue
        start = perf_counter_ns()
        for work in self.works:
            queue(work)
        self.works[-1].flush()
        end = perf_counter_ns()
        opponents.check_runs(self.worker, self.count)
        return Sample([(end - start) / self.count])


class NativeWorkManyBurst(NativeWorkBurst):
    """The same works in one ``queue_many``."""

    def run(self) -> Sample:
        start = perf_counter_ns()
        self.worker.queue_many(self.works)
        self.works[-1].flush()
        end = perf_counter_ns()
        opponents.check_runs(self.worker, self.count)
        return Sample([(end - start) / self.count])


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


class SimpleQueueBurst(Contestant):
    """``put`` of the bound C function for each; the last sets an event."""

    key = "simplequeue"
    label = "SimpleQueue + thread + ctypes"

    def __init__(self, count: int) -> None:
        self.count = count

    def setup(self, cleanup: ExitStack) -> None:
        self.thread = opponents.QueueThread(cleanup)
        self.done = threading.Event()
        call = functools.partial(c_function(), None)
        self.items: list[Callable[[], object]] = [*[call] * (self.count - 1), self.done.set]

    def run(self) -> Sample:
        put = self.thread.put
        start = perf_counter_ns()
        for item in self.items:
            put(item)
        self.done.wait()
        end = perf_counter_ns()
        return Sample([(end - start) / self.count])


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
