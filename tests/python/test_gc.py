# SPDX-License-Identifier: GPL-2.0-only
"""What is kept, by whom, and until when."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref

import pytest
from helpers import LIMIT, Background, hold, wait_for_end


class Thing:
    """Something whose end can be seen."""

    def __call__(self, *args, **kwargs):
        pass


class Caller:
    """Calls *body* when its last reference goes."""

    def __init__(self, body):
        self._body = body

    def __del__(self):
        self._body()


def collected(ref):
    gc.collect()
    return ref() is None


def test_pending_work_dropped_by_its_last_reference_runs_once(kw, worker):
    gate = hold(kw, worker)
    ran = []
    work = kw.Work(ran.append, 1)
    ref = weakref.ref(work)
    worker.queue(work)
    del work
    gc.collect()
    assert ref() is not None
    gate.open()
    worker.flush()
    assert ran == [1]
    assert collected(ref)


@pytest.mark.parametrize("waits_for", ["work", "worker"])
def test_no_reference_is_kept_after_the_run(kw, worker, waits_for):
    for _ in range(15):
        fn, positional, keyword = Thing(), Thing(), Thing()
        work = kw.Work(fn, positional, keyword=keyword)
        refs = [weakref.ref(thing) for thing in (fn, positional, keyword, work)]
        del fn, positional, keyword
        worker.queue(work)
        if waits_for == "work":
            work.flush()
            del work
        else:
            del work
            worker.flush()
        assert [collected(ref) for ref in refs] == [True] * 4


def test_no_reference_is_kept_after_a_run_that_raised(kw):
    def fail(_thing):
        raise ValueError("expected")

    with kw.Worker(on_error=lambda *_: None) as worker:
        for _ in range(15):
            thing = Thing()
            work = kw.Work(fail, thing)
            refs = [weakref.ref(thing), weakref.ref(work)]
            worker.queue(work)
            work.flush()
            del thing, work
            assert [collected(ref) for ref in refs] == [True] * 2


def test_refused_work_is_not_kept(kw):
    worker = kw.Worker()
    worker.destroy()
    work = kw.Work(int)
    ref = weakref.ref(work)
    with pytest.raises(RuntimeError):
        worker.queue(work)
    del work
    assert collected(ref)


def test_coalesced_queueings_keep_no_more_than_one_reference(kw, worker):
    gate = hold(kw, worker)
    work = kw.Work(int)
    ref = weakref.ref(work)
    for _ in range(100):
        worker.queue(work)
    gate.open()
    work.flush()
    del work
    assert collected(ref)


def test_works_dropped_by_destroy_are_not_kept(kw):
    worker = kw.Worker(start=False)
    work = kw.Work(int)
    ref = weakref.ref(work)
    worker.queue(work)
    del work
    worker.destroy()
    assert collected(ref)


def test_idle_works_are_not_kept_by_a_stopped_worker(kw, worker):
    work = kw.Work(int)
    ref = weakref.ref(work)
    worker.queue(work)
    work.flush()
    worker.stop()
    del work
    assert collected(ref)


def test_destroyed_worker_is_not_kept(kw):
    worker = kw.Worker(on_error=Thing())
    ref = weakref.ref(worker)
    worker.queue(kw.Work(int))
    worker.destroy()
    del worker
    assert collected(ref)


def test_bound_work_keeps_its_worker(kw):
    worker = kw.Worker()
    work = worker.work(lambda: None)
    ref = weakref.ref(worker)
    del worker
    gc.collect()
    assert ref() is work.worker
    work.worker.destroy()
    del work
    assert collected(ref)


def test_dropped_worker_warns_and_runs_what_is_pending_once(kw):
    ran = []
    worker = kw.Worker("forgotten")
    gate = hold(kw, worker)
    native_id = worker.native_id
    works = [kw.Work(ran.append, number) for number in range(10)]
    worker.queue_many(works)
    with pytest.warns(ResourceWarning, match="forgotten"):  # noqa: PT031 - as below
        del worker
        gc.collect()
    gate.open()
    for work in works:
        work.flush(LIMIT)
    assert ran == list(range(10))
    wait_for_end(native_id)


def test_dropped_idle_worker_ends_its_thread(kw):
    worker = kw.Worker()
    native_id = worker.native_id
    work = kw.Work(int)
    worker.queue(work)
    work.flush()
    with pytest.warns(ResourceWarning):  # noqa: PT031 - either statement may be its end
        del worker
        gc.collect()
    wait_for_end(native_id)


def test_dropped_frozen_worker_runs_what_is_pending(kw):
    worker = kw.Worker()
    worker.freeze()
    ran = []
    work = kw.Work(ran.append, 1)
    worker.queue(work)
    with pytest.warns(ResourceWarning):  # noqa: PT031 - either statement may be its end
        del worker
        gc.collect()
    work.flush(LIMIT)
    assert ran == [1]


def test_dropped_worker_without_a_thread_releases_flushers(kw):
    worker = kw.Worker(start=False)
    ran = []
    work = kw.Work(ran.append, 1)
    worker.queue(work)
    flusher = Background(work.flush)
    with pytest.warns(ResourceWarning):  # noqa: PT031 - either statement may be its end
        del worker
        gc.collect()
    flusher.result()
    assert ran == []
    assert not work.pending


def test_worker_dropped_by_its_own_callback_ends(kw):
    ran = []
    gate = threading.Event()
    box = [kw.Worker()]

    def body():
        assert gate.wait(LIMIT)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            box.clear()
            gc.collect()
        ran.append(1)

    work = kw.Work(body)
    box[0].queue(work)
    gate.set()
    work.flush(LIMIT)
    assert ran == [1]


def test_destroyed_worker_does_not_warn(kw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        worker = kw.Worker()
        worker.destroy()
        del worker
        gc.collect()


def test_worker_that_was_refused_does_not_warn(kw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError):
            kw.Worker(1)
        gc.collect()


@pytest.mark.parametrize("how", ["run", "destroy"])
def test_no_lock_is_held_while_a_destructor_runs(kw, how):
    """The destructor waits for a thread that uses the worker, and would wait for ever."""
    done = []

    def use():
        worker.stats()
        repr(worker)
        worker.thaw()

    def last_words():
        Background(use).result()
        done.append(1)

    worker = kw.Worker(start=how == "run")
    worker.queue(kw.Work(Thing(), Caller(last_words)))
    if how == "run":
        worker.flush(LIMIT)
    worker.destroy(LIMIT)
    gc.collect()
    assert done == [1]


def test_destructor_may_queue(kw, worker):
    ran = []
    worker.queue(kw.Work(Thing(), Caller(lambda: worker.queue(kw.Work(ran.append, 1)))))
    worker.flush()
    gc.collect()
    worker.flush()
    assert ran == [1]
