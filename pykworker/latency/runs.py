# SPDX-License-Identifier: GPL-2.0-only
"""Who ticks: a thread with a loop of its own, a Python callback, a native work."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any, Literal

import pykworker as kw
from pykworker import _scheduling as scheduling
from pykworker.bench.measure import Interrupt

from . import load
from .histogram import NativeRecorder, PythonRecorder, Record, Recorder

HAS_NATIVE = getattr(kw, "backend", "pure") == "native"
NATIVE_MISSING = (
    "it needs the extension module, which is not built here (pykworker.backend is 'pure')"
)

SLICE_NS = 100_000_000
"""How often Ctrl-C is looked at, and the terminal told."""

Kind = Literal["threading", "python", "native"]


class RefusedError(Exception):
    """The system, or what is built, does not allow it; the text says what would."""


@dataclass(frozen=True)
class Plan:
    """What is the same for all runs."""

    interval_ns: int
    duration_ns: int
    load: str = "none"
    memory_lock: bool = False
    timer_slack_ns: int | None = None


@dataclass(frozen=True)
class Contestant:
    """Who is to tick, and under what."""

    key: str
    kind: Kind
    scheduler: scheduling.Scheduler | None = None
    cpus: frozenset[int] | None = None
    asked_for: bool = True
    """Its scheduler and CPUs are the user's; others are left out when they are refused."""

    @property
    def label(self) -> str:
        words = {"threading": "threading", "python": "Worker, Python", "native": "Worker, native"}
        parts = [words[self.kind]]
        if self.scheduler is not None:
            parts.append(scheduler_text(self.scheduler))
        if self.cpus is not None:
            parts.append(f"CPU {scheduling.cpu_list(self.cpus)}")
        return ", ".join(parts)


def scheduler_text(scheduler: scheduling.Scheduler) -> str:
    """As the command line takes it."""
    words = {kind: word for word, kind in scheduling._WORDS.items()}
    numbers = scheduling.numbers_of(scheduler)
    match scheduler:
        case scheduling.Fifo() | scheduling.RoundRobin():
            values = f":{numbers.priority}"
        case scheduling.Other() | scheduling.Batch():
            values = f":{numbers.nice}" if numbers.nice else ""
        case scheduling.Deadline(runtime, deadline, period):
            values = f":{runtime:g},{deadline:g},{period or deadline:g}"
        case _:
            values = ""
    return words[type(scheduler)] + values


@dataclass
class Result:
    """What came of one contestant."""

    contestant: Contestant
    record: Record | None = None
    """None: it did not run."""
    refused: str | None = None
    elapsed_ns: int = 0
    by: str | None = None
    """Another program's name, which did what the contestant does."""


# --- how a thread gets its scheduler and CPUs --------------------------------------------------


_REFUSALS = (OSError, ValueError, NotImplementedError)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e9


class _Settle:
    """Called on a new thread, which is no worker's: has it run as the contestant is to."""

    def __init__(self, contestant: Contestant, plan: Plan) -> None:
        self.contestant = contestant
        self.timer_slack = _seconds(plan.timer_slack_ns)
        self.error: Exception | None = None

    def __call__(self) -> None:
        try:
            if self.contestant.cpus is not None:
                scheduling.set_cpus(0, self.contestant.cpus)
            if self.contestant.scheduler is not None:
                scheduling.set_scheduler(0, self.contestant.scheduler)
            if self.timer_slack is not None:
                scheduling.set_timer_slack(self.timer_slack)
        except _REFUSALS as error:
            self.error = error

    def check(self) -> None:
        if self.error is not None:
            raise RefusedError(_reason(self.error)) from self.error


def make_worker(contestant: Contestant, plan: Plan, cleanup: ExitStack) -> Any:
    try:
        worker = kw.Worker(
            "latency",
            daemon=True,
            scheduler=contestant.scheduler,
            cpus=contestant.cpus,
            memory_lock=plan.memory_lock,
            timer_slack=_seconds(plan.timer_slack_ns),
        )
    except _REFUSALS as error:
        raise RefusedError(_reason(error)) from error
    cleanup.callback(worker.destroy)
    return worker


def lock_memory() -> None:
    """All of the process: the thread that is no worker's has the same."""
    try:
        scheduling.lock_memory()
    except _REFUSALS as error:
        raise RefusedError(_reason(error)) from error


