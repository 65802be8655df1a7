# SPDX-License-Identifier: GPL-2.0-only
"""What stands on the terminal while the run goes on.

Drawn by the calling thread: a bar that a thread of its own keeps moving would take the interpreter
from what is being measured. For the same reason a bar is drawn between two measurements only.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

Step = Callable[[str, str], None]


def _terminal(stream: TextIO | None) -> TextIO | None:
    """The stream, unless it is closed or no terminal."""
    return stream if stream is not None and stream.isatty() else None


@contextlib.contextmanager
def progress(total: int, stream: TextIO | None = None) -> Iterator[Step]:
    """Gives a function to call before each of `total` measurements, with case and contestant.

    A bar where rich is installed, else a line that is written over; where `stream` (standard
    error) is not a terminal, nothing.
    """
    stream = _terminal(stream or sys.stderr)
    if stream is None:
        yield _silent
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed
    except ImportError:
        with _line(total, stream) as step:
            yield step
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Elapsed(),
        console=Console(file=stream),
        auto_refresh=False,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=total)
        begun = -1

        def advance(case: str, contestant: str) -> None:
            nonlocal begun
            begun += 1
            bar.update(task, completed=begun, description=f"{case}: {contestant}")
            bar.refresh()

        yield advance


def _silent(_case: str, _contestant: str) -> None:
    pass


@contextlib.contextmanager
def _line(total: int, stream: TextIO) -> Iterator[Step]:
    begun = 0
    with line(stream) as show:

        def advance(case: str, contestant: str) -> None:
            nonlocal begun
            begun += 1
            show(f"{begun}/{total} {case}: {contestant}")

        yield advance


@contextlib.contextmanager
def line(stream: TextIO | None = None) -> Iterator[Callable[[str], None]]:
    """Gives a function to call with a text, which is written over by the next one.

    Where `stream` (standard error) is not a terminal, it writes nothing. It costs microseconds,
    and may be called during a measurement.
    """
    stream = _terminal(stream or sys.stderr)
    if stream is None:
        yield lambda _: None
        return

    def show(text: str) -> None:
        stream.write(f"\r\x1b[K{text[:90]}")
        stream.flush()

    try:
        yield show
    finally:
        stream.write("\r\x1b[K")
        stream.flush()
