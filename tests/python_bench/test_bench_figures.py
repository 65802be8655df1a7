# SPDX-License-Identifier: GPL-2.0-only
"""Statistics, ratios and verdicts, on samples made up for the purpose."""

from __future__ import annotations

import pytest

from pykworker.bench import figures, report
from pykworker.bench.targets import TARGETS, Target

pytestmark = pytest.mark.timeout(30)


def test_summary_of_five() -> None:
    summary = figures.summarize([5.0, 1.0, 4.0, 2.0, 3.0])
    assert summary == figures.Summary(5, 3.0, 2.0, 4.0, 1.0, 5.0)


def test_summary_of_one_is_that_one() -> None:
    assert figures.summarize([7.0]) == figures.Summary(1, 7.0, 7.0, 7.0, 7.0, 7.0)


def test_summary_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        figures.summarize([])


def test_quartiles_stay_within_the_samples() -> None:
    summary = figures.summarize([1.0, 2.0])
    assert 1.0 <= summary.lower_quartile <= summary.median <= summary.upper_quartile <= 2.0


def test_ratios_are_taken_pair_by_pair() -> None:
    # The machine ran at half speed in the second repetition: the ratio does not move.
    assert figures.pair_ratios([[10.0], [20.0]], [[5.0], [10.0]]) == [2.0, 2.0]


def test_ratios_use_each_repetitions_median() -> None:
    assert figures.pair_ratios([[1.0, 9.0, 100.0]], [[3.0, 2.0, 4.0]]) == [3.0]


def test_an_unpaired_repetition_gives_no_ratio() -> None:
    assert figures.pair_ratios([[10.0], [20.0]], [[5.0]]) == [2.0]
    assert figures.pair_ratios([], [[5.0]]) == []


@pytest.mark.parametrize(
    ("ratios", "value", "verdict"),
    [
        ([0.01, 0.02, 0.04], 50.0, "aim met"),
        ([0.05], 20.0, "met"),
        ([0.1], 10.0, "not met"),
        ([1 / 16], 16.0, "met"),
        ([1 / 32], 32.0, "aim met"),
    ],
)
def test_faster_targets(ratios: list[float], value: float, verdict: str) -> None:
    target = Target("burst", "native", "pure", "faster", must=16, aim=32)
    assert target.value(ratios) == pytest.approx(value)
    assert target.verdict(target.value(ratios)) == verdict


@pytest.mark.parametrize(
    ("ratios", "value", "verdict"),
    [
        ([0.9, 0.5, 0.2], 0.5, "aim met"),
        ([1.0], 1.0, "aim met"),
        ([2.0], 2.0, "met"),
        ([2.5], 2.5, "not met"),
    ],
)
def test_share_targets(ratios: list[float], value: float, verdict: str) -> None:
    target = Target("burst", "native", "simplequeue", "share", must=2.0, aim=1.0)
    assert target.value(ratios) == pytest.approx(value)
    assert target.verdict(target.value(ratios)) == verdict


def test_an_aim_is_never_softer_than_its_must() -> None:
    for target in TARGETS:
        assert target.verdict(target.aim) == "aim met"
        assert target.verdict(target.must) in ("met", "aim met")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0341, "0.034"),
        (1.0, "1.00"),
        (9.876, "9.88"),
        (45.678, "45.7"),
        (123.4, "123"),
        (9000.0, "9,000"),
    ],
)
def test_numbers_for_people(value: float, text: str) -> None:
    assert report.number(value) == text