# --- who ticks ---------------------------------------------------------------------------------


def _tick_by_thread(contestant: Contestant, plan: Plan, cleanup: ExitStack) -> Recorder:
    """A thread that sleeps until each deadline: the loop people write by hand."""
    recorder: Recorder = (NativeRecorder if HAS_NATIVE else PythonRecorder)(plan.interval_ns)
    settle, ready, over = _Settle(contestant, plan), threading.Event(), threading.Event()

    def loop() -> None:
        settle()
        ready.set()
        if settle.error is not None:
            return
        lap, is_over, sleep = recorder.lap, over.is_set, time.sleep
        due = monotonic_ns() + plan.interval_ns
        recorder.begin_lap(due)
        while True:
            sleep(max(0, due - monotonic_ns()) / 1e9)
            if is_over():
                return
            due = lap()

    thread = threading.Thread(target=loop, name="latency", daemon=True)
    thread.start()
    cleanup.callback(thread.join)
    cleanup.callback(over.set)
    ready.wait()
    settle.check()
    return recorder


def _tick_by_worker(contestant: Contestant, plan: Plan, cleanup: ExitStack) -> Recorder:
    worker = make_worker(contestant, plan, cleanup)
    tick: Any
    if HAS_NATIVE:
        recorder = NativeRecorder(plan.interval_ns)
        tick = recorder.tick
        if contestant.kind == "native":
            tick = kw.NativeWork(recorder.native_tick, recorder.struct)
        beat = worker.every(plan.interval_ns / 1e9, tick)
        cleanup.callback(beat.cancel)
        return recorder
    if contestant.kind == "native":
        raise RefusedError(NATIVE_MISSING)
    pure = PythonRecorder(plan.interval_ns)
    cleanup.callback(worker.every(plan.interval_ns / 1e9, pure.tick).cancel)
    return pure


def try_out(contestant: Contestant, plan: Plan) -> None:
    """May a thread run under that? Raises RefusedError, before other runs have taken their time."""
    settle = _Settle(contestant, plan)
    thread = threading.Thread(target=settle, name="latency", daemon=True)
    thread.start()
    thread.join()
    settle.check()
    if contestant.kind == "native" and not HAS_NATIVE:
        raise RefusedError(f"a native work: {NATIVE_MISSING}; --python does not")


# --- a run -------------------------------------------------------------------------------------


def run(
    contestant: Contestant, plan: Plan, interrupt: Interrupt, show: Callable[[str], None]
) -> Result:
    """One contestant, until the time is over and it has ticked, or Ctrl-C. Raises RefusedError.

    *show* is called with a line of text now and then, by the calling thread.
    """
    gc.collect()
    with ExitStack() as cleanup:
        begin_ticking = _tick_by_thread if contestant.kind == "threading" else _tick_by_worker
        loading = cleanup.enter_context(ExitStack())
        pass_time = load.begin(plan.load, loading)
        begun = monotonic_ns()
        recorder = begin_ticking(contestant, plan, cleanup)
        until = begun + plan.duration_ns
        now, count = monotonic_ns(), 0
        # Without a tick there is nothing to say.
        while (now < until or not count) and not interrupt.asked:
            pass_time(min(now + SLICE_NS, until) if now < until else now + SLICE_NS)
            now = monotonic_ns()
            count, latest = recorder.progress()
            seconds = f"{(now - begun) / 1e9:.1f}/{plan.duration_ns / 1e9:g} s"
            show(f"{contestant.label}: {seconds}, {count:,} ticks, at most {latest / 1e3:,.1f} us")
    return Result(contestant, recorder.result(), elapsed_ns=now - begun)


def run_all(
    contestants: Sequence[Contestant],
    plan: Plan,
    interrupt: Interrupt,
    show: Callable[[str], None],
) -> list[Result]:
    """In turn; after Ctrl-C with what there is. Raises RefusedError for what the user asked for."""
    results: list[Result] = []
    if plan.memory_lock:
        lock_memory()
    for contestant in contestants:
        if contestant.asked_for:
            try_out(contestant, plan)
    try:
        for contestant in contestants:
            if interrupt.asked:
                break
            try:
                results.append(run(contestant, plan, interrupt, show))
            except RefusedError as refusal:
                if contestant.asked_for:
                    raise
                results.append(Result(contestant, refused=str(refusal)))
    except KeyboardInterrupt:
        interrupt.asked = True
    return results
