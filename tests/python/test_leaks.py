# SPDX-License-Identifier: GPL-2.0-only
"""Nothing is left of any call: a leak test for every public name, and cycles of all kinds.

Each entry of the table uses one name. It is run so often, and then twice as often; what grows
with the number of runs - objects, blocks of memory, threads, descriptors - has leaked. So have
references to what lives for ever; where there are fewer of them, one was given back twice.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import ctypes
import gc
import io
import logging
import os
import queue
import sys
import threading
import warnings
import weakref
from collections import Counter

import pytest
from helpers import LIMIT, Background, Gate, hold, public_members, wait_until

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="counts objects and blocks"
)

RUNS = 16
ATTEMPTS = 6  # each with twice as many runs: what grows by chance, or for a while, ends
LONG = 1000.0
CONSTANTS = {"CANCEL", "backend", "__version__", "lib", "ffi"}
WORKS = ["Work", "BoundWork", "DelayedWork", "PeriodicWork", "NativeWork"]
Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Thing:
    """A callable and an argument, of a type that nothing else has."""

    def __call__(self, *args, **kwargs):
        return Thing()


class Env:
    """What the entries use: made once, so that it is there before and after."""

    def __init__(self, kw):
        self.kw = kw
        self.worker = kw.Worker("leaks", on_error=lambda *_: None)
        self.idle = kw.Worker("idle", start=False)
        self.native = Callback(lambda _: None)
        self.number = (ctypes.c_long * 1)(7)
        self.context = contextvars.copy_context()
        self.loop = asyncio.new_event_loop()
        self.watched = {name: getattr(kw, name) for name in ("Worker", "Future", *WORKS)}
        if sys.version_info < (3, 12):  # since then they are not counted
            self.watched.update((repr(thing), thing) for thing in (None, True, False, ()))

    def close(self):
        self.loop.close()
        self.idle.destroy()
        self.worker.destroy()

    def run(self, main):
        return self.loop.run_until_complete(asyncio.wait_for(main, LIMIT))

    def on_worker(self, fn, *args):
        """Call it on the worker's thread, without a future."""
        work = self.kw.Work(fn, *args)
        self.worker.queue(work)
        work.flush()

    def make(self, kind):
        """A new, idle work."""
        if kind == "BoundWork":
            return self.worker.work(Thing())
        if kind == "PeriodicWork":
            work = self.worker.every(LONG, Thing(), Thing(), keyword=Thing())
            work.cancel()
            return work
        if kind == "NativeWork":
            return self.kw.NativeWork(self.native, self.number)
        return getattr(self.kw, kind)(Thing(), Thing(), keyword=Thing(), context=self.context)


ENTRIES = {}


def entry(*names):
    """The name that the function below uses; what follows a comma tells several apart."""

    def enter(fn):
        for name in names:
            assert name not in ENTRIES
            ENTRIES[name] = fn
        return fn

    return enter


def covered(name):
    return any(key.partition(",")[0] == name for key in ENTRIES)


def refused(error, fn, *args, **kwargs):
    """Call what has to raise; nothing of it is kept."""
    try:
        fn(*args, **kwargs)
    except error:
        return
    raise AssertionError("it was not refused")


def fail(*_):
    raise LookupError("expected")


# -- module


@entry("current_work")
def _(env):
    env.kw.current_work()
    env.on_worker(env.kw.current_work)


@entry("should_stop")
def _(env):
    refused(RuntimeError, env.kw.should_stop)
    env.on_worker(env.kw.should_stop)


@entry("trace")
def _(env):
    file = io.StringIO()
    with env.kw.trace(file, limit=100):
        env.on_worker(Thing())
        refused(RuntimeError, env.kw.trace(file).__enter__)
    assert "Thing" in file.getvalue()
    refused(OSError, env.kw.trace("/nonexistent/file").__enter__)
    refused(TypeError, env.kw.trace, None)
    refused(ValueError, env.kw.trace, file, limit=0)


@entry("get_include")
def _(env):
    getattr(env.kw, "get_include", int)()


@entry("get_sources")
def _(env):
    getattr(env.kw, "get_sources", int)()


@entry("get_ffibuilder")
def _(env):
    getattr(env.kw, "get_ffibuilder", int)()


@entry("worker_pointer")
def _(env):
    getattr(env.kw, "worker_pointer", id)(env.worker)


