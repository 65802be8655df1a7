# SPDX-License-Identifier: GPL-2.0-only
"""Periodic works: absolute deadlines, missed ticks, and how they end.

An interval is short where ticks are to come, and long where none may. Deadlines are looked at
through bounds that hold on any machine: the clock is read before and after.
"""

from __future__ import annotations

import gc
import math
import threading
import time
import weakref

import pytest
from helpers import LIMIT, Background, Gate, hold, run_script, wait_until, wait_until_cancelling

LONG = 1000.0
SHORT = 0.002
TOLERANCE = 1e-6  # of floats of a clock that may have run for years


class Bounds:
    """A moment that lies between two readings of the clock."""

    def __init__(self, call):
        self.low = time.monotonic()
        self.result = call()
        self.high = time.monotonic()


def due(work):
    """When its timer runs out."""
    bounds = Bounds(lambda: work.remaining)
    assert bounds.result is not None
    bounds.low += bounds.result
    bounds.high += bounds.result
    return bounds


def assert_apart(first, second, seconds):
    """The second moment may be exactly so much later than the first."""
    assert second.low <= first.high + seconds + TOLERANCE
    assert second.high >= first.low + seconds - TOLERANCE


def wait_until_idle(work):
    wait_until(lambda: not work.pending and not work.executing)


# --- ticks ---


def test_runs_again_and_again_and_never_early(kw, worker):
    began = []
    asked = time.monotonic()

    def tick():
        began.append(time.monotonic())
        return kw.CANCEL if len(began) == 10 else None

    beat = worker.every(SHORT, tick)
    wait_until_idle(beat)
    assert len(began) == 10
    assert all(when >= asked + (number + 1) * SHORT for number, when in enumerate(began))


def test_first_run_is_one_interval_away(kw, worker):
    made = Bounds(lambda: worker.every(LONG, int))
    beat = made.result
    assert beat.pending
    assert not beat.executing
    assert_apart(made, due(beat), LONG)
    assert beat.interval == LONG
    assert type(beat.interval) is float
    assert beat.missed == 0
    assert isinstance(beat, kw.PeriodicWork)
    assert isinstance(beat, kw.DelayedWork)
    assert worker.stats()["delayed"] == 1
    assert "delayed" in repr(beat)
    assert beat.cancel() is True


def test_arguments_reach_the_function(kw, worker):
    got = []
    beat = worker.every(
        LONG, lambda *args, **kwargs: got.append((args, kwargs)), 1, interval=2, fn=3
    )
    beat.flush()
    assert got == [((1,), {"interval": 2, "fn": 3})]
    assert (beat.args, beat.kwargs) == ((1,), {"interval": 2, "fn": 3})
    beat.cancel()


def test_executing_one_is_pending_again(kw, worker):
    gate = Gate()
    beat = worker.every(LONG, gate)
    worker.mod_delayed(beat, 0)
    gate.wait_entered()
    assert beat.executing
    assert beat.pending
    assert beat.remaining > LONG / 2
    assert "executing and delayed" in repr(beat)
    gate.open()
    beat.cancel()


def test_queueing_it_while_it_repeats_coalesces(kw, worker):
    beat = worker.every(LONG, int)
    assert worker.queue(beat) is False
    assert worker.queue_delayed(beat, 0.001) is False
    assert beat.coalesced == 2
    assert beat.remaining > LONG / 2
    with kw.Worker() as other, pytest.raises(RuntimeError, match="on another worker"):
        other.queue(beat)
    beat.cancel()


