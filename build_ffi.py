# SPDX-License-Identifier: GPL-2.0-only
"""The extension module `pykworker._native`: the C core and the binding, by cffi in API mode.

`setup.py` names `ffibuilder` to setuptools. To build in place, for work on the sources:

    python build_ffi.py

The generated wrappers would give the GIL back in every call. Most calls here never block,
and each hand-over of the GIL costs more than they do, so the two macros that do it are
made plain braces; the functions that wait give it back themselves (see `gil.c`).
"""

from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent
SOURCES = [
    str(path.relative_to(ROOT))
    for folder in ("src", "pykworker/_binding")
    for path in sorted((ROOT / folder).glob("*.c"))
]

PREAMBLE = """
#include "binding.h"

#undef Py_BEGIN_ALLOW_THREADS
#define Py_BEGIN_ALLOW_THREADS {
#undef Py_END_ALLOW_THREADS
#define Py_END_ALLOW_THREADS }
"""

ffibuilder = FFI()
ffibuilder.cdef((ROOT / "pykworker/_binding/binding.cdef").read_text())
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
