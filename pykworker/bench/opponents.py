# SPDX-License-Identifier: GPL-2.0-only
"""What the cases share: the two backends, the two opponents, and where their threads run."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pykworker
from pykworker import pure

from . import machine

NATIVE: ModuleType | None = pykworker if getattr(pykworker, "backend", "pure") == "native" else None
"""The native backend; None where it is not built, and then its contestants are left out."""

PURE: ModuleType = pure

NATIVE_MISSING = (
    "The native backend is not built here (pykworker.backend is 'pure'):"
    " its rows are left out, and there is nothing to compare with."
)


def nothing() -> None:
    """The callback of every Python work: as trivial as a Python function can be."""


def make_worker(module: ModuleType, cleanup: ExitStack, **options: Any) -> Any:
    """A worker of either backend whose thread has run a work already.

    daemon: a benchmark that is broken off must not be held up by what is still queued.
    """
    worker = module.Worker("bench", daemon=True, **options)
    cleanup.callback(worker.destroy)
    first = module.Work(nothing)
    worker.queue(first)
    first.flush()
    return worker


def check_runs(worker: Any, count: int) -> None:
    """An error unless the worker ran `count` works and the one of `make_worker`.

    The opponents need no such check: their one thread takes the calls in order, so that the last
    one's answer stands for all.
    """
    executed = worker.stats()["executed"]
    if executed != count + 1:
        raise RuntimeError(f"{worker!r} ran {executed - 1} works where {count} were queued")


def make_executor(cleanup: ExitStack) -> ThreadPoolExecutor:
    """``ThreadPoolExecutor(1)`` whose thread has run a call already."""
    executor = ThreadPoolExecutor(1, "bench")
    cleanup.callback(executor.shutdown, cancel_futures=True)
    executor.submit(nothing).result()
    return executor


class QueueThread:
    """A thread that calls what comes out of a ``SimpleQueue``: the loop people write by hand.

    It has no identity (what is put twice runs twice), no flush, no result, and it dies of the
    first exception. It is here as the floor of what a hand-over between two threads costs.
    """

    def __init__(self, cleanup: ExitStack) -> None:
        items: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.put = items.put
        self.thread = threading.Thread(target=self._serve, args=(items,), name="bench", daemon=True)
        self.thread.start()
        cleanup.callback(self._end)
        self.call(nothing)

    @staticmethod
    def _serve(items: queue.SimpleQueue[Callable[[], object]]) -> None:
        get = items.get
        while True:
            get()()

    def _end(self) -> None:
        self.put(sys.exit)  # SystemExit ends a thread without a word
        self.thread.join()

    def call(self, function: Callable[[], object]) -> None:
        """Returns when `function` has run."""
        done = threading.Event()
        self.put(function)
        self.put(done.set)
        done.wait()


def one_cpu_reason() -> str | None:
    """Why threads cannot be pinned to two CPUs here, or None."""
    if sys.platform != "linux":
        return "this system has no os.sched_setaffinity"
    if machine.cpu_pair() is None:
        return "this process may use only one CPU"
    return None


def pin(main: int, other: int, native_id: int, cleanup: ExitStack) -> None:
    """Pins the calling thread to CPU `main`, the thread `native_id` to CPU `other`."""
    if sys.platform == "linux":
        before = os.sched_getaffinity(0)
        cleanup.callback(os.sched_setaffinity, 0, before)
        os.sched_setaffinity(0, {main})
        os.sched_setaffinity(native_id, {other})
