# SPDX-License-Identifier: GPL-2.0-only
"""Draining: until nothing is left, while others may not queue."""

from __future__ import annotations

import sys
import threading

import pytest
from helpers import (
    LIMIT,
    Background,
    Gate,
    hold,
    run_script,
    wait_until,
    wait_until_cancelling,
    wait_until_draining,
)

DRAINED = "^worker is being drained$"
LONG = 1000.0


def test_idle_worker_is_drained_at_once(kw, worker):
    worker.drain()
    worker.drain(timeout=0)
    assert worker.queue(kw.Work(int)) is True


def test_all_that_is_listed_is_waited_for(kw, worker):
    gate = hold(kw, worker)
    ran = []
    worker.queue_many(kw.Work(ran.append, number) for number in range(50))
    with pytest.raises(TimeoutError):
        worker.drain(timeout=0)
    assert ran == []
    opener = Background(gate.open)
    worker.drain()
    opener.result()
    assert ran == list(range(50))


def test_executing_work_is_waited_for(kw, worker):
    gate = hold(kw, worker)
    with pytest.raises(TimeoutError):
        worker.drain(timeout=0.001)
    gate.open()
    worker.drain()
    assert gate.runs == 1


def test_what_callbacks_queue_is_waited_for(kw, worker):
    gate = hold(kw, worker)
    ran = []

    def body(number):
        ran.append(number)
        if number < 20:
            assert worker.queue(kw.Work(body, number + 1)) is True

    worker.queue(kw.Work(body, 0))
    drainer = Background(worker.drain)
    wait_until_draining(kw, worker)
    gate.open()
    drainer.result()
    assert ran == list(range(21))
    assert worker.stats()["pending"] == 0
    assert worker.current_work is None


def test_work_that_requeues_itself_is_waited_for(kw, worker):
    answers = []

    def again():
        if len(answers) < 20:
            answers.append(worker.queue(work))

    work = kw.Work(again)
    worker.queue(work)
    worker.drain()
    assert answers == [True] * 20
    assert not work.pending


def test_others_may_not_queue_meanwhile(kw, worker):
    gate = hold(kw, worker)
    drainer = Background(worker.drain)
    wait_until_draining(kw, worker)
    work, bound = kw.DelayedWork(int), worker.work(lambda: None)
    for call in (
        lambda: worker.queue(work),
        lambda: worker.queue_many([work]),
        lambda: worker.queue_delayed(work, 0),
        lambda: worker.queue_delayed(work, LONG),
        lambda: worker.mod_delayed(work, LONG),
        lambda: worker.every(LONG, int),
        bound.queue,
    ):
        with pytest.raises(RuntimeError, match=DRAINED):
            call()
    assert not work.pending
    assert not bound.pending
    assert worker.stats()["delayed"] == 0
    with kw.Worker() as other:
        assert other.queue(work) is True
    gate.open()
    drainer.result()
    assert worker.queue(work) is True


def test_callbacks_of_another_worker_may_not_queue_either(kw, worker):
    with kw.Worker() as other:
        gate = hold(kw, worker)
        drainer = Background(worker.drain)
        wait_until_draining(kw, worker)
        errors = []

        def body():
            try:
                worker.queue(kw.Work(int))
            except RuntimeError as error:
                errors.append(str(error))

        work = kw.Work(body)
        other.queue(work)
        work.flush()
        assert errors == ["worker is being drained"]
        gate.open()
        drainer.result()


def test_works_whose_timer_runs_are_not_waited_for(kw, worker):
    work = kw.DelayedWork(int)
    worker.queue_delayed(work, LONG)
    worker.queue(kw.Work(int))
    worker.drain()
    assert work.pending
    beat = worker.every(LONG, int)
    worker.drain(timeout=LIMIT)
    assert beat.pending
    beat.cancel()
    work.cancel()


def test_callback_may_delay_a_work_meanwhile(kw, worker):
    gate = Gate()
    answers = []
    later = kw.DelayedWork(int)

    def body():
        gate()
        answers.append(worker.queue_delayed(later, LONG))
        answers.append(worker.mod_delayed(later, 2 * LONG))

    worker.queue(kw.Work(body))
    gate.wait_entered()
    drainer = Background(worker.drain)
    wait_until_draining(kw, worker)
    gate.open()
    drainer.result()
    assert answers == [True, True]
    assert later.remaining > LONG
    later.cancel()


def test_timed_out_drain_opens_the_queue_again(kw, worker):
    gate = hold(kw, worker)
    ran = []
    with pytest.raises(TimeoutError):
        worker.drain(timeout=0.001)
    assert worker.queue(kw.Work(ran.append, 1)) is True
    gate.open()
    worker.drain()
    assert ran == [1]


def test_queue_opens_again_when_the_last_of_several_drains_ends(kw, worker):
    gate = hold(kw, worker)
    drainers = [Background(worker.drain) for _ in range(3)]
    wait_until_draining(kw, worker)
    with pytest.raises(TimeoutError):
        worker.drain(timeout=0.001)
    with pytest.raises(RuntimeError, match=DRAINED):
        worker.queue(kw.Work(int))
    gate.open()
    for drainer in drainers:
        drainer.result()
    assert worker.queue(kw.Work(int)) is True


def test_drain_of_a_destroyed_worker_returns_at_once(kw):
    worker = kw.Worker()
    worker.queue(kw.Work(int))
    worker.destroy()
    worker.drain()
    worker.drain(timeout=0)


