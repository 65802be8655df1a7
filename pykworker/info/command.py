# SPDX-License-Identifier: GPL-2.0-only
"""The command's arguments, and where the answer goes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "what this machine allows a worker's thread, what waking one costs, and what would help"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write all of it as JSON: to FILE, besides the text; without FILE, or with '-', to "
        "standard output, instead of the text",
    )
    parser.add_argument(
        "--no-measure",
        action="store_true",
        help="leave out the wake-ups, which take about a second",
    )


def run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from pykworker.bench.command import show

    from . import document, report
    from .system import Root

    data = document.build(Root(), measure=not args.no_measure)
    dumped = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    if args.json == "-":
        return 0 if show(dumped, sys.stdout) else 1
    if args.json is not None:
        try:
            Path(args.json).write_text(dumped, encoding="utf-8")
        except OSError as error:
            parser.error(f"--json: cannot write {args.json}: {error.strerror}")
    return 0 if show(report.text(data), sys.stdout) else 1
