# SPDX-License-Identifier: GPL-2.0-only
"""``python -m pykworker latency``: what it counts in, what it refuses, and short runs of it.

No test asks how late a tick was: that is the machine's affair.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import itertools
import json
import math
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_bench_command import run

import pykworker as kw
from pykworker import _scheduling as scheduling
from pykworker import pure
from pykworker.bench import progress
from pykworker.latency import command, cyclictest, document, histogram, plot, report, runs

pytestmark = pytest.mark.timeout(120)

REQUIRED = os.environ.get("REQUIRE_TOOLS") == "1"
NATIVE = runs.HAS_NATIVE
needs_native = pytest.mark.skipif(not NATIVE, reason="the extension module is not built")

SHORT = ("--duration", "200ms", "--interval", "1ms")

Make = Callable[[int], Any]
WAYS = [pytest.param(way, marks=needs_native) for way in ("python", "native")]
RECORDERS = [
    pytest.param(histogram.NativeRecorder, id="c", marks=needs_native),
    pytest.param(histogram.PythonRecorder, id="python"),
]


# --- the histogram


def some_values() -> list[int]:
    chance = random.Random(1)
    edges = [2**power + offset for power in range(36) for offset in (-1, 0, 1)]
    return [max(0, edge) for edge in edges] + [
        int(10 ** chance.uniform(0, 10.5)) for _ in range(5000)
    ]


@needs_native
def test_the_buckets_in_c_are_those_in_python() -> None:
    from pykworker._binding import lib

    assert lib.PYKW_LATENCY_BUCKETS == histogram.BUCKETS
    begins = [lib.pykw_latency_bucket_begin(index) for index in range(histogram.BUCKETS + 1)]
    assert begins == [histogram.bucket_begin(index) for index in range(histogram.BUCKETS + 1)]
    native, python = histogram.NativeRecorder(1), histogram.PythonRecorder(1)
    for value in [*some_values(), 2**40, 2**63]:
        native.record(value)
        python.record(value)
    assert native.result() == python.result()


def test_a_bucket_is_as_wide_as_a_64th_of_what_it_counts() -> None:
    begins = [histogram.bucket_begin(index) for index in range(histogram.BUCKETS + 1)]
    assert begins[: histogram.SHARES] == list(range(histogram.SHARES))
    for index, (begin, end) in enumerate(itertools.pairwise(begins)):
        assert 0 < end - begin <= max(1, begin / histogram.SHARES)
        assert histogram.bucket_of(begin) == histogram.bucket_of(end - 1) == index
    assert begins[-1] > 60e9


@pytest.mark.parametrize("make", RECORDERS)
def test_percentiles_are_those_of_the_sorted_values(make: Make) -> None:
    values = some_values()
    recorder = make(1)
    for value in values:
        recorder.record(value)
    record = recorder.result()
    ordered = sorted(values)
    assert record.count == len(values) == sum(count for _, _, count in record.buckets)
    assert (record.minimum, record.maximum, record.total) == (ordered[0], ordered[-1], sum(values))
    assert recorder.progress() == (len(values), ordered[-1])
    for share in (0.1, 10.0, *histogram.PERCENTILES[:-1]):
        exact = ordered[max(1, math.ceil(share * len(values) / 100 - 1e-9)) - 1]
        found = record.percentile(share)
        assert found is not None
        assert abs(found - exact) <= exact / histogram.SHARES


@pytest.mark.parametrize(
    ("count", "known"), [(1, 1), (49, 1), (50, 2), (499, 2), (500, 3), (4999, 3), (5000, 4)]
)
def test_a_percentile_needs_ticks_beyond_it(count: int, known: int) -> None:
    recorder = histogram.PythonRecorder(1)
    for _ in range(count):
        recorder.record(7)
    record = recorder.result()
    found = [record.percentile(share) for share in histogram.PERCENTILES]
    assert found == [7.0] * known + [None] * (len(found) - known)


def test_nothing_counted_has_no_percentile() -> None:
    assert histogram.PythonRecorder(1).result().percentile(50) is None


# --- the due time of a tick


@pytest.mark.parametrize("make", RECORDERS)
def test_a_lap_skips_what_has_passed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    interval = 1_000_000
    recorder = make(interval)
    begin = histogram.monotonic_ns() - 10 * interval - interval // 2
    recorder.begin_lap(begin)
    due = recorder.lap()
    now = histogram.monotonic_ns()
    record = recorder.result()
    assert (due - begin) % interval == 0
    assert due > begin + 10 * interval
    assert record.count == 1
    assert record.missed == (due - begin) // interval - 1
    assert 10 * interval <= record.minimum <= now - begin


def test_a_lap_by_a_clock_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100, 205, 299, 300, 720, 790])
    monkeypatch.setattr(histogram, "monotonic_ns", lambda: next(clock))
    recorder = histogram.PythonRecorder(100)
    recorder.begin_lap(100)
    # In the last one the clock has not come to the deadline yet.
    assert [recorder.lap() for _ in range(6)] == [200, 300, 400, 500, 800, 900]
    record = recorder.result()
    assert record.missed == 2
    assert record.total == 0 + 5 + 0 + 0 + 220 + 0
    assert (record.minimum, record.maximum) == (0, 220)


class Times:
    """A recorder's ticks, between two looks at the clock, and the work's own count."""

    def __init__(self, record: Callable[[], None], recorder: Any) -> None:
        self.record, self.recorder = record, recorder
        self.seen: list[tuple[int, int, int, int]] = []
        self.enough = threading.Event()

    def __call__(self) -> None:
        before = histogram.monotonic_ns()
        total = self.recorder.result().total
        self.record()
        after = histogram.monotonic_ns()
        record = self.recorder.result()
        self.seen.append((before, after, record.total - total, record.missed))
        # Some are late, and some swallow others.
        if len(self.seen) in (3, 7):
            threading.Event().wait(0.013)
        if len(self.seen) == 12:
            self.enough.set()


def check_times(times: Times, begun: tuple[int, int], missed: int, interval: int) -> None:
    """All deadlines are whole intervals from one moment, which lies where it began."""
    low, high = begun[0] + interval, begun[1] + interval
    skipped = 0
    for ticks, (before, after, late, missed_then) in enumerate(times.seen):
        # The deadline, but for the time between the two looks at the clock.
        since_first = (ticks + skipped) * interval
        low = max(low, before - late - since_first)
        high = min(high, after - late - since_first)
        skipped = missed_then
    assert low <= high
    assert 2 <= skipped <= missed


@pytest.mark.parametrize("way", [*WAYS, "pure"])
def test_the_due_time_of_a_tick(way: str) -> None:
    module: Any = pure if way == "pure" else kw
    interval = 5_000_000
    recorder: Any = (histogram.PythonRecorder if way == "pure" else histogram.NativeRecorder)(0)
    times = Times(recorder.tick, recorder)
    tick: Any = times
    if way == "native":
        # A native work as any other, whose code happens to be Python's.
        code = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: times())
        tick = kw.NativeWork(code)
    with module.Worker("latency") as worker:
        before = histogram.monotonic_ns()
        beat = worker.every(interval / 1e9, tick)
        begun = before, histogram.monotonic_ns()
        assert times.enough.wait(60)
        beat.cancel()
        missed = beat.missed
    assert recorder.result().missed == missed
    check_times(times, begun, missed, interval)


@needs_native
def test_a_native_tick_that_was_held_up() -> None:
    interval = 2_000_000
    recorder = histogram.NativeRecorder(0)
    enough = threading.Event()
    with kw.Worker("latency") as worker:
        before = histogram.monotonic_ns()
        beat = worker.every(interval / 1e9, kw.NativeWork(recorder.native_tick, recorder.struct))
        while recorder.progress()[0] < 3:
            enough.wait(0.002)
        # The worker is held up by a callback, so that ticks pass.
        worker.submit(enough.wait, 0.02).result()
        count = recorder.progress()[0]
        while recorder.progress()[0] < count + 3:
            enough.wait(0.002)
        beat.cancel()
        end = histogram.monotonic_ns()
        missed = beat.missed
    record = recorder.result()
    assert record.missed == missed
    assert missed >= 8
    # It began late by what it has swallowed, and no tick is later than the run is long.
    assert record.maximum >= 8 * interval
    assert record.maximum <= end - before - interval
    # Each tick is counted, or was skipped.
    assert (record.count + missed) * interval <= end - before
    assert (record.count + missed + 1) * interval >= record.maximum


@needs_native
def test_a_tick_where_no_work_runs_is_none() -> None:
    recorder = histogram.NativeRecorder(0)
    recorder.tick()
    assert recorder.result().count == 0
    histogram.PythonRecorder(0).tick()


# --- the arguments


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1ms", 1_000_000),
        ("500us", 500_000),
        ("500µs", 500_000),
        ("0.001", 1_000_000),
        (".5", 500_000_000),
        ("2", 2_000_000_000),
        ("1.5 s", 1_500_000_000),
        ("1000ns", 1000),
    ],
)
def test_times(text: str, ns: int) -> None:
    assert command.nanoseconds(text) == ns


@pytest.mark.parametrize("text", ["", "ms", "-1", "0", "1 h", "nan", "inf", "1e3", "999ns", "9e9s"])
def test_no_times(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        command.nanoseconds(text)


NEVER_RUN = "import pykworker.latency.runs as m\nm.run = None\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scheduler", "fifo"], "fifo takes priority"),
        (["--scheduler", "fifo:100"], "1...99"),
        (["--scheduler", "nonsense"], "no scheduler 'nonsense'"),
        (["--cpus", "x"], "--cpus must be a list"),
        (["--cpus", "1000"], "there is no CPU 1000"),
        (["--interval", "0"], "1us to 24 hours"),
        (["--interval", "soon"], "not a time"),
        (["--interval", "1s", "--duration", "0.5"], "at least one --interval"),
        (["--load", "much"], "invalid choice"),
        (["--python", "--compare"], "not allowed with"),
        (["--plot", "run.gif"], ".svg, .png or .pdf"),
        (["--json", "/no such directory/run.json"], "No such"),
        (["--cyclictest", "--scheduler", "deadline:0.001,0.01"], "no deadline"),
        (["--cyclictest", "--interval", "1500ns"], "whole microseconds"),
        (["--cyclictest", "--timer-slack", "1us"], "no --timer-slack"),
    ],
)
def test_bad_arguments_are_refused_before_the_run(arguments: list[str], message: str) -> None:
    done = run("latency", *arguments, before=NEVER_RUN)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_without_matplotlib_and_cyclictest(tmp_path: Path) -> None:
    blocked = NEVER_RUN + "sys.modules['matplotlib'] = None"
    done = run("latency", "--plot", str(tmp_path / "run.svg"), before=blocked)
    assert done.returncode == 2
    assert "pip install matplotlib" in done.stderr
    blocked = NEVER_RUN + "import os\nos.environ['PATH'] = ''"
    done = run("latency", "--cyclictest", before=blocked)
    assert done.returncode == 2
    assert "apt-get install rt-tests" in done.stderr


def test_help_needs_no_optional_package() -> None:
    done = run("latency", "--help", before="for n in ('rich', 'matplotlib'): sys.modules[n] = None")
    assert done.returncode == 0
    for option in ("--python", "--threading", "--compare", "--scheduler", "--cpus", "--interval"):
        assert option in done.stdout
    for option in (
        "--duration",
        "--load",
        "--memory-lock",
        "--timer-slack",
        "--cyclictest",
        "--json",
        "--plot",
    ):
        assert option in done.stdout


# --- what the system refuses

REFUSES = """
import ctypes, resource
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, 4096))
none = (ctypes.c_uint32 * 6)()
if ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), none):
    sys.exit("capset")
