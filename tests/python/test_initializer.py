# SPDX-License-Identifier: GPL-2.0-only
"""initializer and initargs: what runs on the worker's thread before its first work."""

from __future__ import annotations

import ctypes
import gc
import logging
import threading
import weakref
from concurrent.futures.thread import BrokenThreadPool

import pytest
from helpers import LIMIT, Background, Gate, wait_until

UNUSABLE = r"^A thread initializer failed, the thread pool is not usable anymore$"
Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
ERRORS = [ValueError("expected"), SystemExit(3), KeyboardInterrupt()]


class Thing:
    """Something whose end can be seen."""

    def __call__(self, *args):
        pass


def fail(error):
    raise error


@pytest.fixture
def broken(kw, caplog):
    """A worker whose initializer fails when it gets a thread."""
    worker = kw.Worker(start=False, initializer=fail, initargs=(ValueError("expected"),))
    with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
        yield worker
    worker.destroy()


@pytest.mark.parametrize("kind", ["work", "call", "native", "delayed", "periodic"])
def test_it_runs_once_on_the_workers_thread_before_the_first_work(kw, kind):
    events = []
    done = threading.Event()

    def initialize(*args):
        events.append((threading.get_ident(), *args))

    def first(*_):
        events.append("first")
        done.set()

    native = Callback(first)
    with kw.Worker(initializer=initialize, initargs=(1, "two")) as worker:
        ident = worker.ident
        if kind == "work":
            worker.queue(kw.Work(first))
        elif kind == "call":
            worker.submit(first)
        elif kind == "native":
            worker.queue(kw.NativeWork(native))
        elif kind == "delayed":
            worker.queue_delayed(kw.DelayedWork(first), 0.001)
        else:
            worker.every(0.001, lambda: first() or kw.CANCEL)
        assert done.wait(LIMIT)
        worker.flush()
        worker.submit(int).result()
    assert events == [(ident, 1, "two"), "first"]


def test_initargs_may_be_any_iterable(kw):
    got = []
    with kw.Worker(initializer=lambda *args: got.append(args), initargs=[1, 2]) as worker:
        worker.submit(int).result()
    assert got == [(1, 2)]


def test_initargs_without_an_initializer_do_nothing(kw):
    with kw.Worker(initargs=(1,)) as worker:
        assert worker.submit(int).result() == 0


@pytest.mark.parametrize(
    "thing", [1, "print", [], object()], ids=lambda thing: type(thing).__name__
)
def test_what_cannot_be_called_is_refused_and_leaves_nothing(kw, thing):
    threads = threading.active_count()
    with pytest.raises(TypeError, match=r"^initializer must be a callable$"):
        kw.Worker(initializer=thing)
    assert threading.active_count() == threads


def test_values_of_the_thread_set_by_it_are_seen_by_the_works(kw):
    local = threading.local()

    def initialize(value):
        local.value = value

    with kw.Worker(initializer=initialize, initargs=(7,)) as worker:
        assert worker.submit(lambda: local.value).result() == 7


def test_it_runs_again_on_each_thread_of_start(kw):
    idents = []
    with kw.Worker(initializer=lambda: idents.append(threading.get_ident())) as worker:
        for count in range(1, 4):
            assert worker.submit(threading.get_ident).result() == idents[-1]
            assert len(idents) == count
            worker.stop()
            worker.start()
        worker.submit(int).result()
        assert len(idents) == 4


def test_it_runs_on_the_thread_of_run(kw):
    idents = []
    with kw.Worker(start=False, initializer=lambda: idents.append(threading.get_ident())) as worker:
        for _ in range(2):
            future = worker.submit(threading.get_ident)
            server = Background(worker.run)
            assert future.result() == idents[-1]
            worker.stop()
            server.result()
        assert len(idents) == 2


def test_it_runs_in_run_pending_when_the_thread_is_another_one(kw):
    idents = []
    with kw.Worker(start=False, initializer=lambda: idents.append(threading.get_ident())) as worker:
        me = threading.get_ident()
        for _ in range(3):
            worker.submit(int)
            assert worker.run_pending() == 1
        assert idents == [me]
        worker.submit(int)
        assert Background(worker.run_pending).result() == 1
        assert len(idents) == 2
        worker.submit(int)
        assert worker.run_pending() == 1
        assert idents[::2] == [me, me]


def test_it_is_no_work(kw):
    seen, queued = [], []

    def initialize():
        seen.append(kw.current_work())

    worker = kw.Worker(start=False, initializer=initialize)
    worker.on_start = worker.on_end = queued.append
    work = kw.Work(int)
    worker.queue(work)
    worker.start()
    work.flush()
    worker.destroy()
    assert seen == [None]
    assert queued == [work, work]
    assert worker.stats()["executed"] == 1


def test_it_may_use_its_worker(kw):
    """What it queues comes after what was queued before."""
    ran = []

    def initialize():
        worker.queue(kw.Work(ran.append, 2))
        worker.submit(ran.append, 3)

    worker = kw.Worker(start=False, initializer=initialize)
    first = kw.Work(ran.append, 1)
    worker.queue(first)
    worker.start()
    first.flush()
    worker.destroy()
    assert ran == [1, 2, 3]


def test_what_is_queued_meanwhile_waits_for_it(kw):
    gate = Gate()
    ran = []
    with kw.Worker(initializer=gate) as worker:
        work = kw.Work(ran.append, 1)
        worker.queue(work)
        gate.wait_entered()
        with pytest.raises(TimeoutError):
            work.flush(timeout=0)
        assert work.pending
        assert ran == []
        gate.open()
        work.flush()
        assert ran == [1]


