# SPDX-License-Identifier: GPL-2.0-only
"""What does it cost to ask for the same thing again and again while it is already pending?"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from time import perf_counter_ns
from types import ModuleType

from .. import opponents
from ..measure import Case, Contestant, Sample, Sizes

TIMED = (
    "Inside: all requests, until the last one's run is known to have ended; the worker runs"
    " meanwhile. Outside: the work, the thread. A work has identity: a request while it is pending"
    " adds no run. The opponents have none: they run every request."
)


class Counter:
    """A callback that counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> None:
        self.runs += 1


class WorkerCoalescing(Contestant):
    """``queue`` of one work, over and over; then ``flush``."""

    ours = True

    def __init__(self, key: str, label: str, module: ModuleType, count: int) -> None:
        self.key = key
        self.label = label
        self.module = module
        self.count = count

    def setup(self, cleanup: ExitStack) -> None:
        self.worker = opponents.make_worker(self.module, cleanup)
        self.counter = Counter()
        self.work = self.module.Work(self.counter)

    def run(self) -> Sample:
        queue, work = self.worker.queue, self.work
        start = perf_counter_ns()
        for _ in range(self.count):
            queue(work)
        work.flush()
        end = perf_counter_ns()
        return Sample([(end - start) / self.count], {"runs": self.counter.runs})


class ExecutorCoalescing(Contestant):
    """``submit`` for every request; ``result`` of the last."""

    key = "executor"
    label = "ThreadPoolExecutor(1)"

    def __init__(self, count: int) -> None:
        self.count = count

    def setup(self, cleanup: ExitStack) -> None:
        self.executor = opponents.make_executor(cleanup)
        self.counter = Counter()

    def run(self) -> Sample:
        submit, counter = self.executor.submit, self.counter
        start = perf_counter_ns()
        for _ in range(self.count):
            future = submit(counter)
        future.result()
        end = perf_counter_ns()
        return Sample([(end - start) / self.count], {"runs": self.counter.runs})


class SimpleQueueCoalescing(Contestant):
    """``put`` for every request, and an event behind the last."""

    key = "simplequeue"
    label = "SimpleQueue + thread"

    def __init__(self, count: int) -> None:
        self.count = count

    def setup(self, cleanup: ExitStack) -> None:
        self.thread = opponents.QueueThread(cleanup)
        self.counter = Counter()
        self.done = threading.Event()

    def run(self) -> Sample:
        put, counter = self.thread.put, self.counter
        start = perf_counter_ns()
        for _ in range(self.count):
            put(counter)
        put(self.done.set)
        self.done.wait()
        end = perf_counter_ns()
        return Sample([(end - start) / self.count], {"runs": self.counter.runs})


def contestants(sizes: Sizes) -> list[Contestant]:
    count = sizes.works
    native = opponents.NATIVE
    ours: list[Contestant] = []
    if native is not None:
        ours = [WorkerCoalescing("native", "pykworker", native, count)]
    return [
        *ours,
        WorkerCoalescing("pure", "pykworker.pure", opponents.PURE, count),
        ExecutorCoalescing(count),
        SimpleQueueCoalescing(count),
    ]


CASE = Case(
    name="coalescing",
    title=lambda sizes: f"Coalescing: {sizes.works:,} requests for one and the same work",
    unit="ns",
    per="request",
    timed=TIMED,
    contestants=contestants,
)
