# SPDX-License-Identifier: GPL-2.0-only
"""From trio: a call on a worker's thread, awaited; cancelled, it is taken off the worker's list."""

import contextlib
import contextvars
import functools
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any

import pykworker as kw

try:
    import trio
except ModuleNotFoundError:
    print("trio is not installed")
    sys.exit(os.environ.get("REQUIRE_TOOLS") == "1")


async def call(worker: kw.Worker, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call *fn* on *worker*'s thread, in a copy of the caller's context, and return what it does.

    Cancelled before it has begun, it never does. Once it has, it is waited for, as
    trio.to_thread.run_sync() does: no task ends while the device is still busy for it.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    task = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()
    bound = functools.partial(fn, *args, **kwargs)
    future = worker.submit(contextvars.copy_context().run, bound)
    aborted = False

    def wake() -> None:  # on trio's thread
        if not aborted:
            trio.lowlevel.reschedule(task)

    def tell(_: Future[Any]) -> None:  # on the worker's thread, or that of who cancels it
        token.run_sync_soon(wake)

    def abort(_: Any) -> trio.lowlevel.Abort:  # on trio's thread
        nonlocal aborted
        aborted = future.cancel()
        return trio.lowlevel.Abort.SUCCEEDED if aborted else trio.lowlevel.Abort.FAILED

    future.add_done_callback(tell)
    await trio.lowlevel.wait_task_rescheduled(abort)
    return future.result()


@contextlib.asynccontextmanager
async def open_worker(*args: Any, **options: Any) -> AsyncIterator[kw.Worker]:
    """A worker that is destroyed in the end, without blocking trio's thread."""
    worker = kw.Worker(*args, **options)
    try:
        yield worker
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(worker.destroy)


async def main() -> None:
    entered = trio.Event()
    leave = threading.Event()
    token = trio.lowlevel.current_trio_token()
    ran = []

    def measure(value: int) -> int:
        ran.append(value)
        return value * value

    def busy() -> str:
        token.run_sync_soon(entered.set)
        leave.wait()
        return "done"

    async with open_worker("device") as worker:
        print("a call:", await call(worker, measure, 3))
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def first() -> None:
                print("the first:", await call(worker, busy))

            await entered.wait()
            with trio.move_on_after(0.01) as scope:
                await call(worker, measure, 4)  # waits behind the first, until time is out
            assert scope.cancelled_caught
            leave.set()
        print("a call:", await call(worker, measure, 5))
    assert ran == [3, 5]
    print("the one that was cancelled never ran")


trio.run(main)