def test_destroy_meanwhile_runs_what_is_pending(kw):
    gate = Gate()
    ran = []
    worker = kw.Worker(initializer=gate)
    worker.queue(kw.Work(ran.append, 1))
    gate.wait_entered()
    with pytest.raises(TimeoutError):
        worker.destroy(timeout=0)
    gate.open()
    worker.destroy()
    assert ran == [1]


def test_broken_worker_takes_no_thread_any_more(broken):
    future = broken.submit(int)
    broken.start()
    with pytest.raises(BrokenThreadPool, match=UNUSABLE):
        future.result(LIMIT)
    broken.stop()
    for call in (broken.start, broken.run):
        with pytest.raises(BrokenThreadPool, match=UNUSABLE):
            call()
    assert not broken.is_alive()


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_failure_is_logged_and_breaks_the_worker(kw, caplog, unraisable, error):
    told = []
    worker = kw.Worker(
        start=False, initializer=fail, initargs=(error,), on_error=lambda *args: told.append(args)
    )
    ran = []
    futures = [worker.submit(ran.append, number) for number in range(3)]
    works = [kw.Work(ran.append, number) for number in range(3)]
    worker.queue_many(works)
    late = kw.DelayedWork(ran.append, 1)
    worker.queue_delayed(late, 1000)
    with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
        worker.start()
        for future in futures:
            with pytest.raises(BrokenThreadPool, match=UNUSABLE):
                future.result(LIMIT)
            assert not future.cancelled()
        for work in works:
            work.flush(LIMIT)
            assert not work.pending
        late.flush(LIMIT)
        assert not late.pending
        worker.destroy(LIMIT)
    assert ran == []
    (record,) = caplog.records
    assert record.name == "concurrent.futures"
    assert record.levelno == logging.CRITICAL
    assert record.getMessage() == "Exception in initializer:"
    assert record.exc_info[1] is error
    assert told == []
    assert unraisable == []


def test_broken_worker_refuses(kw, broken):
    future = broken.submit(int)
    broken.start()
    assert type(future.exception(LIMIT)) is BrokenThreadPool
    work, late = kw.Work(int), kw.DelayedWork(int)
    for call, arguments in [
        (broken.submit, (int,)),
        (broken.queue, (work,)),
        (broken.queue_many, ([work],)),
        (broken.queue_delayed, (late, 1000)),
        (broken.mod_delayed, (late, 1000)),
        (broken.every, (1000, int)),
    ]:
        with pytest.raises(BrokenThreadPool, match=UNUSABLE):
            call(*arguments)
    assert not work.pending
    assert not late.pending
    broken.flush(LIMIT)
    broken.destroy(LIMIT)
    with pytest.raises(BrokenThreadPool, match=UNUSABLE):
        broken.submit(int)


def test_work_of_a_broken_worker_may_move_to_another(kw, broken, worker):
    ran = []
    work = kw.Work(ran.append, 1)
    broken.queue(work)
    broken.start()
    work.flush(LIMIT)
    assert ran == []
    assert worker.queue(work) is True
    work.flush()
    assert ran == [1]


def test_failure_wakes_all_who_wait(kw, broken):
    future, work = broken.submit(int), kw.Work(int)
    broken.queue(work)
    waiters = [Background(work.flush), Background(broken.flush), Background(future.exception)]
    broken.start()
    assert [waiter.result() for waiter in waiters[:2]] == [None, None]
    assert type(waiters[2].result()) is BrokenThreadPool


def test_done_callbacks_are_told_of_the_failure(kw, broken):
    told = []
    broken.submit(int).add_done_callback(lambda future: told.append(type(future.exception())))
    last = broken.submit(int)
    broken.start()
    last.exception(LIMIT)
    broken.destroy(LIMIT)
    assert told == [BrokenThreadPool]


def test_failure_in_run_pending(kw, broken):
    future = broken.submit(int)
    assert broken.run_pending() == 0
    assert type(future.exception(0)) is BrokenThreadPool
    with pytest.raises(BrokenThreadPool, match=UNUSABLE):
        broken.submit(int)


def test_failure_on_a_later_thread(kw, caplog):
    answers = iter([None, ValueError("expected")])

    def initialize():
        error = next(answers)
        if error is not None:
            raise error

    with kw.Worker(initializer=initialize) as worker:
        assert worker.submit(lambda: 7).result() == 7
        worker.stop()
        future = worker.submit(int)
        with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
            worker.start()
            assert type(future.exception(LIMIT)) is BrokenThreadPool
        with pytest.raises(BrokenThreadPool, match=UNUSABLE):
            worker.submit(int)


def test_it_is_let_go_of_with_its_worker(kw):
    initializer, argument = Thing(), Thing()
    refs = [weakref.ref(initializer), weakref.ref(argument)]
    worker = kw.Worker(initializer=initializer, initargs=(argument,))
    del initializer, argument
    worker.submit(int).result()
    worker.destroy()
    del worker
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_initializer_may_be_a_method_of_the_worker_itself(kw):
    """Also when the thread is faster than the constructor."""

    class Device(kw.Worker):
        def __init__(self):
            self.opened = []
            super().__init__(initializer=self.open)

        def open(self):
            self.opened.append(self.name)
            self.queue(kw.Work(self.opened.append, "queued"))

    for _ in range(50):
        with Device() as device:
            device.submit(int).result(LIMIT)
            device.flush(LIMIT)
            assert device.opened == [device.name, "queued"]


def test_native_ticks_of_a_broken_worker_end(kw, broken):
    tick = broken.every(0.001, kw.NativeWork(Callback(lambda _: None)))
    broken.start()
    wait_until(lambda: not tick.pending and not tick.executing)
    stats = broken.stats()
    assert stats["pending"] == stats["delayed"] == 0
