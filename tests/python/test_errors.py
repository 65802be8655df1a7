# SPDX-License-Identifier: GPL-2.0-only
"""Bad arguments, and callbacks that raise."""

from __future__ import annotations

import math
import sys
import threading
from decimal import Decimal
from fractions import Fraction

import pytest
from helpers import LIMIT, Background, hold

BAD_TIMES = [
    (-1, ValueError),
    (-0.001, ValueError),
    (-math.inf, ValueError),
    (-(10**400), ValueError),
    (math.nan, ValueError),
    ("1", TypeError),
    (b"1", TypeError),
    ([], TypeError),
    (1j, TypeError),
    (object(), TypeError),
]
WAITS = ["flush", "drain", "stop", "freeze", "destroy"]


@pytest.mark.parametrize(("value", "error"), BAD_TIMES, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("verb", WAITS)
def test_bad_timeout_is_refused_before_anything_changes(kw, worker, verb, value, error):
    with pytest.raises(error):
        getattr(worker, verb)(timeout=value)
    with pytest.raises(error):
        getattr(worker, verb)(value)
    assert worker.is_alive()
    ran = []
    worker.queue(kw.Work(ran.append, 1))
    worker.flush()
    assert ran == [1]


@pytest.mark.parametrize(("value", "error"), BAD_TIMES, ids=lambda value: str(value)[:20])
def test_bad_timeout_of_a_works_flush_is_refused(kw, worker, value, error):
    idle = kw.Work(int)
    with pytest.raises(error):
        idle.flush(value)
    gate = hold(kw, worker)
    work = kw.Work(int)
    worker.queue(work)
    with pytest.raises(error):
        work.flush(timeout=value)
    assert work.pending
    gate.open()


@pytest.mark.parametrize("verb", WAITS)
@pytest.mark.parametrize(
    "value", [None, math.inf, 10**400, 1e300, 60, 60.5, True, Fraction(60), Decimal(60)], ids=str
)
def test_good_timeout_is_taken(kw, verb, value):
    worker = kw.Worker()
    worker.queue(kw.Work(int))
    getattr(worker, verb)(timeout=value)
    worker.destroy()


def test_shared_helper_returns_seconds_or_none():
    from pykworker._arguments import timeout_seconds

    assert timeout_seconds(None) is None
    assert timeout_seconds(math.inf) is None
    assert timeout_seconds(10**400) is None
    assert timeout_seconds(0) == 0.0
    assert timeout_seconds(True) == 1.0
    assert type(timeout_seconds(3)) is float
    with pytest.raises(ValueError, match=r"^delay "):
        timeout_seconds(-1, "delay")


def test_shared_helpers_of_delay_and_interval():
    from pykworker._arguments import delay_seconds, interval_seconds

    for check in (delay_seconds, interval_seconds):
        assert check(3) == 3.0
        assert type(check(3)) is float
        for value, error in [*BAD_TIMES, (math.inf, ValueError), (None, TypeError)]:
            with pytest.raises(error, match=r"^this "):
                check(value, "this")
    assert delay_seconds(0) == 0.0
    with pytest.raises(ValueError, match=r"^interval must be greater than 0$"):
        interval_seconds(0)


@pytest.mark.parametrize("fn", [None, 1, "print", []])
def test_work_of_something_not_callable_is_refused(kw, worker, fn):
    with pytest.raises(TypeError):
        kw.Work(fn)
    with pytest.raises(TypeError):
        worker.work(fn)


def test_work_without_a_function_is_refused(kw):
    with pytest.raises(TypeError):
        kw.Work()


@pytest.mark.parametrize("thing", [None, 1, int, "work", object()])
def test_queue_of_something_not_a_work_is_refused(worker, thing):
    with pytest.raises(TypeError):
        worker.queue(thing)
    with pytest.raises(TypeError):
        worker.queue_many([thing])


@pytest.mark.parametrize("thing", [None, 1, object()])
def test_queue_many_of_something_not_iterable_is_refused(worker, thing):
    with pytest.raises(TypeError):
        worker.queue_many(thing)


def test_queue_many_lets_the_iterators_error_out(kw, worker):
    gate = hold(kw, worker)
    work = kw.Work(int)

    def works():
        yield work
        raise LookupError("expected")

    with pytest.raises(LookupError):
        worker.queue_many(works())
    assert not work.pending
    gate.open()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": 1}, TypeError),
        ({"name": b"bytes"}, TypeError),
        ({"name": "a\0b"}, ValueError),
        ({"on_error": 1}, TypeError),
        ({"busy_poll": -1}, ValueError),
        ({"busy_poll": math.nan}, ValueError),
        ({"busy_poll": "1"}, TypeError),
        ({"nonsense": 1}, TypeError),
    ],
    ids=str,
)
def test_bad_argument_of_a_worker_is_refused_and_leaves_nothing(kw, arguments, error):
    threads = threading.active_count()
    with pytest.raises(error):
        kw.Worker(**arguments)
    assert threading.active_count() == threads


