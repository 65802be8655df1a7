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

    __slots__ = ("deadline", "work")

    def __init__(self, work: Work[Any], deadline: float) -> None:
        self.work: Work[Any] | None = work  # it holds the work as the list does; None: it is over
        self.deadline = deadline


class Timers:
    """All timers of one worker."""

    __slots__ = ("_armed", "_heap", "_order")

    def __init__(self) -> None:
        # Ties go by the order of arming, so that nothing beyond it is ever compared.
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        # Those in the heap that are not dead. A set, not a count: it is changed in one step, and
        # so right wherever Ctrl-C comes.
        self._armed: set[Timer] = set()

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._armed)

    def arm(self, timer: Timer) -> None:
        heapq.heappush(self._heap, (timer.deadline, next(self._order), timer))
        self._armed.add(timer)

    def disarm(self, timer: Timer) -> None:
        """Whoever calls this holds the work, so that it does not end here, under the lock."""
        if timer not in self._armed:
            return
        self._armed.discard(timer)
        timer.work = None
        if len(self._heap) > 2 * self.running + _FEW_DEAD:
            # One step for the interpreter, in which no signal handler can arm another timer.
            runs = map(self._armed.__contains__, map(itemgetter(2), self._heap))
            self._heap[:] = itertools.compress(self._heap, runs)
            heapq.heapify(self._heap)

    def works(self) -> list[Work[Any]]:
        """Those whose timer runs."""
        return [timer.work for timer in self._armed if timer.work is not None]

    def next_deadline(self) -> float | None:
        """When the earliest one runs out; None: none runs."""
        while self._heap:
            if self._heap[0][2] in self._armed:
                return self._heap[0][0]
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: float) -> Timer | None:
        """Take out the earliest one that has run out by *now*; None: there is none."""
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            if timer in self._armed:
                self._armed.discard(timer)
                return timer
        return None


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
