# SPDX-License-Identifier: GPL-2.0-only
"""Waits that could never end are told so; waits that can end are not."""

from __future__ import annotations

import threading

import pytest
from helpers import LIMIT, Background, Gate, hold


def outcome(call):
    """The call's result, or the class of its error."""
    try:
        return call()
    except Exception as error:
        return type(error)


def in_callback(kw, worker, call):
    """What *call* does when a callback of *worker* calls it."""
    results = []
    work = kw.Work(lambda: results.append(outcome(call)))
    worker.queue(work)
    work.flush(LIMIT)
    return results[0]


def test_the_class_is_one_and_a_runtime_error(kw):
    from pykworker._errors import DeadlockError

    assert kw.DeadlockError is DeadlockError
    assert issubclass(DeadlockError, RuntimeError)


def test_work_flushes_itself(kw, worker):
    results = []
    work = kw.Work(lambda: results.append(outcome(lambda: work.flush())))
    worker.queue(work)
    work.flush()
    assert results == [kw.DeadlockError]


@pytest.mark.parametrize("timeout", [0, 1, None])
def test_callback_flushes_a_pending_work_of_its_worker(kw, worker, timeout):
    gate = hold(kw, worker)
    results = []
    behind = kw.Work(int)
    work = kw.Work(lambda: results.append(outcome(lambda: behind.flush(timeout))))
    worker.queue_many([work, behind])
    gate.open()
    worker.flush()
    assert results == [kw.DeadlockError]


def test_callback_flushes_itself_queued_again(kw, worker):
    results = []

    def body():
        if not results:
            worker.queue(work)
            results.append(outcome(work.flush))

    work = kw.Work(body)
    worker.queue(work)
    work.flush()
    worker.flush()
    assert results == [kw.DeadlockError]


def test_callback_flushes_an_idle_work(kw, worker):
    done = kw.Work(int)
    worker.queue(done)
    done.flush()
    assert in_callback(kw, worker, done.flush) is None
    assert in_callback(kw, worker, kw.Work(int).flush) is None


@pytest.mark.parametrize("verb", ["flush", "drain", "freeze", "destroy"])
def test_callback_waits_for_its_own_worker(kw, worker, verb):
    assert in_callback(kw, worker, getattr(worker, verb)) is kw.DeadlockError
    ran = []
    worker.queue(kw.Work(ran.append, 1))
    worker.flush()
    assert ran == [1]


def test_callback_leaves_a_with_block_of_its_own_worker(kw, worker):
    def body():
        with worker:
            pass

    assert in_callback(kw, worker, body) is kw.DeadlockError
    assert worker.queue(kw.Work(int))


def test_callback_flushes_another_worker(kw, worker):
    with kw.Worker() as other:
        gate = hold(kw, other)
        work = kw.Work(int)
        other.queue(work)
        results = []
        flusher = kw.Work(lambda: results.append(outcome(work.flush)))
        worker.queue(flusher)
        gate.open()
        flusher.flush()
        assert results == [None]


def test_run_on_the_calling_thread_counts_as_the_worker(kw):
    worker = kw.Worker(start=False)
    results = []
    work = kw.Work(lambda: results.append(outcome(work.flush)))
    worker.queue(work)
    worker.queue(kw.Work(worker.stop))
    worker.run()
    assert results == [kw.DeadlockError]
    worker.destroy()


VERBS = ["flush work", "flush worker", "freeze", "stop", "destroy"]


def wait_for(verb, worker, work):
    if verb == "flush work":
        work.flush()
    elif verb == "flush worker":
        worker.flush()
    else:
        getattr(worker, verb)()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("length", [2, 3, 7])
def test_workers_wait_for_each_other_in_a_circle(kw, length, verb):
    workers = [kw.Worker() for _ in range(length)]
    meet = threading.Barrier(length)
    results = []
    works = []

    def body(number):
        meet.wait(LIMIT)
        target = (number + 1) % length
        # One flushes whatever the verb: a stop or a freeze lets the circle open at its end.
        mine = verb if number == 0 else "flush work"
        results.append(outcome(lambda: wait_for(mine, workers[target], works[target])))

    works.extend(kw.Work(body, number) for number in range(length))
    for worker, work in zip(workers, works, strict=True):
        worker.queue(work)
    for work in works:
        work.flush(LIMIT)
    assert sorted(map(str, results)) == sorted(map(str, [kw.DeadlockError] + [None] * (length - 1)))
    for worker in workers:
        worker.thaw()
        worker.destroy()


@pytest.mark.parametrize("verb", VERBS)
def test_the_call_that_closes_the_circle_changes_nothing(kw, worker, verb):
    with kw.Worker() as other:
        other_waits = threading.Event()
        inner, gate = Gate(), Gate()
        results, refused = [], []

        def first():  # on worker; waits for other to be inside second
            gate()
            results.append(outcome(lambda: wait_for(verb, other, second_work)))
            if results[-1] is kw.DeadlockError:
                refused.append("first")

        def second():
            inner()
            other_waits.set()
            results.append(outcome(first_work.flush))

        first_work, second_work = kw.Work(first), kw.Work(second)
        worker.queue(first_work)
        other.queue(second_work)
        gate.wait_entered()
        inner.open()
        assert other_waits.wait(LIMIT)
        gate.open()
        first_work.flush()
        second_work.flush()
        # Who was last to wait, and so was refused, is up to the scheduler.
        assert sorted(map(str, results)) == sorted(map(str, [kw.DeadlockError, None]))
        if refused == ["first"]:
            assert other.is_alive()
            ran = []
            other.queue(kw.Work(ran.append, 1))
            other.flush(LIMIT)
            assert ran == [1]
        other.thaw()


def test_a_chain_that_does_not_close_is_no_deadlock(kw):
    workers = [kw.Worker() for _ in range(5)]
    gate = Gate()
    results = []
    works = [kw.Work(gate)]
    for before in range(4):
        works.append(kw.Work(lambda before=before: results.append(outcome(works[before].flush))))
    for worker, work in zip(workers, works, strict=True):
        worker.queue(work)
    gate.wait_entered()
    gate.open()
    for work in works:
        work.flush(LIMIT)
    assert results == [None] * 4
    for worker in workers:
        worker.destroy()


def test_other_threads_may_wait_for_a_worker_that_waits(kw, worker):
    with kw.Worker() as other:
        gate = hold(kw, other)
        results = []
        flusher = kw.Work(lambda: results.append(outcome(other.flush)))
        worker.queue(flusher)
        outside = Background(flusher.flush)
        gate.open()
        outside.result()
        assert results == [None]


def test_a_wait_that_is_over_closes_no_circle(kw, worker):
    """One worker's callback still wakes up from a wait when the other begins to wait for it."""
    with kw.Worker() as other:
        errors = []

        def flush(work):
            try:
                work.flush()
            except BaseException as error:
                errors.append(error)

        for _ in range(300):
            gate, other_gate = hold(kw, worker), hold(kw, other)
            x, w = kw.Work(int), kw.Work(int)
            worker.queue_many([x, kw.Work(flush, w)])
            other.queue_many([kw.Work(flush, x), w])
            gate.open()
            other_gate.open()
            worker.flush()
            other.flush()
        assert errors == []
