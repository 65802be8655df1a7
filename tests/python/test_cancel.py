# SPDX-License-Identifier: GPL-2.0-only
"""Cancelling and disabling, in every state of a work."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import weakref

import pytest
from helpers import (
    LIMIT,
    Background,
    Gate,
    give_time_to_sleep,
    hold,
    run_script,
    wait_until,
    wait_until_cancelling,
)

VERBS = ["cancel", "cancel without wait", "disable"]
WAITING = ["cancel", "disable"]


def stop_it(verb, work):
    """Cancel or disable; afterwards the work may be queued either way."""
    if verb == "cancel":
        return work.cancel()
    if verb == "cancel without wait":
        return work.cancel(wait=False)
    answer = work.disable()
    work.enable()
    return answer


def in_callback(kw, worker, call):
    results = []
    work = kw.Work(lambda: results.append(call()))
    worker.queue(work)
    work.flush(LIMIT)
    return results[0]


# --- states ---


@pytest.mark.parametrize("verb", VERBS)
def test_idle_work_gives_false(kw, worker, verb):
    work = kw.Work(int)
    assert stop_it(verb, work) is False
    worker.queue(work)
    work.flush()
    assert stop_it(verb, work) is False
    assert worker.stats()["cancelled"] == 0
    assert worker.queue(work) is True


@pytest.mark.parametrize("verb", VERBS)
def test_pending_work_gives_true_and_does_not_run(kw, worker, verb):
    gate = hold(kw, worker)
    ran = []
    work = kw.Work(ran.append, 1)
    worker.queue(work)
    assert stop_it(verb, work) is True
    assert not work.pending
    assert "idle" in repr(work)
    assert stop_it(verb, work) is False
    gate.open()
    worker.flush()
    assert ran == []
    assert (worker.stats()["cancelled"], worker.stats()["executed"]) == (1, 1)


def test_work_is_taken_out_of_the_middle_and_the_others_keep_their_order(kw, worker):
    gate = hold(kw, worker)
    ran = []
    works = [kw.Work(ran.append, number) for number in range(10)]
    worker.queue_many(works)
    for number in (4, 0, 9, 5):
        assert works[number].cancel() is True
    assert worker.stats()["pending"] == 6
    assert worker.queue(works[4]) is True  # at the tail now
    gate.open()
    worker.flush()
    assert ran == [1, 2, 3, 6, 7, 8, 4]


def test_cancelled_work_may_go_to_another_worker_at_once(kw, worker):
    with kw.Worker() as other:
        gate = hold(kw, worker)
        idents = []
        work = kw.Work(lambda: idents.append(threading.get_ident()))
        worker.queue(work)
        assert work.cancel()
        assert other.queue(work) is True
        work.flush()
        assert idents == [other.ident]
        gate.open()


@pytest.mark.parametrize("verb", WAITING)
def test_executing_work_gives_false_after_the_run_has_ended(kw, worker, verb):
    canceller = threading.get_native_id()
    entered, about_to_cancel = threading.Event(), threading.Event()
    order = []

    def body():
        entered.set()
        assert about_to_cancel.wait(LIMIT)
        give_time_to_sleep(canceller)
        order.append("run")

    work = kw.Work(body)
    worker.queue(work)
    assert entered.wait(LIMIT)
    about_to_cancel.set()
    assert stop_it(verb, work) is False
    order.append("cancelled")
    assert order == ["run", "cancelled"]
    assert not work.executing


def test_executing_work_gives_false_at_once_without_wait(kw, worker):
    gate = Gate()
    work = kw.Work(gate)
    worker.queue(work)
    gate.wait_entered()
    assert work.cancel(wait=False) is False
    assert work.executing
    gate.open()
    work.flush()
    assert gate.runs == 1


@pytest.mark.parametrize("verb", WAITING)
def test_executing_and_pending_work_gives_true_and_runs_no_more(kw, worker, verb):
    gate = Gate()
    work = kw.Work(gate)
    worker.queue(work)
    gate.wait_entered()
    worker.queue(work)
    canceller = Background(stop_it, verb, work)
    wait_until(lambda: not work.pending)
    assert work.executing
    gate.open()
    assert canceller.result() is True
    assert not work.executing
    worker.flush()
    assert gate.runs == 1


def test_executing_and_pending_work_gives_true_at_once_without_wait(kw, worker):
    gate = Gate()
    work = kw.Work(gate)
    worker.queue(work)
    gate.wait_entered()
    worker.queue(work)
    assert work.cancel(wait=False) is True
    assert work.executing
    assert not work.pending
    assert work.cancel(False) is False
    gate.open()
    work.flush()
    worker.flush()
    assert gate.runs == 1


def test_work_that_was_cancelled_during_its_run_may_be_queued_in_that_run(kw, worker):
    gate = Gate()
    work = kw.Work(gate)
    worker.queue(work)
    gate.wait_entered()
    worker.queue(work)
    assert work.cancel(wait=False) is True
    assert worker.queue(work) is True
    gate.open()
    work.flush()
    assert gate.runs == 2


@pytest.mark.parametrize("verb", WAITING)
def test_work_that_requeues_itself_is_idle_afterwards_and_stays_so(kw, worker, verb):
    runs = []

    def body():
        runs.append(1)
        worker.queue(work)

    work = kw.Work(body)
    for _ in range(100):
        worker.queue(work)
        stop_it(verb, work)
        assert not work.pending
        assert not work.executing
        count = len(runs)
        worker.flush()
        assert len(runs) == count
    assert worker.stats()["pending"] == 0


def test_queueing_is_refused_while_a_cancel_waits(kw, worker):
    gate = Gate()
    answers = []

    def body():
        gate()
        if answers:
            return
        answers.append(worker.queue(work))
        answers.append(worker.queue_many([work]))
        answers.append(worker.queue_delayed(work, 0))
        answers.append(worker.queue_delayed(work, 1000))
        answers.append(work.pending)

    work = kw.DelayedWork(body)
    worker.queue(work)
    gate.wait_entered()
    canceller = Background(work.cancel)
    wait_until_cancelling(worker, work)
    coalesced = work.coalesced, worker.stats()["coalesced"]
    assert worker.queue(work) is False
    assert (work.coalesced, worker.stats()["coalesced"]) == coalesced
    gate.open()
    canceller.result()
    assert answers == [False, 0, False, False, False]
    assert worker.queue(work) is True


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("queued_again", [False, True])
def test_from_its_own_callback_there_is_no_wait(kw, worker, verb, queued_again):
    results = []

    def body():
        if not results:
            if queued_again:
                worker.queue(work)
            results.append(stop_it(verb, work))
            results.append(work.pending)
            results.append(work.executing)

    work = kw.Work(body)
    worker.queue(work)
    work.flush()
    worker.flush()
    assert results == [queued_again, False, True]
    assert worker.stats()["executed"] == 1


@pytest.mark.parametrize("verb", VERBS)
def test_from_another_callback_of_the_same_worker(kw, worker, verb):
    ran = []
    behind, idle = kw.Work(ran.append, 1), kw.Work(int)
    gate = hold(kw, worker)
    results = []
    work = kw.Work(lambda: results.extend([stop_it(verb, behind), stop_it(verb, idle)]))
    worker.queue_many([work, behind])
    gate.open()
    worker.flush()
    assert results == [True, False]
    assert ran == []


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("executing", [False, True])
def test_of_many_cancellers_one_gets_true(kw, worker, verb, executing):
    gate = Gate()
    work = kw.Work(gate)
    if executing:
        worker.queue(work)
        gate.wait_entered()
    else:
        gate.open()
        gate = hold(kw, worker)
    worker.queue(work)
    cancellers = [Background(stop_it, verb, work) for _ in range(8)]
    wait_until(lambda: not work.pending)
    gate.open()
    assert sorted(canceller.result() for canceller in cancellers) == [False] * 7 + [True]
    worker.flush()
    assert worker.stats()["executed"] == 1
    assert worker.queue(work) is True


@pytest.mark.parametrize("verb", VERBS)
def test_delayed_work_gives_true_and_its_timer_is_gone(kw, worker, verb):
    work = kw.DelayedWork(int)
    worker.queue_delayed(work, 1000)
    assert stop_it(verb, work) is True
    assert not work.pending
    assert work.remaining is None
    assert worker.stats()["delayed"] == 0
    assert worker.stats()["cancelled"] == 1
    assert stop_it(verb, work) is False
    assert worker.queue_delayed(work, 1000) is True
    work.cancel()


def test_executing_and_delayed_work_gives_true(kw, worker):
    gate = Gate()
    work = kw.DelayedWork(gate)
    worker.queue(work)
    gate.wait_entered()
    worker.queue_delayed(work, 1000)
    assert work.cancel(wait=False) is True
    assert work.remaining is None
    gate.open()
    assert work.cancel() is False
    assert gate.runs == 1


@pytest.mark.skipif(sys.platform != "linux", reason="a function of libc by its name")
def test_native_work_is_cancelled(kw, worker):
    gate = hold(kw, worker)
    work = kw.NativeWork(ctypes.CDLL(None).abs)
    worker.queue(work)
    assert work.cancel() is True
    assert work.disable() is False
    assert worker.queue(work) is False
    assert work.enable() is True
    gate.open()
    worker.queue(work)
    work.flush()
    assert worker.stats()["executed"] == 2


# --- with a worker in other states ---


def test_work_of_a_worker_without_a_thread_is_cancelled(kw):
    with kw.Worker(start=False) as worker:
        ran = []
        works = [kw.Work(ran.append, number) for number in range(3)]
        worker.queue_many(works)
        assert works[1].cancel() is True
        worker.start()
        worker.flush()
        assert ran == [0, 2]


def test_work_of_a_frozen_worker_is_cancelled(kw, worker):
    worker.freeze()
    work = kw.Work(int)
    worker.queue(work)
    assert work.cancel() is True
    worker.thaw()
    worker.flush()
    assert worker.stats()["executed"] == 0


def test_work_of_a_worker_that_is_being_destroyed_is_cancelled(kw):
    worker = kw.Worker()
    gate = hold(kw, worker)
    ran = []
    work = kw.Work(ran.append, 1)
    worker.queue(work)
    with pytest.raises(TimeoutError):
        worker.destroy(timeout=0)
    assert work.cancel() is True
    gate.open()
    worker.destroy()
    assert work.cancel() is False
    assert ran == []


def test_destroy_without_a_thread_counts_what_it_drops(kw):
    worker = kw.Worker(start=False)
    worker.queue_many(kw.Work(int) for _ in range(3))
    worker.destroy()
    assert worker.stats()["cancelled"] == 3
    assert worker.stats()["pending"] == 0


def test_cancel_waits_for_a_run_on_a_thread_that_was_asked_to_stop(kw, worker):
    gate = Gate()
    work = kw.Work(gate)
    worker.queue(work)
    gate.wait_entered()
    with pytest.raises(TimeoutError):
        worker.stop(timeout=0)
    worker.queue(work)
    canceller = Background(work.cancel)
    wait_until(lambda: not work.pending)
    gate.open()
    assert canceller.result() is True
    assert gate.runs == 1


# --- with others who wait ---


def test_flusher_of_a_cancelled_run_returns(kw, worker):
    gate = hold(kw, worker)
    work = kw.Work(int)
    for _ in range(50):
        worker.queue(work)
        flushers = [Background(work.flush), Background(work.flush)]
        assert work.cancel() is True
        for flusher in flushers:
            flusher.result()
    gate.open()


def test_flusher_of_a_cancelled_run_does_not_return_before_the_executing_one_ends(kw, worker):
    gate = Gate()
    work = kw.Work(gate)
    worker.queue(work)
    gate.wait_entered()
    worker.queue(work)
    native_id = []

    def flush():
        native_id.append(threading.get_native_id())
        work.flush()
        return gate.runs

    flusher = Background(flush)
    wait_until(lambda: native_id)
    give_time_to_sleep(native_id[0])
    assert work.cancel(wait=False) is True
    gate.open()
    assert flusher.result() == 1


def test_worker_flush_goes_on_when_the_last_work_is_cancelled(kw, worker):
    worker.freeze()
    work = kw.Work(int)
    worker.queue(work)
    flusher = Background(worker.flush)
    assert work.cancel() is True
    flusher.result()
    worker.thaw()


@pytest.mark.parametrize("verb", WAITING)
def test_the_cancel_that_closes_a_circle_changes_nothing(kw, worker, verb):
    with kw.Worker() as other:
        inside = threading.Barrier(2)
        results = []

        def first():  # on worker
            inside.wait(LIMIT)
            wait_until_cancelling(worker, first_work)
            other.queue(second_work)
            try:
                stop_it(verb, second_work)
            except kw.DeadlockError as error:
                results.append(type(error))
            results.append(second_work.pending)
            results.append(second_work.disabled)

        def second():  # on other
            if not results:
                inside.wait(LIMIT)
                first_work.cancel()
                results.append("second")

        first_work, second_work = kw.Work(first), kw.Work(second)
        worker.queue(first_work)
        other.queue(second_work)
        first_work.flush(LIMIT)
        wait_until(lambda: not second_work.pending and not second_work.executing)
        assert results == [kw.DeadlockError, True, False, "second"]
        assert other.stats()["executed"] == 2
        assert worker.queue(kw.Work(int))


@pytest.mark.parametrize("verb", WAITING)
def test_a_callback_cancels_what_executes_on_another_worker(kw, worker, verb):
    with kw.Worker() as other:
        gate = Gate()
        work = kw.Work(gate)
        other.queue(work)
        gate.wait_entered()
        other.queue(work)
        results = []
        canceller = kw.Work(lambda: results.append(stop_it(verb, work)))
        worker.queue(canceller)
        wait_until(lambda: not work.pending)
        gate.open()
        canceller.flush()
        assert results == [True]
        assert gate.runs == 1


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent by os.kill")
def test_ctrl_c_ends_the_wait_and_the_work_may_be_queued_again(kw):
    result = run_script(
        kw,
        """
        def body():
            runs.append(1)
            entered.set()
            gate.wait()
        runs, entered, gate = [], threading.Event(), threading.Event()
        worker = kw.Worker()
        work = kw.Work(body)
        worker.queue(work)
        entered.wait()
        worker.queue(work)
        def interrupt():
            while worker.queue(work) or work.pending:  # until the cancel waits
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)
        killer = threading.Thread(target=interrupt)
        try:
            killer.start()
            work.cancel()
        except KeyboardInterrupt:
            print("interrupted", work.pending, work.executing, worker.queue(work))
        killer.join()
        gate.set()
        worker.destroy()
        print(len(runs))
        """,
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["interrupted False True True", "2"]


# --- disable, enable ---


def test_disabled_work_is_refused_until_enabled_as_often(kw, worker):
    work = kw.DelayedWork(int)
    assert work.disabled is False
    assert work.disable() is False
    assert work.disable() is False
    assert work.disabled is True
    assert worker.queue(work) is False
    assert worker.queue_many([work, work]) == 0
    assert worker.queue_delayed(work, 0) is False
    assert worker.queue_delayed(work, 1000) is False
    assert not work.pending
    assert work.enable() is False
    assert work.disabled is True
    assert worker.queue(work) is False
    assert work.enable() is True
    assert work.disabled is False
    assert worker.queue(work) is True
    work.flush()
    assert work.coalesced == 0
    assert worker.stats()["coalesced"] == 0
    assert worker.stats()["executed"] == 1


def test_enable_without_disable_is_an_error(kw, worker):
    work = kw.Work(int)
    with pytest.raises(RuntimeError, match=r"^enable\(\) without disable\(\)$"):
        work.enable()
    work.disable()
    work.enable()
    with pytest.raises(RuntimeError, match=r"^enable\(\) without disable\(\)$"):
        work.enable()
    assert worker.queue(work) is True


def test_disabled_work_is_refused_from_its_own_callback(kw, worker):
    gate = Gate()
    answers = []

    def body():
        gate()
        answers.append(worker.queue(work))

    work = kw.Work(body)
    worker.queue(work)
    gate.wait_entered()
    worker.queue(work)
    disabler = Background(work.disable)
    wait_until(lambda: not work.pending)
    gate.open()
    assert disabler.result() is True
    assert answers == [False]
    assert work.disabled
    assert worker.queue(work) is False
    assert work.enable() is True


def test_work_that_disables_itself(kw, worker):
    runs = []

    def body():
        runs.append(worker.queue(work))
        runs.append(work.disable())
        runs.append(worker.queue(work))

    work = kw.Work(body)
    worker.queue(work)
    work.flush()
    worker.flush()
    assert runs == [True, True, False]
    assert work.enable() is True
    assert worker.stats()["executed"] == 1


def test_disabled_idle_work_holds_no_worker(kw, worker):
    with kw.Worker() as other:
        work = kw.Work(int)
        worker.queue(work)
        work.flush()
        work.disable()
        assert other.queue(work) is False
        work.enable()
        assert other.queue(work) is True


def test_bound_work_is_disabled(kw, worker):
    ran = []

    @worker.work
    def tick():
        ran.append(1)

    tick.disable()
    assert tick.queue() is False
    tick()  # a call is not a queueing
    tick.enable()
    assert tick.queue() is True
    tick.flush()
    assert ran == [1, 1]


# --- references ---


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("delayed", [False, True])
def test_cancelled_work_is_not_kept(kw, worker, verb, delayed):
    gate = hold(kw, worker)
    work = kw.DelayedWork(int)
    ref = weakref.ref(work)
    worker.queue_delayed(work, 1000 if delayed else 0)
    assert stop_it(verb, work) is True
    del work
    gc.collect()
    assert ref() is None
    gate.open()


# --- races ---


@pytest.mark.timeout(120)
def test_cancel_against_queue_run_and_flush(kw, worker):
    """Every queueing that said True is either run or dropped, and told to just one canceller."""
    rounds = 400
    runs = []
    work = kw.Work(runs.append, 1)
    queued = [0, 0]
    dropped = [0, 0]
    over = threading.Event()

    def queue(number):
        for _ in range(rounds):
            queued[number] += worker.queue(work)

    def cancel(number):
        while not over.is_set():
            dropped[number] += work.cancel(wait=number == 0)

    def flush():
        while not over.is_set():
            work.flush()

    others = [Background(cancel, 0), Background(cancel, 1), Background(flush)]
    for queuer in [Background(queue, 0), Background(queue, 1)]:
        queuer.result()
    over.set()
    for other in others:
        other.result()
    worker.flush()
    assert sum(queued) == len(runs) + sum(dropped)
    assert worker.stats()["cancelled"] == sum(dropped)
    assert worker.stats()["executed"] == len(runs)


@pytest.mark.timeout(120)
def test_cancel_and_disable_against_a_work_that_requeues_itself(kw, worker):
    refused = 0

    def body():
        nonlocal refused
        refused += not worker.queue(work)

    work = kw.Work(body)

    def cancel():
        for _ in range(200):
            worker.queue(work)
            work.cancel()

    def disable():
        for _ in range(200):
            work.disable()
            assert not work.pending
            assert not work.executing
            work.enable()

    for caller in [Background(cancel), Background(cancel), Background(disable)]:
        caller.result()
    work.cancel()
    assert not work.pending
    assert not work.executing
