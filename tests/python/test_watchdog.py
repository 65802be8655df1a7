# SPDX-License-Identifier: GPL-2.0-only
"""watchdog: a callback that runs long is reported, once a run, and goes on."""

from __future__ import annotations

import ctypes
import math
import os
import threading
import warnings
from fractions import Fraction

import pytest
from helpers import LIMIT, Background, Gate, hold, run_script, wait_until

SHORT = 0.002
Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@pytest.fixture
def reports():
    """The warnings that are given while the test runs, from whatever thread."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def texts(reports):
    assert {report.category for report in reports} <= {RuntimeWarning}
    return [str(report.message) for report in reports]


def pass_time(kw, reports):
    """Let others be reported, so that whoever is due has been looked at."""
    for _ in range(3):
        seen = len(reports)
        with kw.Worker("clock", watchdog=SHORT) as clock:
            gate = hold(kw, clock)
            wait_until(lambda seen=seen: len(reports) > seen)
            gate.open()


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (0.0, ValueError),
        (-1, ValueError),
        (-math.inf, ValueError),
        (math.nan, ValueError),
        ("1", TypeError),
        ([], TypeError),
        (1j, TypeError),
    ],
    ids=str,
)
def test_bad_value_is_refused_and_leaves_nothing(kw, value, error):
    threads = threading.active_count()
    with pytest.raises(error, match="watchdog"):
        kw.Worker(watchdog=value)
    assert threading.active_count() == threads


@pytest.mark.parametrize("value", [None, 1000, 1000.5, Fraction(1000)], ids=repr)
def test_good_value_is_taken_and_short_callbacks_are_not_reported(kw, reports, value):
    with kw.Worker(watchdog=value) as worker:
        for _ in range(20):
            worker.queue(kw.Work(int))
            worker.flush()
            assert worker.submit(int).result() == 0
    assert reports == []


@pytest.mark.parametrize("kind", ["work", "call", "delayed", "periodic"])
def test_long_callback_is_reported_with_worker_work_and_stack(kw, reports, kind):
    gate = Gate()

    def stuck_in_here():
        gate()
        return kw.CANCEL

    with kw.Worker("sensor", watchdog=SHORT) as worker:
        if kind == "work":
            worker.queue(kw.Work(stuck_in_here))
        elif kind == "call":
            worker.submit(stuck_in_here)
        elif kind == "delayed":
            worker.queue_delayed(kw.DelayedWork(stuck_in_here), 0.001)
        else:
            worker.every(0.001, stuck_in_here)
        gate.wait_entered()
        current = worker.current_work
        wait_until(lambda: reports)
        gate.open()
        worker.flush()
    assert gate.runs == 1
    (text,) = texts(reports)
    assert "'sensor'" in text
    assert "stuck_in_here" in text.partition("\n")[0] or type(current).__name__ in text
    stack = text[text.index("\n") :]
    assert f'File "{__file__}"' in stack
    assert "in stuck_in_here" in stack
    assert "in __call__" in stack  # the gate's


def test_it_is_reported_once_a_run(kw, reports):
    with kw.Worker("sensor", watchdog=SHORT) as worker:
        for count in range(1, 4):
            gate = Gate()
            work = kw.Work(gate)
            worker.queue(work)
            gate.wait_entered()
            wait_until(
                lambda count=count: sum("'sensor'" in text for text in texts(reports)) >= count
            )
            pass_time(kw, reports)
            assert sum("'sensor'" in text for text in texts(reports)) == count
            gate.open()
            work.flush()


def test_each_run_of_one_work_is_reported(kw, reports):
    """Though the text be the same, and Python's filter tells the same warning once a place."""
    turns = [Gate() for _ in range(3)]
    queue = iter(turns)
    with kw.Worker("sensor", watchdog=SHORT) as worker:
        work = kw.Work(lambda: next(queue)())
        for count, gate in enumerate(turns, 1):
            worker.queue(work)
            gate.wait_entered()
            wait_until(lambda count=count: len(reports) >= count)
            gate.open()
            work.flush()
    assert len(reports) == 3


def test_what_comes_after_is_not_reported_in_its_place(kw, reports):
    with kw.Worker("sensor", watchdog=SHORT) as worker:
        gate = hold(kw, worker)
        wait_until(lambda: reports)
        gate.open()
        worker.flush()
        for _ in range(50):
            worker.queue(kw.Work(int))
        worker.flush()
        pass_time(kw, reports)
    assert sum("'sensor'" in text for text in texts(reports)) == 1


def test_many_workers_are_each_reported(kw, reports):
    workers = [kw.Worker(f"sensor-{number}", watchdog=SHORT) for number in range(5)]
    gates = [hold(kw, worker) for worker in workers]
    wait_until(lambda: len(reports) >= 5)
    for gate, worker in zip(gates, workers, strict=True):
        gate.open()
        worker.destroy()
    told = sorted(texts(reports))
    assert len(told) == 5
    assert all(f"'sensor-{number}'" in text for number, text in enumerate(told))


def test_shorter_limit_comes_before_a_longer_one(kw, reports):
    with (
        kw.Worker("patient", watchdog=1000) as patient,
        kw.Worker("strict", watchdog=SHORT) as strict,
    ):
        gates = [hold(kw, patient), hold(kw, strict)]
        wait_until(lambda: reports)
        for gate in gates:
            gate.open()
    (text,) = texts(reports)
    assert "'strict'" in text


def test_watched_workers_come_and_go_on_many_threads(kw, reports):
    """Whatever looks after all of them is made once, and ends with the last one."""
    everybody = threading.Barrier(6)

    def body():
        for _ in range(5):
            everybody.wait(LIMIT)
            with kw.Worker(watchdog=LIMIT) as worker:
                assert worker.submit(lambda: 7).result() == 7

    for caller in [Background(body) for _ in range(6)]:
        caller.result()
    assert [str(report.message) for report in reports] == []


