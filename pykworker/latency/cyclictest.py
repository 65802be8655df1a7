# SPDX-License-Identifier: GPL-2.0-only
"""The same by cyclictest, of rt-tests: the measure that others use.

It runs as a process of its own, under the scheduler and on the CPUs of a contestant, with as many
ticks. Its buckets are whole microseconds, cut off.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import monotonic_ns

from pykworker import _scheduling as scheduling
from pykworker.bench.measure import Interrupt

from . import load
from .histogram import Bucket, Record
from .runs import SLICE_NS, Contestant, Plan, RefusedError, Result

PROGRAM = "cyclictest"
MISSING = f"{PROGRAM} is not installed (Debian and Ubuntu: apt-get install rt-tests)"

LONGEST_US = 20_000
"""What takes longer is counted together."""


def is_installed() -> bool:
    return shutil.which(PROGRAM) is not None


def arguments(contestant: Contestant, plan: Plan) -> list[str]:
    """Its command line for the same as *contestant* does."""
    policy, priority = "other", 0
    match contestant.scheduler:
        case scheduling.Fifo(value):
            policy, priority = "fifo", value
        case scheduling.RoundRobin(value):
            policy, priority = "rr", value
        case scheduling.Batch():
            policy = "batch"
        case scheduling.Idle():
            policy = "idle"
        case _:
            pass
    made = [
        PROGRAM,
        "--quiet",
        "--threads=1",
        # Else it holds the CPUs in their shallowest sleep, which we do not.
        "--laptop",
        f"--policy={policy}",
        f"--priority={priority}",
        f"--interval={plan.interval_ns // 1000}",
        f"--loops={max(1, plan.duration_ns // plan.interval_ns)}",
        f"--histogram={LONGEST_US}",
    ]
    if contestant.cpus is not None:
        made.append(f"--affinity={scheduling.cpu_list(contestant.cpus)}")
    if plan.memory_lock:
        made.append("--mlockall")
    return made


def parse(text: str) -> Record:
    """What it prints with --histogram. Raises ValueError for anything else."""

    def value(name: str) -> int:
        found = re.search(rf"^# {name}:\s*(\d+)", text, re.MULTILINE)
        if found is None:
            raise ValueError(f"{PROGRAM} printed no {name}: {text[-200:]!r}")
        return int(found[1])

    maximum = value("Max Latencies")
    buckets: list[Bucket] = []
    for at, number in re.findall(r"^(\d+)\s+(\d+)\s*$", text, re.MULTILINE):
        if int(number):
            buckets.append((int(at) * 1000, (int(at) + 1) * 1000, int(number)))
    beyond = value("Histogram Overflows")
    if beyond:
        buckets.append((LONGEST_US * 1000, (maximum + 1) * 1000, beyond))
    count = sum(number for _, _, number in buckets)
    return Record(
        count=count,
        missed=None,
        minimum=value("Min Latencies") * 1000,
        maximum=maximum * 1000,
        total=value("Avg Latencies") * 1000 * count,
        buckets=buckets,
    )


def run(
    contestant: Contestant, plan: Plan, interrupt: Interrupt, show: Callable[[str], None]
) -> tuple[Record, int]:
    """As `runs.run`; the record and the nanoseconds it took. Raises RefusedError."""
    with ExitStack() as cleanup:
        pass_time = load.begin(plan.load, cleanup)
        begun = monotonic_ns()
        process = subprocess.Popen(
            arguments(contestant, plan),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C comes from here, once
        )
        out = err = ""

        def read() -> None:
            nonlocal out, err
            out, err = process.communicate()

        reader = threading.Thread(target=read, name=PROGRAM, daemon=True)
        reader.start()
        cleanup.callback(reader.join)
        cleanup.callback(process.kill)
        now, told = monotonic_ns(), False
        while reader.is_alive():
            if interrupt.asked and not told:
                process.send_signal(signal.SIGINT)
                told = True
            pass_time(now + SLICE_NS)
            now = monotonic_ns()
            show(f"{PROGRAM}: {(now - begun) / 1e9:.1f}/{plan.duration_ns / 1e9:g} s")
    if process.returncode and not told:
        lines = err.strip().splitlines() or [f"exit code {process.returncode}"]
        raise RefusedError(f"{PROGRAM}: {lines[-1]}")
    try:
        return parse(out), now - begun
    except ValueError as error:
        raise RefusedError(str(error)) from None


def again(
    results: Sequence[Result], plan: Plan, interrupt: Interrupt, show: Callable[[str], None]
) -> list[Result]:
    """What the last of the runs that were made did, done by cyclictest. Raises RefusedError."""
    made = [result.contestant for result in results if result.record is not None]
    if not made:
        return []
    contestant = made[-1]
    record, elapsed = run(contestant, plan, interrupt, show)
    return [Result(contestant, record, elapsed_ns=elapsed, by=PROGRAM)]
