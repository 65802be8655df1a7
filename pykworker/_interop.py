# SPDX-License-Identifier: GPL-2.0-only
"""The core for other extension modules: by cffi, and by the capsule of ``pykworker.h``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pykworker._binding import C_API, ffi, lib
from pykworker.native import Worker

if TYPE_CHECKING:
    from cffi import FFI

__all__ = ["C_API", "ffi", "get_ffibuilder", "lib", "worker_pointer"]


def get_ffibuilder() -> FFI:
    """What another cffi module includes when it is built, to share types and functions::

        builder = cffi.FFI()
        builder.include(pykworker.get_ffibuilder())
        builder.cdef("struct sample { struct kthread_work work; long n; };")
        builder.set_source(
            "_sample",
            '#include "kthread_worker.h" ...',
            include_dirs=[pykworker.get_include()],
        )

    At run time the other module imports pykworker. Its ``ffi`` then knows the types of
    ``pykworker.ffi``, and its ``lib`` the functions of ``pykworker.lib``; C in its source gets at
    them by ``pykworker.h``.

    Returns a new ``cffi.FFI``. Raises ImportError without cffi's builder.

    >>> import cffi
    >>> builder = cffi.FFI()
    >>> builder.include(kw.get_ffibuilder())
    >>> builder.cdef("struct sample { struct kthread_work work; long n; };")
    """
    from cffi import FFI

    builder = FFI()
    builder.cdef((Path(__file__).resolve().parent / "_binding" / "core.cdef").read_text())
    builder.set_source("pykworker._native", "")  # where it is found; it is built already
    return builder


class _Hold:
    """Keeps the memory of a worker's core; called when the pointer is gone, for nothing."""

    def __init__(self, handle: object) -> None:
        self.handle = handle

    def __call__(self, pointer: object) -> None:
        pass


def worker_pointer(worker: Worker) -> Any:
    """The ``struct kthread_worker *`` of a worker, for ``pykworker.lib`` and for C.

    It keeps the memory: as long as this pointer lives the core answers, for a destroyed worker
    with ESHUTDOWN. A cast of it, or an int, keeps nothing. The worker is to be started, stopped,
    served and destroyed by its own methods.

    Returns a cffi pointer. Raises TypeError for anything but a Worker of this backend,
    RuntimeError when its ``__init__`` was not called.

    From any thread; never waits.

    >>> with kw.Worker() as worker:
    ...     pointer = kw.worker_pointer(worker)
    ...     kw.lib.kthread_flush_worker(pointer)
    0
    """
    if not isinstance(worker, Worker):
        raise TypeError(f"worker_pointer() takes a Worker, not {type(worker).__name__}")
    core = getattr(worker, "_core", None)
    if core is None:
        raise RuntimeError("Worker.__init__() was not called")
    pointer = ffi.cast("struct kthread_worker *", lib.pykw_worker_core(core.handle))
    return ffi.gc(pointer, _Hold(core.handle))
