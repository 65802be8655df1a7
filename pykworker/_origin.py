# SPDX-License-Identifier: GPL-2.0-only
"""Where a work was queued, as a note on the exception that its callback lets out."""

from __future__ import annotations

import contextlib
import sys
import traceback
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

__all__ = ["Origins", "add_note", "calling_stack"]

_HEAD = "queued at (most recent call last):\n"


def calling_stack() -> traceback.StackSummary:
    """The stack of the calling thread, this package's own frames at its end left out."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(frame):
        frame = frame.f_back
    stack = traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)
    stack.reverse()
    return stack


def add_note(exception: BaseException, stack: traceback.StackSummary) -> None:
    """A callback has let *exception* out: add where it was queued."""
    with contextlib.suppress(Exception):  # of a class with ideas of its own
        exception.add_note(_HEAD + "".join(stack.format()).rstrip("\n"))


class Origins:
    """The stacks of the queueings that made works pending, of one worker.

    A work is kept track of for as long as it lives; nothing here holds it, nor any frame. From
    any thread. *runs_begun* says how many runs have begun on the worker: while one goes on, that
    is its number.
    """

    def __init__(self, runs_begun: Callable[[], int]) -> None:
        self._runs_begun = runs_begun
        self._notes: weakref.WeakKeyDictionary[Any, _Note] = weakref.WeakKeyDictionary()

    def note(self, work: Any) -> None:
        """*work* is about to be queued, by the calling thread: note its stack."""
        stack = calling_stack()
        before = self._notes.get(work)
        if before is not None and work.executing:
            run = self._runs_begun()
            self._notes[work] = _Note(stack, before.of_run(run), run)
        else:
            self._notes[work] = _Note(stack, stack, 0)

    def add_to(self, work: Any, exception: BaseException) -> None:
        """*work* has let *exception* out: add where it was queued, if that was noted."""
        note = self._notes.get(work)
        if note is not None:
            add_note(exception, note.of_run(self._runs_begun()))


class _Note(NamedTuple):
    """The last queueing's stack; and that of the run which went on meanwhile, and its number."""

    last: traceback.StackSummary
    before: traceback.StackSummary
    run: int

    def of_run(self, run: int) -> traceback.StackSummary:
        return self.before if run == self.run else self.last


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and (name + ".").startswith("pykworker.")
