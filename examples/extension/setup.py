# SPDX-License-Identifier: GPL-2.0-only
"""Two modules: one in C, and one in Cython where that is installed."""

from setuptools import Extension, setup

import pykworker

common = {
    "include_dirs": [pykworker.get_include()],
    "extra_link_args": ["-pthread"],
}
extensions = [
    Extension(
        "accumulate",
        ["accumulate.c"],
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
        extra_compile_args=["-std=c11", "-Wall", "-Wextra"],
        **common,
    )
]
try:
    from Cython.Build import cythonize
except ImportError:
    pass
else:
    extensions += cythonize([Extension("cycount", ["cycount.pyx"], **common)])

setup(ext_modules=extensions)
