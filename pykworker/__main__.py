# SPDX-License-Identifier: GPL-2.0-only
"""The command line: ``python -m pykworker COMMAND``.

A command is a module that has ``HELP`` (one line), ``add_arguments(parser)`` and
``run(args, parser) -> int`` (the exit code). Its name stands in `COMMANDS`; nothing else needs to
know it. A command's module imports the standard library only, so that ``--help`` is quick and
works without the optional packages; these are imported when the command runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "bench": "pykworker.bench.command",
    "latency": "pykworker.latency.command",
    "info": "pykworker.info.command",
}

INTERRUPTED = 130


def version() -> str:
    """The package's version and backend, as one line."""
    import pykworker

    number = getattr(pykworker, "__version__", "(version unknown)")
    backend = getattr(pykworker, "backend", "pure")
    return f"pykworker {number}, {backend} backend"


class _Version(argparse.Action):
    """--version imports the backend only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(version())
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pykworker",
        description="Kernel-style worker threads: tools for the machine at hand.",
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show version and backend, and exit"
    )
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, path in COMMANDS.items():
        module = import_module(path)
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run, parser=command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    try:
        parser = make_parser()
        args = parser.parse_args(argv)
        if "run" not in args:
            parser.print_help()
            code = 0
        else:
            code = int(args.run(args, args.parser))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough (`... | head`). The interpreter flushes stdout once more when
        # it exits; that flush must not find the closed pipe again.
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
