# SPDX-License-Identifier: GPL-2.0-only
"""The Linux kernel's kthread_worker in user space: work that runs on one known thread.

    import pykworker as kw

    with kw.Worker("sensor") as worker:

        @worker.work
        def sample():
            ...

        sample.queue()  # True; False while it is pending already
        sample.flush()  # it has run

:data:`backend` says what serves: "native", the C core; or "pure", :mod:`pykworker.pure`, where
the extension module is missing.

For other programs in C there are :func:`get_include` and :func:`get_sources`; for other extension
modules that share this package's workers, with "native": :func:`get_include` and the capsule
``_C_API``, which ``pykworker.h`` describes; and for cffi :func:`get_ffibuilder`,
:func:`worker_pointer`, :data:`ffi` and :data:`lib`, whose public names are those of
``kthread_worker.h``.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pykworker import _subinterpreter
from pykworker._version import __version__

if TYPE_CHECKING:
    from pykworker._interop import C_API as _C_API  # pyright: ignore[reportUnusedImport]
    from pykworker._interop import ffi, get_ffibuilder, lib, worker_pointer
    from pykworker._scheduling import (
        Batch,
        Deadline,
        Fifo,
        Idle,
        Other,
        RoundRobin,
        lock_memory,
    )
    from pykworker.native import (
        CANCEL,
        BoundWork,
        DeadlockError,
        DelayedWork,
        Future,
        NativeWork,
        PeriodicWork,
        Work,
        Worker,
        backend,
        current_work,
        should_stop,
        trace,
    )
elif _subinterpreter.refuses():

    def __getattr__(_: str) -> NoReturn:
        raise ImportError(_subinterpreter.REFUSAL, name=__name__)

else:
    from pykworker._scheduling import (
        Batch,
        Deadline,
        Fifo,
        Idle,
        Other,
        RoundRobin,
        lock_memory,
    )

    try:
        from pykworker import native as _backend
        from pykworker._interop import C_API as _C_API  # noqa: F401, PyCapsule_Import's
        from pykworker._interop import ffi, get_ffibuilder, lib, worker_pointer
    except ImportError as error:
        from pykworker import pure as _backend

        if sys.implementation.name == "cpython":
            _warning = (
                f"pykworker's extension module can't be used ({error}): pykworker.pure serves"
            )
            if Path(__file__).parent.with_name("build_ffi.py").exists():
                _warning += (
                    "; this is its source directory, from where one that is installed elsewhere "
                    "is not seen"
                )
            warnings.warn(_warning, RuntimeWarning, stacklevel=2)
    CANCEL = _backend.CANCEL
    BoundWork = _backend.BoundWork
    DeadlockError = _backend.DeadlockError
    DelayedWork = _backend.DelayedWork
    Future = _backend.Future
    NativeWork = _backend.NativeWork
    PeriodicWork = _backend.PeriodicWork
    Work = _backend.Work
    Worker = _backend.Worker
    backend = _backend.backend
    current_work = _backend.current_work
    should_stop = _backend.should_stop
    trace = _backend.trace

__all__ = [
    "CANCEL",
    "Batch",
    "BoundWork",
    "Deadline",
    "DeadlockError",
    "DelayedWork",
    "Fifo",
    "Future",
    "Idle",
    "NativeWork",
    "Other",
    "PeriodicWork",
    "RoundRobin",
    "Work",
    "Worker",
    "__version__",
    "backend",
    "current_work",
    "get_include",
    "get_sources",
    "lock_memory",
    "should_stop",
    "trace",
]
if globals().get("backend") == "native":  # in a subinterpreter there is none
    __all__ += ["ffi", "get_ffibuilder", "lib", "worker_pointer"]


def get_include() -> str:
    """The directory of the headers, for C that uses the core.

    ``kthread_worker.h`` and ``kthread.h`` are the core's; ``pykworker.h`` is for extension modules
    that queue works in C on a worker that was made in Python. An installed package has
    ``kthread_compat.h`` there as well, for code written for the kernel.

    Raises FileNotFoundError when the headers are not there.

    >>> import pathlib
    >>> (pathlib.Path(kw.get_include()) / "kthread_worker.h").is_file()
    True
    """
    return os.fspath(_folder_with("kthread_worker.h", "include", "headers"))


def get_sources() -> list[str]:
    """The paths of the core's ``.c`` files, to compile into a program or another module.

    They go with :func:`get_include` and ``-pthread``; C11 and POSIX are all that they take. A core
    that is compiled in knows nothing of this package's: its workers are its own.

    Raises FileNotFoundError when the sources are not there.

    >>> import pathlib
    >>> "kthread_worker.c" in [pathlib.Path(source).name for source in kw.get_sources()]
    True
    """
    folder = _folder_with("kthread_worker.c", "src", "C sources")
    return [os.fspath(source) for source in sorted(folder.glob("*.c"))]


def _folder_with(file: str, installed: str, what: str) -> Path:
    """Where *file* is: in the package, or in a checkout beside it."""
    package = Path(__file__).resolve().parent
    for folder in (package / installed, package.parent / "src"):
        if (folder / file).is_file():
            return folder
    raise FileNotFoundError(f"pykworker's {what} are not installed")
