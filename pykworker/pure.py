# SPDX-License-Identifier: GPL-2.0-only
"""The whole of pykworker on :mod:`threading` alone, written to be read.

A *worker* is one thread and a first-in-first-out list. A *work* is a function with an
identity: a work that is already on the list cannot be put there a second time, so a burst of
requests coalesces into one run. This is the Linux kernel's ``kthread_worker``; the same calls
with the same results, only slower than the compiled backend. It also serves where there is no
compiler.

**States.** A work is *idle*, *pending* (on a worker's list), *executing*, or *executing and
pending again*::

              queue               taken off the list             callback returned
      idle ----------> pending -----------------------> executing ----------------> idle
                                                            |                         ^
                                                      queue |                         |
                                                            v                         |
                                                  executing and pending --> pending --+ ...

**Positions.** Every run that is asked for gets the next number of its worker, its *position*.
A work keeps the positions of its pending and of its executing run. This is what makes waiting
exact: a flush notes the position of the run it is after, and waits until that number is
neither pending nor executing. Whatever happens meanwhile - the work is queued again, it queues
itself for ever, it moves to another worker - has another number and is not waited for. A flush
of the worker notes the last number given out, and waits until all that is left is younger.

**One condition a worker.** All of a worker's state, and that of the works which belong to it, is
under the lock of one condition; every change that somebody may wait for notifies it, and who
waits looks again. Nothing of the user's - a callback, an error handler, a destructor - runs
under it. The order of locks is: ``_circles``, then a worker's, then ``_claims``.

**Who belongs to whom.** A work that is not idle belongs to one worker, its *owner*, and is
refused by all others. The worker's thread holds a :class:`_Core`, which is all of the worker but
the object in the user's hand, the :class:`Worker`. So the user may drop the Worker: the thread
notices, runs what is pending, and ends.

**Circles.** A thread that serves a worker waits for one thing at a time. So each worker has at
most one arrow, "my callback waits for that worker", and the call that would close a circle of
arrows finds out by following them.

Read on in this order: the states of a work, the core with queue, serve, flush, circles, freeze,
stop and destroy, then the public classes, then fork and exit.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import itertools
import os
import signal
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, NoReturn, ParamSpec, Self, TypeVar

from pykworker._addresses import code_address, data_address
from pykworker._arguments import timeout_seconds
from pykworker._errors import DeadlockError
from pykworker._unraisable import report

__all__ = [
    "BoundWork",
    "DeadlockError",
    "NativeWork",
    "Work",
    "Worker",
    "backend",
    "should_stop",
]

backend: Final = "pure"

_P = ParamSpec("_P")
_R = TypeVar("_R")
_OnError = Callable[["Work", BaseException], object]

_AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"
_AFTER_EXIT = "cannot schedule new futures after interpreter shutdown"
_LEFT_BEHIND = "this worker was left behind in the parent process by fork"

_names = itertools.count(1)
_NativeCallback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # its calls release the GIL


# --- small records -----------------------------------------------------------------------------


class _Status:
    """Where one work stands. It belongs to its owner, and is changed under the owner's lock.

    It is an object of its own, apart from the work, so that the worker can let go of the work
    first - which may run a destructor of the user's - and tell the flushers afterwards.
    """

    __slots__ = ("coalesced", "executing", "owner", "pending")

    def __init__(self) -> None:
        self.owner: _Core | None = None  # None: idle. From None to a core: under _claims
        self.pending = 0  # position of the pending run; 0: not pending
        self.executing = 0  # position of the executing run; 0: not executing
        self.coalesced = 0  # queueings that met a pending run, since the last run began


class _Service:
    """One thread's time in the service of a worker, from attach to detach."""

    __slots__ = ("ended", "interruptible", "longest_sleep", "ours", "stop_asked", "thread")

    def __init__(self, thread: threading.Thread, ours: bool) -> None:
        self.thread = thread
        self.ours = ours  # made by start(), so stop() and destroy() join it
        # Ctrl-C belongs to the main thread: there it ends run(), also out of a callback.
        self.interruptible = not ours and thread is threading.main_thread()
        # A signal handler on this very thread may queue after the last look at the list and
        # before the sleep, where it wakes nobody. So there, look again every second.
        self.longest_sleep = 1.0 if self.interruptible else None
        self.stop_asked = False
        self.ended = False  # once True, always True


