# SPDX-License-Identifier: GPL-2.0-only
"""Workers under an event loop: call, flushed, async with. Each test under asyncio and uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import gc
import logging
import os
import sys
import threading
import weakref

import pytest
from helpers import LIMIT, Background, Gate, hold, run_script

variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable", default="default")


class Thing:
    """Something whose end can be seen."""

    def __call__(self, *args, **kwargs):
        pass


def same(value):
    return value


def raising(error):
    raise error


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request):
    """Makes an event loop."""
    if request.param == "asyncio":
        return asyncio.new_event_loop
    return pytest.importorskip("uvloop", reason="uvloop is not installed").new_event_loop


@pytest.fixture
def run(loop_factory):
    """Runs a coroutine on a loop of its own; nothing may go wrong behind the scenes."""

    def run(main):
        trouble = []

        async def limited():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _loop, context: trouble.append(context))
            return await asyncio.wait_for(main, LIMIT)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            result = runner.run(limited())
        assert trouble == []
        return result

    return run


async def until(condition):
    """Turn the loop until *condition* holds."""
    while not condition():
        await asyncio.sleep(0.0005)


async def turn(times=20):
    for _ in range(times):
        await asyncio.sleep(0)


def gone(*refs):
    if any(ref() is not None for ref in refs):
        gc.collect()
    return [ref() for ref in refs] == [None] * len(refs)


def refuses(kw, worker):
    """Is the worker being destroyed?"""
    try:
        worker.queue(kw.Work(int))
    except RuntimeError:
        return True
    return False


# -- call


def test_call_gives_the_result(kw, worker, run):
    async def main():
        return await worker.call(
            lambda *args, **kwargs: (threading.get_ident(), args, kwargs), 1, self=2, fn=3
        )

    assert run(main()) == (worker.ident, (1,), {"self": 2, "fn": 3})


@pytest.mark.parametrize(
    "error", [ValueError("expected"), GeneratorExit(), asyncio.CancelledError()], ids=repr
)
def test_call_lets_the_exception_out(kw, worker, run, unraisable, error):
    async def main():
        with pytest.raises(type(error)) as info:
            await worker.call(raising, error)
        assert info.value is error
        assert info.traceback[-1].name == "raising"
        assert await worker.call(same, 7) == 7

    run(main())
    assert unraisable == []


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_call_lets_what_ends_a_program_out_where_it_is_awaited(kw, worker, run, unraisable, error):
    async def main():
        try:
            await worker.call(raising, error)
        except BaseException as raised:
            return raised

    assert run(main()) is error
    assert unraisable == []


def test_stop_iteration_becomes_a_runtime_error(kw, worker, run):
    error = StopIteration(7)

    async def main():
        with pytest.raises(RuntimeError, match=r"^coroutine raised StopIteration$") as info:
            await worker.call(raising, error)
        assert info.value.__cause__ is error
        with pytest.raises(RuntimeError, match="StopIteration"):
            await worker.call(next, iter(()))

    run(main())


def test_call_runs_in_a_copy_of_the_callers_context(kw, worker, run):
    def body():
        seen = variable.get()
        variable.set("changed in the call")
        return seen

    async def main():
        variable.set("caller")
        assert await worker.call(body) == "caller"
        assert variable.get() == "caller"
        assert await worker.call(body) == "caller"
        assert worker.submit(variable.get).result() == "default"

    run(main())


def test_call_copies_the_context_when_it_is_called(kw, worker, run):
    """Waiting on the list, it does not see what its caller has changed meanwhile."""

    async def main():
        gate = hold(kw, worker)
        variable.set("before")
        call = worker.call(variable.get)
        task = asyncio.create_task(call)
        await until(lambda: worker.stats()["pending"] == 1)
        variable.set("after")
        gate.open()
        assert await task == "before"

    run(main())


def test_call_is_no_work_before_it_is_awaited(kw, worker, run):
    async def main():
        call = worker.call(int)
        await turn()
        assert worker.stats()["queued"] == 0
        assert await call == 0

    run(main())


def test_call_of_what_cannot_be_called_fails_when_awaited(kw, worker, run):
    async def main():
        with pytest.raises(TypeError, match="not callable"):
            await worker.call(7)

    run(main())


def test_many_calls_at_once_and_in_order(kw, worker, run):
    ran = []

    async def main():
        return await asyncio.gather(
            *(worker.call(lambda n=n: ran.append(n) or n) for n in range(1000))
        )

    assert run(main()) == list(range(1000))
    assert ran == list(range(1000))


def test_calls_one_after_the_other(kw, worker, run):
    async def main():
        for number in range(300):
            assert await worker.call(same, number) == number

    run(main())


def test_call_from_many_loops(kw, worker, run):
    async def main(base):
        return await asyncio.gather(*(worker.call(same, base + n) for n in range(100)))

    callers = [Background(run, main(base)) for base in range(0, 400, 100)]
    for base, caller in zip(range(0, 400, 100), callers, strict=True):
        assert caller.result() == list(range(base, base + 100))


def test_cancelled_before_it_began_it_is_taken_off_the_list(kw, worker, run):
    ran = []

    async def main():
        gate = hold(kw, worker)
        thing = Thing()
        ref = weakref.ref(thing)
        task = asyncio.create_task(worker.call(ran.append, thing))
        del thing
        await until(lambda: worker.stats()["pending"] == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert worker.stats()["pending"] == 0
        del task
        await turn()
        gc.collect()
        assert ref() is None
        gate.open()
        await worker.flushed()

    run(main())
    assert ran == []


def test_cancelled_while_it_runs_it_goes_on(kw, worker, run):
    async def main():
        gate = Gate()
        task = asyncio.create_task(worker.call(gate))
        await until(gate.entered.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.runs == 0
        assert worker.current_work is not None
        gate.open()
        await worker.flushed()
        assert gate.runs == 1
        await turn()

    run(main())


def test_failure_of_a_call_that_was_cancelled_while_it_ran_is_told_to_nobody(
    kw, worker, run, unraisable, caplog
):
    async def main():
        gate = Gate()
        task = asyncio.create_task(worker.call(lambda: (gate(), raising(LookupError()))))
        await until(gate.entered.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        await worker.flushed()
        await turn()
        gc.collect()

    run(main())
    assert unraisable == []
    assert caplog.records == []


@pytest.mark.parametrize("when", ["pending", "executing"])
def test_call_out_of_time(kw, worker, run, when):
    async def main():
        gate = hold(kw, worker)
        later = Gate()
        if when == "executing":
            gate.open()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(worker.call(later), 0.005)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await worker.call(int)
        later.open()
        gate.open()
        assert await worker.call(same, 7) == 7

    run(main())


def test_calls_of_a_task_group(kw, worker, run):
    async def main():
        gate = hold(kw, worker)
        gates = [Gate() for _ in range(3)]

        async def group_of_calls():
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.call(raising, LookupError("expected")))
                others.extend(group.create_task(worker.call(other)) for other in gates)
                await turn()
                gate.open()

        others = []
        with pytest.raises(BaseExceptionGroup) as info:
            await group_of_calls()
        assert [type(error) for error in info.value.exceptions] == [LookupError]
        assert [other.cancelled() for other in others] == [True] * 3
        for other in gates:  # one of them may have begun
            other.open()

    run(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("when", ["pending", "executing"])
def test_loop_closed_meanwhile_is_reported_by_nobody(
    kw, worker, loop_factory, unraisable, caplog, when
):
    gate = hold(kw, worker)
    ran = []
    later = Gate()
    loop = loop_factory()
    started = threading.Event()

    def body():
        started.set()
        later()
        ran.append(1)

    task = loop.create_task(worker.call(body))
    for _ in range(5):
        loop.run_until_complete(asyncio.sleep(0))
    assert worker.stats()["pending"] == 1
    if when == "executing":
        gate.open()
        assert started.wait(LIMIT)
    loop.close()
    later.open()
    gate.open()
    worker.flush()
    assert worker.submit(same, 7).result() == 7
    assert ran == [1]
    told = [record for record in caplog.records if record.name != "asyncio"]
    assert told == []
    assert unraisable == []
    # The task will never end; it says so when it goes, which is nothing of the worker's.
    task._log_destroy_pending = False
    with contextlib.suppress(RuntimeError):
        task.get_coro().close()


def test_call_is_refused_by_a_destroyed_worker(kw, run):
    async def main():
        worker = kw.Worker()
        worker.destroy()
        with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
            await worker.call(int)

    run(main())


def test_call_of_a_worker_destroyed_without_a_thread_is_cancelled(kw, run):
    async def main():
        worker = kw.Worker(start=False)
        task = asyncio.create_task(worker.call(int))
        await until(lambda: worker.stats()["pending"] == 1)
        worker.destroy()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_call_is_let_go_of_after_its_end(kw, worker, run):
    async def main():
        for _ in range(15):
            fn, argument = Thing(), Thing()
            refs = [weakref.ref(fn), weakref.ref(argument)]
            await worker.call(fn, argument)
            del fn, argument
            await turn(2)
            refs.append(weakref.ref(await worker.call(Thing)))
            await turn(2)
            worker.flush()
            assert gone(*refs)

    run(main())


def test_context_of_a_call_is_let_go_of_after_its_end(kw, worker, run):
    async def inner(things):
        variable.set(things.pop())
        await worker.call(int)

    async def main():
        things = [Thing()]
        ref = weakref.ref(things[0])
        await asyncio.create_task(inner(things))
        await turn()
        worker.flush()
        gc.collect()
        assert ref() is None

    run(main())


def test_hooks_and_stats_know_awaited_calls(kw, worker, run):
    seen = []

    async def main():
        worker.on_start = seen.append
        await worker.call(same, 7)

    run(main())
    (work,) = seen
    assert isinstance(work, kw.Work)
    assert worker.stats()["executed"] == 1


# -- flushed


@pytest.mark.parametrize("whose", ["work", "worker"])
def test_flushed_of_what_is_idle_returns_at_once(kw, worker, run, whose):
    async def main():
        work = kw.Work(int)
        for _ in range(3):
            flushed = (work if whose == "work" else worker).flushed()
            with pytest.raises(StopIteration):  # it never gave the loop a turn
                flushed.send(None)
            worker.queue(work)
            worker.flush()

    run(main())


@pytest.mark.parametrize("whose", ["work", "worker"])
@pytest.mark.parametrize("state", ["pending", "executing"])
def test_flushed_waits(kw, worker, run, whose, state):
    async def main():
        gate = hold(kw, worker)
        last = Gate()
        work = kw.Work(last)
        worker.queue(work)
        if state == "executing":
            gate.open()
            await until(last.entered.is_set)
        else:
            last.open()
        task = asyncio.create_task((work if whose == "work" else worker).flushed())
        await turn()
        assert not task.done()
        gate.open()
        last.open()
        assert await task is None
        assert last.runs == 1
        assert not work.pending
        assert not work.executing

    run(main())


def test_flushed_of_a_work_does_not_wait_for_those_behind(kw, worker, run):
    async def main():
        gate, behind = hold(kw, worker), Gate()
        work = kw.Work(int)
        worker.queue_many([work, kw.Work(behind)])
        task = asyncio.create_task(work.flushed())
        await turn()
        gate.open()
        await task
        assert behind.runs == 0
        behind.open()

    run(main())


def test_flushed_of_a_work_queued_again_while_it_runs_waits_for_both(kw, worker, run):
    async def main():
        gates = [Gate(), Gate()]
        turns = iter(gates)
        work = kw.Work(lambda: next(turns)())
        worker.queue(work)
        await until(gates[0].entered.is_set)
        assert worker.queue(work) is True
        task = asyncio.create_task(work.flushed())
        await turn()
        gates[0].open()
        await until(gates[1].entered.is_set)
        await turn()
        assert not task.done()
        gates[1].open()
        await task
        assert gates[1].runs == 1

    run(main())


@pytest.mark.parametrize("whose", ["work", "worker"])
def test_flushed_does_not_wait_for_a_later_queueing(kw, worker, run, whose):
    async def main():
        gates = [Gate(), Gate()]
        turns = iter(gates)

        def body():
            next(turns)()
            if turns.__length_hint__():
                worker.queue(work)

        work = kw.Work(body)
        worker.queue(work)
        await until(gates[0].entered.is_set)
        task = asyncio.create_task((work if whose == "work" else worker).flushed())
        await turn()
        gates[0].open()
        await task
        gates[1].open()
        worker.flush()
        assert gates[1].runs == 1

    run(main())


def test_flushed_of_a_work_that_requeues_itself_for_ever(kw, worker, run):
    async def main():
        go_on = True

        def body():
            if go_on:
                worker.queue(work)

        work = kw.Work(body)
        worker.queue(work)
        for _ in range(20):
            await work.flushed()
            await worker.flushed()
        go_on = False
        await until(lambda: not work.pending and not work.executing)

    run(main())


def test_flushed_cuts_a_timer_short(kw, worker, run):
    async def main():
        ran = []
        late = kw.DelayedWork(ran.append, 1)
        worker.queue_delayed(late, 1000)
        await worker.flushed()
        assert late.remaining > 900
        await late.flushed()
        assert ran == [1]
        assert not late.pending

    run(main())


def test_flushed_of_a_periodic_work_has_the_tick_run_now(kw, worker, run):
    async def main():
        ran = []
        beat = worker.every(1000, ran.append, 1)
        await beat.flushed()
        await beat.flushed()
        assert ran == [1, 1]
        assert beat.cancel()
        await beat.flushed()

    run(main())


@pytest.mark.parametrize("how", ["cancel", "disable"])
def test_flushed_of_a_cancelled_run_returns(kw, worker, run, how):
    async def main():
        gate = hold(kw, worker)
        ran = []
        work = kw.Work(ran.append, 1)
        worker.queue(work)
        tasks = [asyncio.create_task(work.flushed()) for _ in range(3)]
        await turn()
        assert not any(task.done() for task in tasks)
        assert getattr(work, how)() is True
        await asyncio.gather(*tasks)
        assert ran == []
        assert not gate.runs
        gate.open()

    run(main())


def test_flushed_of_a_worker_whose_pending_works_are_cancelled_returns(kw, run):
    async def main():
        with kw.Worker(start=False) as worker:
            work = kw.Work(int)
            worker.queue(work)
            task = asyncio.create_task(worker.flushed())
            await turn()
            assert not task.done()
            work.cancel()
            await task

    run(main())


@pytest.mark.parametrize("whose", ["work", "worker"])
def test_flushed_returns_when_the_worker_is_destroyed_without_a_thread(kw, run, whose):
    async def main():
        worker = kw.Worker(start=False)
        work = kw.Work(int)
        worker.queue(work)
        task = asyncio.create_task((work if whose == "work" else worker).flushed())
        await turn()
        assert not task.done()
        worker.destroy()
        await task
        assert not work.pending
        await work.flushed()
        await worker.flushed()

    run(main())


@pytest.mark.parametrize("whose", ["work", "worker"])
def test_flushed_of_a_frozen_worker(kw, worker, run, whose):
    async def main():
        done, work = kw.Work(int), kw.Work(int)
        worker.queue(done)
        worker.flush()
        worker.freeze()
        await done.flushed()
        await worker.flushed()
        worker.queue(work)
        task = asyncio.create_task((work if whose == "work" else worker).flushed())
        await turn()
        assert not task.done()
        worker.thaw()
        await task

    run(main())


@pytest.mark.parametrize("whose", ["work", "worker"])
def test_cancelled_flushed_changes_nothing_else(kw, worker, run, whose):
    async def main():
        gate = hold(kw, worker)
        ran = []
        work = kw.Work(ran.append, 1)
        worker.queue(work)
        flushed = work.flushed if whose == "work" else worker.flushed
        task, other = asyncio.create_task(flushed()), asyncio.create_task(flushed())
        await turn()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.pending
        assert worker.stats()["cancelled"] == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flushed(), 0.002)
        gate.open()
        await other
        assert ran == [1]

    run(main())


def test_flushed_of_a_work_that_raised_returns(kw, worker, run, unraisable):
    async def main():
        work = kw.Work(raising, LookupError("expected"))
        worker.queue(work)
        await work.flushed()
        assert len(unraisable) == 1

    run(main())


def test_flushed_of_a_native_work(kw, worker, run):
    got = []
    native = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(got.append)

    async def main():
        gate = hold(kw, worker)
        work = kw.NativeWork(native)
        worker.queue(work)
        task = asyncio.create_task(work.flushed())
        await turn()
        assert not task.done()
        gate.open()
        await task
        assert got == [None]

    run(main())


def test_many_wait_for_one_flush(kw, worker, run):
    async def main():
        gate = hold(kw, worker)
        work = kw.Work(int)
        worker.queue(work)
        tasks = [asyncio.create_task(work.flushed()) for _ in range(50)]
        tasks += [asyncio.create_task(worker.flushed()) for _ in range(50)]
        flusher = Background(work.flush)
        await turn()
        gate.open()
        await asyncio.gather(*tasks)
        flusher.result()

    run(main())


def test_flushed_against_the_end_of_the_run(kw, worker, run):
    """Begun at any moment of it, none is lost."""

    async def main():
        ran = []
        work = kw.Work(ran.append, 1)
        for count in range(1, 500):
            worker.queue(work)
            await (work if count % 2 else worker).flushed()
            assert len(ran) == count

    run(main())


def test_flushed_sees_no_deadlock_where_nobody_blocks(kw, worker, run):
    """A loop that runs inside a callback may await its own worker, and give up in time."""

    def body():
        async def main():
            work = kw.Work(int)
            worker.queue(work)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(work.flushed(), 0.002)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(worker.flushed(), 0.002)

        run(main())

    assert worker.submit(body).result() is None


@pytest.mark.parametrize("whose", ["work", "worker"])
def test_flushed_on_a_loop_that_is_closed_is_reported_by_nobody(
    kw, worker, loop_factory, unraisable, caplog, whose
):
    gate = hold(kw, worker)
    work = kw.Work(int)
    worker.queue(work)
    loop = loop_factory()
    task = loop.create_task((work if whose == "work" else worker).flushed())
    for _ in range(5):
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    gate.open()
    worker.flush()
    assert worker.submit(same, 7).result() == 7
    assert [record for record in caplog.records if record.name != "asyncio"] == []
    assert unraisable == []
    task._log_destroy_pending = False
    with contextlib.suppress(RuntimeError):
        task.get_coro().close()


def test_work_is_let_go_of_after_its_flush(kw, worker, run):
    async def main():
        for _ in range(15):
            gate = hold(kw, worker)
            work = kw.Work(Thing())
            refs = [weakref.ref(work), weakref.ref(work.fn)]
            worker.queue(work)
            task = asyncio.create_task(work.flushed())
            await turn(2)
            gate.open()
            await task
            del work, task
            assert gone(*refs)

    run(main())


# -- no stall, no helpers


def test_loop_goes_on_while_the_worker_is_held_and_no_thread_helps(kw, worker, run):
    async def main():
        gate = hold(kw, worker)
        work = kw.Work(int)
        worker.queue(work)
        threads = threading.enumerate()
        tasks = [
            asyncio.create_task(coroutine)
            for coroutine in (worker.call(int), work.flushed(), worker.flushed())
        ]
        turns = 0
        for _ in range(100):
            await asyncio.sleep(0)
            turns += 1
        assert turns == 100
        assert not any(task.done() for task in tasks)
        assert threading.enumerate() == threads
        gate.open()
        await asyncio.gather(*tasks)
        assert threading.enumerate() == threads

    run(main())


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts its turns."""

    turns = 0

    def _run_once(self):
        self.turns += 1
        super()._run_once()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="looks inside the loop")
