# SPDX-License-Identifier: GPL-2.0-only
"""Resources that may not be let go where the last user leaves: a work of their own does it."""

import gc
import threading
import weakref

import pykworker as kw

freed_on: list[str] = []


class Resource:
    def __init__(self, number: int) -> None:
        self.number = number

    def put(self, worker: kw.Worker) -> None:
        # The work keeps the resource until it has run, and goes with it.
        worker.queue(kw.Work(self.free))

    def free(self) -> None:
        freed_on.append(threading.current_thread().name)


with kw.Worker("reaper") as reaper:
    resources = [Resource(n) for n in range(100)]
    watched = [weakref.ref(resource) for resource in resources]
    while resources:
        resources.pop().put(reaper)
    reaper.flush()  # as at a module's exit: all that was queued has been let go

gc.collect()
left = sum(resource() is not None for resource in watched)
print(f"{len(freed_on)} let go on {set(freed_on)}; still there: {left}")
assert freed_on == ["reaper"] * 100
assert not left
