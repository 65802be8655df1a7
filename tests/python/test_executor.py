# SPDX-License-Identifier: GPL-2.0-only
"""A worker as an executor of concurrent.futures: submit, Future, map, shutdown."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import itertools
import os
import pickle
import queue
import sys
import threading
import weakref
from concurrent.futures import CancelledError

import pytest
from helpers import LIMIT, Background, Gate, give_time_to_sleep, hold, run_script, wait_until

AFTER_SHUTDOWN = r"^cannot schedule new futures after shutdown$"
LEFT_BEHIND = "this worker was left behind in the parent process by fork"


class Thing:
    """Something whose end can be seen."""

    def __call__(self, *args, **kwargs):
        pass


def collected(ref):
    if ref() is not None:
        gc.collect()
    return ref() is None


def same(value):
    return value


def raising(error):
    raise error


# -- submit, and what the future says


def test_worker_is_an_executor(kw, worker):
    assert isinstance(worker, concurrent.futures.Executor)
    future = worker.submit(int)
    assert type(future) is kw.Future
    assert isinstance(future, concurrent.futures.Future)
    assert future.result() == 0


def test_submit_gives_the_result_of_a_call_on_the_workers_thread(kw, worker):
    future = worker.submit(lambda *args, **kwargs: (threading.get_ident(), args, kwargs), 1, two=2)
    assert future.result() == (worker.ident, (1,), {"two": 2})
    assert future.exception() is None
    assert future.done()
    assert not future.running()
    assert not future.cancelled()


@pytest.mark.parametrize("name", ["self", "fn", "context", "args", "timeout", "work", "future"])
def test_keyword_of_any_name_reaches_the_function(kw, worker, name):
    assert worker.submit(lambda **kwargs: kwargs, **{name: 7}).result() == {name: 7}


def test_submit_without_a_function_is_refused(worker):
    with pytest.raises(TypeError):
        worker.submit()


def test_what_cannot_be_called_fails_in_the_future(kw, worker):
    future = worker.submit(7)
    with pytest.raises(TypeError, match="not callable"):
        future.result()


def test_wrong_arguments_fail_in_the_future(kw, worker, unraisable):
    assert type(worker.submit(lambda: None, 1).exception()) is TypeError
    assert unraisable == []


def test_states_of_a_future(kw, worker):
    first, second = Gate(), Gate()
    one, two = worker.submit(first), worker.submit(second)
    first.wait_entered()
    assert (one.running(), one.done(), one.cancelled()) == (True, False, False)
    assert (two.running(), two.done(), two.cancelled()) == (False, False, False)
    first.open()
    second.wait_entered()
    assert (one.running(), one.done(), one.cancelled()) == (False, True, False)
    assert (two.running(), two.done(), two.cancelled()) == (True, False, False)
    second.open()
    assert two.result() is None


def test_calls_and_works_run_in_the_order_of_their_coming(kw, worker):
    gate = hold(kw, worker)
    ran = []
    for number in range(0, 60, 3):
        worker.submit(ran.append, number)
        worker.queue(kw.Work(ran.append, number + 1))
        worker.queue_many([kw.Work(ran.append, number + 2)])
    gate.open()
    worker.flush()
    assert ran == list(range(60))


def test_calls_are_counted_as_works_are(kw, worker):
    gate = hold(kw, worker)
    before = worker.stats()
    futures = [worker.submit(int) for _ in range(3)]
    assert worker.stats()["queued"] == before["queued"] + 3
    assert worker.stats()["pending"] == 3
    assert "3 pending" in repr(worker)
    futures[1].cancel()
    stats = worker.stats()
    assert stats["pending"] == 2
    assert stats["cancelled"] == before["cancelled"] + 1
    gate.open()
    worker.flush()
    stats = worker.stats()
    assert stats["executed"] == before["executed"] + 2
    assert stats["pending"] == 0


def test_hooks_and_current_work_know_calls(kw, worker):
    seen = []

    def body(*args, **kwargs):
        seen.append(("run", kw.current_work()))
        seen.append(("worker", worker.current_work))

    def told(event):
        def hook(work):
            seen.append((event, work))
            if event != "end":
                asked.append((work.fn, work.args, work.kwargs))

        return hook

    asked = []
    worker.on_queue, worker.on_start, worker.on_end = told("queue"), told("start"), told("end")
    worker.submit(body, 1, two=2).result()
    worker.flush()
    assert [event for event, _ in seen] == ["queue", "start", "run", "worker", "end"]
    work = seen[0][1]
    assert isinstance(work, kw.Work)
    assert all(other is work for _, other in seen)
    assert asked == [(body, (1,), {"two": 2})] * 2
    assert not work.pending
    assert not work.executing


def test_call_dropped_through_its_work_is_cancelled(kw, worker):
    """Somebody has the work from a hook: the future of a run that never comes ends as well."""
    gate = hold(kw, worker)
    works = []
    worker.on_queue = works.append
    future = worker.submit(int)
    assert works[0].cancel() is True
    gate.open()
    with pytest.raises(CancelledError):
        future.result(LIMIT)
    assert future.cancelled()


def test_work_of_a_finished_call_queued_again_does_no_harm(kw, worker, unraisable):
    works, ran = [], []
    worker.on_queue = works.append
    future = worker.submit(lambda: ran.append(1) or 7)
    assert future.result() == 7
    worker.flush()
    with contextlib.suppress(RuntimeError):
        worker.queue(works[0])
    worker.flush()
    assert future.result() == 7
    assert ran == [1]
    assert worker.submit(same, 8).result() == 8


ERRORS = [ValueError("expected"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_future_carries_every_exception_and_nobody_else_is_told(kw, unraisable, error):
    told = []
    with kw.Worker(on_error=lambda *args: told.append(args)) as worker:
        future = worker.submit(raising, error)
        assert future.exception() is error
        with pytest.raises(type(error)) as info:
            future.result()
        assert info.value is error
        assert info.traceback[-1].name == "raising"
        assert worker.submit(same, 7).result() == 7
    assert told == []
    assert unraisable == []


def test_stop_iteration_is_carried_as_it_is(kw, worker):
    error = StopIteration(7)
    assert worker.submit(raising, error).exception() is error


def test_result_waits(kw, worker):
    gate = hold(kw, worker)
    me = threading.get_native_id()
    future = worker.submit(same, 7)
    opener = Background(lambda: (give_time_to_sleep(me), gate.open()))
    assert future.result() == 7
    opener.result()


@pytest.mark.parametrize("verb", ["result", "exception"])
def test_timeout_leaves_the_call_untouched(kw, worker, verb):
    gate = hold(kw, worker)
    future = worker.submit(same, 7)
    for timeout in (0, 0.001, -1, float("nan")):  # the latter two as concurrent.futures' do
        with pytest.raises(TimeoutError):
            getattr(future, verb)(timeout)
        with pytest.raises(TimeoutError):
            getattr(future, verb)(timeout=timeout)
    assert not future.done()
    gate.open()
    assert future.result(LIMIT) == 7
    assert future.exception(0) is None


@pytest.mark.parametrize("verb", ["result", "exception"])
def test_timeout_of_an_executing_call(kw, worker, verb):
    gate = Gate()
    future = worker.submit(gate)
    gate.wait_entered()
    with pytest.raises(TimeoutError):
        getattr(future, verb)(0)
    gate.open()
    assert getattr(future, verb)() is None


def test_many_threads_wait_for_one_result(kw, worker):
    gate = hold(kw, worker)
    future = worker.submit(object)
    waiters = [Background(future.result) for _ in range(8)]
    gate.open()
    assert {waiter.result() for waiter in waiters} == {future.result()}


def test_result_of_a_frozen_worker(kw, worker):
    worker.freeze()
    future = worker.submit(same, 7)
    with pytest.raises(TimeoutError):
        future.result(timeout=0)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0.001)
    worker.thaw()
    assert future.result() == 7
    worker.freeze()
    assert future.result(timeout=0) == 7
    worker.thaw()


def test_call_survives_a_stop_and_runs_on_the_next_thread(kw, worker):
    worker.stop()
    future = worker.submit(threading.get_ident)
    with pytest.raises(TimeoutError):
        future.result(timeout=0)
    assert not future.done()
    worker.start()
    assert future.result() == worker.ident


def test_calls_of_a_worker_that_the_caller_serves(kw):
    with kw.Worker(start=False) as worker:
        futures = [worker.submit(same, number) for number in range(3)]
        futures[1].cancel()
        assert worker.run_pending() == 2
        assert futures[0].result(0) == 0
        assert futures[1].cancelled()
        assert futures[2].result(0) == 2


def test_call_may_submit_to_its_own_worker(kw, worker):
    inner = worker.submit(worker.submit, same, 7).result()
    assert inner.result() == 7


def test_results_of_many_threads_submitting(kw, worker):
    def submit_all(base):
        futures = [worker.submit(same, base + number) for number in range(200)]
        return [future.result() for future in futures]

    callers = [Background(submit_all, base) for base in range(0, 1000, 200)]
    for base, caller in zip(range(0, 1000, 200), callers, strict=True):
        assert caller.result() == list(range(base, base + 200))


# -- done callbacks


def test_done_callbacks_are_called_on_the_workers_thread_in_their_order(kw, worker):
    gate = hold(kw, worker)
    told = []
    future = worker.submit(int)
    for number in range(3):
        future.add_done_callback(
            lambda done, number=number: told.append((number, done, threading.get_ident()))
        )
    gate.open()
    worker.flush()
    assert told == [(number, future, worker.ident) for number in range(3)]


def test_done_callback_of_a_finished_call_is_called_at_once(kw, worker):
    future = worker.submit(int)
    future.result()
    worker.flush()
    told = []
    future.add_done_callback(told.append)
    assert told == [future]


def test_done_callback_that_raises_is_logged_and_the_worker_goes_on(kw, worker, caplog):
    gate = hold(kw, worker)
    future = worker.submit(same, 7)
    told = []
    future.add_done_callback(lambda _: raising(LookupError("expected")))
    future.add_done_callback(told.append)
    gate.open()
    assert future.result() == 7
    worker.flush()
    assert told == [future]
    assert "LookupError: expected" in caplog.text
    assert worker.submit(same, 8).result() == 8


def test_done_callback_may_use_the_worker(kw, worker):
    gate = hold(kw, worker)
    inner = []
    future = worker.submit(same, 7)
    future.add_done_callback(lambda done: inner.append(worker.submit(same, done.result() + 1)))
    gate.open()
    worker.flush()
    assert inner[0].result() == 8


# -- cancel


def test_cancel_takes_a_pending_call_off_the_list_at_once(kw, worker):
    gate = hold(kw, worker)
    ran, told = [], []
    future = worker.submit(ran.append, 1)
    future.add_done_callback(lambda done: told.append((done, threading.get_ident())))
    assert worker.stats()["pending"] == 1
    assert future.cancel() is True
    assert worker.stats()["pending"] == 0
    assert future.cancelled()
    assert future.done()
    assert not future.running()
    assert told == [(future, threading.get_ident())]
    with pytest.raises(CancelledError):
        future.result()
    with pytest.raises(CancelledError):
        future.exception()
    assert future.cancel() is True
    assert len(told) == 1
    gate.open()
    worker.flush()
    assert ran == []
    assert worker.stats()["executed"] == 1


def test_cancel_gives_back_what_the_call_was_made_of(kw, worker):
    gate = hold(kw, worker)
    fn, positional, keyword = Thing(), Thing(), Thing()
    refs = [weakref.ref(thing) for thing in (fn, positional, keyword)]
    future = worker.submit(fn, positional, keyword=keyword)
    del fn, positional, keyword
    assert future.cancel()
    assert [collected(ref) for ref in refs] == [True] * 3
    ref = weakref.ref(future)
    del future
    assert collected(ref)
    gate.open()


def test_executing_and_finished_calls_cannot_be_cancelled(kw, worker):
    gate = Gate()
    future = worker.submit(gate)
    gate.wait_entered()
    assert future.cancel() is False
    assert not future.cancelled()
    gate.open()
    assert future.result() is None
    assert future.cancel() is False
    assert not future.cancelled()


def test_call_that_raised_cannot_be_cancelled(kw, worker):
    future = worker.submit(raising, ValueError("expected"))
    future.exception()
    assert future.cancel() is False


def test_call_does_not_cancel_itself(kw, worker):
    box = []
    gate = hold(kw, worker)
    box.append(worker.submit(lambda: box[0].cancel()))
    gate.open()
    assert box[0].result() is False


@pytest.mark.parametrize("verb", ["result", "exception"])
def test_cancel_wakes_who_waits_for_the_result(kw, worker, verb):
    gate = hold(kw, worker)
    future = worker.submit(int)
    waiters = [Background(getattr(future, verb)) for _ in range(4)]
    assert future.cancel()
    for waiter in waiters:
        with pytest.raises(CancelledError):
            waiter.result()
    gate.open()


def test_many_cancel_one_call_at_once(kw, worker):
    for _ in range(20):
        gate = hold(kw, worker)
        told = []
        future = worker.submit(int)
        future.add_done_callback(told.append)
        cancellers = [Background(future.cancel) for _ in range(4)]
        assert [canceller.result() for canceller in cancellers] == [True] * 4
        assert told == [future]
        gate.open()


def test_cancel_against_the_run(kw, worker):
    ran = []
    cancelled = 0
    for number in range(2000):
        future = worker.submit(ran.append, number)
        if future.cancel():
            cancelled += 1
            assert future.cancelled()
        else:
            assert future.result() is None
            assert ran[-1] == number
    worker.flush()
    assert len(ran) == len(set(ran)) == 2000 - cancelled


def test_cancel_of_a_call_of_a_frozen_worker(kw, worker):
    worker.freeze()
    ran = []
    future = worker.submit(ran.append, 1)
    assert future.cancel()
    worker.thaw()
    worker.flush()
    assert ran == []


# -- wait, as_completed, and asyncio's way to an executor


def test_wait_and_as_completed(kw, worker):
    with kw.Worker() as other:
        gate = Gate()
        held, quick = worker.submit(gate), other.submit(same, 7)
        done, rest = concurrent.futures.wait(
            [held, quick], timeout=LIMIT, return_when=concurrent.futures.FIRST_COMPLETED
        )
        assert (done, rest) == ({quick}, {held})
        completed = concurrent.futures.as_completed([held, quick], timeout=LIMIT)
        assert next(completed) is quick
        gate.open()
        assert next(completed) is held
        done, rest = concurrent.futures.wait([held, quick], timeout=LIMIT)
        assert (done, rest) == ({held, quick}, set())


def test_wait_ends_with_the_first_exception(kw, worker):
    with kw.Worker() as other:
        gate = Gate()
        held, bad = worker.submit(gate), other.submit(raising, ValueError("expected"))
        done, rest = concurrent.futures.wait(
            [held, bad], timeout=LIMIT, return_when=concurrent.futures.FIRST_EXCEPTION
        )
        assert (done, rest) == ({bad}, {held})
        gate.open()


def test_wait_takes_a_cancelled_call_for_done(kw, worker):
    gate = hold(kw, worker)
    future = worker.submit(int)
    waiter = Background(concurrent.futures.wait, [future])
    completed = Background(lambda: list(concurrent.futures.as_completed([future])))
    assert future.cancel()
    assert waiter.result() == ({future}, set())
    assert completed.result() == [future]
    assert concurrent.futures.wait([future], timeout=0) == ({future}, set())
    gate.open()


def test_run_in_executor_and_wrap_future(kw, worker):
    async def main():
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(worker, threading.get_ident) == worker.ident
        assert await asyncio.wrap_future(worker.submit(same, 7)) == 7
        with pytest.raises(LookupError):
            await loop.run_in_executor(worker, raising, LookupError("expected"))
        return await asyncio.gather(*(loop.run_in_executor(worker, same, n) for n in range(50)))

    assert asyncio.run(asyncio.wait_for(main(), LIMIT)) == list(range(50))


def test_cancel_of_a_wrapped_future_cancels_the_call(kw, worker):
    gate = hold(kw, worker)
    ran = []

    async def main():
        future = worker.submit(ran.append, 1)
        wrapped = asyncio.wrap_future(future)
        wrapped.cancel()
        await asyncio.sleep(0)  # it is the loop that tells
        assert wrapped.cancelled()
        assert future.cancelled()
        assert worker.stats()["pending"] == 0

    asyncio.run(asyncio.wait_for(main(), LIMIT))
    gate.open()
    worker.flush()
    assert ran == []


# -- what is kept, and until when


@pytest.mark.parametrize("kept", ["future", "nothing"])
def test_call_is_let_go_of_after_its_end(kw, worker, kept):
    for _ in range(15):
        fn, positional, keyword = Thing(), Thing(), Thing()
        refs = [weakref.ref(thing) for thing in (fn, positional, keyword)]
        future = worker.submit(fn, positional, keyword=keyword)
        del fn, positional, keyword
        future.result()
        if kept == "nothing":
            refs.append(weakref.ref(future))
            del future
        assert [collected(ref) for ref in refs] == [True] * len(refs)


def test_call_that_raised_is_let_go_of_after_its_end(kw, worker):
    def fail(thing):
        raise ValueError(thing)

    for _ in range(15):
        thing = Thing()
        ref = weakref.ref(thing)
        future = worker.submit(fail, thing)
        assert future.exception().args == (thing,)
        del thing
        assert not collected(ref)
        future_ref = weakref.ref(future)
        del future
        assert collected(future_ref)
        assert collected(ref)


def test_result_is_kept_by_the_future_alone(kw, worker):
    for _ in range(15):
        future = worker.submit(Thing)
        ref = weakref.ref(future.result())
        assert not collected(ref)
        del future
        assert collected(ref)


def test_exception_is_kept_by_the_future_alone(kw, worker):
    for _ in range(15):
        future = worker.submit(raising, ValueError("expected"))
        ref = weakref.ref(future)
        error = future.exception()
        del future
        assert collected(ref)
        assert str(error) == "expected"
        del error


class FailureError(Exception):
    """It can be seen going, as no built-in exception can."""


def test_exception_that_result_raised_is_let_go_of(kw, worker):
    for _ in range(15):
        future = worker.submit(lambda: raising(FailureError()))
        ref = weakref.ref(future.exception())
        with contextlib.suppress(FailureError):
            future.result()
        del future
        assert collected(ref)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="needs reference counts")
def test_nothing_waits_for_the_collector(kw, worker):
    """No cycle holds what is over: the last reference is the end."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(15):
            fn, argument = Thing(), Thing()
            refs = [weakref.ref(fn), weakref.ref(argument)]
            future = worker.submit(fn, argument)
            del fn, argument
            future.result()
            refs.append(weakref.ref(future))
            del future
            assert [ref() for ref in refs] == [None] * 3
            future = worker.submit(Thing)
            refs = [weakref.ref(future.result()), weakref.ref(future)]
            del future
            assert [ref() for ref in refs] == [None] * 2
    finally:
        gc.enable()