"""
"""Of what CAP_SYS_NICE and CAP_IPC_LOCK allow nothing is left."""

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="capabilities")


@on_linux
@pytest.mark.parametrize("kind", ["--python", "--threading", "--compare"])
def test_a_refused_scheduler_is_one_line(kind: str) -> None:
    done = run("latency", *SHORT, kind, "--scheduler", "fifo:7", before=REFUSES)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "Fifo(priority=7)' refused" in line or "Fifo(priority=7) refused" in line
    assert "RLIMIT_RTPRIO" in line
    assert done.stdout == ""


@on_linux
def test_a_comparison_leaves_out_what_it_chose_itself() -> None:
    done = run("latency", *SHORT, "--compare", "--json", "-", before=REFUSES)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    refused = {row["key"] for row in data["runs"] if row["refused"]}
    assert refused >= {"python-scheduled", "native-scheduled"}
    assert "left out; " in done.stderr
    assert all(row["count"] or row["refused"] for row in data["runs"])


PURE = "import pykworker\npykworker.backend = 'pure'\nfrom pykworker import pure\n" + "".join(
    f"pykworker.{name} = pure.{name}\n" for name in ("Worker", "Work", "NativeWork")
)


def test_what_needs_the_extension_says_so() -> None:
    for arguments in ([], ["--load", "c", "--python"]):
        done = run("latency", *SHORT, *arguments, before=PURE)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "needs the extension module" in line


def test_the_pure_backend_is_measured_too() -> None:
    done = run("latency", *SHORT, "--compare", "--json", "-", before=PURE)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    counts = {row["key"]: row["count"] for row in data["runs"]}
    assert counts["threading"] > 0
    assert counts["python"] > 0
    assert counts["native"] == 0


# --- short runs


def check_document(data: dict[str, Any]) -> None:
    assert data["schema"] == document.SCHEMA
    assert data["schema_version"] == 1
    assert set(data) == {
        "schema",
        "schema_version",
        "complete",
        "machine",
        "settings",
        "runs",
        "ratios",
    }
    for row in data["runs"]:
        if row["refused"]:
            assert row["count"] == 0
            continue
        assert row["count"] == sum(count for _, _, count in row["buckets"]) > 0
        assert row["min_ns"] <= row["percentiles_ns"]["50"] <= row["max_ns"]
        assert row["min_ns"] <= row["mean_ns"] <= row["max_ns"]
        known = [value for value in row["percentiles_ns"].values() if value is not None]
        assert known == sorted(known)


KINDS = [
    pytest.param([], id="native", marks=needs_native),
    pytest.param(["--python"], id="python"),
    pytest.param(["--threading"], id="threading"),
]


@pytest.mark.parametrize("load", ["none", "python", pytest.param("c", marks=needs_native)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_short_run(kind: list[str], load: str) -> None:
    cpu = scheduling.cpu_list(list(scheduling.cpus_of(0))[:1])
    done = run(
        *("latency", *SHORT, *kind, "--load", load, "--json", "-"),
        *("--scheduler", "other", "--cpus", cpu, "--timer-slack", "1us"),
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    check_document(data)
    (row,) = data["runs"]
    assert (row["scheduler"], row["cpus"]) == ("other", [int(cpu)])
    assert row["count"] + row["missed"] >= 2
    assert data["settings"]["load"] == load
    assert data["settings"]["timer_slack_ns"] == 1000
    assert "timer slack 1 µs" in done.stderr
    assert "Ticks by how late they were" in done.stderr
    assert "#" in done.stderr
    assert "median" in done.stderr


def test_compare_with_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for suffix in ("svg", "png", "pdf"):
        out, picture = tmp_path / "run.json", tmp_path / f"run.{suffix}"
        done = run("latency", "--compare", *SHORT, "--json", str(out), "--plot", str(picture))
        assert done.returncode == 0, done.stderr
        data = json.loads(out.read_text(encoding="utf-8"))
        check_document(data)
        assert [row["key"] for row in data["runs"]] == [
            "threading",
            "python",
            "python-scheduled",
            "native",
            "native-scheduled",
        ]
        ran = [row["key"] for row in data["runs"] if row["count"]]
        assert [(ratio["of"], ratio["to"]) for ratio in data["ratios"]] == [
            ("threading", key) for key in ran[1:]
        ]
        assert all(ratio["50"] > 0 for ratio in data["ratios"])
        magic = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[suffix]
        assert picture.read_bytes().startswith(magic)
        assert "threading / Worker, Python" in done.stdout


def test_memory_lock() -> None:
    done = run("latency", *SHORT, "--python", "--memory-lock", "--json", "-")
    if done.returncode == 1:  # neither CAP_IPC_LOCK nor the limit
        assert "RLIMIT_MEMLOCK" in done.stderr
    else:
        assert json.loads(done.stdout)["settings"]["memory_lock"] is True


@on_linux
def test_refused_memory_is_one_line() -> None:
    done = run("latency", *SHORT, "--compare", "--memory-lock", before=REFUSES)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "memory_lock True refused" in line
    assert "RLIMIT_MEMLOCK" in line


def test_the_end_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    plan = runs.Plan(1_000_000, 20_000_000, "c" if NATIVE else "none")
    from pykworker.bench.measure import Interrupt

    for kind in ("threading", "python", *(["native"] if NATIVE else [])):
        said: list[str] = []
        result = runs.run(runs.Contestant(kind, kind), plan, Interrupt(), said.append)
        assert result.record is not None
        assert result.elapsed_ns >= plan.duration_ns
        assert said
    assert set(threading.enumerate()) <= before


INTERRUPT = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import pykworker.latency.load as m
begin, begun = m.begin, 0
def strike(load, cleanup):
    global begun
    begun += 1
    pass_time, now = begin(load, cleanup), begun == {after}
    passed = 0
    def until(moment):
        nonlocal passed
        pass_time(moment)
        passed += 1
        if now and passed == 5:
            for _ in range({times}):
                os.kill(os.getpid(), signal.SIGINT)
    return until
m.begin = strike
"""