@entry("Fifo", "RoundRobin", "Deadline", "Other", "Batch", "Idle")
def _(env):
    kw = env.kw
    with kw.Worker(scheduler=kw.Other(nice=19), stack_size=1 << 20) as worker:
        assert worker.scheduler == kw.Other(nice=19)
    refused(ValueError, kw.Fifo, 0)
    refused(ValueError, kw.Deadline, 2, 1)
    repr((kw.Fifo(1), kw.RoundRobin(1), kw.Deadline(1, 2), kw.Batch(), kw.Idle()))
    refused(OSError, kw.Worker, cgroup="/nonexistent", scheduler=kw.Idle())


@entry("Worker.scheduler", "Worker.cpus", "Worker.cgroup")
def _(env):
    if sys.platform == "linux":
        env.worker.scheduler = env.kw.Other(env.worker.scheduler.nice)
        env.worker.cpus = env.worker.cpus
        assert env.worker.cgroup != ""
        refused(OSError, setattr, env.worker, "cgroup", "/nonexistent")
    refused(TypeError, setattr, env.worker, "scheduler", 7)
    refused(ValueError, setattr, env.worker, "cpus", "x")


@entry("lock_memory")
def _(env):
    # Locked, the interpreter's memory would be so for the tests to come.
    if hasattr(os, "fork"):
        child = os.fork()
        if not child:
            with contextlib.suppress(OSError):
                env.kw.lock_memory()
            os._exit(0)
        os.waitpid(child, 0)


@entry("DeadlockError")
def _(env):
    env.on_worker(lambda: refused(env.kw.DeadlockError, env.worker.flush))
    env.on_worker(lambda: refused(env.kw.DeadlockError, env.worker.destroy))
    env.on_worker(lambda: refused(env.kw.DeadlockError, env.worker.submit(int).result))
    env.worker.flush()


# -- works


@entry("Work")
def _(env):
    repr(env.kw.Work(Thing(), Thing(), keyword=Thing(), context=env.context))
    refused(TypeError, env.kw.Work, 7)
    refused(TypeError, lambda: env.kw.Work(Thing(), context=7))


@entry("BoundWork")
def _(env):
    repr(env.worker.work(Thing())(Thing()))


@entry("BoundWork.worker")
def _(env):
    assert env.worker.work(Thing()).worker is env.worker


@entry("BoundWork.queue")
def _(env):
    work = env.worker.work(Thing())
    work.queue()
    work.flush()


@entry("DelayedWork")
def _(env):
    repr(env.kw.DelayedWork(Thing(), Thing(), keyword=Thing(), context=env.context))
    refused(TypeError, env.kw.DelayedWork, 7)


@entry("PeriodicWork")
def _(env):
    repr(env.make("PeriodicWork"))


@entry("NativeWork")
def _(env):
    for data in (None, 7, env.number, ctypes.pointer(ctypes.c_long(7))):
        repr(env.kw.NativeWork(env.native, data))
    refused(TypeError, env.kw.NativeWork, Thing())
    refused(TypeError, env.kw.NativeWork, env.native, Thing())


@entry("NativeWork.address", "NativeWork.data")
def _(env):
    work = env.kw.NativeWork(env.native, env.number)
    assert work.address
    assert work.data is env.number


@entry("DelayedWork.remaining", "PeriodicWork.remaining", "NativeWork.remaining")
def _(env):
    for kind in ("DelayedWork", "PeriodicWork", "NativeWork"):
        work = env.make(kind)
        assert work.remaining is None
        env.idle.queue_delayed(work, LONG)
        assert work.remaining > 0
        work.cancel()


@entry("PeriodicWork.interval", "PeriodicWork.missed")
def _(env):
    work = env.make("PeriodicWork")
    assert (work.interval, work.missed) == (LONG, 0)


def look(env, work, name):
    """At a property, in every state of the work that needs no waiting."""
    getattr(work, name)
    env.idle.queue(work)
    env.idle.queue(work)
    getattr(work, name)
    env.idle.run_pending()
    getattr(work, name)


def work_flush(env, work):
    work.flush()
    env.worker.queue(work)
    work.flush()
    if isinstance(work, env.kw.DelayedWork):
        env.worker.queue_delayed(work, LONG)
        work.flush()
    env.idle.queue(work)
    refused(TimeoutError, work.flush, 0)
    refused(ValueError, work.flush, -1)
    work.cancel()


def work_flushed(env, work):
    async def main():
        await work.flushed()
        env.worker.queue(work)
        await work.flushed()
        env.idle.queue(work)
        task = asyncio.create_task(work.flushed())
        cancelled = asyncio.create_task(work.flushed())
        await asyncio.sleep(0)
        cancelled.cancel()
        env.idle.run_pending()
        await task
        with contextlib.suppress(asyncio.CancelledError):
            await cancelled

    env.run(main())


