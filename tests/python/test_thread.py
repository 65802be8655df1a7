# SPDX-License-Identifier: GPL-2.0-only
"""A worker's thread: run, start, stop, freeze, destroy."""

from __future__ import annotations

import contextlib
import re
import sys
import threading

import pytest
from helpers import LIMIT, Background, Gate, hold, wait_until

HAS_THREAD = "^worker already has a thread$"
SHUTDOWN = "^cannot schedule new futures after shutdown$"


def in_callback(kw, worker, call):
    results = []
    work = kw.Work(lambda: results.append(call()))
    worker.queue(work)
    work.flush(LIMIT)
    return results[0]


def raised(call, *args):
    try:
        call(*args)
    except Exception as error:
        return error
    return None


# --- the thread ---


def test_new_worker_is_alive_and_says_who_it_is(kw, worker):
    assert worker.is_alive()
    assert worker.name == "test"
    assert worker.daemon is False
    assert worker.ident == in_callback(kw, worker, threading.get_ident)
    assert worker.native_id == in_callback(kw, worker, threading.get_native_id)


def test_worker_without_a_thread_says_so(kw):
    with kw.Worker(start=False) as worker:
        assert not worker.is_alive()
        assert worker.ident is None
        assert worker.native_id is None
        assert "no thread" in repr(worker)


def test_destroyed_worker_has_no_thread(kw):
    worker = kw.Worker()
    worker.destroy()
    assert not worker.is_alive()
    assert worker.ident is None
    assert worker.native_id is None
    assert "destroyed" in repr(worker)


def test_unnamed_workers_get_names_that_count_up(kw):
    with kw.Worker() as first, kw.Worker(None) as second:
        numbers = [int(re.fullmatch(r"kworker-(\d+)", w.name)[1]) for w in (first, second)]
        assert numbers[1] == numbers[0] + 1


@pytest.mark.parametrize(
    "name", ["short", "", "a name of far more than fifteen bytes", "żółw " * 5]
)
def test_current_thread_is_named_as_the_worker(kw, name):
    with kw.Worker(name) as worker:
        assert worker.name == name
        thread = in_callback(kw, worker, threading.current_thread)
        assert isinstance(thread, threading.Thread)
        assert thread.name == name
        assert thread.ident == worker.ident


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("short", "short"),
        ("exactly-fifteen", "exactly-fifteen"),
        ("sixteen-bytes-xy", "sixteen-bytes-x"),
        ("12345678901234ż", "12345678901234"),
        ("1234567890123ż", "1234567890123ż"),
    ],
)
def test_system_knows_the_first_bytes_of_the_name(kw, name, short):
    with kw.Worker(name) as worker:

        def read():
            with open(f"/proc/self/task/{threading.get_native_id()}/comm", "rb") as comm:
                return comm.read().decode().rstrip("\n")

        assert in_callback(kw, worker, read) == short


def test_all_callbacks_run_on_one_thread(kw, worker):
    idents = []
    worker.queue_many(kw.Work(lambda: idents.append(threading.get_ident())) for _ in range(100))
    worker.flush()
    assert set(idents) == {worker.ident}
    assert threading.get_ident() not in idents


def test_thread_local_values_last_from_one_callback_to_the_next(kw, worker):
    local = threading.local()
    worker.queue(kw.Work(setattr, local, "value", 7))
    assert in_callback(kw, worker, lambda: local.value) == 7
    assert not hasattr(local, "value")


# --- should_stop ---


def test_should_stop_outside_a_worker_is_an_error(kw):
    with pytest.raises(
        RuntimeError, match=r"^should_stop\(\) is for use inside a worker's callback$"
    ):
        kw.should_stop()


@pytest.mark.parametrize("verb", ["stop", "destroy"])
def test_should_stop_turns_true_when_asked_for(kw, verb):
    worker = kw.Worker()
    answers = []
    entered, asked = threading.Event(), threading.Event()

    def body():
        answers.append(kw.should_stop())
        entered.set()
        assert asked.wait(LIMIT)
        answers.append(kw.should_stop())

    worker.queue(kw.Work(body))
    assert entered.wait(LIMIT)
    with pytest.raises(TimeoutError):
        getattr(worker, verb)(timeout=0)
    asked.set()
    worker.destroy()
    assert answers == [False, True]


def test_should_stop_is_false_again_on_the_next_thread(kw, worker):
    worker.stop()
    worker.start()
    assert in_callback(kw, worker, kw.should_stop) is False


