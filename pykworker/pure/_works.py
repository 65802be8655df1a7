# SPDX-License-Identifier: GPL-2.0-only
"""The works: what the user makes, queues and holds."""

from __future__ import annotations

import contextvars
import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, ParamSpec, TypeVar

from pykworker._aio import wait_for
from pykworker._arguments import interval_seconds, timeout_seconds
from pykworker.pure._core import cancel, enable
from pykworker.pure._records import Status, Watch, here
from pykworker.pure._timers import Schedule

if TYPE_CHECKING:
    from pykworker.pure._worker import Worker

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Work(Generic[_R]):
    """A function with an identity: while it is pending, queueing it again changes nothing.

    *fn* is called as ``fn(*args, **kwargs)`` on the thread of the worker that it is queued on;
    what it returns is dropped. With a *context* it is called in that, else in the thread's own.
    TypeError when it cannot be called, and for a *context* that is no ``contextvars.Context``.

    A work never runs twice at once. It may be queued any number of times, one after the other,
    also by its own callback, and on another worker once it is idle. Nothing need be kept: a
    worker holds what is queued on it until it has run. As ``struct kthread_work``.
    """

    __slots__ = ("__weakref__", "_args", "_context", "_fn", "_kwargs", "_status")

    _is_periodic: ClassVar[bool] = False
    _is_call: ClassVar[bool] = False

    def __init__(
        self,
        fn: Callable[..., _R],
        /,
        *args: Any,
        context: contextvars.Context | None = None,
        **kwargs: Any,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"fn must be callable, not {type(fn).__name__}")
        if context is not None and not isinstance(context, contextvars.Context):
            raise TypeError(f"context must be a Context or None, not {type(context).__name__}")
        self._prepare(context, fn, args, kwargs)

    def _prepare(
        self,
        context: contextvars.Context | None,
        fn: Callable[..., _R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._context = context
        self._fn: Callable[..., Any] = fn
        self._args = args
        self._kwargs = kwargs
        self._status = Status()

    @property
    def fn(self) -> Callable[..., Any]:
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
    def context(self) -> contextvars.Context | None:
        """The context that it is called in; None: its thread's own."""
        return self._context

    @property
    def pending(self) -> bool:
        """True while it is queued and has not begun: a live snapshot, stale when read.

        A delayed work is pending while its timer runs, too.
        """
        return bool(self._status.pending)

    @property
    def executing(self) -> bool:
        """True while its callback runs: a live snapshot, stale when read."""
        return bool(self._status.executing)

    @property
    def coalesced(self) -> int:
        """How often a queueing met it pending already, since its last run began."""
        return self._status.coalesced

    @property
    def disabled(self) -> bool:
        """True while :meth:`disable` holds: a live snapshot, stale when read."""
        return self._status.disabled > 0

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
        """
        seconds = timeout_seconds(timeout)
        owner = self._status.owner
        if owner is not None:
            owner.flush_work(self, seconds)

    async def flushed(self) -> None:
        """As :meth:`flush`, to be awaited: the event loop goes on meanwhile.

        No thread is made, and nothing is polled: the worker tells. Cancelling the wait changes
        nothing else.

        Raises RuntimeError in a forked child for a work that was pending in the parent.

        From a coroutine on an asyncio loop.
        """
        await wait_for(self._watch_flush)

    def _watch_flush(self, notify: Callable[[], object], /) -> Watch | None:
        owner = self._status.owner
        return None if owner is None else owner.watch_work(self, notify)

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
        """
        return cancel(self, bool(wait))

    def disable(self) -> bool:
        """Cancel it, and refuse to queue it until :meth:`enable` was called as often.

        Waits, returns and raises as :meth:`cancel`; whoever gets an error has not disabled it.

        From any thread; sleeps; Ctrl-C ends it. As the kernel's ``disable_work_sync``.
        """
        return cancel(self, wait=True, disabling=True)

    def enable(self) -> bool:
        """Take back one :meth:`disable`.

        Returns True: it may be queued again. False: it is still disabled.

        Raises RuntimeError when it is not disabled.

        From any thread, callbacks included; never waits. As the kernel's ``enable_work``.
        """
        return enable(self)

    def __repr__(self) -> str:
        name = getattr(self.fn, "__qualname__", None) or repr(self.fn)
        return f"<{type(self).__name__} {name} {self._state()}>"

    def _state(self) -> str:
        status = self._status
        pending = ("delayed" if status.timer is not None else "pending") if status.pending else ""
        return (
            " and ".join(filter(None, ("executing" if status.executing else "", pending))) or "idle"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")


class BoundWork(Work[_R], Generic[_P, _R]):
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
        result: _R = self._fn(*args, **kwargs)
        return result


class DelayedWork(Work[_R]):
    """A work that may also be queued with a delay; *fn*, *args*, *kwargs* as for :class:`Work`.

    See :meth:`Worker.queue_delayed` and :meth:`Worker.mod_delayed`. It is pending while its
    timer runs. As ``struct kthread_delayed_work``.
    """

    __slots__ = ()

    @property
    def remaining(self) -> float | None:
        """Seconds until its timer runs out, 0.0 at the least; None: no timer runs.

        A live snapshot, stale when read.
        """
        timer = self._status.timer
        return None if timer is None else max(0.0, timer.deadline - time.monotonic())


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
    """

    __slots__ = ("_address", "_data", "_originals")

    def __init__(self, address: object, data: object = None) -> None:
        # Not before: a subinterpreter of 3.12 has no ctypes.
        from pykworker._addresses import callable_at, code_address, data_address

        number = code_address(address)
        pointer = data_address(data)
        super().__init__(callable_at(number), pointer)
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
        return f"<{type(self).__name__} {self._address:#x} {self._state()}>"


class PeriodicWork(DelayedWork[_R]):
    """A work that runs every *interval* seconds; made by :meth:`Worker.every`, not by the user.

    The next tick is armed when a run begins, so that it is executing and pending then. Ticks
    are never made up for: those that have passed when a run begins are skipped and counted.

    It ends with :meth:`cancel` and :meth:`disable`, when its callback returns
    :data:`pykworker.CANCEL`, and with its worker. From then on it is a delayed work like any
    other. :attr:`fn` may be a :class:`NativeWork`: then its code runs at each tick, without the
    GIL. A flush has the present tick run now, and leaves the later ones where they were;
    :meth:`Worker.mod_delayed` moves the next tick, and the later ones with it.
    """

    __slots__ = ("_native", "_schedule")

    _is_periodic: ClassVar[bool] = True

    def __init__(
        self,
        interval: float,
        fn: Callable[..., _R] | NativeWork,
        /,
        *args: Any,
        context: contextvars.Context | None = None,
        **kwargs: Any,
    ) -> None:
        schedule = Schedule(interval_seconds(interval))
        self._native: NativeWork | None = None
        if isinstance(fn, NativeWork):
            if args or kwargs or context is not None:
                raise TypeError("a NativeWork takes neither arguments nor a context")
            super().__init__(functools.partial(fn._fn, *fn._args))
            self._native = fn
        else:
            super().__init__(fn, *args, context=context, **kwargs)
        self._schedule = schedule

    @property
    def fn(self) -> Any:
        """What is called: a function, or the NativeWork whose code it is."""
        return self._fn if self._native is None else self._native

    @property
    def interval(self) -> float:
        """Seconds from one tick to the next."""
        return self._schedule.interval

    @property
    def missed(self) -> int:
        """How many ticks were skipped, since they had passed when a run began."""
        return self._schedule.missed


class Call(Work[_R]):
    """The work of a submitted call, as hooks and :func:`current_work` see it.

    Queued again, it does nothing: a call is made once.
    """

    __slots__ = ()

    _is_call: ClassVar[bool] = True

    def __init__(
        self,
        context: contextvars.Context | None,
        fn: Callable[..., _R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        /,
    ) -> None:
        self._prepare(context, fn, args, kwargs)  # unchecked: the future tells


def current_work() -> Work[Any] | None:
    """The work whose callback runs on the calling thread; None: none does.

    From any thread; never waits.
    """
    core = here.core
    return None if core is None else core.current
