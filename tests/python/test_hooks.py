# SPDX-License-Identifier: GPL-2.0-only
"""on_queue, on_start and on_end; and current_work()."""

from __future__ import annotations

import ctypes
import sys
import threading

import pytest
from helpers import LIMIT, Background, Gate, hold

HOOKS = ["on_queue", "on_start", "on_end"]
LONG = 1000.0


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_none_until_it_is_set(kw, worker, hook):
    assert getattr(worker, hook) is None
    calls = []
    setattr(worker, hook, calls.append)
    assert getattr(worker, hook) == calls.append
    worker.queue(kw.Work(int))
    worker.flush()
    assert len(calls) == 1
    setattr(worker, hook, None)
    assert getattr(worker, hook) is None
    worker.queue(kw.Work(int))
    worker.flush()
    assert len(calls) == 1


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(
    "thing", [1, "print", [], object()], ids=lambda value: type(value).__name__
)
def test_what_cannot_be_called_is_refused_and_nothing_changes(kw, worker, hook, thing):
    setattr(worker, hook, print)
    with pytest.raises(TypeError):
        setattr(worker, hook, thing)
    assert getattr(worker, hook) is print


def test_hooks_come_in_order_round_the_callback(kw, worker):
    events = []
    worker.on_start = lambda work: events.append(("start", work, threading.get_ident()))
    worker.on_end = lambda work: events.append(("end", work, threading.get_ident()))
    work = kw.Work(lambda: events.append(("run", work, threading.get_ident())))
    for _ in range(3):
        worker.queue(work)
        worker.flush()
    me = worker.ident
    assert events == [("start", work, me), ("run", work, me), ("end", work, me)] * 3


def test_on_queue_is_called_on_the_queueing_thread_for_every_true(kw, worker):
    calls = []
    gate = hold(kw, worker)
    worker.on_queue = lambda work: calls.append((work, threading.get_ident()))
    work = kw.Work(int)
    assert worker.queue(work) is True
    assert worker.queue(work) is False
    me = threading.get_ident()
    assert calls == [(work, me)]
    works = [kw.Work(int), kw.Work(int)]
    assert worker.queue_many([work, *works]) == 2
    assert calls[1:] == [(works[0], me), (works[1], me)]
    gate.open()


def test_on_queue_is_called_on_the_workers_thread_for_what_a_callback_queues(kw, worker):
    calls = []
    child = kw.Work(int)
    parent = kw.Work(lambda: worker.queue(child))
    worker.on_queue = lambda work: calls.append((work, threading.get_ident()))
    worker.queue(parent)
    parent.flush()
    worker.flush()
    assert calls == [(parent, threading.get_ident()), (child, worker.ident)]


def test_on_queue_is_called_when_a_timer_is_armed(kw, worker):
    calls = []
    worker.on_queue = calls.append
    work = kw.DelayedWork(int)
    assert worker.queue_delayed(work, LONG) is True
    assert worker.queue_delayed(work, LONG) is False
    assert calls == [work]
    beat = worker.every(LONG, int)
    assert calls == [work, beat]
    work.flush()
    assert calls == [work, beat]
    assert worker.queue_delayed(work, 0) is True
    work.flush()
    assert calls == [work, beat, work]
    beat.cancel()


def test_on_queue_is_not_called_for_a_refused_work(kw, worker):
    calls = []
    worker.on_queue = calls.append
    work = kw.Work(int)
    work.disable()
    assert worker.queue(work) is False
    with kw.Worker() as other:
        gate = hold(kw, other)
        busy = kw.Work(int)
        other.queue(busy)
        with pytest.raises(RuntimeError):
            worker.queue(busy)
        gate.open()
    assert calls == []
    with pytest.raises(TypeError):
        worker.queue(None)
    gone = kw.Worker()
    gone.on_queue = calls.append
    gone.destroy()
    with pytest.raises(RuntimeError):
        gone.queue(kw.Work(int))
    assert calls == []


def test_on_queue_is_called_for_what_was_queued_before_a_refused_one(kw, worker):
    with kw.Worker() as other:
        gate, other_gate = hold(kw, worker), hold(kw, other)
        calls = []
        worker.on_queue = calls.append
        first, elsewhere, last = kw.Work(int), kw.Work(int), kw.Work(int)
        other.queue(elsewhere)
        with pytest.raises(RuntimeError):
            worker.queue_many([first, elsewhere, last])
        assert calls == [first]
        gate.open()
        other_gate.open()