def test_nothing_polls(kw, worker):
    """While it waits the loop does not turn at all."""

    async def main():
        loop = asyncio.get_running_loop()
        gate = hold(kw, worker)
        work = kw.Work(int)
        worker.queue(work)
        tasks = [
            asyncio.create_task(coroutine)
            for coroutine in (worker.call(int), work.flushed(), worker.flushed())
        ]
        await turn()
        turned = asyncio.Event()
        timer = threading.Timer(0.05, loop.call_soon_threadsafe, [turned.set])
        before = loop.turns
        timer.start()
        await turned.wait()
        assert loop.turns - before <= 5
        timer.join()
        gate.open()
        await asyncio.gather(*tasks)

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(asyncio.wait_for(main(), LIMIT))


def test_asyncio_is_imported_only_when_used(kw):
    result = run_script(
        kw,
        """
        with kw.Worker() as worker:
            print(worker.submit(lambda: 7).result(), list(worker.map(int, range(2))))
            work = kw.Work(int)
            worker.queue(work)
            work.flush()
        print("asyncio" in sys.modules)
        """,
    )
    assert result.stdout == "7 [0, 1]\nFalse\n", result.stderr


# -- async with


def test_async_with_destroys_at_its_end(kw, run):
    async def main():
        ran = []
        async with kw.Worker("aio") as worker:
            assert worker.name == "aio"
            thread = await worker.call(threading.current_thread)
            worker.queue(kw.Work(ran.append, 1))
            future = worker.submit(ran.append, 2)
        assert ran == [1, 2]
        assert future.done()
        assert not worker.is_alive()
        assert not thread.is_alive()
        assert "destroyed" in repr(worker)
        worker.destroy()

    run(main())


