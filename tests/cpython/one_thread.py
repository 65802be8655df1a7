# SPDX-License-Identifier: GPL-2.0-only
"""A Worker in the place of ThreadPoolExecutor, as CPython's tests make one and look at it."""

from __future__ import annotations

import concurrent.futures.thread
import importlib
import os
import time
import warnings
from typing import Any

LIMIT = 25.0  # seconds until a wait for a thread's end counts as failed
HERE = os.path.dirname(os.path.abspath(__file__))


class SeenThread:
    """A worker's thread seen from without, to be joined; it keeps no worker alive."""

    def __init__(self, worker: Any) -> None:
        self._path = f"/proc/self/task/{worker.native_id}"

    def join(self) -> None:
        end = time.monotonic() + LIMIT
        while os.path.exists(self._path):
            assert time.monotonic() < end, "the worker's thread did not end"
            time.sleep(0.001)


def executor_type(backend: str, *, first_call_begins: bool = False) -> type[Any]:
    """*backend*'s Worker, to be made and looked at as a ThreadPoolExecutor.

    The cases ask for several threads and count them; a Worker is one thread, whatever it is asked
    for. All else that an executor does is the Worker's own.

    With *first_call_begins* the first submit() returns when its call has begun. As a rule that of
    ThreadPoolExecutor does, since it waits for the thread that it makes. A Worker has its thread,
    and may be given many calls before that comes to the first one.
    """
    kind: type[Any]
    if backend == "concurrent.futures":

        class OneThreadPool(concurrent.futures.thread.ThreadPoolExecutor):
            """The standard one with one thread: can a case be passed by one thread at all?"""

            def __init__(self, max_workers: object = None, **options: Any) -> None:
                super().__init__(1, **options)

        kind = OneThreadPool
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # there is no native backend
            module = importlib.import_module(backend)

        class OneThread(module.Worker):  # type: ignore[misc, name-defined]
            _max_workers = 1

            def __init__(self, max_workers: object = None, **options: Any) -> None:
                super().__init__(**options)
                self._threads = {SeenThread(self)}

            @property
            def _broken(self) -> bool:
                try:
                    self.submit(int)
                except concurrent.futures.BrokenExecutor:
                    return True
                return False

        kind = OneThread
    if first_call_begins:

        class Begun(kind):  # type: ignore[misc]
            _first = True

            def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
                future = super().submit(fn, *args, **kwargs)
                while self._first and not future.running() and not future.done():
                    time.sleep(0.0005)
                self._first = False
                return future

        kind = Begun
    # The programs that some cases run import their executor by its name.
    kind.__name__ = "ThreadPoolExecutor"
    return kind


def install(kind: type[Any]) -> None:
    """Put *kind* in the place of ThreadPoolExecutor, which some cases name."""
    concurrent.futures.ThreadPoolExecutor = kind  # type: ignore[misc]


def preamble(backend: str, **options: bool) -> str:
    """What a case's own program has to run first, so that it too gets *backend*'s Worker."""
    return (
        f"import sys\nsys.path.append({HERE!r})\nimport one_thread\n"
        f"one_thread.install(one_thread.executor_type({backend!r}, **{options!r}))\n"
    )
