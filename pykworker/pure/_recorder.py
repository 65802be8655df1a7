# SPDX-License-Identifier: GPL-2.0-only
"""Notes what the workers do, for ``trace``; the events become a file in ``_trace``."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from pykworker._trace import CALLED, NATIVE, QUEUED, Event, Recording, name_of, tracer
from pykworker.pure._records import here

if TYPE_CHECKING:
    from pykworker.pure._core import Core
    from pykworker.pure._works import Work


class Recorder:
    """A list of bounded length, to which whoever queues or runs appends. Takes no lock."""

    def __init__(self) -> None:
        self.events: deque[Event] | None = None  # None: nothing is recorded
        self.running: dict[int, tuple[int, str | int, int, int]] = {}  # by the worker's number
        self.workers: dict[int, str] = {}
        self.count = itertools.count()

    def begin(self, limit: int) -> None:
        if self.events is not None:
            raise RuntimeError("a trace is being recorded already")
        self.running, self.workers, self.count = {}, {}, itertools.count()
        self.events = deque(maxlen=limit)

    def end(self) -> Recording:
        events, self.events = self.events, None
        if events is None:
            return Recording([], 0, {})
        # First, since a queueing that is under way may append until the end.
        noted = list(events.copy())
        lost = max(0, next(self.count) - len(noted))
        for worker, (begin, name, work, thread) in list(self.running.items()):
            kind = NATIVE if isinstance(name, int) else CALLED
            noted.append(Event(kind, begin, 0, 0, work, name, worker, 0, thread))
        return Recording(noted, lost, self.workers)

    def add(self, event: Event) -> None:
        events = self.events
        if events is not None:
            next(self.count)
            events.append(event)

    def number(self, core: Core) -> int:
        self.workers[core.number] = core.name
        return core.number

    def queued(self, core: Core, work: Work[Any]) -> None:
        """It was put on the list; under the lock."""
        server = 0 if here.core is None else self.number(here.core)
        now, thread = time.monotonic_ns(), threading.get_native_id()
        self.add(Event(QUEUED, now, 0, 0, id(work), "", self.number(core), server, thread))

    def begins(self, core: Core, work: Work[Any]) -> None:
        """Its function is about to be called."""
        native: Any = getattr(work, "_native", None) or work
        name = getattr(native, "_address", None)
        if name is None:
            name = name_of(work._fn)
        self.running[self.number(core)] = (
            time.monotonic_ns(), name, id(work), threading.get_native_id(),
        )  # fmt: skip

    def ended(self, core: Core) -> None:
        """Without having been told of the begin: that was before the recording."""
        run = self.running.pop(core.number, None)
        if run is not None:
            begin, name, work, thread = run
            kind = NATIVE if isinstance(name, int) else CALLED
            end = time.monotonic_ns()
            self.add(Event(kind, begin, end, 0, work, name, core.number, 0, thread))

    def after_fork(self) -> None:
        """In the child."""
        self.__init__()  # type: ignore[misc]


recorder = Recorder()
trace = tracer(recorder, "pykworker.pure")
