# SPDX-License-Identifier: GPL-2.0-only
"""The extension module, with the C types that cffi can't name.

``lib`` holds the functions of ``binding.cdef``; ``WorkBase``, ``WorkerBase``, ``FutureBase`` and
``CallBase`` carry what is called often. Nothing here is public.
"""

from pykworker._native import ffi, lib

__all__ = ["CallBase", "FutureBase", "WorkBase", "WorkerBase", "ffi", "lib"]

_types: list = []
lib.pykw_export_types(id(_types))
WorkBase, WorkerBase, FutureBase, CallBase = _types
del _types
