# SPDX-License-Identifier: GPL-2.0-only
"""Delayed works: timers that run, run out, are moved and cut short.

A long delay is one that is never reached. Nothing is said of how late a work comes, but that it
never comes early: that is a matter of the clock, not of the machine.
"""

from __future__ import annotations

import gc
import math
import threading
import time
import weakref
from decimal import Decimal
from fractions import Fraction

import pytest
from helpers import LIMIT, Background, Gate, hold, run_script, wait_until, wait_until_cancelling

LONG = 1000.0
SHUTDOWN = "^cannot schedule new futures after shutdown$"
ELSEWHERE = "^work is pending or executing on another worker$"


def wait_until_run_out(work):
    """Wait for the end of its timer; the work need not have been listed yet."""
    wait_until(lambda: work.remaining in (None, 0.0))


# --- queue_delayed ---


def test_delay_zero_goes_straight_to_the_list(kw, worker):
    gate = hold(kw, worker)
    ran = []
    works = [kw.DelayedWork(ran.append, number) for number in range(3)]
    worker.queue(works[0])
    assert worker.queue_delayed(works[1], 0) is True
    assert works[1].remaining is None
    assert works[1].pending
    assert worker.stats()["pending"] == 2
    assert worker.stats()["delayed"] == 0
    worker.queue(works[2])
    gate.open()
    worker.flush()
    assert ran == [0, 1, 2]


@pytest.mark.parametrize("delay", [0.0001, 0.003, 0.02])
def test_timer_runs_out_and_never_early(kw, worker, delay):
    for _ in range(10):
        began = []
        done = threading.Event()
        work = kw.DelayedWork(
            lambda began=began, done=done: (began.append(time.monotonic()), done.set())
        )
        asked = time.monotonic()
        assert worker.queue_delayed(work, delay) is True
        assert done.wait(LIMIT)
        assert began[0] >= asked + delay
        work.flush()
        assert not work.pending
        assert work.remaining is None
    assert len(began) == 1


def test_work_is_pending_while_its_timer_runs(kw, worker):
    work = kw.DelayedWork(int)
    assert work.remaining is None
    assert worker.queue_delayed(work, LONG) is True
    assert work.pending
    assert not work.executing
    assert 0 < work.remaining <= LONG
    assert repr(work).endswith("delayed>")
    assert type(work).__name__ in repr(work)
    stats = worker.stats()
    assert (stats["delayed"], stats["pending"], stats["executed"]) == (1, 0, 0)
    work.cancel()
    assert repr(work).endswith("idle>")


def test_arguments_reach_the_function(kw, worker):
    got = []
    work = kw.DelayedWork(lambda *args, **kwargs: got.append((args, kwargs)), 1, fn=2, delay=3)
    worker.queue_delayed(work, 0.001)
    work.flush()
    assert got == [((1,), {"fn": 2, "delay": 3})]
    assert isinstance(work, kw.Work)


def test_queueing_again_leaves_the_timer_unchanged(kw, worker):
    work = kw.DelayedWork(int)
    worker.queue_delayed(work, LONG)
    assert worker.queue_delayed(work, 2 * LONG) is False
    assert worker.queue_delayed(work, 0.001) is False
    assert worker.queue_delayed(work, 0) is False
    assert worker.queue(work) is False
    assert worker.queue_many([work]) == 0
    assert LONG / 2 < work.remaining <= LONG
    assert work.coalesced == 5
    assert worker.stats()["coalesced"] == 5
    work.cancel()


def test_listed_work_is_not_delayed(kw, worker):
    gate = hold(kw, worker)
    work = kw.DelayedWork(int)
    worker.queue(work)
    assert worker.queue_delayed(work, LONG) is False
    assert work.remaining is None
    assert work.coalesced == 1
    gate.open()
    work.flush()
    assert work.coalesced == 0


def test_executing_work_is_delayed(kw, worker):
    gate = Gate()
    work = kw.DelayedWork(gate)
    worker.queue(work)
    gate.wait_entered()
    assert worker.queue_delayed(work, LONG) is True
    assert work.executing
    assert work.pending
    assert "executing and delayed" in repr(work)
    gate.open()
    wait_until(lambda: not work.executing)
    assert work.pending
    assert gate.runs == 1
    work.cancel()


