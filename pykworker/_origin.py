# SPDX-License-Identifier: GPL-2.0-only
"""Where a work was queued, as a note on the exception that its callback lets out."""

from __future__ import annotations

import contextlib
import sys
import traceback
import weakref
from types import FrameType
from typing import Any

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
    any thread.
    """

    def __init__(self) -> None:
        self._stacks: weakref.WeakKeyDictionary[Any, traceback.StackSummary] = (
            weakref.WeakKeyDictionary()
        )

    def note(self, work: Any) -> None:
        """*work* is about to be queued, by the calling thread: note its stack."""
        self._stacks[work] = calling_stack()

    def add_to(self, work: Any, exception: BaseException) -> None:
        """*work* has let *exception* out: add where it was queued, if that was noted."""
        stack = self._stacks.get(work)
        if stack is not None:
            add_note(exception, stack)


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and (name + ".").startswith("pykworker.")
