# SPDX-License-Identifier: GPL-2.0-only
"""How long from handing one Python work to the thread until the caller knows that it has run?"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter_ns
from types import ModuleType
from typing import Any

from .. import machine, opponents
from ..measure import Case, Contestant, Sample, Sizes
from ..opponents import nothing

TIMED = (
    "Inside: a batch of round trips, one after the other; a sample is a batch's mean."
    " Outside: making the work, the thread, and one batch to warm up."
    " submit makes its future inside, since each call needs a new one."
)


@dataclass(frozen=True)
class Placement:
    """Which CPUs the calling thread and the worker's thread are pinned to; None: not pinned."""

    suffix: str
    title: str
    cpus: Callable[[], tuple[int, int] | None]
    unavailable: Callable[[], str | None] = lambda: None


def _same_cpu() -> tuple[int, int] | None:
    pair = machine.cpu_pair()
    return None if pair is None else (pair[0], pair[0])


PLACEMENTS = (
    Placement("", "threads not pinned", lambda: None),
    Placement("-same-cpu", "both threads on one CPU", _same_cpu, opponents.one_cpu_reason),
    Placement("-two-cpus", "one CPU for each thread", machine.cpu_pair, opponents.one_cpu_reason),
)


class RoundTrip(Contestant):
    """Batches of round trips; the subclasses say what one round trip is."""

    def __init__(self, sizes: Sizes, placement: Placement) -> None:
        self.sizes = sizes
        self.placement = placement

    @abstractmethod
    def connect(self, cleanup: ExitStack) -> int:
        """Makes the thread and what goes round; returns the thread's native id."""

    @abstractmethod
    def batch(self, count: int) -> int:
        """Goes round `count` times; returns the nanoseconds."""

    def setup(self, cleanup: ExitStack) -> None:
        native_id = self.connect(cleanup)
        cpus = self.placement.cpus()
        if cpus is not None:
            opponents.pin(*cpus, native_id, cleanup)
        self.batch(self.sizes.batch)

    def run(self) -> Sample:
        count = self.sizes.batch
        return Sample([self.batch(count) / count for _ in range(self.sizes.batches)])


class WorkerRoundTrip(RoundTrip):
    """``queue`` and ``flush``, always the same work."""

    ours = True

    def __init__(
        self,
        key: str,
        label: str,
        module: ModuleType,
        sizes: Sizes,
        placement: Placement,
        **options: Any,
    ) -> None:
        super().__init__(sizes, placement)
        self.key = key
        self.label = label
        self.module = module
        self.options = options

    def connect(self, cleanup: ExitStack) -> int:
        self.worker = opponents.make_worker(self.module, cleanup, **self.options)
        self.work = self.module.Work(nothing)
        return int(self.worker.native_id)

    def batch(self, count: int) -> int:
        queue, flush, work = self.worker.queue, self.work.flush, self.work
        start = perf_counter_ns()
        for _ in range(count):
            queue(work)
            flush()
        return perf_counter_ns() - start


class ExecutorRoundTrip(RoundTrip):
    """``submit`` and ``result``."""

    key = "executor"
    label = "ThreadPoolExecutor(1)"

    def connect(self, cleanup: ExitStack) -> int:
        self.executor = opponents.make_executor(cleanup)
        return self.executor.submit(threading.get_native_id).result()

    def batch(self, count: int) -> int:
        submit = self.executor.submit
        start = perf_counter_ns()
        for _ in range(count):
            submit(nothing).result()
        return perf_counter_ns() - start


class SimpleQueueRoundTrip(RoundTrip):
    """``put``, and a lock that the callable releases: the quickest answer the library offers."""

    key = "simplequeue"
    label = "SimpleQueue + thread"

    def connect(self, cleanup: ExitStack) -> int:
        self.thread = opponents.QueueThread(cleanup)
        self.answer = threading.Lock()
        self.answer.acquire()
        assert self.thread.thread.native_id is not None
        return self.thread.thread.native_id

    def batch(self, count: int) -> int:
        put, wait, answer = self.thread.put, self.answer.acquire, self.answer.release

        def callback() -> None:
            answer()

        start = perf_counter_ns()
        for _ in range(count):
            put(callback)
            wait()
        return perf_counter_ns() - start


def _contestants(sizes: Sizes, placement: Placement) -> list[Contestant]:
    native = opponents.NATIVE
    ours: list[Contestant] = []
    if native is not None:
        ours = [
            WorkerRoundTrip("native", "pykworker", native, sizes, placement),
            WorkerRoundTrip(
                "native-no-poll", "pykworker, busy_poll=0", native, sizes, placement, busy_poll=0
            ),
        ]
    return [
        *ours,
        WorkerRoundTrip("pure", "pykworker.pure", opponents.PURE, sizes, placement),
        ExecutorRoundTrip(sizes, placement),
        SimpleQueueRoundTrip(sizes, placement),
    ]


def _case(placement: Placement) -> Case:
    return Case(
        name=f"round-trip{placement.suffix}",
        title=lambda _: f"Round trip: queue one work, wait for it; {placement.title}",
        unit="µs",
        per="round trip",
        timed=TIMED,
        contestants=lambda sizes: _contestants(sizes, placement),
        unavailable=placement.unavailable,
    )


CASES = tuple(_case(placement) for placement in PLACEMENTS)
