# SPDX-License-Identifier: GPL-2.0-only
"""What an editor infers of a user's program. Checked by mypy and pyright, and never run.

A line that must be refused says so to both: one that were taken would be an unused "ignore".
"""

from __future__ import annotations

import concurrent.futures
import contextvars
from collections.abc import Iterator
from typing import Any, assert_type

import pykworker as kw


def measure(channel: int, *, gain: float = 1.0) -> float:
    return channel * gain


def executor_wanted(executor: concurrent.futures.Executor) -> None:
    del executor


def complain(work: kw.Work[Any], error: BaseException) -> None:
    del work, error


def works(worker: kw.Worker) -> None:
    work = kw.Work(measure, 1, gain=2.0)
    assert_type(work, kw.Work[float])
    assert_type(kw.Work(measure, 1, context=contextvars.copy_context()), kw.Work[float])
    assert_type(work.fn(1), float)
    assert_type(work.context, contextvars.Context | None)
    assert_type(worker.queue(work), bool)
    assert_type(worker.queue_many([work]), int)
    assert_type(work.cancel(), bool)
    assert_type(work.pending, bool)

    later = kw.DelayedWork(measure, 1)
    assert_type(later, kw.DelayedWork[float])
    assert_type(worker.queue_delayed(later, 0.5), bool)
    assert_type(later.remaining, float | None)

    beat = worker.every(0.1, measure, 1)
    assert_type(beat, kw.PeriodicWork[float])
    assert_type(beat.missed, int)
    assert_type(worker.every(0.1, kw.NativeWork(1)), kw.PeriodicWork[None])
    assert_type(worker.current_work, kw.Work[Any] | None)
    assert_type(kw.current_work(), kw.Work[Any] | None)

    kw.Work(measure, "1")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    worker.queue(measure)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    worker.queue_delayed(work, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def bound(worker: kw.Worker) -> None:
    @worker.work
    def tick(times: int) -> str:
        return str(times)

    assert_type(tick(3), str)
    assert_type(tick.queue(), bool)
    tick("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def calls(worker: kw.Worker) -> None:
    executor_wanted(worker)
    future = worker.submit(measure, 1, gain=2.0)
    assert_type(future, kw.Future[float])
    assert_type(future.result(), float)
    assert_type(future.exception(), BaseException | None)
    assert_type(worker.map(measure, [1, 2]), Iterator[float])
    plain: concurrent.futures.Future[float] = future
    del plain
    worker.submit(measure, gain="2")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def awaited(worker: kw.Worker, work: kw.Work[float]) -> None:
    assert_type(await worker.call(measure, 1), float)
    await work.flushed()
    await worker.flushed()
    async with kw.Worker("other", on_error=complain, max_pending=3) as other:
        assert_type(other, kw.Worker)
    with kw.Worker("third", watchdog=1, exit_timeout=2.5, traceback=True) as third:
        assert_type(third, kw.Worker)
        assert_type(third.stats(), dict[str, float])


def scheduled() -> None:
    with kw.Worker(scheduler=kw.Fifo(50), cpus="0-1", cgroup="/x", stack_size=65536) as worker:
        worker.scheduler = kw.Deadline(0.001, 0.002)
        worker.cpus = {0, 1}
        assert_type(worker.cgroup, str | None)
        worker.scheduler = 50  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]


class Mine(kw.Worker):
    def twice(self) -> Mine:
        with self as same:
            assert_type(same, Mine)
        return self
