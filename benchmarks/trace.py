# SPDX-License-Identifier: GPL-2.0-only
"""What does a trace cost a burst of empty works, on and off?

    python benchmarks/trace.py                  # on against off
    python benchmarks/trace.py --before DIR     # and off against another built state of the tree

Each pair is taken one right after the other, in turn this or that first; ratios are taken within a
pair. Inside the time: queueing all, running all, and the flush of the last. Outside: making the
works and the thread, and what a trace does at its end.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORKS = {"native": 100_000, "pure": 10_000}
REPEAT = 3
WAYS = ("queue", "queue_many")


class Nowhere(io.StringIO):
    def write(self, text: str) -> int:
        return len(text)


def nothing() -> None:
    pass


def burst(kw, works: int, way: str) -> float:
    """Nanoseconds a work."""
    with kw.Worker("bench") as worker:
        worker.submit(nothing).result()
        queued = [kw.Work(nothing) for _ in range(works)]
        gc.collect()
        gc.disable()
        begin = time.perf_counter_ns()
        if way == "queue_many":
            worker.queue_many(queued)
        else:
            queue = worker.queue
            for work in queued:
                queue(work)
        queued[-1].flush()
        spent = time.perf_counter_ns() - begin
        gc.enable()
    return spent / works


def measure(backend: str, traces: list[bool]) -> dict[str, float]:
    """In a process of its own: medians, by "on" or "off" and the way."""
    kw = importlib.import_module("pykworker.pure" if backend == "pure" else "pykworker")
    assert kw.backend == backend
    assert Path(kw.__file__).is_relative_to(os.environ["PYTHONPATH"]), kw.__file__
    works = WORKS[backend]
    burst(kw, works, "queue")
    taken: dict[str, list[float]] = {}
    for repetition in range(REPEAT):
        for way in WAYS:
            for on in traces[:: -1 if repetition % 2 else 1]:
                with kw.trace(Nowhere(), limit=2 * works + 10) if on else nullcontext():
                    spent = burst(kw, works, way)
                taken.setdefault(f"{'on' if on else 'off'} {way}", []).append(spent)
    return {name: statistics.median(times) for name, times in taken.items()}


def ask(root: Path, backend: str, traces: list[bool]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-P", __file__, "--measure", json.dumps([backend, traces])],
        env={**os.environ, "PYTHONPATH": os.fspath(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def show(what: str, ratios: list[float], below: list[float], above: list[float]) -> None:
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    print(
        f"{what}: {middle:.2f} (quartiles {low:.2f} … {high:.2f}); "
        f"{statistics.median(below):,.0f} -> {statistics.median(above):,.0f} ns"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, metavar="DIR")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*json.loads(args.measure))))
        return
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, CPython {platform.python_version()}")
    print(f"load {os.getloadavg()[0]:.1f}; {args.pairs} pairs of {REPEAT}; works: {WORKS}")
    for backend in WORKS:
        rows = []
        for pair in range(args.pairs):
            sides = [("now", ROOT, [False, True])]
            if args.before is not None:
                sides.append(("before", args.before.resolve(), [False]))
            row: dict[tuple[str, str], float] = {}
            for name, root, traces in sides[:: -1 if pair % 2 else 1]:
                for key, value in ask(root, backend, traces).items():
                    row[name, key] = value
            rows.append(row)
        for way in WAYS:
            for what, above, below in (
                ("on/off", ("now", f"on {way}"), ("now", f"off {way}")),
                ("off/before", ("now", f"off {way}"), ("before", f"off {way}")),
            ):
                if below in rows[0]:
                    top, bottom = [row[above] for row in rows], [row[below] for row in rows]
                    ratios = [a / b for a, b in zip(top, bottom, strict=True)]
                    show(f"{backend}, {way}, {what}", ratios, bottom, top)


if __name__ == "__main__":
    main()