def test_refused_call_is_not_kept(kw):
    worker = kw.Worker()
    worker.destroy()
    fn = Thing()
    ref = weakref.ref(fn)
    with pytest.raises(RuntimeError):
        worker.submit(fn)
    del fn
    assert collected(ref)


def test_pending_call_whose_future_is_dropped_runs(kw, worker):
    gate = hold(kw, worker)
    ran = []
    worker.submit(ran.append, 1)
    gc.collect()
    gate.open()
    worker.flush()
    assert ran == [1]


def test_future_does_not_hold_the_worker(kw):
    worker = kw.Worker()
    future = worker.submit(same, 7)
    future.result()
    worker.destroy()
    ref = weakref.ref(worker)
    del worker
    assert collected(ref)
    assert future.result() == 7


def test_dropped_worker_runs_its_calls(kw):
    worker = kw.Worker("forgotten")
    gate = hold(kw, worker)
    future = worker.submit(same, 7)
    with pytest.warns(ResourceWarning, match="forgotten"):  # noqa: PT031 - either may be its end
        del worker
        gc.collect()
    gate.open()
    assert future.result(LIMIT) == 7


# -- refusals


def test_destroyed_worker_refuses(kw):
    worker = kw.Worker()
    worker.destroy()
    with pytest.raises(RuntimeError, match=AFTER_SHUTDOWN):
        worker.submit(int)
    with pytest.raises(RuntimeError, match=AFTER_SHUTDOWN):
        list(worker.map(int, [1]))


