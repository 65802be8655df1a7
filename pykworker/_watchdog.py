# SPDX-License-Identifier: GPL-2.0-only
"""Callbacks that run longer than their worker allows are reported, once a run.

A run costs nothing for it. A worker of the same kind, hidden, with works that are periodic,
looks from time to time how many runs have begun and what executes: the same number twice is the
same run. It looks while there is something to do; a worker that has become idle says so when
something is queued on it again.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from pykworker._sentinel import CANCEL

__all__ = ["Watchdog", "Watched"]

_LOOKS = 4  # within the time that a callback is allowed


class Watched(Protocol):
    """What a backend's core has for it."""

    name: str
    watchdog: float | None
    """Seconds that a callback may run."""

    def look(self) -> tuple[int, Any | None, int | None]:
        """How many runs have begun; the Work that executes; the id of the thread."""
        ...

    def has_nothing_to_do(self) -> bool:
        """Nothing is pending and nothing executes."""
        ...

    def tell_busy(self, wanted: bool) -> None:
        """Call Watchdog.begin() as soon as something was queued; once."""


class Watchdog:
    """Looks after all watched workers of one backend.

    *make_worker* makes the hidden worker, when the first one is to be watched; that ends with
    the last one. From any thread.
    """

    def __init__(self, make_worker: Callable[[], Any]) -> None:
        self._make_worker = make_worker
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child, whose workers are all left behind."""
        # One that its holder may take again: the collector may run a destructor meanwhile.
        self._lock = threading.RLock()
        self._worker: Any = None
        self._watched: weakref.WeakSet[Any] = weakref.WeakSet()
        self._looks: weakref.WeakKeyDictionary[Any, _Look] = weakref.WeakKeyDictionary()

    def is_mine(self, core: object) -> bool:
        """Is it the hidden worker's?"""
        return self._worker is not None and self._worker._core is core

    def add(self, core: Watched) -> None:
        """Look after a worker from now on."""
        with self._lock:
            if self._worker is None:
                self._worker = self._make_worker()
            self._watched.add(core)
        core.tell_busy(True)

    def discard(self, core: Watched) -> None:
        """It is destroyed: no more of it, and of the hidden worker when it was the last one."""
        with self._lock:
            self._watched.discard(core)
            if self._watched or self._worker is None:
                return
            worker, self._worker = self._worker, None
        worker.shutdown(wait=False)

    def begin(self, core: Watched) -> None:
        """Something was queued on a worker that had nothing to do."""
        worker = self._worker
        if core.watchdog is not None and worker is not None:
            look = _Look(weakref.ref(core), self._looks)
            self._looks[core] = look
            worker.every(core.watchdog / _LOOKS, look)


class _Look:
    """The callback of a periodic work: one worker, for as long as that has something to do."""

    def __init__(
        self,
        core: Callable[[], Watched | None],
        looks: weakref.WeakKeyDictionary[Any, _Look],
    ) -> None:
        self._core = core
        self._looks = looks  # the one that counts, of each worker
        self._count = -1  # the run that was seen last,
        self._since = 0.0  # first at this moment
        self._reported = False

    def __call__(self) -> object:
        core = self._core()
        if core is None or core.watchdog is None:
            return CANCEL
        if self._looks.get(core) is not self:
            return CANCEL  # another has begun when this one was about to end
        count, work, ident = core.look()
        now = time.monotonic()
        if work is None or count != self._count:
            self._count, self._since, self._reported = count, now, False
            if work is None and core.has_nothing_to_do():
                core.tell_busy(True)
                if core.has_nothing_to_do():
                    return CANCEL
                core.tell_busy(False)  # something has come meanwhile
        elif not self._reported and now - self._since >= core.watchdog:
            self._reported = True
            _report(core, work, ident)
        return None


def _report(core: Watched, work: Any, ident: int | None) -> None:
    text = f"worker {core.name!r}: {work!r} has been running for more than {core.watchdog:g} s"
    frame = sys._current_frames().get(ident or 0)
    if frame is not None:
        stack = "".join(traceback.format_stack(frame)).rstrip("\n")
        text = f"{text}, now at (most recent call last):\n{stack}"
    warnings.warn(text, RuntimeWarning, stacklevel=2)