def test_interrupted_it_tells_what_it_has() -> None:
    done = run(
        *("latency", "--python", "--duration", "1000", "--json", "-"),
        before=INTERRUPT.format(after=1, times=1),
    )
    assert done.returncode == 130, done.stderr
    data = json.loads(done.stdout)
    check_document(data)
    assert data["complete"] is False
    assert "PARTIAL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_comparison_tells_what_it_has(times: int) -> None:
    # The first run would not end either, but for Ctrl-C; twice: it is given up, and untold.
    done = run(
        *("latency", "--compare", "--duration", "1000", "--json", "-"),
        before=INTERRUPT.format(after=1, times=times),
    )
    assert done.returncode == 130, done.stderr
    data = json.loads(done.stdout)
    assert [row["key"] for row in data["runs"]] == ["threading"][: 2 - times]
    assert data["complete"] is False
    assert "Traceback" not in done.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_progress_is_a_line_that_is_written_over() -> None:
    stream = Terminal()
    with progress.line(stream) as show:
        show("one")
        show("two" * 100)
    assert [text.removeprefix("\x1b[K")[:3] for text in stream.getvalue().split("\r")] == [
        "",
        "one",
        "two",
        "",
    ]
    assert "\n" not in stream.getvalue()
    plain = io.StringIO()
    with progress.line(plain) as show:
        show("one")
    assert plain.getvalue() == ""


