# SPDX-License-Identifier: GPL-2.0-only
"""What the workers do, as a file that Perfetto and chrome://tracing open.

A backend has a :class:`Recorder`, which notes events while it is told to; here they become a
file of Chrome trace events. What is costly is done here, when the recording is over: names of
machine code and of threads are looked up, queueings are matched with runs, text is made.
"""

from __future__ import annotations

import atexit
import functools
import gzip
import io
import itertools
import json
import operator
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, Protocol, cast

from pykworker._version import __version__

__all__ = ["CALLED", "NATIVE", "QUEUED", "Event", "Recorder", "Recording", "name_of", "tracer"]

QUEUED, CALLED, NATIVE = range(3)

LIMIT: Final = 200_000
_MOST = 1 << 40  # events that one may ask room for
_OWN_TRACKS = 10_000_000  # numbers that no thread has


class Event(NamedTuple):
    """A queueing, or a run. Times are those of ``time.monotonic_ns()``."""

    kind: int
    begin: int
    end: int  # of a run; 0: it has not ended
    taken: int  # of a run: when it began to wait for the GIL; 0: it did not
    work: int  # what tells it from other works that are pending
    name: str | int  # of a run: the function's; of machine code, its address
    worker: int
    server: int  # of a queueing: the worker whose thread it was on; 0: none's
    thread: int


class Recording(NamedTuple):
    """What a recorder has noted."""

    events: list[Event]
    lost: int  # events that had no room any more
    workers: dict[int, str]  # their names


class Recorder(Protocol):
    """What a backend has."""

    def begin(self, limit: int) -> None:
        """Note the last *limit* events from now on. Raises RuntimeError: it does so already."""
        ...

    def end(self) -> Recording:
        """Note no more."""
        ...


def name_of(fn: object) -> str:
    """What a callable is called in a trace."""
    name = getattr(fn, "__qualname__", None)
    kind = type(fn)
    if not isinstance(name, str) and issubclass(kind, functools.partial):
        name = getattr(cast(Any, fn).func, "__qualname__", None)
    return name if isinstance(name, str) else kind.__qualname__


# --- the names of machine code and of threads --------------------------------------------------


def _symbol(address: int) -> str:
    """What the dynamic linker calls it; else where it is in which file, or the address."""
    import ctypes  # not before: a subinterpreter of 3.12 has none

    class Info(ctypes.Structure):
        """``Dl_info``."""

        _fields_ = (
            ("file", ctypes.c_char_p),
            ("base", ctypes.c_void_p),
            ("name", ctypes.c_char_p),
            ("address", ctypes.c_void_p),
        )

    try:
        look = ctypes.CDLL(None).dladdr
    except (AttributeError, OSError, TypeError):
        return f"{address:#x}"
    info = Info()
    if not look(ctypes.c_void_p(address), ctypes.byref(info)):
        return f"{address:#x}"
    if info.name and info.address == address:
        return os.fsdecode(info.name)
    return f"{os.path.basename(os.fsdecode(info.file or b''))}+{address - (info.base or 0):#x}"


def _thread_names() -> dict[int, str]:
    return {thread.native_id: thread.name for thread in threading.enumerate() if thread.native_id}