def test_async_with_lets_the_loop_turn_while_the_thread_ends(kw, run):
    async def main():
        gate = Gate()
        workers = []

        async def body():
            async with kw.Worker() as worker:
                workers.append(worker)
                worker.submit(gate)
                await until(gate.entered.is_set)

        task = asyncio.create_task(body())
        await until(gate.entered.is_set)
        await until(lambda: refuses(kw, workers[0]))
        threads = threading.enumerate()
        await turn(100)
        assert not task.done()
        assert threading.enumerate() == threads
        assert workers[0].is_alive()
        gate.open()
        await task
        assert not workers[0].is_alive()

    run(main())


def test_async_with_lets_exceptions_out(kw, run):
    async def main():
        with pytest.raises(LookupError):
            async with kw.Worker() as worker:
                raise LookupError("expected")
        assert not worker.is_alive()

    run(main())


def test_async_with_of_a_cancelled_body(kw, run):
    async def main():
        ran = []
        workers = []

        async def body():
            async with kw.Worker() as worker:
                workers.append(worker)
                worker.queue(kw.Work(ran.append, 1))
                await asyncio.Event().wait()

        task = asyncio.create_task(body())
        await until(lambda: workers)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ran == [1]
        assert not workers[0].is_alive()

    run(main())


def test_async_with_cancelled_in_its_end_leaves_the_worker_refusing(kw, run):
    """The wait is given up, as that of destroy by Ctrl-C; the thread ends by itself."""

    async def main():
        gate = Gate()
        workers = []

        async def body():
            async with kw.Worker() as worker:
                workers.append(worker)
                worker.submit(gate)
                future.append(worker.submit(same, 7))
                await until(gate.entered.is_set)
            raise AssertionError("the thread cannot have left")

        future = []
        task = asyncio.create_task(body())

        await until(gate.entered.is_set)
        await until(lambda: refuses(kw, workers[0]))
        await turn()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        assert await asyncio.wrap_future(future[0]) == 7
        workers[0].destroy()
        assert not workers[0].is_alive()

    run(main())


