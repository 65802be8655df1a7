# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of the workers at fork, and when the interpreter exits."""

from __future__ import annotations

import atexit
import os
import threading
import time

from pykworker.pure._core import Core
from pykworker.pure._recorder import recorder
from pykworker.pure._records import here, shared
from pykworker.pure._worker import _watchdog

# --- fork --------------------------------------------------------------------------------------


def _after_fork_in_child() -> None:
    """No worker's thread came along, and locks may be held by threads that did not either."""
    shared.make_locks()
    here.core = None
    for core in shared.living_cores():
        core.make_lock()
        core.left_behind = True
        core.waits = None
        core.thread = None
        core.current = None
        for status in core.cancelled_now:  # by threads that did not come along
            status.cancelling = 0
        core.cancelled_now.clear()
        if core.readiness is not None:
            core.readiness.leave_to_the_parent()
        if core.service is not None:
            core.service.ended = True
            core.service = None
        core.leave_waiters_behind()
    _watchdog.after_fork()
    recorder.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# --- exit --------------------------------------------------------------------------------------


def _at_exit() -> None:
    """Destroy what was not destroyed, before the interpreter joins its threads."""
    begin = time.monotonic()
    seen: set[Core] = set()

    def is_new(core: Core) -> bool:
        return core not in seen and not _watchdog.is_mine(core)

    for core in filter(is_new, shared.living_cores()):
        core.abandoned = core.daemon  # before anybody can learn that the exit has begun
    shared.exiting = True
    # One may have been made until just now. The watchdog's own goes on meanwhile.
    while cores := [core for core in shared.living_cores() if is_new(core)]:
        seen.update(cores)
        for core in cores:  # all are asked before one is waited for
            core.abandoned = core.daemon
            core.close()
            if core.daemon:
                core.drop_pending()
        for core in cores:
            if not core.daemon:
                core.destroy_at_exit(begin)


try:
    # The one that concurrent.futures uses: it runs before threads are joined. atexit runs
    # after that, so that the workers' threads must not be among those to be joined.
    threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
except (AttributeError, RuntimeError):
    shared.exit_hook_is_late = True
    atexit.register(_at_exit)
