# SPDX-License-Identifier: GPL-2.0-only
"""The timers of one worker, and the time-table of a periodic work.

A heap of what is armed. A timer that is disarmed stays in the heap, dead, until it comes to the
top or the dead are in the majority and all swept out; so arming and disarming cost O(log n), and
the heap is never more than about twice as long as there are timers.

Times are those of ``time.monotonic()``. All of it is under the worker's lock.
"""

from __future__ import annotations

import heapq
import itertools
import math
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pykworker.pure._works import Work

_FEW_DEAD = 64  # not worth a sweep


class Timer:
    """The timer of one pending run."""

    __slots__ = ("deadline",)

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline


class Timers:
    """All timers of one worker, under its lock."""

    __slots__ = ("_heap", "_order", "armed")

    def __init__(self) -> None:
        # Those that run, and whose they are; it holds the works as the list does. A timer is
        # disarmed by taking it out of here, which Ctrl-C cannot cut in two; it stays in the
        # heap until that is looked at.
        self.armed: dict[Timer | None, Work[Any]] = {}
        # Ties go by the order of arming, so that nothing beyond it is ever compared.
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def add(self, timer: Timer) -> None:
        """Of a timer that is about to be armed."""
        if len(self._heap) > 2 * len(self.armed) + _FEW_DEAD:
            # One step for the interpreter, in which no signal handler can add another timer.
            runs = map(self.armed.__contains__, map(itemgetter(2), self._heap))
            self._heap[:] = itertools.compress(self._heap, runs)
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (timer.deadline, next(self._order), timer))

    def next_deadline(self) -> float | None:
        """When the earliest one runs out; None: none runs."""
        timer = self.first_due(math.inf)
        return None if timer is None else timer.deadline

    def first_due(self, now: float) -> Timer | None:
        """The earliest one that has run out by *now*; None: there is none.

        It is disarmed if a signal handler has just done so.
        """
        heap = self._heap
        while heap and heap[0][2] not in self.armed:
            heapq.heappop(heap)
        return heap[0][2] if heap and heap[0][0] <= now else None


class Schedule:
    """When a periodic work is due: *start* + *tick* * *interval*.

    Computed anew for each tick, since a sum of many intervals would drift.
    """

    __slots__ = ("interval", "missed", "start", "tick")

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.missed = 0
        self.restart(0.0)

    def restart(self, start: float) -> None:
        self.start = start
        self.tick = 0

    def next_after(self, now: float) -> float:
        """A run begins: go on to the next tick that has not passed, and count the others."""
        late = now - (self.start + self.tick * self.interval)
        skipped = max(0, math.floor(late / self.interval))
        self.missed += skipped
        self.tick += 1 + skipped
        return self.start + self.tick * self.interval