def test_drain_of_a_worker_that_is_being_destroyed_waits_for_the_rest(kw):
    worker = kw.Worker()
    gate = hold(kw, worker)
    ran = []
    worker.queue(kw.Work(ran.append, 1))
    with pytest.raises(TimeoutError):
        worker.destroy(timeout=0)
    with pytest.raises(TimeoutError):
        worker.drain(timeout=0)
    gate.open()
    worker.drain()
    assert ran == [1]
    worker.destroy()


def test_drain_without_a_thread_waits_until_one_serves(kw):
    with kw.Worker(start=False) as worker:
        ran = []
        worker.queue(kw.Work(ran.append, 1))
        drainer = Background(worker.drain)
        wait_until_draining(kw, worker)
        worker.start()
        drainer.result()
        assert ran[:1] == [1]
        worker.stop()
        worker.queue(kw.Work(ran.append, 2))
        drainer = Background(worker.drain)
        wait_until_draining(kw, worker)
        assert worker.run_pending() >= 1
        drainer.result()
        assert ran[-1] == 2


def test_drain_goes_on_when_the_last_work_is_cancelled(kw):
    with kw.Worker(start=False) as worker:
        work, other = kw.Work(int), kw.Work(int)
        worker.queue_many([work, other])
        drainer = Background(worker.drain)
        with pytest.raises(TimeoutError):
            worker.drain(timeout=0.001)
        # What the drain has to wait for is these two, whether it has begun or not.
        assert work.cancel() is True
        assert other.cancel() is True
        drainer.result()


def test_drain_returns_when_destroy_drops_the_rest(kw):
    worker = kw.Worker(start=False)
    worker.queue(kw.Work(int))
    drainer = Background(worker.drain)
    wait_until_draining(kw, worker)
    worker.destroy()
    drainer.result()


def test_drain_of_a_frozen_worker_waits_for_the_thaw(kw, worker):
    worker.freeze()
    ran = []
    worker.queue(kw.Work(ran.append, 1))
    with pytest.raises(TimeoutError):
        worker.drain(timeout=0.001)
    drainer = Background(worker.drain)
    wait_until_draining(kw, worker)
    worker.thaw()
    drainer.result()
    assert ran[:1] == [1]


def test_drain_goes_on_after_an_error(kw):
    errors = []

    def fail():
        raise ValueError("expected")

    with kw.Worker(on_error=lambda *_: errors.append(1)) as worker:
        worker.queue_many(kw.Work(fail) for _ in range(3))
        worker.drain()
        assert errors == [1] * 3


def test_drain_from_its_own_callback_is_refused(kw, worker):
    results = []

    def body():
        try:
            worker.drain()
        except kw.DeadlockError as error:
            results.append(type(error))

    work = kw.Work(body)
    worker.queue(work)
    work.flush()
    assert results == [kw.DeadlockError]
    assert worker.queue(kw.Work(int)) is True


def test_the_drain_that_closes_a_circle_changes_nothing(kw, worker):
    with kw.Worker() as other:
        inside = threading.Barrier(2)
        results = []

        def first():  # on worker
            inside.wait(LIMIT)
            wait_until_cancelling(worker, first_work)
            try:
                other.drain()
            except kw.DeadlockError as error:
                results.append(type(error))

        def second():  # on other
            inside.wait(LIMIT)
            first_work.cancel()

        first_work, second_work = kw.Work(first), kw.Work(second)
        worker.queue(first_work)
        other.queue(second_work)
        second_work.flush(LIMIT)
        assert results == [kw.DeadlockError]
        assert other.queue(kw.Work(int)) is True


def test_callback_drains_another_worker(kw, worker):
    with kw.Worker() as other:
        gate = hold(kw, other)
        results = []
        work = kw.Work(lambda: results.append(other.drain()))
        worker.queue(work)
        wait_until_draining(kw, other)
        gate.open()
        work.flush()
        assert results == [None]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent by os.kill")
def test_ctrl_c_ends_the_wait_and_the_queue_opens_again(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker()
        gate = threading.Event()
        worker.queue(kw.Work(gate.wait))
        def interrupt():
            try:
                while True:
                    worker.queue(kw.Work(int))
                    time.sleep(0.001)
            except RuntimeError as error:
                print(error)
            os.kill(os.getpid(), signal.SIGINT)
        killer = threading.Thread(target=interrupt)
        try:
            killer.start()
            worker.drain()
        except KeyboardInterrupt:
            print("interrupted", worker.queue(kw.Work(print, "ran")))
        killer.join()
        gate.set()
        worker.destroy()
        """,
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["worker is being drained", "interrupted True", "ran"]


def test_drain_against_queueing(kw, worker):
    """A refused queueing leaves nothing behind, and none that said True is lost."""
    ran = []
    over = threading.Event()

    def queue():
        queued = 0
        while not over.is_set():
            try:
                queued += worker.queue(kw.Work(ran.append, 1))
            except RuntimeError as error:
                assert str(error) == "worker is being drained"  # noqa: PT017 - not of a test
        return queued

    queuers = [Background(queue), Background(queue)]
    for _ in range(100):
        worker.drain()
    over.set()
    queued = sum(queuer.result() for queuer in queuers)
    worker.drain()
    assert len(ran) == queued
    wait_until(lambda: worker.current_work is None)
