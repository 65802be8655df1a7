# SPDX-License-Identifier: GPL-2.0-only
"""Both backends export the same names, with the same signatures, and say what they do."""

from __future__ import annotations

import inspect

import pytest
from conftest import load_backend
from helpers import public_members

SCHEDULERS = ["Fifo", "RoundRobin", "Deadline", "Other", "Batch", "Idle"]
CLASSES = [
    "Worker", "Work", "BoundWork", "DelayedWork", "PeriodicWork", "NativeWork", "Future",
    *SCHEDULERS,
]  # fmt: skip
FUNCTIONS = ["current_work", "lock_memory", "should_stop", "trace"]
NAMES = {*CLASSES, *FUNCTIONS, "CANCEL", "DeadlockError", "backend"}
NATIVE_ONLY = {
    "get_include", "get_sources", "__version__", "ffi", "lib", "get_ffibuilder", "worker_pointer",
}  # fmt: skip
MEMBERS = {
    "Worker": {
        "queue", "queue_many", "queue_delayed", "mod_delayed", "every", "work", "flush", "drain",
        "start", "run", "run_pending", "fileno", "stop", "freeze", "thaw", "destroy", "name",
        "daemon", "ident", "native_id", "is_alive", "current_work", "on_queue", "on_start",
        "on_end", "stats", "submit", "map", "shutdown", "call", "flushed", "scheduler", "cpus",
        "cgroup",
    },
    "Work": {
        "fn", "args", "kwargs", "pending", "executing", "coalesced", "disabled", "flush",
        "cancel", "disable", "enable", "context", "flushed",
    },
    "BoundWork": {"worker", "queue"},
    "DelayedWork": {"remaining"},
    "PeriodicWork": {"remaining", "interval", "missed"},
    "NativeWork": {"address", "data", "remaining"},
    "Future": {
        "result", "exception", "cancel", "cancelled", "running", "done", "add_done_callback",
        "set_result", "set_exception", "set_running_or_notify_cancel",
    },
    **dict.fromkeys(SCHEDULERS, frozenset()),
}  # fmt: skip
SIGNATURES = {
    "Worker": "(name=None, *, busy_poll=None, on_error=None, daemon=False, start=True, "
    "max_pending=None, watchdog=None, exit_timeout=None, initializer=None, initargs=(), "
    "traceback=False, scheduler=None, cpus=None, cgroup=None, memory_lock=False, "
    "timer_slack=None, stack_size=None, timing=False)",
    "Work": "(fn, /, *args, context=None, **kwargs)",
    "DelayedWork": "(fn, /, *args, context=None, **kwargs)",
    "NativeWork": "(address, data=None)",
    "current_work": "()",
    "should_stop": "()",
    "trace": "(file, *, limit=200000)",
    "Worker.queue": "(self, work, /)",
    "Worker.queue_many": "(self, works, /)",
    "Worker.queue_delayed": "(self, work, delay)",
    "Worker.mod_delayed": "(self, work, delay)",
    "Worker.every": "(self, interval, fn, /, *args, context=None, **kwargs)",
    "Worker.submit": "(self, fn, /, *args, **kwargs)",
    "Worker.map": "(self, fn, *iterables, timeout=None, chunksize=1, buffersize=None)",
    "Worker.shutdown": "(self, wait=True, *, cancel_futures=False)",
    "Worker.call": "(self, fn, /, *args, **kwargs)",
    "Worker.flushed": "(self)",
    "Worker.work": "(self, fn)",
    "Worker.flush": "(self, timeout=None)",
    "Worker.drain": "(self, timeout=None)",
    "Worker.start": "(self)",
    "Worker.run": "(self)",
    "Worker.run_pending": "(self)",
    "Worker.fileno": "(self)",
    "Worker.stop": "(self, timeout=None)",
    "Worker.freeze": "(self, timeout=None)",
    "Worker.thaw": "(self)",
    "Worker.destroy": "(self, timeout=None)",
    "Worker.is_alive": "(self)",
    "Worker.stats": "(self)",
    "Work.flush": "(self, timeout=None)",
    "Work.cancel": "(self, wait=True)",
    "Work.disable": "(self)",
    "Work.enable": "(self)",
    "Work.flushed": "(self)",
    "BoundWork.queue": "(self)",
}


def find(kw, path):
    thing = kw
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


def plain(signature):
    """The signature without its annotations."""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def test_all_lists_the_public_names(kw):
    expected = NAMES | (NATIVE_ONLY if kw.backend == "native" else set())
    assert set(kw.__all__) == expected
    assert all(hasattr(kw, name) for name in expected)


def test_backend_names_itself(kw):
    assert kw.backend == ("pure" if kw.__name__ == "pykworker.pure" else "native")


@pytest.mark.parametrize("name", CLASSES)
def test_class_has_the_members(kw, name):
    is_work = name not in ("Worker", "Work", "Future", *SCHEDULERS)
    expected = MEMBERS[name] | (MEMBERS["Work"] if is_work else set())
    assert set(public_members(getattr(kw, name))) == expected


@pytest.mark.parametrize("path", SIGNATURES)
def test_signature(kw, path):
    assert plain(inspect.signature(find(kw, path))) == SIGNATURES[path]


@pytest.mark.parametrize("name", [*CLASSES, *FUNCTIONS, "DeadlockError"])
def test_name_has_a_docstring(kw, name):
    assert (getattr(kw, name).__doc__ or "").strip()


@pytest.mark.parametrize("name", CLASSES)
def test_member_has_a_docstring(kw, name):
    kind = getattr(kw, name)
    without = [
        member
        for member in public_members(kind)
        if not (getattr(kind, member).__doc__ or "").strip()
    ]
    assert without == []


def test_delayed_works_are_works_and_periodic_ones_delayed(kw):
    assert issubclass(kw.DelayedWork, kw.Work)
    assert issubclass(kw.PeriodicWork, kw.DelayedWork)
    assert issubclass(kw.NativeWork, kw.DelayedWork)


def test_works_of_one_backend_are_refused_by_the_other():
    native, pure = load_backend("native"), load_backend("pure")
    for one, other in ((native, pure), (pure, native)):
        with one.Worker() as worker:
            with pytest.raises(TypeError):
                worker.queue(other.Work(int))
            with pytest.raises(TypeError):
                worker.queue_delayed(other.DelayedWork(int), 1)


def test_both_backends_share_cancel_and_the_error():
    native, pure = load_backend("native"), load_backend("pure")
    assert native.CANCEL is pure.CANCEL
    assert native.DeadlockError is pure.DeadlockError
