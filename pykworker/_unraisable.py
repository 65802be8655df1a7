# SPDX-License-Identifier: GPL-2.0-only
"""What nobody is there to be told of: errors that nobody catches, works given up at exit."""

from __future__ import annotations

import contextlib
import sys
import traceback
import types
from typing import Any

__all__ = ["report", "report_given_up"]

# What the hook takes. The interpreter makes such objects but does not name the class.
_tuples: Any = tuple.__subclasses__()  # pyright: ignore[reportUnknownVariableType]
_UnraisableArgs: Any = next(
    (kind for kind in _tuples if kind.__name__ == "UnraisableHookArgs"), None
)


def report(message: str, error: BaseException, culprit: object) -> None:
    """Hand an error to the hook; whatever that does, the caller goes on."""
    hook = getattr(sys, "unraisablehook", None)
    try:
        _call(hook, message, error, culprit)
    except BaseException as failure:
        with contextlib.suppress(BaseException):
            default = getattr(sys, "__unraisablehook__", None)
            _call(default, "Exception ignored in sys.unraisablehook", failure, hook)


def _call(hook: Any, message: str, error: BaseException, culprit: object) -> None:
    fields = (type(error), error, error.__traceback__, message, culprit)
    if hook is not None and _UnraisableArgs is not None:
        hook(_UnraisableArgs(fields))
        if hook is getattr(sys, "__unraisablehook__", None):
            _print_notes(error)
    elif hook is not None and hook is not getattr(sys, "__unraisablehook__", None):
        names = ("exc_type", "exc_value", "exc_traceback", "err_msg", "object")
        hook(types.SimpleNamespace(**dict(zip(names, fields, strict=True))))
    elif sys.stderr is not None:
        print(f"{message}: {culprit!r}", file=sys.stderr)
        traceback.print_exception(error)


def _print_notes(error: BaseException) -> None:
    """The interpreter's own hook leaves them out."""
    notes: Any = getattr(error, "__notes__", None)
    if isinstance(notes, list) and sys.stderr is not None:
        for note in map(str, notes):  # pyright: ignore[reportUnknownArgumentType]
            print(note, file=sys.stderr)


def report_given_up(name: str, seconds: float, work: object, pending: int) -> None:
    """The interpreter's exit waits no longer for a worker: a line on standard error."""
    if sys.stderr is None:
        return
    with contextlib.suppress(BaseException):
        what = "idle" if work is None else repr(work)
        print(
            f"pykworker: worker {name!r} given up at exit after {seconds:g} s: {what}, "
            f"{pending} pending",
            file=sys.stderr,
            flush=True,
        )
