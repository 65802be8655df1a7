# SPDX-License-Identifier: GPL-2.0-only
"""The extension module `pykworker._native`: the C core and the binding, by cffi in API mode.

`setup.py` names `ffibuilder` to setuptools. To build in place, for work on the sources:

    python build_ffi.py

The generated wrappers would give the GIL back in every call. Most calls here never block,
and each hand-over of the GIL costs more than they do, so the two macros that do it are
made plain braces. The binding's functions that wait give it back themselves (see `gil.c`);
those of the core that wait are named below.
"""

from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent
SOURCES = [
    str(path.relative_to(ROOT))
    for folder in ("src", "pykworker/_binding")
    for path in sorted((ROOT / folder).glob("*.c"))
]

# Functions of core.cdef that may sleep. (Those with "..." are called otherwise by cffi, which
# then gives the GIL back in any case.)
WAITING = """
kthread_run_attr kthread_stop kthread_sleep kthread_freeze kthread_freeze_timeout try_to_freeze
kthread_park kthread_park_timeout kthread_parkme kthread_lock_memory
kthread_worker_fn kthread_worker_run_pending
kthread_run_worker_on_cpu kthread_run_worker_attr kthread_start_worker
kthread_stop_worker kthread_stop_worker_timeout kthread_stop_worker_interruptible
kthread_close_worker
kthread_destroy_worker kthread_destroy_worker_timeout kthread_destroy_worker_interruptible
kthread_flush_work kthread_flush_work_timeout
kthread_flush_delayed_work kthread_flush_delayed_work_timeout
kthread_flush_worker kthread_flush_worker_timeout kthread_flush_wait
kthread_drain_worker kthread_drain_worker_timeout kthread_drain_worker_interruptible
kthread_drain_wait
kthread_cancel_work_sync kthread_cancel_delayed_work_sync
kthread_cancel_work_sync_timeout kthread_cancel_delayed_work_sync_timeout kthread_cancel_wait
kthread_disable_work_sync kthread_disable_work_sync_timeout
kthread_freeze_worker kthread_freeze_worker_timeout kthread_freeze_worker_interruptible
kthread_thaw_worker
"""

# In a wrapper, between the two macros, released says where the thread state goes. cffi makes a
# second function of each, without them, for C that calls by address and has no GIL to give.
PREAMBLE = """
#include "binding.h"

static PyThreadState **const released = NULL;

#undef Py_BEGIN_ALLOW_THREADS
#define Py_BEGIN_ALLOW_THREADS { PyThreadState *state = NULL, **const released = &state;
#undef Py_END_ALLOW_THREADS
#define Py_END_ALLOW_THREADS (void)released; if (state) PyEval_RestoreThread(state); }
#define RELEASE_GIL (released ? (void)(*released = PyEval_SaveThread()) : (void)0)
""" + "".join(
    f"#define {name}(...) (RELEASE_GIL, {name}(__VA_ARGS__))\n" for name in WAITING.split()
)

ffibuilder = FFI()
for name in ("core.cdef", "binding.cdef"):
    ffibuilder.cdef((ROOT / "pykworker/_binding" / name).read_text())
ffibuilder.set_source(
    "pykworker._native",
    PREAMBLE,
    sources=SOURCES,
    include_dirs=["src", "pykworker/_binding"],
    depends=[
        str(path.relative_to(ROOT))
        for folder in ("src", "pykworker/_binding")
        for path in sorted((ROOT / folder).glob("*.[chd]*"))
    ],
    # The stable ABI of 3.11: one module serves it and every later CPython.
    define_macros=[("Py_LIMITED_API", "0x030B0000")],
    py_limited_api=True,
    extra_compile_args=["-std=gnu11", "-O2", "-fvisibility=hidden"],
    extra_link_args=["-pthread"],
)

if __name__ == "__main__":
    import os

    os.chdir(ROOT)
    ffibuilder.compile(verbose=True)
