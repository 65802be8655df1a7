# SPDX-License-Identifier: GPL-2.0-only
"""A file descriptor that an event loop can wait for.

An epoll descriptor round two others, so that the loop needs only one: an eventfd that is set
while works are listed, and a timerfd that goes off with the earliest timer. No thread is needed
to watch the timers, and nobody has to read the descriptor.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import select
import sys
import time

_LATEST_NS = 2**62  # some 146 years after the boot


class Readiness:
    """Whether there is something to run, as a descriptor shows it; under the worker's lock.

    Raises NotImplementedError where there is no such thing, OSError when there is no room.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise NotImplementedError("fileno() needs Linux")
        self._listed = False
        self._deadline: float | None = None
        self._is_ours = True
        with contextlib.ExitStack() as undo:
            self._epoll = select.epoll()
            undo.callback(self._epoll.close)
            self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            undo.callback(os.close, self._event)
            self._timer = _timerfd_create()
            undo.callback(os.close, self._timer)
            self._epoll.register(self._event, select.EPOLLIN)
            self._epoll.register(self._timer, select.EPOLLIN)
            self.close = undo.pop_all().close  # a second close does nothing

    def fileno(self) -> int:
        return self._epoll.fileno()

    def show(self, listed: bool, deadline: float | None) -> None:
        """Readable when *listed*, or from *deadline* on."""
        if not self._is_ours:
            return
        if listed != self._listed:
            self._listed = listed
            if listed:
                os.eventfd_write(self._event, 1)
            else:
                os.eventfd_read(self._event)
        if deadline != self._deadline:
            self._deadline = deadline
            _timerfd_set(self._timer, 0 if deadline is None else _nanoseconds(deadline))

    def leave_to_the_parent(self) -> None:
        """In a forked child: what is shown here would be shown to the parent's event loop."""
        self._is_ours = False


def _nanoseconds(deadline: float) -> int:
    if deadline >= _LATEST_NS / 1e9:
        return _LATEST_NS
    return max(1, math.ceil(deadline * 1e9))  # 0 would disarm it


if sys.version_info >= (3, 13) and hasattr(os, "timerfd_create"):

    def _timerfd_create() -> int:
        return os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

    def _timerfd_set(fd: int, deadline_ns: int) -> None:
        os.timerfd_settime_ns(fd, flags=os.TFD_TIMER_ABSTIME, initial=deadline_ns)

else:

    class _Itimerspec(ctypes.Structure):
        _fields_ = [(name, ctypes.c_long) for name in ("each_s", "each_ns", "first_s", "first_ns")]

    _libc = ctypes.CDLL(None, use_errno=True)
    _TFD_TIMER_ABSTIME = 1

    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def _timerfd_create() -> int:
        flags = os.O_NONBLOCK | os.O_CLOEXEC  # as TFD_NONBLOCK and TFD_CLOEXEC are defined
        return _checked(_libc.timerfd_create(time.CLOCK_MONOTONIC, flags))

    def _timerfd_set(fd: int, deadline_ns: int) -> None:
        timing = _Itimerspec(0, 0, *divmod(deadline_ns, 10**9))
        result = _libc.timerfd_settime(fd, _TFD_TIMER_ABSTIME, ctypes.byref(timing), None)
        _checked(result)
