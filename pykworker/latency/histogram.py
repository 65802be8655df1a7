# SPDX-License-Identifier: GPL-2.0-only
"""What the ticks are counted in, and what is read out of it.

The buckets are those of ``_binding/latency.c``: 64 of one nanosecond, then 64 for each power of
two, so that a value is known to 1/64 of itself. `NativeRecorder` is that; `PythonRecorder` does
the same where there is no extension module, and is what the tests hold it against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic_ns
from typing import Protocol

from pykworker.pure import PeriodicWork, current_work

SHARE_BITS = 6
SHARES = 1 << SHARE_BITS
BUCKETS = 1984

PERCENTILES = (50.0, 99.0, 99.9, 99.99)

Bucket = tuple[int, int, int]
"""From, until (not included), and how many: nanoseconds and a count."""


def bucket_of(ns: int) -> int:
    """Which bucket counts *ns* nanoseconds."""
    if ns < SHARES:
        return ns
    shift = ns.bit_length() - 1 - SHARE_BITS
    return min(shift * SHARES + (ns >> shift), BUCKETS - 1)


def bucket_begin(index: int) -> int:
    """The least that it counts, in nanoseconds; it ends where the next one begins."""
    shift = 0 if index < SHARES else index // SHARES - 1
    return (index - shift * SHARES) << shift


def percentile(buckets: Sequence[Bucket], share: float) -> float | None:
    """The nanoseconds that *share* per cent of all do not exceed: the middle of their bucket.

    None where too few have been counted for even half of one to be beyond: the 99.9th percentile
    of 400 ticks would be their maximum under another name.
    """
    count = sum(number for _, _, number in buckets)
    beyond = count * (100 - share) / 100
    if beyond < 0.5 - 1e-9:
        return None
    rank = max(1, math.ceil(count - beyond - 1e-9))
    for begin, end, number in buckets:
        rank -= number
        if rank <= 0:
            return begin + (end - 1 - begin) / 2
    return None


@dataclass(frozen=True)
class Record:
    """What was counted; nanoseconds."""

    count: int
    missed: int | None
    """None: who counted does not say."""
    minimum: int
    maximum: int
    total: int
    buckets: list[Bucket]
    """Those that are not empty."""

    def percentile(self, share: float) -> float | None:
        """As :func:`percentile`, and never beyond what was seen."""
        value = percentile(self.buckets, share)
        return None if value is None else min(max(value, self.minimum), self.maximum)


def _buckets(counts: Sequence[int]) -> list[Bucket]:
    return [
        (bucket_begin(index), bucket_begin(index + 1), number)
        for index, number in enumerate(counts)
        if number
    ]


class Recorder(Protocol):
    """One thread records, others may look at any time."""

    def begin_lap(self, due_ns: int) -> None:
        """The first tick of a loop of one's own is due then."""

    def lap(self) -> int:
        """In a loop of one's own: record its tick; when is the next one due?"""
        ...

    def tick(self) -> None:
        """In the callback of a periodic work in Python: record it."""

    def record(self, late_ns: int) -> None: ...

    def progress(self) -> tuple[int, int]:
        """How many, and the latest in nanoseconds."""
        ...

    def result(self) -> Record: ...


class NativeRecorder:
    """A ``struct pykw_latency``. It must outlive the work that ticks."""

    def __init__(self, interval_ns: int) -> None:
        from pykworker._binding import ffi, lib

        self._lib = lib
        self.struct = ffi.new("struct pykw_latency *")
        self.struct.interval_ns = interval_ns
        self.native_tick = ffi.addressof(lib, "pykw_latency_tick")
        """For a NativeWork, with `struct` as its data."""

    def begin_lap(self, due_ns: int) -> None:
        self.struct.next_ns = due_ns

    def lap(self) -> int:
        return int(self._lib.pykw_latency_lap(self.struct))

    def tick(self) -> None:
        """In the callback of a periodic work in Python."""
        self._lib.pykw_latency_tick(self.struct)

    def record(self, late_ns: int) -> None:
        self._lib.pykw_latency_record(self.struct, late_ns)

    def progress(self) -> tuple[int, int]:
        return self.struct.count, self.struct.max_ns

    def result(self) -> Record:
        struct = self.struct
        return Record(
            count=struct.count,
            missed=struct.missed,
            minimum=struct.min_ns,
            maximum=struct.max_ns,
            total=struct.sum_ns,
            buckets=_buckets(list(struct.buckets)),
        )


class PythonRecorder:
    """The same in Python."""

    def __init__(self, interval_ns: int) -> None:
        self.interval_ns = interval_ns
        self.counts = [0] * BUCKETS
        self.count = self.missed = self.maximum = self.total = 0
        self.minimum = 0
        self.due_ns = 0

    def begin_lap(self, due_ns: int) -> None:
        self.due_ns = due_ns

    def record(self, late_ns: int) -> None:
        self.minimum = min(self.minimum, late_ns) if self.count else late_ns
        self.maximum = max(self.maximum, late_ns)
        self.total += late_ns
        self.counts[bucket_of(late_ns)] += 1
        self.count += 1

    def lap(self) -> int:
        now = monotonic_ns()
        passed = max(0, now - self.due_ns) // self.interval_ns
        late = max(0, now - self.due_ns)
        self.due_ns += (passed + 1) * self.interval_ns
        self.missed += passed
        self.record(late)
        return self.due_ns

    def tick(self) -> None:
        """In the callback of a periodic work of :mod:`pykworker.pure`."""
        now = monotonic_ns()
        work = current_work()
        if not isinstance(work, PeriodicWork):
            return
        schedule = work._schedule
        # The run has gone on to the next tick, past those that it skipped.
        passed = schedule.missed - self.missed
        self.missed = schedule.missed
        tick = schedule.tick - 1 - passed
        due = schedule.start + tick * schedule.interval
        self.record(max(0, now - round(due * 1e9)))

    def progress(self) -> tuple[int, int]:
        return self.count, self.maximum

    def result(self) -> Record:
        return Record(
            count=self.count,
            missed=self.missed,
            minimum=self.minimum,
            maximum=self.maximum,
            total=self.total,
            buckets=_buckets(self.counts),
        )