def test_ticks_that_have_passed_are_skipped_and_counted(kw, worker):
    interval = 0.005
    began = []
    first, second, go = threading.Event(), threading.Event(), threading.Event()

    def tick():
        began.append(time.monotonic())
        if len(began) == 1:
            first.set()
            assert go.wait(LIMIT)
        else:
            second.set()
            return kw.CANCEL
        return None

    beat = worker.every(interval, tick)
    assert first.wait(LIMIT)
    wait_until(lambda: time.monotonic() > began[0] + 5.5 * interval)
    assert beat.pending
    before = beat.missed
    go.set()
    assert second.wait(LIMIT)
    # The tick of the second run was due one interval after that of the first, or sooner.
    assert beat.missed - before >= math.floor((began[1] - began[0] - interval) / interval) >= 4
    wait_until_idle(beat)
    assert len(began) == 2


def test_ticks_missed_while_frozen_come_as_one(kw, worker):
    interval = 0.005
    began = []
    made = Bounds(lambda: worker.every(interval, lambda: began.append(1) or kw.CANCEL))
    worker.freeze()
    ran_before = len(began)
    wait_until(lambda: time.monotonic() > made.high + 6.5 * interval)
    assert len(began) == ran_before
    worker.thaw()
    wait_until_idle(made.result)
    assert len(began) == 1
    if not ran_before:
        assert made.result.missed >= 5


def test_ticks_go_on_with_the_next_thread(kw, worker):
    began = []
    beat = worker.every(SHORT, began.append, 1)
    wait_until(lambda: began)
    worker.stop()
    count = len(began)
    wait_until(lambda: beat.remaining in (None, 0.0))
    assert beat.pending
    assert len(began) == count
    worker.start()
    wait_until(lambda: len(began) > count + 1)
    beat.cancel()


def test_error_does_not_end_it(kw):
    errors = []

    def tick():
        if len(errors) == 3:
            return kw.CANCEL
        raise ValueError("expected")

    with kw.Worker(on_error=lambda work, error: errors.append(work)) as worker:
        beat = worker.every(SHORT, tick)
        wait_until_idle(beat)
        assert errors == [beat] * 3


@pytest.mark.parametrize("answer", [True, 1, "CANCEL", "pykworker.CANCEL", StopIteration])
def test_only_cancel_itself_ends_it(kw, worker, answer):
    began = []

    def tick():
        began.append(1)
        return answer

    beat = worker.every(SHORT, tick)
    wait_until(lambda: len(began) > 3)
    beat.cancel()


def test_it_need_not_be_kept(kw, worker):
    began = []
    done = threading.Event()

    def tick():
        began.append(1)
        if len(began) == 3:
            done.set()
            return kw.CANCEL
        return None

    ref = weakref.ref(worker.every(SHORT, tick))
    gc.collect()
    assert done.wait(LIMIT)
    worker.flush()
    gc.collect()
    assert ref() is None


def test_two_beside_each_other(kw, worker):
    counts = {"slow": 0, "fast": 0}

    def tick(name):
        counts[name] += 1

    fast, slow = worker.every(SHORT, tick, "fast"), worker.every(2 * SHORT, tick, "slow")
    wait_until(lambda: min(counts.values()) >= 3)
    fast.cancel()
    slow.cancel()


# --- flush and mod_delayed ---


def test_flush_runs_the_present_tick_now_and_leaves_the_later_ones(kw, worker):
    began = []
    beat = worker.every(LONG, began.append, 1)
    first = due(beat)
    for count in range(1, 6):
        beat.flush()
        assert len(began) == count
        assert_apart(first, due(beat), count * LONG)
    assert beat.missed == 0
    beat.cancel()


def test_mod_moves_the_next_tick_and_the_later_ones(kw, worker):
    began = []
    beat = worker.every(LONG, began.append, 1)
    moved = Bounds(lambda: worker.mod_delayed(beat, 300))
    assert moved.result is True
    assert_apart(moved, due(beat), 300)
    beat.flush()
    assert_apart(moved, due(beat), 300 + LONG)
    beat.flush()
    assert_apart(moved, due(beat), 300 + 2 * LONG)
    assert began == [1, 1]
    beat.cancel()


