# SPDX-License-Identifier: GPL-2.0-only
"""What it costs to wake a thread: round trips of one work, one after the other.

The threads are those of ``python -m pykworker bench``, so the figures compare.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from pykworker.bench import opponents
from pykworker.bench.cases.round_trip import PLACEMENTS, Placement, WorkerRoundTrip
from pykworker.bench.figures import summarize
from pykworker.bench.measure import Sizes

Data = dict[str, Any]

ROUNDS = 300
_FIRST = 30  # not counted: caches and processors come out of their sleep

_WHERE = {"": "not pinned", "-same-cpu": "same CPU", "-two-cpus": "two CPUs"}


def _ways() -> Iterator[tuple[str, Callable[[Sizes, Placement], WorkerRoundTrip]]]:
    """How the two threads wait for each other; both backends are asked the same."""
    module = opponents.NATIVE
    if module is None:
        yield (
            "both threads sleep",
            lambda sizes, placement: WorkerRoundTrip(
                "pure", "pykworker.pure", opponents.PURE, sizes, placement
            ),
        )
        return
    native = module
    yield (
        "both threads sleep",
        lambda sizes, placement: WorkerRoundTrip(
            "sleep", "busy_poll=0", native, sizes, placement, busy_poll=0
        ),
    )
    yield (
        "they poll before they sleep",
        lambda sizes, placement: WorkerRoundTrip("poll", "as usual", native, sizes, placement),
    )


def _measure(trip: WorkerRoundTrip, rounds: int) -> Data:
    with ExitStack() as cleanup:
        trip.setup(cleanup)
        trip.batch(_FIRST)
        gc.collect()
        times = [float(trip.batch(1)) for _ in range(rounds)]
    found = summarize(times)
    return {
        "rounds": found.count,
        "median_ns": found.median,
        "quartiles_ns": [found.lower_quartile, found.upper_quartile],
        "range_ns": [found.minimum, found.maximum],
    }


def measure(rounds: int = ROUNDS) -> list[Data]:
    """One entry for each way to wait and each placement of the two threads."""
    sizes = Sizes(25 * _FIRST)
    found: list[Data] = []
    for way, make in _ways():
        for placement in PLACEMENTS:
            entry: Data = {"threads": way, "where": _WHERE[placement.suffix]}
            reason = placement.unavailable()
            if reason is None:
                entry |= {"skipped": None, **_measure(make(sizes, placement), rounds)}
            else:
                entry |= {"skipped": reason}
            found.append(entry)
    return found
