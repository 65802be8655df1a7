# SPDX-License-Identifier: GPL-2.0-only
"""All that was found, as plain data: what ``--json`` writes, and the report is made of."""

from __future__ import annotations

import platform
import sys
import sysconfig
from datetime import UTC, datetime
from typing import Any

import pykworker

from . import attempts
from .advice import advise
from .system import Root
from .system import describe as describe_system

Data = dict[str, Any]

SCHEMA = "pykworker-info"
SCHEMA_VERSION = 1


def package() -> Data:
    backend = getattr(pykworker, "backend", "pure")
    sleep = "locks of threading"
    if backend == "native":
        from pykworker._binding import ffi, lib

        sleep = ffi.string(lib.pykw_sleeps_on()).decode()
    return {
        "version": getattr(pykworker, "__version__", None),
        "backend": backend,
        "sleeps_on": sleep,
    }


def python() -> Data:
    enabled = getattr(sys, "_is_gil_enabled", None)
    interval = getattr(sys, "getswitchinterval", None)
    return {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "build": " ".join(platform.python_build()),
        "compiler": platform.python_compiler(),
        "debug": bool(sysconfig.get_config_var("Py_DEBUG")),
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "gil": True if enabled is None else bool(enabled()),
        "switch_interval_s": None if interval is None else interval(),
    }


def build(root: Root, *, measure: bool = True) -> Data:
    """Look, try and, with *measure*, wake threads for some tenths of a second."""
    data: Data = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": {"system": platform.system(), "architecture": platform.machine()},
        "package": package(),
        "python": python(),
        "system": describe_system(root),
        "tried": attempts.describe(),
        "wake_ups": None,
    }
    if measure:
        from . import wakeups

        data["wake_ups"] = wakeups.measure()
    data["advice"] = advise(data)
    return data
