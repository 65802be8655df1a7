# SPDX-License-Identifier: GPL-2.0-only
"""Flushing a work and a worker, in every state."""

from __future__ import annotations

import threading
import time

import pytest
from helpers import LIMIT, Background, Gate, give_time_to_sleep, hold, wait_until


def test_never_queued_work_returns_at_once(kw):
    kw.Work(int).flush(timeout=0)


def test_finished_work_returns_at_once(kw, worker):
    work = kw.Work(int)
    worker.queue(work)
    work.flush()
    work.flush(timeout=0)


def test_pending_work_is_waited_for(kw, worker):
    gate = hold(kw, worker)
    ran = []
    work = kw.Work(ran.append, 1)
    worker.queue(work)
    with pytest.raises(TimeoutError):
        work.flush(timeout=0)
    gate.open()
    work.flush()
    assert ran == [1]


def test_executing_work_is_waited_for(kw, worker):
    gate = Gate()
    work = kw.Work(gate)
    worker.queue(work)
    gate.wait_entered()
    with pytest.raises(TimeoutError):
        work.flush(timeout=0)
    gate.open()
    work.flush()
    assert gate.runs == 1


def test_works_behind_are_not_waited_for(kw, worker):
    first, behind = kw.Work(int), Gate()
    gate = hold(kw, worker)
    worker.queue(first)
    worker.queue(kw.Work(behind))
    gate.open()
    first.flush()
    assert behind.runs == 0
    behind.open()


def test_executing_work_is_flushed_with_others_pending(kw, worker):
    gate, behind = Gate(), Gate()
    work = kw.Work(gate)
    worker.queue(work)
    gate.wait_entered()
    worker.queue(kw.Work(behind))
    gate.open()
    work.flush()
    assert (gate.runs, behind.runs) == (1, 0)
    behind.open()


def test_work_queued_again_while_executing_is_waited_for_twice(kw, worker):
    entered = threading.Semaphore(0)
    may_go = threading.Semaphore(0)
    runs = []

    def body():
        entered.release()
        assert may_go.acquire(timeout=LIMIT)
        runs.append(1)

    work = kw.Work(body)
    worker.queue(work)
    assert entered.acquire(timeout=LIMIT)
    assert worker.queue(work) is True
    may_go.release()
    assert entered.acquire(timeout=LIMIT)  # the first run has ended, the second is in the middle
    with pytest.raises(TimeoutError):
        work.flush(timeout=0)
    may_go.release()
    work.flush()
    assert len(runs) == 2


def test_flush_begun_before_the_first_run_ends_waits_for_the_second(kw, worker):
    """The first run ends once the flusher sleeps; in the second, one that woke may show itself.

    Neither is needed for the test to pass, but for it to fail where a flush waits for the
    executing run though another one is pending.
    """
    flusher = threading.get_native_id()
    entered, about_to_flush = threading.Event(), threading.Event()
    order = []

    def first():
        entered.set()
        assert about_to_flush.wait(LIMIT)
        give_time_to_sleep(flusher)
        order.append("first run")

    def second():
        for _ in range(50):
            if "flushed" in order:
                break
            time.sleep(0.001)
        order.append("second run")

    runs = iter([first, second])
    work = kw.Work(lambda: next(runs)())
    worker.queue(work)
    assert entered.wait(LIMIT)
    assert worker.queue(work) is True
    about_to_flush.set()
    work.flush()
    order.append("flushed")
    worker.flush()
    assert order == ["first run", "second run", "flushed"]


def test_flush_of_the_pending_run_does_not_wait_for_a_later_one(kw, worker):
    gate, later = Gate(), Gate()
    runs = []

    def body():
        runs.append(1)
        (gate if len(runs) == 1 else later)()

    work = kw.Work(body)
    worker.queue(work)
    gate.wait_entered()
    flusher = Background(work.flush)  # of the first run, or of nothing

    gate.open()
    flusher.result()
    worker.queue(work)
    later.wait_entered()
    later.open()
    work.flush()
    assert len(runs) == 2


def test_work_that_requeues_itself_for_ever_is_flushed(kw, worker):
    go_on = True
    runs = []

    def body():
        runs.append(1)
        if go_on:
            worker.queue(work)

    work = kw.Work(body)
    worker.queue(work)
    for _ in range(20):
        work.flush()
    worker.flush()
    assert runs
    go_on = False
    wait_until(lambda: not work.pending and not work.executing)


