# SPDX-License-Identifier: GPL-2.0-only
"""The compiled backend: workers whose thread, list and flush are the C core's.

What is called often, making and queueing a work, is C (see ``_binding``); here is the rest.
:mod:`pykworker.pure` has the same names on :mod:`threading` alone, and explains the ideas.

A :class:`Worker` is the object in the user's hand. Its :class:`_Core` is all else: it lives
until the worker's thread is gone, also when the user has dropped the Worker before.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import concurrent.futures._base
import contextvars
import errno
import functools
import itertools
import math
import os
import queue
import struct
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.thread import BrokenThreadPool
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, ParamSpec, TypeVar, overload

from pykworker import _unraisable
from pykworker._addresses import code_address, data_address
from pykworker._aio import wait_for
from pykworker._arguments import (
    delay_seconds,
    interval_seconds,
    run_times,
    timeout_seconds,
    worker_options,
)
from pykworker._binding import CallBase, FutureBase, WorkBase, WorkerBase, ffi, lib
from pykworker._errors import BROKEN, DeadlockError
from pykworker._executor import ExecutorMethods
from pykworker._origin import Origins
from pykworker._scheduled import ScheduledMethods
from pykworker._scheduling import (
    Scheduler,
    ThreadOptions,
    cpu_list,
    explain,
    numbers_of,
    thread_options,
)
from pykworker._sentinel import CANCEL
from pykworker._trace import CALLED, Event, Recording, tracer
from pykworker._watchdog import Watchdog

__all__ = [
    "CANCEL",
    "BoundWork",
    "DeadlockError",
    "DelayedWork",
    "Future",
    "NativeWork",
    "PeriodicWork",
    "Work",
    "Worker",
    "backend",
    "current_work",
    "should_stop",
    "trace",
]

backend = "native"

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Hook = Callable[["Work[Any]"], object]

_FOREVER = 2**64 - 1
_LONGEST_POLL_NS = 2**32 - 2
_ADAPTIVE_POLL = 2**32 - 1
_MOST = 2**63  # works that may be pending; there is no room for so many
_LONGEST_DELAY_NS = 2**62  # 146 years; from now it ends before the clock does

# enum pykw_tell: what a core wants to be told of
_ENTER, _LEAVE, _ROOM, _NOTE, _BUSY = (1 << bit for bit in range(5))

_flush_work = lib.pykw_flush_work
_names = itertools.count()
_numbers = itertools.count(1)

_LEFT_BEHIND = "this worker was left behind in the parent process by fork"
_AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"
_AFTER_EXIT = "cannot schedule new futures after interpreter shutdown"


# --- calls that wait ---------------------------------------------------------------------------


def _nanoseconds(seconds: float | None, most: int = _FOREVER - 1) -> int:
    """Seconds as C takes them, *most* at the most; None: no limit."""
    if seconds is None:
        return _FOREVER
    return int(seconds * 1e9) if seconds < most / 1e9 else most


def _wait(call: Callable[[int, int], int], seconds: float | None) -> int:
    """Call into C until the wait is over.

    C comes back when a signal has come, and every now and then in case one came unnoticed, so
    that the interpreter runs the signal's handler, which may raise. Then what is positive is
    given to the next call.
    """
    again = 0
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        again = call(again, _nanoseconds(seconds))
        if again <= 0 and again != -errno.EINTR:
            return again
        if deadline is not None:
            seconds = max(0.0, deadline - time.monotonic())


def _refuse(code: int, late: str) -> NoReturn:
    """Raise what a negative result of C means; *late* is what to say of a time-out."""
    match -code:
        case errno.ETIMEDOUT:
            raise TimeoutError(late)
        case errno.EDEADLK:
            raise DeadlockError("the callback that asks for this wait would wait for itself")
        case errno.ESRCH:
            raise RuntimeError(_LEFT_BEHIND)
        case errno.ESHUTDOWN:
            raise RuntimeError(_AFTER_EXIT if _exiting else _AFTER_SHUTDOWN)
        case errno.EBUSY:
            raise RuntimeError("worker already has a thread")
        case errno.EAGAIN:
            raise RuntimeError("can't start new thread")
        case errno.EOVERFLOW:
            raise OverflowError("the work is disabled too often")
        case errno.ECANCELED:
            raise RuntimeError("the worker was given up at interpreter exit")
        case errno.ENOMEM:
            raise MemoryError
        case number:
            raise OSError(number, os.strerror(number))


# --- the thread as threading sees it -----------------------------------------------------------


class _WorkerThread(threading._DummyThread):
    """What threading.current_thread() says in a callback.

    As for every thread that threading has not made; but with the worker's name, it can be
    joined, and threading forgets it when it ends.
    """

    def __init__(self, name: str) -> None:
        self._over = threading.Event()
        super().__init__()  # registers it for the calling thread
        self.name = name
        # As threading does for the threads that it makes.
        if (profile := threading.getprofile()) is not None:
            sys.setprofile(profile)
        if (trace := threading.gettrace()) is not None:
            sys.settrace(trace)

    def end(self) -> None:
        with threading._active_limbo_lock:  # type: ignore[attr-defined]
            threading._active.pop(threading.get_ident(), None)  # type: ignore[attr-defined]
        self._over.set()

    def is_alive(self) -> bool:
        return not self._over.is_set()

    def join(self, timeout: float | None = None) -> None:
        if threading.current_thread() is self:
            raise RuntimeError("cannot join current thread")
        self._over.wait(timeout)


class _Handle(int):
    """The address of a ``struct pykw_worker``; frees it with its last reference.

    Not before: the collector finalizes all that it has found in no set order, and what is
    finalized later may still call the worker. It does not track an int.
    """

    __slots__ = ()

    def __del__(self) -> None:
        if self:
            lib.pykw_worker_free(self)


class _Waiter:
    """A Watch of what Python itself keeps: somebody is notified once, unless he cancels."""

    __slots__ = ("_notify",)

    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify: Callable[[], object] | None = notify

    def tell(self) -> bool:
        notify, self._notify = self._notify, None
        if notify is None:
            return False
        notify()
        return True

    def cancel(self) -> None:
        self._notify = None


# --- the core object ---------------------------------------------------------------------------


class _Core:
    """All of a worker but the object in the user's hand; C calls its public methods."""

    def __init__(
        self,
        name: str,
        *,
        busy_poll: float | None,
        on_error: Callable[[Work[Any], BaseException], object] | None,
        daemon: bool,
        max_pending: int | None,
        exit_timeout: float | None,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        watchdog: float | None,
        traceback: bool,
        thread_options: ThreadOptions,
        timing: bool,
    ) -> None:
        self.name = name
        self.number = next(_numbers)  # in a trace
        self.thread_options = thread_options
        self.on_error = on_error
        self.daemon = daemon
        self.max_pending = max_pending
        self.exit_timeout = exit_timeout
        self.initializer = initializer
        self.initargs = initargs
        self.initialized: threading.Thread | None = None  # the last thread that has called it
        self.watchdog = watchdog
        self.origins = Origins(self.runs_begun) if traceback else None
        self.closed = False  # destroy was called
        self.broken = False  # the initializer has failed
        self.gone = False  # destroyed, or left behind by fork
        self.rooms: deque[_Waiter] = deque()  # those that wait for a place on the list
        self.ends: list[_Waiter] = []  # those that wait for the thread to leave
        self.hooks: dict[str, _Hook] = {}  # by the event
        self.handle = _Handle(0)
        poll = _ADAPTIVE_POLL
        if busy_poll is not None:
            poll = _nanoseconds(busy_poll, _LONGEST_POLL_NS)
        # Not the strict encoding: a lone surrogate is legal in a str.
        encoded = name.encode("utf-8", "backslashreplace")
        self.handle = _Handle(
            lib.pykw_worker_new(encoded, poll, min(max_pending or 0, _MOST), timing, id(self))
        )
        if not self.handle:
            raise MemoryError
        lib.pykw_worker_set_daemon(self.handle, daemon)
        if initializer is not None:
            lib.pykw_worker_tell(self.handle, _ENTER, True)
        if traceback:
            lib.pykw_worker_tell(self.handle, _NOTE, True)
        if watchdog is not None:
            _watchdog.add(self)
        _live.add(self)
        _recorder.begin_with(self)

    def refuse_if_unusable(self) -> None:
        if _exiting:
            raise RuntimeError(_AFTER_EXIT)
        if self.closed:
            raise RuntimeError(_AFTER_SHUTDOWN)
        if self.gone:
            raise RuntimeError(_LEFT_BEHIND)

    def refuse_if_broken(self) -> None:
        """It takes no other thread; run_pending() still drops what is pending."""
        if self.broken:
            raise BrokenThreadPool(BROKEN)

    def destroy(self, seconds: float | None) -> int:
        """Returns 0, or -errno."""
        handle = self.handle
        try:
            result = _wait(lambda _, ns: lib.pykw_worker_destroy(handle, ns), seconds)
        except BaseException:  # Ctrl-C: nobody waits, but it goes
            if lib.pykw_worker_closed(handle):
                self.has_closed()
                _orphans.add(self)
            raise
        if result == -errno.EDEADLK and self in _left_behind:
            # Forked by its own callback: nobody is there to wait for.
            lib.pykw_worker_abandon(handle, False)
            result = 0
        if _has_no_thread_left(result):
            result = 0
        if result != -errno.EDEADLK:
            self.has_closed()
            _orphans.add(self)
        if result == 0:
            self.gone = True
            _orphans.discard(self)
            _live.discard(self)
            _with_thread.discard(self)
            if self.watchdog is not None:
                _watchdog.discard(self)
        return result

    def close(self) -> None:
        """Begin with the destruction; does not wait."""
        lib.pykw_worker_close(self.handle)
        self.has_closed()

    def has_closed(self) -> None:
        self.closed = True
        self.refuse_who_waits()

    def refuse_who_waits(self) -> None:
        """Nothing is taken any more: those who wait for a place are to see that."""
        while self.rooms:
            self.room()

    def leave_alone(self) -> None:
        """It is closed, and nobody will destroy it: that is done when its thread has ended."""
        if self.destroy(0):
            _orphans.add(self)

    def current_work(self) -> Work[Any] | None:
        found: list[Work[Any]] = []
        lib.pykw_worker_current_work(self.handle, id(found))
        return found[0] if found else None

    def stats(self) -> dict[str, float]:
        names = (
            "queued", "executed", "coalesced", "cancelled", "pending", "delayed", "sleeps",
            "poll_hits", "missed",
        )  # fmt: skip
        counters = ffi.new(f"uint64_t[{len(names)}]")
        lib.pykw_worker_stats(self.handle, counters)
        stats: dict[str, float] = dict(zip(names, counters, strict=True))
        times = ffi.new("uint64_t[6]")
        if lib.pykw_worker_times(self.handle, times):
            stats.update(run_times(*times))
        return stats

    def runs_begun(self) -> int:
        return int(self.stats()["executed"])

    # -- called by C, on the worker's thread

    def thread_started(self) -> None:
        """Before the first Python work of a thread of ours."""
        _WorkerThread(self.name)

    def thread_ending(self) -> None:
        """After the last."""
        thread = threading.current_thread()
        if isinstance(thread, _WorkerThread):
            thread.end()

    def enter(self) -> None:
        """A thread is about to serve it: has that called the initializer?"""
        thread = threading.current_thread()
        if self.initializer is None or thread is self.initialized:
            return
        self.initialized = thread
        try:
            self.initializer(*self.initargs)
        except BaseException as failure:
            concurrent.futures._base.LOGGER.critical("Exception in initializer:", exc_info=True)
            self.broken = True
            lib.pykw_worker_break(self.handle)
            self.refuse_who_waits()
            if _is_interrupt(failure):
                raise

    def leave(self) -> None:
        """The thread has run its last work."""
        lib.pykw_worker_tell(self.handle, _LEAVE, False)
        ends, self.ends = self.ends, []
        for waiter in ends:
            waiter.tell()

    def room(self) -> bool:
        """A place on the list is free. Returns True: the first who waits for one has it now."""
        while True:
            try:
                if self.rooms.popleft().tell():
                    return True
            except IndexError:
                lib.pykw_worker_tell(self.handle, _ROOM, False)
                if not self.rooms:
                    return False
                lib.pykw_worker_tell(self.handle, _ROOM, True)  # one has come meanwhile

    def report(self, work: Work[Any], exception: BaseException) -> None:
        """A callback has let an exception out."""
        if self.on_error is None:
            _unraisable.report("Exception ignored in work", exception, work)
        else:
            try:
                self.on_error(work, exception)
            except BaseException as failure:
                if _is_interrupt(failure):
                    raise
                _unraisable.report("Exception ignored in on_error", failure, self.on_error)

    def add_origin(self, work: Work[Any], exception: BaseException) -> None:
        """A callback has let an exception out."""
        if self.origins is not None:
            self.origins.add_to(work, exception)

    # -- called by C, on whatever thread queues, and on the worker's

    def note_origin(self, work: Work[Any]) -> None:
        """It is about to be queued."""
        if self.origins is not None:
            self.origins.note(work)

    def busy(self) -> None:
        """Something was queued, and nobody looks."""
        _watchdog.begin(self)

    def trace(self, event: str, work: Work[Any]) -> None:
        """A work was queued, is about to begin, or has ended."""
        hook = self.hooks.get(event)
        if hook is None:
            return
        try:
            hook(work)
        except BaseException as failure:
            if event != "queue" and _is_interrupt(failure):
                raise
            _unraisable.report(f"Exception ignored in on_{event}", failure, hook)

    def set_hook(self, event: str, hook: _Hook | None) -> None:
        if hook is None:
            self.hooks.pop(event, None)
        elif callable(hook):
            self.hooks[event] = hook
        else:
            raise TypeError(f"on_{event} must be callable or None, not {type(hook).__name__}")
        lib.pykw_worker_trace(self.handle, id(self.hooks))

    # -- for the watchdog

    def look(self) -> tuple[int, Work[Any] | None, int | None]:
        return self.runs_begun(), self.current_work(), lib.pykw_worker_ident(self.handle) or None

    def has_nothing_to_do(self) -> bool:
        # Not current_work(): a run that has begun is shown there when its thread has the GIL.
        return not self.stats()["delayed"] and lib.pykw_flush_worker(self.handle, 0, 0) == 0

    def tell_busy(self, wanted: bool) -> None:
        lib.pykw_worker_tell(self.handle, _BUSY, wanted)


