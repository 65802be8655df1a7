# SPDX-License-Identifier: GPL-2.0-only
"""Queueing, in every state of a work and of a worker."""

from __future__ import annotations

import threading
import time

import pytest
from helpers import LIMIT, Background, Gate, hold, wait_until


def test_idle_work_is_queued_and_runs(kw, worker):
    ran = []
    work = kw.Work(ran.append, 1)
    assert worker.queue(work) is True
    work.flush()
    assert ran == [1]
    assert not work.pending
    assert not work.executing


def test_arguments_reach_the_function(kw, worker):
    got = []
    work = kw.Work(lambda *args, **kwargs: got.append((args, kwargs)), 1, "two", three=3)
    worker.queue(work)
    work.flush()
    assert got == [((1, "two"), {"three": 3})]
    assert work.args == (1, "two")
    assert work.kwargs == {"three": 3}


def test_keyword_argument_named_fn_reaches_the_function(kw, worker):
    got = []
    work = kw.Work(lambda **kwargs: got.append(kwargs), fn=1, self=2)
    worker.queue(work)
    work.flush()
    assert got == [{"fn": 1, "self": 2}]


def test_works_run_in_the_order_of_queueing(kw, worker):
    gate = hold(kw, worker)
    ran = []
    works = [kw.Work(ran.append, number) for number in range(100)]
    for work in works:
        assert worker.queue(work)
    gate.open()
    worker.flush()
    assert ran == list(range(100))


def test_sleeping_worker_wakes(kw):
    with kw.Worker(busy_poll=0) as worker:
        for _ in range(50):
            slept = worker.stats()["sleeps"]
            ran = threading.Event()
            assert worker.queue(kw.Work(ran.set))
            assert ran.wait(LIMIT)
            wait_until(lambda slept=slept: worker.stats()["sleeps"] > slept)


def test_pending_work_is_not_queued_again_and_keeps_its_place(kw, worker):
    gate = hold(kw, worker)
    ran = []
    first, second = kw.Work(ran.append, 1), kw.Work(ran.append, 2)
    assert worker.queue(first) is True
    assert worker.queue(second) is True
    assert worker.queue(first) is False
    assert worker.queue(first) is False
    assert first.pending
    assert first.coalesced == 2
    assert second.coalesced == 0
    gate.open()
    worker.flush()
    assert ran == [1, 2]


def test_coalesced_counts_from_the_last_run(kw, worker):
    gate = hold(kw, worker)
    work = kw.Work(int)
    worker.queue(work)
    worker.queue(work)
    assert work.coalesced == 1
    gate.open()
    work.flush()
    assert work.coalesced == 0
    assert worker.stats()["coalesced"] == 1


def test_executing_work_is_queued_and_runs_once_more(kw, worker):
    gate = Gate()
    work = kw.Work(gate)
    worker.queue(work)
    gate.wait_entered()
    assert work.executing
    assert not work.pending
    assert worker.queue(work) is True
    assert work.executing
    assert work.pending
    assert worker.queue(work) is False
    gate.open()
    work.flush()
    assert gate.runs == 2


def test_work_queues_itself_from_its_callback(kw, worker):
    answers = []

    def again():
        if len(answers) < 10:
            answers.append(worker.queue(work))

    work = kw.Work(again)
    worker.queue(work)
    wait_until(lambda: len(answers) == 10 and not work.pending and not work.executing)
    assert answers == [True] * 10


def test_callback_queues_other_works(kw, worker):
    ran = []
    child = kw.Work(ran.append, "child")
    parent = kw.Work(lambda: ran.append(worker.queue(child)))
    worker.queue(parent)
    parent.flush()
    child.flush()
    assert ran == [True, "child"]


def test_work_pending_on_another_worker_is_refused(kw, worker):
    with kw.Worker() as other:
        gate = hold(kw, worker)
        ran = []
        work = kw.Work(ran.append, 1)
        worker.queue(work)
        with pytest.raises(RuntimeError, match=r"^work is pending or executing on another worker$"):
            other.queue(work)
        assert work.pending
        assert work.coalesced == 0
        gate.open()
        work.flush()
        assert ran == [1]


def test_work_executing_on_another_worker_is_refused(kw, worker):
    with kw.Worker() as other:
        gate = Gate()
        work = kw.Work(gate)
        worker.queue(work)
        gate.wait_entered()
        with pytest.raises(RuntimeError, match=r"^work is pending or executing on another worker$"):
            other.queue(work)
        gate.open()
        work.flush()
        assert gate.runs == 1


def test_idle_work_moves_to_another_worker_and_back(kw, worker):
    with kw.Worker() as other:
        idents = []
        work = kw.Work(lambda: idents.append(threading.get_ident()))
        for where in (worker, other, worker):
            assert where.queue(work) is True
            work.flush()
        assert idents == [worker.ident, other.ident, worker.ident]