def test_should_stop_ends_a_long_callback(kw):
    worker = kw.Worker()
    entered = threading.Event()

    def body():
        entered.set()
        wait_until(kw.should_stop)

    worker.queue(kw.Work(body))
    assert entered.wait(LIMIT)
    worker.destroy()


@pytest.mark.parametrize("verb", ["flush", "drain", "freeze", "cancel"])
def test_should_stop_stays_false_for_other_requests(kw, worker, verb):
    answers = []
    entered, asked = threading.Event(), threading.Event()

    def body():
        entered.set()
        assert asked.wait(LIMIT)
        answers.append(kw.should_stop())

    work = kw.Work(body)
    worker.queue(work)
    assert entered.wait(LIMIT)
    if verb == "cancel":
        work.cancel(wait=False)
    else:
        with pytest.raises(TimeoutError):
            getattr(worker, verb)(timeout=0)
    asked.set()
    work.flush()
    assert answers == [False]


# --- run ---


def test_run_serves_with_the_calling_thread(kw):
    with kw.Worker(start=False) as worker:
        idents = []
        worker.queue(kw.Work(lambda: idents.append(threading.get_ident())))
        worker.queue(kw.Work(lambda: idents.append(worker.ident)))
        worker.queue(kw.Work(lambda: idents.append(worker.is_alive())))
        worker.queue(kw.Work(worker.stop))
        worker.run()
        me = threading.get_ident()
        assert idents == [me, me, True]
        assert not worker.is_alive()
        assert worker.ident is None


def test_run_of_a_worker_with_a_thread_is_refused(kw, worker):
    with pytest.raises(RuntimeError, match=HAS_THREAD):
        worker.run()
    worker.queue(kw.Work(int))
    worker.flush()


def test_second_run_is_refused(kw):
    worker = kw.Worker(start=False)
    first = Background(worker.run)
    wait_until(worker.is_alive)
    with pytest.raises(RuntimeError, match=HAS_THREAD):
        worker.run()
    with pytest.raises(RuntimeError, match=HAS_THREAD):
        worker.start()
    worker.destroy()
    first.result()


def test_run_from_a_callback_is_refused(kw, worker):
    with kw.Worker(start=False) as other:
        error = in_callback(kw, worker, lambda: raised(other.run))
        assert isinstance(error, RuntimeError)
        assert str(error) == "this thread already serves a worker"
        assert not other.is_alive()


def test_run_of_a_destroyed_worker_is_refused(kw):
    worker = kw.Worker(start=False)
    worker.destroy()
    with pytest.raises(RuntimeError, match=SHUTDOWN):
        worker.run()
    with pytest.raises(RuntimeError, match=SHUTDOWN):
        worker.start()


def test_run_returns_when_another_thread_destroys(kw):
    worker = kw.Worker(start=False)
    ran = []
    worker.queue(kw.Work(ran.append, 1))
    runner = Background(worker.run)
    wait_until(worker.is_alive)
    worker.queue(kw.Work(ran.append, 2))
    worker.destroy()
    runner.result()
    assert ran == [1, 2]


def test_threads_serve_one_after_the_other(kw):
    with kw.Worker(start=False) as worker:
        for _ in range(5):
            worker.queue(kw.Work(worker.stop))
            Background(worker.run).result()
            worker.queue(kw.Work(worker.stop))
            worker.run()


# --- start and stop ---


def test_start_of_a_worker_with_a_thread_is_refused(worker):
    with pytest.raises(RuntimeError, match=HAS_THREAD):
        worker.start()


def test_start_gives_a_thread_of_its_own(kw):
    with kw.Worker(start=False) as worker:
        worker.start()
        assert worker.is_alive()
        assert in_callback(kw, worker, threading.get_ident) != threading.get_ident()


def test_stop_lets_the_callback_end_and_keeps_the_rest(kw, worker):
    gate = hold(kw, worker)
    ran = []
    works = [kw.Work(ran.append, number) for number in range(3)]
    worker.queue_many(works)
    with pytest.raises(TimeoutError):
        worker.stop(timeout=0)
    assert worker.is_alive()
    gate.open()
    worker.stop()
    assert gate.runs == 1
    assert not worker.is_alive()
    assert worker.ident is None
    assert ran == []
    assert all(work.pending for work in works)
    assert worker.queue(works[0]) is False
    worker.start()
    worker.flush()
    assert ran == [0, 1, 2]


def test_stopped_worker_collects_and_runs_on_the_next_thread(kw, worker):
    worker.stop()
    ran = []
    assert worker.queue(kw.Work(ran.append, 1))
    worker.queue(kw.Work(worker.stop))
    worker.run()
    assert ran == [1]


