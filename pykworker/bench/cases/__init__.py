# SPDX-License-Identifier: GPL-2.0-only
"""The cases, in the order in which they run and are shown."""

from __future__ import annotations

from ..measure import Case
from . import (
    burst,
    busy_interpreter,
    coalescing,
    native_works,
    periodic,
    round_trip,
    submit,
)

CASES: tuple[Case, ...] = (
    burst.CASE,
    *round_trip.CASES,
    *submit.CASES,
    coalescing.CASE,
    native_works.CASE,
    busy_interpreter.CASE,
    periodic.CASE,
)
