# SPDX-License-Identifier: GPL-2.0-only
"""The small records that a worker keeps, and what all workers share."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykworker.pure._core import Core
    from pykworker.pure._timers import Schedule, Timer


class Status:
    """Where one work stands. It belongs to its owner, and is changed under the owner's lock;
    while it has none, under ``shared.claims``.

    It is an object of its own, apart from the work, so that the worker can let go of the work
    first - which may run a destructor of the user's - and tell the flushers afterwards.
    """

    __slots__ = (
        "cancelling", "coalesced", "disabled", "executing", "owner", "pending", "place",
        "schedule", "timer",
    )  # fmt: skip

    def __init__(self) -> None:
        self.owner: Core | None = None  # None: idle. From None to a core: under claims as well
        self.pending = 0  # number of the pending run; 0: not pending
        self.executing = 0  # number of the executing run; 0: not executing
        self.place = 0  # of the pending run, on the list; 0: it is not there
        self.timer: Timer | None = None  # of the pending run, until it is listed
        self.schedule: Schedule | None = None  # of a periodic work, until it is cancelled
        self.coalesced = 0  # queueings that met a pending run, since the last run began
        self.cancelling = 0  # cancels that wait for the executing run
        self.disabled = 0  # disablings without an enabling


class Service:
    """One thread's time in the service of a worker, from attach to detach."""

    __slots__ = ("ended", "interruptible", "last", "longest_sleep", "ours", "stop_asked", "thread")

    def __init__(self, thread: threading.Thread, ours: bool, last: int | None) -> None:
        self.thread = thread
        self.ours = ours  # made by start(), so stop() and destroy() join it
        self.last = last  # the last place that it is for; None: it waits for more
        # Ctrl-C belongs to the main thread: there it ends run(), also out of a callback.
        self.interruptible = not ours and thread is threading.main_thread()
        # A signal handler on this very thread may queue after the last look at the list and
        # before the sleep, where it wakes nobody. So there, look again every second.
        self.longest_sleep = 1.0 if self.interruptible else threading.TIMEOUT_MAX
        self.stop_asked = False
        self.ended = False  # once True, always True


class FreezeRequest:
    """What all those share who wait for the same rest of a worker."""

    __slots__ = ("askers", "granted", "withdrawn")

    def __init__(self) -> None:
        self.askers = 0
        self.granted = False  # the worker came to rest; once True, always True
        self.withdrawn = False  # thawed; once True, always True


class DrainRequest:
    """One who waits for a worker to have nothing left to do."""

    __slots__ = ("granted",)

    def __init__(self) -> None:
        self.granted = False  # there was such a moment; once True, always True


class Wait:
    """An arrow of the circle search: a callback waits for *target* until *is_over*."""

    __slots__ = ("is_over", "target")

    def __init__(self, target: Core, is_over: Callable[[], bool]) -> None:
        self.target = target
        self.is_over = is_over  # once True, always True; under the target's lock


class Here(threading.local):
    """What each thread knows of itself."""

    core: Core | None = None  # the worker that this thread serves


class Shared:
    """What there is once a process."""

    def __init__(self) -> None:
        self.cores: set[weakref.ref[Core]] = set()  # all there are, for fork and exit
        self.exiting = False  # the interpreter shuts down
        self.exit_hook_is_late = False  # it runs after the threads were joined
        self.make_locks()

    def make_locks(self) -> None:
        self.claims = threading.RLock()  # guards the works that have no owner
        self.circles = threading.RLock()  # guards the arrows while somebody follows or sets them

    def living_cores(self) -> list[Core]:
        return [core for ref in list(self.cores) if (core := ref()) is not None]


here = Here()
shared = Shared()
