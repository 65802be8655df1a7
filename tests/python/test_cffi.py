# SPDX-License-Identifier: GPL-2.0-only
"""Other cffi modules: ours included at build time, types and functions shared at run time.

The module that is built here queues works of its own, which no Work object stands behind.
"""

from __future__ import annotations

import errno
import gc
import re
import sys
import threading
from pathlib import Path

import pytest
from conftest import load_backend
from extensions import build, import_from, imported
from helpers import Background, hold, run_script, wait_until

ROOT = Path(__file__).resolve().parents[2]
CDEF = ROOT / "pykworker" / "_binding" / "core.cdef"

BUILDER = r"""
import cffi
import pykworker

builder = cffi.FFI()
builder.include(pykworker.get_ffibuilder())
builder.cdef('''
struct foreign {
	struct kthread_delayed_work dwork;	// first
	long runs;
	...;
};
void foreign_make(struct foreign *foreign);
bool foreign_entered(struct foreign *foreign);
void foreign_let_go(struct foreign *foreign);
void count(struct kthread_work *work);
void block(struct kthread_work *work);
''')
builder.set_source(
    "_foreign",
    r'''
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>
#include "kthread_worker.h"

struct foreign {
	struct kthread_delayed_work dwork;
	long runs;
	atomic_bool entered;
	sem_t gate;
};
static void foreign_make(struct foreign *foreign)
{
	foreign->runs = 0;
	atomic_init(&foreign->entered, false);
	sem_init(&foreign->gate, 0, 0);
}
static bool foreign_entered(struct foreign *foreign)
{
	return atomic_load(&foreign->entered);
}
static void foreign_let_go(struct foreign *foreign)
{
	sem_post(&foreign->gate);
}
static void count(struct kthread_work *work)
{
	((struct foreign *)work)->runs++;
}
static void block(struct kthread_work *work)
{
	struct foreign *foreign = (struct foreign *)work;

	struct timespec limit;

	/* With a limit: when this has the GIL, nobody else is there to end it. */
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 10;
	atomic_store(&foreign->entered, true);
	if (!sem_timedwait(&foreign->gate, &limit))
		foreign->runs++;
}
''',
    include_dirs=[pykworker.get_include()],
)
builder.compile()
"""


@pytest.fixture
def kw():
    return load_backend("native")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    imported("cffi")
    load_backend("native")
    directory = tmp_path_factory.mktemp("foreign")
    (directory / "build.py").write_text(BUILDER)
    build(directory, "build.py")
    return directory


@pytest.fixture
def foreign(built):
    return import_from(built, "_foreign")


def make(module, function="count"):
    work = module.ffi.new("struct foreign *")
    module.lib.foreign_make(work)
    code = module.ffi.addressof(module.lib, function)
    module.lib.kthread_init_delayed_work(module.ffi.addressof(work.dwork), code)
    return work


def kwork(module, work):
    return module.ffi.addressof(work.dwork.work)


# --- what is shared ----------------------------------------------------------------------------


def test_types_and_functions_are_the_same(kw, foreign):
    for name in ("struct kthread_work", "struct kthread_worker *", "kthread_work_func_t"):
        assert foreign.ffi.typeof(name) is kw.ffi.typeof(name)
    assert foreign.lib.kthread_queue_work is kw.lib.kthread_queue_work
    assert foreign.lib.KTHREAD_FOREVER == kw.lib.KTHREAD_FOREVER == 2**64 - 1
    assert foreign.ffi.sizeof("struct kthread_work") <= 48
    assert foreign.ffi.offsetof("struct foreign", "dwork") == 0


def test_the_private_functions_are_not_declared_to_others(kw, foreign):
    assert not [name for name in dir(foreign.lib) if name.startswith("pykw_")]
    assert "pykw_" not in CDEF.read_text()


def test_each_builder_is_a_new_one(kw):
    imported("cffi")
    builder = kw.get_ffibuilder()
    assert builder is not kw.get_ffibuilder()
    assert builder.typeof("struct kthread *").kind == "pointer"


# --- works -------------------------------------------------------------------------------------


