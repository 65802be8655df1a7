# SPDX-License-Identifier: GPL-2.0-only
"""The result to come of a submitted call."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures._base import LOGGER
from typing import Any, NoReturn, TypeVar

from pykworker._arguments import timeout_seconds
from pykworker.pure._records import Status

_R = TypeVar("_R")

_PENDING = "PENDING"
_RUNNING = "RUNNING"
_CANCELLED = "CANCELLED_AND_NOTIFIED"
_FINISHED = "FINISHED"


class _Condition(threading.Condition):
    """To be taken by a "with" in one step.

    threading's own is taken by a method written in Python: Ctrl-C in its last instant would
    leave the lock taken, and the worker could never deliver the result.
    """

    _lock: Any
    __enter__: Any = property(lambda self: self._lock.__enter__)
    __exit__: Any = property(lambda self: self._lock.__exit__)


class Future(concurrent.futures.Future[_R]):
    """The result to come of a submitted call; made by :meth:`Worker.submit`, not by the user.

    A :class:`concurrent.futures.Future` in all: ``concurrent.futures.wait``, ``as_completed``
    and ``asyncio.wrap_future`` take it. :meth:`result` and :meth:`exception` wait as a flush
    does: a deadlock is told, and :meth:`cancel` takes the call off the worker's list.
    """

    # The worker decides what becomes of it under the worker's lock, in _fate and in the status
    # of its call. The state follows, under the lock of its own condition and no other: there
    # are others who hold that one, and a signal handler of theirs may use the worker.

    _done_callbacks: list[Callable[[concurrent.futures.Future[_R]], object]]

    def __init__(self, status: Status) -> None:
        super().__init__()
        self._make_lock()
        self._status = status  # of its call
        self._number = 0  # of its run
        self._fate: BaseException | None = None  # why there is no run; once set, it stays
        self._early = False  # it is done, though the run is not: its callbacks are called

    # -- for the user

    def cancel(self) -> bool:
        """Take the call off the worker's list, unless it has begun.

        Returns True: it is cancelled, and will not run. False: it runs, or has ended.

        From any thread; never waits. Its callbacks are called at once, by the calling thread.
        """
        owner = self._status.owner
        if owner is not None:
            owner.cancel_call(self)
        self._meet_fate()
        return self._state == _CANCELLED

    def cancelled(self) -> bool:
        """True when it was cancelled. From any thread; never waits."""
        return self._state == _CANCELLED

    def running(self) -> bool:
        """True while its function runs: a live snapshot, stale when read."""
        return self._state == _RUNNING

    def done(self) -> bool:
        """True when it has ended, or was cancelled. From any thread; never waits."""
        return self._state in (_CANCELLED, _FINISHED)

    def result(self, timeout: float | None = None) -> _R:
        """Wait for the call, and return what its function returned, or raise what that raised.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when the time runs out, and leaves the call as it is; CancelledError
        when it was cancelled; BrokenThreadPool when the worker's initializer failed;
        DeadlockError from a callback of the same worker, or of one that this worker waits for;
        RuntimeError in a forked child for one that was pending in the parent.

        From any thread; sleeps; Ctrl-C ends the wait.
        """
        try:
            self._wait(timeout)
            if self._exception is not None:
                raise self._exception
            return self._result  # type: ignore[return-value]
        finally:
            del self  # the exception holds this frame, and would hold what holds it

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the call, and return what its function raised; None: nothing.

        Waits and raises as :meth:`result`.
        """
        self._wait(timeout)
        return self._exception

    def _wait(self, timeout: float | None) -> None:
        try:
            seconds = None if timeout is None else timeout_seconds(max(0.0, timeout))
            owner = self._status.owner
            if owner is not None and not owner.wait_for_call(self, seconds):
                raise TimeoutError("the call did not finish in time")
            self._meet_fate()
            if self._state == _CANCELLED:
                raise CancelledError
        finally:
            del self  # as above

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    # -- for the worker

    def _begin(self) -> None:
        """It is taken off the list, by the worker's thread, under the worker's lock."""
        self._state = _RUNNING

    def _take_back(self) -> None:
        """It was put back: as _begin."""
        self._state = _PENDING

    def _is_over(self) -> bool:
        """Nothing of it is to come that somebody could wait for; under the worker's lock.

        Not as soon as it is done: the worker still holds it then.
        """
        status = self._status
        if self._early or self._fate is not None or status.owner is None:
            return True
        return not any(0 < run <= self._number for run in (status.pending, status.executing))

    def _meet_fate(self) -> None:
        """There is no run: say so. By whoever comes first; under no lock."""
        fate = self._fate
        if fate is not None and not self.done():
            state = _CANCELLED if isinstance(fate, CancelledError) else _FINISHED
            self._settle(state, None, fate if state == _FINISHED else None)
        if fate is not None:
            self._invoke_callbacks()

    def _finish(self, result: _R | None, error: BaseException | None) -> None:
        """Its function has returned or raised."""
        self._settle(_FINISHED, result, error)

    def _settle(self, state: str, result: _R | None, error: BaseException | None) -> None:
        with self._condition:
            if self.done():
                return
            self._result = result
            self._exception = error
            self._state = state
            for waiter in self._waiters:
                if state == _CANCELLED:
                    waiter.add_cancelled(self)
                elif error is not None:
                    waiter.add_exception(self)
                else:
                    waiter.add_result(self)
            self._condition.notify_all()

    def _invoke_callbacks(self) -> None:
        self._call_back(lambda error: not isinstance(error, Exception))

    def _call_back(self, is_let_out: Callable[[BaseException], bool]) -> None:
        """Call those that wait for its end, each once however often this is called."""
        while self._done_callbacks:
            try:
                callback = self._done_callbacks.pop(0)
            except IndexError:  # by another thread
                return
            try:
                callback(self)
            except BaseException as error:
                if is_let_out(error):
                    raise
                LOGGER.exception("exception calling callback for %r", self)

    def _make_lock(self) -> None:
        """Also in a forked child: a thread that did not come along may hold it."""
        self._condition = _Condition()