class _FreezeRequest:
    """What all those share who wait for the same rest of a worker."""

    __slots__ = ("askers", "granted", "withdrawn")

    def __init__(self) -> None:
        self.askers = 0
        self.granted = False  # the worker came to rest; once True, always True
        self.withdrawn = False  # thawed; once True, always True


class _Wait:
    """An arrow of the circle search: a callback waits for *target* until *is_over*."""

    __slots__ = ("is_over", "target")

    def __init__(self, target: _Core, is_over: Callable[[], bool]) -> None:
        self.target = target
        self.is_over = is_over  # once True, always True; under the target's lock


class _Here(threading.local):
    """What each thread knows of itself."""

    core: _Core | None = None  # the worker that this thread serves


_here = _Here()
_claims = threading.RLock()  # guards the step of a work from idle to an owner
_circles = threading.RLock()  # guards the arrows while somebody follows or sets them
_cores: set[weakref.ref[_Core]] = set()  # all there are, for fork and exit
_exiting = False  # the interpreter shuts down


# --- the worker --------------------------------------------------------------------------------


class _Core:
    """A worker's inside: all of it but the object that the user holds."""

    def __init__(self, name: str, on_error: _OnError | None, daemon: bool) -> None:
        self.name: Final = name
        self.on_error: Final = on_error
        self.daemon: Final = daemon

        # A lock that its holder may take again: a signal handler, or a destructor that the
        # garbage collector calls, may queue a work at any point of what follows.
        self.changed = threading.Condition(threading.RLock())
        self.works: deque[Work] = deque()
        self.last_position = 0  # given out last
        self.executing: _Status | None = None  # of the work whose callback runs
        self.current: Work | None = None  # that work, until the worker lets go of it

        self.service: _Service | None = None  # the attached thread
        self.thread: threading.Thread | None = None  # the last one made by start()
        self.freeze_request: _FreezeRequest | None = None
        self.closed = False  # destroyed, or about to be
        self.left_behind = False  # in a forked child
        self.waits: _Wait | None = None  # what this worker's callback waits for

        self.executed = 0
        self.coalesced = 0
        self.sleeps = 0

        _cores.add(weakref.ref(self, _cores.discard))

    def refuse_if_unusable(self) -> None:
        if self.left_behind:
            raise RuntimeError(_LEFT_BEHIND)
        if _exiting:
            raise RuntimeError(_AFTER_EXIT)
        if self.closed:
            raise RuntimeError(_AFTER_SHUTDOWN)

    # -- queue

    def queue(self, work: Work) -> bool:
        status = work._status
        with self.changed:
            self.refuse_if_unusable()
            if status.owner is not self:
                # Two workers may claim an idle work at once: one of them gets it. The way back
                # to idle needs no such care, it is the owner's alone.
                with _claims:
                    if status.owner is not None:
                        raise RuntimeError("work is pending or executing on another worker")
                    status.owner = self
            if status.pending:
                status.coalesced += 1
                self.coalesced += 1
                return False
            self.last_position += 1
            status.pending = self.last_position
            self.works.append(work)
            self.changed.notify_all()
            return True

    # -- serve: what the worker's thread does

    def serve(self, service: _Service) -> None:
        """Run what is queued until the service shall end. The thread is attached already."""
        _here.core = self
        try:
            while (work := self.take(service)) is not None:
                self.current = work
                self.execute(work, service)
                self.current = None
                # Whoever flushed this work may count on it that we hold it no more. So let go
                # first, outside the lock since a destructor may run, and tell them then.
                work = None
                self.finish()
        finally:
            _here.core = None
            self.detach(service)

    def take(self, service: _Service) -> Work | None:
        """Wait for the next work and take it off the list. None: the thread shall leave."""
        with self.changed:
            while True:
                if service.stop_asked or self.left_behind:
                    return None
                if self.freeze_request is not None:
                    self.freeze_request.granted = True
                    self.changed.notify_all()
                elif self.works:
                    break
                elif self.closed:
                    return None
                else:
                    self.sleeps += 1
                self.changed.wait(service.longest_sleep)
            work = self.works.popleft()
            status = work._status
            status.executing, status.pending = status.pending, 0
            status.coalesced = 0
            self.executing = status
            self.executed += 1
            return work

    def execute(self, work: Work, service: _Service) -> None:
        try:
            try:
                work._fn(*work._args, **work._kwargs)
            except BaseException as error:
                if service.interruptible and isinstance(error, KeyboardInterrupt):
                    raise
                if self.on_error is None:
                    report("Exception ignored in work", error, work)
                else:
                    self.on_error(work, error)
        except BaseException as error:
            if service.interruptible and isinstance(error, KeyboardInterrupt):
                raise
            report("Exception ignored in on_error", error, self.on_error)

    def finish(self) -> None:
        """Make the executed work idle, unless it was queued again, and wake its flushers."""
        with self.changed:
            status, self.executing = self.executing, None
            if status is not None:
                status.executing = 0
                if not status.pending:
                    status.owner = None
            self.changed.notify_all()

    # -- the thread comes and goes

    def attach(self, thread: threading.Thread, ours: bool) -> _Service:
        with self.changed:
            self.refuse_if_unusable()
            if self.service is not None:
                raise RuntimeError("worker already has a thread")
            self.service = _Service(thread, ours)
            if ours:
                self.thread = thread
            return self.service

    def detach(self, service: _Service) -> None:
        self.current = None
        with self.changed:
            self.finish()  # only after a KeyboardInterrupt is there anything to finish
            service.ended = True
            if self.service is service:
                self.service = None
            if self.freeze_request is not None:
                self.freeze_request.granted = True  # no thread rests as well as a resting one
            self.changed.notify_all()

    def start(self) -> None:
        thread = threading.Thread(
            target=self.serve_on_own_thread, daemon=self.daemon or _exit_hook_is_late
        )
        thread.name = self.name  # as an argument, an empty one would not be taken
        service = self.attach(thread, ours=True)
        try:
            thread.start()
        except BaseException:
            self.thread = None
            self.detach(service)
            raise

    def serve_on_own_thread(self) -> None:
        service = self.service
        assert service is not None, "start() attaches the thread before it begins"
        _block_signals()
        _show_name_to_the_system(self.name)
        self.serve(service)

    def run(self) -> None:
        if _here.core is not None:
            raise RuntimeError("this thread already serves a worker")
        self.serve(self.attach(threading.current_thread(), ours=False))

    # -- flush

    def flush_work(self, status: _Status, seconds: float | None) -> None:
        """Wait for the pending run of a work or, when none is pending, for the executing one."""
        with self.changed:
            if status.owner is not self:
                return  # idle, or on another worker: what it had to run here has run
            if self.left_behind:
                raise RuntimeError(_LEFT_BEHIND)
            position = status.pending or status.executing

        def is_over() -> bool:
            return status.owner is not self or position not in (status.pending, status.executing)

        with self.waiting(is_over):
            if not self.sleep_until(is_over, seconds):
                raise TimeoutError("the work did not finish in time")

    def flush(self, seconds: float | None) -> None:
        """Wait until nothing is left that was pending or executing when the call began."""
        with self.changed:
            last = self.last_position
            if self.oldest() > last:
                return
            if self.left_behind:
                raise RuntimeError(_LEFT_BEHIND)

        def is_over() -> bool:
            return self.oldest() > last

        with self.waiting(is_over):
            if not self.sleep_until(is_over, seconds):
                raise TimeoutError("the worker did not finish in time")

    def oldest(self) -> int:
        """The position of the oldest run that has not ended; the next one's when all have."""
        if self.executing is not None:
            return self.executing.executing
        if self.works:
            return self.works[0]._status.pending
        return self.last_position + 1

    # -- sleeping, and the search for circles

    def sleep_until(self, is_over: Callable[[], bool], seconds: float | None) -> bool:
        """Sleep until *is_over*, or for *seconds*. Returns what *is_over* said last."""
        if seconds is not None:
            seconds = min(seconds, threading.TIMEOUT_MAX)
        with self.changed:
            return self.changed.wait_for(is_over, seconds)

    @contextlib.contextmanager
    def waiting(self, is_over: Callable[[], bool]) -> Iterator[None]:
        """Draw the arrow of a wait for this worker; DeadlockError when it closes a circle.

        Only the thread of a worker draws one. An arrow whose wait is over, though its thread
        has not woken up yet, counts no more: else a callback could be told of a circle that
        its own worker opened a moment ago.
        """
        server = _here.core
        if server is None:
            yield
            return
        with _circles:
            previous, arrow = server.waits, _Wait(self, is_over)
            wait: _Wait | None = arrow
            while wait is not None:
                with wait.target.changed:
                    if wait.is_over():
                        break
                if wait.target is server:
                    raise DeadlockError(
                        f"a callback of worker {server.name!r} would wait for itself"
                        if server is self
                        else f"workers {server.name!r} and {self.name!r} would wait for each other"
                    )
                wait = wait.target.waits
            server.waits = arrow
        try:
            yield
        finally:
            server.waits = previous

    # -- freeze

    def freeze(self, seconds: float | None) -> None:
        request: _FreezeRequest | None = None

        def is_over() -> bool:
            return request is not None and (request.granted or request.withdrawn)

        with self.waiting(is_over), self.changed:
            self.refuse_if_unusable()
            request = self.freeze_request or _FreezeRequest()
            request.askers += 1
            self.freeze_request = request
            if self.service is None:
                request.granted = True
            self.changed.notify_all()
            try:
                if not self.sleep_until(is_over, seconds):
                    raise TimeoutError("the worker did not come to rest in time")
            except BaseException:
                request.askers -= 1
                if not request.askers and self.freeze_request is request:
                    self.thaw()
                raise
            if not request.granted:
                self.refuse_if_unusable()  # thawed by destroy, not by thaw

    def thaw(self) -> None:
        with self.changed:
            if self.freeze_request is not None:
                self.freeze_request.withdrawn = True
                self.freeze_request = None
                self.changed.notify_all()

    # -- stop

    def stop(self, seconds: float | None) -> None:
        deadline = _deadline(seconds)
        service = self.service
        if service is None:
            self.join(deadline)
            return
        if _here.core is self:
            self.ask_to_stop(service)
            return

        def is_over() -> bool:
            return service.ended

        with self.waiting(is_over):
            self.ask_to_stop(service)
            if not self.sleep_until(is_over, _remaining(deadline)):
                raise TimeoutError("the callback did not end in time")
        self.join(deadline)

    def ask_to_stop(self, service: _Service) -> None:
        with self.changed:
            service.stop_asked = True
            if self.service is service:
                self.thaw()
            self.changed.notify_all()

    def join(self, deadline: float | None) -> None:
        """Wait for the end of a thread that start() made and that has left already."""
        with self.changed:
            thread = self.thread if self.service is None else None
        if thread is None or thread is threading.current_thread():
            return
        thread.join(_remaining(deadline))
        if thread.is_alive():
            raise TimeoutError("the worker's thread did not end in time")

    # -- destroy

    def close(self) -> None:
        """Refuse what comes, and have the thread leave once the list is empty."""
        with self.changed:
            self.closed = True
            self.thaw()
            self.changed.notify_all()

    def has_ended(self) -> bool:
        return self.closed and self.service is None

    def destroy(self, seconds: float | None) -> None:
        deadline = _deadline(seconds)
        with self.waiting(self.has_ended):
            self.close()
            if not self.sleep_until(self.has_ended, _remaining(deadline)):
                raise TimeoutError("the worker still has works to run")
        self.drop_pending()
        self.finish()  # only in a forked child is there anything to finish
        self.join(deadline)

    def drop_pending(self) -> None:
        """What is pending becomes idle without a run. Only for a closed worker."""
        with self.changed:
            dropped, self.works = self.works, deque()
            statuses = [work._status for work in dropped]
        dropped.clear()  # as in serve: let go of the works outside the lock, then tell
        with self.changed:
            for status in statuses:
                status.pending = 0
                if not status.executing:
                    status.owner = None
            self.changed.notify_all()


