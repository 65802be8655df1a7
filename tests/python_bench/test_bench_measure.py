# SPDX-License-Identifier: GPL-2.0-only
"""Turns, repetitions, garbage collection and interruption, with contestants that only tell."""

from __future__ import annotations

import gc
import io
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from pykworker.bench import command, measure, opponents
from pykworker.bench.cases import CASES
from pykworker.bench.document import build
from pykworker.bench.measure import Case, Contestant, Interrupt, Sample, Sizes
from pykworker.bench.progress import progress
from pykworker.bench.targets import TARGETS

pytestmark = pytest.mark.timeout(30)

SIZES = Sizes(100)


class Teller(Contestant):
    """Writes down what happens to it."""

    def __init__(self, key: str, told: list[str], act: Callable[[], object] = lambda: None) -> None:
        self.key = self.label = key
        self.ours = key == "a"
        self.told = told
        self.act = act
        self.runs = 0

    def setup(self, cleanup: ExitStack) -> None:
        cleanup.callback(self.told.append, f"clean {self.key}")
        self.told.append(f"setup {self.key}")

    def run(self) -> Sample:
        self.told.append(f"run {self.key}")
        self.act()
        self.runs += 1
        return Sample([float(self.runs)], {"runs": self.runs})


def case_of(*contestants: Contestant) -> Case:
    return Case("case", lambda _: "A case", "ns", "work", "all of it", lambda _: contestants)


def silent(_case: str, _contestant: str) -> None:
    pass


def test_turns_rotate() -> None:
    told: list[str] = []
    three = [Teller(key, told) for key in "abc"]
    orders = ["".join(c.key for c in measure.turns(three, turn)) for turn in range(4)]
    assert orders == ["abc", "bca", "cab", "abc"]


def test_repetitions_interleave_and_the_first_does_not_count() -> None:
    told: list[str] = []
    case = case_of(*(Teller(key, told) for key in "ab"))
    (result,) = measure.measure([case], SIZES, 2, silent, Interrupt())
    runs = [line[-1] for line in told if line.startswith("run")]
    assert "".join(runs) == "ba" + "ab" + "ba"
    assert result.turns == [["a", "b"], ["b", "a"]]
    assert [sample.times for sample in result.samples["a"]] == [[2.0], [3.0]]


def test_each_measurement_cleans_up_before_the_next_sets_up() -> None:
    told: list[str] = []
    measure.measure([case_of(Teller("a", told), Teller("b", told))], SIZES, 1, silent, Interrupt())
    for first in range(0, len(told), 3):
        key = told[first][-1]
        assert told[first : first + 3] == [f"setup {key}", f"run {key}", f"clean {key}"]


@pytest.mark.parametrize("enabled", [True, False])
def test_no_collection_in_the_timed_region_and_as_before_after_it(enabled: bool) -> None:
    seen: list[bool] = []
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        measure.take(Teller("a", [], lambda: seen.append(gc.isenabled())))
        assert seen == [False]
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_a_failure_cleans_up_and_is_not_hidden() -> None:
    told: list[str] = []

    def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        measure.take(Teller("a", told, fail))
    assert told[-1] == "clean a"
    assert gc.isenabled()


def test_progress_is_called_as_often_as_foretold() -> None:
    told: list[str] = []
    case = case_of(*(Teller(key, told) for key in "abc"))
    calls: list[tuple[str, str]] = []
    measure.measure([case], SIZES, 3, lambda *call: calls.append(call), Interrupt())
    assert len(calls) == measure.steps([case], SIZES, 3) == 12


def test_a_case_that_cannot_run_is_skipped_with_its_reason() -> None:
    case = Case("case", lambda _: "", "ns", "work", "", lambda _: (), lambda: "no such thing here")
    (result,) = measure.measure([case], SIZES, 3, silent, Interrupt())
    assert result.skipped == "no such thing here"
    assert measure.steps([case], SIZES, 3) == 0


