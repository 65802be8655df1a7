# SPDX-License-Identifier: GPL-2.0-only
"""How fast it must be, and how fast it should be: ratios within one run on one machine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """`ours` against `against` in one case.

    kind "faster": how many times longer the opponent takes; must and aim are lower bounds.
    kind "share": our time as a share of the opponent's; must and aim are upper bounds.
    """

    case: str
    ours: str
    against: str
    kind: Literal["faster", "share"]
    must: float
    aim: float

    def value(self, ratios: Sequence[float]) -> float:
        """The measured figure, from our time over the opponent's, one ratio per repetition."""
        if self.kind == "faster":
            return statistics.median(1 / ratio for ratio in ratios)
        return statistics.median(ratios)

    def verdict(self, value: float) -> str:
        """ "aim met", "met" or "not met"."""
        better = value.__ge__ if self.kind == "faster" else value.__le__
        if better(self.aim):
            return "aim met"
        return "met" if better(self.must) else "not met"


TARGETS = (
    Target("burst", "native", "pure", "faster", 15, 30),
    Target("burst", "native", "executor", "faster", 40, 90),
    Target("burst", "native", "simplequeue", "share", 2.0, 1.0),
    Target("burst", "native-many", "simplequeue", "share", 0.7, 0.4),
    Target("round-trip", "native", "pure", "faster", 10, 60),
    Target("round-trip", "native", "executor", "faster", 10, 60),
    Target("submit-result", "native", "executor", "faster", 5, 25),
    Target("submit-burst", "native", "executor", "faster", 3, 5),
    Target("periodic", "native", "threading", "faster", 50, 500),
)
