# SPDX-License-Identifier: GPL-2.0-only
"""How long until a work has run, when a Python thread computes and never pauses?

The computing thread is the one that asks. It goes on computing and looks once per turn whether
the work has run, so it never has to win the interpreter back in order to see it: what is measured
is the worker's delay alone. (A thread that waited would measure its own return as well: about one
switch interval, whatever the worker does.)
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter_ns
from types import ModuleType
from typing import Any

from .. import opponents
from ..measure import Case, Contestant, Sample, Sizes
from . import native_works

TIMED = (
    "Inside: queueing one work, then computing in Python, with one look per turn, until a look"
    " finds that it has run. Outside: the work, the thread, and a pause of 1 ms in between, in"
    " which the worker goes to sleep."
)

PAUSE = 0.001


def compute(number: int) -> int:
    """A turn of Python arithmetic; calls nothing that lets the interpreter go."""
    for _ in range(10):
        number = (number * 1103515245 + 12345) % 2147483648
    return number


class Busy(Contestant):
    """One work at a time, watched by the thread that computes."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes

    @abstractmethod
    def watch(self) -> int:
        """Queues one, computes until it has run; returns the nanoseconds."""

    def run(self) -> Sample:
        times: list[float] = []
        for _ in range(self.sizes.looks):
            time.sleep(PAUSE)
            times.append(self.watch())
        return Sample(times)


class WorkerBusy(Busy):
    """``queue``; ``pending`` and ``executing`` tell when it has run."""

    ours = True

    def __init__(
        self,
        key: str,
        label: str,
        module: ModuleType,
        make: Callable[[ModuleType], Any],
        sizes: Sizes,
    ) -> None:
        super().__init__(sizes)
        self.key = key
        self.label = label
        self.module = module
        self.make = make

    def setup(self, cleanup: ExitStack) -> None:
        self.worker = opponents.make_worker(self.module, cleanup)
        self.work = self.make(self.module)

    def watch(self) -> int:
        work, number = self.work, 1
        start = perf_counter_ns()
        self.worker.queue(work)
        while work.pending or work.executing:
            number = compute(number)
        return perf_counter_ns() - start


class ExecutorBusy(Busy):
    """``submit``; ``done`` tells when it has run."""

    key = "executor"
    label = "ThreadPoolExecutor(1)"

    def setup(self, cleanup: ExitStack) -> None:
        self.executor = opponents.make_executor(cleanup)

    def watch(self) -> int:
        number = 1
        start = perf_counter_ns()
        future = self.executor.submit(opponents.nothing)
        while not future.done():
            number = compute(number)
        return perf_counter_ns() - start


class SimpleQueueBusy(Busy):
    """``put`` of a list's ``append``; the list tells when it has run."""

    key = "simplequeue"
    label = "SimpleQueue + thread"

    def setup(self, cleanup: ExitStack) -> None:
        self.thread = opponents.QueueThread(cleanup)

    def watch(self) -> int:
        answers: list[None] = []
        number = 1

        def callback() -> None:
            answers.append(None)

        start = perf_counter_ns()
        self.thread.put(callback)
        while not answers:
            number = compute(number)
        return perf_counter_ns() - start


def _python_work(module: ModuleType) -> Any:
    return module.Work(opponents.nothing)


def _native_work(module: ModuleType) -> Any:
    return module.NativeWork(native_works.address())


def contestants(sizes: Sizes) -> list[Contestant]:
    native = opponents.NATIVE
    ours: list[Contestant] = []
    if native is not None:
        ours = [
            WorkerBusy("native", "pykworker, native work", native, _native_work, sizes),
            WorkerBusy("native-python", "pykworker, Python work", native, _python_work, sizes),
        ]
    return [
        *ours,
        WorkerBusy("pure", "pykworker.pure, Python work", opponents.PURE, _python_work, sizes),
        ExecutorBusy(sizes),
        SimpleQueueBusy(sizes),
    ]


CASE = Case(
    name="busy-interpreter",
    title=lambda _: "Busy interpreter: from queue to done while Python computes",
    unit="µs",
    per="work",
    timed=TIMED,
    contestants=contestants,
    unavailable=native_works.unavailable,
)