def test_the_first_interrupt_ends_the_run_after_the_measurement() -> None:
    told: list[str] = []
    third = 3

    def strike() -> None:
        if sum(line.startswith("run") for line in told) == third:
            os.kill(os.getpid(), signal.SIGINT)

    case = case_of(*(Teller(key, told, strike) for key in "ab"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupt() as interrupt:
            (result,) = measure.measure([case], SIZES, 9, silent, interrupt)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupt.asked
    assert len(result.samples["a"]) == 1  # the third measurement was whole, and counts
    assert result.samples["b"] == []
    assert told[-1] == "clean a"


def test_the_second_interrupt_ends_it_at_once() -> None:
    told: list[str] = []

    def strike() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        told.append("not reached")

    case = case_of(Teller("a", told, strike))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupt() as interrupt:
            (result,) = measure.measure([case], SIZES, 9, silent, interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupt.asked
    assert result.samples["a"] == []
    assert told == ["setup a", "run a", "clean a"]


def test_an_ignored_interrupt_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        assert not interrupt.asked
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_partial_result_still_has_the_pairs_that_are_whole() -> None:
    told: list[str] = []
    a, b = Teller("a", told), Teller("b", told)
    result = measure.Result(case_of(a, b), [a, b])
    result.samples = {
        "a": [Sample([10.0]), Sample([10.0])],
        "b": [Sample([40.0])],
    }
    data = build(
        [result],
        sizes=SIZES,
        repeat=2,
        selected=["case"],
        quick=False,
        complete=False,
        machine={},
    )
    assert data["cases"][0]["ratios"] == [
        {"ours": "a", "against": "b", "per_repetition": [0.25], "median": 0.25}
    ]


@pytest.mark.parametrize("works", [1, 7, 199, 5000, 100_000])
def test_every_size_leaves_something_to_do(works: int) -> None:
    sizes = Sizes(works)
    parts = (sizes.native_works, sizes.batch, sizes.batches, sizes.looks)
    assert min(parts) >= 1
    assert max(parts) <= works


def test_the_command_line_names_the_cases_there_are() -> None:
    assert tuple(case.name for case in CASES) == command.CASE_NAMES


def test_contestants_have_keys_of_their_own_and_ours_come_first() -> None:
    for case in CASES:
        contestants = case.contestants(SIZES)
        keys = [contestant.key for contestant in contestants]
        assert len(set(keys)) == len(keys)
        assert contestants[0].ours


@pytest.mark.skipif(opponents.NATIVE is None, reason="the native backend is not built")
def test_targets_name_contestants_there_are() -> None:
    keys = {(case.name, c.key) for case in CASES for c in case.contestants(SIZES)}
    for target in TARGETS:
        assert {(target.case, target.ours), (target.case, target.against)} <= keys


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_drawn() -> None:
    stream = Terminal()
    with progress(2, stream) as step:
        step("burst", "someone")
        step("burst", "someone else")
    assert "someone else" in stream.getvalue()


def test_progress_without_rich_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rich", "rich.console", "rich.progress"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    stream = Terminal()
    with progress(2, stream) as step:
        step("burst", "someone")
    assert "1/2 burst: someone" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_progress_elsewhere_is_silent() -> None:
    stream = io.StringIO()
    with progress(2, stream) as step:
        step("burst", "someone")
    assert stream.getvalue() == ""


def test_lateness_of_ticks_counts_from_the_deadline_that_each_stands_for() -> None:
    from pykworker.bench.cases import periodic

    ms = periodic.INTERVAL_NS
    # On time; late by 2.5 intervals, and so the next is the fourth; never early.
    moments = [ms + 5, 2 * ms + 5 * ms // 2, 5 * ms + 7, 6 * ms - 3]
    assert periodic.lateness(0, moments) == [5, 5 * ms // 2, 7, 0]
    assert periodic.percentile(range(1, 1001), 0.999) == 999
    assert periodic.percentile([3], 0.999) == 3
