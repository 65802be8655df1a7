# SPDX-License-Identifier: GPL-2.0-only
"""What is made of the samples: median, spread, and ratios taken pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """One contestant's samples in five figures, in the samples' own unit."""

    count: int
    median: float
    lower_quartile: float
    upper_quartile: float
    minimum: float
    maximum: float


def summarize(samples: Sequence[float]) -> Summary:
    """Needs at least one sample; of a single one all five figures are the sample itself."""
    if not samples:
        raise ValueError("no samples")
    if len(samples) == 1:
        lower = upper = samples[0]
    else:
        # "inclusive": the samples are all there is to describe, so no quartile may lie outside.
        lower, _, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return Summary(
        count=len(samples),
        median=statistics.median(samples),
        lower_quartile=lower,
        upper_quartile=upper,
        minimum=min(samples),
        maximum=max(samples),
    )


def pair_ratios(above: Sequence[Sequence[float]], below: Sequence[Sequence[float]]) -> list[float]:
    """`above` over `below`, one ratio for each repetition that both have finished.

    Each argument holds one sequence of samples per repetition. What slowed the machine during one
    repetition slowed both sides of that pair, so it drops out; it would not drop out of the ratio
    of two medians that come from different moments.
    """
    return [statistics.median(a) / statistics.median(b) for a, b in zip(above, below, strict=False)]
