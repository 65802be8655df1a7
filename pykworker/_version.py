# SPDX-License-Identifier: GPL-2.0-only
"""The version, read from the C header, the one place where it is typed.

This file is the checkout's, for an editable install and for `setup.py`. A wheel has another one
in its stead, with the version alone in it, which `setup.py` writes.
"""

from pathlib import Path

HEADER = Path(__file__).resolve().parent.parent / "src" / "kthread_worker.h"


def _read() -> str:
    parts: dict[str, str] = {}
    with HEADER.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#define KTHREAD_WORKER_VERSION_"):
                _, name, value = line.split()
                parts[name.rpartition("_")[2]] = value
            elif parts:
                break
    return f"{parts['MAJOR']}.{parts['MINOR']}.{parts['PATCH']}"


__version__ = _read()
