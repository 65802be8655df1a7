# SPDX-License-Identifier: GPL-2.0-only
"""What does it cost to hand many different works to the thread as fast as possible?"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter_ns
from types import ModuleType
from typing import Any

from .. import opponents
from ..measure import Case, Contestant, Sample, Sizes
from ..opponents import nothing

TIMED = (
    "Inside: queueing all, running all, learning that the last has run."
    " Outside: making what can be reused (works; for SimpleQueue the list of callables), the"
    " thread. submit makes its futures inside, since each call needs a new one."
)


class WorkerBurst(Contestant):
    """Distinct works, ``queue`` for each, ``flush`` for the last."""

    ours = True

    def __init__(self, key: str, label: str, module: ModuleType, count: int) -> None:
        self.key = key
        self.label = label
        self.module = module
        self.count = count

    def setup(self, cleanup: ExitStack) -> None:
        self.worker = opponents.make_worker(self.module, cleanup)
        self.works = self.make_works()

    def make_works(self) -> list[Any]:
        return [self.module.Work(nothing) for _ in range(self.count)]

    def run(self) -> Sample:
        queue = self.worker.queue
        start = perf_counter_ns()
        for work in self.works:
            queue(work)
        self.works[-1].flush()
        end = perf_counter_ns()
        opponents.check_runs(self.worker, self.count)
        return Sample([(end - start) / self.count])


class WorkerManyBurst(WorkerBurst):
    """The same works in one ``queue_many``."""

    def run(self) -> Sample:
        start = perf_counter_ns()
        self.worker.queue_many(self.works)
        self.works[-1].flush()
        end = perf_counter_ns()
        opponents.check_runs(self.worker, self.count)
        return Sample([(end - start) / self.count])


class ExecutorBurst(Contestant):
    """``submit`` for each, ``result`` of the last."""

    key = "executor"
    label = "ThreadPoolExecutor(1)"

    def __init__(self, count: int) -> None:
        self.count = count

    def setup(self, cleanup: ExitStack) -> None:
        self.executor = opponents.make_executor(cleanup)

    def run(self) -> Sample:
        submit = self.executor.submit
        start = perf_counter_ns()
        for _ in range(self.count):
            future = submit(nothing)
        future.result()
        end = perf_counter_ns()
        return Sample([(end - start) / self.count])


class SimpleQueueBurst(Contestant):
    """``put`` for each; the last sets an event. One function for all, kind to its caches."""

    key = "simplequeue"
    label = "SimpleQueue + thread"

    def __init__(self, count: int) -> None:
        self.count = count

    def setup(self, cleanup: ExitStack) -> None:
        self.thread = opponents.QueueThread(cleanup)
        self.done = threading.Event()
        self.items = [*self.make_calls(self.count - 1), self.done.set]

    def make_calls(self, count: int) -> list[Callable[[], object]]:
        return [nothing] * count

    def run(self) -> Sample:
        put = self.thread.put
        start = perf_counter_ns()
        for item in self.items:
            put(item)
        self.done.wait()
        end = perf_counter_ns()
        return Sample([(end - start) / self.count])


class SimpleQueueDistinctBurst(SimpleQueueBurst):
    """As many different callables as there are works: what works with arguments come to."""

    key = "simplequeue-distinct"
    label = "SimpleQueue, distinct callables"

    def make_calls(self, count: int) -> list[Callable[[], object]]:
        return [functools.partial(nothing) for _ in range(count)]


def contestants(sizes: Sizes) -> list[Contestant]:
    count = sizes.works
    native = opponents.NATIVE
    ours: list[Contestant] = []
    if native is not None:
        ours = [
            WorkerBurst("native", "pykworker", native, count),
            WorkerManyBurst("native-many", "pykworker, queue_many", native, count),
        ]
    return [
        *ours,
        WorkerBurst("pure", "pykworker.pure", opponents.PURE, count),
        ExecutorBurst(count),
        SimpleQueueBurst(count),
        SimpleQueueDistinctBurst(count),
    ]


CASE = Case(
    name="burst",
    title=lambda sizes: f"Burst: queue {sizes.works:,} Python works, wait for the last",
    unit="ns",
    per="work",
    timed=TIMED,
    contestants=contestants,
)
