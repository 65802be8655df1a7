# SPDX-License-Identifier: GPL-2.0-only
"""The context that a callback runs in."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref

import pytest
from helpers import LIMIT, Gate

variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable", default="default")


class Thing:
    """Something whose end can be seen."""


def context_with(value):
    context = contextvars.Context()
    context.run(variable.set, value)
    return context


def read(into):
    into.append(variable.get())


def run(worker, work):
    assert worker.queue(work) is True
    work.flush()


def test_callback_without_a_context_does_not_see_the_callers(kw, worker):
    got = []

    def body():
        run(worker, kw.Work(read, got))
        got.append(worker.submit(variable.get).result())

    context_with("caller").run(body)
    assert got == ["default", "default"]


def test_callbacks_without_a_context_share_the_threads_own(kw, worker):
    run(worker, kw.Work(variable.set, "left by a work"))
    assert worker.submit(variable.get).result() == "left by a work"
    worker.submit(variable.set, "left by a call").result()
    got = []
    run(worker, kw.Work(read, got))
    assert got == ["left by a call"]
    assert variable.get() == "default"
    worker.stop()
    worker.start()
    assert worker.submit(variable.get).result() == "default"


@pytest.mark.parametrize("kind", ["Work", "DelayedWork"])
def test_callback_runs_in_its_context(kw, worker, kind):
    context = context_with("given")
    got = []

    def body(*args, **kwargs):
        got.append((variable.get(), args, kwargs))
        variable.set("changed")

    work = getattr(kw, kind)(body, 1, context=context, two=2)
    assert work.context is context
    assert work.args == (1,)
    assert work.kwargs == {"two": 2}
    run(worker, work)
    run(worker, work)
    assert got == [("given", (1,), {"two": 2}), ("changed", (1,), {"two": 2})]
    assert context[variable] == "changed"
    assert worker.submit(variable.get).result() == "default"


def test_ticks_run_in_their_context(kw, worker):
    context = context_with(0)
    ended = threading.Event()
    got = []

    def tick(end):
        got.append(variable.get())
        variable.set(variable.get() + 1)
        if variable.get() == end:
            ended.set()
            return kw.CANCEL
        return None

    beat = worker.every(0.001, tick, 3, context=context)
    assert beat.context is context
    assert ended.wait(LIMIT)
    worker.flush()
    assert got == [0, 1, 2]
    assert context[variable] == 3


def test_delayed_callback_runs_in_its_context(kw, worker):
    got = []
    late = kw.DelayedWork(read, got, context=context_with("given"))
    worker.queue_delayed(late, 1000)
    late.flush()
    assert got == ["given"]


def test_context_is_none_unless_given(kw, worker):
    assert kw.Work(int).context is None
    assert kw.Work(int, context=None).context is None
    assert kw.Work(int, context=None).kwargs == {}
    assert kw.DelayedWork(int).context is None
    assert worker.work(lambda: None).context is None
    assert kw.NativeWork(1).context is None
    beat = worker.every(1000, int)
    assert beat.context is None
    beat.cancel()


def test_context_is_read_only(kw):
    work = kw.Work(int, context=contextvars.Context())
    with pytest.raises(AttributeError):
        work.context = None


@pytest.mark.parametrize(
    "thing",
    [1, {}, "context", object(), contextvars.Context],
    ids=lambda thing: type(thing).__name__,
)
def test_what_is_no_context_is_refused(kw, worker, thing):
    with pytest.raises(TypeError):
        kw.Work(int, context=thing)
    with pytest.raises(TypeError):
        kw.DelayedWork(int, context=thing)
    with pytest.raises(TypeError):
        worker.every(1000, int, context=thing)
    assert worker.stats()["delayed"] == 0


def test_submit_passes_context_on_to_the_function(kw, worker):
    context = context_with("given")

    def body(context):
        return variable.get(), context

    assert worker.submit(body, context=context).result() == ("default", context)


def test_exception_leaves_the_context(kw, worker, unraisable):
    context = context_with("given")

    def fail():
        variable.set("changed")
        raise ValueError("expected")

    work = kw.Work(fail, context=context)
    run(worker, work)
    assert [type(call.exc_value) for call in unraisable] == [ValueError]
    assert unraisable[0].object is work
    assert worker.submit(variable.get).result() == "default"
    assert context[variable] == "changed"
    context.run(int)  # not entered any more


def test_context_entered_elsewhere_is_an_error_of_the_callback(kw, worker, unraisable):
    context = contextvars.Context()
    gate = Gate()
    with kw.Worker() as other:
        other.queue(kw.Work(gate, context=context))
        gate.wait_entered()
        ran = []
        work = kw.Work(ran.append, 1, context=context)
        run(worker, work)
        assert [type(call.exc_value) for call in unraisable] == [RuntimeError]
        assert ran == []
        gate.open()
    run(worker, work)
    assert ran == [1]


def test_context_is_kept_as_long_as_the_work(kw, worker):
    thing = Thing()
    work = kw.Work(int, context=context_with(thing))
    ref = weakref.ref(thing)
    del thing
    run(worker, work)
    gc.collect()
    assert ref() is work.context[variable]
    del work
    gc.collect()
    assert ref() is None


def test_context_of_a_pending_work_that_was_dropped_is_kept_until_its_run(kw, worker):
    worker.freeze()
    got = []
    worker.queue(kw.Work(read, got, context=context_with("given")))
    gc.collect()
    worker.thaw()
    worker.flush()
    assert got == ["given"]
