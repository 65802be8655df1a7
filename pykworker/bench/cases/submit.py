# SPDX-License-Identifier: GPL-2.0-only
"""What does a call with a result cost, against the standard library's executor?"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from types import ModuleType

from .. import opponents
from ..measure import Case, Contestant, Sizes
from . import burst, round_trip

BURST_TIMED = (
    "Inside: submitting all, their futures included, running all, the result of the last."
    " Outside: the thread."
)
RESULT_TIMED = (
    "Inside: a batch of calls, each submitted and its result waited for; a sample is a batch's"
    " mean. Outside: the thread, and one batch to warm up."
)


class WorkerSubmitBurst(burst.ExecutorBurst):
    """``submit`` for each, ``result`` of the last."""

    ours = True

    def __init__(self, key: str, label: str, module: ModuleType, count: int) -> None:
        super().__init__(count)
        self.key = key
        self.label = label
        self.module = module

    def setup(self, cleanup: ExitStack) -> None:
        self.executor = opponents.make_worker(self.module, cleanup)


class WorkerResult(round_trip.ExecutorRoundTrip):
    """``submit`` and ``result``."""

    ours = True

    def __init__(self, key: str, label: str, module: ModuleType, sizes: Sizes) -> None:
        super().__init__(sizes, round_trip.PLACEMENTS[0])
        self.key = key
        self.label = label
        self.module = module

    def connect(self, cleanup: ExitStack) -> int:
        self.executor = opponents.make_worker(self.module, cleanup)
        return int(self.executor.submit(threading.get_native_id).result())


def burst_contestants(sizes: Sizes) -> list[Contestant]:
    count = sizes.works
    native = opponents.NATIVE
    ours: list[Contestant] = []
    if native is not None:
        ours = [WorkerSubmitBurst("native", "pykworker", native, count)]
    return [
        *ours,
        WorkerSubmitBurst("pure", "pykworker.pure", opponents.PURE, count),
        burst.ExecutorBurst(count),
    ]


def result_contestants(sizes: Sizes) -> list[Contestant]:
    native = opponents.NATIVE
    ours: list[Contestant] = []
    if native is not None:
        ours = [WorkerResult("native", "pykworker", native, sizes)]
    return [
        *ours,
        WorkerResult("pure", "pykworker.pure", opponents.PURE, sizes),
        round_trip.ExecutorRoundTrip(sizes, round_trip.PLACEMENTS[0]),
    ]


CASES = (
    Case(
        name="submit-burst",
        title=lambda sizes: f"Burst of calls: submit {sizes.works:,}, result of the last",
        unit="ns",
        per="call",
        timed=BURST_TIMED,
        contestants=burst_contestants,
    ),
    Case(
        name="submit-result",
        title=lambda _: "One call: submit(fn).result()",
        unit="µs",
        per="call",
        timed=RESULT_TIMED,
        contestants=result_contestants,
    ),
)
