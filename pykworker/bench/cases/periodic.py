# SPDX-License-Identifier: GPL-2.0-only
"""How late does the worst tick in a thousand of a 1 kHz period begin, while Python computes?

The moments are noted by whoever runs the tick, in C for a native work, and are held against the
deadlines afterwards: one interval from the last deadline, those skipped that had passed by the
time a tick began. So a tick that begins late is late by all of it, however many it has swallowed.
"""

from __future__ import annotations

import statistics
import threading
import time
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from time import monotonic_ns
from types import ModuleType
from typing import Any

from .. import opponents
from ..measure import Case, Contestant, Sample, Sizes
from .busy_interpreter import compute

TIMED = (
    "From a tick's deadline until it begins, while the main thread computes and never waits. A"
    " sample is the 99.9th percentile of one repetition's ticks. Outside: the worker, the thread."
)

INTERVAL_NS = 1_000_000


def lateness(begin: int, moments: Sequence[int]) -> list[int]:
    """Nanoseconds from each tick's deadline, the first one interval past begin, to its moment."""
    late = []
    deadline = begin + INTERVAL_NS
    for moment in moments:
        late.append(max(0, moment - deadline))
        deadline += (max(0, moment - deadline) // INTERVAL_NS + 1) * INTERVAL_NS
    return late


def percentile(values: Sequence[int], share: float) -> float:
    """The smallest value that so many, as a share of 1, do not exceed."""
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))])


class Periodic(Contestant):
    """Ticks for as long as the sizes say, and the main thread computes meanwhile."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes

    @abstractmethod
    def begin(self) -> int:
        """Begins to tick; returns the moment that the first interval is counted from."""

    @abstractmethod
    def has_ticked(self) -> bool:
        """Has it, once? A repetition without a tick has nothing to say."""

    @abstractmethod
    def end(self) -> Sequence[int]:
        """Ends it; returns the moments of the ticks."""

    def run(self) -> Sample:
        begin = self.begin()
        until = begin + self.sizes.ticks * INTERVAL_NS
        number = 1
        while monotonic_ns() < until or not self.has_ticked():
            number = compute(number)
        late = lateness(begin, self.end())
        counts = {"ticks": len(late), "median_ns": int(statistics.median(late))}
        return Sample([percentile(late, 0.999)], counts)


class WorkerPeriodic(Periodic):
    """``every`` of a Python callback."""

    ours = True

    def __init__(self, key: str, label: str, module: ModuleType, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.key = key
        self.label = label
        self.module = module

    def setup(self, cleanup: ExitStack) -> None:
        self.worker = opponents.make_worker(self.module, cleanup)
        self.moments: list[int] = []

    def tick(self) -> Any:
        note = self.moments.append
        return lambda: note(monotonic_ns())

    def begin(self) -> int:
        tick = self.tick()
        begin = monotonic_ns()
        self.beat = self.worker.every(INTERVAL_NS / 1e9, tick)
        return begin

    def has_ticked(self) -> bool:
        return bool(self.moments)

    def end(self) -> Sequence[int]:
        self.beat.cancel()
        return self.moments


class NativePeriodic(WorkerPeriodic):
    """``every`` of a native work that notes the moment in C."""

    def tick(self) -> Any:
        from pykworker._binding import ffi, lib

        room = self.sizes.ticks * 2
        self.noted = ffi.new("uint64_t[]", 2 + room)
        self.noted[0] = room
        return self.module.NativeWork(ffi.addressof(lib, "pykw_note_moment"), self.noted)

    def has_ticked(self) -> bool:
        return bool(self.noted[1])

    def end(self) -> Sequence[int]:
        self.beat.cancel()
        return list(self.noted[2 : 2 + self.noted[1]])


class ThreadPeriodic(Periodic):
    """A thread that sleeps until the next deadline: the loop people write by hand."""

    key = "threading"
    label = "threading.Thread + sleep"

    def setup(self, cleanup: ExitStack) -> None:
        self.over = threading.Event()
        self.moments: list[int] = []
        cleanup.callback(self.over.set)

    def begin(self) -> int:
        begin = monotonic_ns()
        self.thread = threading.Thread(target=self.loop, args=(begin,), name="bench", daemon=True)
        self.thread.start()
        return begin

    def loop(self, begin: int) -> None:
        note, over = self.moments.append, self.over.is_set
        deadline = begin + INTERVAL_NS
        while not over():
            time.sleep(max(0, deadline - monotonic_ns()) / 1e9)
            now = monotonic_ns()
            note(now)
            deadline += (max(0, now - deadline) // INTERVAL_NS + 1) * INTERVAL_NS

    def has_ticked(self) -> bool:
        return bool(self.moments)

    def end(self) -> Sequence[int]:
        self.over.set()
        self.thread.join()
        return self.moments


def contestants(sizes: Sizes) -> list[Contestant]:
    native = opponents.NATIVE
    ours: list[Contestant] = []
    if native is not None:
        ours = [
            NativePeriodic("native", "pykworker, native work", native, sizes),
            WorkerPeriodic("native-python", "pykworker, Python work", native, sizes),
        ]
    return [
        *ours,
        WorkerPeriodic("pure", "pykworker.pure, Python work", opponents.PURE, sizes),
        ThreadPeriodic(sizes),
    ]


CASE = Case(
    name="periodic",
    title=lambda _: "1 kHz while Python computes: how late the worst tick in a thousand begins",
    unit="µs",
    per="tick",
    timed=TIMED,
    contestants=contestants,
)