def test_worker_being_destroyed_refuses(kw):
    worker = kw.Worker()
    gate = hold(kw, worker)
    pending = worker.submit(same, 7)
    with pytest.raises(TimeoutError):
        worker.destroy(timeout=0)
    with pytest.raises(RuntimeError, match=AFTER_SHUTDOWN):
        worker.submit(int)
    gate.open()
    worker.destroy()
    assert pending.result(0) == 7


def test_worker_being_drained_refuses_others_and_not_its_own_calls(kw, worker):
    gate, second = Gate(), Gate()
    ran = []

    def body():
        gate()
        ran.append(worker.submit(second))

    worker.submit(body)
    gate.wait_entered()
    drainer = Background(worker.drain)

    def refused():
        try:
            worker.submit(int)
        except RuntimeError as error:
            return str(error) == "worker is being drained"
        return False

    wait_until(refused)
    gate.open()
    second.wait_entered()
    assert refused()
    second.open()
    drainer.result()
    assert ran[0].done()
    assert worker.submit(same, 7).result() == 7


def test_interpreter_exit_refuses(kw):
    result = run_script(
        kw,
        """
        import atexit
        worker = kw.Worker()
        def body():
            while not kw.should_stop():
                time.sleep(0.001)
            try:
                worker.submit(print, "never")
            except RuntimeError as error:
                print(error)
        entered = threading.Event()
        worker.submit(entered.set)
        worker.submit(body)
        entered.wait()
        """,
    )
    assert result.stdout == "cannot schedule new futures after interpreter shutdown\n"
    assert result.stderr == ""
    assert result.returncode == 0


