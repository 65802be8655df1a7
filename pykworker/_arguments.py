# SPDX-License-Identifier: GPL-2.0-only
"""Checks of arguments, shared by both backends."""

from __future__ import annotations

import math

__all__ = ["timeout_seconds"]


def timeout_seconds(value: object, name: str = "timeout") -> float | None:
    """Check a time limit before anything is done with it.

    *value* is in seconds: any real number, or None for no limit. *name* is what the error
    calls it. Infinity is no limit either.

    Returns the seconds as a float, or None for no limit. Raises TypeError for anything that
    is not a number, ValueError for a negative one and for NaN.
    """
    if value is None:
        return None
    kind = type(value)
    if not (hasattr(kind, "__float__") or hasattr(kind, "__index__")):
        raise TypeError(f"{name} must be a number of seconds or None, not {kind.__name__}")
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except OverflowError:  # an int beyond the range of float
        seconds = math.inf if value > 0 else -math.inf  # type: ignore[operator]
    if math.isnan(seconds):
        raise ValueError(f"{name} must not be NaN")
    if seconds < 0:
        raise ValueError(f"{name} must not be negative")
    return None if math.isinf(seconds) else seconds