def test_queueing_that_takes_its_time_is_no_excuse(kw, reports):
    """The queueing thread is held up; a run that begins late is reported all the same."""
    with kw.Worker("sensor", watchdog=SHORT) as worker:
        for count in range(1, 40):
            gate = hold(kw, worker)
            wait_until(lambda count=count: len(reports) >= count)
            gate.open()
            worker.flush()
    assert len(reports) == 39


def test_native_work_is_reported(kw, reports):
    gate = Gate()
    native = Callback(lambda _: gate())
    with kw.Worker("sensor", watchdog=SHORT) as worker:
        work = kw.NativeWork(native)
        worker.queue(work)
        gate.wait_entered()
        wait_until(lambda: reports)
        gate.open()
        work.flush()
    (text,) = texts(reports)
    assert "'sensor'" in text
    assert "NativeWork" in text
    assert f"{work.address:#x}" in text


def test_worker_that_the_caller_serves_is_reported(kw, reports):
    gate = Gate()

    def stuck_in_here():
        gate()

    with kw.Worker("sensor", start=False, watchdog=SHORT) as worker:
        worker.queue(kw.Work(stuck_in_here))
        server = Background(worker.run_pending)
        gate.wait_entered()
        wait_until(lambda: reports)
        gate.open()
        assert server.result() == 1
    (text,) = texts(reports)
    assert "in stuck_in_here" in text


def test_callback_is_not_stopped(kw, reports):
    with kw.Worker(watchdog=SHORT) as worker:
        gate = Gate()
        future = worker.submit(lambda: (gate(), 7)[1])
        gate.wait_entered()
        wait_until(lambda: reports)
        assert not future.done()
        gate.open()
        assert future.result() == 7


@pytest.mark.filterwarnings("default")
def test_warning_turned_into_an_error_harms_nobody(kw, unraisable):
    """The filter is the process's, as with -W error: whoever reports goes on reporting."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with kw.Worker("sensor", watchdog=SHORT) as worker:
            for count in range(1, 4):
                gate = Gate()
                future = worker.submit(lambda gate=gate: (gate(), 7)[1])
                gate.wait_entered()
                wait_until(lambda count=count: len(unraisable) >= count)
                gate.open()
                assert future.result() == 7
    assert [type(call.exc_value) for call in unraisable] == [RuntimeWarning] * 3


REPORTED = """
told = threading.Event()
class Stream:
    def write(self, text):
        sys.__stderr__.write(text)
        if "sensor" in text:
            told.set()
    def flush(self):
        pass
sys.stderr = Stream()
def stuck_in_here():
    print(told.wait(10))
worker = kw.Worker("sensor", watchdog=0.01)
worker.queue(kw.Work(stuck_in_here))
"""


@pytest.mark.parametrize("where", ["before the exit", "in the exit"])
def test_report_goes_to_standard_error_and_the_exit_code_stays(kw, where):
    """A callback that holds up the exit is told of as any other."""
    source = REPORTED + ("told.wait(10)\n" if where == "before the exit" else "") + "sys.exit(3)\n"
    result = run_script(kw, source)
    assert result.returncode == 3
    assert result.stdout == "True\n"
    assert "RuntimeWarning" in result.stderr
    assert "stuck_in_here" in result.stderr


def test_it_lasts_from_one_thread_of_the_worker_to_the_next(kw, reports):
    with kw.Worker("sensor", watchdog=SHORT) as worker:
        for count in (1, 2):
            gate = hold(kw, worker)
            wait_until(lambda count=count: len(reports) >= count)
            gate.open()
            worker.stop()
            worker.start()
    assert len(reports) == 2


def test_destroy_meanwhile_waits_for_the_callback(kw, reports):
    worker = kw.Worker("sensor", watchdog=SHORT)
    gate = hold(kw, worker)
    destroyer = Background(worker.destroy)
    wait_until(lambda: reports)
    gate.open()
    destroyer.result()
    assert len(reports) == 1


def test_waiting_for_works_is_not_running(kw, reports):
    """A worker that is idle, frozen or without a thread is never reported."""
    with kw.Worker("sensor", watchdog=SHORT) as worker:
        worker.submit(int).result()
        pass_time(kw, reports)
        worker.freeze()
        worker.queue(kw.Work(int))
        pass_time(kw, reports)
        worker.thaw()
        worker.stop()
        pass_time(kw, reports)
    assert not any("'sensor'" in text for text in texts(reports))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_new_worker_in_a_forked_child_is_watched(kw):
    result = run_script(
        kw,
        """
        import warnings
        told = threading.Event()
        warnings.showwarning = lambda message, *_: (print(str(message).split("\\n")[0]), told.set())
        def once(name):
            told.clear()
            with kw.Worker(name, watchdog=0.005) as worker:
                worker.submit(lambda: told.wait(20)).result()
        once("parent")
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                once("child")
                sys.stdout.flush()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        once("parent again")
        """,
        "-W",
        "ignore::DeprecationWarning",
    )
    lines = result.stdout.splitlines()
    assert result.stderr == ""
    names = ["parent", "child", "parent again"]
    assert len(lines) == 3
    assert all(f"'{name}'" in line for name, line in zip(names, lines, strict=True))


def test_limit_is_infinite_or_refused_but_no_overflow(kw):
    """As with the other times, infinity and what is beyond a float are no limit, or refused."""
    for value in (math.inf, 1e300):
        try:
            worker = kw.Worker(watchdog=value)
        except ValueError:
            continue
        with worker:
            assert worker.submit(lambda: 7).result(LIMIT) == 7
