# SPDX-License-Identifier: GPL-2.0-only
"""Build extension modules for a test, each once."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REQUIRED = os.environ.get("REQUIRE_TOOLS") == "1"


def imported(name: str) -> ModuleType:
    """Import what the test needs; without it the test is skipped, or fails where it must run."""
    if REQUIRED:
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"there is no {name}")


def compiler(name: str = "cc") -> str:
    path = shutil.which(name)
    if path is None:
        if REQUIRED:
            pytest.fail(f"there is no {name}")
        pytest.skip(f"there is no {name}")
    return path


def build(directory: Path, *command: str) -> None:
    """Run a Python command in a directory; it is to build something there."""
    compiler()
    done = subprocess.run(
        [sys.executable, *command], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def import_from(directory: Path, name: str) -> ModuleType:
    """Import an extension module that was built in a directory."""
    (path,) = directory.glob(f"{name}.*{'.pyd' if os.name == 'nt' else '.so'}")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
