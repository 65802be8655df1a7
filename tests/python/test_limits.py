# SPDX-License-Identifier: GPL-2.0-only
"""max_pending: how many works may wait at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import queue
import threading
import weakref

import pytest
from helpers import LIMIT, Background, Gate, hold, wait_until

LONG = 1000.0


class Thing:
    """Something whose end can be seen."""

    def __call__(self, *args, **kwargs):
        pass


def same(value):
    return value


@pytest.fixture
def full(kw):
    """A worker that executes a gate, and has its two places taken: by a work and by a timer."""

    class Full(kw.Worker):
        pass

    with Full("full", max_pending=2) as worker:
        worker.gate = hold(kw, worker)
        worker.pending, worker.late = kw.Work(int), kw.DelayedWork(int)
        worker.queue(worker.pending)
        worker.queue_delayed(worker.late, LONG)
        yield worker
        worker.gate.open()


@pytest.mark.parametrize("value", [0, -1, -(10**30)])
def test_bad_value_is_refused_and_leaves_nothing(kw, value):
    threads = threading.active_count()
    with pytest.raises(ValueError, match="max_pending"):
        kw.Worker(max_pending=value)
    assert threading.active_count() == threads


@pytest.mark.parametrize("value", [1.0, "1", [], {}], ids=repr)
def test_value_of_a_bad_type_is_refused_and_leaves_nothing(kw, value):
    threads = threading.active_count()
    with pytest.raises(TypeError, match="max_pending"):
        kw.Worker(max_pending=value)
    assert threading.active_count() == threads


def test_large_value_is_no_limit(kw):
    with kw.Worker(max_pending=10**30) as worker:
        assert worker.submit(same, 7).result() == 7
        assert list(worker.map(same, range(100))) == list(range(100))


def test_none_is_no_limit(kw):
    with kw.Worker(start=False, max_pending=None) as worker:
        assert worker.queue_many(kw.Work(int) for _ in range(5000)) == 5000


def test_executing_work_takes_no_place(kw):
    with kw.Worker(max_pending=1) as worker:
        gate = hold(kw, worker)
        assert worker.queue(kw.Work(int)) is True
        with pytest.raises(queue.Full):
            worker.queue(kw.Work(int))
        gate.open()


@pytest.mark.parametrize(
    "call",
    [
        "queue",
        "queue_many",
        "queue_delayed",
        "queue_delayed by 0",
        "mod_delayed",
        "every",
        "submit",
    ],
)
def test_full_worker_refuses_and_nothing_changes(kw, full, call):
    work, late = kw.Work(int), kw.DelayedWork(int)
    before = full.stats()
    queued = []
    full.on_queue = queued.append
    calls = {
        "queue": lambda: full.queue(work),
        "queue_many": lambda: full.queue_many([work]),
        "queue_delayed": lambda: full.queue_delayed(late, LONG),
        "queue_delayed by 0": lambda: full.queue_delayed(late, 0),
        "mod_delayed": lambda: full.mod_delayed(late, LONG),
        "every": lambda: full.every(LONG, int),
        "submit": lambda: full.submit(int),
    }
    with pytest.raises(queue.Full):
        calls[call]()
    assert full.stats() == before
    assert queued == []
    assert not work.pending
    assert not late.pending
    with kw.Worker() as other:  # they belong to nobody
        assert other.queue_many([work, late]) == 2


def test_what_was_refused_is_not_kept(kw, full):
    for refused in (
        lambda thing: full.queue(kw.Work(thing)),
        lambda thing: full.queue_many([kw.Work(thing)]),
        lambda thing: full.queue_delayed(kw.DelayedWork(thing), LONG),
        lambda thing: full.mod_delayed(kw.DelayedWork(thing), LONG),
        lambda thing: full.every(LONG, thing),
        lambda thing: full.submit(thing, thing),
    ):
        thing = Thing()
        ref = weakref.ref(thing)
        with pytest.raises(queue.Full):
            refused(thing)
        del thing
        gc.collect()
        assert ref() is None


def test_coalesced_queue_answers_false(kw, full):
    assert full.queue(full.pending) is False
    assert full.queue_delayed(full.late, 0) is False
    assert full.queue(full.late) is False
    assert full.queue_many([full.pending, full.late]) == 0
    assert full.pending.coalesced == 2


def test_pending_work_may_be_modified(kw, full):
    assert full.mod_delayed(full.late, LONG / 2) is True
    assert full.late.remaining < LONG / 2 + 1
    assert full.mod_delayed(full.late, 0) is True
    with pytest.raises(queue.Full):
        full.submit(int)
    assert full.mod_delayed(full.late, LONG) is True


def test_queue_many_queues_up_to_the_limit_and_raises(kw):
    with kw.Worker(max_pending=5) as worker:
        gate = hold(kw, worker)
        ran, queued = [], []
        works = [kw.Work(ran.append, number) for number in range(9)]
        worker.on_queue = queued.append
        with pytest.raises(queue.Full):
            worker.queue_many(works)
        assert [work.pending for work in works] == [True] * 5 + [False] * 4
        assert queued == works[:5]
        with pytest.raises(queue.Full):
            worker.queue_many(works)
        gate.open()
        worker.flush()
        assert ran == list(range(5))
        assert worker.queue_many(works[5:]) == 4


@pytest.mark.parametrize("how", ["cancel", "cancel without wait", "disable", "run"])
def test_place_is_free_again(kw, full, how):
    if how == "cancel":
        assert full.pending.cancel() is True
    elif how == "cancel without wait":
        assert full.late.cancel(wait=False) is True
    elif how == "disable":
        assert full.late.disable() is True
    else:
        full.gate.open()
        full.pending.flush()
    assert full.queue(kw.Work(int)) is True
    if how != "run":
        with pytest.raises(queue.Full):
            full.queue(kw.Work(int))


def test_cancelled_call_gives_its_place_back(kw):
    with kw.Worker(max_pending=1) as worker:
        gate = hold(kw, worker)
        future = worker.submit(int)
        with pytest.raises(queue.Full):
            worker.submit(int)
        assert future.cancel()
        assert worker.queue(kw.Work(int)) is True
        gate.open()


def test_timer_that_runs_out_keeps_its_one_place(kw):
    with kw.Worker(start=False, max_pending=2) as worker:
        late = kw.DelayedWork(int)
        worker.queue_delayed(late, 0.001)
        worker.queue(kw.Work(int))
        for _ in range(2):
            with pytest.raises(queue.Full):
                worker.queue(kw.Work(int))
            wait_until(lambda: not late.remaining)
        ran = worker.run_pending()
        assert ran == 2
        assert worker.queue_many([kw.Work(int), kw.Work(int)]) == 2


def test_flush_that_cuts_a_timer_short_is_never_refused(kw, full):
    flusher = Background(full.late.flush)
    wait_until(lambda: full.stats()["delayed"] == 0)
    full.gate.open()
    flusher.result()


def test_next_tick_is_never_refused(kw):
    with kw.Worker(max_pending=1) as worker:
        gates = [Gate(), Gate()]
        turns = iter(gates)

        def tick():
            next(turns)()
            return kw.CANCEL if gates[1].runs else None

        worker.every(0.001, tick)
        for gate in gates:
            gate.wait_entered()
            with pytest.raises(queue.Full):  # its next tick has taken the place
                worker.queue(kw.Work(int))
            gate.open()
        worker.flush()
        wait_until(lambda: worker.stats()["delayed"] == 0)
        assert worker.queue(kw.Work(int)) is True


def test_callback_is_refused_as_others_are(kw):
    with kw.Worker(max_pending=1) as worker:
        told = []

        def body():
            told.append(worker.queue(work))
            try:
                worker.submit(int)
            except queue.Full:
                told.append("full")
            work.cancel()

        work = kw.Work(body)
        worker.queue(work)
        worker.flush()
        assert told == [True, "full"]


def test_limit_holds_without_a_thread(kw):
    with kw.Worker(start=False, max_pending=2) as worker:
        worker.submit(int)
        worker.queue(kw.Work(int))
        with pytest.raises(queue.Full):
            worker.submit(int)
        assert worker.run_pending() == 2
        worker.submit(int)


def test_limit_holds_for_a_frozen_worker(kw):
    with kw.Worker(max_pending=1) as worker:
        worker.freeze()
        worker.submit(int)
        with pytest.raises(queue.Full):
            worker.submit(int)
        worker.thaw()


def test_full_worker_is_flushed_frozen_and_destroyed_as_others(kw, full):
    with pytest.raises(TimeoutError):
        full.flush(timeout=0)
    full.gate.open()
    full.flush()
    full.freeze()
    full.thaw()
    full.destroy()
    assert not full.late.pending


def test_destroyed_and_drained_come_before_full(kw, full):
    drainer = Background(full.drain)

    def refused():
        try:
            full.submit(int)
        except queue.Full:
            return False
        except RuntimeError as error:
            return str(error) == "worker is being drained"

    wait_until(refused)
    with pytest.raises(TimeoutError):
        full.destroy(timeout=0)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        full.submit(int)
    full.gate.open()
    drainer.result()


def test_limit_is_never_exceeded(kw):
    """Many threads, each tries until its works are through; every callback looks at the list."""
    ran, pending = [], []

    def body(number):
        ran.append(number)
        pending.append(worker.stats()["pending"])

    def produce(base):
        for number in range(base, base + 150):
            while True:
                try:
                    worker.queue(kw.Work(body, number))
                except queue.Full:
                    worker.flush()
                else:
                    break

    with kw.Worker(max_pending=3) as worker:
        producers = [Background(produce, base) for base in range(0, 600, 150)]
        for producer in producers:
            producer.result()
        worker.flush()
    assert sorted(ran) == list(range(600))
    assert max(pending) <= 3


# -- map


def test_map_keeps_as_many_in_flight(kw):
    with kw.Worker(max_pending=3) as worker:
        gate = hold(kw, worker)
        taken = []
        results = worker.map(same, (taken.append(n) or n for n in range(100)))
        assert taken == [0, 1, 2]
        assert worker.stats()["pending"] == 3
        gate.open()
        assert list(results) == list(range(100))


def test_map_with_a_buffersize_beyond_the_limit(kw):
    with kw.Worker(max_pending=3) as worker:
        assert list(worker.map(same, range(100), buffersize=50)) == list(range(100))


def test_map_with_a_buffersize_below_the_limit(kw):
    with kw.Worker(max_pending=30) as worker:
        gate = hold(kw, worker)
        results = worker.map(same, itertools.count(), buffersize=2)
        assert worker.stats()["pending"] == 2
        gate.open()
        assert [next(results) for _ in range(50)] == list(range(50))
        results.close()


def test_map_in_chunks_under_a_limit(kw):
    with kw.Worker(max_pending=2) as worker:
        assert list(worker.map(same, range(100), chunksize=7)) == list(range(100))


def test_map_waits_for_its_own_when_others_have_filled_the_list(kw):
    with kw.Worker(max_pending=3) as worker:
        gate = hold(kw, worker)
        worker.queue_many([kw.Work(int), kw.Work(int)])
        mapping = Background(lambda: list(worker.map(same, range(20))))
        wait_until(lambda: worker.stats()["pending"] == 3)
        gate.open()
        assert mapping.result() == list(range(20))


def test_map_against_another_map(kw):
    """Each meets a list that the other has filled; the one with nothing in flight is told."""

    def run():
        while True:
            with contextlib.suppress(queue.Full):
                return list(worker.map(same, range(200)))

    with kw.Worker(max_pending=2) as worker:
        callers = [Background(run) for _ in range(2)]
        assert [caller.result() for caller in callers] == [list(range(200))] * 2


def test_map_with_none_of_its_own_in_flight_is_told(kw, full):
    with pytest.raises(queue.Full):
        list(full.map(same, range(3)))
    with pytest.raises(queue.Full):
        list(full.map(same, range(3), buffersize=1))


# -- call waits for room


def run_async(main):
    return asyncio.run(asyncio.wait_for(main, LIMIT))


async def turn(times=20):
    for _ in range(times):
        await asyncio.sleep(0)


def test_calls_wait_for_room_in_the_order_of_their_coming(kw, full):
    ran = []

    async def main():
        tasks = [asyncio.create_task(full.call(ran.append, number)) for number in range(20)]
        await turn()
        assert full.stats()["pending"] == 1
        assert not any(task.done() for task in tasks)
        full.gate.open()
        await asyncio.gather(*tasks)

    run_async(main())
    assert ran == list(range(20))


def test_call_that_waits_for_room_goes_on_when_another_is_cancelled(kw, full):
    async def main():
        task = asyncio.create_task(full.call(same, 7))
        await turn()
        full.late.cancel()
        while full.stats()["pending"] < 2:
            await asyncio.sleep(0.001)
        assert not task.done()
        full.gate.open()
        assert await task == 7

    run_async(main())


def test_cancelled_waiter_leaves_the_queue_to_the_others(kw, full):
    ran = []

    async def main():
        tasks = [asyncio.create_task(full.call(ran.append, number)) for number in range(4)]
        await turn()
        tasks[0].cancel()
        tasks[2].cancel()
        await turn()
        assert [task.cancelled() for task in tasks] == [True, False, True, False]
        full.gate.open()
        await asyncio.gather(tasks[1], tasks[3])

    run_async(main())
    assert ran == [1, 3]


def test_waiter_cancelled_when_room_was_given_to_it_passes_it_on(kw, full):
    """The place is free and the first in the row told, but its loop has not turned yet."""
    ran = []

    async def main():
        tasks = [asyncio.create_task(full.call(ran.append, number)) for number in range(3)]
        await turn()
        full.late.cancel()  # room for the first, which learns it when the loop turns
        tasks[0].cancel()
        while full.stats()["pending"] < 2:
            await asyncio.sleep(0.001)
        assert tasks[0].cancelled()
        full.gate.open()
        await asyncio.gather(*tasks[1:])

    run_async(main())
    assert ran == [1, 2]


def test_waiters_of_many_loops(kw, full):
    ran = []

    async def main(base):
        await asyncio.gather(*(full.call(ran.append, base + n) for n in range(50)))

    loops = [Background(run_async, main(base)) for base in range(0, 200, 50)]
    full.gate.open()
    for loop in loops:
        loop.result()
    assert sorted(ran) == list(range(200))
    for base in range(0, 200, 50):
        mine = [number for number in ran if base <= number < base + 50]
        assert mine == sorted(mine)


@pytest.mark.parametrize("how", ["destroy", "shutdown"])
def test_waiters_are_told_when_the_worker_is_destroyed(kw, full, how):
    async def main():
        tasks = [asyncio.create_task(full.call(int)) for _ in range(3)]
        await turn()
        if how == "destroy":
            with pytest.raises(TimeoutError):
                full.destroy(timeout=0)
        else:
            full.shutdown(wait=False, cancel_futures=True)
        for task in tasks:
            with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
                await task

    run_async(main())


def test_waiters_of_a_loop_that_is_gone_do_not_keep_the_room(kw, full):
    """Its tasks were cancelled with it; who comes later gets the places."""

    async def forsake():
        tasks = [asyncio.create_task(full.call(int)) for _ in range(3)]
        await turn()
        return tasks

    run_async(forsake())
    full.gate.open()

    async def main():
        return await asyncio.gather(*(full.call(same, number) for number in range(10)))

    assert run_async(main()) == list(range(10))


def test_call_with_room_does_not_wait(kw):
    async def main():
        with kw.Worker(max_pending=2) as worker:
            for number in range(20):
                assert await worker.call(same, number) == number

    run_async(main())


def test_calls_on_a_loop_that_serves_the_worker_itself(kw):
    """run_pending makes the room that the calls wait for."""

    async def main():
        with kw.Worker(start=False, max_pending=2) as worker:
            tasks = [asyncio.create_task(worker.call(same, number)) for number in range(10)]
            while not all(task.done() for task in tasks):
                worker.run_pending()
                await asyncio.sleep(0)
            return [task.result() for task in tasks]

    assert run_async(main()) == list(range(10))


def test_place_that_a_drain_refuses_goes_on_to_the_next(kw, full):
    def is_draining():
        try:
            full.queue(kw.Work(int))
        except RuntimeError:
            return True
        except queue.Full:
            return False

    async def main():
        calls = [asyncio.create_task(full.call(same, number)) for number in range(3)]
        await turn()
        drain = asyncio.create_task(asyncio.to_thread(full.drain))
        while not is_draining():
            await asyncio.sleep(0.001)
        full.gate.open()
        _, waiting = await asyncio.wait(calls, timeout=LIMIT)
        assert not waiting
        assert [str(call.exception()) for call in calls] == ["worker is being drained"] * 3
        last.open()
        await drain

    full.late.cancel()
    last = Gate()
    full.queue(kw.Work(last))
    asyncio.run(main())
    assert full.submit(same, 1).result(LIMIT) == 1


def test_tick_keeps_its_place_from_those_who_wait(kw):
    async def main():
        call = asyncio.create_task(worker.call(same, 5))
        for _ in range(3):
            await turn()
            while not worker.run_pending():
                await asyncio.sleep(0)
            await turn()
            assert not call.done()
            stats = worker.stats()
            assert stats["pending"] + stats["delayed"] == 1
        tick.cancel()
        await turn()
        assert worker.run_pending() == 1
        assert await asyncio.wait_for(call, LIMIT) == 5

    with kw.Worker(start=False, max_pending=1) as worker:
        tick = worker.every(0.001, int)
        asyncio.run(main())
