# SPDX-License-Identifier: GPL-2.0-only
"""What CPython's own tests need of pytest, and a line that says how many of them have run."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import Any

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

WARNINGS = (
    # Some cases drop their executor, or leave it to the interpreter's exit.
    "ignore:.*:ResourceWarning",
    # One forks with threads about.
    "ignore:.*multi-threaded.*fork:DeprecationWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if str(item.path).startswith(HERE):
            for warning in WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many cases each backend has passed; names of classes end in the backend."""
    outcomes: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            path, _, name = getattr(report, "nodeid", "").partition("::")
            kind = name.partition("::")[0]
            if path.endswith("test_concurrent_futures.py") and kind.endswith("]"):
                backend = kind.partition("[")[2][:-1]
                outcomes.setdefault(backend, Counter())[outcome] += 1
    for backend, counts in sorted(outcomes.items()):
        line = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        terminalreporter.write_line(f"CPython's executor tests, {backend}.Worker: {line}")