def test_works_of_both_kinds_run_in_one_order(kw, foreign):
    with kw.Worker("both") as worker:
        pointer, work = kw.worker_pointer(worker), make(foreign)
        seen = []
        gate = hold(kw, worker)
        worker.queue(kw.Work(lambda: seen.append(work.runs)))
        assert foreign.lib.kthread_queue_work(pointer, kwork(foreign, work))
        assert not foreign.lib.kthread_queue_work(pointer, kwork(foreign, work))
        worker.queue(kw.Work(lambda: seen.append(work.runs)))
        assert worker.stats()["pending"] == 3
        gate.open()
        assert foreign.lib.kthread_flush_work(kwork(foreign, work)) == 0
        assert work.runs == 1
        worker.flush()
        assert seen == [0, 1]


def test_the_gil_is_given_back_before_a_foreign_work(kw, foreign):
    """It is kept from one work of Python to the next, and this one blocks in C."""
    with kw.Worker("gil") as worker:
        work = make(foreign, "block")
        gate = hold(kw, worker)
        ran = []
        worker.queue_many([kw.Work(ran.append, n) for n in range(3)])
        foreign.lib.kthread_queue_work(kw.worker_pointer(worker), kwork(foreign, work))
        worker.queue(kw.Work(ran.append, 3))
        gate.open()
        wait_until(lambda: foreign.lib.foreign_entered(work))
        assert ran == [0, 1, 2]
        assert worker.current_work is None
        foreign.lib.foreign_let_go(work)
        worker.flush()
        assert ran == [0, 1, 2, 3]


def test_run_and_run_pending_give_it_back_too(kw, foreign):
    worker = kw.Worker("here", start=False)
    pointer = kw.worker_pointer(worker)
    for serve in (worker.run_pending, worker.run):
        work = make(foreign, "block")
        worker.queue(kw.Work(int))
        foreign.lib.kthread_queue_work(pointer, kwork(foreign, work))
        if serve == worker.run:
            worker.queue(kw.Work(worker.stop))

        def let_go(work=work):
            wait_until(lambda: foreign.lib.foreign_entered(work))
            foreign.lib.foreign_let_go(work)

        other = Background(let_go)
        serve()
        other.result()
        assert work.runs == 1
    worker.destroy()


def test_hooks_and_current_work_are_for_works_of_python(kw, foreign):
    with kw.Worker("hooks") as worker:
        seen = []
        worker.on_queue = worker.on_start = worker.on_end = seen.append
        work, inside = make(foreign), []

        @kw.ffi.callback("kthread_work_func_t")
        def callback(_):
            inside.append((kw.current_work(), worker.current_work, threading.get_ident()))
            with pytest.raises(kw.DeadlockError):
                worker.flush()
            worker.queue(mine)

        mine = kw.Work(int)
        foreign.lib.kthread_init_work(kwork(foreign, work), callback)
        foreign.lib.kthread_queue_work(kw.worker_pointer(worker), kwork(foreign, work))
        assert foreign.lib.kthread_flush_work(kwork(foreign, work)) == 0
        worker.flush()
        assert inside == [(None, None, worker.ident)]
        assert seen == [mine] * 3


def test_flush_and_drain_of_python_wait_for_foreign_works(kw, foreign):
    with kw.Worker("flush") as worker:
        for wait in (worker.flush, worker.drain):
            work = make(foreign, "block")
            foreign.lib.kthread_queue_work(kw.worker_pointer(worker), kwork(foreign, work))
            with pytest.raises(TimeoutError):
                wait(timeout=0)
            waiting = Background(wait)
            wait_until(lambda work=work: foreign.lib.foreign_entered(work))
            foreign.lib.foreign_let_go(work)
            waiting.result()
            assert work.runs == 1


def test_delayed_works_cancel_and_disable(kw, foreign):
    lib = foreign.lib
    with kw.Worker("delayed") as worker:
        pointer, work = kw.worker_pointer(worker), make(foreign)
        delayed = foreign.ffi.addressof(work.dwork)
        assert lib.kthread_queue_delayed_work(pointer, delayed, 3600 * 10**9)
        assert worker.stats()["delayed"] == 1
        assert 0 < lib.kthread_delayed_work_remaining(delayed) <= 3600 * 10**9
        assert lib.kthread_cancel_delayed_work_sync(delayed)
        assert worker.stats()["delayed"] == 0
        assert not lib.kthread_mod_delayed_work(pointer, delayed, 3600 * 10**9)
        assert lib.kthread_flush_delayed_work(delayed) == 0
        assert work.runs == 1
        assert lib.kthread_mod_delayed_work_status(pointer, delayed, 1) == 0
        wait_until(lambda: work.runs == 2)
        assert not lib.kthread_disable_work_sync(kwork(foreign, work))
        assert lib.kthread_queue_work_status(pointer, kwork(foreign, work)) == -errno.ECANCELED
        assert lib.kthread_enable_work(kwork(foreign, work))