def test_cancelled_work_has_no_start_and_no_end(kw, worker):
    gate = hold(kw, worker)
    calls = []
    worker.on_start = calls.append
    work, other = kw.Work(int), kw.Work(int)
    worker.queue_many([work, other])
    work.cancel()
    gate.open()
    worker.flush()
    assert calls == [other]


def test_on_end_is_called_after_an_error_too(kw, unraisable):
    events = []

    def fail():
        raise ValueError("expected")

    with kw.Worker(on_error=lambda *_: events.append("error")) as worker:
        worker.on_start = lambda work: events.append("start")
        worker.on_end = lambda work: events.append("end")
        work = kw.Work(fail)
        worker.queue(work)
        work.flush()
    assert sorted(events) == ["end", "error", "start"]
    assert events[0] == "start"
    assert unraisable == []


def test_flush_returns_after_on_end(kw, worker):
    gate = Gate()
    worker.on_end = lambda work: gate()
    work = kw.Work(int)
    worker.queue(work)
    gate.wait_entered()
    assert work.executing
    with pytest.raises(TimeoutError):
        work.flush(timeout=0)
    gate.open()
    work.flush()


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("error", [ValueError("expected"), SystemExit(3)], ids=repr)
def test_error_of_a_hook_goes_to_the_unraisable_hook(kw, worker, unraisable, hook, error):
    def fail(work):
        raise error

    setattr(worker, hook, fail)
    ran = []
    work = kw.Work(ran.append, 1)
    assert worker.queue(work) is True
    work.flush()
    assert worker.queue_many([work]) == 1
    work.flush()
    assert ran == [1, 1]
    assert worker.is_alive()
    assert len(unraisable) == 2
    for call in unraisable:
        assert call.exc_value is error
        assert call.err_msg == f"Exception ignored in {hook}"
        assert call.object is fail


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("many", [False, True])
def test_no_lock_is_held_while_a_hook_runs(kw, hook, many):
    done = []

    def use():
        worker.stats()
        repr(worker)
        worker.queue(other)
        other.cancel()
        worker.thaw()

    def body(work):
        if work is not other:
            Background(use).result()
            done.append(1)

    with kw.Worker() as worker:
        other, work = kw.Work(int), kw.Work(int)
        setattr(worker, hook, body)
        if many:
            worker.queue_many([work])
        else:
            worker.queue(work)
        worker.flush(LIMIT)
    assert done == [1]


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_may_queue(kw, worker, hook):
    ran = []
    child, parent = kw.Work(ran.append, "child"), kw.Work(ran.append, "parent")

    def body(work):
        if work is parent:
            worker.queue(child)

    setattr(worker, hook, body)
    worker.queue(parent)
    parent.flush()
    worker.flush()
    assert sorted(ran) == ["child", "parent"]


def test_start_and_end_hooks_are_called_by_run_and_run_pending(kw):
    with kw.Worker(start=False) as worker:
        idents = []
        worker.on_start = worker.on_end = lambda work: idents.append(threading.get_ident())
        worker.queue(kw.Work(int))
        worker.run_pending()
        worker.queue(kw.Work(worker.stop))
        worker.run()
        assert idents == [threading.get_ident()] * 4


@pytest.mark.skipif(sys.platform != "linux", reason="a function of libc by its name")
def test_hooks_are_called_for_native_works(kw, worker):
    calls = []
    worker.on_queue = worker.on_start = worker.on_end = calls.append
    work = kw.NativeWork(ctypes.CDLL(None).abs)
    worker.queue(work)
    work.flush()
    assert calls == [work] * 3


# --- current_work ---


def test_current_work_is_the_callbacks_own(kw, worker):
    assert kw.current_work() is None
    seen = []
    works = [kw.Work(lambda: seen.append(kw.current_work())) for _ in range(3)]
    works.append(kw.DelayedWork(lambda: seen.append(kw.current_work())))
    worker.queue_many(works)
    worker.flush()
    assert seen == works
    gate = hold(kw, worker)
    assert kw.current_work() is None
    gate.open()


def test_current_work_is_that_of_the_calling_thread(kw, worker):
    with kw.Worker() as other:
        meet = threading.Barrier(2)
        seen = {}

        def body(name):
            meet.wait(LIMIT)
            seen[name] = kw.current_work(), Background(kw.current_work).result()
            meet.wait(LIMIT)

        first, second = kw.Work(body, "first"), kw.Work(body, "second")
        worker.queue(first)
        other.queue(second)
        first.flush()
        second.flush()
        assert seen == {"first": (first, None), "second": (second, None)}


def test_current_work_cancels_itself(kw, worker):
    def tick():
        kw.current_work().cancel()

    beat = worker.every(LONG, tick)
    beat.flush()
    worker.flush()
    assert not beat.pending