# --- the reports


def fake(*counts: int) -> dict[str, Any]:
    """A document with one run for each count, by hand."""
    results = []
    for index, count in enumerate(counts):
        recorder = histogram.PythonRecorder(1)
        for number in range(count):
            recorder.record(1000 * (index + 1) + number * number)
        kinds: list[runs.Kind] = ["threading", "python", "native"]
        kind = kinds[index % 3]
        results.append(runs.Result(runs.Contestant(f"{kind}{index}", kind), recorder.result()))
    from pykworker.bench import machine

    plan = runs.Plan(1_000_000, 10_000_000_000)
    return document.build(results, plan, complete=True, machine=machine.describe())


@pytest.mark.parametrize("width", [20, 80, 200])
@pytest.mark.parametrize("counts", [(1,), (2000,), (1, 0, 300, 2000)])
def test_the_histogram_shows_all_and_is_not_too_wide(counts: tuple[int, ...], width: int) -> None:
    text = report.histogram(fake(*counts), width)
    body = text.splitlines()[1:]
    assert text.isascii() or "µ" in text.splitlines()[0]
    assert "\n".join(body).isascii()
    if width >= 80:
        assert max(map(len, body)) <= width
    assert len(body) <= report.MOST_ROWS + 3
    _, columns = report.rows_of(report.ran(fake(*counts)))
    assert [sum(column) for column in columns] == [count for count in counts if count]