@pytest.mark.parametrize("delayed", [False, True])
def test_destroy_without_a_thread_drops_works_of_both_kinds(kw, foreign, delayed):
    worker = kw.Worker("dropped", start=False)
    pointer = kw.worker_pointer(worker)
    works = [make(foreign) for _ in range(20)]
    mine = [kw.DelayedWork(int) for _ in works]
    for work, own in zip(works, mine, strict=True):
        if delayed:
            foreign.lib.kthread_queue_delayed_work(
                pointer, foreign.ffi.addressof(work.dwork), 10**12
            )
            worker.queue_delayed(own, 1000)
        else:
            foreign.lib.kthread_queue_work(pointer, kwork(foreign, work))
            worker.queue(own)
    counts = [sys.getrefcount(own) for own in mine]
    worker.destroy()
    assert [sys.getrefcount(own) for own in mine] == [count - 1 for count in counts]
    for work in works:
        assert not foreign.lib.kthread_work_pending(kwork(foreign, work))
        assert foreign.lib.kthread_flush_work(kwork(foreign, work)) == 0
        assert work.runs == 0


def test_destroy_runs_what_is_pending(kw, foreign):
    worker = kw.Worker("destroyed")
    gate = hold(kw, worker)
    works = [make(foreign) for _ in range(20)]
    for work in works:
        foreign.lib.kthread_queue_work(kw.worker_pointer(worker), kwork(foreign, work))
    other = Background(worker.destroy)
    gate.open()
    other.result()
    assert [work.runs for work in works] == [1] * 20


# --- who waits gives the GIL back --------------------------------------------------------------


@pytest.mark.parametrize(
    "wait",
    [
        "kthread_flush_work(mine)",
        "kthread_flush_work_timeout(mine, 10**11)",
        "kthread_flush_worker(pointer)",
        "kthread_flush_worker_timeout(pointer, 10**11)",
        "kthread_drain_worker(pointer)",
        "kthread_freeze_worker(pointer)",
        "kthread_cancel_work_sync_timeout(executing, 10**11)",
        "kthread_destroy_worker(pointer)",
    ],
)
def test_waiting_call_lets_works_of_python_run(kw, built, wait):
    """It waits for one, which can't run while the caller holds the GIL.

    In a process of its own: one that hangs with the GIL is not ended from within.
    """
    result = run_script(
        kw,
        f"""
        sys.path.insert(0, {str(built)!r})
        import _foreign
        worker = kw.Worker()
        pointer, work = kw.worker_pointer(worker), _foreign.ffi.new("struct foreign *")
        mine = _foreign.ffi.addressof(work.dwork.work)
        code = _foreign.ffi.addressof(_foreign.lib, "count")
        kw.lib.kthread_init_work(mine, code)
        entered, gate, ran = threading.Event(), threading.Event(), []
        first = kw.Work(lambda: (entered.set(), gate.wait(), time.sleep(0.01), ran.append(1)))
        executing = kw.ffi.cast("struct kthread_work *", first._handle)
        worker.queue(first)
        entered.wait()
        kw.lib.kthread_queue_work(pointer, mine)
        gate.set()
        print(kw.lib.{wait}, ran)
        kw.lib.kthread_thaw_worker(pointer)
        """,
    )
    assert result.stderr == ""
    assert result.stdout == "0 [1]\n"


def test_functions_by_their_address_are_called_without_the_gil(kw, foreign):
    """cffi gives it back itself then: the wrapper of the same name is not what is called."""
    with kw.Worker("address") as worker:
        work = make(foreign)
        flush = kw.ffi.addressof(kw.lib, "kthread_flush_work")
        gate = hold(kw, worker)
        kw.lib.kthread_queue_work(kw.worker_pointer(worker), kwork(foreign, work))
        gate.open()
        assert flush(kwork(foreign, work)) == 0
        assert work.runs == 1


