# SPDX-License-Identifier: GPL-2.0-only
"""What threading does not offer for its threads."""

from __future__ import annotations

import threading

__all__ = ["do_not_join_at_exit"]


def do_not_join_at_exit(thread: threading.Thread) -> None:
    """Have the interpreter's exit go on without *thread*, as if it were a daemon.

    For a thread that somebody else has made, and that is not going to end. From threading's own
    exit hooks, which run before it joins its threads. From CPython 3.13 on, which keeps what
    it joins to itself, this does nothing.
    """
    if thread is threading.main_thread() or thread.daemon:
        return
    lock = getattr(thread, "_tstate_lock", None)
    if lock is not None:
        with threading._shutdown_locks_lock:  # type: ignore[attr-defined]
            threading._shutdown_locks.discard(lock)  # type: ignore[attr-defined]