def test_work_delays_itself_in_its_callback(kw, worker):
    answers = []
    done = threading.Event()

    def again():
        if len(answers) == 10:
            done.set()
        else:
            answers.append(worker.queue_delayed(work, 0.0005))

    work = kw.DelayedWork(again)
    worker.queue_delayed(work, 0.0005)
    assert done.wait(LIMIT)
    assert answers == [True] * 10


def test_earlier_timer_runs_out_first(kw, worker):
    ran = []
    done = threading.Event()
    late, early = kw.DelayedWork(ran.append, "late"), kw.DelayedWork(done.set)
    worker.queue_delayed(late, LONG)
    worker.queue_delayed(early, 0.001)
    assert done.wait(LIMIT)
    assert ran == []
    late.cancel()


def test_works_come_in_the_order_of_their_deadlines(kw):
    with kw.Worker(start=False) as worker:
        ran = []
        delays = [0.005, 0.001, 0.004, 0.002, 0.003]
        works = {delay: kw.DelayedWork(ran.append, delay) for delay in delays}
        # Far enough apart for any machine: the deadlines' order is that of the delays only if
        # all are armed within a millisecond, so arm them again until they are.
        while True:
            began = time.monotonic()
            for delay, work in works.items():
                worker.mod_delayed(work, delay)
            if time.monotonic() - began < 0.0009:
                break
        for work in works.values():
            wait_until_run_out(work)
        worker.start()
        wait_until(lambda: len(ran) == 5)
        assert ran == sorted(delays)


def test_works_of_the_same_delay_come_in_the_order_of_arming(kw, worker):
    ran = []
    works = [kw.DelayedWork(ran.append, number) for number in range(200)]
    for work in works:
        worker.queue_delayed(work, 0.002)
    wait_until(lambda: len(ran) == 200)
    assert ran == list(range(200))


@pytest.mark.parametrize("delay", [1e-300, 1e9, 1e300, 10**18])
def test_any_finite_delay_is_taken(kw, worker, delay):
    work = kw.DelayedWork(int)
    assert worker.queue_delayed(work, delay) is True
    if delay < 1:
        work.flush()
        wait_until_run_out(work)
    else:
        assert work.remaining > 1e8
        assert worker.mod_delayed(work, 1) is True
        assert work.remaining <= 1
        assert work.cancel() is True


@pytest.mark.parametrize("delay", [1000, True, Fraction(1000), Decimal(1000)], ids=repr)
def test_delay_is_any_real_number(kw, worker, delay):
    work = kw.DelayedWork(int)
    assert worker.queue_delayed(work, delay) is True
    assert worker.mod_delayed(work, delay=1000) is True
    assert work.cancel() is True


BAD_DELAYS = [
    (-1, ValueError),
    (-1e-9, ValueError),
    (math.nan, ValueError),
    (math.inf, ValueError),
    (-math.inf, ValueError),
    (10**400, ValueError),
    (None, TypeError),
    ("1", TypeError),
    (1j, TypeError),
    ([], TypeError),
]


