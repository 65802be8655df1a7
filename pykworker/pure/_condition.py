# SPDX-License-Identifier: GPL-2.0-only
"""A condition whose wait may be interrupted at any point.

As :class:`threading.Condition` with a lock that its holder may take again; but that one, when
Ctrl-C comes between its letting go of the lock and its "try", ends without the lock, which the
caller's "with" then releases in vain.
"""

from __future__ import annotations

import threading
from collections import deque
from operator import methodcaller
from typing import Any

# Signals come to the main thread alone; and one may come after the interpreter's last look and
# before the sleep, which it does not end then. So there, look again every so often. The same
# for a handler that queues on the worker which the main thread serves, and so wakes nobody.
_PATIENCE = 0.5

_release_all = methodcaller("_release_save")  # however often it was taken
_wake = methodcaller("release")


class Condition:
    """All of it is for the holder of *lock*, which is to be taken by a plain "with".

    A "with" of a lock is one step for the interpreter; a method written in Python that takes
    it is not, and Ctrl-C in its last instant would leave the lock taken.
    """

    __slots__ = ("_lock", "_sleepers")

    def __init__(self, lock: threading.RLock) -> None:  # type: ignore[valid-type,unused-ignore]
        self._lock: Any = lock
        self._sleepers: list[threading.Lock] = []  # type: ignore[valid-type,unused-ignore]

    def wait(self, seconds: float) -> None:
        """Let go of the lock and sleep, at most so many seconds; then take the lock again.

        It may end sooner, for no reason.
        """
        if threading.current_thread() is threading.main_thread():
            seconds = min(seconds, _PATIENCE)
        sleeper: Any = threading.Lock()
        sleeper.acquire()
        released: list[Any] = []
        try:
            self._sleepers.append(sleeper)
            # One step, so that what is to be restored is known whenever it was released.
            released.extend(map(_release_all, (self._lock,)))
            sleeper.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))
        finally:
            if released:
                self._lock._acquire_restore(released[0])
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    def notify_all(self) -> None:
        """Wake all who sleep."""
        sleepers = self._sleepers
        if not sleepers:
            return
        wakings = map(_wake, sleepers)
        # From here on one step for the interpreter; unless a signal handler has done it.
        if self._sleepers is sleepers:
            self._sleepers = []
            deque(wakings, maxlen=0)