def test_every_function_that_sleeps_is_known_as_one(kw, monkeypatch):
    imported("cffi")
    monkeypatch.syspath_prepend(str(ROOT))
    import build_ffi

    declared = set(re.findall(r"\b(\w+)\(", re.sub(r"/\*.*?\*/", "", CDEF.read_text(), flags=re.S)))
    waiting = set(build_ffi.WAITING.split())
    assert waiting <= declared
    sleeps = {
        name for name in declared if re.search(r"_(timeout|interruptible|wait|sync|parkme)$", name)
    }
    assert sleeps - waiting == set()
    # In the headers they say so. Those with "..." give it back in any case.
    headers = "".join((ROOT / "src" / n).read_text() for n in ("kthread.h", "kthread_worker.h"))
    for comment, name in re.findall(
        r"/\*((?:(?!\*/).)*?)\*/\n[^/;#]*?\b((?:kthread_|try_)\w+)\(", headers, re.S
    ):
        if re.search(r"(?<!never )\bsleeps\b", comment) and name in declared - waiting:
            assert name in ("kthread_run", "kthread_run_worker"), name


# --- the declarations --------------------------------------------------------------------------


def prototypes(text):
    text = re.sub(r"/\*.*?\*/|^#.*?(?<!\\)$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\s*KTHREAD_PRINTF\(\d, \d\)", "", text)
    found = re.findall(
        r"^[a-z][\w \*]*?\b(?:kthread_|freezing|try_to_freeze)\w*\([^;{}]*\);", text, re.MULTILINE
    )
    return {re.search(r"(\w+)\(", p)[1]: re.sub(r"\s+", " ", p) for p in found}


def test_declarations_are_those_of_the_headers():
    """All of them, but for what the file itself says is left out."""
    text = CDEF.read_text()
    declared = prototypes(text)
    headers = {}
    for name in ("kthread.h", "kthread_worker.h"):
        headers |= prototypes((ROOT / "src" / name).read_text())
    assert len(headers) > 90
    left_out = set(re.findall(r"\bkthread_\w+\b", text.split("*/")[0].split("Left out")[1]))
    assert set(headers) - set(declared) == left_out - {"kthread_worker"}
    headers["kthread_tid"] = headers["kthread_tid"].replace("pid_t", "int")
    assert {name: headers[name] for name in declared} == declared


# --- the pointer -------------------------------------------------------------------------------


def test_pointer_keeps_the_memory_of_a_destroyed_worker(kw, foreign):
    """Else it would be another worker's after a while, and that one would run the work."""
    worker = kw.Worker("held")
    pointer = kw.worker_pointer(worker)
    assert pointer == kw.worker_pointer(worker)
    worker.destroy()
    del worker
    gc.collect()
    others = []
    for n in range(40):
        other = kw.Worker(f"other {n}", start=False)
        others.append(kw.worker_pointer(other))
        other.destroy()
    assert pointer not in others
    work = make(foreign)
    status = foreign.lib.kthread_queue_work_status(pointer, kwork(foreign, work))
    assert status == -errno.ESHUTDOWN


def test_memory_is_used_again_once_the_pointer_is_gone(kw):
    seen = set()
    for n in range(200):
        worker = kw.Worker(f"gone {n}", start=False)
        seen.add(int(kw.ffi.cast("uintptr_t", kw.worker_pointer(worker))))
        worker.destroy()
    assert len(seen) < 100


def test_pointer_of_anything_else_is_refused(kw):
    pure = load_backend("pure")
    with pure.Worker() as other, pytest.raises(TypeError, match="takes a Worker"):
        kw.worker_pointer(other)
    with pytest.raises(TypeError, match="takes a Worker"):
        kw.worker_pointer(None)
    with pytest.raises(RuntimeError, match="__init__"):
        kw.worker_pointer(kw.Worker.__new__(kw.Worker))


def test_workers_of_the_core_alone_are_none_of_pythons(kw, foreign):
    """Their callbacks may use the package all the same."""
    lib, seen = foreign.lib, []
    worker = lib.kthread_run_worker(0, b"core alone")

    @kw.ffi.callback("kthread_work_func_t")
    def callback(_):
        seen.append((kw.current_work(), kw.should_stop()))

    work = make(foreign)
    lib.kthread_init_work(kwork(foreign, work), callback)
    assert lib.kthread_queue_work(worker, kwork(foreign, work))
    assert lib.kthread_flush_work(kwork(foreign, work)) == 0
    assert seen == [(None, False)]
    assert lib.kthread_destroy_worker(worker) == 0