def test_async_with_of_a_worker_without_a_thread(kw, run):
    async def main():
        async with kw.Worker(start=False) as worker:
            future, work = worker.submit(int), kw.Work(int)
            worker.queue(work)
        assert future.cancelled()
        assert not work.pending
        assert "destroyed" in repr(worker)

    run(main())


def test_async_with_of_a_worker_that_was_destroyed_inside(kw, run):
    async def main():
        async with kw.Worker() as worker:
            worker.destroy()

    run(main())


def test_async_with_of_a_frozen_worker_thaws_it(kw, run):
    async def main():
        async with kw.Worker() as worker:
            worker.freeze()
            future = worker.submit(same, 7)
        assert future.result(0) == 7

    run(main())


def test_async_with_cancels_delayed_works(kw, run):
    async def main():
        async with kw.Worker() as worker:
            late = kw.DelayedWork(int)
            worker.queue_delayed(late, 1000)
        assert not late.pending

    run(main())


def test_async_with_leaves_nothing_behind(kw, run):
    async def main():
        for _ in range(10):
            async with kw.Worker() as worker:
                await worker.call(int)
                ref = weakref.ref(worker)
            del worker
            assert gone(ref)

    run(main())


def test_async_with_of_a_worker_that_another_thread_serves(kw, run):
    async def main():
        async with kw.Worker(start=False) as worker:
            server = Background(worker.run)
            assert await worker.call(same, 7) == 7
        server.result()

    run(main())


