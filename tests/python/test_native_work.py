# SPDX-License-Identifier: GPL-2.0-only
"""Works whose callback is machine code."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
import threading
import weakref
from functools import partial

import pytest
from helpers import LIMIT, Background, give_time_to_sleep, hold, wait_until

Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
Longs = ctypes.c_long * 1


class Data(ctypes.Structure):
    _fields_ = (("value", ctypes.c_long),)


class Compiled:
    """Looks like what numba makes of a function."""

    def __init__(self, function):
        self.function = function
        self.address = ctypes.cast(function, ctypes.c_void_p).value


class WeakCallback(Compiled):
    pass


@pytest.fixture
def libc():
    if sys.platform == "win32":
        pytest.skip("no libc by that name")
    return ctypes.CDLL(None)


@pytest.fixture
def cffi():
    return pytest.importorskip("cffi")


def run(worker, work):
    assert worker.queue(work) is True
    work.flush()


def recorder():
    """A C callback that records what it is called with, and the record."""
    got = []
    return Callback(got.append), got


def test_it_is_a_work(kw, worker):
    callback, got = recorder()
    work = kw.NativeWork(callback)
    assert isinstance(work, kw.Work)
    gate = hold(kw, worker)
    assert worker.queue(work) is True
    assert worker.queue(work) is False
    assert work.pending
    assert work.coalesced == 1
    gate.open()
    work.flush()
    assert got == [None]
    assert not work.pending


def test_it_runs_in_order_with_the_others(kw, worker):
    order = []
    native = Callback(lambda data: order.append(data))
    gate = hold(kw, worker)
    worker.queue_many(
        [
            kw.NativeWork(native, 1),
            kw.Work(order.append, 2),
            kw.NativeWork(native, 3),
            kw.NativeWork(native, 4),
            kw.Work(order.append, 5),
        ]
    )
    gate.open()
    worker.flush()
    assert order == [1, 2, 3, 4, 5]


def test_it_runs_on_the_workers_thread(kw, worker):
    idents = []
    callback = Callback(lambda _: idents.append(threading.get_ident()))
    run(worker, kw.NativeWork(callback))
    assert idents == [worker.ident]


@pytest.mark.parametrize("kind", ["pointer", "int", "object"])
def test_address_may_be(kw, worker, kind):
    callback, got = recorder()
    number = ctypes.cast(callback, ctypes.c_void_p).value
    address = {"pointer": callback, "int": number, "object": Compiled(callback)}[kind]
    work = kw.NativeWork(address, 7)
    assert work.address == number
    assert work.data == 7
    run(worker, work)
    assert got == [7]


def test_data_may_be_none_or_a_number(kw, worker):
    callback, got = recorder()
    highest = 2 ** (8 * ctypes.sizeof(ctypes.c_void_p)) - 1
    for data in (None, 0, 1, highest):
        run(worker, kw.NativeWork(callback, data))
    assert got == [None, None, 1, highest]


def test_data_may_be_a_ctypes_object(kw, worker):
    callback, got = recorder()
    array, structure, target = Longs(1), Data(2), ctypes.c_long(3)
    pointer = ctypes.pointer(target)
    untyped = ctypes.cast(pointer, ctypes.c_void_p)
    for data in (array, structure, pointer, untyped):
        work = kw.NativeWork(callback, data)
        assert work.data is data
        run(worker, work)
    assert got == [
        ctypes.addressof(array),
        ctypes.addressof(structure),
        ctypes.addressof(target),
        ctypes.addressof(target),
    ]


def test_libc_function_writes_to_its_data(kw, worker, libc):
    data = Longs(0)
    run(worker, kw.NativeWork(libc.time, data))  # time(time_t *) writes what it returns
    assert data[0] > 0


def test_it_runs_without_the_gil(kw, worker, libc):
    """It sleeps in C until this thread, which needs the GIL, wakes it."""
    semaphore = ctypes.create_string_buffer(128)
    if libc.sem_init(semaphore, 0, 0) != 0:
        pytest.skip("no unnamed semaphores here")
    work = kw.NativeWork(libc.sem_wait, semaphore)
    worker.queue(work)
    wait_until(lambda: work.executing)
    with pytest.raises(TimeoutError):
        work.flush(timeout=0)
    libc.sem_post(semaphore)
    work.flush()


def test_cffi_callback(kw, worker, cffi):
    ffi = cffi.FFI()
    got = []
    callback = ffi.callback("void(void *)", lambda data: got.append(int(ffi.cast("long", data))))
    work = kw.NativeWork(callback, ffi.cast("void *", 5))
    assert work.address == int(ffi.cast("uintptr_t", callback))
    run(worker, work)
    assert got == [5]


@pytest.mark.usefixtures("libc")
def test_cffi_function_of_a_library_and_owned_data(kw, worker, cffi):
    ffi = cffi.FFI()
    ffi.cdef("long time(long *);")
    library = ffi.dlopen(None)
    data = ffi.new("long *", 0)
    array = ffi.new("long[1]")
    function = ffi.cast("void (*)(void *)", ffi.addressof(library, "time"))
    run(worker, kw.NativeWork(function, data))
    run(worker, kw.NativeWork(ffi.cast("void *", library.time), array))
    assert data[0] > 0
    assert array[0] > 0


def test_null_address_is_refused(kw, cffi):
    ffi = cffi.FFI()
    compiled = Compiled(Callback(0))
    compiled.address = 0
    for address in (0, Callback(0), ffi.cast("void (*)(void *)", 0), compiled):
        with pytest.raises(ValueError, match=r"."):
            kw.NativeWork(address)


@pytest.mark.parametrize("address", [-1, 2**64, 2**70])
def test_number_that_is_no_address_is_refused(kw, address):
    with pytest.raises((ValueError, OverflowError)):
        kw.NativeWork(address)


@pytest.mark.parametrize("address", [None, "time", 1.5, int, object(), len])
def test_address_of_another_kind_is_refused(kw, address):
    with pytest.raises(TypeError):
        kw.NativeWork(address)


@pytest.mark.parametrize("data", ["text", b"bytes", 1.5, object(), [], bytearray(8)])
def test_data_of_another_kind_is_refused(kw, data):
    callback, _ = recorder()
    with pytest.raises(TypeError):
        kw.NativeWork(callback, data)


def test_address_and_data_are_kept_while_pending_and_not_longer(kw, worker):
    gate = hold(kw, worker)
    got = []
    compiled = WeakCallback(Callback(got.append))
    data = Data(4)
    address = ctypes.addressof(data)
    refs = [weakref.ref(compiled), weakref.ref(data)]
    work = kw.NativeWork(compiled, data)
    worker.queue(work)
    refs.append(weakref.ref(work))
    del compiled, data, work
    gc.collect()
    assert None not in [ref() for ref in refs]
    gate.open()
    worker.flush()
    gc.collect()
    assert got == [address]
    assert [ref() for ref in refs] == [None] * 3


def test_address_and_data_go_with_the_work_after_its_flush(kw, worker):
    callback, _ = recorder()
    for _ in range(50):
        data = Data(4)
        ref = weakref.ref(data)
        work = kw.NativeWork(callback, data)
        run(worker, work)
        del data
        assert ref() is work.data
        del work
        gc.collect()
        assert ref() is None


def is_over(work):
    return not (work.pending or work.executing)


@pytest.mark.parametrize("how", ["work.flush", "worker.flush", "work.flushed", "worker.flushed"])
def test_flush_of_a_run_that_is_over_gives_back_its_reference(kw, worker, how):
    callback, _ = recorder()
    whose, name = how.split(".")

    def flush_late():
        for _ in range(20):
            data = Data(4)
            ref = weakref.ref(data)
            work = kw.NativeWork(callback, data)
            assert worker.queue(work) is True
            wait_until(partial(is_over, work))
            result = getattr({"work": work, "worker": worker}[whose], name)()
            if result is not None:
                asyncio.run(result)
            del data, work, result
            gc.collect()
            assert ref() is None

    # The main thread, which alone makes the interpreter's pending calls, waits meanwhile.
    Background(flush_late).result()


def test_full_queue_of_pending_calls_keeps_no_work_for_good(kw, worker, libc):
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    nothing = kind(lambda _: 0)
    add = ctypes.PYFUNCTYPE(ctypes.c_int, kind, ctypes.c_void_p)(
        ("Py_AddPendingCall", ctypes.pythonapi)
    )
    refs = []

    def run_one():
        data = Data(4)
        refs.append(weakref.ref(data))
        work = kw.NativeWork(libc.getpid, data)
        assert worker.queue(work) is True
        wait_until(partial(is_over, work))

    def run_one_while_it_is_full():
        give_time_to_sleep(threading.main_thread().native_id)
        for _ in range(10_000):
            if add(nothing, None) < 0:
                break
        else:
            pytest.fail("the queue of pending calls takes everything")
        run_one()

    # The main thread, which alone makes these calls, waits meanwhile.
    Background(run_one_while_it_is_full).result()
    run_one()
    wait_until(lambda: [ref() for ref in refs] == [None] * 2)


def test_finalizer_of_another_work_does_not_keep_a_flushed_one(kw):
    callback, _ = recorder()
    entered, released = threading.Event(), threading.Event()

    class Slow(ctypes.Structure):
        _fields_ = (("value", ctypes.c_long),)

        def __del__(self):
            entered.set()
            assert released.wait(LIMIT)

    def flush_both(first, second):
        gate = hold(kw, second)
        data = Data(4)
        ref = weakref.ref(data)
        work, slow = kw.NativeWork(callback, data), kw.NativeWork(callback, Slow(5))
        assert first.queue(work) is True
        assert second.queue(slow) is True
        del slow
        wait_until(partial(is_over, work))
        gate.open()
        other = Background(second.flush)
        try:
            assert entered.wait(LIMIT)
            work.flush()
            del data, work
            gc.collect()
            assert ref() is None
        finally:
            released.set()
        other.result()

    with kw.Worker("first") as first, kw.Worker("second") as second:
        Background(flush_both, first, second).result()


def test_hooks_know_the_native_work_as_the_current_one(kw, worker):
    work = kw.NativeWork(Callback(lambda data: None))
    seen = []

    def hook(hooked):
        seen.append((kw.current_work() is hooked, worker.current_work is hooked))

    worker.on_start = worker.on_end = hook
    worker.queue(work)
    work.flush()
    assert seen == [(True, True)] * 2