def test_calls_run_to_their_end_at_exit(kw):
    result = run_script(
        kw,
        """
        gate = threading.Event()
        worker = kw.Worker()
        worker.submit(gate.wait)
        future = worker.submit(lambda: print("ran") or 7)
        future.add_done_callback(lambda done: print("told", done.result()))
        worker.map(print, range(3))
        print("main ends")
        gate.set()
        """,
    )
    assert result.stdout == "main ends\nran\ntold 7\n0\n1\n2\n"
    assert result.stderr == ""
    assert result.returncode == 0


def test_exit_drops_pending_calls_of_a_daemon_silently(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker(daemon=True)
        entered = threading.Event()
        worker.submit(lambda: (entered.set(), threading.Event().wait()))
        future = worker.submit(print, "never")
        entered.wait()
        print("main ends")
        """,
    )
    assert result.stdout == "main ends\n"
    assert result.stderr == ""
    assert result.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_child_is_told_and_the_parent_goes_on(kw):
    result = run_script(
        kw,
        """
        def told(call, *args):
            try:
                return call(*args)
            except RuntimeError as error:
                return error

        worker = kw.Worker()
        gate, entered = threading.Event(), threading.Event()
        done = worker.submit(int)
        assert done.result() == 0
        executing = worker.submit(lambda: (entered.set(), gate.wait()) and 8)
        pending = worker.submit(lambda: 7)
        entered.wait()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                print(told(worker.submit, int))
                print(told(pending.result))
                print(told(pending.exception))
                print(told(executing.result))
                print(done.result(), flush=True)
                worker.destroy()
                with kw.Worker() as new:
                    print(new.submit(lambda: "new").result(), flush=True)
                code = 0
            finally:
                os._exit(code)
        print(os.waitpid(pid, 0)[1])
        gate.set()
        print(executing.result(), pending.result())
        worker.destroy()
        """,
        "-W",
        "ignore::DeprecationWarning",
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == [LEFT_BEHIND] * 4 + ["0", "new", "0", "8 7"]


# -- waiting for oneself


def deadlocked(kw, call, *args):
    try:
        call(*args)
    except kw.DeadlockError:
        return True
    return False


@pytest.mark.parametrize("verb", ["result", "exception"])
def test_call_that_waits_for_its_own_result_is_told(kw, worker, verb):
    box = []
    gate = hold(kw, worker)
    box.append(worker.submit(lambda: deadlocked(kw, getattr(box[0], verb))))
    gate.open()
    assert box[0].result(LIMIT) is True


@pytest.mark.parametrize("kind", ["work", "call"])
def test_callback_that_waits_for_a_pending_call_of_its_worker_is_told(kw, worker, kind):
    told = []

    def body():
        future = worker.submit(same, 7)
        told.append((deadlocked(kw, future.result), deadlocked(kw, future.exception)))
        told.append(future)

    if kind == "work":
        work = kw.Work(body)
        worker.queue(work)
        work.flush()
    else:
        worker.submit(body).result()
    assert told[0] == (True, True)
    assert told[1].result() == 7


def test_callback_may_ask_for_the_result_of_a_finished_call(kw, worker):
    done = worker.submit(same, 7)
    done.result()
    assert worker.submit(done.result).result() == 7
    failed = worker.submit(raising, LookupError("expected"))
    failed.exception()
    assert worker.submit(failed.exception).result() is failed.exception()


def test_callback_may_wait_for_a_call_of_another_worker(kw, worker):
    with kw.Worker() as other:
        assert worker.submit(lambda: other.submit(same, 7).result()).result() == 7


def test_workers_that_wait_for_each_others_results_are_told(kw):
    """Of a circle one at least is told, the others get what they wait for."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(kw.Worker()) for _ in range(3)]
        everybody = threading.Barrier(4)

        def body(number):
            everybody.wait(LIMIT)
            return deadlocked(kw, futures[(number + 1) % 3].result)

        futures = [worker.submit(body, number) for number, worker in enumerate(workers)]
        everybody.wait(LIMIT)
        assert any(future.result(LIMIT) for future in futures)


# -- map


def test_map_gives_results_in_order(kw, worker):
    assert list(worker.map(same, range(100))) == list(range(100))
    assert list(worker.map(pow, [2, 3, 4], [5, 6])) == [32, 729]
    assert list(worker.map(same, [])) == []


def test_map_submits_all_at_once_and_takes_its_input_at_once(kw, worker):
    gate = hold(kw, worker)
    taken = []
    results = worker.map(same, (taken.append(n) or n for n in range(10)))
    assert taken == list(range(10))
    assert worker.stats()["pending"] == 10
    assert iter(results) is results
    gate.open()
    assert list(results) == list(range(10))


def test_map_whose_results_nobody_takes_runs_all(kw):
    ran = []
    with kw.Worker() as worker:
        worker.map(ran.append, range(10))
    assert ran == list(range(10))


def test_map_lets_the_exception_out_where_its_result_would_come(kw, worker):
    results = worker.map(lambda n: 1 // n, [1, -1, 0, 1])
    assert next(results) == 1
    assert next(results) == -1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_left_by_an_exception_cancels_the_rest(kw, worker):
    behind = Gate()
    ran = []

    def body(number):
        if number == 0:
            raise LookupError("expected")
        if number == 1:
            behind()
        ran.append(number)

    results = worker.map(body, range(10))
    with pytest.raises(LookupError):
        next(results)
    behind.wait_entered()
    assert worker.stats()["pending"] == 0
    behind.open()
    worker.flush()
    assert ran == [1]


@pytest.mark.parametrize("how", ["close", "drop"])
def test_map_left_early_cancels_what_is_pending(kw, worker, how):
    behind = Gate()
    ran = []

    def body(number):
        if number == 1:
            behind()
        ran.append(number)

    results = worker.map(body, range(10))
    assert next(results) is None
    behind.wait_entered()
    assert worker.stats()["pending"] == 8
    if how == "close":
        results.close()
    del results
    gc.collect()
    assert worker.stats()["pending"] == 0
    behind.open()
    worker.flush()
    assert ran == [0, 1]


def test_map_out_of_time_cancels_what_is_pending(kw, worker):
    gate = hold(kw, worker)
    results = worker.map(same, range(5), timeout=0)
    with pytest.raises(TimeoutError):
        next(results)
    assert worker.stats()["pending"] == 0
    gate.open()


def test_map_with_time_enough(kw, worker):
    assert list(worker.map(same, range(5), timeout=LIMIT)) == list(range(5))


def test_map_counts_its_time_from_the_call_on(kw, worker):
    """Nothing of it was left when the first result was asked for."""
    gate = hold(kw, worker)
    results = worker.map(same, range(5), timeout=0.001)
    clock = threading.Event()
    later = kw.DelayedWork(clock.set)
    with kw.Worker() as other:
        other.queue_delayed(later, 0.002)
        assert clock.wait(LIMIT)
    started = Background(next, results)
    with pytest.raises(TimeoutError):
        started.result()
    gate.open()


def test_map_in_chunks(kw, worker):
    gate = hold(kw, worker)
    results = worker.map(pow, range(10), itertools.repeat(2), chunksize=4)
    assert worker.stats()["pending"] == 3
    gate.open()
    assert list(results) == [n * n for n in range(10)]


def test_exception_in_a_chunk_comes_after_the_chunks_before_it(kw, worker):
    results = worker.map(lambda n: 1 // (n - 5), range(9), chunksize=3)
    assert [next(results) for _ in range(3)] == [-1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        list(results)


@pytest.mark.parametrize("chunksize", [0, -1])
def test_bad_chunksize_is_refused_at_the_call(kw, worker, chunksize):
    with pytest.raises(ValueError, match=r"^chunksize must be >= 1\.$"):
        worker.map(same, range(3), chunksize=chunksize)
    assert worker.stats()["queued"] == 0


@pytest.mark.parametrize("buffersize", [1.0, "1", [], {}], ids=repr)
def test_buffersize_of_a_bad_type_is_refused_at_the_call(kw, worker, buffersize):
    with pytest.raises(TypeError, match=r"^buffersize must be an integer or None$"):
        worker.map(same, range(3), buffersize=buffersize)
    assert worker.stats()["queued"] == 0


@pytest.mark.parametrize("buffersize", [0, -1])
def test_bad_buffersize_is_refused_at_the_call(kw, worker, buffersize):
    with pytest.raises(ValueError, match=r"^buffersize must be None or > 0$"):
        worker.map(same, range(3), buffersize=buffersize)
    assert worker.stats()["queued"] == 0


@pytest.mark.parametrize(("timeout", "error"), [("1", TypeError), ([], TypeError)])
def test_bad_timeout_is_refused_at_the_call(kw, worker, timeout, error):
    with pytest.raises(error):
        worker.map(same, range(3), timeout=timeout)
    assert worker.stats()["queued"] == 0


def test_map_with_a_buffersize_takes_its_input_as_it_goes(kw, worker):
    gate = hold(kw, worker)
    taken = []
    results = worker.map(same, (taken.append(n) or n for n in itertools.count()), buffersize=3)
    assert taken == [0, 1, 2]
    assert worker.stats()["pending"] == 3
    gate.open()
    for number in range(100):
        assert next(results) == number
        assert len(taken) <= number + 1 + 3
    results.close()


@pytest.mark.parametrize("buffersize", [1, 2, 5])
def test_map_has_no_more_in_flight_than_its_buffersize(kw, worker, buffersize):
    in_flight = []
    results = worker.map(
        lambda n: in_flight.append(worker.stats()["pending"] + 1) or n,
        range(100),
        buffersize=buffersize,
    )
    assert list(results) == list(range(100))
    assert max(in_flight) <= buffersize


def test_map_with_a_buffersize_and_chunks(kw, worker):
    results = worker.map(same, range(100), buffersize=3, chunksize=7)
    assert list(results) == list(range(100))


def test_map_lets_the_error_of_its_input_out(kw, worker):
    def numbers():
        yield 1
        raise LookupError("expected")

    gate = hold(kw, worker)
    with pytest.raises(LookupError):
        list(worker.map(same, numbers()))
    gate.open()


def test_map_from_a_callback_of_the_worker_is_told(kw, worker):
    assert worker.submit(lambda: deadlocked(kw, list, worker.map(same, [1]))).result() is True


def test_map_with_a_buffersize_keeps_no_more_than_that(kw, worker):
    refs = []

    def things():
        for _ in range(30):
            thing = Thing()
            refs.append(weakref.ref(thing))
            yield thing

    for _ in worker.map(lambda _: None, things(), buffersize=2):
        alive = sum(ref() is not None for ref in refs)
        if alive > 4:
            gc.collect()
            alive = sum(ref() is not None for ref in refs)
        assert alive <= 4
    assert [collected(ref) for ref in refs] == [True] * 30


# -- shutdown


@pytest.mark.parametrize("arguments", [(), (True,)], ids=repr)
def test_shutdown_is_destroy(kw, arguments):
    worker = kw.Worker()
    gate = hold(kw, worker)
    ran = []
    worker.submit(ran.append, 1)
    worker.queue(kw.Work(ran.append, 2))
    caller = Background(worker.shutdown, *arguments)
    gate.open()
    caller.result()
    assert ran == [1, 2]
    assert not worker.is_alive()
    assert "destroyed" in repr(worker)
    worker.shutdown()
    worker.shutdown(wait=False, cancel_futures=True)
    worker.destroy()


def test_shutdown_without_wait_returns_at_once_and_the_thread_leaves_by_itself(kw):
    worker = kw.Worker()
    thread = worker.submit(threading.current_thread).result()
    gate = hold(kw, worker)
    future, work = worker.submit(same, 7), kw.Work(int)
    late = kw.DelayedWork(int)
    worker.queue(work)
    worker.queue_delayed(late, 1000)
    worker.shutdown(wait=False)
    with pytest.raises(RuntimeError, match=AFTER_SHUTDOWN):
        worker.submit(int)
    with pytest.raises(RuntimeError, match=AFTER_SHUTDOWN):
        worker.queue(kw.Work(int))
    assert worker.is_alive()
    assert not late.pending
    worker.shutdown(wait=False)
    gate.open()
    assert future.result() == 7
    wait_until(lambda: not worker.is_alive() and not thread.is_alive())
    assert not work.pending
    worker.shutdown()
    assert "destroyed" in repr(worker)


def test_shutdown_that_cancels_futures_leaves_works_alone(kw):
    worker = kw.Worker()
    gate = Gate()
    executing = worker.submit(gate)
    gate.wait_entered()
    ran = []
    futures = [worker.submit(ran.append, number) for number in range(5)]
    worker.queue(kw.Work(ran.append, "work"))
    worker.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert not executing.done()
    gate.open()
    worker.shutdown(wait=True, cancel_futures=True)
    assert executing.result(0) is None
    assert ran == ["work"]


def test_shutdown_that_waits_and_cancels_futures(kw):
    worker = kw.Worker()
    gate = hold(kw, worker)
    future = worker.submit(int)
    caller = Background(worker.shutdown, cancel_futures=True)
    with pytest.raises(CancelledError):
        future.result(LIMIT)
    gate.open()
    caller.result()


def test_shutdown_of_a_frozen_worker_thaws_it(kw):
    worker = kw.Worker()
    worker.freeze()
    future = worker.submit(same, 7)
    worker.shutdown(wait=False)
    assert future.result() == 7
    worker.shutdown()


def test_shutdown_from_an_own_callback(kw):
    worker = kw.Worker()
    assert worker.submit(lambda: deadlocked(kw, worker.shutdown)).result() is True
    assert worker.submit(lambda: worker.shutdown(wait=False)).result() is None
    with pytest.raises(RuntimeError, match=AFTER_SHUTDOWN):
        worker.submit(int)
    worker.shutdown()


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_without_a_thread_cancels_futures(kw, wait):
    worker = kw.Worker(start=False)
    future, work = worker.submit(int), kw.Work(int)
    worker.queue(work)
    worker.shutdown(wait=wait)
    assert future.cancelled()
    assert not work.pending


def test_shutdown_ends_run(kw):
    worker = kw.Worker(start=False)
    server = Background(worker.run)
    assert worker.submit(same, 7).result() == 7
    worker.shutdown(wait=False)
    server.result()
    worker.shutdown()


def test_with_block_waits_for_the_calls(kw):
    with kw.Worker() as worker:
        futures = [worker.submit(same, number) for number in range(10)]
    assert [future.result(0) for future in futures] == list(range(10))


def test_destroy_without_a_thread_cancels_futures(kw):
    worker = kw.Worker(start=False)
    told = []
    futures = [worker.submit(Thing()) for _ in range(3)]
    futures[0].add_done_callback(told.append)
    waiters = [Background(future.result) for future in futures]
    waiters.append(Background(concurrent.futures.wait, futures))
    worker.destroy()
    for waiter in waiters[:3]:
        with pytest.raises(CancelledError):
            waiter.result()
    assert waiters[3].result() == (set(futures), set())
    assert told == [futures[0]]
    assert all(future.cancelled() for future in futures)


def test_destroy_of_a_stopped_worker_cancels_futures(kw):
    worker = kw.Worker()
    worker.stop()
    future = worker.submit(int)
    worker.destroy()
    assert future.cancelled()


def test_dropped_worker_without_a_thread_cancels_futures(kw):
    worker = kw.Worker(start=False)
    future = worker.submit(int)
    waiter = Background(future.result)
    with pytest.warns(ResourceWarning):  # noqa: PT031 - either statement may be its end
        del worker
        gc.collect()
    with pytest.raises(CancelledError):
        waiter.result()


# -- Ctrl-C


def test_keyboard_interrupt_in_a_call_ends_run_and_is_in_the_future(kw):
    result = run_script(
        kw,
        """
        def interrupt():
            signal.raise_signal(signal.SIGINT)
            time.sleep(20)
        worker = kw.Worker(start=False)
        futures = [worker.submit(interrupt), worker.submit(interrupt), worker.submit(lambda: 7)]
        for call in worker.run, worker.run_pending:
            try:
                call()
            except KeyboardInterrupt:
                print("interrupted", worker.is_alive(), [future.done() for future in futures])
        print(worker.run_pending(), futures[2].result())
        print([type(future.exception()).__name__ for future in futures])
        worker.destroy()
        """,
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "interrupted False [True, False, False]",
        "interrupted False [True, True, False]",
        "1 7",
        "['KeyboardInterrupt', 'KeyboardInterrupt', 'NoneType']",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent by os.kill")
@pytest.mark.parametrize(
    "call",
    ["future.result()", "future.result(1000)", "future.exception()", "next(results)"],
)
def test_ctrl_c_ends_the_wait_for_a_result(kw, call):
    """Sent by the call that is executing, once the main thread sleeps; asked again, it comes."""
    result = run_script(
        kw,
        f"""
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from helpers import give_time_to_sleep
        gate = threading.Event()
        me = threading.get_native_id()
        def body():
            give_time_to_sleep(me)
            os.kill(os.getpid(), signal.SIGINT)
            gate.wait()
        worker = kw.Worker()
        asked = threading.Event()
        def held():
            asked.wait()
            body()
        worker.submit(held)
        future = worker.submit(lambda: 7)
        results = worker.map(int, [1])
        try:
            asked.set()
            {call}
        except KeyboardInterrupt:
            print("interrupted", future.done())
        gate.set()
        print(future.result())
        worker.destroy()
        """,
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["interrupted False", "7"]


# -- classes


def test_subclass_of_a_worker(kw):
    class Device(kw.Worker):
        def __init__(self, port, **options):
            super().__init__(f"device-{port}", **options)
            self.port = port
            self.calls = 0

        def submit(self, fn, /, *args, **kwargs):
            self.calls += 1
            return super().submit(fn, *args, **kwargs)

        def ask(self, question):
            return self.submit(lambda: (self.port, question)).result()

    with Device(7) as device:
        assert device.name == "device-7"
        assert device.ask("who") == (7, "who")
        assert device.calls == 1
        assert list(device.map(same, range(3))) == [0, 1, 2]


def test_classes_may_be_written_with_the_type_of_the_result(kw):
    assert kw.Work[int].__origin__ is kw.Work
    assert kw.DelayedWork[str].__origin__ is kw.DelayedWork
    assert kw.Future[int].__origin__ is kw.Future


def test_nothing_can_be_pickled_or_copied(kw, worker):
    for thing in (worker, kw.Work(int), worker.submit(int), kw.DelayedWork(int)):
        for protocol in (2, pickle.HIGHEST_PROTOCOL):
            with pytest.raises(TypeError, match="cannot pickle"):
                pickle.dumps(thing, protocol)


def test_repr_of_a_future_tells_its_state(kw, worker):
    gate = Gate()
    executing, pending = worker.submit(gate), worker.submit(int)
    gate.wait_entered()
    assert "running" in repr(executing)
    assert "pending" in repr(pending)
    gate.open()
    pending.result()
    assert "finished" in repr(pending)


def test_future_is_refused_as_a_work(kw, worker):
    with pytest.raises(TypeError):
        worker.queue(worker.submit(int))


def test_full_is_the_standard_librarys(kw):
    with kw.Worker(start=False, max_pending=1) as worker:
        worker.submit(int)
        with pytest.raises(queue.Full):
            worker.submit(int)


def test_cancel_while_the_call_begins(kw, caplog):
    """Whoever holds the future's condition keeps the worker from beginning."""
    with kw.Worker() as worker:
        future = worker.submit(int)
        future.result(LIMIT)
        gate = hold(kw, worker)
        future = worker.submit(int)
        with future._condition:
            gate.open()
            if kw.backend == "native":
                wait_until(lambda: in_function(worker.ident, "_set_running"))
            cancelled = future.cancel()
        worker.flush(LIMIT)
        if cancelled:
            with pytest.raises(CancelledError):
                future.result(LIMIT)
        else:
            assert future.result(LIMIT) == 0
    assert cancelled or kw.backend == "pure"
    assert not caplog.records


def in_function(ident, name):
    frame = sys._current_frames().get(ident)
    while frame is not None and frame.f_code.co_name != name:
        frame = frame.f_back
    return frame is not None