def test_one_tick_among_many_has_a_bar() -> None:
    assert report.bar(1, 1_000_000, 40) == "##"
    assert report.bar(1_000_000, 1_000_000, 40) == "#" * 40
    assert report.bar(1, 1, 5) == "#####"
    assert report.bar(0, 5, 40) == ""


def test_nothing_was_counted() -> None:
    data = fake(0)
    assert "not one tick" in report.terminal(data, 80)
    assert data["ratios"] == []


def test_the_curve_of_the_picture_begins_with_all_and_ends_with_one() -> None:
    (row,) = fake(500)["runs"]
    xs, ys = plot.tail(row)
    assert ys[0] == 1
    assert ys[-1] == row["buckets"][-1][2] / 500
    assert xs == sorted(xs)
    edges, shares = plot.bars(row)
    assert len(edges) == len(shares) + 1
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize(
    "text",
    [
        "fifo:50",
        "rr:1",
        "other",
        "other:5",
        "batch",
        "batch:3",
        "idle",
        "deadline:0.001,0.005,0.01",
    ],
)
def test_a_scheduler_is_told_as_it_is_written(text: str) -> None:
    assert runs.scheduler_text(scheduling.parse_scheduler(text)) == text


# --- cyclictest

PRINTED = """\
# Histogram
000000 000000
000001 000010
000002 000080
000003 000009
# Min Latencies: 00001
# Avg Latencies: 00002
# Max Latencies: 23456
# Histogram Overflows: 00001
# Histogram Overflow at cycle number:
# Thread 0: 00099
"""