def work_cancel(env, work):
    work.cancel()
    for wait in (True, False):
        env.idle.queue(work)
        assert work.cancel(wait=wait) is True
    if isinstance(work, env.kw.DelayedWork):
        env.idle.queue_delayed(work, LONG)
        assert work.cancel() is True
    env.worker.queue(work)
    work.cancel()


def work_disable(env, work):
    env.idle.queue(work)
    work.disable()
    env.idle.queue(work)
    work.enable()
    refused(RuntimeError, work.enable)


WORK_MEMBERS = {
    "flush": work_flush,
    "flushed": work_flushed,
    "cancel": work_cancel,
    "disable": work_disable,
    "enable": work_disable,
}
PROPERTIES = ["fn", "args", "kwargs", "context", "pending", "executing", "coalesced", "disabled"]


def enter_works():
    for kind in WORKS:
        for name in PROPERTIES:
            entry(f"{kind}.{name}")(
                lambda env, kind=kind, name=name: look(env, env.make(kind), name)
            )
        for name, fn in WORK_MEMBERS.items():
            entry(f"{kind}.{name}")(lambda env, kind=kind, fn=fn: fn(env, env.make(kind)))


enter_works()


# -- futures


@entry("Future")
def _(env):
    repr(env.worker.submit(Thing(), Thing(), keyword=Thing()))
    env.worker.flush()


@entry("Future.result", "Future.exception")
def _(env):
    for fn in (Thing(), fail):
        future = env.worker.submit(fn, Thing())
        with contextlib.suppress(LookupError):
            future.result()
        future.exception()
    future = env.idle.submit(Thing())
    refused(TimeoutError, future.result, 0)
    refused(TimeoutError, future.exception, 0)
    env.idle.run_pending()
    future.result()


@entry("Future.result, that others wait for")
def _(env):
    future = env.idle.submit(Thing())
    waiters = [Background(future.result) for _ in range(2)]
    env.idle.run_pending()
    for waiter in waiters:
        waiter.result()


@entry("Future.cancel")
def _(env):
    future = env.idle.submit(Thing(), Thing())
    future.add_done_callback(Thing())
    assert future.cancel()
    assert future.cancel()
    refused(concurrent.futures.CancelledError, future.result)
    env.idle.submit(Thing()).cancel()
    future = env.worker.submit(Thing())
    future.cancel()
    env.worker.flush()


@entry("Future.cancelled", "Future.done", "Future.running")
def _(env):
    future = env.worker.submit(Thing())
    future.cancelled(), future.done(), future.running()
    future.result()
    future.cancelled(), future.done(), future.running()


@entry("Future.add_done_callback")
def _(env):
    future = env.idle.submit(Thing())
    future.add_done_callback(Thing())
    future.add_done_callback(lambda done: done.result())
    env.idle.run_pending()
    future.add_done_callback(Thing())


@entry("Future.set_result", "Future.set_exception", "Future.set_running_or_notify_cancel")
def _(env):
    future = env.worker.submit(Thing())
    future.result()
    refused(concurrent.futures.InvalidStateError, future.set_result, Thing())
    refused(concurrent.futures.InvalidStateError, future.set_exception, LookupError())
    refused(RuntimeError, future.set_running_or_notify_cancel)


@entry("Future, in wait and as_completed")
def _(env):
    futures = [env.idle.submit(Thing()) for _ in range(3)]
    futures[1].cancel()
    concurrent.futures.wait(futures, timeout=0)
    env.idle.run_pending()
    concurrent.futures.wait(futures, timeout=LIMIT)
    list(concurrent.futures.as_completed(futures, timeout=LIMIT))


# -- a worker's works


@entry("Worker.queue")
def _(env):
    work = env.kw.Work(Thing(), Thing(), keyword=Thing())
    env.worker.queue(work)
    env.worker.queue(work)
    refused(TypeError, env.worker.queue, Thing())
    env.worker.flush()
    env.worker.queue(env.kw.Work(fail))
    env.worker.flush()


@entry("Worker.queue, of works in a context")
def _(env):
    env.worker.queue(env.kw.Work(Thing(), context=contextvars.copy_context()))
    env.worker.queue(env.kw.Work(fail, context=contextvars.copy_context()))
    env.worker.flush()


@entry("Worker.queue, where it is pending elsewhere")
def _(env):
    work = env.kw.Work(Thing())
    env.idle.queue(work)
    refused(RuntimeError, env.worker.queue, work)
    work.cancel()


@entry("Worker.queue_many")
def _(env):
    env.worker.queue_many(env.kw.Work(Thing(), Thing()) for _ in range(5))
    refused(TypeError, env.worker.queue_many, [env.kw.Work(Thing()), Thing()])
    env.worker.flush()