def test_mod_to_zero_runs_it_now_and_every_interval_from_then(kw, worker):
    began = []
    beat = worker.every(LONG, began.append, 1)
    gate = hold(kw, worker)
    worker.queue(kw.Work(began.append, 0))
    moved = Bounds(lambda: worker.mod_delayed(beat, 0))
    assert moved.result is True
    assert beat.remaining is None
    gate.open()
    worker.flush()
    assert began == [0, 1]
    assert_apart(moved, due(beat), LONG)
    beat.cancel()


# --- its end ---


def test_cancel_ends_it(kw, worker):
    began = []
    beat = worker.every(SHORT, began.append, 1)
    wait_until(lambda: began)
    assert beat.cancel() is True
    count = len(began)
    assert not beat.pending
    assert not beat.executing
    assert beat.remaining is None
    assert beat.cancel() is False
    worker.flush()
    assert len(began) == count
    stats = worker.stats()
    assert (stats["cancelled"], stats["delayed"], stats["pending"]) == (1, 0, 0)


def test_cancel_waits_for_the_run_and_drops_the_tick(kw, worker):
    gate = Gate()
    beat = worker.every(LONG, gate)
    worker.mod_delayed(beat, 0)
    gate.wait_entered()
    canceller = Background(beat.cancel)
    wait_until(lambda: not beat.pending)
    assert beat.executing
    assert worker.queue(beat) is False
    assert worker.mod_delayed(beat, 0) is True
    gate.open()
    assert canceller.result() is True
    assert gate.runs == 1
    assert not beat.pending


@pytest.mark.parametrize("how", ["cancel", "cancel without wait", "disable", "returns CANCEL"])
def test_callback_ends_it(kw, worker, how):
    began = []

    def tick():
        began.append(1)
        if len(began) < 3:
            return None
        if how == "returns CANCEL":
            return kw.CANCEL
        if how == "disable":
            assert beat.disable() is True
        else:
            assert beat.cancel(wait=how == "cancel") is True
        return None

    beat = worker.every(LONG, tick)
    for _ in range(3):
        beat.flush()
    wait_until_idle(beat)
    assert len(began) == 3
    assert worker.stats()["cancelled"] == 1
    beat.flush()
    assert len(began) == 3
    assert beat.disabled is (how == "disable")


def test_disable_ends_it(kw, worker):
    beat = worker.every(LONG, int)
    assert beat.disable() is True
    assert not beat.pending
    assert beat.enable() is True
    assert not beat.pending
    assert worker.stats()["executed"] == 0


def test_once_cancelled_it_is_like_any_delayed_work(kw, worker):
    began = []
    beat = worker.every(LONG, began.append, 1)
    beat.cancel()
    assert worker.queue(beat) is True
    beat.flush()
    assert not beat.pending
    assert worker.queue_delayed(beat, LONG) is True
    beat.flush()
    assert not beat.pending
    assert worker.mod_delayed(beat, LONG) is False
    assert worker.mod_delayed(beat, 0) is True
    beat.flush()
    assert not beat.pending
    assert began == [1] * 3
    with kw.Worker() as other:
        assert other.queue(beat) is True


def test_once_cancelled_in_its_callback_it_runs_once_more_when_queued_there(kw, worker):
    began = []

    def tick():
        began.append(1)
        if len(began) == 1:
            assert beat.cancel() is True
            assert worker.queue(beat) is True

    beat = worker.every(LONG, tick)
    beat.flush()
    worker.flush()
    wait_until_idle(beat)
    assert began == [1, 1]


@pytest.mark.parametrize("kind", ["Work", "DelayedWork", "BoundWork"])
def test_cancel_means_nothing_to_other_works(kw, worker, kind):
    runs = []

    def body():
        runs.append(1)
        if len(runs) == 1:
            worker.queue(work)
        return kw.CANCEL

    work = worker.work(body) if kind == "BoundWork" else getattr(kw, kind)(body)
    worker.queue(work)
    work.flush()
    worker.flush()
    assert runs == [1, 1]
    assert worker.stats()["cancelled"] == 0


