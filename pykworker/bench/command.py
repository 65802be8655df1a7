# SPDX-License-Identifier: GPL-2.0-only
"""The command's arguments; what is refused before the run; who gets the result."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from .document import Data

HELP = "measure this package against the pure twin, ThreadPoolExecutor(1) and SimpleQueue + thread"

INTERRUPTED = 130
EXTRA = "pip install matplotlib"
CASE_NAMES = (
    "burst",
    "round-trip",
    "round-trip-same-cpu",
    "round-trip-two-cpus",
    "submit-burst",
    "submit-result",
    "coalescing",
    "native-works",
    "busy-interpreter",
    "periodic",
)
"""Those of `cases.CASES`, which is not imported before the command runs."""

FULL = (100_000, 7)
QUICK = (10_000, 3)
"""Works and repetitions."""


def _positive(text: str) -> int:
    try:
        value = int(text.replace("_", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a whole number: {text!r}") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1: {text}")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--case",
        action="append",
        choices=CASE_NAMES,
        help="only this case; may be given several times",
    )
    parser.add_argument(
        "--repeat", type=_positive, metavar="N", help=f"repetitions (default {FULL[1]})"
    )
    parser.add_argument(
        "--works",
        type=_positive,
        metavar="N",
        help=f"works in a burst (default {FULL[0]}); the other cases scale with it",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"a first look: {QUICK[0]} works, {QUICK[1]} repetitions",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write everything, all samples included ('-': stdout)"
    )
    parser.add_argument(
        "--markdown", metavar="FILE", help="write the tables as Markdown ('-': stdout)"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw a picture, .svg or .png")


def check_file(parser: argparse.ArgumentParser, option: str, name: str) -> None:
    """Refuses, before minutes are spent, a file that could not be written after them."""
    path = Path(name)
    new = not path.exists()
    if not (new or path.is_dir() or path.is_file()):
        return  # a pipe or a device: opening it may wait, or be noticed at its other end
    try:
        with path.open("ab"):
            pass
        if new:
            path.unlink()
    except OSError as error:
        parser.error(f"{option}: cannot write {name}: {error.strerror}")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends the process with exit code 2 when anything asked for cannot be done."""
    if args.plot is not None:
        if Path(args.plot).suffix.lower() not in (".svg", ".png"):
            parser.error(f"--plot: the file must end in .svg or .png, not {args.plot!r}")
        try:
            import matplotlib  # noqa: F401 (is it there?)
        except ImportError as error:
            parser.error(f"--plot needs matplotlib ({error}): {EXTRA}")
        check_file(parser, "--plot", args.plot)
    if args.markdown is not None and args.markdown != "-":
        check_file(parser, "--markdown", args.markdown)
    if args.json is not None and args.json != "-":
        check_file(parser, "--json", args.json)


def run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    check(args, parser)

    from . import document, machine, measure, opponents
    from .cases import CASES
    from .progress import progress

    works, repeat = QUICK if args.quick else FULL
    works, repeat = args.works or works, args.repeat or repeat
    sizes = measure.Sizes(works)
    cases = [case for case in CASES if not args.case or case.name in args.case]
    notes = [] if opponents.NATIVE is not None else [opponents.NATIVE_MISSING]
    described = machine.describe()

    with measure.Interrupt() as interrupt:
        with progress(measure.steps(cases, sizes, repeat)) as step:
            results = measure.measure(cases, sizes, repeat, step, interrupt)
        data = document.build(
            results,
            sizes=sizes,
            repeat=repeat,
            selected=[case.name for case in cases],
            quick=args.quick,
            complete=not interrupt.asked,
            machine=described,
            notes=notes,
        )
    written = write(data, args)
    if not data["complete"]:
        return INTERRUPTED
    return 0 if written else 1


def write(data: Data, args: argparse.Namespace) -> bool:
    """The files first, so that a closed pipe on standard output costs none of them."""
    from . import plot, report

    written = True

    def file(option: str, name: str | None, text: str | None) -> None:
        nonlocal written
        if name is None or name == "-":
            return
        try:
            if text is None:
                plot.draw(data, Path(name))
            else:
                Path(name).write_text(text, encoding="utf-8")
        except OSError as error:
            written = False
            print(f"{option}: {error}", file=sys.stderr)

    dumped = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    file("--json", args.json, dumped)
    markdown = report.markdown(data)
    file("--markdown", args.markdown, markdown)
    if any(case["contestants"] for case in data["cases"]):
        file("--plot", args.plot, None)
    to_stdout = [dumped] if args.json == "-" else []
    to_stdout += [markdown] if args.markdown == "-" else []
    return deliver(lambda stream: report.terminal(data, stream), to_stdout) and written


def deliver(report: Callable[[TextIO], str], documents: Sequence[str]) -> bool:
    """The report goes to standard output, or out of the way of the documents that do."""
    stream = sys.stderr if documents else sys.stdout
    shown = []
    if stream is not None:
        shown.append(show(report(stream), stream))
    elif not documents:
        shown.append(show("", None))
    shown += [show(text, sys.stdout) for text in documents]
    return all(shown)


def show(text: str, stream: TextIO | None) -> bool:
    """Write it to a standard stream; what that refuses is told, and costs nothing else."""
    if stream is None:
        if sys.stderr is not None:
            print("standard output: it is closed", file=sys.stderr)
        return False
    try:
        stream.write(encodable(text, stream.encoding))
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if stream is sys.stdout and sys.stderr is not None:
            print(f"standard output: {error.strerror}", file=sys.stderr)
        # What is in its buffer would be refused once more when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


PLAIN = {
    "µ": "u",
    "\N{MULTIPLICATION SIGN}": "x",
    "…": "..",
    "\N{EN DASH}": "-",
    "≥": ">=",
    "≤": "<=",
}


def encodable(text: str, encoding: str | None) -> str:
    """`text` with what a poor terminal's encoding lacks replaced, instead of a traceback."""
    encoding = encoding or "utf-8"
    for fine, poor in PLAIN.items():
        try:
            fine.encode(encoding)
        except UnicodeEncodeError:
            text = text.replace(fine, poor)
    return text.encode(encoding, "replace").decode(encoding)