def test_destroyed_worker_refuses(kw):
    worker = kw.Worker()
    worker.destroy()
    work = kw.Work(int)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        worker.queue(work)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        worker.queue_many([work])
    assert not work.pending


def test_refused_work_may_go_to_another_worker(kw, worker):
    gone = kw.Worker()
    gone.destroy()
    ran = []
    work = kw.Work(ran.append, 1)
    with pytest.raises(RuntimeError):
        gone.queue(work)
    assert worker.queue(work)
    work.flush()
    assert ran == [1]


def test_worker_being_destroyed_refuses(kw):
    worker = kw.Worker()
    gate = hold(kw, worker)
    with pytest.raises(TimeoutError):
        worker.destroy(timeout=0)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        worker.queue(kw.Work(int))
    gate.open()
    worker.destroy()


def test_worker_without_a_thread_collects_in_order(kw):
    with kw.Worker(start=False) as worker:
        ran = []
        works = [kw.Work(ran.append, number) for number in range(10)]
        assert [worker.queue(work) for work in works] == [True] * 10
        assert worker.queue(works[0]) is False
        assert ran == []
        assert worker.stats()["pending"] == 10
        worker.start()
        worker.flush()
        assert ran == list(range(10))


def test_callback_sees_what_was_written_before_the_queueing(kw, worker):
    gate = hold(kw, worker)
    box = {"value": 0}
    seen = []
    work = kw.Work(lambda: seen.append(box["value"]))
    box["value"] = 1
    assert worker.queue(work) is True
    box["value"] = 2
    assert worker.queue(work) is False
    gate.open()
    work.flush()
    assert seen == [2]


def test_queue_many_queues_in_order_and_counts(kw, worker):
    gate = hold(kw, worker)
    ran = []
    works = [kw.Work(ran.append, number) for number in range(5)]
    assert worker.queue(works[3])
    assert worker.queue_many(iter([*works, works[0]])) == 4
    assert works[3].coalesced == 1
    assert works[0].coalesced == 1
    gate.open()
    worker.flush()
    assert ran == [3, 0, 1, 2, 4]


@pytest.mark.parametrize("empty", [(), [], iter(())])
def test_queue_many_of_nothing_queues_nothing(worker, empty):
    assert worker.queue_many(empty) == 0


def test_queue_many_wakes_a_sleeping_worker(kw):
    with kw.Worker(busy_poll=0) as worker:
        wait_until(lambda: worker.stats()["sleeps"] >= 1)
        gates = [threading.Event() for _ in range(3)]
        assert worker.queue_many(kw.Work(gate.set) for gate in gates) == 3
        assert all(gate.wait(LIMIT) for gate in gates)


def test_queue_many_checks_all_before_it_queues_any(kw, worker):
    gate = hold(kw, worker)
    work = kw.Work(int)
    with pytest.raises(TypeError):
        worker.queue_many([work, int])
    assert not work.pending
    gate.open()


def test_queue_many_keeps_those_before_a_refused_one(kw, worker):
    with kw.Worker() as other:
        gate, other_gate = hold(kw, worker), hold(kw, other)
        first, elsewhere, last = kw.Work(int), kw.Work(int), kw.Work(int)
        other.queue(elsewhere)
        with pytest.raises(RuntimeError, match=r"^work is pending or executing on another worker$"):
            worker.queue_many([first, elsewhere, last])
        assert first.pending
        assert not last.pending
        gate.open()
        other_gate.open()


def test_queue_many_accepts_every_kind_of_work(kw, worker):
    ran = []

    class Special(kw.Work):
        pass

    @worker.work
    def bound():
        ran.append("bound")

    assert worker.queue_many([Special(ran.append, "special"), bound]) == 2
    worker.flush()
    assert ran == ["special", "bound"]


def test_stats_count(kw, worker):
    gate = hold(kw, worker)
    work = kw.Work(int)
    worker.queue(work)
    worker.queue(work)
    stats = worker.stats()
    assert set(stats) == {
        "queued", "executed", "coalesced", "cancelled", "pending", "delayed", "sleeps", "poll_hits",
        "missed",
    }  # fmt: skip
    assert all(type(value) is int for value in stats.values())
    assert (stats["queued"], stats["executed"]) == (2, 1)
    assert (stats["pending"], stats["coalesced"]) == (1, 1)
    gate.open()
    worker.flush()
    stats = worker.stats()
    assert (stats["executed"], stats["pending"]) == (2, 0)


TIMES = ["waiting_mean", "waiting_longest", "running_mean", "running_longest"]