def test_worker_takes_only_its_name_by_position(kw):
    with pytest.raises(TypeError):
        kw.Worker("name", 0.1)


@pytest.mark.parametrize("attribute", ["name", "daemon", "ident", "native_id", "current_work"])
def test_attribute_of_a_worker_is_read_only(worker, attribute):
    with pytest.raises(AttributeError):
        setattr(worker, attribute, None)


@pytest.mark.parametrize(
    "attribute", ["fn", "args", "kwargs", "pending", "executing", "coalesced", "disabled"]
)
def test_attribute_of_a_work_is_read_only(kw, attribute):
    with pytest.raises(AttributeError):
        setattr(kw.Work(int), attribute, None)


@pytest.mark.parametrize("attribute", ["remaining", "interval", "missed"])
def test_attribute_of_a_periodic_work_is_read_only(kw, worker, attribute):
    beat = worker.every(1000, int)
    with pytest.raises(AttributeError):
        setattr(beat, attribute, None)
    beat.cancel()


ERRORS = [ValueError("expected"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]


def failing(kw, error):
    def fail():
        raise error

    return kw.Work(fail)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_error_goes_to_the_unraisable_hook_and_the_worker_goes_on(kw, worker, unraisable, error):
    work = failing(kw, error)
    ran = []
    worker.queue_many([work, kw.Work(ran.append, 1)])
    worker.flush()
    assert ran == [1]
    assert worker.is_alive()
    (call,) = unraisable
    assert call.exc_type is type(error)
    assert call.exc_value is error
    assert call.exc_traceback is not None
    assert call.err_msg == "Exception ignored in work"
    assert call.object is work


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_error_goes_to_on_error_on_the_workers_thread(kw, unraisable, error):
    calls = []

    def on_error(work, exception):
        calls.append((work, exception, threading.get_ident()))

    with kw.Worker(on_error=on_error) as worker:
        work = failing(kw, error)
        worker.queue(work)
        work.flush()
        assert calls == [(work, error, worker.ident)]
    assert unraisable == []


def test_on_error_is_over_before_the_flush_returns(kw):
    calls = []
    with kw.Worker(on_error=lambda work, _: calls.append(work.executing)) as worker:
        work = failing(kw, ValueError("expected"))
        worker.queue(work)
        work.flush()
        assert calls == [True]


def test_error_in_on_error_goes_to_the_unraisable_hook(kw, unraisable):
    second = LookupError("from on_error")

    def on_error(_work, _error):
        raise second

    with kw.Worker(on_error=on_error) as worker:
        ran = []
        worker.queue_many([failing(kw, ValueError("expected")), kw.Work(ran.append, 1)])
        worker.flush()
        assert ran == [1]
    assert second in [call.exc_value for call in unraisable]


def test_error_in_the_unraisable_hook_does_not_end_the_worker(kw, worker, monkeypatch, capfd):
    def hook(_args):
        raise LookupError("from the hook")

    monkeypatch.setattr(sys, "unraisablehook", hook)
    ran = []
    worker.queue_many([failing(kw, ValueError("expected")), kw.Work(ran.append, 1)])
    worker.flush()
    assert ran == [1]
    assert "from the hook" in capfd.readouterr().err


def test_default_hook_prints_the_error(kw, worker, monkeypatch, capfd):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    work = failing(kw, ValueError("told on standard error"))
    worker.queue(work)
    work.flush()
    text = capfd.readouterr().err
    assert "Exception ignored in work" in text
    assert "ValueError: told on standard error" in text


def test_wrong_arguments_for_the_function_are_an_error_of_the_callback(kw, worker, unraisable):
    work = kw.Work(lambda: None, 1, 2)
    worker.queue(work)
    work.flush()
    assert [call.exc_type for call in unraisable] == [TypeError]


@pytest.mark.parametrize("where", ["callback", "on_error"])
def test_no_lock_is_held_while_the_users_code_runs(kw, where):
    """Another thread may use the worker in the meantime, and the user's code wait for it."""
    done = []

    def use():
        worker.queue(kw.Work(int))
        worker.stats()
        repr(worker)
        worker.thaw()

    def body(*_):
        Background(use).result()
        done.append(1)

    def fail():
        raise ValueError("expected")

    with kw.Worker(on_error=body) as worker:
        work = kw.Work(body if where == "callback" else fail)
        worker.queue(work)
        work.flush(LIMIT)
    assert done == [1]
