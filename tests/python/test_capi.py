# SPDX-License-Identifier: GPL-2.0-only
"""The capsule of ``pykworker.h``: the example extensions, built and used."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest
from conftest import load_backend
from extensions import build, compiler, import_from, imported
from helpers import Background, Gate, hold, run_script, wait_until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "extension"


@pytest.fixture
def kw():
    return load_backend("native")


@pytest.fixture
def worker(kw):
    with kw.Worker("test") as worker:
        yield worker


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Where the example was built, against the headers that pykworker names."""
    imported("setuptools")
    imported("Cython")
    load_backend("native")
    directory = tmp_path_factory.mktemp("extension")
    shutil.copytree(EXAMPLE, directory, dirs_exist_ok=True)
    build(directory, "setup.py", "--quiet", "build_ext", "--inplace")
    return directory


@pytest.fixture
def accumulate(built):
    return import_from(built, "accumulate")


@pytest.fixture
def cycount(built):
    return import_from(built, "cycount")


@contextlib.contextmanager
def refused(number):
    with pytest.raises(OSError, match=r".") as caught:
        yield
    assert caught.value.errno == number


# --- the examples ------------------------------------------------------------------------------


def test_demo_runs(built):
    done = subprocess.run(
        [sys.executable, "-W", "error", "demo.py"],
        cwd=built,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stderr == ""
    total, counted = done.stdout.splitlines()
    assert total.startswith("total 539500 in ")
    assert counted == "counted 1"


def test_works_in_c_coalesce_and_run_in_the_workers_order(kw, worker, accumulate):
    sums, seen = accumulate.Accumulator(worker), []
    gate = hold(kw, worker)
    worker.queue(kw.Work(lambda: seen.append(sums.total)))
    for n in range(100):
        sums.add(n)
    worker.queue(kw.Work(lambda: seen.append(sums.total)))
    assert sums.pending
    assert worker.stats()["pending"] == 3
    gate.open()
    sums.flush()
    assert (sums.total, sums.runs) == (4950, 1)
    worker.flush()
    assert seen == [0, 4950]


def test_works_in_cython(kw, worker, cycount):
    counter, seen = cycount.Counter(worker), []
    gate = hold(kw, worker)
    assert counter.count() is True
    assert counter.count() is False
    work = kw.Work(lambda: seen.append(counter.n))
    assert counter.then(work) is True
    assert counter.then(work) is False
    gate.open()
    counter.flush()
    worker.flush()
    assert seen == [1]


def test_flush_of_python_waits_for_works_in_c(kw, worker, accumulate):
    sums = accumulate.Accumulator(worker)
    gate = hold(kw, worker)
    sums.add(1)
    with pytest.raises(TimeoutError):
        worker.flush(timeout=0)
    gate.open()
    worker.flush()
    assert sums.total == 1
    sums.add(1)
    worker.drain()
    assert sums.total == 2


def test_delayed_and_cancelled(kw, worker, accumulate):
    sums = accumulate.Accumulator(worker)
    sums.add_later(1, 3600)
    sums.add_later(1, 7200)
    assert sums.pending
    assert worker.stats()["delayed"] == 1
    assert sums.cancel() is True
    assert sums.cancel() is False
    assert (sums.pending, sums.total) == (False, 0)
    sums.add_later(1, 3600)
    sums.flush()  # now, rather than then
    assert (sums.total, sums.runs) == (3, 1)
    sums.add_later(1, 0)
    worker.flush()
    assert sums.total == 4
    sums.add_later(1, 0.001)
    wait_until(lambda: sums.total == 5)


def test_an_object_of_c_may_go_while_its_work_is_pending(kw, worker, accumulate, cycount):
    for make, queue in (
        (accumulate.Accumulator, lambda sums: sums.add(1)),
        (accumulate.Accumulator, lambda sums: sums.add_later(1, 3600)),
        (cycount.Counter, lambda counter: counter.count()),
    ):
        gate = hold(kw, worker)
        for _ in range(10):
            queue(make(worker))
        stats = worker.stats()
        assert stats["pending"] + stats["delayed"] == 0
        gate.open()
        worker.flush()


def test_it_may_go_in_a_callback_of_its_worker(kw, worker, accumulate):
    sums = [accumulate.Accumulator(worker)]
    gate = hold(kw, worker)
    worker.queue(kw.Work(sums.clear))
    sums[0].add(1)
    gate.open()
    worker.flush()
    assert sums == []


def test_flush_by_c_lets_works_of_python_run_first(kw, worker, accumulate):
    sums, ran = accumulate.Accumulator(worker), []
    gate = Gate()
    worker.queue(kw.Work(gate))
    gate.wait_entered()
    worker.queue(kw.Work(ran.append, 1))
    sums.add(1)
    flush = Background(sums.flush)
    gate.open()
    flush.result()
    assert ran == [1]


# --- the end -----------------------------------------------------------------------------------


def test_destroy_runs_what_is_pending_and_cancels_what_is_armed(kw, accumulate):
    worker = kw.Worker("destroyed")
    pending, armed = accumulate.Accumulator(worker), accumulate.Accumulator(worker)
    gate = hold(kw, worker)
    pending.add(1)
    armed.add_later(1, 3600)
    destroy = Background(worker.destroy)
    gate.open()
    destroy.result()
    assert (pending.total, armed.total, armed.pending) == (1, 0, False)
    with refused(errno.ESHUTDOWN):
        pending.add(1)
    with refused(errno.ESHUTDOWN):
        armed.add_later(1, 0)
    pending.flush()
    armed.flush()
    assert pending.cancel() is False


def test_destroy_without_a_thread_drops_works_in_c_and_those_of_python(kw, accumulate):
    worker = kw.Worker("dropped", start=False)
    objects = [accumulate.Accumulator(worker) for _ in range(20)]
    works = [kw.DelayedWork(int) for _ in objects]
    for i, (sums, work) in enumerate(zip(objects, works, strict=True)):
        if i % 2:
            sums.add(1)
            worker.queue(work)
        else:
            sums.add_later(1, 3600)
            worker.queue_delayed(work, 3600)
    counts = [sys.getrefcount(work) for work in works]
    worker.destroy()
    assert [sys.getrefcount(work) for work in works] == [count - 1 for count in counts]
    assert [sums.pending for sums in objects] == [False] * 20
    for sums in objects:
        sums.flush()
        assert sums.total == 0


def test_a_hold_keeps_the_memory_of_a_destroyed_worker(kw, accumulate):
    worker = kw.Worker("held")
    sums = accumulate.Accumulator(worker)
    worker.destroy()
    del worker
    gc.collect()
    others = []
    for n in range(40):
        other = kw.Worker(f"other {n}", start=False)
        other.destroy()
        others.append(other)
    with refused(errno.ESHUTDOWN):
        sums.add(1)


def test_holds_are_given_back(kw, worker, accumulate, cycount):
    handle = worker._core.handle
    before = sys.getrefcount(handle), sys.getrefcount(worker)
    objects = [accumulate.Accumulator(worker), cycount.Counter(worker)]
    assert sys.getrefcount(handle) == before[0] + 2
    del objects
    assert (sys.getrefcount(handle), sys.getrefcount(worker)) == before


def test_left_behind_by_fork(kw, built):
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    result = run_script(
        kw,
        f"""
        sys.path.insert(0, {str(built)!r})
        import accumulate, errno
        worker = kw.Worker()
        gate, entered = threading.Event(), threading.Event()
        worker.queue(kw.Work(lambda: (entered.set(), gate.wait())))
        entered.wait()
        pending, idle = accumulate.Accumulator(worker), accumulate.Accumulator(worker)
        armed = accumulate.Accumulator(worker)
        pending.add(1)
        armed.add_later(1, 3600)

        def told(call, *args):
            try:
                return call(*args)
            except OSError as error:
                return errno.errorcode[error.errno]

        pid = os.fork()
        if pid == 0:
            print(told(pending.flush), told(idle.flush), told(idle.add, 1), told(armed.cancel))
            worker.destroy()
            print(told(pending.flush), pending.total)
            del pending, idle, armed
            with kw.Worker() as mine:
                fresh = accumulate.Accumulator(mine)
                fresh.add(2)
                fresh.flush()
                print(fresh.total)
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        gate.set()
        pending.flush()
        print(pending.total, armed.cancel())
        worker.destroy()
        """,
        "-W",
        "ignore::DeprecationWarning",
    )
    assert result.stderr == ""
    assert result.returncode == 0
    assert result.stdout.splitlines() == ["ESRCH None ESRCH True", "None 0", "2", "1 True"]


@pytest.mark.parametrize("daemon", [False, True])
def test_interpreter_exit_with_works_in_c(kw, built, daemon):
    result = run_script(
        kw,
        f"""
        sys.path.insert(0, {str(built)!r})
        import accumulate
        worker = kw.Worker(daemon={daemon})
        sums = accumulate.Accumulator(worker)
        sums.add_later(1, 3600)
        more = [accumulate.Accumulator(worker) for _ in range(100)]
        for n in more:
            n.add(1)
            worker.queue(kw.Work(int))
        """,
    )
    assert result.stderr == ""
    assert result.returncode == 0


# --- all at once -------------------------------------------------------------------------------


def test_storm_of_threads_in_c_and_in_python(kw, worker, accumulate):
    """The GIL is kept, given back and asked for, in all orders; nothing is lost."""
    objects = [accumulate.Accumulator(worker) for _ in range(4)]
    threads, times = 3, 1_000
    ran, done = [0], threading.Event()

    def count():
        ran[0] += 1

    def queue_works():
        queued = 0
        while not done.is_set():
            queued += worker.queue_many([kw.Work(count) for _ in range(20)])
            worker.queue(kw.NativeWork(ctypes.CDLL(None).time))
            worker.flush()
        return queued

    def cancel_often():
        while not done.is_set():
            for sums in objects:
                sums.cancel()

    python = [Background(queue_works) for _ in range(2)]
    canceller = Background(cancel_often)
    storms = [Background(sums.add_from_threads, threads, times) for sums in objects]
    try:
        assert [storm.result() for storm in storms] == [0] * len(objects)
    finally:
        done.set()
    canceller.result()
    queued = sum(thread.result() for thread in python)
    worker.flush()
    for sums in objects:
        sums.add(0)  # what a cancelled run left
        sums.flush()
        assert sums.total == threads * times
    assert ran[0] == queued
    assert kw.current_work() is None
    assert worker.current_work is None


def test_destroy_amid_a_storm(kw, accumulate):
    """Each adding was accepted, and is in the total, or refused."""
    worker = kw.Worker("storm")
    sums = accumulate.Accumulator(worker)
    storm = Background(sums.add_from_threads, 4, 50_000)
    wait_until(lambda: sums.runs)  # many may be one
    worker.queue(kw.Work(int))
    worker.destroy()
    refusals = storm.result()
    assert 200_000 - refusals <= sums.total <= 200_000
    assert not sums.pending


# --- the table ---------------------------------------------------------------------------------


def test_anything_but_a_worker_is_refused(kw, accumulate, cycount):
    pure = load_backend("pure")
    with pure.Worker() as other:
        for make in (accumulate.Accumulator, cycount.Counter):
            for thing in (None, other, kw.Worker):
                with pytest.raises(TypeError, match="Worker of pykworker is needed"):
                    make(thing)
            with pytest.raises(RuntimeError, match="__init__"):
                make(kw.Worker.__new__(kw.Worker))


def test_queue_object_raises_as_the_method_does(kw, cycount):
    worker = kw.Worker("queue", start=False)
    counter = cycount.Counter(worker)
    with pytest.raises(TypeError, match="a Work is needed"):
        counter.then(int)
    worker.destroy()
    with pytest.raises(RuntimeError, match="after shutdown"):
        counter.then(kw.Work(int))


PROBE = """
#include "pykworker.h"
#include "pykworker.h"

static const struct pykworker_api *api;

int probe(PyObject *worker, struct kthread_work *work)
{
	api = pykworker_import_api(PYKWORKER_API_VERSION);
	if (!api)
		return -1;
	return api->queue_work(api->hold_worker(worker), work);
}
"""


@pytest.mark.parametrize("limited", [False, True], ids=["full", "limited"])
@pytest.mark.parametrize("language", ["-std=c11", "-std=c17", "-std=c++17", "-std=c++20"])
def test_header_compiles(kw, tmp_path, language, limited):
    plus = "++" in language
    source = tmp_path / ("probe.cc" if plus else "probe.c")
    source.write_text(PROBE)
    command = [compiler("c++" if plus else "cc"), language, "-Wall", "-Wextra", "-Werror"]
    command += ["-fsyntax-only", f"-I{kw.get_include()}"]
    command += ["-isystem", sysconfig.get_path("include")]
    command += ["-DPy_LIMITED_API=0x030B0000"] if limited else []
    subprocess.run([*command, str(source)], check=True)


IMPORTER = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>
{change}
#include "pykworker.h"

static struct PyModuleDef module = {{ PyModuleDef_HEAD_INIT, .m_name = "{name}", .m_size = -1 }};

PyMODINIT_FUNC PyInit_{name}(void)
{{
	return pykworker_import_api({version}) ? PyModule_Create(&module) : NULL;
}}
"""


@pytest.mark.parametrize(
    ("name", "change", "version", "message"),
    [
        ("fits", "", "1", None),
        ("too_new", "", "1000", "is too old: it has version 1 .* 1000 is needed"),
    ],
)
def test_version_is_checked(kw, tmp_path, name, change, version, message):
    imported("setuptools")
    text = IMPORTER.format(name=name, change=change, version=version)
    (tmp_path / f"{name}.c").write_text(text)
    import_it(kw, tmp_path, name, message)


def test_layout_is_checked(kw, tmp_path):
    """Built with headers where a work is larger."""
    imported("setuptools")
    for header in ("kthread.h", "kthread_worker.h", "pykworker.h"):
        text = (Path(kw.get_include()) / header).read_text()
        (tmp_path / header).write_text(text.replace("uint16_t unused;", "uint64_t unused;"))
    (tmp_path / "other.c").write_text(IMPORTER.format(name="other", change="", version="1"))
    import_it(kw, tmp_path, "other", "laid out otherwise", str(tmp_path))


def import_it(kw, directory, name, message, include=None):
    (directory / "setup.py").write_text(
        "from setuptools import Extension, setup\n"
        f"setup(ext_modules=[Extension({name!r}, [{name + '.c'!r}],"
        f" include_dirs=[{include or kw.get_include()!r}])])\n"
    )
    build(directory, "setup.py", "--quiet", "build_ext", "--inplace")
    if message is None:
        import_from(directory, name)
    else:
        with pytest.raises(ImportError, match=message):
            import_from(directory, name)


def test_the_layout_has_a_number_that_changes_with_it():
    """Who changes a member of these two structs has to count PYKWORKER_LAYOUT up, and this."""
    header = (ROOT / "src" / "kthread_worker.h").read_text()
    members = {}
    for struct in ("kthread_work", "kthread_timer", "kthread_delayed_work"):
        body = header.split(f"\nstruct {struct} {{\n")[1].split("\n};")[0]
        lines = [line.split("/*")[0].strip() for line in body.splitlines()]
        members[struct] = " ".join(line for line in lines if line.endswith(";"))
    assert "#define PYKWORKER_LAYOUT 1u\n" in (ROOT / "src" / "pykworker.h").read_text()
    assert members == {
        "kthread_work": "struct kthread_work *next; struct kthread_work *prev; "
        "kthread_work_func_t func; KTHREAD_ATOMIC(uintptr_t) state; "
        "KTHREAD_ATOMIC(uint32_t) started_seq; uint32_t epoch; uint16_t cancelling; "
        "uint16_t disabled; uint8_t kind; uint8_t place; uint16_t unused;",
        "kthread_timer": "struct kthread_timer *left; struct kthread_timer *right; "
        "struct kthread_timer *parent; uint64_t deadline; uint64_t order;",
        "kthread_delayed_work": "struct kthread_work work; struct kthread_timer timer; "
        "uint64_t period; KTHREAD_ATOMIC(uint64_t) missed;",
    }
