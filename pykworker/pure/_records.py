# SPDX-License-Identifier: GPL-2.0-only
"""The small records that a worker keeps, and what all workers share."""

from __future__ import annotations

import threading
import time
import traceback
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pykworker._errors import DeadlockError

if TYPE_CHECKING:
    from pykworker.pure._core import Core
    from pykworker.pure._futures import Future
    from pykworker.pure._timers import Schedule, Timer


class Status:
    """Where one work stands. It belongs to its owner, and is changed under the owner's lock;
    while it has none, under ``shared.claims``.

    It is an object of its own, apart from the work, so that the worker can let go of the work
    first - which may run a destructor of the user's - and tell the flushers afterwards.
    """

    __slots__ = (
        "cancelling", "coalesced", "disabled", "executing", "future", "origin", "owner",
        "pending", "place", "schedule", "since", "timer", "watches",
    )  # fmt: skip

    def __init__(self) -> None:
        self.owner: Core | None = None  # None: idle. From None to a core: under claims as well
        self.pending = 0  # number of the pending run; 0: not pending
        self.executing = 0  # number of the executing run; 0: not executing
        self.place = 0  # of the pending run, on the list; 0: it is not there
        self.since = 0.0  # when the pending run was asked for, or due; only where times are kept
        self.timer: Timer | None = None  # of the pending run, until it is listed
        self.schedule: Schedule | None = None  # of a periodic work, until it is cancelled
        self.coalesced = 0  # queueings that met a pending run, since the last run began
        self.cancelling = 0  # cancels that wait for the executing run
        self.disabled = 0  # disablings without an enabling
        self.future: Future[Any] | None = None  # of a submitted call, until that is over
        self.origin: traceback.StackSummary | None = None  # where the pending run was asked for
        self.watches: list[Watch] | None = None  # flushes that are awaited


class Times:
    """How long works have waited and run, in seconds; the worker's thread keeps it."""

    __slots__ = ("began", "begun", "ended", "longest_run", "longest_wait", "ran", "waited")

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.waited = self.longest_wait = 0.0  # from the queueing, or the deadline, to the begin
        self.ran = self.longest_run = 0.0
        self.began = 0.0

    def begin(self, since: float) -> None:
        self.began = time.monotonic()
        waited = max(0.0, self.began - since)
        self.waited += waited
        self.longest_wait = max(self.longest_wait, waited)
        self.begun += 1

    def end(self) -> None:
        ran = time.monotonic() - self.began
        self.ran += ran
        self.longest_run = max(self.longest_run, ran)
        self.ended += 1

    def numbers(self) -> tuple[int, int, int, int, int, int]:
        """As run_times() takes them."""
        waited, longest_wait, ran, longest_run = (
            round(seconds * 1e9)
            for seconds in (self.waited, self.longest_wait, self.ran, self.longest_run)
        )
        return self.begun, self.ended, waited, longest_wait, ran, longest_run


class Watch:
    """Somebody waits without a thread of his own: he is notified once, unless he cancels."""

    __slots__ = ("_notify", "number")

    def __init__(self, notify: Callable[[], object], number: int = 0) -> None:
        self._notify: Callable[[], object] | None = notify
        self.number = number  # of the run, or the place, whose end is waited for

    def tell(self) -> None:
        """To be called under no lock."""
        notify, self._notify = self._notify, None
        if notify is not None:
            notify()

    def cancel(self) -> None:
        """He does not wait any more."""
        self._notify = None

    @property
    def wanted(self) -> bool:
        return self._notify is not None


class RoomWatch(Watch):
    """Somebody waits for a place on the list; the notification makes it his."""

    __slots__ = ("_core", "_has_a_place")

    def __init__(self, notify: Callable[[], object], core: Core) -> None:
        super().__init__(notify)
        self._core = core
        self._has_a_place = False

    def hand_over(self) -> None:
        """A place is his. Under the lock."""
        if self.wanted and not self._has_a_place:
            self._core.told.append(self)
            self._has_a_place = True
            self._core.reserved += 1

    def tell(self) -> None:
        core = self._core
        with core.lock:
            if not self._has_a_place:
                return
            self._has_a_place = False
            notify, self._notify = self._notify, None
            if notify is None:  # he went before he learned of it
                core.reserved -= 1
                core.give_a_place_away()
        if notify is not None:
            notify()


class Service:
    """One thread's time in the service of a worker, from attach to detach."""

    __slots__ = ("ended", "interruptible", "last", "ours", "stop_asked", "thread", "watches")

    def __init__(self, thread: threading.Thread, ours: bool) -> None:
        self.thread = thread
        self.ours = ours  # made by start(), so stop() and destroy() join it
        self.last: int | None = None  # the last place that it is for; None: it waits for more
        # Ctrl-C belongs to the main thread: there it ends run(), also out of a callback.
        self.interruptible = not ours and thread is threading.main_thread()
        self.stop_asked = False
        self.ended = False  # once True, always True
        self.watches: list[Watch] = []  # those who wait for its end and do not sleep


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


class Wait:
    """An arrow of the circle search: a callback waits for *target* until *is_over*.

    It is drawn while a "with" holds it, if the calling thread serves a worker, and unless it
    closes a circle: then DeadlockError is raised.
    """

    __slots__ = ("is_over", "previous", "server", "target")

    def __init__(self, target: Core, is_over: Callable[[], bool]) -> None:
        self.target = target
        self.is_over = is_over  # once True, always True; under the target's lock
        self.server = here.core  # whose callback waits; None: an outsider, who draws none
        self.previous: Wait | None = None  # of the same callback; it has no more than one

    def __enter__(self) -> None:
        server = self.server
        if server is None:
            return
        self.previous = server.waits
        try:
            with shared.circles:
                self.look_for_a_circle(server)
                server.waits = self
        except BaseException:  # Ctrl-C may come as late as after the last line above
            server.waits = self.previous
            raise

    def look_for_a_circle(self, server: Core) -> None:
        """Follow the arrows from this one on: do they lead back to where it begins?

        An arrow whose wait is over, though its thread has not woken up yet, counts no more:
        else a callback could be told of a circle that its own worker opened a moment ago.
        """
        wait: Wait | None = self
        while wait is not None:
            target = wait.target
            with target.lock:
                if wait.is_over():
                    return
            if target is server:
                raise DeadlockError(
                    f"a callback of worker {server.name!r} would wait for itself"
                    if self.target is server
                    else f"workers {server.name!r} and {self.target.name!r} would wait "
                    "for each other"
                )
            wait = target.waits

    def __exit__(self, *exc_info: object) -> None:
        if self.server is not None:
            self.server.waits = self.previous