def test_what_cyclictest_prints() -> None:
    record = cyclictest.parse(PRINTED)
    assert (record.count, record.missed) == (100, None)
    assert (record.minimum, record.maximum) == (1000, 23_456_000)
    assert record.percentile(50) == pytest.approx(2500, abs=1)
    assert record.percentile(99) == pytest.approx(3500, abs=1)
    assert record.buckets[-1] == (20_000_000, 23_457_000, 1)
    with pytest.raises(ValueError, match="Max Latencies"):
        cyclictest.parse("nonsense")


def test_cyclictest_is_asked_for_the_same() -> None:
    plan = runs.Plan(500_000, 2_000_000_000, memory_lock=True)
    contestant = runs.Contestant("native", "native", scheduling.RoundRobin(7), frozenset({0, 2, 3}))
    made = cyclictest.arguments(contestant, plan)
    for argument in ("--policy=rr", "--priority=7", "--interval=500", "--loops=4000"):
        assert argument in made
    assert "--affinity=0,2-3" in made
    assert "--mlockall" in made


def require_cyclictest() -> None:
    if not cyclictest.is_installed():
        if REQUIRED:
            pytest.fail(cyclictest.MISSING)
        pytest.skip(cyclictest.MISSING)


@pytest.mark.parametrize("kind", KINDS)
def test_beside_cyclictest(kind: list[str]) -> None:
    require_cyclictest()
    done = run("latency", *SHORT, *kind, "--cyclictest", "--json", "-")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    check_document(data)
    ours, other = data["runs"]
    assert other["kind"] == "cyclictest"
    assert other["same_as"] == ours["key"]
    assert other["count"] == 200
    (ratio,) = [ratio for ratio in data["ratios"] if ratio["to"] == "cyclictest"]
    assert ratio["of"] == ours["key"]
    assert ratio["50"] is None or ratio["50"] > 0


def test_cyclictest_is_ended_by_ctrl_c() -> None:
    require_cyclictest()
    done = run(
        *("latency", "--python", "--duration", "60", "--cyclictest", "--json", "-"),
        before=INTERRUPT.format(after=2, times=1)
        + "import pykworker.latency.runs as r\nr.run_all.__globals__['SLICE_NS'] = 10**7\n"
        + "first = r.run\ndef short(c, plan, *rest):\n"
        + "    from dataclasses import replace\n"
        + "    return first(c, replace(plan, duration_ns=10**8), *rest)\nr.run = short\n",
    )
    assert done.returncode == 130, done.stderr
    data = json.loads(done.stdout)
    assert [row["kind"] for row in data["runs"]] == ["python", "cyclictest"]
    assert data["complete"] is False