def _thread_name(thread: int, known: dict[int, str]) -> str:
    if thread in known:
        return known[thread]
    try:
        with open(f"/proc/self/task/{thread}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return f"thread {thread}"


# --- the file ----------------------------------------------------------------------------------


def _tracks(events: Iterable[Event]) -> tuple[dict[int, int], set[int]]:
    """The track of each worker, and the threads that have one besides, since they have queued.

    A worker's is that of its thread, unless that is another's as well.
    """
    runs_on: dict[int, int] = {}
    outside: set[int] = set()
    for event in events:
        if event.kind != QUEUED:
            runs_on.setdefault(event.worker, event.thread)
        elif not event.server:
            outside.add(event.thread)
    tracks: dict[int, int] = {}
    taken = set(outside)
    own = itertools.count(_OWN_TRACKS)
    for worker, thread in runs_on.items():
        tracks[worker] = next(own) if thread in taken else thread
        taken.add(thread)
    for event in events:
        if event.server and event.server not in tracks:
            tracks[event.server] = next(own)
    return tracks, outside


def _us(ns: int) -> str:
    return f"{ns // 1000}.{ns % 1000:03d}"


def _lines(recording: Recording) -> Iterator[str]:
    """The events as JSON, one a line."""
    events = sorted(recording.events, key=operator.attrgetter("begin", "kind"))
    tracks, outside = _tracks(events)
    pid = os.getpid()
    quote = functools.cache(json.dumps)
    symbol = functools.cache(_symbol)

    def name_track(tid: int, name: str) -> str:
        return (
            f'{{"ph":"M","pid":{pid},"tid":{tid},"name":"thread_name",'
            f'"args":{{"name":{json.dumps(name)}}}}}'
        )

    program = os.path.basename(sys.argv[0] if sys.argv else "") or "python"
    yield (
        f'{{"ph":"M","pid":{pid},"name":"process_name","args":{{"name":{json.dumps(program)}}}}}'
    )
    for worker, tid in tracks.items():
        yield name_track(tid, recording.workers.get(worker, "worker"))
    known = _thread_names()
    for thread in sorted(outside):
        yield name_track(thread, _thread_name(thread, known))

    flows = itertools.count(1)
    queued: dict[tuple[int, int], tuple[Event, int]] = {}
    last = max((max(event.begin, event.end) for event in events), default=0)
    for event in events:
        common = f'"pid":{pid},"ts":{_us(event.begin)}'
        if event.kind == QUEUED:
            tid = tracks[event.server] if event.server else event.thread
            target = quote(recording.workers.get(event.worker, "worker"))
            # A slice, since a flow begins at one; it has no length that was measured.
            yield (
                f'{{"ph":"X","cat":"queue",{common},"tid":{tid},"dur":0.001,"name":"queue",'
                f'"args":{{"worker":{target},"work":"{event.work:#x}"}}}}'
            )
            queued[event.worker, event.work] = event, tid
            continue
        tid = tracks[event.worker]
        args = [f'"worker":{quote(recording.workers.get(event.worker, "worker"))}']
        if isinstance(event.name, int):
            args.append(f'"address":"{event.name:#x}"')
            name = symbol(event.name)
        else:
            name = event.name
        args.append(f'"work":"{event.work:#x}"')
        from_queue = queued.pop((event.worker, event.work), None)
        if from_queue is not None:
            args.append(f'"waited_us":{_us(event.begin - from_queue[0].begin)}')
        if event.taken:
            args.append(f'"waited_for_gil_us":{_us(event.begin - event.taken)}')
        end = event.end
        if not end:
            args.append('"unfinished":true')
            end = max(last, event.begin)
        kind = "native" if event.kind == NATIVE else "python"
        yield (
            f'{{"ph":"X","cat":"{kind}",{common},"tid":{tid},"dur":{_us(end - event.begin)},'
            f'"name":{quote(name)},"args":{{{",".join(args)}}}}}'
        )
        if from_queue is not None:
            start, start_tid = from_queue
            flow = f'"cat":"queue","name":"queued","id":{next(flows)},"pid":{pid}'
            yield f'{{"ph":"s",{flow},"ts":{_us(start.begin)},"tid":{start_tid}}}'
            yield f'{{"ph":"f","bp":"e",{flow},"ts":{_us(event.begin)},"tid":{tid}}}'


def _write(recording: Recording, limit: int, write: Callable[[str], object]) -> None:
    write('{"traceEvents":[\n')
    separator = ""
    for line in _lines(recording):
        write(separator + line)
        separator = ",\n"
    metadata = {
        "pykworker": __version__,
        "events": len(recording.events),
        "lost": recording.lost,
        "limit": limit,
    }
    write(f'\n],\n"displayTimeUnit":"ns",\n"otherData":{json.dumps(metadata)}}}\n')


class _Trace(AbstractContextManager[None]):
    """One recording, for as long as its "with" lasts."""

    def __init__(self, recorder: Recorder, file: object, limit: int) -> None:
        self._recorder = recorder
        self._limit = limit
        self._path: str | None = None
        self._file: Any = None  # the user's, or what _path was opened as
        if hasattr(file, "write"):
            self._file = file
        else:
            self._path = os.fsdecode(file)  # type: ignore[arg-type]
        self._pid = 0  # of the process that records; 0: none does

    def __enter__(self) -> None:
        if self._pid:
            raise RuntimeError("this trace is being recorded already")
        self._recorder.begin(self._limit)
        try:
            if self._path is not None:
                self._file = open(self._path, "wb")
        except BaseException:
            self._recorder.end()
            raise
        self._pid = os.getpid()
        atexit.register(self._end)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        pid, self._pid = self._pid, 0
        atexit.unregister(self._end)
        if not pid:
            return
        try:
            if pid == os.getpid():  # a forked child has recorded nothing
                self._write(self._recorder.end())
        finally:
            if self._path is not None:
                self._file.close()

    def _write(self, recording: Recording) -> None:
        if self._path is None:
            _write(recording, self._limit, _text_writer(self._file))
            return
        if self._path.endswith(".gz"):
            with gzip.open(self._file, "wt", encoding="ascii") as text:
                _write(recording, self._limit, text.write)
        else:
            with io.TextIOWrapper(self._file, encoding="ascii", newline="\n") as text:
                _write(recording, self._limit, text.write)


def _text_writer(file: IO[Any]) -> Callable[[str], object]:
    """For a file of text or of bytes: json makes no letter that is not ASCII."""
    try:
        file.write("")
    except TypeError:
        return lambda text: file.write(text.encode("ascii"))
    return file.write


class _Tracer(Protocol):
    def __call__(
        self, file: str | os.PathLike[str] | IO[str] | IO[bytes], *, limit: int = ...
    ) -> AbstractContextManager[None]: ...


def tracer(recorder: Recorder, module: str) -> _Tracer:
    """A backend's ``trace``."""

    def trace(
        file: str | os.PathLike[str] | IO[str] | IO[bytes], *, limit: int = LIMIT
    ) -> AbstractContextManager[None]:
        """Record what all workers do while its "with" lasts, and write it to a file at the end.

        *file* is a path, that of a compressed file if it ends in ``.gz``, or has ``write``, for
        text or for bytes. It gets Chrome trace events, which https://ui.perfetto.dev and
        chrome://tracing show: a track for each worker, on it a slice for each run, named after the
        work's function, and an arrow to each from where it was queued. A slice's arguments say
        how long the work waited, in microseconds; and of that, for the GIL.

        *limit* is for how many events there is room, two a run: beyond that the oldest are
        forgotten, and counted in the file's metadata as ``lost``.

        Workers that are made meanwhile are recorded too. A work is held no longer for it. What
        the "with" raises, ``SystemExit`` included, goes on after the file was written; a forked
        child records nothing and writes nothing. A queueing of a delayed work is seen when its
        timer runs out.

        Raises TypeError and ValueError for bad arguments. Entering it raises OSError when the file
        can't be opened, MemoryError, and RuntimeError when something is recorded already.

        From any thread, callbacks included. As the tracepoints of the kernel's workers.

        >>> import io, json
        >>> file = io.StringIO()
        >>> with kw.trace(file), kw.Worker("sensor") as worker:
        ...     assert worker.queue(kw.Work(abs, -1))
        >>> events = json.loads(file.getvalue())["traceEvents"]
        >>> [event["name"] for event in events if event["ph"] == "X"]
        ['queue', 'abs']
        """
        if isinstance(limit, bool) or not hasattr(type(limit), "__index__"):
            raise TypeError(f"limit must be an integer, not {type(limit).__name__}")
        number = operator.index(limit)
        if not 1 <= number <= _MOST:
            raise ValueError(f"limit must be in 1...{_MOST}, not {number}")
        return _Trace(recorder, file, number)

    trace.__module__ = module
    trace.__qualname__ = "trace"
    return trace