def test_flush_of_a_forever_requeued_work_waits_for_one_run(kw, worker):
    gate = hold(kw, worker)
    go_on = True
    runs = []

    def body():
        runs.append(1)
        if go_on:
            worker.queue(work)

    work = kw.Work(body)
    worker.queue(work)
    with pytest.raises(TimeoutError):
        work.flush(timeout=0)
    assert runs == []
    gate.open()
    work.flush()
    assert runs
    go_on = False
    wait_until(lambda: not work.pending and not work.executing)


def test_timeout_leaves_the_work_untouched(kw, worker):
    gate = hold(kw, worker)
    ran = []
    work = kw.Work(ran.append, 1)
    worker.queue(work)
    with pytest.raises(TimeoutError):
        work.flush(timeout=0.001)
    assert work.pending
    assert worker.queue(work) is False
    gate.open()
    work.flush(timeout=LIMIT)
    assert ran == [1]


def test_flush_sees_what_the_callback_wrote(kw, worker):
    box = [0]

    def body():
        box[0] += 1

    work = kw.Work(body)
    for count in range(1, 200):
        worker.queue(work)
        work.flush()
        assert box == [count]


def test_many_threads_flush_one_work(kw, worker):
    gate = Gate()
    work = kw.Work(gate)
    worker.queue(work)
    gate.wait_entered()

    def flush():
        work.flush()
        return gate.runs

    flushers = [Background(flush) for _ in range(8)]
    gate.open()
    assert [flusher.result() for flusher in flushers] == [1] * 8


def test_work_that_moved_is_flushed_where_it_is(kw, worker):
    with kw.Worker() as other:
        work = kw.Work(int)
        worker.queue(work)
        work.flush()
        gate = hold(kw, other)
        other.queue(work)
        with pytest.raises(TimeoutError):
            work.flush(timeout=0)
        worker.flush(timeout=LIMIT)
        gate.open()
        work.flush()
        assert not work.pending


def test_finished_work_on_a_frozen_worker_returns_at_once(kw, worker):
    work = kw.Work(int)
    worker.queue(work)
    work.flush()
    worker.freeze()
    work.flush(timeout=0)
    worker.flush(timeout=0)
    worker.thaw()


def test_work_pending_on_a_frozen_worker_is_waited_for(kw, worker):
    worker.freeze()
    work = kw.Work(int)
    worker.queue(work)
    with pytest.raises(TimeoutError):
        work.flush(timeout=0)
    with pytest.raises(TimeoutError):
        worker.flush(timeout=0)
    worker.thaw()
    work.flush()


def test_work_of_a_worker_without_a_thread_waits_for_one(kw):
    with kw.Worker(start=False) as worker:
        ran = []
        work = kw.Work(ran.append, 1)
        worker.queue(work)
        with pytest.raises(TimeoutError):
            work.flush(timeout=0)
        flusher = Background(work.flush)
        worker.start()
        flusher.result()
        assert ran == [1]


def test_idle_worker_returns_at_once(kw, worker):
    worker.flush(timeout=0)
    worker.queue(kw.Work(int))
    worker.flush()
    worker.flush(timeout=0)


def test_worker_flush_waits_for_all_that_is_listed(kw, worker):
    gate = hold(kw, worker)
    ran = []
    worker.queue_many(kw.Work(ran.append, number) for number in range(50))
    with pytest.raises(TimeoutError):
        worker.flush(timeout=0)
    assert ran == []
    gate.open()
    worker.flush()
    assert ran == list(range(50))


def test_worker_flush_waits_for_the_executing_work(kw, worker):
    gate = hold(kw, worker)
    with pytest.raises(TimeoutError):
        worker.flush(timeout=0)
    gate.open()
    worker.flush()
    assert gate.runs == 1


def test_worker_flush_does_not_wait_for_what_is_queued_later(kw, worker):
    """There is always one more work listed, so that a flush that waits for all never returns."""
    go_on = True
    ran = []

    def body(number):
        ran.append(number)
        if go_on:
            worker.queue(kw.Work(body, number + 1))

    worker.queue(kw.Work(body, 0))
    for _ in range(20):
        worker.flush()
    go_on = False
    wait_until(lambda: worker.stats()["pending"] == 0 and worker.current_work is None)
    assert ran == list(range(len(ran)))


def test_worker_flush_timeout_leaves_all_as_it_is(kw, worker):
    gate = hold(kw, worker)
    ran = []
    worker.queue(kw.Work(ran.append, 1))
    with pytest.raises(TimeoutError):
        worker.flush(timeout=0.001)
    assert worker.stats()["pending"] == 1
    gate.open()
    worker.flush()
    assert ran == [1]


def test_flush_of_a_work_that_raised_returns(kw, worker, unraisable):
    def fail():
        raise ValueError("expected")

    work = kw.Work(fail)
    worker.queue(work)
    work.flush()
    assert len(unraisable) == 1