@entry("Worker.queue_delayed")
def _(env):
    for delay in (0, 0.0001):
        work = env.kw.DelayedWork(Thing())
        env.worker.queue_delayed(work, delay)
        wait_until(lambda work=work: not work.pending)
    work = env.kw.DelayedWork(Thing())
    env.worker.queue_delayed(work, LONG)
    env.worker.queue_delayed(work, LONG)
    work.cancel()
    refused(ValueError, env.worker.queue_delayed, work, -1)
    env.worker.flush()


@entry("Worker.mod_delayed")
def _(env):
    work = env.kw.DelayedWork(Thing())
    for delay in (LONG, LONG / 2, 0, LONG):
        env.worker.mod_delayed(work, delay)
    work.cancel()
    refused(TypeError, env.worker.mod_delayed, Thing(), 0)


@entry("Worker.every")
def _(env):
    ended = threading.Event()

    def tick(_):
        ended.set()
        return env.kw.CANCEL

    env.worker.every(0.0001, tick, Thing())
    assert ended.wait(LIMIT)
    beat = env.worker.every(LONG, Thing(), context=contextvars.copy_context())
    beat.flush()
    beat.cancel()
    beat = env.worker.every(LONG, env.kw.NativeWork(env.native))
    beat.flush()
    beat.cancel()
    refused(TypeError, env.worker.every, LONG, 7)
    env.worker.flush()


@entry("Worker.work")
def _(env):
    env.worker.work(Thing())
    refused(TypeError, env.worker.work, 7)


@entry("Worker.flush")
def _(env):
    env.worker.flush()
    env.worker.queue(env.kw.Work(Thing()))
    env.worker.flush()
    env.idle.queue(env.kw.Work(Thing()))
    refused(TimeoutError, env.idle.flush, 0)
    env.idle.run_pending()


@entry("Worker.flushed")
def _(env):
    async def main():
        await env.worker.flushed()
        env.worker.queue(env.kw.Work(Thing()))
        await env.worker.flushed()
        env.idle.queue(env.kw.Work(Thing()))
        task = asyncio.create_task(env.idle.flushed())
        cancelled = asyncio.create_task(env.idle.flushed())
        await asyncio.sleep(0)
        cancelled.cancel()
        env.idle.run_pending()
        await task
        with contextlib.suppress(asyncio.CancelledError):
            await cancelled

    env.run(main())


@entry("Worker.drain")
def _(env):
    env.worker.queue(env.kw.Work(lambda: env.worker.queue(env.kw.Work(Thing()))))
    env.worker.drain()
    env.idle.queue(env.kw.Work(Thing()))
    refused(TimeoutError, env.idle.drain, 0)
    env.idle.run_pending()


@entry("Worker.submit")
def _(env):
    env.worker.submit(Thing(), Thing(), keyword=Thing()).result()
    env.worker.submit(fail, Thing())
    env.worker.submit(7)
    env.worker.flush()


@entry("Worker.map")
def _(env):
    for options in ({}, {"chunksize": 3}, {"buffersize": 2}, {"timeout": LIMIT}):
        for _ in env.worker.map(Thing(), [Thing() for _ in range(7)], **options):
            pass
    results = env.worker.map(Thing(), [Thing() for _ in range(7)])
    next(results)
    results.close()
    refused(LookupError, list, env.worker.map(fail, [Thing() for _ in range(7)]))
    env.worker.map(Thing(), [Thing() for _ in range(7)])
    refused(ValueError, lambda: env.worker.map(Thing(), [Thing()], chunksize=0))
    refused(TimeoutError, next, env.idle.map(Thing(), [Thing()], timeout=0))
    env.worker.flush()


@entry("Worker.call")
def _(env):
    async def main():
        await env.worker.call(Thing(), Thing(), keyword=Thing())
        for error in (LookupError(), StopIteration()):
            with contextlib.suppress(LookupError, RuntimeError):
                await env.worker.call(raising, error)
        tasks = [asyncio.create_task(env.idle.call(Thing(), Thing())) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        while env.idle.run_pending() or not all(task.done() for task in tasks):
            await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(env.worker.call(Thing()) for _ in range(5)))

    env.run(main())


def raising(error):
    raise error


def same(value):
    return value