def test_stop_without_a_thread_does_nothing(kw):
    with kw.Worker(start=False) as worker:
        worker.stop()
        worker.stop(timeout=0)
        worker.start()
        worker.stop()
        worker.stop()
    worker.stop()


def test_stop_from_its_own_callback_takes_effect_at_its_end(kw, worker):
    ran = []

    def body():
        worker.stop()
        ran.append(worker.is_alive())

    work, behind = kw.Work(body), kw.Work(ran.append, "behind")
    gate = hold(kw, worker)
    worker.queue_many([work, behind])
    gate.open()
    work.flush()
    wait_until(lambda: not worker.is_alive())
    assert ran == [True]
    assert behind.pending
    worker.start()
    behind.flush()
    assert ran == [True, "behind"]


def test_work_executing_at_the_stop_may_be_queued_again(kw, worker):
    gate = Gate()
    work = kw.Work(gate)
    worker.queue(work)
    gate.wait_entered()
    worker.queue(work)
    with pytest.raises(TimeoutError):
        worker.stop(timeout=0)
    gate.open()
    worker.stop()
    assert gate.runs == 1
    assert work.pending
    assert not work.executing
    worker.start()
    work.flush()
    assert gate.runs == 2


def test_two_threads_stop_at_once(kw, worker):
    gate = hold(kw, worker)
    stoppers = [Background(worker.stop) for _ in range(2)]
    gate.open()
    for stopper in stoppers:
        stopper.result()
    assert not worker.is_alive()


# --- freeze ---


def test_frozen_worker_keeps_works_in_order_until_thawed(kw, worker):
    worker.freeze()
    assert "frozen" in repr(worker)
    ran = []
    works = [kw.Work(ran.append, number) for number in range(10)]
    assert worker.queue_many(works) == 10
    assert worker.queue(works[0]) is False
    with pytest.raises(TimeoutError):
        worker.flush(timeout=0.01)
    assert ran == []
    worker.thaw()
    worker.flush()
    assert ran == list(range(10))


def test_freeze_returns_between_two_works(kw, worker):
    ran = []
    gate = hold(kw, worker)
    with pytest.raises(TimeoutError):
        worker.freeze(timeout=0)
    worker.queue_many(kw.Work(ran.append, number) for number in range(2000))
    opener = Background(gate.open)
    worker.freeze()
    count = len(ran)
    assert worker.current_work is None
    assert gate.runs == 1
    worker.queue(kw.Work(ran.append, 2000))
    with pytest.raises(TimeoutError):
        worker.flush(timeout=0.01)
    assert len(ran) == count
    worker.thaw()
    worker.flush()
    assert ran == list(range(2001))
    opener.result()


def test_freeze_that_ran_out_of_time_is_withdrawn(kw, worker):
    gate = hold(kw, worker)
    ran = []
    work = kw.Work(ran.append, 1)
    worker.queue(work)
    with pytest.raises(TimeoutError):
        worker.freeze(timeout=0.001)
    gate.open()
    work.flush()
    assert ran == [1]


def test_freeze_that_ran_out_of_time_leaves_an_earlier_one_alone(kw):
    for _ in range(20):
        with kw.Worker(start=False) as worker:
            worker.freeze()
            ran = []
            work = kw.Work(ran.append, 1)
            worker.queue(work)
            worker.start()
            with contextlib.suppress(TimeoutError):
                worker.freeze(timeout=0)  # the new thread may or may not rest yet
            worker.freeze()
            assert ran == []
            assert work.pending
            worker.thaw()
            work.flush()


def test_freeze_of_a_frozen_worker_returns_at_once_and_one_thaw_is_enough(kw, worker):
    worker.freeze()
    worker.freeze(timeout=0)
    worker.thaw()
    worker.queue(kw.Work(int))
    worker.flush()


def test_thaw_of_a_worker_that_is_not_frozen_does_nothing(kw, worker):
    worker.thaw()
    worker.queue(kw.Work(int))
    worker.flush()
    worker.destroy()
    worker.thaw()


def test_freeze_without_a_thread_holds_the_next_one(kw):
    with kw.Worker(start=False) as worker:
        worker.freeze(timeout=0)
        ran = []
        worker.queue(kw.Work(ran.append, 1))
        worker.start()
        worker.freeze(timeout=LIMIT)
        assert ran == []
        worker.thaw()
        worker.flush()
        assert ran == [1]


def test_freeze_of_a_destroyed_worker_is_refused(kw):
    worker = kw.Worker()
    worker.destroy()
    with pytest.raises(RuntimeError):
        worker.freeze()


