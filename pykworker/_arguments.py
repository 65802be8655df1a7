# SPDX-License-Identifier: GPL-2.0-only
"""Checks of arguments, shared by both backends."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

__all__ = [
    "WorkerOptions",
    "count_or_none",
    "delay_seconds",
    "interval_seconds",
    "run_times",
    "timeout_seconds",
    "worker_options",
]


def timeout_seconds(value: object, name: str = "timeout") -> float | None:
    """Check a time limit before anything is done with it.

    *value* is in seconds: any real number, or None for no limit. *name* is what the error
    calls it. Infinity is no limit either.

    Returns the seconds as a float, or None for no limit. Raises TypeError for anything that
    is not a number, ValueError for a negative one and for NaN.
    """
    if value is None:
        return None
    seconds = _seconds(value, name, "a number of seconds or None")
    if seconds < 0:
        raise ValueError(f"{name} must not be negative")
    return None if math.isinf(seconds) else seconds


def delay_seconds(value: object, name: str = "delay") -> float:
    """Check the delay of a work before anything is done with it.

    *value* is in seconds: any real number. *name* is what the error calls it.

    Returns the seconds as a float, 0.0 at the least. Raises TypeError for anything that is not
    a number, ValueError for a negative one, NaN and infinity.
    """
    seconds = _seconds(value, name, "a number of seconds")
    if seconds < 0:
        raise ValueError(f"{name} must not be negative")
    if math.isinf(seconds):
        raise ValueError(f"{name} must be finite")
    return seconds


def interval_seconds(value: object, name: str = "interval") -> float:
    """Check the time between two ticks before anything is done with it.

    Takes, returns and raises as :func:`delay_seconds`; besides, ValueError for zero.
    """
    seconds = delay_seconds(value, name)
    if seconds == 0:
        raise ValueError(f"{name} must be greater than 0")
    return seconds


class WorkerOptions(NamedTuple):
    """A worker's arguments, checked; times are in seconds, None: no limit."""

    name: str
    busy_poll: float | None
    max_pending: int | None
    watchdog: float | None
    exit_timeout: float | None
    initargs: tuple[Any, ...]


def worker_options(
    *,
    name: object,
    numbers: Iterator[int],
    busy_poll: object,
    on_error: object,
    max_pending: object,
    watchdog: object,
    exit_timeout: object,
    initializer: object,
    initargs: Iterable[Any],
) -> WorkerOptions:
    """Check what both backends' Worker takes, before anything is done with it.

    *numbers* gives the next one for a worker without a name.

    Raises TypeError and ValueError.
    """
    if name is None:
        name = f"kworker-{next(numbers)}"
    elif not isinstance(name, str):
        raise TypeError(f"name must be a str or None, not {type(name).__name__}")
    elif "\0" in name:
        raise ValueError("name must not contain a NUL")
    if on_error is not None and not callable(on_error):
        raise TypeError(f"on_error must be callable, not {type(on_error).__name__}")
    poll = timeout_seconds(busy_poll, "busy_poll")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    return WorkerOptions(
        name,
        poll,
        count_or_none(max_pending, "max_pending"),
        None if watchdog is None else interval_seconds(watchdog, "watchdog"),
        timeout_seconds(exit_timeout, "exit_timeout"),
        tuple(initargs),
    )


def run_times(
    begun: int, ended: int, waited: int, longest_wait: int, ran: int, longest_run: int
) -> dict[str, float]:
    """What a worker's stats() says of times, which are given in nanoseconds here."""
    return {
        "waiting_mean": waited / begun / 1e9 if begun else 0.0,
        "waiting_longest": longest_wait / 1e9,
        "running_mean": ran / ended / 1e9 if ended else 0.0,
        "running_longest": longest_run / 1e9,
    }


def count_or_none(value: object, name: str) -> int | None:
    """Check a number of things that may be unlimited.

    Returns the int, 1 at the least, or None. Raises TypeError for anything but an integer and
    None, ValueError for one below 1.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be an integer or None, not {type(value).__name__}")
    count = operator.index(value)  # type: ignore[arg-type]
    if count < 1:
        raise ValueError(f"{name} must be at least 1")
    return count


def _seconds(value: object, name: str, what: str) -> float:
    """The number as a float; infinity when it is beyond the range of one."""
    kind = type(value)
    if not (hasattr(kind, "__float__") or hasattr(kind, "__index__")):
        raise TypeError(f"{name} must be {what}, not {kind.__name__}")
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except OverflowError:  # an int beyond the range of float
        seconds = math.inf if value > 0 else -math.inf  # type: ignore[operator]
    if math.isnan(seconds):
        raise ValueError(f"{name} must not be NaN")
    return seconds