def test_destroy_ends_it(kw):
    worker = kw.Worker()
    gate = Gate()
    beat, other = worker.every(LONG, gate), worker.every(LONG, int)
    worker.mod_delayed(beat, 0)
    gate.wait_entered()
    with pytest.raises(TimeoutError):
        worker.destroy(timeout=0)
    assert not beat.pending
    assert not other.pending
    assert worker.stats()["cancelled"] == 2
    gate.open()
    worker.destroy()
    assert gate.runs == 1


def test_destroy_runs_a_listed_tick_and_no_other(kw):
    worker = kw.Worker()
    gate = hold(kw, worker)
    began = []
    beat = worker.every(LONG, began.append, 1)
    worker.mod_delayed(beat, 0)
    opener = Background(gate.open)
    worker.destroy()
    opener.result()
    assert began == [1]
    assert not beat.pending
    with kw.Worker() as other:  # where it is like any delayed work
        assert other.queue(beat) is True
        beat.flush()
        assert not beat.pending


def test_destroyed_worker_refuses(kw):
    worker = kw.Worker()
    worker.destroy()
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        worker.every(1, int)


def test_exit_ends_it(kw):
    result = run_script(
        kw,
        """
        ran = threading.Event()
        def tick():
            if not ran.is_set():
                print("ran")
                ran.set()
        worker = kw.Worker()
        worker.every(0.001, tick)
        ran.wait()
        print("main ends")
        """,
    )
    assert result.stdout == "ran\nmain ends\n", result.stderr
    assert result.stderr == ""
    assert result.returncode == 0


def test_dropped_worker_ends_it(kw):
    worker = kw.Worker("forgotten")
    beat = worker.every(LONG, int)
    with pytest.warns(ResourceWarning, match="forgotten"):  # noqa: PT031 - either may be its end
        del worker
        gc.collect()
    wait_until(lambda: not beat.pending)


def test_cancel_against_its_ticks(kw, worker):
    for turn in range(100):
        began = []
        beat = worker.every(0.00005, began.append, 1)
        if turn % 2:
            wait_until(lambda began=began: began)
        assert beat.cancel() is True
        assert not beat.pending
        assert not beat.executing
        count = len(began)
        worker.flush()
        assert len(began) == count


def test_mod_while_being_cancelled_does_not_revive_it(kw, worker):
    gate = Gate()
    beat = worker.every(LONG, gate)
    worker.mod_delayed(beat, 0)
    gate.wait_entered()
    canceller = Background(beat.cancel)
    wait_until_cancelling(worker, beat)
    assert worker.mod_delayed(beat, 0.001) is True
    gate.open()
    assert canceller.result() is True
    worker.flush()
    assert not beat.pending
    assert gate.runs == 1


# --- bad arguments ---


@pytest.mark.parametrize(
    ("interval", "error"),
    [
        (0, ValueError),
        (0.0, ValueError),
        (-1, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (10**400, ValueError),
        (None, TypeError),
        ("1", TypeError),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_interval_is_refused(kw, worker, interval, error):
    with pytest.raises(error, match="interval"):
        worker.every(interval, int)
    assert worker.stats()["delayed"] == 0


def test_function_that_cannot_be_called_is_refused(kw, worker):
    with pytest.raises(TypeError):
        worker.every(1, None)
    with pytest.raises(TypeError):
        worker.every(1)
    assert worker.stats()["delayed"] == 0


def test_cancel_is_one_object_that_says_its_name(kw):
    from pykworker._sentinel import CANCEL

    assert kw.CANCEL is CANCEL
    assert repr(kw.CANCEL) == "pykworker.CANCEL"


def test_periodic_work_that_was_never_armed_has_nothing_to_cancel(kw):
    assert kw.PeriodicWork(1, int).cancel() is False
