# SPDX-License-Identifier: GPL-2.0-only
"""Where a NativeWork's code may come from, and that its signature is looked at."""

from __future__ import annotations

import ctypes
import gc
import sys
import types
import weakref

import pytest
from extensions import build, import_from, imported
from helpers import hold

NEEDED = r"must be void \(\*\)\(void \*\), not "

Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
Longs = ctypes.c_long * 1


class Pair(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int))


@pytest.fixture
def cffi():
    return imported("cffi")


def run(kw, worker, address, data):
    work = kw.NativeWork(address, data)
    assert worker.queue(work) is True
    work.flush()
    return work


# --- ctypes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argument",
    [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_wchar_p,
        ctypes.POINTER(ctypes.c_long),
        ctypes.POINTER(Pair),
    ],
)
def test_ctypes_function_of_a_pointer_runs(kw, worker, argument):
    got = []
    run(kw, worker, ctypes.CFUNCTYPE(None, argument)(got.append), 0)
    assert len(got) == 1


@pytest.mark.parametrize(
    ("signature", "given"),
    [
        ((None,), r"void \(\*\)\(\)"),
        ((None, ctypes.c_void_p, ctypes.c_int), r"void \(\*\)\(c_void_p, c_int\)"),
        ((None, ctypes.c_long), r"void \(\*\)\(c_long\)"),
        ((None, ctypes.c_double), r"void \(\*\)\(c_double\)"),
        ((None, Pair), r"void \(\*\)\(Pair\)"),
        ((None, Callback), r"void \(\*\)\(CFunctionType\)"),
        ((None, ctypes.py_object), r"void \(\*\)\(py_object\)"),
        ((ctypes.c_int, ctypes.c_void_p), r"c_int \(\*\)\(c_void_p\)"),
        ((ctypes.c_void_p, ctypes.c_void_p), r"c_void_p \(\*\)\(c_void_p\)"),
    ],
)
def test_ctypes_function_of_another_signature_is_refused(kw, signature, given):
    function = ctypes.CFUNCTYPE(*signature)(1)
    with pytest.raises(TypeError, match=NEEDED + given):
        kw.NativeWork(function)


def test_ctypes_function_of_a_library_is_checked_as_far_as_it_was_told(kw, worker):
    if sys.platform == "win32":
        pytest.skip("no libc by that name")
    data = Longs(0)
    run(kw, worker, ctypes.CDLL(None).time, data)
    assert data[0] > 0

    function = ctypes.CDLL(None).time
    function.argtypes = [ctypes.POINTER(ctypes.c_long)]
    kw.NativeWork(function)  # what it returns is not set: an int, as ctypes takes it
    function.restype = ctypes.c_long
    with pytest.raises(TypeError, match=NEEDED + r"c_long \(\*\)\(LP_c_long\)"):
        kw.NativeWork(function)
    function.restype = None
    kw.NativeWork(function)
    function.argtypes = [ctypes.c_long]
    with pytest.raises(TypeError, match=NEEDED + r"void \(\*\)\(c_long\)"):
        kw.NativeWork(function)


def test_ctypes_types_set_on_the_function_hold(kw):
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(1)
    function.restype = None
    function.argtypes = [ctypes.c_void_p]
    kw.NativeWork(function)


@pytest.mark.skipif(not hasattr(ctypes, "pythonapi"), reason="there is no C API")
def test_ctypes_functions_that_need_the_gil_are_refused(kw):
    with pytest.raises(TypeError, match="without the GIL"):
        kw.NativeWork(ctypes.pythonapi.PyErr_Clear)
    with pytest.raises(TypeError, match="without the GIL"):
        kw.NativeWork(ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(1))


def test_the_functions_of_the_c_api_are_left_as_they_are(kw):
    """Looking into a capsule sets nothing on what others use as well."""
    before = ctypes.pythonapi.PyCapsule_GetName.argtypes
    with pytest.raises(TypeError):
        kw.NativeWork(capsule(b"something else"))
    assert ctypes.pythonapi.PyCapsule_GetName.argtypes == before


# --- cffi --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signature", ["void(void *)", "void(long *)", "void(struct s *)", "void(int[3])"]
)
def test_cffi_function_of_a_pointer_runs(kw, worker, cffi, signature):
    ffi = cffi.FFI()
    ffi.cdef("struct s { int x; };")
    got = []
    run(kw, worker, ffi.callback(signature, got.append), ffi.new("long *"))
    assert len(got) == 1


