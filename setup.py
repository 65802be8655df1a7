# SPDX-License-Identifier: GPL-2.0-only
"""What pyproject.toml can't say: the version, the cffi extension, the C core in the package."""

import platform
import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PUBLIC_HEADERS = (
    "src/kthread.h", "src/kthread_worker.h", "src/pykworker.h", "compat/kthread_compat.h",
)  # fmt: skip

# By its path: an import would run the whole package, which is not built yet.
VERSION: str = runpy.run_path(str(ROOT / "pykworker" / "_version.py"))["__version__"]

VERSION_FILE = f"""\
# SPDX-License-Identifier: GPL-2.0-only
# Written by setup.py, from kthread_worker.h.
__version__ = "{VERSION}"
"""


class BuildWithCore(build_py):
    """Put the core where `pykworker.get_include()` and `get_sources()` find it once installed.

    And the version by itself, so that an import has no header to read.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        core = sorted((ROOT / "src").glob("*.[ch]"))
        public = [ROOT / name for name in PUBLIC_HEADERS]
        package = Path(self.build_lib) / "pykworker"
        for folder, paths in (("include", public), ("src", core)):
            target = package / folder
            target.mkdir(parents=True, exist_ok=True)
            for path in paths:
                shutil.copy2(path, target)
        linux = package / "include" / "compat" / "linux"
        shutil.copytree(ROOT / "compat" / "linux", linux, dirs_exist_ok=True)
        version = Path(self.build_lib) / "pykworker" / "_version.py"
        version.write_text(VERSION_FILE, encoding="utf-8")


# PyPy has no C API worth the name: there the package is pykworker.pure alone.
native = platform.python_implementation() == "CPython"

setup(
    version=VERSION,
    cmdclass={"build_py": BuildWithCore},
    cffi_modules=["build_ffi.py:ffibuilder"] if native else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if native else {},
)
