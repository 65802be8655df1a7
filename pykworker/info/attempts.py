# SPDX-License-Identifier: GPL-2.0-only
"""What a thread is granted when it asks. Limits alone do not tell: a cgroup, a filter of system
calls or a namespace may refuse what they allow.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from pykworker._scheduling import Deadline, Fifo, Other, Scheduler, set_scheduler

Data = dict[str, Any]

LIMITS = ("RLIMIT_RTPRIO", "RLIMIT_NICE", "RLIMIT_MEMLOCK")

# In a process of its own: locked here, the memory would stay so.
_LOCK = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
raise SystemExit(ctypes.get_errno() if libc.mlockall(1) else 0)
"""


def limits() -> dict[str, Data]:
    """Soft and hard, as numbers; -1: unlimited."""
    try:
        import resource
    except ImportError:
        return {name: {"soft": None, "hard": None} for name in LIMITS}
    found: dict[str, Data] = {}
    for name in LIMITS:
        soft = hard = None
        if hasattr(resource, name):
            soft, hard = (
                -1 if value == resource.RLIM_INFINITY else value
                for value in resource.getrlimit(getattr(resource, name))
            )
        found[name] = {"soft": soft, "hard": hard}
    return found


def _answer(allowed: bool | None, why: str | None = None, value: int | None = None) -> Data:
    return {"allowed": allowed, "value": value, "why": why}


def _on_a_thread(call: Callable[[], Data]) -> Data:
    """Its result; the thread ends with what it was granted."""
    answers: list[Data] = []
    thread = threading.Thread(target=lambda: answers.append(call()), name="pykworker-info")
    thread.start()
    thread.join()
    return answers[0]


def _first_granted(choices: Iterable[tuple[int, Scheduler]]) -> Data:
    """The calling thread has the first one that is granted; none: why the last was not."""
    why = None
    for value, scheduler in choices:
        try:
            set_scheduler(0, scheduler)
        except NotImplementedError as error:
            return _answer(None, str(error))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
        else:
            return _answer(True, None, value)
    return _answer(False, why)


def fifo(soft: int | None) -> Data:
    """SCHED_FIFO; the value is the highest priority."""
    highest = sorted({99, *([soft] if soft and 1 < soft < 99 else []), 1}, reverse=True)
    return _on_a_thread(lambda: _first_granted((value, Fifo(value)) for value in highest))


def deadline() -> Data:
    """SCHED_DEADLINE, with a thousandth of a CPU."""
    choice = Deadline(0.0001, 0.1)
    return _on_a_thread(lambda: _first_granted([(0, choice)])) | {"value": None}


def nice(soft: int | None) -> Data:
    """A larger share than now; the value is the least nice value."""
    if not hasattr(os, "getpriority"):
        return _answer(None)
    least = {-20, *([20 - soft] if soft and 0 < soft < 40 else [])}
    before = os.getpriority(os.PRIO_PROCESS, 0)

    def ask() -> Data:
        return _first_granted((value, Other(value)) for value in sorted(least) if value < before)

    return _on_a_thread(ask) if min(least) < before else _answer(True, None, before)


def memory_lock() -> Data:
    """All memory of a small process."""
    if sys.platform != "linux" or not sys.executable:
        return _answer(None)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LOCK], capture_output=True, check=False, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        return _answer(None, str(error))
    number = done.returncode
    return _answer(number == 0, os.strerror(number) if number > 0 else None)


def describe() -> Data:
    known = limits()
    return {
        "limits": known,
        "fifo": fifo(known["RLIMIT_RTPRIO"]["soft"]),
        "deadline": deadline(),
        "nice": nice(known["RLIMIT_NICE"]["soft"]),
        "memory_lock": memory_lock(),
    }
