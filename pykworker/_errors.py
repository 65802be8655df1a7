# SPDX-License-Identifier: GPL-2.0-only
"""The one exception of this package's own; both backends raise the same class."""

from __future__ import annotations

__all__ = ["DeadlockError"]


BROKEN = "A thread initializer failed, the thread pool is not usable anymore"


class DeadlockError(RuntimeError):
    """A callback asked for a wait that could never have ended.

    A worker runs one callback at a time, so a callback that waits for a work which its own
    worker still has to run waits for itself. So do two workers whose callbacks wait for each
    other, and circles of any length. The call that would close such a circle raises this
    error before it sleeps, and changes nothing: the others go on waiting, and their wait ends
    once the callback that got the error returns.

    Raised by ``flush()`` of a work or a worker, a work's ``cancel()`` and ``disable()``, and a
    worker's ``drain()``, ``freeze()``, ``stop()`` and ``destroy()``. To be rid of it, queue a
    work that does the rest instead of waiting for it.

    Only workers are followed: a callback that waits for a plain lock, or joins a plain thread
    which waits for the worker in turn, is a deadlock that nobody notices.

    >>> with kw.Worker() as worker:
    ...     def wait_for_oneself():
    ...         try:
    ...             worker.flush()
    ...         except kw.DeadlockError:
    ...             print("would have been for ever")
    ...     assert worker.queue(kw.Work(wait_for_oneself))
    would have been for ever
    """