def _has_no_thread_left(result: int) -> bool:
    """The interpreter finalizes, and has ended a daemon's thread: there is no end to wait for."""
    return result == -errno.ECANCELED and sys.is_finalizing()


def _is_interrupt(failure: BaseException) -> bool:
    """Ctrl-C on the main thread: in run() it ends that, and C sees to it."""
    return (
        isinstance(failure, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
    )


# All that are not destroyed. Those without a thread of their own are nobody's but the user's: a
# cycle through their callbacks is garbage as soon as he has let go of it.
_live: weakref.WeakSet[_Core] = weakref.WeakSet()
_with_thread: set[_Core] = set()


def _make_watchdogs_worker() -> Worker:
    """One whose works go on while the exit waits for others."""
    worker = Worker("pykworker-watchdog", daemon=True)
    lib.pykw_worker_set_daemon(worker._core.handle, False)
    return worker


_watchdog = Watchdog(_make_watchdogs_worker)


def _serve(runs: Iterable[Callable[[], object]]) -> None:
    """What a worker's thread is in while it runs a burst; see ``work.c``."""
    for run in runs:
        run()


# --- works -------------------------------------------------------------------------------------


class Work(WorkBase, Generic[_R]):
    """A function with an identity, to be queued on a worker.

    *fn* is called as ``fn(*args, **kwargs)`` on the worker's thread; what it returns is dropped.
    With a *context* it is called in that, else in the thread's own. TypeError when it can't be
    called, and for a *context* that is no ``contextvars.Context``.

    A work never runs twice at once. It may be queued any number of times, by its own callback
    too, and on another worker once it is idle. Nothing need be kept: a worker holds what is
    queued on it until it has run. As ``struct kthread_work``.

    >>> with kw.Worker() as worker:
    ...     greet = kw.Work(print, "hello", sep="-")
    ...     assert worker.queue(greet)
    ...     greet.flush()
    hello
    """

    __slots__ = ("__weakref__",)

    if TYPE_CHECKING:  # they are the base's

        @overload
        def __init__(
            self,
            fn: Callable[..., _R],
            /,
            *args: Any,
            context: contextvars.Context | None,
            **kwargs: Any,
        ) -> None: ...
        @overload
        def __init__(
            self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
        ) -> None: ...
        def __init__(self, fn: Callable[..., _R], /, *args: Any, **kwargs: Any) -> None: ...
        @property
        def fn(self) -> Callable[..., _R]: ...

    def flush(self, timeout: float | None = None) -> None:
        """Wait for the run that is pending or, when none is, for the one that executes.

        Works behind it, and later runs of a work that queues itself, are not waited for. A
        timer that runs is cut short: the work goes to the tail of the list now. After
        the return all that the callback wrote is seen, and the worker holds no reference to
        the work for that run. An idle work returns at once, and so does the flush of a run
        that is cancelled meanwhile.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when the time runs out, and leaves the work as it is; DeadlockError
        from a callback of the same worker, or of one that this worker waits for; RuntimeError
        in a forked child for a work that was pending in the parent.

        From any thread; sleeps; Ctrl-C ends it. As ``kthread_flush_work``.

        >>> done = []
        >>> with kw.Worker() as worker:
        ...     work = kw.Work(done.append, 1)
        ...     assert worker.queue(work)
        ...     work.flush()
        ...     done
        [1]
        """
        handle = self._handle
        if timeout is None:
            result = 0
            while (result := _flush_work(handle, result, _FOREVER)) > 0:
                pass
        else:
            result = _wait(
                lambda again, ns: _flush_work(handle, again, ns), timeout_seconds(timeout)
            )
        if result:
            _refuse(result, "the work did not finish in time")

    def cancel(self, wait: bool = True) -> bool:
        """Drop the run that is pending, on the list or with a timer.

        With *wait* it also waits for the run that executes, and while it waits queueing is
        refused: after the return the work is neither pending nor executing, even when its
        callback queues it. From its own callback, and from another one of the same worker,
        there is nothing to wait for.

        Returns True: a pending run was dropped. Of many who cancel at once at most one is
        told so for one queueing. False: none was pending.

        Raises DeadlockError from a callback that the executing one waits for, and then drops
        nothing.

        From any thread; sleeps with *wait*; Ctrl-C ends the wait, the pending run stays
        dropped and the work may be queued again. As ``kthread_cancel_work_sync`` and, without
        *wait*, ``kthread_cancel_work``.

        >>> with kw.Worker(start=False) as worker:
        ...     work = kw.Work(print, "never")
        ...     assert worker.queue(work)
        ...     work.cancel(), work.cancel(), work.pending
        (True, False, False)
        """
        return self._drop("wait" if wait else "now")

    def disable(self) -> bool:
        """Cancel it, and refuse to queue it until :meth:`enable` was called as often.

        Waits, returns and raises as :meth:`cancel`; whoever gets an error has not disabled it.

        From any thread; sleeps; Ctrl-C ends it. As the kernel's ``disable_work_sync``.

        >>> with kw.Worker() as worker:
        ...     work = kw.Work(print)
        ...     work.disable(), worker.queue(work)
        (False, False)
        """
        return self._drop("disable")

    def _drop(self, how: Literal["now", "wait", "disable"]) -> bool:
        result = self._cancel(how)
        if result < 0:
            _refuse(result, "")
        return bool(result)

    def enable(self) -> bool:
        """Take back one :meth:`disable`.

        Returns True: it may be queued again. False: it is still disabled.

        Raises RuntimeError when it is not disabled.

        From any thread, callbacks included; never waits. As the kernel's ``enable_work``.

        >>> work = kw.Work(print)
        >>> work.disable()
        False
        >>> work.enable()
        True
        """
        enabled = self._enable()
        if enabled is None:
            raise RuntimeError("enable() without disable()")
        return enabled

    async def flushed(self) -> None:
        """As :meth:`flush`, to be awaited: the event loop goes on meanwhile.

        No thread is made, and nothing is polled: the worker tells. Cancelling the wait changes
        nothing else.

        Raises RuntimeError in a forked child for a work that was pending in the parent.

        From a coroutine on an asyncio loop.

        >>> import asyncio
        >>> async def main():
        ...     async with kw.Worker() as worker:
        ...         work = kw.Work(print, "measured")
        ...         worker.queue(work)
        ...         await work.flushed()
        >>> asyncio.run(main())
        measured
        """
        await wait_for(self._watch_flush)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def __repr__(self) -> str:
        return _describe(self, getattr(self.fn, "__qualname__", None) or repr(self.fn))


def _describe(work: Work[Any], name: str) -> str:
    states = ["executing"] if work.executing else []
    if work._remaining() is not None:
        states.append("delayed")
    elif work.pending:
        states.append("pending")
    return f"<{type(work).__name__} {name} {' and '.join(states) or 'idle'}>"


class BoundWork(Work[_R], Generic[_P, _R]):
    """A work bound to its worker, made by ``@worker.work``.

    It holds its worker. Called like the function that it wraps, it calls that function at
    once, on the calling thread; :meth:`queue` has the worker call it, without arguments.

    >>> with kw.Worker("device") as worker:
    ...     @worker.work
    ...     def poll(channel=0):
    ...         print("channel", channel)
    ...     assert poll.queue()  # on the worker's thread
    ...     poll.flush()
    ...     poll(3)  # here and now
    channel 0
    channel 3
    """

    __slots__ = ("__dict__", "_worker")

    def __init__(self, worker: Worker, fn: Callable[_P, _R]) -> None:
        super().__init__(fn, context=None)
        self._worker = worker
        functools.update_wrapper(self, fn)

    @property
    def worker(self) -> Worker:
        """The worker that :meth:`queue` queues on.

        >>> with kw.Worker("device") as worker:
        ...     worker.work(print).worker is worker
        True
        """
        return self._worker

    def queue(self) -> bool:
        """Queue it on its worker; returns and raises as :meth:`Worker.queue`.

        >>> with kw.Worker(start=False) as worker:
        ...     poll = worker.work(print)
        ...     poll.queue(), poll.queue()
        (True, False)
        """
        return self._worker.queue(self)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call the function here and now."""
        result: _R = self.fn(*args, **kwargs)
        return result


class DelayedWork(Work[_R]):
    """A work that may also be queued with a delay; *fn*, *args*, *kwargs* as for :class:`Work`.

    See :meth:`Worker.queue_delayed` and :meth:`Worker.mod_delayed`. It is pending while its
    timer runs. As ``struct kthread_delayed_work``.

    >>> save = kw.DelayedWork(print, "saved")
    >>> with kw.Worker() as worker:
    ...     for key in "abc":  # each key puts it off
    ...         _ = worker.mod_delayed(save, 60)
    ...     save.flush()  # now, rather than then
    saved
    """

    __slots__ = ()

    @overload
    def __init__(
        self,
        fn: Callable[..., _R],
        /,
        *args: Any,
        context: contextvars.Context | None,
        **kwargs: Any,
    ) -> None: ...
    @overload
    def __init__(self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> None: ...
    def __init__(  # type: ignore[misc]  # of what a ParamSpec may hold
        self,
        fn: Callable[..., _R],
        /,
        *args: Any,
        context: contextvars.Context | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fn, *args, context=context, **kwargs)
        self._init_timer()

    @property
    def remaining(self) -> float | None:
        """Seconds until its timer runs out, 0.0 at the least; None: no timer runs.

        A live snapshot, stale when read.

        >>> with kw.Worker() as worker:
        ...     later = kw.DelayedWork(print)
        ...     before = later.remaining
        ...     assert worker.queue_delayed(later, 60)
        ...     before, 0 < later.remaining <= 60
        (None, True)
        """
        nanoseconds = self._remaining()
        return None if nanoseconds is None else nanoseconds / 1e9


class NativeWork(DelayedWork[None]):
    """A work whose callback is machine code: ``void (*)(void *)``, called without the GIL.

    *address* is where the code is: an int, a ctypes or cffi function pointer, a function of a
    cffi library, a capsule out of the ``__pyx_capi__`` of a Cython module, or an object whose
    ``address`` is an int, as a compiled numba ``cfunc`` has. *data* is what it gets: None, an
    int, a cffi pointer, or a ctypes pointer, array, structure or union; of the last three,
    their address. Both objects are kept alive as long as the work, and so while C may use
    them; a library that ``ffi.dlopen`` has opened is the caller's to keep. It may be queued with
    a delay, and :meth:`Worker.every` has its code run periodically.

    Raises TypeError for any other kind and, where its type tells, for a function that takes or
    returns anything else, or that needs the GIL; ValueError for an address that cannot be one.
    An int that is no address of such a function crashes the process.

    >>> import ctypes
    >>> free = ctypes.CDLL(None).free  # void free(void *), which does nothing with NULL
    >>> free.argtypes, free.restype = [ctypes.c_void_p], None
    >>> with kw.Worker() as worker:
    ...     work = kw.NativeWork(free)
    ...     assert worker.queue(work)
    ...     work.flush()
    ...     worker.stats()["executed"]
    1
    """

    __slots__ = ("_address",)

    _address: int

    def __init__(self, address: object, data: object = None) -> None:
        number = code_address(address)
        self._init_native(number, data_address(data) or 0, address, (data,))
        self._init_timer()
        self._address = number

    @property
    def address(self) -> int:
        """Where the code is.

        >>> hex(kw.NativeWork(0x1000).address)
        '0x1000'
        """
        return self._address

    @property
    def data(self) -> object:
        """The data as it was given.

        >>> import ctypes
        >>> sample = (ctypes.c_double * 8)()
        >>> kw.NativeWork(0x1000, sample).data is sample
        True
        """
        return self.args[0]

    def __repr__(self) -> str:
        return _describe(self, f"{self._address:#x}")


class PeriodicWork(DelayedWork[_R]):
    """A work that runs every *interval* seconds; made by :meth:`Worker.every`, not by the user.

    The next tick is armed when a run begins, so that it is executing and pending then. Ticks
    are never made up for: those that have passed when a run begins are skipped and counted.

    It ends with :meth:`cancel` and :meth:`disable`, when its callback returns
    :data:`pykworker.CANCEL`, and with its worker. From then on it is a delayed work like any
    other. :attr:`fn` may be a :class:`NativeWork`: then its code runs at each tick, without the
    GIL. A flush has the present tick run now, and leaves the later ones where they were;
    :meth:`Worker.mod_delayed` moves the next tick, and the later ones with it.

    >>> ticks = []
    >>> def tick():
    ...     ticks.append(1)
    ...     return kw.CANCEL if len(ticks) == 3 else None
    >>> with kw.Worker() as worker:
    ...     beat = worker.every(0.001, tick)
    ...     while beat.pending or beat.executing:
    ...         pass
    >>> len(ticks)
    3
    """

    __slots__ = ("_interval",)

    def __init__(
        self,
        interval: float,
        fn: Callable[..., _R] | NativeWork,
        /,
        *args: Any,
        context: contextvars.Context | None = None,
        **kwargs: Any,
    ) -> None:
        seconds = interval_seconds(interval)
        if isinstance(fn, NativeWork):
            if args or kwargs or context is not None:
                raise TypeError("a NativeWork takes neither arguments nor a context")
            self._init_native(fn.address, data_address(fn.data) or 0, fn, ())
            self._init_timer()
        else:
            super().__init__(fn, *args, context=context, **kwargs)
        self._interval = seconds

    @property
    def interval(self) -> float:
        """Seconds from one tick to the next.

        >>> with kw.Worker() as worker:
        ...     worker.every(60, print).interval
        60.0
        """
        return self._interval

    @property
    def missed(self) -> int:
        """How many ticks were skipped, since they had passed when a run began.

        >>> with kw.Worker() as worker:
        ...     worker.every(60, print).missed
        0
        """
        return self._missed


# --- submitted calls ---------------------------------------------------------------------------


class Call(CallBase, Work[_R]):
    """The work of a submitted call, as hooks and :func:`current_work` see it.

    Queued again, it does nothing: a call is made once.
    """

    __slots__ = ("__weakref__",)


class Future(FutureBase, concurrent.futures.Future[_R]):
    """The result to come of a submitted call; made by :meth:`Worker.submit`, not by the user.

    A :class:`concurrent.futures.Future` in all: ``concurrent.futures.wait``, ``as_completed``
    and ``asyncio.wrap_future`` take it. :meth:`result` and :meth:`exception` wait as a flush
    does: a deadlock is told, and :meth:`cancel` takes the call off the worker's list.

    >>> with kw.Worker() as worker:
    ...     future = worker.submit(pow, 2, 10)
    ...     future.result()
    1024
    """

    __slots__ = ()

    if TYPE_CHECKING:  # it is the base's

        def result(self, timeout: float | None = None) -> _R: ...

    def _set_running(self) -> bool:
        """Its call begins, where somebody has asked for the condition. False: it was cancelled."""
        with self._condition:
            if self._state != "PENDING":
                return False
            self._state = "RUNNING"
            return True

    def _cancel_and_notify(self) -> bool:
        """:meth:`cancel`, where somebody has asked for the condition."""
        with self._condition:
            if self._state != "PENDING":
                return self.cancelled()
            self._state = "CANCELLED_AND_NOTIFIED"
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]
        return True


_objects = {
    "CANCEL": CANCEL,
    "BrokenThreadPool": BrokenThreadPool,
    "Call": Call,
    "CancelledError": concurrent.futures.CancelledError,
    "Condition": threading.Condition,
    "Context": contextvars.Context,
    "DeadlockError": DeadlockError,
    "Full": queue.Full,
    "is_finalizing": sys.is_finalizing,
    "partial": functools.partial,
    "Future": Future,
    "PlainFuture": concurrent.futures.Future,
    "serve": _serve,
}
lib.pykw_set_objects(id(_objects))


def _interval_ns(seconds: float) -> int:
    return max(1, _nanoseconds(seconds, _LONGEST_DELAY_NS))


# --- workers -----------------------------------------------------------------------------------


class Worker(WorkerBase, ExecutorMethods, ScheduledMethods):
    """One thread that runs works one after the other, in the order of their queueing.

    *name* is its name and that of its thread; None: ``kworker-N``. *busy_poll*, in seconds, is
    the longest that it, and who flushes, polls before it sleeps; None: up to 200 microseconds,
    as far as that pays; 0: never. *on_error* is called as ``on_error(work, exception)``, on the
    worker's thread, for every exception that a callback lets out; without it,
    ``sys.unraisablehook`` is. With *daemon* the interpreter's exit drops what is pending, and
    does not wait for the running callback. Without *start* it only collects, until
    :meth:`start` or :meth:`run` gives it a thread, or :meth:`run_pending` is called.

    *max_pending* is how many works may be pending at once, delayed ones included: whoever queues
    or submits beyond gets ``queue.Full``; None: any number. *watchdog*, in seconds: a callback
    that runs longer is reported once, as a RuntimeWarning with its stack; None: none is.
    *exit_timeout*, in seconds, is how long the interpreter's exit waits for it, before it is
    given up with a line on standard error; None: as long as it takes. *initializer* is called
    as ``initializer(*initargs)`` on its thread before the first work, and on each other thread
    that it is given; when it raises, the worker takes nothing more. With *traceback* an exception
    of a callback gets a note that says where the work was queued. With *timing* :meth:`stats`
    tells how long works have waited and run.

    The rest is set on each thread of its own before that runs anything; when one of them is
    refused, there is no thread, and no Worker. *scheduler* is its class, ``kw.Fifo(50)`` say;
    *cpus* says where it may run, a list like ``"2-3,6"`` or a set; *cgroup* is the directory of the
    one that it joins, v1 or v2. All three may be changed later: see :attr:`scheduler`. With
    *memory_lock* the memory of the process is locked, as by :func:`lock_memory`, and the thread's
    stack is there before it is used. *timer_slack*, in seconds, is how much later than asked for
    its sleeps may end. *stack_size* is in bytes. None: as the thread has it that starts it.

    It is a ``concurrent.futures.Executor`` as well: :meth:`submit`, :meth:`map`, :meth:`shutdown`.
    From asyncio: :meth:`call`, :meth:`flushed` and ``async with``.

    ``on_queue``, ``on_start`` and ``on_end`` may be set to functions that are called with the
    work when it is queued, when it begins and when it has ended.

    Raises TypeError and ValueError for bad arguments; RuntimeError when no thread can be made;
    PermissionError, ValueError or OSError that says which of *scheduler*, *cpus*, *cgroup*,
    *memory_lock*, *timer_slack* and *stack_size* the system refuses, and what would allow it.

    ``with Worker() as worker:`` destroys it at the end. One that is dropped without that gives a
    ResourceWarning, still runs what is pending, and ends. As ``kthread_run_worker``.

    >>> with kw.Worker("sensor") as worker:
    ...     worker.submit(lambda: 6 * 7).result()
    42
    """

    _core: _Core

    def __init__(
        self,
        name: str | None = None,
        *,
        busy_poll: float | None = None,
        on_error: Callable[[Work[Any], BaseException], object] | None = None,
        daemon: bool = False,
        start: bool = True,
        max_pending: int | None = None,
        watchdog: float | None = None,
        exit_timeout: float | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        traceback: bool = False,
        scheduler: Scheduler | None = None,
        cpus: str | Iterable[int] | None = None,
        cgroup: str | os.PathLike[str] | None = None,
        memory_lock: bool = False,
        timer_slack: float | None = None,
        stack_size: int | None = None,
        timing: bool = False,
    ) -> None:
        options = worker_options(
            name=name,
            numbers=_names,
            busy_poll=busy_poll,
            on_error=on_error,
            max_pending=max_pending,
            watchdog=watchdog,
            exit_timeout=exit_timeout,
            initializer=initializer,
            initargs=initargs,
        )
        thread = thread_options(
            scheduler=scheduler,
            cpus=cpus,
            cgroup=cgroup,
            memory_lock=memory_lock,
            timer_slack=timer_slack,
            stack_size=stack_size,
        )
        poll = options.busy_poll
        if poll is None and busy_poll is not None:
            poll = _LONGEST_POLL_NS / 1e9  # infinity
        if getattr(self, "_core", None) is not None:
            raise RuntimeError("Worker.__init__() was called before")
        _reap_orphans()
        if _exiting:
            raise RuntimeError(_AFTER_EXIT)
        core = _Core(
            options.name,
            busy_poll=poll,
            on_error=on_error,
            daemon=bool(daemon),
            max_pending=options.max_pending,
            exit_timeout=options.exit_timeout,
            initializer=initializer,
            initargs=options.initargs,
            watchdog=options.watchdog,
            traceback=bool(traceback),
            thread_options=thread,
            timing=bool(timing),
        )
        lib.pykw_worker_bind(id(self), core.handle, id(core.handle))
        self._core = core  # before the start: the initializer may be a method of its own
        if start:
            try:
                _start(core)
            except BaseException:
                core.destroy(None)
                raise

    # -- works: queue() and queue_many() are the base's

    def queue_delayed(self, work: DelayedWork[Any], delay: float) -> bool:
        """Put *work* at the tail of the list in *delay* seconds; 0: now, as :meth:`queue`.

        It is pending from now on. Never early: when the time is over, by ``time.monotonic()``,
        the worker's own thread puts it there; of works that run out at once, the one first
        that was queued first. A worker without a thread does so when it gets one.

        Returns True: it is pending now. False: it was pending already, and its timer or its
        place is unchanged; or it is being cancelled, or disabled, and is not queued.

        Raises TypeError for anything but a DelayedWork and for a *delay* that is no number;
        ValueError for one that is negative, infinite or NaN; RuntimeError as :meth:`queue`.

        From any thread, callbacks included; never waits. O(log n) of n timers. As
        ``kthread_queue_delayed_work``.

        >>> with kw.Worker() as worker:
        ...     later = kw.DelayedWork(print, "cut short by the flush")
        ...     assert worker.queue_delayed(later, 60)
        ...     later.flush()
        cut short by the flush
        """
        if not isinstance(work, DelayedWork):
            raise TypeError(f"queue_delayed() takes a DelayedWork, not {type(work).__name__}")
        return self._queue_delayed(work, _delay_ns(delay))

    def mod_delayed(self, work: DelayedWork[Any], delay: float) -> bool:
        """Have *work* run in *delay* seconds, whatever was asked for before.

        Its timer, if one runs, or its place on the list is given up for the new delay; with 0
        it goes to the tail now. Whoever flushes it waits for the run to come. Of two calls at
        once the later one's delay holds.

        Returns True: it was pending; or it is being cancelled, and is not queued. False: it was
        not, and is now; or it is disabled, and is not queued.

        Raises as :meth:`queue_delayed`.

        From any thread, callbacks included; never waits. O(log n) of n timers. As
        ``kthread_mod_delayed_work``.

        >>> with kw.Worker() as worker:
        ...     later = kw.DelayedWork(print)
        ...     [worker.mod_delayed(later, 60), worker.mod_delayed(later, 90)]
        [False, True]
        """
        if not isinstance(work, DelayedWork):
            raise TypeError(f"mod_delayed() takes a DelayedWork, not {type(work).__name__}")
        return self._mod_delayed(work, _delay_ns(delay))

    @overload
    def every(self, interval: float, fn: NativeWork, /) -> PeriodicWork[None]: ...
    @overload
    def every(
        self,
        interval: float,
        fn: Callable[..., _R],
        /,
        *args: Any,
        context: contextvars.Context | None,
        **kwargs: Any,
    ) -> PeriodicWork[_R]: ...
    @overload
    def every(
        self, interval: float, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> PeriodicWork[_R]: ...
    def every(  # type: ignore[misc]  # of what a ParamSpec may hold
        self,
        interval: float,
        fn: Callable[..., _R] | NativeWork,
        /,
        *args: Any,
        context: contextvars.Context | None = None,
        **kwargs: Any,
    ) -> PeriodicWork[_R]:
        """Have ``fn(*args, **kwargs)`` run every *interval* seconds, first in one interval.

        *fn* may be a NativeWork, which is not queued itself: its code runs, without the GIL.
        *context* as for :class:`Work`.

        The deadlines are absolute: a run that begins late does not put off those that follow.
        Ticks that have passed when a run begins are skipped, and counted in
        :attr:`PeriodicWork.missed`.

        Returns the work. It need not be kept; ``cancel()`` ends it, and so does its callback
        when it returns :data:`pykworker.CANCEL`.

        Raises TypeError when *fn* cannot be called and for an *interval* that is no number;
        ValueError for one that is 0, negative, infinite or NaN; RuntimeError as :meth:`queue`.

        From any thread, callbacks included; never waits.

        >>> import threading
        >>> twice = threading.Semaphore(0)
        >>> with kw.Worker() as worker:
        ...     beat = worker.every(0.001, twice.release)
        ...     for _ in range(2):
        ...         assert twice.acquire(timeout=60)
        ...     beat.cancel()
        True
        """
        work = PeriodicWork(interval, fn, *args, context=context, **kwargs)
        nanoseconds = _interval_ns(work.interval)
        self._queue_delayed(work, nanoseconds, nanoseconds)
        return work

    @property
    def _max_pending(self) -> int | None:
        return self._core.max_pending

    def _close(self, cancel_futures: bool) -> None:
        core = self._core
        if cancel_futures:
            self._cancel_calls()
        core.close()
        if cancel_futures:
            self._cancel_calls()  # those that came until it was closed
        core.leave_alone()

    def _watch_end(self, notify: Callable[[], object]) -> _Waiter | None:
        core = self._core
        waiter = _Waiter(notify)
        core.ends.append(waiter)
        lib.pykw_worker_tell(core.handle, _LEAVE, True)
        if self.is_alive() and not lib.pykw_worker_leaving(core.handle):
            return waiter
        waiter.cancel()
        return None

    def _watch_room(self, notify: Callable[[], object]) -> _Waiter | None:
        core = self._core
        waiter = _Waiter(notify)
        core.rooms.append(waiter)
        lib.pykw_worker_tell(core.handle, _ROOM, True)
        if not lib.pykw_worker_has_room(core.handle):
            return waiter
        waiter.cancel()
        return None

    def _tell_room(self) -> None:
        lib.pykw_worker_give_room(self._core.handle)

    def work(self, fn: Callable[_P, _R]) -> BoundWork[_P, _R]:
        """Make *fn* a work bound to this worker; a decorator.

        Raises TypeError when *fn* cannot be called.

        >>> with kw.Worker() as worker:
        ...     @worker.work
        ...     def refresh():
        ...         print("refreshed")
        ...     assert refresh.queue()
        ...     refresh.flush()
        refreshed
        """
        return BoundWork(self, fn)

    def flush(self, timeout: float | None = None) -> None:
        """Wait for all that is listed or executing now; not for what is queued later.

        Delayed works whose timer runs are not waited for.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when the time runs out; DeadlockError from every callback of this
        worker, and of one that this worker waits for; RuntimeError in a forked child when
        something was pending in the parent.

        From any thread but the worker's own; sleeps; Ctrl-C ends it. As
        ``kthread_flush_worker``.

        >>> done = []
        >>> with kw.Worker() as worker:
        ...     for n in range(3):
        ...         assert worker.queue(kw.Work(done.append, n))
        ...     worker.flush()
        ...     done
        [0, 1, 2]
        """
        handle = self._core.handle
        result = _wait(
            lambda again, ns: lib.pykw_flush_worker(handle, again, ns), timeout_seconds(timeout)
        )
        if result:
            _refuse(result, "the worker did not finish in time")

    def drain(self, timeout: float | None = None) -> None:
        """Wait until nothing is listed and nothing executes, however much the callbacks queue.

        Meanwhile all others who queue are refused, until the last drain has ended. Delayed
        works whose timer runs are not waited for.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when the time runs out; DeadlockError from every callback of this
        worker, and of one that this worker waits for; RuntimeError in a forked child when
        something was pending in the parent.

        From any thread but the worker's own; sleeps; Ctrl-C ends it. As the kernel's
        ``drain_workqueue``.

        >>> left = [3, 2, 1]
        >>> with kw.Worker() as worker:
        ...     @worker.work
        ...     def step():
        ...         left.pop()
        ...         if left:
        ...             step.queue()
        ...     assert step.queue()
        ...     worker.drain()  # counts what it queues itself
        ...     left
        []
        """
        result = self._drain(_nanoseconds(timeout_seconds(timeout)))
        if result:
            _refuse(result, "the worker did not finish in time")

    # -- the thread

    def start(self) -> None:
        """Give it a thread of its own, which blocks all signals.

        Raises RuntimeError when it has a thread already, is destroyed, or was left behind by
        fork, and when the system has no room for a thread.

        >>> worker, ran = kw.Worker(start=False), []
        >>> worker.queue(kw.Work(ran.append, "as soon as it has a thread"))
        True
        >>> worker.start()
        >>> worker.destroy()
        >>> ran
        ['as soon as it has a thread']
        """
        _start(self._core)

    def run(self) -> None:
        """Serve it with the calling thread, until :meth:`stop` or :meth:`destroy`.

        Raises RuntimeError when it has a thread already, is destroyed, or was left behind by
        fork, and when the calling thread serves a worker already. On the main thread Ctrl-C
        ends it, also out of a callback, with KeyboardInterrupt; what is pending stays so.

        As ``kthread_worker_fn``.

        >>> worker = kw.Worker(start=False)
        >>> worker.queue_many([kw.Work(print, "on this very thread"), kw.Work(worker.stop)])
        2
        >>> worker.run()
        on this very thread
        >>> worker.destroy()
        """
        self._core.refuse_if_broken()
        _serve_here(self._core, lib.pykw_worker_run)

    def run_pending(self) -> int:
        """Run what is pending now with the calling thread, and return.

        For a worker whose one thread is somebody else's, an event loop's say; :meth:`fileno`
        tells when to call it. Works whose timer has run out are among the pending ones; what
        the callbacks queue is left for the next call. A freeze, a stop or a destruction takes
        effect between two works.

        Returns how many were run; a frozen worker runs none.

        Raises RuntimeError when it has a thread, is destroyed, or was left behind by fork, and
        when the calling thread serves a worker already. On the main thread Ctrl-C ends it,
        also out of a callback, with KeyboardInterrupt; what is pending stays so.

        From any thread that serves no worker; waits for nothing but the callbacks. As
        ``kthread_worker_run_pending``.

        >>> with kw.Worker(start=False) as worker:
        ...     assert worker.queue(kw.Work(print, "within the loop"))
        ...     worker.run_pending(), worker.run_pending()
        within the loop
        (1, 0)
        """
        count = _serve_here(self._core, lib.pykw_worker_run_pending)
        return 0 if self._core.broken else count

    def fileno(self) -> int:
        """A file descriptor that is readable while :meth:`run_pending` has something to do.

        Timers that run out included. It is for select, poll and epoll alone; run_pending()
        makes it unreadable again. The first call makes it, :meth:`destroy` closes it.

        Returns the same descriptor at every call.

        Raises RuntimeError when it is destroyed, or was left behind by fork; OSError when the
        system has no room; NotImplementedError where this is not Linux.

        From any thread; waits for nobody, but who queues just then. As ``kthread_worker_fd``.

        >>> import select
        >>> with kw.Worker(start=False) as worker:
        ...     fd = worker.fileno()
        ...     assert worker.queue(kw.Work(print, "called by the loop"))
        ...     readable, _, _ = select.select([fd], [], [])
        ...     assert readable == [fd] and worker.run_pending() == 1
        called by the loop
        """
        self._core.refuse_if_unusable()
        fd: int = lib.pykw_worker_fd(self._core.handle)
        if fd == -errno.ENOTSUP:
            raise NotImplementedError("fileno() is for Linux")
        if fd < 0:
            _refuse(fd, "")
        return fd

    def stop(self, timeout: float | None = None) -> None:
        """Take its thread away: the running callback ends, the rest stays listed.

        The worker may get another thread then. A frozen one is thawed first. From one of its
        own callbacks it only asks, and takes effect when that callback ends. Without a thread
        nothing happens.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when the callback still runs: the request stands, and may be made
        again to wait; DeadlockError from a callback that this worker waits for.

        From any thread; sleeps; Ctrl-C ends the wait. As ``kthread_stop``.

        >>> worker = kw.Worker()
        >>> worker.stop()
        >>> worker.is_alive(), worker.queue(kw.Work(print))
        (False, True)
        >>> worker.destroy()
        """
        core = self._core
        seconds = timeout_seconds(timeout)
        result = _wait(lambda _, ns: lib.pykw_worker_stop(core.handle, ns), seconds)
        if result and result != -errno.ESHUTDOWN and not _has_no_thread_left(result):
            _refuse(result, "the callback did not end in time")
        if not self.is_alive():
            _with_thread.discard(core)

    def freeze(self, timeout: float | None = None) -> None:
        """Have it rest; returns when it does, between two works.

        What is queued meanwhile is kept in order, and so are works whose timer runs out.
        Without a thread it returns at once, and a thread that comes later rests first.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when it did not come to rest in time; then, unless another freeze
        asked for it as well, the request is withdrawn. DeadlockError from its own callbacks,
        and from one that this worker waits for. RuntimeError when it is destroyed, or was left
        behind by fork.

        From any thread but the worker's own; sleeps; Ctrl-C ends it. As the kernel's freezer.

        >>> with kw.Worker() as worker:
        ...     worker.freeze()
        ...     work = kw.Work(print, "thawed")
        ...     assert worker.queue(work) and work.pending
        ...     worker.thaw()
        thawed
        """
        core = self._core
        seconds = timeout_seconds(timeout)
        result = _wait(lambda _, ns: lib.pykw_worker_freeze(core.handle, ns), seconds)
        if result:
            _refuse(result, "the worker did not come to rest in time")

    def thaw(self) -> None:
        """Let it go on. Does nothing when it is not frozen. From any thread; never waits.

        >>> with kw.Worker() as worker:
        ...     worker.freeze()
        ...     worker.thaw()
        ...     worker.submit(len, "abc").result()
        3
        """
        lib.pykw_worker_thaw(self._core.handle)

    def destroy(self, timeout: float | None = None) -> None:
        """End it: refuse what comes from now on, run what is pending, end its thread.

        A frozen worker is thawed first. Without a thread nothing runs: what is pending becomes
        idle, and its flushers return. Calling it again does nothing.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when works still run: queueing stays refused, and the call may be
        made again to wait on; DeadlockError from its own callbacks, and from one that this
        worker waits for, and then it is not destroyed.

        From any thread but the worker's own; sleeps; Ctrl-C ends the wait. As
        ``kthread_destroy_worker``.

        >>> worker = kw.Worker()
        >>> worker.queue(kw.Work(print, "what is pending is run"))
        True
        >>> worker.destroy()
        what is pending is run
        >>> worker.queue(kw.Work(print))
        Traceback (most recent call last):
            ...
        RuntimeError: cannot schedule new futures after shutdown
        """
        result = self._core.destroy(timeout_seconds(timeout))
        if result:
            _refuse(result, "the worker still has works to run")

    # -- what it says of itself

    @property
    def name(self) -> str:
        """Its name, and the whole name of its thread.

        >>> import threading
        >>> with kw.Worker("sensor") as worker:
        ...     worker.name, worker.submit(lambda: threading.current_thread().name).result()
        ('sensor', 'sensor')
        """
        return self._core.name

    @property
    def daemon(self) -> bool:
        """Whether the interpreter's exit drops what is pending.

        >>> with kw.Worker(daemon=True) as worker:
        ...     worker.daemon
        True
        """
        return self._core.daemon

    @property
    def ident(self) -> int | None:
        """``threading.get_ident()`` of the attached thread; None without one.

        >>> import threading
        >>> with kw.Worker() as worker:
        ...     worker.ident == worker.submit(threading.get_ident).result()
        True
        """
        return lib.pykw_worker_ident(self._core.handle) or None

    @property
    def native_id(self) -> int | None:
        """``threading.get_native_id()`` of the attached thread; None without one.

        >>> import threading
        >>> with kw.Worker() as worker:
        ...     worker.native_id == worker.submit(threading.get_native_id).result()
        True
        """
        return lib.pykw_worker_native_id(self._core.handle) or None

    def is_alive(self) -> bool:
        """True while a thread is attached: a live snapshot, stale when read.

        >>> with kw.Worker(start=False) as worker:
        ...     before = worker.is_alive()
        ...     worker.start()
        ...     before, worker.is_alive()
        (False, True)
        """
        return self.native_id is not None

    @property
    def current_work(self) -> Work[Any] | None:
        """The work whose callback runs now; None: none. A live snapshot, stale when read.

        >>> with kw.Worker() as worker:
        ...     @worker.work
        ...     def look():
        ...         print(worker.current_work is look)
        ...     assert look.queue()
        True
        """
        return self._core.current_work()

    @property
    def on_queue(self) -> _Hook | None:
        """Called with each work that a queueing has made pending; None: nothing is.

        On the queueing thread, after the fact; for a delayed work when its timer is armed, for
        a periodic one the first time only. Like the other two hooks it may be set at any time,
        is called under no lock, and what it raises goes to ``sys.unraisablehook``.

        Setting it raises TypeError for what cannot be called.

        >>> with kw.Worker() as worker:
        ...     worker.on_queue = lambda work: print("queued", work.args)
        ...     assert worker.queue(kw.Work(abs, -1))
        queued (-1,)
        """
        return self._core.hooks.get("queue")

    @on_queue.setter
    def on_queue(self, hook: _Hook | None) -> None:
        self._core.set_hook("queue", hook)

    @property
    def on_start(self) -> _Hook | None:
        """Called with each work right before its callback, on the worker's thread.

        >>> with kw.Worker() as worker:
        ...     worker.on_start = lambda work: print("begins", work.args)
        ...     assert worker.queue(kw.Work(abs, -1))
        begins (-1,)
        """
        return self._core.hooks.get("start")

    @on_start.setter
    def on_start(self, hook: _Hook | None) -> None:
        self._core.set_hook("start", hook)

    @property
    def on_end(self) -> _Hook | None:
        """Called with each work right after its callback, on the worker's thread.

        >>> with kw.Worker() as worker:
        ...     worker.on_end = lambda work: print("has ended", work.args)
        ...     assert worker.queue(kw.Work(abs, -1))
        has ended (-1,)
        """
        return self._core.hooks.get("end")

    @on_end.setter
    def on_end(self, hook: _Hook | None) -> None:
        self._core.set_hook("end", hook)

    def stats(self) -> dict[str, float]:
        """Return its counters, all taken at one moment.

        ``queued``: works put on the list. ``executed``: runs begun. ``coalesced``: queueings
        that met a pending work. ``cancelled``: pending runs dropped by cancel, disable and
        destroy. ``pending``: on the list now. ``delayed``: timers that run now. ``sleeps``:
        times it went to sleep for want of works. ``poll_hits``: times that polling spared it
        the sleep. ``missed``: ticks of periodic works that were skipped.

        With ``Worker(timing=True)`` there are also, in seconds, ``waiting_mean`` and
        ``waiting_longest``: from a queueing, or for a timer from its deadline, to the begin of
        the run; and ``running_mean`` and ``running_longest``: from there to its end. Of works that
        were queued from Python.

        >>> with kw.Worker(start=False) as worker:
        ...     work = kw.Work(print)
        ...     answers = [worker.queue(work), worker.queue(work)]
        ...     stats = worker.stats()
        ...     answers, stats["queued"], stats["coalesced"], stats["pending"]
        ([True, False], 1, 1, 1)
        """
        return self._core.stats()

    def __repr__(self) -> str:
        core = self._core
        if core.closed:
            state = "destroyed"
        elif not self.is_alive():
            state = "no thread"
        else:
            state = "frozen" if lib.pykw_worker_freezing(core.handle) else "running"
        return f"<{type(self).__name__} {core.name!r} {state}, {self.stats()['pending']} pending>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        core = getattr(self, "_core", None)
        if core is None or core.closed or core.gone:
            return
        try:
            _warn(f"worker was never destroyed: {self!r}", ResourceWarning, source=self)
        finally:
            # Not to be waited for here: the thread, which may be this one, runs what is
            # pending and leaves.
            core.close()
            core.leave_alone()


# struct kthread_attr's fields, by which it is told what was refused: the arguments' names.
_ARGUMENTS = {
    "policy": "scheduler", "nice": "scheduler", "cpus": "cpus", "cgroup": "cgroup",
    "lock_memory": "memory_lock", "timer_slack_ns": "timer_slack", "stack_size": "stack_size",
}  # fmt: skip


def _start(core: _Core) -> None:
    core.refuse_if_unusable()
    core.refuse_if_broken()
    options = core.thread_options
    attr = ffi.NULL if options == ThreadOptions() else ffi.new("struct kthread_attr *")
    strings: list[Any] = []  # they live as long as attr
    if attr:
        attr.policy = attr.nice = lib.KTHREAD_INHERIT
        if options.scheduler is not None:
            numbers = numbers_of(options.scheduler)
            attr.policy, attr.priority = numbers.policy, numbers.priority
            attr.runtime_ns, attr.deadline_ns, attr.period_ns = numbers[3:]
            if hasattr(options.scheduler, "nice"):
                attr.nice = numbers.nice
        if options.cpus is not None:
            strings.append(ffi.new("char[]", cpu_list(options.cpus).encode()))
            attr.cpus = strings[-1]
        if options.cgroup is not None:
            strings.append(ffi.new("char[]", os.fsencode(options.cgroup)))
            attr.cgroup = strings[-1]
        attr.lock_memory = options.memory_lock
        if options.timer_slack is not None:
            attr.timer_slack_ns = max(1, round(options.timer_slack * 1e9))
        attr.stack_size = options.stack_size or 0
    result = lib.pykw_worker_start(core.handle, attr)
    if result:
        field = lib.kthread_refused_attr()
        if field:
            explain(_ARGUMENTS[ffi.string(field).decode()], -result, options)
        _refuse(result, "")
    _with_thread.add(core)


def _serve_here(core: _Core, call: Callable[[int, bool], int]) -> int:
    """Serve the worker with the calling thread, until *call* returns."""
    core.refuse_if_unusable()
    on_main_thread = threading.current_thread() is threading.main_thread()
    result = call(core.handle, on_main_thread)
    if result == -errno.EDEADLK:
        raise RuntimeError("this thread already serves a worker")
    if result < 0:
        _refuse(result, "")
    interrupt: list[BaseException] = []
    lib.pykw_worker_interrupt(core.handle, id(interrupt))
    if interrupt:
        raise interrupt[0]
    return result


def _delay_ns(delay: float) -> int:
    """Never shorter than asked for, unless that is longer than the clock lasts."""
    seconds = delay_seconds(delay)
    return math.ceil(seconds * 1e9) if seconds < _LONGEST_DELAY_NS / 1e9 else _LONGEST_DELAY_NS


def current_work() -> Work[Any] | None:
    """The work whose callback runs on the calling thread; None: none does.

    From any thread; never waits. As ``kthread_current_work``.

    >>> with kw.Worker() as worker:
    ...     assert worker.queue(kw.Work(lambda: print(kw.current_work().executing)))
    True
    >>> kw.current_work() is None
    True
    """
    found: list[Work[Any]] = []
    lib.pykw_current_work(id(found))
    return found[0] if found else None


def should_stop() -> bool:
    """Shall the running callback give way?

    Returns True once stop() or destroy() of its worker was asked for, the exit of the
    interpreter included.

    Raises RuntimeError outside a worker's callback. As ``kthread_should_stop``.

    >>> import threading
    >>> entered = threading.Event()
    >>> def measure():
    ...     entered.set()
    ...     while not kw.should_stop():
    ...         pass
    ...     print("gives way")
    >>> with kw.Worker() as worker:
    ...     assert worker.queue(kw.Work(measure))
    ...     assert entered.wait(60)
    gives way
    """
    answer = lib.pykw_should_stop()
    if answer < 0:
        raise RuntimeError("should_stop() is for use inside a worker's callback")
    return bool(answer)


# --- workers that nobody holds -----------------------------------------------------------------

_orphans: set[_Core] = set()


def _reap_orphans() -> None:
    """Join the threads of dropped workers that have ended meanwhile."""
    for core in list(_orphans):
        core.destroy(0)


# --- traces ------------------------------------------------------------------------------------


class _Recorder:
    """Events are noted by C, see ``record.c``: here is what comes before and after that."""

    _record = struct.Struct("=6Q4I")  # struct pykw_record

    def __init__(self) -> None:
        self.limit = 0  # 0: nothing is recorded
        self.names: dict[str, int] = {}  # filled by C
        self.workers: dict[int, str] = {}

    def begin(self, limit: int) -> None:
        names: dict[str, int] = {}
        result = lib.pykw_record_begin(limit, id(names))
        if result == -errno.EBUSY:
            raise RuntimeError("a trace is being recorded already")
        if result:
            raise MemoryError
        self.names, self.workers, self.limit = names, {}, limit
        for core in _all_live():
            self.begin_with(core)

    def begin_with(self, core: _Core) -> None:
        if self.limit:
            self.workers[core.number] = core.name
            lib.pykw_record_worker(core.handle, core.number)

    def end(self) -> Recording:
        limit, self.limit = self.limit, 0
        if not limit:
            return Recording([], 0, {})
        record = ffi.new("struct pykw_record *")
        running = b""
        for core in _all_live():
            lib.pykw_record_worker(core.handle, 0)
            if lib.pykw_record_running(core.handle, record):
                running += bytes(ffi.buffer(record))
        total: int = lib.pykw_record_end()
        kept = min(total, limit)
        data = bytes(ffi.buffer(lib.pykw_record_ring(), kept * self._record.size))
        lib.pykw_record_forget()
        names = ["(too many names)", *self.names]
        events = [
            event
            for number, event in self._events(data, names)
            if total - kept < number <= total  # else somebody was still about to write it
        ]
        lost = total - len(events)
        # One that has ended just then is among them.
        ended = {(event.worker, event.begin) for event in events if running}
        events += [
            event
            for _, event in self._events(running, names)
            if (event.worker, event.begin) not in ended
        ]
        return Recording(events, lost, self.workers)

    @classmethod
    def _events(cls, data: bytes, names: list[str]) -> Iterator[tuple[int, Event]]:
        """The records, each with its number."""
        records: Iterator[tuple[int, ...]] = cls._record.iter_unpack(data)
        for number, begin, end, taken, work, name, worker, server, thread, kind in records:
            callback = names[name] if kind == CALLED else name
            yield number, Event(kind, begin, end, taken, work, callback, worker, server, thread)

    def after_fork(self) -> None:
        """In the child."""
        lib.pykw_record_after_fork()
        self.limit = 0


_recorder = _Recorder()
trace = tracer(_recorder, "pykworker.native")


# --- fork --------------------------------------------------------------------------------------


_left_behind: list[_Core] = []


def _mend_main_thread(thread: threading.Thread) -> None:
    """Forked by a callback, the child's main thread is a worker's, which threading did not make.

    Before 3.13 threading expects a lock of it that it has not got, when the child ends.
    """
    if isinstance(thread, _WorkerThread) and getattr(thread, "_tstate_lock", thread) is None:
        lock = threading.Lock()
        lock.acquire()
        thread._tstate_lock = lock  # type: ignore[attr-defined]


def _after_fork_in_child() -> None:
    """C has marked the workers; nobody is to be warned of one that is the parent's."""
    _mend_main_thread(threading.main_thread())
    for core in _live:
        core.gone = True
        lib.pykw_worker_after_fork(core.handle)
    _left_behind.extend(_live)  # the child may have been forked by a callback, and be in C
    _live.clear()
    _with_thread.clear()
    _orphans.clear()
    _watchdog.after_fork()
    _recorder.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# --- exit --------------------------------------------------------------------------------------

_exiting = False
_A_MOMENT = 1.0  # for what takes some microseconds


def _at_exit() -> None:
    """Destroy what was not destroyed, before the interpreter joins its threads and ends."""
    global _exiting
    _exiting = True
    lib.pykw_note_exit()
    given_up: set[_Core] = set()
    begin = time.monotonic()
    # One may have been made until just now. The watchdog's own goes on meanwhile.
    while cores := [
        core for core in _all_live() if core not in given_up and not _watchdog.is_mine(core)
    ]:
        for core in cores:  # all are asked before one is waited for
            if core.daemon:
                lib.pykw_worker_abandon(core.handle, False)
                core.has_closed()
                given_up.add(core)
            else:
                core.close()
        for core in cores:
            if not core.daemon and not _destroy_at_exit(core, begin):
                given_up.add(core)
    until = time.monotonic() + _A_MOMENT
    while lib.pykw_being_registered() and time.monotonic() < until:
        time.sleep(0)


def _all_live() -> list[_Core]:
    while True:
        try:
            return list(_live)
        except RuntimeError:  # another thread has made one just then
            continue


def _destroy_at_exit(core: _Core, begin: float) -> bool:
    """Returns False: it was given up."""
    seconds = core.exit_timeout
    if seconds is not None:
        seconds = max(0.0, begin + seconds - time.monotonic())
    if not core.destroy(seconds):
        return True
    work, pending = core.current_work(), int(core.stats()["pending"])
    if core.has_nothing_to_do() and not core.destroy(_A_MOMENT):
        return True  # but for its thread's last steps
    lib.pykw_worker_abandon(core.handle, True)
    _unraisable.report_given_up(core.name, core.exit_timeout or 0.0, work, pending)
    return False


try:
    # The one that concurrent.futures uses: it runs before threads are joined.
    threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
except (AttributeError, RuntimeError):
    atexit.register(_at_exit)