def test_stats_have_times_if_they_are_kept(kw):
    with kw.Worker(timing=True, start=False) as worker:
        assert [worker.stats()[name] for name in TIMES] == [0.0] * 4
        begin = time.monotonic()
        worker.queue_many(kw.Work(time.sleep, 0.001) for _ in range(3))
        future = worker.submit(time.sleep, 0.02)
        time.sleep(0.01)
        worker.start()
        future.result()
        worker.flush()
        stats = worker.stats()
        total = time.monotonic() - begin
        assert stats["executed"] == 4
        # What has passed for certain, and at the most.
        assert 0.01 <= stats["waiting_mean"] <= stats["waiting_longest"] <= total
        assert 0.02 <= stats["running_longest"] <= total
        assert 0.023 / 4 <= stats["running_mean"] <= total / 4


def test_a_timer_s_wait_begins_with_its_deadline(kw):
    with kw.Worker(timing=True) as worker:
        later = kw.DelayedWork(int)
        begin = time.monotonic()
        worker.queue_delayed(later, 0.05)
        wait_until(lambda: worker.stats()["executed"] == 1)
        worker.flush()
        assert worker.stats()["waiting_longest"] <= time.monotonic() - begin - 0.05
        worker.queue_delayed(later, 3600)
        worker.mod_delayed(later, 0)
        worker.queue_delayed(later, 3600)
        later.flush()  # cut short: it has waited for nothing
        assert worker.stats()["waiting_longest"] < 3600


def test_ticks_have_times_and_those_missed_are_counted(kw):
    with kw.Worker(timing=True) as worker:
        again = threading.Semaphore(0)
        tick = worker.every(0.002, again.release)
        assert again.acquire(timeout=LIMIT)
        gate = hold(kw, worker)
        time.sleep(0.01)
        gate.open()
        wait_until(lambda: tick.missed)
        tick.cancel()
        stats = worker.stats()
        assert stats["missed"] == tick.missed
        assert stats["waiting_longest"] > 0


def test_current_work_is_the_executing_one(kw, worker):
    assert worker.current_work is None
    seen = []
    gate = Gate()

    def body():
        seen.append(worker.current_work)
        gate()

    work = kw.Work(body)
    worker.queue(work)
    gate.wait_entered()
    assert worker.current_work is work
    assert seen == [work]
    gate.open()
    work.flush()
    assert worker.current_work is None


def test_busy_worker_is_not_sent_to_sleep_between_works(kw, worker):
    gate = hold(kw, worker)
    sleeps = worker.stats()["sleeps"]
    seen = []
    worker.queue_many(kw.Work(int) for _ in range(1000))
    last = kw.Work(lambda: seen.append(worker.stats()["sleeps"]))
    worker.queue(last)
    gate.open()
    last.flush()
    assert seen == [sleeps]


def test_bound_work_is_queued_on_its_worker_and_called_directly(kw, worker):
    idents = []

    @worker.work
    def tick(value=7):
        "The docstring."
        idents.append(threading.get_ident())
        return value

    assert isinstance(tick, kw.BoundWork)
    assert isinstance(tick, kw.Work)
    assert tick.worker is worker
    assert tick.__name__ == "tick"
    assert tick.__doc__ == "The docstring."
    assert tick.__wrapped__ is tick.fn
    assert tick(8) == 8
    assert tick.queue() is True
    tick.flush()
    assert idents == [threading.get_ident(), worker.ident]


def test_bound_work_coalesces(kw, worker):
    gate = hold(kw, worker)
    ran = []

    @worker.work
    def tick():
        ran.append(1)

    assert [tick.queue() for _ in range(3)] == [True, False, False]
    assert tick.coalesced == 2
    gate.open()
    tick.flush()
    assert ran == [1]


def test_bound_work_may_be_wrapped_again(kw, worker):
    with kw.Worker() as other:
        gate = hold(kw, other)
        inner = other.work(lambda: None)
        outer = worker.work(inner)
        assert outer.worker is worker
        assert inner.worker is other
        inner.queue()
        assert inner.pending
        assert not outer.pending
        assert outer.queue()
        outer.flush()
        gate.open()


def test_repr_names_function_and_state(kw, worker):
    gate = Gate()

    def named():
        gate()

    work = kw.Work(named)
    assert "named" in repr(work)
    assert "idle" in repr(work)
    worker.queue(work)
    gate.wait_entered()
    assert "executing" in repr(work)
    worker.queue(work)
    assert "pending" in repr(work)
    assert "'test'" in repr(worker)
    assert "running" in repr(worker)
    assert "1 pending" in repr(worker)
    gate.open()


def test_many_threads_queue_one_work_and_one_of_them_does(kw, worker):
    gate = hold(kw, worker)
    work = kw.Work(int)
    callers = [Background(worker.queue, work) for _ in range(8)]
    assert sorted(caller.result() for caller in callers) == [False] * 7 + [True]
    assert work.coalesced == 7
    gate.open()