@pytest.mark.parametrize(
    ("cast", "given"),
    [
        ("void(*)(void)", r"void\(\*\)\(\)"),
        ("void(*)(void *, int)", r"void\(\*\)\(void \*, int\)"),
        ("void(*)(intptr_t)", r"void\(\*\)\(intptr_t\)"),
        ("void(*)(struct s)", r"void\(\*\)\(struct s\)"),
        ("void(*)(void(*)(void))", r"void\(\*\)\(void\(\*\)\(\)\)"),
        ("void(*)(void *, ...)", r"void\(\*\)\(void \*, \.\.\.\)"),
        ("int(*)(void *)", r"int\(\*\)\(void \*\)"),
        ("void *(*)(void *)", r"void \*\(\*\)\(void \*\)"),
        ("char *", r"char \*"),
        ("void(**)(void *)", r"void\(\* \*\)\(void \*\)"),
    ],
)
def test_cffi_function_of_another_signature_is_refused(kw, cffi, cast, given):
    ffi = cffi.FFI()
    ffi.cdef("struct s { int x; };")
    with pytest.raises(TypeError, match=NEEDED + given):
        kw.NativeWork(ffi.cast("void *", 1) if not cast else ffi.cast(cast, 1))


def test_cffi_pointer_without_a_type_is_taken_as_it_is(kw, cffi):
    assert kw.NativeWork(cffi.FFI().cast("void *", 64)).address == 64


@pytest.fixture(scope="module")
def cffi_module(tmp_path_factory):
    imported("cffi")
    directory = tmp_path_factory.mktemp("cffi")
    (directory / "build.py").write_text(
        "import cffi\n"
        "builder = cffi.FFI()\n"
        "builder.cdef('void tick(long *); int other(void *);')\n"
        "builder.set_source('_ticks', '''static void tick(long *n) { ++*n; }\n"
        "static int other(void *data) { return data != 0; }''')\n"
        "builder.compile()\n"
    )
    build(directory, "build.py")
    return import_from(directory, "_ticks")


def test_function_of_a_cffi_library(kw, worker, cffi_module):
    """As it stands in lib, where cffi wraps it in a Python function."""
    module = cffi_module
    data = module.ffi.new("long *", 4)
    for address in (module.lib.tick, module.ffi.addressof(module.lib, "tick")):
        work = run(kw, worker, address, data)
        assert work.address == int(
            module.ffi.cast("uintptr_t", module.ffi.addressof(module.lib, "tick"))
        )
    assert data[0] == 6
    with pytest.raises(TypeError, match=NEEDED + r"int\(\*\)\(void \*\)"):
        kw.NativeWork(module.lib.other)


# --- Cython ------------------------------------------------------------------------------------

PYX = """
cdef void tick(void *data) noexcept nogil:
    (<long *>data)[0] += 1

cdef void tick_long(long *data) noexcept nogil:
    data[0] += 1

cdef int returns(void *data) noexcept nogil:
    return 1

def address():
    return <size_t><void *>tick
"""
PXD = """
cdef void tick(void *data) noexcept nogil
cdef void tick_long(long *data) noexcept nogil
cdef int returns(void *data) noexcept nogil
"""


@pytest.fixture(scope="module")
def cython_module(tmp_path_factory):
    imported("Cython")
    imported("setuptools")
    directory = tmp_path_factory.mktemp("cython")
    (directory / "ticks.pyx").write_text(PYX)
    (directory / "ticks.pxd").write_text(PXD)
    build(directory, "-m", "Cython.Build.Cythonize", "-3", "-i", "-q", "ticks.pyx")
    return import_from(directory, "ticks")


def test_function_of_a_cython_module(kw, worker, cython_module):
    module = cython_module
    data = Longs(0)
    run(kw, worker, module.__pyx_capi__["tick"], data)
    run(kw, worker, module.__pyx_capi__["tick_long"], data)
    assert data[0] == 2
    work = run(kw, worker, module.address(), data)
    assert work.address == kw.NativeWork(module.__pyx_capi__["tick"]).address
    assert data[0] == 3
    with pytest.raises(TypeError, match=NEEDED + r"int \(void \*\)"):
        kw.NativeWork(module.__pyx_capi__["returns"])


_names = []  # a capsule keeps only the address of its name


def capsule(name, pointer=64):
    _names.append(ctypes.create_string_buffer(name) if name is not None else None)
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
        ("PyCapsule_New", ctypes.pythonapi)
    )
    return new(pointer, _names[-1] and ctypes.addressof(_names[-1]), None)


@pytest.mark.parametrize(
    "name",
    [b"void (void *)", b"void (long *)", b"void (struct __pyx_t_5ticks_s *)", b"void (char **)"],
)
def test_capsule_of_a_signature_that_fits(kw, name):
    assert kw.NativeWork(capsule(name)).address == 64


