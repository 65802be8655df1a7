# SPDX-License-Identifier: GPL-2.0-only
"""What a worker has as an executor, and for asyncio; both backends share it.

It stands on what each backend's worker gives: submit() and destroy(), and the private methods
that are declared here.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

from pykworker._aio import wait_for

if TYPE_CHECKING:
    from pykworker._aio import Begin, Watch

__all__ = ["ExecutorMethods"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class ExecutorMethods(concurrent.futures.Executor):
    """The base of both backends' Worker."""

    if TYPE_CHECKING:

        def destroy(self, timeout: float | None = None) -> None: ...

        def _submit(
            self,
            context: contextvars.Context | None,
            fn: Callable[..., _R],
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            reserved: bool = False,
            /,
        ) -> concurrent.futures.Future[_R]:
            """submit(), with the context that fn is called in; None: the thread's own.

            *reserved*: on the place that a notification of _watch_room has handed over.
            """
            ...

        def _close(self, cancel_futures: bool) -> None:
            """Refuse from now on, and have the thread leave after what is pending; not wait."""

        def _watch_flush(self, notify: Callable[[], object], /) -> Watch | None:
            """Begin a flush of the worker. None: it is over."""

        def _watch_end(self, notify: Callable[[], object], /) -> Watch | None:
            """Watch for the thread to leave. None: there is none."""

        def _watch_room(self, notify: Callable[[], object], /) -> Watch | None:
            """Watch for a place on the list. None: there is one, or the worker is closed.

            The notification hands the place over: until the _submit() that is to follow, or a
            _tell_room(), it is nobody else's.
            """

        def _tell_room(self) -> None:
            """Pass a place on that was handed over and is not made use of."""

        @property
        def ident(self) -> int | None: ...

        @property
        def _max_pending(self) -> int | None: ...

    # -- concurrent.futures

    def map(
        self,
        fn: Callable[..., _R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_R]:
        """Have *fn* called with an item of each of *iterables* at a time, on the worker's thread.

        *chunksize* is how many items go into one call: more of them cost less each. *buffersize*
        is how many calls are in flight at most; None: ``max_pending`` of the worker, if it has
        one, else all are submitted at once. *timeout*, in seconds from now, is for each result.

        Returns an iterator of the results, in the order of the items. It waits for each, and
        raises what its call has raised; TimeoutError when it is not there in time. Who leaves
        the iterator cancels what has not begun.

        Raises TypeError and ValueError for a bad *buffersize*, ValueError for a *chunksize* below
        1; RuntimeError and ``queue.Full`` as :meth:`submit`.

        From any thread; its iterator waits. As ``concurrent.futures.Executor.map``.

        >>> with kw.Worker() as worker:
        ...     list(worker.map(pow, [1, 2, 3], [2, 2, 2], buffersize=2))
        [1, 4, 9]
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        deadline = None if timeout is None else time.monotonic() + timeout
        if buffersize is None:
            buffersize = self._max_pending
        items = zip(*iterables, strict=False)
        if chunksize == 1:
            calls = ((fn, args) for args in items)
            return _in_order(_InFlight(self, calls, buffersize), deadline)
        chunks = iter(lambda: tuple(itertools.islice(items, chunksize)), ())
        chunk_calls = ((_call_for_each, (fn, chunk)) for chunk in chunks)
        return _flattened(_in_order(_InFlight(self, chunk_calls, buffersize), deadline))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End it, as :meth:`destroy`; without *wait* only ask for it.

        With *cancel_futures* all submitted calls that have not begun are cancelled first; works
        that were queued still run. Calling it again does nothing, or waits for the end.

        Raises DeadlockError with *wait* from one of its own callbacks, and then nothing changes.

        From any thread; sleeps with *wait*; Ctrl-C ends the wait. As
        ``concurrent.futures.Executor.shutdown``.

        >>> worker = kw.Worker()
        >>> worker.freeze()
        >>> future = worker.submit(print, "never")
        >>> worker.shutdown(cancel_futures=True)
        >>> future.cancelled()
        True
        """
        if wait and self.ident == threading.get_ident():
            self.destroy(0)  # a deadlock, told before anything changes
        if cancel_futures or not wait:
            self._close(cancel_futures)
        if wait:
            self.destroy()

    def __enter__(self) -> Self:
        """Return the worker itself; the end of the ``with`` block destroys it."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Destroy it."""
        self.destroy()

    # -- asyncio

    async def call(self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Have ``fn(*args, **kwargs)`` called on the worker's thread, and await its result.

        It is called in a copy of the caller's context, so that it sees the caller's context
        variables. Where ``max_pending`` works are pending it waits for room, first come first
        served. Cancelled, a call that has not begun is taken off the list; one that runs goes
        on, and nobody learns its result.

        Returns what *fn* returns, and raises what it raises, but for StopIteration, which becomes
        a RuntimeError. RuntimeError as :meth:`submit`.

        From a coroutine on an asyncio loop. As ``asyncio.to_thread``.

        >>> import asyncio
        >>> async def main():
        ...     async with kw.Worker() as worker:
        ...         return await worker.call(divmod, 7, 2)
        >>> asyncio.run(main())
        (3, 1)
        """
        import asyncio

        context = contextvars.copy_context()
        reserved = False
        while True:
            try:
                future = self._submit(context, fn, args, kwargs, reserved)
                break
            except queue.Full:
                reserved = await wait_for(self._watch_room, unused=self._tell_room)

        await wait_for(_end_of(future))
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise asyncio.CancelledError from None
        finally:
            del future  # an exception holds this frame, and would hold what holds it

    async def flushed(self) -> None:
        """As :meth:`flush`, to be awaited: the event loop goes on meanwhile.

        No thread is made, and nothing is polled: the worker tells. Cancelling the wait changes
        nothing else.

        Raises RuntimeError in a forked child when something was pending in the parent.

        From a coroutine on an asyncio loop.

        >>> import asyncio
        >>> async def main():
        ...     async with kw.Worker() as worker:
        ...         worker.queue(kw.Work(print, "written"))
        ...         await worker.flushed()
        >>> asyncio.run(main())
        written
        """
        await wait_for(self._watch_flush)

    async def __aenter__(self) -> Self:
        """Return the worker itself; the end of the ``async with`` block destroys it."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Destroy it; the event loop goes on until its thread leaves."""
        self._close(False)
        await wait_for(self._watch_end)
        self.destroy()


def _end_of(future: concurrent.futures.Future[Any]) -> Begin:
    """To be waited for; a wait that is cancelled cancels the future."""

    def begin(notify: Callable[[], object]) -> Watch:
        future.add_done_callback(lambda _: notify())
        return future

    return begin


class _InFlight(Generic[_R]):
    """Calls that were submitted and whose results were not asked for, the oldest first."""

    def __init__(
        self,
        executor: concurrent.futures.Executor,
        calls: Iterator[tuple[Callable[..., _R], tuple[Any, ...]]],
        most: int | None,
    ) -> None:
        self._executor: concurrent.futures.Executor | None = executor
        self._calls = calls
        self._most = most
        self._refused: tuple[Callable[..., _R], tuple[Any, ...]] | None = None
        self._futures: deque[concurrent.futures.Future[_R]] = deque()
        try:
            self._fill()
        except BaseException:
            self.cancel()
            raise

    def _fill(self) -> None:
        while self._most is None or len(self._futures) < self._most:
            call, self._refused = self._refused or next(self._calls, None), None
            if call is None or self._executor is None:
                self._executor = None  # which may go, though its results are still asked for
                return
            fn, args = call
            try:
                self._futures.append(self._executor.submit(fn, *args))
            except queue.Full:  # others have filled the list: again after the next result
                if not self._futures:
                    raise
                self._refused = call
                return

    def __bool__(self) -> bool:
        return bool(self._futures)

    def next_result(self, deadline: float | None) -> _R:
        """Wait for the oldest one, and submit as many as there is room for then."""
        future = self._futures.popleft()
        try:
            result = future.result(None if deadline is None else deadline - time.monotonic())
        finally:
            future.cancel()
            del future  # an exception holds this frame, and would hold what holds it
        self._fill()
        return result

    def cancel(self) -> None:
        """Nobody will ask for the others."""
        while self._futures:
            self._futures.popleft().cancel()


def _in_order(calls: _InFlight[_R], deadline: float | None) -> Iterator[_R]:
    try:
        while calls:
            yield calls.next_result(deadline)
    finally:
        calls.cancel()


def _call_for_each(
    fn: Callable[..., _R], chunk: tuple[tuple[Any, ...], ...]
) -> tuple[list[_R], Exception | None]:
    """Returns the results in reverse order, up to the first error, and that."""
    results: list[_R] = []
    failure = None
    for args in chunk:
        try:
            results.append(fn(*args))
        except Exception as error:
            failure = error
            break
    results.reverse()
    return results, failure


def _flattened(chunks: Iterator[tuple[list[_R], Exception | None]]) -> Iterator[_R]:
    for results, failure in chunks:
        while results:
            yield results.pop()
        if failure is not None:
            try:
                raise failure
            finally:
                del failure