# -- the loop itself as the one thread


@pytest.mark.skipif(sys.platform != "linux", reason="fileno() is for Linux")
def test_loop_serves_a_worker_itself(kw, run):
    async def main():
        loop = asyncio.get_running_loop()
        worker = kw.Worker("gui", start=False)
        loop.add_reader(worker.fileno(), worker.run_pending)
        try:
            me = threading.get_ident()
            assert await worker.call(threading.get_ident) == me
            ran = []
            work, late = kw.Work(ran.append, 1), kw.DelayedWork(ran.append, 2)
            worker.queue(work)
            await work.flushed()
            worker.queue_delayed(late, 0.001)
            await until(lambda: not late.pending)
            worker.queue_delayed(late, 1000)
            await late.flushed()
            assert ran == [1, 2, 2]
            worker.queue_many(kw.Work(ran.append, number) for number in range(3, 20))
            await worker.flushed()
            assert ran == [1, 2, *range(2, 20)]
            assert await asyncio.gather(*(worker.call(same, n) for n in range(100))) == list(
                range(100)
            )
            outside = Background(lambda: worker.submit(threading.get_ident).result())
            await until(lambda: not outside._thread.is_alive())
            assert outside.result() == me
            with pytest.raises(LookupError):
                await worker.call(raising, LookupError("expected"))
            task = asyncio.create_task(worker.call(int))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            loop.remove_reader(worker.fileno())
            worker.destroy()

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="fileno() is for Linux")
def test_future_of_a_callback_of_the_loops_own_worker(kw, run):
    """A result that is asked for without await, on the one thread that could make it, is a
    wait for oneself only inside a callback."""

    async def main():
        loop = asyncio.get_running_loop()
        with kw.Worker(start=False) as worker:
            loop.add_reader(worker.fileno(), worker.run_pending)

            def body():
                with pytest.raises(kw.DeadlockError):
                    worker.submit(int).result()
                return 7

            assert await worker.call(body) == 7
            loop.remove_reader(worker.fileno())

    run(main())


