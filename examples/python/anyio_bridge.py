# SPDX-License-Identifier: GPL-2.0-only
"""From anyio, on asyncio and on trio: a call on a worker's thread, awaited; and cancelled."""

import asyncio
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
    import anyio
    import trio
except ModuleNotFoundError as error:
    print(f"{error.name} is not installed")
    sys.exit(os.environ.get("REQUIRE_TOOLS") == "1")


def run_soon() -> Callable[[Callable[[], object]], object]:
    """What has the event loop call a function soon, and may itself be called on any thread."""
    if trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_trio_token().run_sync_soon
    return asyncio.get_running_loop().call_soon_threadsafe


async def call(worker: kw.Worker, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call *fn* on *worker*'s thread, in a copy of the caller's context, and return what it does.

    Cancelled before it has begun, it never does. Once it has, it is waited for, since it cannot
    be stopped; what it returns or raises is dropped then.
    """
    await anyio.lowlevel.checkpoint_if_cancelled()
    soon = run_soon()
    done = anyio.Event()
    bound = functools.partial(fn, *args, **kwargs)
    future = worker.submit(contextvars.copy_context().run, bound)

    def tell(_: Future[Any]) -> None:  # on the worker's thread, or that of who cancels it
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            soon(done.set)

    future.add_done_callback(tell)
    try:
        await done.wait()
    except anyio.get_cancelled_exc_class():
        if not future.cancel():
            with anyio.CancelScope(shield=True):
                await done.wait()
        raise
    return future.result()


@contextlib.asynccontextmanager
async def open_worker(*args: Any, **options: Any) -> AsyncIterator[kw.Worker]:
    """A worker that is destroyed in the end, without blocking the event loop."""
    worker = kw.Worker(*args, **options)
    try:
        yield worker
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(worker.destroy)


async def main() -> None:
    entered = anyio.Event()
    leave = threading.Event()
    soon = run_soon()
    ran = []

    def measure(value: int) -> int:
        ran.append(value)
        return value * value

    def busy() -> None:
        soon(entered.set)
        leave.wait()
        ran.append(0)

    async with open_worker("device") as worker:
        print("a call:", await call(worker, measure, 3))
        async with anyio.create_task_group() as group:
            group.start_soon(call, worker, busy)
            await entered.wait()
            with anyio.move_on_after(0.01) as scope:
                await call(worker, measure, 4)  # waits behind the other, until time is out
            assert scope.cancelled_caught
            group.cancel_scope.cancel()  # the other has begun, and is waited for
            leave.set()
        assert ran == [3, 0]
        print("a call:", await call(worker, measure, 5))
    assert ran == [3, 0, 5]
    print("the one that was cancelled never ran")


for backend in ("asyncio", "trio"):
    print(f"on {backend}")
    anyio.run(main, backend=backend)