@pytest.mark.parametrize(
    "name",
    [
        b"int (void *)",
        b"void *(void *)",
        b"void (void)",
        b"void (int)",
        b"void (void *, int)",
        b"void (void *, struct __pyx_opt_args_5ticks_f *__pyx_optional_args)",
        b"void (PyObject *)",
        b"void (void (*)(void *))",
        b"void (struct s)",
    ],
)
def test_capsule_of_another_signature_is_refused(kw, name):
    with pytest.raises(TypeError, match=NEEDED + r"\w+"):
        kw.NativeWork(capsule(name))


@pytest.mark.parametrize("name", [None, b"", b"datetime.datetime_CAPI", b"\xff (", b"f(void *) x"])
def test_capsule_of_something_else_is_refused(kw, name):
    with pytest.raises(TypeError, match="does not hold a function"):
        kw.NativeWork(capsule(name))


# --- numba, and what looks like it -------------------------------------------------------------


def test_numba_cfunc(kw, worker):
    # Big: one run of .ci/run has it.
    numba = pytest.importorskip("numba", reason="there is no numba")
    int64_p = numba.types.CPointer(numba.types.int64)

    @numba.cfunc(numba.types.void(int64_p))
    def tick(data):
        data[0] += 1

    @numba.cfunc(numba.types.void(numba.types.voidptr))
    def untyped(data):
        pass

    data = Longs(0)
    work = run(kw, worker, tick, data)
    assert work.address == tick.address
    assert data[0] == 1
    run(kw, worker, untyped, data)
    run(kw, worker, tick.ctypes, data)
    assert data[0] == 2

    returns = numba.cfunc(numba.types.int64(int64_p))(lambda data: 1)
    takes_int = numba.cfunc(numba.types.void(numba.types.int64))(lambda n: None)
    takes_two = numba.cfunc(numba.types.void(int64_p, int64_p))(lambda a, b: None)
    with pytest.raises(TypeError, match=NEEDED + r"\(int64\*,\) -> int64"):
        kw.NativeWork(returns)
    for other in (takes_int, takes_two):
        with pytest.raises(TypeError, match=NEEDED):
            kw.NativeWork(other)

    ref = weakref.ref(tick)
    work = kw.NativeWork(tick, data)
    del tick
    gc.collect()
    assert ref() is not None
    run_again = hold(kw, worker)
    worker.queue(work)
    del work
    gc.collect()
    run_again.open()
    worker.flush()
    assert data[0] == 3


class Signature(types.SimpleNamespace):
    def __str__(self):
        return f"({', '.join(self.args)}) -> {self.return_type}"


def compiled(arguments, result, address=64):
    """With what numba shows of a signature."""
    signature = Signature(args=arguments, return_type=result)
    return types.SimpleNamespace(address=address, _sig=signature)


def test_object_with_an_address_and_a_signature(kw):
    assert kw.NativeWork(compiled(["int64*"], "none")).address == 64
    for arguments, result in (
        (["int64"], "none"),
        ([], "none"),
        (["void*", "void*"], "none"),
        (["void*"], "int64"),
    ):
        with pytest.raises(TypeError, match=NEEDED + r"\(.*\) -> "):
            kw.NativeWork(compiled(arguments, result))


def test_object_with_an_address_alone_is_taken_as_it_is(kw):
    assert kw.NativeWork(types.SimpleNamespace(address=64)).address == 64
    with pytest.raises(TypeError):
        kw.NativeWork(types.SimpleNamespace(address="64"))


# --- whose code and data it is -----------------------------------------------------------------


@pytest.mark.parametrize("pending", [False, True])
def test_owners_of_code_and_data_live_as_long_as_the_work(kw, worker, cffi, pending):
    ffi = cffi.FFI()
    got = []
    for make_code, make_data in (
        (lambda: Callback(got.append), lambda: Longs(1)),
        (lambda: ffi.callback("void(void *)", got.append), lambda: ffi.new("long *")),
    ):
        code, data = make_code(), make_data()
        refs = [weakref.ref(code), weakref.ref(data)]
        work = kw.NativeWork(code, data)
        del code, data
        gate = hold(kw, worker)
        if pending:
            worker.queue(work)
            del work
        gc.collect()
        assert None not in [ref() for ref in refs]
        gate.open()
        worker.flush()
        work = None
        got.clear()  # cffi shows the data with a pointer of its own
        gc.collect()
        assert [ref() for ref in refs] == [None, None]