def test_stop_of_a_frozen_worker_thaws_it(kw, worker):
    worker.freeze()
    ran = []
    work = kw.Work(ran.append, 1)
    worker.queue(work)
    worker.stop()
    assert not worker.is_alive()
    assert ran == []
    worker.start()
    work.flush()
    assert ran == [1]


def test_destroy_of_a_frozen_worker_thaws_it_and_runs_what_is_pending(kw):
    worker = kw.Worker()
    worker.freeze()
    ran = []
    worker.queue(kw.Work(ran.append, 1))
    worker.destroy()
    assert ran == [1]


def test_freeze_and_thaw_many_times(kw, worker):
    ran = []
    for number in range(200):
        worker.freeze()
        worker.queue(kw.Work(ran.append, number))
        assert len(ran) == number
        worker.thaw()
        worker.flush()
    assert ran == list(range(200))


# --- destroy ---


def test_destroy_runs_what_is_pending(kw):
    worker = kw.Worker()
    gate = hold(kw, worker)
    ran = []
    works = [kw.Work(ran.append, number) for number in range(100)]
    worker.queue_many(works)
    opener = Background(gate.open)
    worker.destroy()
    opener.result()
    assert ran == list(range(100))
    assert not any(work.pending or work.executing for work in works)


def test_destroy_again_does_nothing(kw):
    worker = kw.Worker()
    worker.destroy()
    worker.destroy()
    worker.destroy(timeout=0)


def test_destroy_ends_a_work_that_requeues_itself(kw):
    worker = kw.Worker()
    refused = []
    runs = []

    def body():
        runs.append(1)
        try:
            worker.queue(work)
        except RuntimeError as error:
            refused.append(str(error))

    work = kw.Work(body)
    worker.queue(work)
    wait_until(lambda: len(runs) > 10)
    worker.destroy()
    assert refused == ["cannot schedule new futures after shutdown"]
    assert not work.pending


def test_destroy_joins_the_thread(kw):
    worker = kw.Worker()
    thread = in_callback(kw, worker, threading.current_thread)
    worker.destroy()
    assert thread not in threading.enumerate()


def test_destroy_that_ran_out_of_time_may_be_called_again(kw):
    worker = kw.Worker()
    gate = hold(kw, worker)
    ran = []
    worker.queue(kw.Work(ran.append, 1))
    with pytest.raises(TimeoutError):
        worker.destroy(timeout=0.001)
    with pytest.raises(TimeoutError):
        worker.destroy(timeout=0)
    assert worker.is_alive()
    gate.open()
    worker.destroy()
    assert ran == [1]
    assert not worker.is_alive()


def test_destroy_without_a_thread_runs_nothing_and_releases_flushers(kw):
    worker = kw.Worker(start=False)
    ran = []
    works = [kw.Work(ran.append, number) for number in range(3)]
    worker.queue_many(works)
    flushers = [Background(work.flush) for work in works] + [Background(worker.flush)]
    worker.destroy()
    for flusher in flushers:
        flusher.result()
    assert ran == []
    assert not any(work.pending for work in works)
    with kw.Worker() as other:
        other.queue_many(works)
    assert ran == [0, 1, 2]


def test_destroy_of_a_stopped_worker_drops_the_rest(kw, worker):
    gate = hold(kw, worker)
    ran = []
    work = kw.Work(ran.append, 1)
    worker.queue(work)
    with contextlib.suppress(TimeoutError):
        worker.stop(timeout=0)
    gate.open()
    worker.stop()
    worker.destroy()
    assert ran == []
    assert not work.pending


def test_two_threads_destroy_at_once(kw):
    worker = kw.Worker()
    gate = hold(kw, worker)
    destroyers = [Background(worker.destroy) for _ in range(2)]
    gate.open()
    for destroyer in destroyers:
        destroyer.result()
    assert not worker.is_alive()


def test_with_block_destroys_at_its_end(kw):
    ran = []
    with kw.Worker() as worker:
        worker.queue(kw.Work(ran.append, 1))
    assert ran == [1]
    assert not worker.is_alive()
    with contextlib.suppress(LookupError), kw.Worker() as worker:
        worker.queue(kw.Work(ran.append, 2))
        raise LookupError
    assert ran == [1, 2]
    assert not worker.is_alive()


def test_one_callback_destroys_another_worker(kw, worker):
    other = kw.Worker()
    ran = []
    other.queue(kw.Work(ran.append, 1))
    assert in_callback(kw, worker, other.destroy) is None
    assert ran == [1]
    assert not other.is_alive()


def test_many_workers_come_and_go(kw):
    for _ in range(100):
        with kw.Worker() as worker:
            worker.queue(kw.Work(int))
