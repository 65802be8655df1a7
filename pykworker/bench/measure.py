# SPDX-License-Identifier: GPL-2.0-only
"""How samples are taken: repetitions, turns, garbage collection, Ctrl-C."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal, Self


@dataclass(frozen=True)
class Sizes:
    """How much each case does. Everything follows from the number of works in a burst."""

    works: int

    @property
    def native_works(self) -> int:
        """Distinct native works in a burst."""
        return max(1, self.works // 10)

    @property
    def batch(self) -> int:
        """Round trips per batch; one sample is one batch."""
        return max(1, min(200, self.works // 25))

    @property
    def batches(self) -> int:
        """Batches per repetition."""
        return max(1, self.works // 25 // self.batch)

    @property
    def ticks(self) -> int:
        """Ticks of a periodic work."""
        return max(1, self.works // 50)

    @property
    def looks(self) -> int:
        """Works that are watched one at a time by a computing thread."""
        return max(1, self.works // 2000)


@dataclass(frozen=True)
class Sample:
    """What one contestant measured in one repetition."""

    times: list[float]
    """Nanoseconds per unit of the case."""
    counts: dict[str, int] = field(default_factory=dict)
    """What else was counted, by name."""


class Contestant(ABC):
    """One way to do what the case asks for.

    `setup` makes everything that may be made beforehand, and hands what must be undone to
    `cleanup` at once, so that a set-up that fails half-way leaves nothing behind. `run` holds the
    timed region. Each repetition sets up anew: no contestant's thread is alive while another's is
    measured.
    """

    key: str
    label: str
    ours: bool = False

    @abstractmethod
    def setup(self, cleanup: ExitStack) -> None: ...

    @abstractmethod
    def run(self) -> Sample: ...


@dataclass(frozen=True)
class Case:
    """One question, and who is asked. The first contestant is what the others are compared with."""

    name: str
    title: Callable[[Sizes], str]
    unit: Literal["ns", "µs"]
    per: str
    timed: str
    """What lies inside the timed region and what does not."""
    contestants: Callable[[Sizes], Sequence[Contestant]]
    unavailable: Callable[[], str | None] = lambda: None
    """Why the case cannot run on this machine, or None."""


@dataclass
class Result:
    """What came of one case; an interrupted one holds the samples that were complete."""

    case: Case
    contestants: Sequence[Contestant] = ()
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    turns: list[list[str]] = field(default_factory=list)
    skipped: str | None = None


def turns(contestants: Sequence[Contestant], repetition: int) -> list[Contestant]:
    """The order of one repetition: each time another contestant begins."""
    first = repetition % len(contestants)
    return [*contestants[first:], *contestants[:first]]


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collects now, and not again before the end of the block."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def take(contestant: Contestant) -> Sample:
    with ExitStack() as cleanup:
        contestant.setup(cleanup)
        with no_garbage_collection():
            return contestant.run()


class Interrupt:
    """Ctrl-C: the first ends the run after the measurement in progress, the second at once.

    An exception in the midst of a measurement would hit some opponent between any two bytecodes,
    perhaps with a lock held, and then hang in the cleaning up. Where the signal is ignored (a
    shell's background job) or the caller is not the main thread, nothing changes.
    """

    def __init__(self, ends: str = "ending after this measurement") -> None:
        self.asked = False
        self._note = f"\n{ends}; Ctrl-C again ends at once"
        self._before: Callable[[int, FrameType | None], object] | int | None = None

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        with contextlib.suppress(RuntimeError, OSError):
            print(self._note, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        with contextlib.suppress(ValueError):  # not the main thread
            self._before = signal.getsignal(signal.SIGINT)
            if self._before is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ValueError, TypeError):
            signal.signal(signal.SIGINT, self._before)


def steps(cases: Sequence[Case], sizes: Sizes, repeat: int) -> int:
    """How often `measure` will call `progress`."""
    return sum(
        len(case.contestants(sizes)) * (repeat + 1) for case in cases if case.unavailable() is None
    )


def measure(
    cases: Sequence[Case],
    sizes: Sizes,
    repeat: int,
    progress: Callable[[str, str], None],
    interrupt: Interrupt,
) -> list[Result]:
    """Runs the cases one after the other; ends early, with what it has, on Ctrl-C.

    Each case first does one repetition that is thrown away, then `repeat` that count.
    `progress(case, contestant)` is called before each measurement, never during one.
    """
    results: list[Result] = []
    try:
        for case in cases:
            result = Result(case, skipped=case.unavailable())
            results.append(result)
            if result.skipped is not None:
                continue
            result.contestants = case.contestants(sizes)
            result.samples = {contestant.key: [] for contestant in result.contestants}
            for repetition in range(-1, repeat):
                order = turns(result.contestants, repetition)
                if repetition >= 0:
                    result.turns.append([contestant.key for contestant in order])
                for contestant in order:
                    progress(case.name, contestant.label)
                    sample = take(contestant)
                    if repetition >= 0:
                        result.samples[contestant.key].append(sample)
                    if interrupt.asked:
                        return results
    except KeyboardInterrupt:
        interrupt.asked = True
    return results