# -- trouble


def test_call_of_a_worker_whose_initializer_failed(kw, run, caplog):
    from concurrent.futures.thread import BrokenThreadPool

    async def main():
        worker = kw.Worker(start=False, initializer=lambda: 1 // 0)
        task = asyncio.create_task(worker.call(int))
        await until(lambda: worker.stats()["pending"] == 1)
        with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
            worker.start()
            with pytest.raises(BrokenThreadPool):
                await task
            with pytest.raises(BrokenThreadPool):
                await worker.call(int)
            async with worker:
                pass

    run(main())


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_worker_dropped_while_a_call_waits_still_answers(kw, run):
    async def main():
        worker = kw.Worker()
        gate = hold(kw, worker)
        work = kw.Work(int)
        worker.queue(work)
        task = asyncio.create_task(work.flushed())
        wrapped = asyncio.wrap_future(worker.submit(same, 7))
        await turn()
        del worker
        gc.collect()
        gate.open()
        await task
        assert await wrapped == 7

    run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_awaiting_a_worker_left_behind_by_fork_is_refused(kw):
    result = run_script(
        kw,
        """
        import asyncio
        worker = kw.Worker()
        gate, entered = threading.Event(), threading.Event()
        pending = kw.Work(int)
        worker.queue_many([kw.Work(lambda: (entered.set(), gate.wait())), pending])
        entered.wait()
        async def main():
            for begin in (lambda: worker.call(int), pending.flushed, worker.flushed):
                try:
                    print(await begin())
                except RuntimeError as error:
                    print(error)
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(asyncio.wait_for(main(), 20))
                sys.stdout.flush()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        gate.set()
        worker.destroy()
        """,
        "-W",
        "ignore::DeprecationWarning",
    )
    assert result.stderr == ""
    assert (
        result.stdout.splitlines()
        == ["this worker was left behind in the parent process by fork"] * 3
    )


def test_exit_while_a_loop_of_another_thread_waits(kw):
    """The interpreter's exit does not hang, and the awaiting thread is told in the end."""
    result = run_script(
        kw,
        """
        import asyncio
        worker = kw.Worker()
        entered = threading.Event()
        def body():
            entered.set()
            while not kw.should_stop():
                time.sleep(0.001)
            return 7
        async def main():
            print(await worker.call(body))
        threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
        entered.wait()
        """,
    )
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout in ("7\n", "7", "")
