# SPDX-License-Identifier: GPL-2.0-only
"""The whole of pykworker on :mod:`threading` alone, written to be read.

A *worker* is one thread and a first-in-first-out list. A *work* is a function with an
identity: a work that is already on the list cannot be put there a second time, so a burst of
requests coalesces into one run. This is the Linux kernel's ``kthread_worker``; the same calls
with the same results, only slower than the compiled backend. It also serves where there is no
compiler.

**States.** A work is *idle*, *pending* (on a worker's list, or its timer runs), *executing*, or
*executing and pending again*::

              queue               taken off the list             callback returned
      idle ----------> pending -----------------------> executing ----------------> idle
       ^                  |                                 |                         ^
       |      cancel      |                           queue |                         |
       +------------------+                                 v                         |
                                                  executing and pending --> pending --+ ...

A delayed work is pending from the call on. Its timer runs first; then the work is put at the
tail of the list. A periodic work has its next timer armed when a run begins.

**Numbers.** Every run that is asked for gets the next number of its worker, and keeps it until
its end. This is what makes waiting exact: a flush notes the number of the run it is after, and
waits until none up to that is pending or executing. Whatever happens meanwhile - the work is
queued again, it queues itself for ever, it moves to another worker - has a higher number and is
not waited for; and a run that is cancelled is over. What is put on the list gets a number too,
its *place*, from the same counter. A flush of the worker notes the last one given out, and waits
until all that is left is younger; ``run_pending()`` runs up to there. A run that is moved by
``mod_delayed()`` keeps its number and gets another place.

**One condition a worker.** All of a worker's state, and that of the works which belong to it, is
under the lock of one condition; every change that somebody may wait for notifies it, and who
waits looks again; Ctrl-C may come at any point of it. Nothing of the user's - a callback, a
hook, an error handler, a destructor, a comparison - runs under it. The order of locks is:
``shared.circles``, then a worker's, then ``shared.claims``.

**Who belongs to whom.** A work that is not idle belongs to one worker, its *owner*, and is
refused by all others. What is idle belongs to nobody; ``shared.claims`` guards it then. The
worker's thread holds a ``Core``, which is all of the worker but the object in the user's hand,
the :class:`Worker`. So the user may drop the Worker: the thread notices, runs what is listed,
and ends.

**Timers** are a heap, kept by the worker's own thread, which sleeps no longer than until the
next deadline. Whoever else lists a work, or looks at the list, puts there first what has run
out; so the list is in the order of time also while a callback runs long, or the worker rests.

**Circles.** A thread that serves a worker waits for one thing at a time. So each worker has at
most one arrow, "my callback waits for that worker", and the call that would close a circle of
arrows finds out by following them.

Read on in this order: ``_records``, the states of a work, what all workers share, circles;
``_timers``; ``_condition``; ``_core``, queue, serve, flush, cancel, drain, freeze, stop and
destroy; ``_works`` and ``_worker``, the public classes; ``_readiness``, for event loops;
``_lifetime``, fork and exit; ``_recorder``, what ``trace`` is told.
"""

from __future__ import annotations

from typing import Final

from pykworker._errors import DeadlockError
from pykworker._scheduling import (
    Batch,
    Deadline,
    Fifo,
    Idle,
    Other,
    RoundRobin,
    lock_memory,
)
from pykworker._sentinel import CANCEL
from pykworker.pure import _lifetime as _lifetime  # registers itself
from pykworker.pure._futures import Future
from pykworker.pure._recorder import trace
from pykworker.pure._worker import Worker, should_stop
from pykworker.pure._works import (
    BoundWork,
    DelayedWork,
    NativeWork,
    PeriodicWork,
    Work,
    current_work,
)

__all__ = [
    "CANCEL",
    "Batch",
    "BoundWork",
    "Deadline",
    "DeadlockError",
    "DelayedWork",
    "Fifo",
    "Future",
    "Idle",
    "NativeWork",
    "Other",
    "PeriodicWork",
    "RoundRobin",
    "Work",
    "Worker",
    "backend",
    "current_work",
    "lock_memory",
    "should_stop",
    "trace",
]

backend: Final = "pure"