@entry("Worker.call, waiting for room")
def _(env):
    async def main():
        with env.kw.Worker(start=False, max_pending=1) as worker:
            tasks = [asyncio.create_task(worker.call(Thing())) for _ in range(4)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            tasks[2].cancel()
            while not all(task.done() for task in tasks):
                worker.run_pending()
                await asyncio.sleep(0)
            await asyncio.gather(*tasks, return_exceptions=True)

    env.run(main())


@entry("Worker.submit, by run_in_executor")
def _(env):
    async def main():
        await env.loop.run_in_executor(env.worker, Thing(), Thing())
        await asyncio.wrap_future(env.worker.submit(Thing()))

    env.run(main())


# -- a worker and its thread


@entry("Worker")
def _(env):
    worker = env.kw.Worker("made", on_error=Thing(), initializer=Thing(), initargs=(Thing(),))
    worker.on_queue = worker.on_start = worker.on_end = Thing()
    worker.submit(Thing()).result()
    repr(worker)
    worker.destroy()


@entry("Worker, refused")
def _(env):
    for bad in ({"name": 7}, {"on_error": 7}, {"max_pending": 0}, {"watchdog": 0}, {"initargs": 7}):
        if "initargs" not in bad:
            refused((TypeError, ValueError), lambda bad=bad: env.kw.Worker(**bad))
    refused(TypeError, lambda: env.kw.Worker(initializer=7))


@entry("Worker, never destroyed")
def _(env):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        worker = env.kw.Worker("dropped")
        worker.queue(env.kw.Work(Thing()))
        future = worker.submit(Thing())
        del worker
        gc.collect()
        future.result()


@entry("Worker, never destroyed and without a thread")
def _(env):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        worker = env.kw.Worker(start=False)
        worker.queue(env.kw.Work(Thing()))
        worker.queue_delayed(env.kw.DelayedWork(Thing()), LONG)
        worker.submit(Thing())
        del worker
        gc.collect()


@entry("Worker, with an initializer that fails")
def _(env):
    worker = env.kw.Worker(start=False, initializer=fail, initargs=(Thing(),))
    future = worker.submit(Thing(), Thing())
    worker.queue(env.kw.Work(Thing()))
    worker.queue_delayed(env.kw.DelayedWork(Thing()), LONG)
    worker.start()
    assert future.exception() is not None
    refused(RuntimeError, worker.submit, Thing())
    worker.destroy()


@entry("Worker, with max_pending")
def _(env):
    with env.kw.Worker(start=False, max_pending=1) as worker:
        worker.submit(Thing())
        refused(queue.Full, worker.submit, Thing())
        refused(queue.Full, worker.queue, env.kw.Work(Thing()))
        refused(queue.Full, worker.every, LONG, Thing())


@entry("Worker, with a watchdog")
def _(env):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with env.kw.Worker("watched", watchdog=0.001) as worker:
            gate = Gate()
            future = worker.submit(gate)
            wait_until(lambda: told)
            gate.open()
            future.result()


@entry("Worker, with traceback")
def _(env):
    with env.kw.Worker(traceback=True, on_error=lambda *_: None) as worker:
        worker.queue(env.kw.Work(fail))
        worker.queue(env.kw.Work(Thing()))
        worker.submit(fail).exception()
        worker.submit(Thing()).cancel()


@entry("Worker, in async with")
def _(env):
    async def main():
        async with env.kw.Worker() as worker:
            await worker.call(Thing())
            worker.queue(env.kw.Work(Thing()))

    env.run(main())


@entry("Worker.start", "Worker.stop")
def _(env):
    with env.kw.Worker(start=False) as worker:
        worker.queue(env.kw.Work(Thing()))
        for _ in range(2):
            worker.start()
            refused(RuntimeError, worker.start)
            worker.submit(Thing()).result()
            worker.stop()
        worker.stop()


@entry("Worker.run")
def _(env):
    with env.kw.Worker(start=False) as worker:
        worker.queue(env.kw.Work(Thing()))
        worker.submit(worker.stop)
        worker.run()
    refused(RuntimeError, env.worker.run)


@entry("Worker.run_pending")
def _(env):
    env.idle.queue(env.kw.Work(Thing()))
    env.idle.submit(Thing())
    assert env.idle.run_pending() == 2
    refused(RuntimeError, env.worker.run_pending)


@entry("Worker.fileno")
def _(env):
    with env.kw.Worker(start=False) as worker:
        if sys.platform == "linux":
            worker.fileno()
            worker.queue(env.kw.Work(Thing()))
            worker.run_pending()
    refused((RuntimeError, NotImplementedError), worker.fileno)


@entry("Worker.freeze", "Worker.thaw")
def _(env):
    env.worker.freeze()
    env.worker.queue(env.kw.Work(Thing()))
    future = env.worker.submit(Thing())
    env.worker.thaw()
    future.result()
    gate = hold(env.kw, env.worker)
    refused(TimeoutError, env.worker.freeze, 0)
    gate.open()
    env.worker.flush()


@entry("Worker.destroy")
def _(env):
    worker = env.kw.Worker(start=False)
    worker.queue(env.kw.Work(Thing()))
    worker.queue_delayed(env.kw.DelayedWork(Thing()), LONG)
    worker.submit(Thing())
    worker.every(LONG, Thing())
    worker.destroy()
    worker.destroy()
    refused(RuntimeError, worker.queue, env.kw.Work(Thing()))
    refused(RuntimeError, worker.submit, Thing())


@entry("Worker.shutdown")
def _(env):
    for start in (True, False):
        for wait in (True, False):
            worker = env.kw.Worker(start=start)
            worker.submit(Thing())
            worker.submit(Thing())
            worker.queue(env.kw.Work(Thing()))
            worker.shutdown(wait=wait, cancel_futures=True)
            worker.shutdown()


@entry("Worker.is_alive", "Worker.stats")
def _(env):
    env.worker.is_alive(), env.idle.is_alive()
    env.worker.stats(), env.idle.stats()


@entry("Worker.name", "Worker.daemon", "Worker.ident", "Worker.native_id")
def _(env):
    for worker in (env.worker, env.idle):
        _ = worker.name, worker.daemon, worker.ident, worker.native_id


@entry("Worker.current_work")
def _(env):
    assert env.worker.current_work is None
    env.on_worker(lambda: env.worker.current_work)


@entry("Worker.on_queue", "Worker.on_start", "Worker.on_end")
def _(env):
    for hook in ("on_queue", "on_start", "on_end"):
        setattr(env.idle, hook, Thing())
        getattr(env.idle, hook)
        refused(TypeError, setattr, env.idle, hook, 7)
    env.idle.submit(Thing())
    env.idle.queue(env.kw.Work(Thing()))
    env.idle.run_pending()
    for hook in ("on_queue", "on_start", "on_end"):
        setattr(env.idle, hook, None)


# -- the tests


@pytest.fixture(scope="module")
def frozen():
    """What is there before does not matter, and is not looked through each time."""
    gc.collect()
    gc.freeze()
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    gc.unfreeze()


@pytest.fixture
def env(kw, frozen):
    env = Env(kw)
    yield env
    env.close()


class Used:
    """How much there is of everything."""

    def __init__(self, env):
        if env.worker.is_alive():
            env.worker.flush()
        for _ in range(3):  # what a collection frees may lie in free lists until the next
            gc.collect()
        self.blocks = sys.getallocatedblocks()
        self.objects = Counter(map(type, gc.get_objects()))
        self.references = {what: sys.getrefcount(thing) for what, thing in env.watched.items()}
        self.threads = threading.active_count()
        self.tasks = self.files = 0
        if sys.platform == "linux":
            self.tasks = len(os.listdir("/proc/self/task"))
            self.files = len(os.listdir("/proc/self/fd"))

    def grown_since(self, before, runs):
        """What has grown by one or more a run."""
        grown = {
            kind.__qualname__: count - before.objects[kind]
            for kind, count in self.objects.items()
            if count - before.objects[kind] >= runs
        }
        for what, count in self.references.items():  # too few are worse than too many
            if abs(count - before.references[what]) >= runs:
                grown[f"references to {what}"] = count - before.references[what]
        for name in ("blocks", "threads", "tasks", "files"):
            growth = getattr(self, name) - getattr(before, name)
            if growth >= runs:
                grown[name] = growth
        return grown


def grown(env, fn, attempts=ATTEMPTS, runs=RUNS):
    """What grows with every run of *fn*, each time it is looked for, and with more runs."""
    for _ in range(runs):
        fn(env)
    found = {}
    for attempt in range(attempts):
        several = runs << attempt
        before = Used(env)
        for _ in range(several):
            fn(env)
        between = Used(env)
        for _ in range(2 * several):
            fn(env)
        once = between.grown_since(before, several)
        twice = Used(env).grown_since(between, 2 * several)
        found = {name: growth for name, growth in twice.items() if name in once}
        if not found:
            break
    return found


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_is_left(env, name):
    # It parses C in Python for a tenth of a second each time.
    runs = 5 if name == "get_ffibuilder" else RUNS
    assert grown(env, ENTRIES[name], runs=runs) == {}


@pytest.mark.parametrize("what", ["object", "block", "thread", "descriptor", "reference"])
def test_a_leak_would_be_found(env, what):
    kept = []
    gate = threading.Event()

    def leak(_):
        if what == "object":
            kept.append(Thing())
        elif what == "block":
            kept.append(bytes(100))
        elif what == "thread":
            kept.append(threading.Thread(target=gate.wait, daemon=True))
            kept[-1].start()
        elif what == "reference":
            kept.append([env.kw.Work])
        else:
            kept.append(os.open(os.devnull, os.O_RDONLY))

    found = grown(env, leak, attempts=2)
    gate.set()
    for thing in kept:
        if what == "thread":
            thing.join()
        elif what == "descriptor":
            os.close(thing)
    expected = {
        "object": "Thing",
        "block": "blocks",
        "thread": "threads",
        "descriptor": "files",
        "reference": "references to Work",
    }
    if what != "descriptor" or sys.platform == "linux":
        assert expected[what] in found


def public_names(kw):
    """All names, and the members of all classes: "Worker", "Worker.queue"."""
    for name in kw.__all__:
        if name in CONSTANTS:
            continue
        yield name
        thing = getattr(kw, name)
        if isinstance(thing, type) and not issubclass(thing, BaseException):
            yield from (f"{name}.{member}" for member in public_members(thing))


def test_every_public_name_has_an_entry(kw):
    assert [name for name in public_names(kw) if not covered(name)] == []


def test_every_entry_is_of_a_public_name(kw):
    if kw.backend != "native":
        pytest.skip("some names are the compiled backend's alone")
    names = set(public_names(kw))
    assert [key for key in ENTRIES if key.partition(",")[0] not in names] == []


# -- cycles


def holding(thing):
    """A callback that holds it."""
    return lambda *_: [] if thing is None else None


def gone(*refs):
    gc.collect()
    return [ref() for ref in refs] == [None] * len(refs)


@pytest.mark.parametrize("kind", ["Work", "DelayedWork"])
@pytest.mark.parametrize("through", ["fn", "args", "kwargs", "context", "attribute"])
@pytest.mark.parametrize("ran", [True, False])
def test_work_that_holds_itself(kw, worker, kind, through, ran):
    class Special(getattr(kw, kind)):
        """It may have attributes."""

    variable = contextvars.ContextVar("variable")
    context = contextvars.Context()
    box = []
    if through == "fn":
        work = Special(holding(box))
    elif through == "args":
        work = Special(lambda _: None, box)
    elif through == "kwargs":
        work = Special(lambda box: None, box=box)
    else:
        work = Special(int, context=context)
    if through == "context":
        context.run(variable.set, work)
    elif through == "attribute":
        work.attribute = work
    else:
        box.append(work)
    ref = weakref.ref(work)
    if ran:
        worker.queue(work)
        work.flush()
    del work, box, context, variable, Special
    assert gone(ref)


def test_bound_work_that_holds_itself(kw, worker):
    work = worker.work(lambda: None)
    work.attribute = work
    ref = weakref.ref(work)
    work.queue()
    work.flush()
    del work
    assert gone(ref)


def test_native_work_that_holds_itself(kw, worker):
    box = []
    native = Callback(holding(box))
    box.append(kw.NativeWork(native))
    ref = weakref.ref(box[0])
    worker.queue(box[0])
    worker.flush()
    del box, native
    assert gone(ref)


def test_periodic_work_that_holds_itself_and_its_worker(kw):
    worker = kw.Worker()
    box = [worker]
    box.append(worker.every(LONG, holding(box)))
    refs = [weakref.ref(thing) for thing in box]
    box[1].flush()
    worker.destroy()
    del worker, box
    assert gone(*refs)


class Device:
    """As users write it: a worker, its works and its hooks are attributes of one object."""

    def __init__(self, kw, **options):
        self.worker = kw.Worker("device", on_error=self.failed, initializer=self.begin, **options)
        self.worker.on_queue = self.worker.on_start = self.worker.on_end = self.seen
        self.work = kw.Work(self.step, self)
        self.late = kw.DelayedWork(self.step, device=self)
        self.tick = self.worker.work(self.step)
        self.future = None

    def begin(self):
        pass

    def failed(self, work, error):
        self.error = error
        self.work = work

    def seen(self, work):
        self.last = work

    def step(self, device=None):
        return self


@pytest.mark.parametrize("state", ["used", "unused", "failed"])
def test_worker_in_a_cycle_with_all_that_it_knows(kw, state):
    device = Device(kw)
    refs = [weakref.ref(thing) for thing in (device, device.worker, device.work, device.tick)]
    if state == "used":
        device.worker.queue_many([device.work, device.late, device.tick])
        device.future = device.worker.submit(device.step, device)
        assert device.future.result() is device
        refs.append(weakref.ref(device.future))
    elif state == "failed":
        device.worker.queue(kw.Work(fail, device))
        device.future = device.worker.submit(fail, device)
        device.future.exception()
        refs.append(weakref.ref(device.future))
    device.worker.destroy()
    del device
    assert gone(*refs)


class Owner:
    """It has a worker, and is known to that by what is set up later."""

    def __init__(self, kw, **options):
        self.worker = kw.Worker("owned", **options)

    def body(self, *_):
        return self


def dropped(owner):
    """Whether the owner and its worker are gone, and the worker has said so, once dropped."""
    refs = [weakref.ref(owner[0]), weakref.ref(owner[0].worker)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        owner.clear()
        gc.collect()
    return gone(*refs) and [warning.category for warning in told] == [ResourceWarning]


@pytest.mark.parametrize("ran", [True, False])
def test_worker_in_a_cycle_that_was_never_destroyed(kw, ran):
    """Its thread holds no more than the hooks, which it will call."""
    owner = Owner(kw)
    owner.works = [kw.Work(owner.body), owner.worker.work(owner.body)]
    if ran:
        owner.worker.queue_many(owner.works)
        owner.future = owner.worker.submit(owner.body, owner)
        owner.worker.flush()
    box = [owner]
    del owner
    assert dropped(box)


@pytest.mark.parametrize(
    "through", ["nothing", "hook", "on_error", "initializer", "work", "timer", "tick", "call"]
)
def test_worker_without_a_thread_in_a_cycle(kw, through):
    """Nobody will ever run what is pending, or call a hook: it holds nothing."""
    if kw.backend == "native" and through in ("work", "timer", "tick", "call"):
        pytest.xfail("what is pending is held by C, where the collector does not look")
    box = []

    known = holding(box)
    options = {through: known} if through in ("on_error", "initializer") else {}
    owner = Owner(kw, start=False, **options)
    worker = owner.worker
    if through == "hook":
        worker.on_queue = worker.on_start = worker.on_end = owner.body
    elif through == "work":
        worker.queue(kw.Work(owner.body))
    elif through == "timer":
        worker.queue_delayed(kw.DelayedWork(owner.body), LONG)
    elif through == "tick":
        worker.every(LONG, owner.body)
    elif through == "call":
        owner.future = worker.submit(owner.body, owner)
    box.append(owner)
    owner.box = box
    last = [owner]
    del owner, worker, known, options, box
    assert dropped(last)


def test_subclass_of_a_worker_that_is_its_own_callback(kw):
    class Own(kw.Worker):
        def __init__(self):
            super().__init__("own", on_error=self.failed)
            self.step = self.work(self.body)

        def failed(self, work, error):
            pass

        def body(self):
            return self

    worker = Own()
    worker.step.queue()
    assert worker.submit(worker.body).result() is worker
    ref = weakref.ref(worker)
    worker.destroy()
    del worker, Own
    assert gone(ref)


@pytest.mark.parametrize("how", ["result", "exception", "callback", "cancelled"])
def test_future_that_holds_itself(kw, worker, how):
    gate = hold(kw, worker)
    box = []
    future = worker.submit(raising if how == "exception" else same, Held(box))
    if how != "cancelled":
        box.append(future)
    else:
        future.add_done_callback(box.append)
    if how == "callback":
        future.add_done_callback(box.append)
    if how == "cancelled":
        assert future.cancel()
    gate.open()
    worker.flush()
    ref = weakref.ref(future)
    del future, box
    assert gone(ref)


class Held(Exception):  # noqa: N818 - it holds something
    pass


def test_pending_call_that_holds_its_future_and_worker(kw):
    worker = kw.Worker(start=False)
    box = [worker]
    box.append(worker.submit(holding(box)))
    refs = [weakref.ref(thing) for thing in box]
    worker.destroy()
    del worker, box
    assert gone(*refs)


def test_iterator_of_map_in_a_cycle(kw, worker):
    class Mapped:
        def __init__(self):
            self.results = worker.map(self.step, range(5), buffersize=2)

        def step(self, number):
            return self

    mapped = Mapped()
    assert next(mapped.results) is mapped
    ref = weakref.ref(mapped)
    del mapped
    worker.flush()
    assert gone(ref)


def test_task_that_waits_for_ever_is_let_go_of_with_its_loop(kw):
    """The worker is told by a watch; the watch holds the loop no longer than it is of use."""
    with kw.Worker(start=False) as worker:
        work = kw.Work(int)
        worker.queue(work)

        async def main():
            tasks = [
                asyncio.create_task(coroutine)
                for coroutine in (work.flushed(), worker.flushed(), worker.call(int))
            ]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            thing.append(Thing())
            tasks[0].add_done_callback(lambda _, kept=thing[0]: kept)
            return weakref.ref(asyncio.get_running_loop())

        thing = []
        loop = asyncio.run(main())
        ref = weakref.ref(thing.pop())
        del main
        assert gone(ref, loop)
        assert work.pending
