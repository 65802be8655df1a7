# SPDX-License-Identifier: GPL-2.0-only
"""What pyproject.toml can't say: the cffi extension, and the headers inside the package."""

import platform
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithHeaders(build_py):
    """Put the public headers where `pykworker.get_include()` finds them once installed."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "pykworker" / "include"
        target.mkdir(parents=True, exist_ok=True)
        for name in ("kthread.h", "kthread_worker.h", "pykworker.h"):
            shutil.copy2(ROOT / "src" / name, target / name)


# PyPy has no C API worth the name: there the package is pykworker.pure alone.
native = platform.python_implementation() == "CPython"

setup(
    cmdclass={"build_py": BuildWithHeaders},
    cffi_modules=["build_ffi.py:ffibuilder"] if native else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if native else {},
)
