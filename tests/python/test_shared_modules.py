# SPDX-License-Identifier: GPL-2.0-only
"""The modules that both backends share, looked at from inside."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import queue
import weakref

import pytest
from helpers import LIMIT, Background, Gate, hold, wait_until

from pykworker import _arguments, _origin, pure
from pykworker._aio import wait_for
from pykworker._sentinel import CANCEL
from pykworker._watchdog import Watchdog
from pykworker.pure._futures import Future
from pykworker.pure._records import Status


class Watch:
    """Tells whether it was cancelled; *then* is called at that moment."""

    def __init__(self, then=lambda: None):
        self.cancelled = False
        self.then = then

    def cancel(self):
        self.cancelled = True
        self.then()


def run(main):
    return asyncio.run(asyncio.wait_for(main, LIMIT))


async def turn(times=5):
    for _ in range(times):
        await asyncio.sleep(0)


# -- _aio


def test_nothing_to_wait_for_is_no_wait():
    async def main():
        with pytest.raises(StopIteration) as info:
            wait_for(lambda notify: None).send(None)
        assert info.value.value is False

    run(main())


@pytest.mark.parametrize("when", ["at once", "later", "twice"])
def test_notification_from_another_thread_ends_the_wait(when):
    watch = Watch()
    threads = []

    def begin(notify):
        for _ in range(2 if when == "twice" else 1):
            threads.append(Background(notify))
            if when == "at once":
                threads[-1].result()
        return watch

    assert run(wait_for(begin)) is True
    for thread in threads:
        thread.result()
    assert not watch.cancelled


def test_cancelled_wait_cancels_the_watch_and_uses_nothing():
    unused = []

    async def main():
        watch = Watch()
        task = asyncio.create_task(wait_for(lambda notify: watch, lambda: unused.append(1)))
        await turn()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert watch.cancelled

    run(main())
    assert unused == []


@pytest.mark.parametrize("when", ["before", "in between", "after"])
def test_notification_that_meets_the_cancellation_is_passed_on_once(when):
    """Whether it comes before the watch is cancelled, right then, or was under way still."""
    unused = []
    notifies = []

    async def main():
        watch = Watch(lambda: notifies[0]() if when == "in between" else None)

        def begin(notify):
            notifies.append(notify)
            return watch

        task = asyncio.create_task(wait_for(begin, lambda: unused.append(1)))
        await turn()
        if when == "before":
            notifies[0]()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if when == "after":
            notifies[0]()

    run(main())
    assert unused == [1]


def test_notification_of_a_closed_loop_is_ignored():
    notifies = []

    async def main():
        task = asyncio.create_task(wait_for(lambda notify: notifies.append(notify) or Watch()))
        await turn()
        task.cancel()

    run(main())
    notifies[0]()


# -- _executor


def test_map_keeps_what_was_refused_for_the_next_time(kw):
    """No item is lost when others fill the list at any moment."""
    with kw.Worker(max_pending=2) as worker:
        gate = hold(kw, worker)
        blocker = kw.Work(int)
        worker.queue(blocker)
        results = worker.map(lambda n: n, range(5))
        gate.open()
        assert list(results) == list(range(5))


def test_shutdown_that_would_deadlock_changes_nothing(kw):
    with kw.Worker() as worker:
        gate = Gate()

        def body():
            with pytest.raises(kw.DeadlockError):
                worker.shutdown(cancel_futures=True)

        future = worker.submit(lambda: (gate(), body())[1])
        gate.wait_entered()
        behind = worker.submit(lambda: 7)
        gate.open()
        assert future.result() is None
        assert behind.result() == 7
        assert worker.submit(lambda: 8).result() == 8


def test_call_that_comes_later_does_not_overtake_one_that_was_handed_a_place(kw):
    """The place is free, and its owner has not been told yet by the loop."""
    ran = []

    async def main():
        with kw.Worker(max_pending=1) as worker:
            gate = hold(kw, worker)
            late = kw.DelayedWork(int)
            worker.queue_delayed(late, 1000)
            first = asyncio.create_task(worker.call(ran.append, 1))
            await turn()
            late.cancel()
            with pytest.raises(queue.Full):
                worker.submit(ran.append, 2)
            second = asyncio.create_task(worker.call(ran.append, 2))
            await turn()
            gate.open()
            await asyncio.gather(first, second)

    run(main())
    assert ran == [1, 2]


@pytest.mark.parametrize("how", ["cancelled first", "refused"])
def test_place_that_was_handed_over_is_not_lost(kw, how):
    async def main():
        with kw.Worker(max_pending=1) as worker:
            gate = hold(kw, worker)
            late = kw.DelayedWork(int)
            worker.queue_delayed(late, 1000)
            task = asyncio.create_task(worker.call(int))
            await turn()
            if how == "cancelled first":
                task.cancel()
                late.cancel()
            else:
                late.cancel()
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert worker.queue(kw.Work(int)) is True
            gate.open()

    run(main())


# -- _arguments


@pytest.mark.parametrize("value", [True, 1.0, "1", [1]], ids=repr)
def test_count_takes_integers_alone(value):
    with pytest.raises(TypeError, match=r"^things must be an integer or None"):
        _arguments.count_or_none(value, "things")


def test_count_is_one_at_the_least():
    assert _arguments.count_or_none(None, "things") is None
    assert _arguments.count_or_none(1, "things") == 1
    with pytest.raises(ValueError, match=r"^things must be at least 1$"):
        _arguments.count_or_none(0, "things")


# -- _origin


def test_calling_stack_ends_with_the_caller_and_holds_no_frame():
    class Thing:
        pass

    def inner():
        thing = Thing()
        return _origin.calling_stack(), weakref.ref(thing)

    stack, ref = inner()
    gc.collect()
    assert ref() is None
    assert [frame.name for frame in stack][-2:] == [
        "test_calling_stack_ends_with_the_caller_and_holds_no_frame",
        "inner",
    ]


# -- _watchdog


class Core:
    """What the watchdog looks at."""

    name = "sensor"
    watchdog = 1000.0

    def __init__(self):
        self.told = []

    def look(self):
        return 0, None, None

    def has_nothing_to_do(self):
        return False

    def tell_busy(self, wanted):
        self.told.append(wanted)


class Hidden:
    """The hidden worker: its periodic works are called by the test."""

    def __init__(self):
        self.looks = []
        self.ended = False

    def every(self, interval, fn):
        self.looks.append(fn)

    def shutdown(self, wait):
        assert not wait
        self.ended = True


def test_watchdog_makes_one_worker_that_ends_with_the_last_one_watched():
    made = []

    def make():
        made.append(Hidden())
        return made[-1]

    dog = Watchdog(make)
    cores = [Core() for _ in range(8)]
    for adder in [Background(dog.add, core) for core in cores]:
        adder.result()
    assert len(made) == 1
    for core in cores:
        assert not made[0].ended
        dog.discard(core)
    assert made[0].ended
    dog.discard(cores[0])
    dog.add(cores[0])
    assert len(made) == 2


def test_watchdog_looks_at_a_worker_once_though_it_began_twice():
    """The first look was about to end, and goes on, when something was queued."""
    hidden = Hidden()
    dog = Watchdog(lambda: hidden)
    core = Core()
    dog.add(core)
    dog.begin(core)
    dog.begin(core)
    assert [look() for look in hidden.looks] == [CANCEL, None]


# -- the pure backend's own


def test_condition_of_a_future_is_taken_in_one_step():
    future = Future(Status())
    assert not hasattr(type(future._condition).__enter__, "__code__")
    with future._condition:
        assert not Background(future._condition.acquire, False).result()
    assert Background(future._condition.acquire, False).result()


def test_result_is_not_there_before_the_worker_has_let_go_of_it():
    with pure.Worker() as worker:
        for _ in range(200):
            future = worker.submit(object)
            assert future._status.owner is None or future.result() is not None
            future.result()
            assert future._status.future is None


def test_who_waits_for_a_result_does_not_wait_for_the_callbacks(kw):
    with kw.Worker() as worker:
        gate, let_on = hold(kw, worker), Gate()
        future = worker.submit(lambda: 7)
        future.add_done_callback(lambda _: let_on())
        waiter = Background(future.result)
        gate.open()
        let_on.wait_entered()
        assert waiter.result() == 7
        let_on.open()


def test_flushes_that_were_given_up_are_not_kept(kw):
    async def main():
        with kw.Worker() as worker:
            gate = hold(kw, worker)
            work = kw.Work(int)
            worker.queue(work)
            for _ in range(50):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(work.flushed(), 0)
            if kw.backend == "pure":
                assert len(work._status.watches or ()) <= 2
            gate.open()
            await work.flushed()

    run(main())


def test_many_threads_submit_and_cancel():
    with pure.Worker() as worker:
        ran = []

        def body():
            cancelled = 0
            for number in range(200):
                future = worker.submit(ran.append, number)
                cancelled += future.cancel()
            return cancelled

        threads = [Background(body) for _ in range(4)]
        cancelled = sum(thread.result() for thread in threads)
        worker.flush()
        wait_until(lambda: len(ran) == 800 - cancelled)
        assert worker.stats()["cancelled"] == cancelled