@pytest.mark.parametrize(("delay", "error"), BAD_DELAYS, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("verb", ["queue_delayed", "mod_delayed"])
def test_bad_delay_is_refused_and_nothing_changes(kw, worker, verb, delay, error):
    work = kw.DelayedWork(int)
    with pytest.raises(error, match="delay"):
        getattr(worker, verb)(work, delay)
    assert not work.pending
    worker.queue_delayed(work, LONG)
    with pytest.raises(error, match="delay"):
        getattr(worker, verb)(work, delay)
    assert LONG / 2 < work.remaining <= LONG
    assert work.coalesced == 0
    work.cancel()


@pytest.mark.parametrize("verb", ["queue_delayed", "mod_delayed"])
def test_only_delayed_works_are_taken(kw, worker, verb):
    for thing in (kw.Work(int), worker.work(int), None, int):
        with pytest.raises(TypeError):
            getattr(worker, verb)(thing, 1)
    with pytest.raises(TypeError):
        kw.DelayedWork(None)


# --- mod_delayed ---


def test_mod_of_an_idle_work_queues_it_and_says_false(kw, worker):
    work = kw.DelayedWork(int)
    assert worker.mod_delayed(work, LONG) is False
    assert work.pending
    assert LONG / 2 < work.remaining <= LONG
    work.cancel()
    assert worker.mod_delayed(work, 0) is False
    work.flush()
    assert worker.stats()["executed"] == 1


def test_mod_of_an_executing_work_queues_it_and_says_false(kw, worker):
    gate = Gate()
    work = kw.DelayedWork(gate)
    worker.queue(work)
    gate.wait_entered()
    assert worker.mod_delayed(work, LONG) is False
    assert worker.mod_delayed(work, 0) is True
    gate.open()
    work.flush()
    assert gate.runs == 2


def test_mod_of_a_delayed_work_moves_the_timer_either_way(kw, worker):
    work = kw.DelayedWork(int)
    worker.queue_delayed(work, LONG)
    assert worker.mod_delayed(work, 3 * LONG) is True
    assert 2 * LONG < work.remaining <= 3 * LONG
    assert worker.mod_delayed(work, LONG) is True
    assert LONG / 2 < work.remaining <= LONG
    assert worker.stats()["delayed"] == 1
    assert worker.stats()["executed"] == 0
    asked = time.monotonic()
    assert worker.mod_delayed(work, 0.002) is True
    wait_until(lambda: worker.stats()["executed"] == 1)
    assert time.monotonic() >= asked + 0.002
    assert work.coalesced == 0


def test_mod_of_a_listed_work_takes_it_off_the_list(kw, worker):
    gate = hold(kw, worker)
    ran = []
    work, other = kw.DelayedWork(ran.append, 1), kw.Work(ran.append, 2)
    worker.queue_many([work, other])
    assert worker.mod_delayed(work, LONG) is True
    assert LONG / 2 < work.remaining <= LONG
    assert worker.stats()["pending"] == 1
    gate.open()
    worker.flush()
    assert ran == [2]
    assert work.pending
    assert worker.mod_delayed(work, 0) is True
    work.flush()
    assert ran == [2, 1]


@pytest.mark.parametrize("delayed", [False, True])
def test_mod_to_zero_puts_the_work_at_the_tail_now(kw, worker, delayed):
    gate = hold(kw, worker)
    ran = []
    work = kw.DelayedWork(ran.append, "moved")
    worker.queue_delayed(work, LONG if delayed else 0)
    worker.queue_many([kw.Work(ran.append, number) for number in range(3)])
    assert worker.mod_delayed(work, 0) is True
    worker.queue(kw.Work(ran.append, "last"))
    gate.open()
    worker.flush()
    assert ran == [0, 1, 2, "moved", "last"]


def test_mod_while_being_cancelled_queues_nothing_and_says_true(kw, worker):
    gate = Gate()
    work = kw.DelayedWork(gate)
    worker.queue(work)
    gate.wait_entered()
    for verb in (work.cancel, work.disable):
        canceller = Background(verb)
        wait_until_cancelling(worker, work)
        assert worker.mod_delayed(work, LONG) is True
        assert worker.mod_delayed(work, 0) is True
        assert not work.pending
        gate.open()
        canceller.result()
        gate.opened.clear()
        gate.entered.clear()
        if verb == work.cancel:
            worker.queue(work)
            gate.wait_entered()
    assert worker.mod_delayed(work, LONG) is False
    assert not work.pending
    work.enable()


def test_mod_of_a_disabled_work_queues_nothing_and_says_false(kw, worker):
    work = kw.DelayedWork(int)
    work.disable()
    assert worker.mod_delayed(work, LONG) is False
    assert worker.mod_delayed(work, 0) is False
    assert not work.pending
    work.enable()
    assert worker.stats()["executed"] == 0


def test_many_mods_at_once_leave_one_timer(kw, worker):
    work = kw.DelayedWork(int)
    for _ in range(20):
        callers = [Background(worker.mod_delayed, work, LONG + n) for n in range(8)]
        assert sorted(caller.result() for caller in callers) == [False] + [True] * 7
        stats = worker.stats()
        assert (stats["delayed"], stats["pending"]) == (1, 0)
        assert LONG / 2 < work.remaining <= LONG + 7
        assert work.cancel() is True
    worker.flush()
    assert worker.stats()["executed"] == 0


def test_debounce(kw, worker):
    """Every call puts the run off; it comes once, after the last."""
    ran = []
    work = kw.DelayedWork(ran.append, 1)
    answers = [worker.mod_delayed(work, LONG) for _ in range(1000)]
    assert answers == [False] + [True] * 999
    assert worker.stats()["delayed"] == 1
    worker.mod_delayed(work, 0.001)
    wait_until(lambda: ran)
    work.flush()
    assert ran == [1]


# --- other workers, refused ---


@pytest.mark.parametrize("verb", ["queue_delayed", "mod_delayed"])
@pytest.mark.parametrize("delay", [0, LONG])
def test_work_pending_on_another_worker_is_refused(kw, worker, verb, delay):
    with kw.Worker() as other:
        work = kw.DelayedWork(int)
        worker.queue_delayed(work, LONG)
        with pytest.raises(RuntimeError, match=ELSEWHERE):
            getattr(other, verb)(work, delay)
        with pytest.raises(RuntimeError, match=ELSEWHERE):
            other.queue(work)
        assert LONG / 2 < work.remaining <= LONG
        work.cancel()
        assert other.mod_delayed(work, LONG) is False
        work.cancel()


@pytest.mark.parametrize("verb", ["queue_delayed", "mod_delayed"])
@pytest.mark.parametrize("delay", [0, LONG])
def test_destroyed_worker_refuses(kw, verb, delay):
    worker = kw.Worker()
    worker.destroy()
    work = kw.DelayedWork(int)
    with pytest.raises(RuntimeError, match=SHUTDOWN):
        getattr(worker, verb)(work, delay)
    assert not work.pending


# --- flush ---


def test_flush_cuts_the_timer_short(kw, worker):
    ran = []
    work = kw.DelayedWork(ran.append, 1)
    for count in range(1, 20):
        worker.queue_delayed(work, LONG)
        work.flush()
        assert ran == [1] * count
        assert not work.pending


def test_flush_puts_the_work_at_the_tail(kw, worker):
    gate = hold(kw, worker)
    ran = []
    work = kw.DelayedWork(ran.append, 1)
    worker.queue_delayed(work, LONG)
    worker.queue(kw.Work(ran.append, 0))
    with pytest.raises(TimeoutError):
        work.flush(timeout=0)
    assert work.pending
    assert work.remaining is None
    worker.queue(kw.Work(ran.append, 2))
    gate.open()
    work.flush()
    worker.flush()
    assert ran == [0, 1, 2]


def test_flush_of_an_executing_and_delayed_work_waits_for_both_runs(kw, worker):
    gate = Gate()
    work = kw.DelayedWork(gate)
    worker.queue(work)
    gate.wait_entered()
    worker.queue_delayed(work, LONG)
    with pytest.raises(TimeoutError):
        work.flush(timeout=0)
    gate.open()
    work.flush()
    assert gate.runs == 2


def test_worker_flush_does_not_wait_for_timers(kw, worker):
    ran = []
    work = kw.DelayedWork(ran.append, 1)
    worker.queue_delayed(work, LONG)
    worker.queue(kw.Work(ran.append, 2))
    worker.flush()
    assert ran == [2]
    assert work.pending
    work.cancel()


def test_flush_from_a_callback_of_its_worker_is_refused_and_the_timer_runs_on(kw, worker):
    results = []
    later = kw.DelayedWork(int)
    worker.queue_delayed(later, LONG)

    def body():
        try:
            later.flush()
        except kw.DeadlockError as error:
            results.append(type(error))

    work = kw.Work(body)
    worker.queue(work)
    work.flush()
    assert results == [kw.DeadlockError]
    assert later.remaining > LONG / 2
    later.cancel()


def test_flusher_returns_when_the_run_is_modified_and_cancelled(kw, worker):
    gate = hold(kw, worker)
    work = kw.DelayedWork(int)
    for _ in range(50):
        worker.queue_delayed(work, LONG)
        flushers = [Background(work.flush), Background(work.flush)]
        worker.mod_delayed(work, LONG)
        worker.mod_delayed(work, 0)
        assert work.cancel() is True
        for flusher in flushers:
            flusher.result()
    gate.open()


# --- the worker rests, stops, ends ---


def test_timer_that_runs_out_while_frozen_is_kept_in_order(kw, worker):
    worker.freeze()
    ran = []
    works = [kw.DelayedWork(ran.append, number) for number in range(3)]
    for work in works:
        worker.queue_delayed(work, 0.001)
        wait_until(lambda: worker.stats()["delayed"] == 0)  # the worker has listed it
    worker.queue(kw.Work(ran.append, "queued later"))
    assert all(work.pending for work in works)
    assert ran == []
    worker.thaw()
    worker.flush()
    assert ran == [0, 1, 2, "queued later"]


def test_timer_that_runs_out_without_a_thread_waits_for_one(kw):
    with kw.Worker(start=False) as worker:
        ran = []
        work = kw.DelayedWork(ran.append, 1)
        worker.queue_delayed(work, 0.001)
        wait_until_run_out(work)
        worker.queue(kw.Work(ran.append, 2))
        assert work.pending
        worker.start()
        worker.flush()
        assert sorted(ran) == [1, 2]  # nobody was there to keep them in the order of time


def test_timer_runs_on_while_the_worker_changes_its_thread(kw, worker):
    ran = threading.Event()
    soon, late = kw.DelayedWork(ran.set), kw.DelayedWork(int)
    worker.queue_delayed(late, LONG)
    worker.queue_delayed(soon, 0.005)
    worker.stop()
    assert late.remaining > LONG / 2
    worker.start()
    assert ran.wait(LIMIT)
    assert late.pending
    late.flush()


def test_timer_runs_on_beside_a_long_callback(kw, worker):
    gate = hold(kw, worker)
    ran = []
    work = kw.DelayedWork(ran.append, 1)
    worker.queue_delayed(work, 0.001)
    wait_until_run_out(work)
    assert ran == []
    gate.open()
    wait_until(lambda: ran)


def test_destroy_cancels_what_is_armed_and_runs_what_is_listed(kw):
    worker = kw.Worker()
    gate = hold(kw, worker)
    ran = []
    armed = [kw.DelayedWork(ran.append, "armed") for _ in range(3)]
    for work in armed:
        worker.queue_delayed(work, LONG)
    listed = kw.DelayedWork(ran.append, "listed")
    worker.queue_delayed(listed, 0)
    opener = Background(gate.open)
    worker.destroy()
    opener.result()
    assert ran == ["listed"]
    assert not any(work.pending for work in armed)
    assert all(work.remaining is None for work in armed)
    stats = worker.stats()
    assert (stats["cancelled"], stats["delayed"], stats["executed"]) == (3, 0, 2)
    for work in armed:
        work.flush()
        assert work.cancel() is False


def test_destroy_that_runs_out_of_time_has_cancelled_what_is_armed(kw):
    worker = kw.Worker()
    gate = Gate()
    work, other = kw.DelayedWork(gate), kw.DelayedWork(int)
    worker.queue(work)
    gate.wait_entered()
    worker.queue_delayed(work, LONG)
    worker.queue_delayed(other, LONG)
    with pytest.raises(TimeoutError):
        worker.destroy(timeout=0)
    assert not work.pending
    assert not other.pending
    assert worker.stats()["cancelled"] == 2
    gate.open()
    worker.destroy()
    assert gate.runs == 1


def test_destroy_without_a_thread_cancels_what_is_armed(kw):
    worker = kw.Worker(start=False)
    work = kw.DelayedWork(int)
    worker.queue_delayed(work, LONG)
    worker.destroy()
    assert not work.pending
    assert worker.stats()["cancelled"] == 1


def test_work_of_a_destroyed_worker_goes_to_another(kw, worker):
    gone = kw.Worker()
    ran = []
    work = kw.DelayedWork(ran.append, 1)
    gone.queue_delayed(work, LONG)
    gone.destroy()
    assert worker.queue_delayed(work, 0.001) is True
    work.flush()
    assert ran == [1]


def test_exit_cancels_what_is_armed(kw):
    result = run_script(
        kw,
        """
        worker, daemon = kw.Worker(), kw.Worker(daemon=True)
        works = [kw.DelayedWork(print, "never") for _ in range(10)]
        for work in works:
            worker.queue_delayed(work, 1000)
            daemon.queue_delayed(kw.DelayedWork(print, "never"), 1000)
        worker.every(1000, print, "never")
        print("main ends")
        worker.queue(kw.Work(print, "ran"))
        """,
    )
    assert result.stdout == "main ends\nran\n", result.stderr
    assert result.stderr == ""
    assert result.returncode == 0


# --- references ---


def test_delayed_work_dropped_by_its_last_reference_runs_once(kw, worker):
    ran = []
    work = kw.DelayedWork(ran.append, 1)
    ref = weakref.ref(work)
    worker.queue_delayed(work, LONG)
    del work
    gc.collect()
    assert ref() is not None
    worker.mod_delayed(ref(), 0)
    worker.flush()
    assert ran == [1]
    gc.collect()
    assert ref() is None


def test_works_cancelled_by_destroy_are_not_kept(kw):
    worker = kw.Worker()
    work = kw.DelayedWork(int)
    ref = weakref.ref(work)
    worker.queue_delayed(work, LONG)
    del work
    worker.destroy()
    gc.collect()
    assert ref() is None


def test_dropped_worker_cancels_what_is_armed(kw):
    worker = kw.Worker("forgotten")
    work = kw.DelayedWork(int)
    worker.queue_delayed(work, LONG)
    with pytest.warns(ResourceWarning, match="forgotten"):  # noqa: PT031 - either may be its end
        del worker
        gc.collect()
    wait_until(lambda: not work.pending)


def test_no_lock_is_held_while_a_destructor_of_an_armed_work_runs(kw):
    done = []

    class Caller:
        def __call__(self):
            pass

        def __del__(self):
            Background(worker.stats).result()
            done.append(1)

    worker = kw.Worker()
    worker.queue_delayed(kw.DelayedWork(Caller()), LONG)
    worker.destroy(LIMIT)
    gc.collect()
    assert done == [1]


# --- many ---


@pytest.mark.timeout(120)
def test_a_hundred_thousand_armed_works(kw, worker):
    works = [kw.DelayedWork(int) for _ in range(100_000)]
    assert sum(worker.queue_delayed(work, LONG) for work in works) == 100_000
    assert worker.stats()["delayed"] == 100_000
    assert sum(worker.mod_delayed(work, 2 * LONG) for work in works[::10]) == 10_000
    assert worker.stats()["delayed"] == 100_000
    assert sum(work.cancel() for work in reversed(works)) == 100_000
    assert worker.stats()["delayed"] == 0
    worker.flush()
    assert worker.stats()["executed"] == 0


def test_cancelled_timers_of_the_pure_backend_do_not_pile_up():
    from pykworker import pure

    with pure.Worker() as worker:
        work = pure.DelayedWork(int)
        for _ in range(1000):
            worker.mod_delayed(work, LONG)
        for _ in range(1000):
            worker.queue_delayed(work, LONG)
            work.cancel()
        assert len(worker._core.timers._heap) < 200


def test_mod_against_run_out_and_cancel(kw, worker):
    """What was made pending has run or was dropped, and was told to just one of all callers."""
    runs = []
    work = kw.DelayedWork(runs.append, 1)
    over = threading.Event()
    made_pending, dropped = [0, 0, 0], [0, 0]

    def modify(number):
        for turn in range(300):
            made_pending[number] += not worker.mod_delayed(work, (0, 0.0001, LONG)[turn % 3])

    def queue(number):
        for _ in range(300):
            made_pending[number] += worker.queue_delayed(work, 0.0001)

    def cancel(number):
        while not over.is_set():
            dropped[number] += work.cancel(wait=False)

    def flush():
        while not over.is_set():
            work.flush()

    others = [Background(cancel, 0), Background(cancel, 1), Background(flush)]
    callers = [Background(modify, 0), Background(modify, 1), Background(queue, 2)]
    for caller in callers:
        caller.result()
    over.set()
    for other in others:
        other.result()
    work.flush()
    assert sum(made_pending) == len(runs) + sum(dropped)
    assert worker.stats()["executed"] == len(runs)
    assert worker.stats()["delayed"] == 0
