# SPDX-License-Identifier: GPL-2.0-only
"""The worker as the user holds it: it checks the arguments, and leaves the rest to its core."""

from __future__ import annotations

import contextvars
import itertools
import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, ParamSpec, TypeVar

from pykworker._arguments import (
    delay_seconds,
    run_times,
    timeout_seconds,
    worker_options,
)
from pykworker._executor import ExecutorMethods
from pykworker._scheduled import ScheduledMethods
from pykworker._scheduling import Scheduler, thread_options
from pykworker._watchdog import Watchdog
from pykworker.pure._core import AFTER_EXIT, Core
from pykworker.pure._futures import Future
from pykworker.pure._records import Watch, here, shared
from pykworker.pure._works import BoundWork, Call, DelayedWork, NativeWork, PeriodicWork, Work

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Hook = Callable[[Work[Any]], object]

_names = itertools.count(1)
_watchdog = Watchdog(lambda: Worker("pykworker-watchdog", daemon=True))


class Worker(ExecutorMethods, ScheduledMethods):
    """One thread that runs works one after the other, in the order of their queueing.

    *name* is its name and that of its thread; None: ``kworker-N``. *busy_poll*, in seconds, is
    how long it polls before it sleeps; checked here and otherwise without effect. *on_error* is
    called as ``on_error(work, exception)``, on the worker's thread, for every exception that a
    callback lets out; without it, ``sys.unraisablehook`` is. With *daemon* the interpreter's
    exit drops what is pending, and does not wait for the running callback. Without *start* it
    only collects, until :meth:`start` or :meth:`run` gives it a thread.

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

    Raises TypeError and ValueError for bad arguments; RuntimeError when no thread can be made;
    PermissionError, ValueError or OSError that says which of *scheduler*, *cpus*, *cgroup*,
    *memory_lock*, *timer_slack* and *stack_size* the system refuses, and what would allow it.

    ``on_queue``, ``on_start`` and ``on_end`` may be set to functions that are called with the
    work when it is queued, when it begins and when it has ended.

    ``with Worker() as worker:`` destroys it at the end. One that is dropped without that gives a
    ResourceWarning, still runs what is pending, and ends. As ``kthread_run_worker``.
    """

    _core: Core

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
        if getattr(self, "_core", None) is not None:
            raise RuntimeError("Worker.__init__() was called before")
        if shared.exiting:
            raise RuntimeError(AFTER_EXIT)
        core = Core(
            options.name,
            on_error=on_error,
            daemon=bool(daemon),
            max_pending=options.max_pending,
            watchdog=options.watchdog,
            exit_timeout=options.exit_timeout,
            initializer=initializer,
            initargs=options.initargs,
            notes_origins=bool(traceback),
            thread_options=thread,
            timing=bool(timing),
        )
        self._core = core  # before the start: the initializer may be a method of its own
        try:
            if options.watchdog is not None:
                core.watch_out(_watchdog)
            if start:
                core.start()
        except BaseException:
            core.close()  # one that could not be made has nothing to warn of
            raise

    # -- works

    def queue(self, work: Work[Any], /) -> bool:
        """Put *work* at the tail of the list.

        What the caller wrote before is seen by the run that this call asks for, and by the one
        that was pending already.

        Returns True: it is pending now, and runs once more if it is executing. False: it was
        pending already, and keeps its place; or it is being cancelled, or disabled, and is not
        queued.

        Raises TypeError for anything but a work; RuntimeError when it is pending or executing
        on another worker, when this worker is being drained or is destroyed, and in a forked
        child; BrokenThreadPool, one of those, when the initializer has failed; ``queue.Full``
        when ``max_pending`` works are pending.

        From any thread, callbacks included; never waits. As ``kthread_queue_work``.
        """
        if not isinstance(work, Work):
            raise TypeError(f"queue() takes a Work, not {type(work).__name__}")
        core = self._core
        queued = core.queue(work, core.origin_of_a_queueing())
        if queued:
            core.was_queued(work)
        return queued

    def queue_many(self, works: Iterable[Work[Any]], /) -> int:
        """Queue all of *works*, in their order.

        Returns how many were queued; for the others :meth:`queue` would have said False. Raises
        TypeError, before anything is queued, unless all are works; RuntimeError and
        ``queue.Full`` as :meth:`queue`, and then those before the refused one stay queued.

        From any thread, callbacks included; never waits.
        """
        items = list(works)
        for work in items:
            if not isinstance(work, Work):
                raise TypeError(f"queue_many() takes Works, not {type(work).__name__}")
        queued: list[Work[Any]] = []
        core = self._core
        origin = core.origin_of_a_queueing()
        try:
            with core.lock:
                for work in items:
                    if core.queue(work, origin):
                        queued.append(work)
        finally:
            for work in queued:
                core.was_queued(work)
        return len(queued)

    def submit(self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_R]:
        """Have ``fn(*args, **kwargs)`` called on the worker's thread, behind all that is queued.

        A call is a work like the others, but for its result, which the future carries, and its
        exception, which is the future's and not ``on_error``'s. Nothing of it is held when it is
        over.

        Raises RuntimeError as :meth:`queue`; BrokenThreadPool when the initializer has failed;
        ``queue.Full`` when ``max_pending`` works are pending.

        From any thread, callbacks included; never waits. As
        ``concurrent.futures.Executor.submit``.
        """
        return self._submit(None, fn, args, kwargs)

    def _submit(
        self,
        context: contextvars.Context | None,
        fn: Callable[..., _R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        reserved: bool = False,
        /,
    ) -> Future[_R]:
        call = Call(context, fn, args, kwargs)
        future: Future[_R] = Future(call._status)
        self._core.submit(call, future, reserved)
        self._core.was_queued(call)
        return future

    def queue_delayed(self, work: DelayedWork[Any], delay: float) -> bool:
        """Put *work* at the tail of the list in *delay* seconds; 0: now, as :meth:`queue`.

        It is pending from now on. Never early: when the time is over, by ``time.monotonic()``,
        the worker's own thread puts it there; of works that run out at once, the one first
        that was queued first. A worker without a thread does so when it gets one.

        Returns True: it is pending now. False: it was pending already, and its timer or its
        place is unchanged; or it is being cancelled, or disabled, and is not queued.

        Raises TypeError for anything but a DelayedWork and for a *delay* that is no number;
        ValueError for one that is negative, infinite or NaN; RuntimeError and ``queue.Full`` as
        :meth:`queue`.

        From any thread, callbacks included; never waits. O(log n) of n timers. As
        ``kthread_queue_delayed_work``.
        """
        if not isinstance(work, DelayedWork):
            raise TypeError(f"queue_delayed() takes a DelayedWork, not {type(work).__name__}")
        core = self._core
        queued = core.queue_delayed(work, delay_seconds(delay), core.origin_of_a_queueing())
        if queued:
            core.was_queued(work)
        return queued

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
        """
        if not isinstance(work, DelayedWork):
            raise TypeError(f"mod_delayed() takes a DelayedWork, not {type(work).__name__}")
        core = self._core
        seconds = delay_seconds(delay)
        answer, queued = core.modify(work, seconds, core.origin_of_a_queueing())
        if queued:
            core.was_queued(work)
        return answer

    def every(
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

        Raises TypeError when *fn* cannot be called, for a *context* that is none, and for an
        *interval* that is no number; ValueError for one that is 0, negative, infinite or NaN;
        RuntimeError and ``queue.Full`` as :meth:`queue`.

        From any thread, callbacks included; never waits.
        """
        work: PeriodicWork[_R] = PeriodicWork(interval, fn, *args, context=context, **kwargs)
        self._core.repeat(work, work._schedule)
        self._core.was_queued(work)
        return work

    def work(self, fn: Callable[_P, _R]) -> BoundWork[_P, _R]:
        """Make *fn* a work bound to this worker; a decorator.

        Raises TypeError when *fn* cannot be called.
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
        """
        self._core.flush(timeout_seconds(timeout))

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
        """
        self._core.drain(timeout_seconds(timeout))

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
        """
        return self._core.run(what_is_pending=True)

    def fileno(self) -> int:
        """A file descriptor that is readable while :meth:`run_pending` has something to do.

        Timers that run out included. It is for select, poll and epoll alone; run_pending()
        makes it unreadable again. The first call makes it, :meth:`destroy` closes it.

        Returns the same descriptor at every call.

        Raises RuntimeError when it is destroyed, or was left behind by fork; OSError when the
        system has no room; NotImplementedError where this is not Linux.

        From any thread; waits for nobody, but who queues just then. As ``kthread_worker_fd``.
        """
        return self._core.fileno()

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

        What is queued meanwhile is kept in order, and so are works whose timer runs out.
        Without a thread it returns at once, and a thread that comes later rests first.

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
        """End it: refuse what comes from now on, run what is listed, end its thread.

        Delayed works whose timer runs are cancelled. A frozen worker is thawed first. Without a
        thread nothing runs: what is pending becomes idle, and its flushers return. Calling it
        again does nothing.

        *timeout* is in seconds; None: no limit; 0: look once.

        Raises TimeoutError when works still run: queueing stays refused, and the call may be
        made again to wait on; DeadlockError from its own callbacks, and from one that this
        worker waits for, and then it is not destroyed.

        From any thread but the worker's own; sleeps; Ctrl-C ends the wait. As
        ``kthread_destroy_worker``.
        """
        self._core.destroy(timeout_seconds(timeout))

    # -- what the methods that are shared with the other backend stand on

    @property
    def _max_pending(self) -> int | None:
        return self._core.max_pending

    def _close(self, cancel_futures: bool) -> None:
        core = self._core
        core.close(cancel_futures)
        if core.service is None:
            core.drop_pending()

    def _watch_flush(self, notify: Callable[[], object], /) -> Watch | None:
        return self._core.watch(notify)

    def _watch_end(self, notify: Callable[[], object], /) -> Watch | None:
        return self._core.watch_end(notify)

    def _watch_room(self, notify: Callable[[], object], /) -> Watch | None:
        return self._core.watch_room(notify)

    def _tell_room(self) -> None:
        self._core.tell_room()

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
    def current_work(self) -> Work[Any] | None:
        """The work whose callback runs now; None: none. A live snapshot, stale when read."""
        return self._core.current

    @property
    def on_queue(self) -> _Hook | None:
        """Called with each work that a queueing has made pending; None: nothing is.

        On the queueing thread, after the fact; for a delayed work when its timer is armed, for
        a periodic one the first time only. Like the other two hooks it may be set at any time,
        is called under no lock, and what it raises goes to ``sys.unraisablehook``.

        Setting it raises TypeError for what cannot be called.
        """
        return self._core.on_queue

    @on_queue.setter
    def on_queue(self, hook: _Hook | None) -> None:
        self._core.on_queue = _checked_hook(hook, "on_queue")

    @property
    def on_start(self) -> _Hook | None:
        """Called with each work right before its callback, on the worker's thread."""
        return self._core.on_start

    @on_start.setter
    def on_start(self, hook: _Hook | None) -> None:
        self._core.on_start = _checked_hook(hook, "on_start")

    @property
    def on_end(self) -> _Hook | None:
        """Called with each work right after its callback, on the worker's thread."""
        return self._core.on_end

    @on_end.setter
    def on_end(self, hook: _Hook | None) -> None:
        self._core.on_end = _checked_hook(hook, "on_end")

    def stats(self) -> dict[str, float]:
        """Return its counters, all taken at one moment.

        ``queued``: works put on the list. ``executed``: runs begun. ``coalesced``: queueings
        that met a pending work. ``cancelled``: pending runs dropped by cancel, disable and
        destroy. ``pending``: on the list now. ``delayed``: timers that run now. ``sleeps``:
        times it went to sleep for want of works. ``poll_hits``: times that polling spared it
        the sleep; always 0 here. ``missed``: ticks of periodic works that were skipped.

        With ``Worker(timing=True)`` there are also, in seconds, ``waiting_mean`` and
        ``waiting_longest``: from a queueing, or for a timer from its deadline, to the begin of
        the run; and ``running_mean`` and ``running_longest``: from there to its end. Of works that
        were queued from Python.
        """
        core = self._core
        with core.lock:
            core.list_what_is_due()
            return {
                "queued": core.queued,
                "executed": core.executed,
                "coalesced": core.coalesced,
                "cancelled": core.cancelled,
                "pending": len(core.works),
                "delayed": len(core.timers.armed),
                "sleeps": core.sleeps,
                "poll_hits": 0,
                "missed": core.missed,
                **({} if core.times is None else run_times(*core.times.numbers())),
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


def _checked_hook(hook: _Hook | None, name: str) -> _Hook | None:
    if hook is not None and not callable(hook):
        raise TypeError(f"{name} must be callable or None, not {type(hook).__name__}")
    return hook


def should_stop() -> bool:
    """Shall the running callback give way?

    Returns True once stop() or destroy() of its worker was asked for, the exit of the
    interpreter included.

    Raises RuntimeError outside a worker's callback. As ``kthread_should_stop``.
    """
    core = here.core
    if core is None:
        raise RuntimeError("should_stop() is for use inside a worker's callback")
    service = core.service
    return core.closed or (service is not None and service.stop_asked)
