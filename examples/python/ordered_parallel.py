# SPDX-License-Identifier: GPL-2.0-only
"""A stage on several workers, its results in the order of submission, as the kernel's padata.

The stage runs side by side, so it pays where it drops the GIL, as zlib and hashlib do with large
blocks. ``OrderedParallel`` is to be copied; what follows it checks and measures.
"""

import argparse
import collections
import os
import queue
import statistics
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import Any

import pykworker as kw


class OrderedParallel:
    """Runs *stage* on *workers* threads; hands *deliver* the results, one by one, in order.

    ``deliver(result, error)`` runs on a worker of its own; *error* is what the stage raised for
    that item, or None. At most *limit* items are on their way.
    """

    def __init__(
        self,
        stage: Callable[[Any], Any],
        deliver: Callable[[Any, BaseException | None], object] | None = None,
        *,
        workers: int | None = None,
        limit: int = 64,
    ) -> None:
        self._stage, self._deliver, self._limit = stage, deliver, limit
        count = workers or os.cpu_count() or 1
        self._workers = [kw.Worker(f"stage/{number}") for number in range(count)]
        # Where stages compute on every CPU, polling for the next result would take from them.
        self._serialiser = kw.Worker("in-order", busy_poll=0)
        self._delivery = kw.Work(self._deliver_what_is_done)
        self._room = threading.BoundedSemaphore(limit)
        self._submitting = threading.Lock()
        self._submitted = 0
        self._next = 0  # to deliver; the serialiser's thread
        self._done: dict[int, tuple[Any, BaseException | None]] = {}

    def submit(self, item: Any, *, block: bool = True, timeout: float | None = None) -> int:
        """Returns its number. While *limit* items are on their way it waits, or queue.Full."""
        if self._deliver is None:
            raise ValueError("there is nobody to deliver to")
        if not self._room.acquire(block, timeout if block else None):
            raise queue.Full
        with self._submitting:
            number = self._submitted
            worker = self._workers[number % len(self._workers)]
            try:
                worker.queue(kw.Work(self._run, number, item))
            except BaseException:
                self._room.release()
                raise
            self._submitted += 1
        return number

    def _run(self, number: int, item: Any) -> None:
        try:
            self._done[number] = self._stage(item), None
        except Exception as error:
            self._done[number] = None, error
        self._serialiser.queue(self._delivery)  # pending already: it runs once for many

    def _deliver_what_is_done(self) -> None:
        assert self._deliver is not None
        while (outcome := self._done.pop(self._next, None)) is not None:
            self._next += 1
            try:
                self._deliver(*outcome)
            except BaseException:
                self._serialiser.queue(self._delivery)  # those behind it still come
                raise  # to the worker's on_error
            finally:
                self._room.release()

    def map(self, items: Iterable[Any], *, buffersize: int | None = None) -> Iterator[Any]:
        """The stage's results in order, lazily; an item's error is raised in its place.

        The caller is who they are delivered to. No more than *buffersize* items, by default the
        limit, are taken ahead of what was asked for. Leaving it early cancels what is pending.
        """
        size = self._limit if buffersize is None else buffersize
        rest = iter(items)
        turns = self._turns()
        ahead = collections.deque(
            next(turns).submit(self._stage, item) for item in islice(rest, size)
        )
        try:
            while ahead:
                result = ahead.popleft().result()
                for item in islice(rest, 1):
                    ahead.append(next(turns).submit(self._stage, item))
                yield result
        finally:
            for future in ahead:
                future.cancel()

    def _turns(self) -> Iterator[kw.Worker]:
        while True:
            yield from self._workers

    def flush(self) -> None:
        """Wait until all that was submitted has been delivered."""
        for worker in self._workers:
            worker.flush()
        self._serialiser.drain()

    def __enter__(self) -> "OrderedParallel":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The stages first: what they queue last is still delivered. After Ctrl-C, or another
        # error, what has not begun is dropped.
        for worker in (*self._workers, self._serialiser):
            worker.shutdown(cancel_futures=kind is not None)


# --- the check, and the measurement ------------------------------------------------------------

BLOCK = 64 * 1024
# Half of it packs well, so that a block takes a millisecond or so.
PATTERN = bytes((7 * i * i + i // 13) % 251 for i in range(BLOCK))


def block(number: int) -> bytes:
    return number.to_bytes(8, "little") + PATTERN[8:]


def pack(data: bytes) -> bytes:
    return zlib.compress(data, 6)


def picky(number: int) -> int:
    if number % 10 == 3:
        raise ValueError(number)
    time.sleep(0.0001 * (number % 4))  # so that later ones are done first
    return number * number


def check() -> None:
    seen: list[int | str] = []

    def deliver(result: Any, error: BaseException | None) -> None:
        seen.append(result if error is None else f"no {error}")

    refused = 0
    with OrderedParallel(picky, deliver, workers=4, limit=8) as stage:
        for number in range(100):
            try:
                stage.submit(number, block=False)
            except queue.Full:
                refused += 1
                stage.submit(number)
        stage.flush()
        assert seen == [n * n if n % 10 != 3 else f"no {n}" for n in range(100)], seen

        taken = iter(range(100))
        results = stage.map(taken, buffersize=5)
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        assert next(taken) == 8  # three were asked for, five are ahead
        try:
            late = next(results)
        except ValueError as error:
            late = error.args
        assert late == (3,), "the error is not in its place"
    assert refused > 0
    print("100 items in order, errors in their places; full", refused > 0)


def measure(count: int, rounds: int) -> None:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = cpus or 1
    blocks = [block(number) for number in range(count)]
    expected = [pack(data) for data in blocks]
    # A process that was forked beside threads could hang: so others start it.
    processes = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    ordered, pool_of_threads = OrderedParallel(pack, workers=workers), ThreadPoolExecutor(workers)
    with ordered as stage, pool_of_threads as threads, processes:

        def pool(executor: Executor, chunk: int) -> Callable[[], Iterator[bytes]]:
            return lambda: executor.map(pack, blocks, chunksize=chunk)

        ways: dict[str, Callable[[], Iterator[bytes]]] = {
            "OrderedParallel.map": lambda: stage.map(blocks),
            "a plain loop": lambda: map(pack, blocks),
            "ThreadPoolExecutor.map": pool(threads, 1),
            "ProcessPoolExecutor.map, chunksize=1": pool(processes, 1),
            "ProcessPoolExecutor.map, chunksize=16": pool(processes, 16),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):  # the first starts the threads and processes
            for name, way in ways.items():
                begin = time.perf_counter()
                results = list(way())
                if number:
                    times[name].append(time.perf_counter() - begin)
                assert results == expected, f"{name}: wrong, or out of order"
    ours = times["OrderedParallel.map"]
    print(f"{count} blocks of 64 KiB, {workers} workers each; time, and as a multiple of ours:")
    for name, theirs in times.items():
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        print(f"  {name:<38} {1e3 * statistics.median(theirs):8.1f} ms  {ratio:5.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="32 blocks, once (without: 3 times)")
    sizes.add_argument("--long", action="store_true", help="400 blocks, 7 times")
    args = parser.parse_args()
    try:
        check()
        measure(*((400, 7) if args.long else (32, 1 if args.quick else 3)))
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    print("all in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
