# SPDX-License-Identifier: GPL-2.0-only
"""The extension module, with the C types that cffi can't name.

``lib`` holds the functions of ``binding.cdef``, and those of ``core.cdef``, which are public;
``WorkBase``, ``WorkerBase``, ``FutureBase`` and ``CallBase`` carry what is called often; ``C_API``
is the capsule of ``pykworker.h``.
"""

from pykworker._native import ffi, lib

__all__ = ["C_API", "CallBase", "FutureBase", "WorkBase", "WorkerBase", "ffi", "lib"]

_types: list = []
lib.pykw_export_types(id(_types))
WorkBase, WorkerBase, FutureBase, CallBase, C_API = _types
del _types