def _deadline(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _remaining(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    return min(max(deadline - time.monotonic(), 0.0), threading.TIMEOUT_MAX)


def _block_signals() -> None:
    """Leave signals to the other threads, as every kernel thread does."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _show_name_to_the_system(name: str) -> None:
    """Set the calling thread's name as top and gdb show it: 15 bytes, whole characters."""
    if sys.platform == "linux":
        short = name.encode("utf-8", "replace")[:15].decode("utf-8", "ignore")
        path = f"/proc/self/task/{threading.get_native_id()}/comm"
        with contextlib.suppress(OSError), open(path, "wb") as comm:
            comm.write(short.encode("utf-8"))


# --- what the user holds -----------------------------------------------------------------------


class Work:
    """A function with an identity: while it is pending, queueing it again changes nothing.

    *fn* is called as ``fn(*args, **kwargs)`` on the thread of the worker that it is queued on;
    what it returns is dropped. TypeError when it cannot be called.

    A work never runs twice at once. It may be queued any number of times, one after the other,
    also by its own callback, and on another worker once it is idle. Nothing need be kept: a
    worker holds what is queued on it until it has run. As ``struct kthread_work``.
    """

    __slots__ = ("__weakref__", "_args", "_fn", "_kwargs", "_status")

    def __init__(self, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
        if not callable(fn):
            raise TypeError(f"fn must be callable, not {type(fn).__name__}")
        self._fn = fn
        self._args = args
        self._kwargs = kwargs
        self._status = _Status()

    @property
    def fn(self) -> Callable[..., object]:
        """The function that is called."""
        return self._fn

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments that it is called with."""
        return self._args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments that it is called with."""
        return self._kwargs

    @property
    def pending(self) -> bool:
        """True while it is queued and has not begun: a live snapshot, stale when read."""
        return bool(self._status.pending)

    @property
    def executing(self) -> bool:
        """True while its callback runs: a live snapshot, stale when read."""
        return bool(self._status.executing)

    @property
    def coalesced(self) -> int:
        """How often a queueing met it pending already, since its last run began."""
        return self._status.coalesced

    def flush(self, timeout: float | None = None) -> None:
        """Wait for the run that is pending or, when none is, for the one that executes.

        Works behind it, and later runs of a work that queues itself, are not waited for. After
        the return all that the callback wrote is seen, and the worker holds no reference to
        the work for that run. An idle work returns at once.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when the time runs out, and leaves the work as it is; DeadlockError
        from a callback of the same worker, or of one that this worker waits for; RuntimeError
        in a forked child for a work that was pending in the parent.

        From any thread; sleeps; Ctrl-C ends it. As ``kthread_flush_work``.
        """
        seconds = timeout_seconds(timeout)
        owner = self._status.owner
        if owner is not None:
            owner.flush_work(self._status, seconds)

    def __repr__(self) -> str:
        name = getattr(self._fn, "__qualname__", None) or repr(self._fn)
        states = [state for state in ("executing", "pending") if getattr(self, state)]
        return f"<{type(self).__name__} {name} {' and '.join(states) or 'idle'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")


class BoundWork(Work, Generic[_P, _R]):
    """A work bound to its worker, made by ``@worker.work``.

    It holds its worker. Called like the function that it wraps, it calls that function at
    once, on the calling thread; :meth:`queue` has the worker call it, without arguments.
    """

    __slots__ = ("__dict__", "_worker")

    def __init__(self, worker: Worker, fn: Callable[_P, _R]) -> None:
        super().__init__(fn)
        self._worker = worker
        functools.update_wrapper(self, fn)

    @property
    def worker(self) -> Worker:
        """The worker that :meth:`queue` queues on."""
        return self._worker

    def queue(self) -> bool:
        """Queue it on its worker; returns and raises as :meth:`Worker.queue`."""
        return self._worker.queue(self)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call the function here and now."""
        return self._fn(*args, **kwargs)  # type: ignore[return-value]


class NativeWork(Work):
    """A work whose callback is machine code: ``void (*)(void *)``, called without the GIL.

    *address* is where the code is: an int, a ctypes or cffi function pointer, or an object
    whose ``address`` is an int, as a compiled numba ``cfunc`` has. *data* is what it gets:
    None, an int, a cffi pointer, or a ctypes pointer, array, structure or union; of the last
    three, their address. Both are kept alive as long as the work, and so while C may use them.

    Raises TypeError for any other kind, and ValueError for an address that cannot be one. An
    address that is no such function crashes the process.
    """

    __slots__ = ("_address", "_data", "_originals")

    def __init__(self, address: object, data: object = None) -> None:
        number = code_address(address)
        pointer = data_address(data)
        super().__init__(_NativeCallback(number), pointer)
        self._address = number
        self._data = data
        self._originals = (address, data)

    @property
    def address(self) -> int:
        """Where the code is."""
        return self._address

    @property
    def data(self) -> object:
        """The data as it was given."""
        return self._data

    def __repr__(self) -> str:
        states = [state for state in ("executing", "pending") if getattr(self, state)]
        return f"<{type(self).__name__} {self._address:#x} {' and '.join(states) or 'idle'}>"


class Worker:
    """One thread that runs works one after the other, in the order of their queueing.

    *name* is its name and that of its thread; None: ``kworker-N``. *busy_poll*, in seconds, is
    how long it polls before it sleeps; checked here and otherwise without effect. *on_error* is
    called as ``on_error(work, exception)``, on the worker's thread, for every exception that a
    callback lets out; without it, ``sys.unraisablehook`` is. With *daemon* the interpreter's
    exit drops what is pending, and does not wait for the running callback. Without *start* it
    only collects, until :meth:`start` or :meth:`run` gives it a thread.

    Raises TypeError and ValueError for bad arguments, RuntimeError when no thread can be made.

    ``with Worker() as worker:`` destroys it at the end. One that is dropped without that gives a
    ResourceWarning, still runs what is pending, and ends. As ``kthread_run_worker``.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        busy_poll: float | None = None,
        on_error: Callable[[Work, BaseException], object] | None = None,
        daemon: bool = False,
        start: bool = True,
    ) -> None:
        if name is None:
            name = f"kworker-{next(_names)}"
        elif not isinstance(name, str):
            raise TypeError(f"name must be a str or None, not {type(name).__name__}")
        elif "\0" in name:
            raise ValueError("name must not contain a NUL")
        if on_error is not None and not callable(on_error):
            raise TypeError(f"on_error must be callable, not {type(on_error).__name__}")
        timeout_seconds(busy_poll, "busy_poll")
        if getattr(self, "_core", None) is not None:
            raise RuntimeError("Worker.__init__() was called before")
        core = _Core(name, on_error, bool(daemon))
        if start:
            core.start()
        self._core = core  # last: a Worker that could not be made has nothing to warn of

    # -- works

    def queue(self, work: Work, /) -> bool:
        """Put *work* at the tail of the list.

        What the caller wrote before is seen by the run that this call asks for, and by the one
        that was pending already.

        Returns True: it is pending now, and runs once more if it is executing. False: it was
        pending already, and keeps its place.

        Raises TypeError for anything but a work; RuntimeError when it is pending or executing
        on another worker, when this worker is destroyed, and in a forked child.

        From any thread, callbacks included; never waits. As ``kthread_queue_work``.
        """
        if not isinstance(work, Work):
            raise TypeError(f"queue() takes a Work, not {type(work).__name__}")
        return self._core.queue(work)

    def queue_many(self, works: Iterable[Work], /) -> int:
        """Queue all of *works*, in their order.

        Returns how many were queued; the others were pending already. Raises TypeError, before
        anything is queued, unless all are works; RuntimeError as :meth:`queue`, and then those
        before the refused one stay queued.

        From any thread, callbacks included; never waits.
        """
        items = list(works)
        for work in items:
            if not isinstance(work, Work):
                raise TypeError(f"queue_many() takes Works, not {type(work).__name__}")
        queued = 0
        with self._core.changed:
            for work in items:
                queued += self._core.queue(work)
        return queued

    def work(self, fn: Callable[_P, _R]) -> BoundWork[_P, _R]:
        """Make *fn* a work bound to this worker; a decorator.

        Raises TypeError when *fn* cannot be called.
        """
        return BoundWork(self, fn)

    def flush(self, timeout: float | None = None) -> None:
        """Wait for all that is pending or executing now; not for what is queued later.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when the time runs out; DeadlockError from every callback of this
        worker, and of one that this worker waits for; RuntimeError in a forked child when
        something was pending in the parent.

        From any thread but the worker's own; sleeps; Ctrl-C ends it. As
        ``kthread_flush_worker``.
        """
        self._core.flush(timeout_seconds(timeout))

    # -- the thread

    def start(self) -> None:
        """Give it a thread of its own, which blocks all signals.

        Raises RuntimeError when it has a thread already, is destroyed, or was left behind by
        fork, and when the system has no room for a thread.
        """
        self._core.start()

    def run(self) -> None:
        """Serve it with the calling thread, until :meth:`stop` or :meth:`destroy`.

        Raises RuntimeError when it has a thread already, is destroyed, or was left behind by
        fork, and when the calling thread serves a worker already. On the main thread Ctrl-C
        ends it, also out of a callback, with KeyboardInterrupt; what is pending stays so.

        As ``kthread_worker_fn``.
        """
        self._core.run()

    def stop(self, timeout: float | None = None) -> None:
        """Take its thread away: the running callback ends, the rest stays listed.

        The worker may get another thread then. A frozen one is thawed first. From one of its
        own callbacks it only asks, and takes effect when that callback ends. Without a thread
        nothing happens.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when the callback still runs: the request stands, and may be made
        again to wait; DeadlockError from a callback that this worker waits for.

        From any thread; sleeps; Ctrl-C ends the wait. As ``kthread_stop``.
        """
        self._core.stop(timeout_seconds(timeout))

    def freeze(self, timeout: float | None = None) -> None:
        """Have it rest; returns when it does, between two works.

        What is queued meanwhile is kept in order. Without a thread it returns at once, and a
        thread that comes later rests first.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when it did not come to rest in time; then, unless another freeze
        asked for it as well, the request is withdrawn. DeadlockError from its own callbacks,
        and from one that this worker waits for. RuntimeError when it is destroyed, or was left
        behind by fork.

        From any thread but the worker's own; sleeps; Ctrl-C ends it. As the kernel's freezer.
        """
        self._core.freeze(timeout_seconds(timeout))

    def thaw(self) -> None:
        """Let it go on. Does nothing when it is not frozen. From any thread; never waits."""
        self._core.thaw()

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
        """
        self._core.destroy(timeout_seconds(timeout))

    def __enter__(self) -> Self:
        """Return the worker itself; the end of the ``with`` block destroys it."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Destroy it."""
        self.destroy()

    # -- what it says of itself

    @property
    def name(self) -> str:
        """Its name, and the whole name of its thread."""
        return self._core.name

    @property
    def daemon(self) -> bool:
        """Whether the interpreter's exit drops what is pending."""
        return self._core.daemon

    @property
    def ident(self) -> int | None:
        """``threading.get_ident()`` of the attached thread; None without one."""
        service = self._core.service
        return None if service is None else service.thread.ident

    @property
    def native_id(self) -> int | None:
        """``threading.get_native_id()`` of the attached thread; None without one."""
        service = self._core.service
        return None if service is None else service.thread.native_id

    def is_alive(self) -> bool:
        """True while a thread is attached: a live snapshot, stale when read."""
        return self._core.service is not None

    @property
    def current_work(self) -> Work | None:
        """The work whose callback runs now; None: none. A live snapshot, stale when read."""
        return self._core.current

    def stats(self) -> dict[str, int]:
        """Return its counters, all taken at one moment.

        ``queued``: works put on the list. ``executed``: runs begun. ``coalesced``: queueings
        that met a pending work. ``pending``: on the list now. ``sleeps``: times it went to sleep
        for want of works. ``poll_hits``: times that polling spared it the sleep; always 0 here.
        """
        core = self._core
        with core.changed:
            return {
                "queued": core.last_position,
                "executed": core.executed,
                "coalesced": core.coalesced,
                "pending": len(core.works),
                "sleeps": core.sleeps,
                "poll_hits": 0,
            }

    def __repr__(self) -> str:
        core = self._core
        if core.closed:
            state = "destroyed"
        elif core.service is None:
            state = "no thread"
        elif core.freeze_request is not None:
            state = "frozen"
        else:
            state = "running"
        return f"<{type(self).__name__} {core.name!r} {state}, {len(core.works)} pending>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        core = getattr(self, "_core", None)
        if core is None or core.closed or core.left_behind:
            return
        try:
            _warn(f"worker was never destroyed: {self!r}", ResourceWarning, source=self)
        finally:
            core.close()  # a thread runs what is pending and leaves by itself
            if core.service is None:
                core.drop_pending()


def should_stop() -> bool:
    """Shall the running callback give way?

    Returns True once stop() or destroy() of its worker was asked for, the exit of the
    interpreter included.

    Raises RuntimeError outside a worker's callback. As ``kthread_should_stop``.
    """
    core = _here.core
    if core is None:
        raise RuntimeError("should_stop() is for use inside a worker's callback")
    service = core.service
    return core.closed or (service is not None and service.stop_asked)


# --- fork --------------------------------------------------------------------------------------


def _living_cores() -> list[_Core]:
    return [core for ref in list(_cores) if (core := ref()) is not None]


def _after_fork_in_child() -> None:
    """No worker's thread came along, and locks may be held by threads that did not either."""
    global _claims, _circles
    _claims = threading.RLock()
    _circles = threading.RLock()
    _here.core = None
    for core in _living_cores():
        core.changed = threading.Condition(threading.RLock())
        core.left_behind = True
        core.waits = None
        core.thread = None
        core.current = None
        if core.service is not None:
            core.service.ended = True
            core.service = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# --- exit --------------------------------------------------------------------------------------


def _at_exit() -> None:
    """Destroy what was not destroyed, before the interpreter joins its threads."""
    global _exiting
    _exiting = True
    cores = _living_cores()
    for core in cores:
        core.close()
        if core.daemon:
            core.drop_pending()
    for core in cores:
        if not core.daemon:
            core.destroy(None)


_exit_hook_is_late = False
try:
    # The one that concurrent.futures uses: it runs before threads are joined. atexit runs
    # after that, so that the workers' threads must not be among those to be joined.
    threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
except (AttributeError, RuntimeError):
    _exit_hook_is_late = True
    atexit.register(_at_exit)
