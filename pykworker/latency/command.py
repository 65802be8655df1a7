# SPDX-License-Identifier: GPL-2.0-only
"""The command's arguments; what is refused before the run; who gets the result."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .document import Data
    from .runs import Contestant, Kind

HELP = "measure how late the ticks of a periodic work begin, as cyclictest does"

INTERRUPTED = 130
SUFFIXES = (".svg", ".png", ".pdf")

LOADS = ("none", "python", "c")
UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "": 1_000_000_000}
SHORTEST_NS = 1_000
LONGEST_NS = 24 * 3600 * 1_000_000_000

FIFO = 50
"""Of --compare's own runs."""


def nanoseconds(text: str) -> int:
    """``0.001``, ``1ms``, ``500us``; seconds where no unit is given."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s|)\s*", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"not a time as 0.5, 1ms or 500us: {text!r}")
    value = round(float(found[1]) * UNITS[found[2]])
    if not SHORTEST_NS <= value <= LONGEST_NS:
        raise argparse.ArgumentTypeError(f"must be 1us to 24 hours: {text!r}")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--python", action="store_true", help="a Python callback (default: a native work)"
    )
    who.add_argument(
        "--threading",
        action="store_true",
        help="no worker, but a threading.Thread that sleeps until each tick",
    )
    who.add_argument(
        "--compare",
        action="store_true",
        help="in turn: threading, Python, Python with the scheduler, native, native with it and"
        f" pinned (of their own: fifo:{FIFO}, and the last CPU)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="WHAT",
        help="fifo:50, rr:50, deadline:RUNTIME,DEADLINE,PERIOD (seconds), other:NICE, batch, idle",
    )
    parser.add_argument("--cpus", metavar="LIST", help="the CPUs it may run on, as 0-1,3")
    parser.add_argument(
        "--interval",
        type=nanoseconds,
        default="1ms",
        metavar="TIME",
        help="from tick to tick, as 1ms, 500us or 0.001 (default 1ms)",
    )
    parser.add_argument(
        "--duration",
        type=nanoseconds,
        default="10",
        metavar="TIME",
        help="of each run (default 10, seconds)",
    )
    parser.add_argument(
        "--load",
        choices=LOADS,
        default="none",
        help="what disturbs: python: the main thread computes; c: memory traffic and system calls"
        " on another thread, without the GIL",
    )
    parser.add_argument(
        "--memory-lock", action="store_true", help="keep the memory of the process resident"
    )
    parser.add_argument(
        "--timer-slack",
        type=nanoseconds,
        metavar="TIME",
        help="how much longer than asked for a thread that is not real-time may sleep, as 1us"
        " (default: as the system has it, 50us)",
    )
    parser.add_argument(
        "--cyclictest",
        action="store_true",
        help="run cyclictest afterwards, with the settings of the last run, and give the ratio",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write everything, the histogram included ('-': stdout)"
    )
    parser.add_argument(
        "--plot", metavar="FILE", help=f"draw a picture, {', '.join(SUFFIXES[:-1])} or .pdf"
    )


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends the process with exit code 2 when anything asked for cannot be done."""
    from pykworker import _scheduling as scheduling
    from pykworker.bench.command import EXTRA, check_file

    from . import cyclictest

    try:
        if args.scheduler is not None:
            args.scheduler = scheduling.parse_scheduler(args.scheduler)
    except ValueError as error:
        parser.error(f"--scheduler: {error}")
    try:
        if args.cpus is not None:
            args.cpus = scheduling.parse_cpus(args.cpus, "--cpus")
    except ValueError as error:
        parser.error(str(error))
    if args.duration < args.interval:
        parser.error("--duration must be at least one --interval")
    if args.cyclictest:
        if isinstance(args.scheduler, scheduling.Deadline):
            parser.error("--cyclictest: it knows no deadline scheduler")
        if args.timer_slack is not None:
            parser.error("--cyclictest: it knows no --timer-slack")
        if args.interval % UNITS["us"]:
            parser.error("--cyclictest: it takes an --interval of whole microseconds")
        if not cyclictest.is_installed():
            parser.error(f"--cyclictest: {cyclictest.MISSING}")
    if args.plot is not None:
        if Path(args.plot).suffix.lower() not in SUFFIXES:
            parser.error(
                f"--plot: the file must end in {', '.join(SUFFIXES[:-1])} or .pdf,"
                f" not {args.plot!r}"
            )
        try:
            importlib.import_module("matplotlib")
        except ImportError as error:
            parser.error(f"--plot needs matplotlib ({error}): {EXTRA}")
        check_file(parser, "--plot", args.plot)
    if args.json is not None and args.json != "-":
        check_file(parser, "--json", args.json)


def contestants(args: argparse.Namespace) -> list[Contestant]:
    from pykworker import _scheduling as scheduling
    from pykworker.bench.machine import usable_cpus

    from .runs import Contestant

    if not args.compare:
        kind: Kind = "threading" if args.threading else "python" if args.python else "native"
        return [Contestant(kind, kind, args.scheduler, args.cpus)]
    scheduler = args.scheduler or scheduling.Fifo(FIFO)
    cpus = args.cpus or frozenset(usable_cpus()[-1:]) or None
    asked_for = bool(args.scheduler or args.cpus)
    return [
        Contestant("threading", "threading"),
        Contestant("python", "python"),
        Contestant("python-scheduled", "python", scheduler, asked_for=bool(args.scheduler)),
        Contestant("native", "native", asked_for=False),
        Contestant("native-scheduled", "native", scheduler, cpus, asked_for=asked_for),
    ]


def run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    check(args, parser)

    from pykworker.bench import machine
    from pykworker.bench.measure import Interrupt
    from pykworker.bench.progress import line

    from . import cyclictest, document, runs

    plan = runs.Plan(args.interval, args.duration, args.load, args.memory_lock, args.timer_slack)
    if plan.load == "c" and not runs.HAS_NATIVE:
        print(f"--load c: {runs.NATIVE_MISSING}", file=sys.stderr)
        return 1
    described = machine.describe()
    try:
        with Interrupt("ending this run") as interrupt:
            with line() as show:
                results = runs.run_all(contestants(args), plan, interrupt, show)
                if args.cyclictest and not interrupt.asked:
                    results += cyclictest.again(results, plan, interrupt, show)
            data = document.build(results, plan, complete=not interrupt.asked, machine=described)
    except runs.RefusedError as refusal:
        print(refusal, file=sys.stderr)
        return 1
    written = write(data, args)
    if not data["complete"]:
        return INTERRUPTED
    return 0 if written else 1


def write(data: Data, args: argparse.Namespace) -> bool:
    """The files first, so that a closed pipe on standard output costs none of them."""
    from pykworker.bench.command import deliver

    from . import plot, report

    written = True
    dumped = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    try:
        if args.json is not None and args.json != "-":
            Path(args.json).write_text(dumped, encoding="utf-8")
    except OSError as error:
        written = False
        print(f"--json: {error}", file=sys.stderr)
    try:
        if args.plot is not None and report.ran(data):
            plot.draw(data, Path(args.plot))
    except OSError as error:
        written = False
        print(f"--plot: {error}", file=sys.stderr)
    columns = shutil.get_terminal_size().columns
    to_stdout = [dumped] if args.json == "-" else []
    return deliver(lambda _: report.terminal(data, columns), to_stdout) and written
