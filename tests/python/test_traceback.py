# SPDX-License-Identifier: GPL-2.0-only
"""traceback=True: where a work was queued, in a note of the exception of its callback."""

from __future__ import annotations

import asyncio
import gc
import traceback
import weakref

import pytest
from helpers import LIMIT, hold

HEAD = "queued at (most recent call last):"


class Thing:
    """Something whose end can be seen."""


def fail(*_):
    raise ValueError("expected")


def notes(error):
    return [note for note in getattr(error, "__notes__", []) if note.startswith(HEAD)]


@pytest.fixture
def told():
    """The exceptions that on_error was called with."""
    return []


@pytest.fixture
def noting(kw, told):
    """A worker that notes where things are queued."""
    with kw.Worker(traceback=True, on_error=lambda work, error: told.append(error)) as worker:
        yield worker


def queued_by_queue(kw, worker):
    worker.queue(kw.Work(fail))


def queued_by_queue_many(kw, worker):
    worker.queue_many([kw.Work(int), kw.Work(fail)])


def queued_by_queue_delayed(kw, worker):
    worker.queue_delayed(kw.DelayedWork(fail), 0)


def queued_by_a_timer(kw, worker):
    late = kw.DelayedWork(fail)
    worker.queue_delayed(late, 1000)
    return late


def queued_by_mod_delayed(kw, worker):
    worker.mod_delayed(kw.DelayedWork(fail), 0)


def queued_by_a_bound_work(kw, worker):
    worker.work(fail).queue()


def queued_by_every(kw, worker):
    return worker.every(1000, fail)


WAYS = [
    queued_by_queue,
    queued_by_queue_many,
    queued_by_queue_delayed,
    queued_by_a_timer,
    queued_by_mod_delayed,
    queued_by_a_bound_work,
    queued_by_every,
]


@pytest.mark.parametrize("way", WAYS)
def test_exception_has_a_note_of_the_queueing(kw, noting, told, way):
    late = way(kw, noting)
    if late is not None:
        late.flush()
        late.cancel()
    noting.flush()
    (error,) = told
    (note,) = notes(error)
    lines = note.splitlines()
    assert lines[0] == HEAD
    assert f'File "{__file__}"' in note
    # The most recent call is last, and the package's own calls do not matter to anybody.
    users = [line for line in lines if line.lstrip().startswith("File ") and __file__ in line]
    assert f"in {way.__name__}" in users[-1]
    assert "test_exception_has_a_note_of_the_queueing" in users[-2]


def test_note_ends_with_the_line_that_queued(kw, noting, told):
    noting.queue(kw.Work(fail))
    noting.flush()
    (note,) = notes(told[0])
    files = [line for line in note.splitlines() if line.lstrip().startswith("File ")]
    assert __file__ in files[-1]
    assert "noting.queue(kw.Work(fail))" in note


def test_error_printed_by_the_hook_shows_it(kw, unraisable):
    with kw.Worker(traceback=True) as worker:
        queued_by_queue(kw, worker)
        worker.flush()
    (call,) = unraisable
    (note,) = notes(call.exc_value)
    assert "in queued_by_queue" in note
    assert HEAD in "".join(traceback.format_exception(call.exc_value))


def test_exception_of_a_call_has_it(kw, noting, told):
    def queued_by_submit():
        return noting.submit(fail)

    error = queued_by_submit().exception()
    (note,) = notes(error)
    assert "in queued_by_submit" in note
    assert told == []
    with pytest.raises(ValueError, match="expected") as info:
        noting.submit(fail).result()
    assert len(notes(info.value)) == 1


def test_exception_of_map_has_it(kw, noting):
    with pytest.raises(ValueError, match="expected") as info:
        list(noting.map(fail, range(3)))
    (note,) = notes(info.value)
    assert "test_exception_of_map_has_it" in note


def test_exception_of_an_awaited_call_has_it(kw, noting):
    async def awaited_in_here():
        await noting.call(fail)

    with pytest.raises(ValueError, match="expected") as info:
        asyncio.run(asyncio.wait_for(awaited_in_here(), LIMIT))
    (note,) = notes(info.value)
    assert "in awaited_in_here" in note


def test_without_it_there_is_no_note(kw):
    told = []
    with kw.Worker(on_error=lambda work, error: told.append(error)) as worker:
        worker.queue(kw.Work(fail))
        worker.flush()
        told.append(worker.submit(fail).exception())
    assert [hasattr(error, "__notes__") for error in told] == [False, False]


def test_queueing_that_coalesced_is_not_the_one_noted(kw, noting, told):
    gate = hold(kw, noting)
    work = kw.Work(fail)

    def first():
        noting.queue(work)

    def second():
        noting.queue(work)

    first()
    second()
    gate.open()
    noting.flush()
    (note,) = notes(told[0])
    assert "in first" in note
    assert "in second" not in note


def test_each_queueing_is_noted_anew(kw, noting, told):
    work = kw.Work(fail)

    def first():
        noting.queue(work)

    def second():
        noting.queue(work)

    for queue in (first, second):
        queue()
        noting.flush()
    assert "in first" in notes(told[0])[0]
    assert "in second" in notes(told[1])[0]


def test_work_queued_again_by_its_callback_is_noted_there(kw, noting, told):
    runs = []

    def body():
        runs.append(1)
        if len(runs) == 1:
            noting.queue(work)
        else:
            fail()

    work = kw.Work(body)
    noting.queue(work)
    work.flush()
    noting.flush()
    (note,) = notes(told[0])
    assert "in body" in note
    assert "test_work_queued_again" not in note


def test_work_queued_again_while_it_runs_keeps_the_note_of_the_run(kw, noting, told):
    """The first run raises when the second queueing has been noted already."""
    turns = iter([True, False])

    def body():
        if next(turns):
            later()
            fail()

    def first():
        noting.queue(work)

    def later():
        noting.queue(work)

    work = kw.Work(body)
    first()
    work.flush()
    noting.flush()
    (note,) = notes(told[0])
    assert "in first" in note
    assert "in later" not in note


def test_every_tick_has_the_note_of_the_beginning(kw, noting, told):
    beat = queued_by_every(kw, noting)
    beat.flush()
    beat.flush()
    beat.cancel()
    assert len(told) == 2
    assert all("in queued_by_every" in notes(error)[0] for error in told)


class StubbornError(Exception):
    def add_note(self, note):
        raise LookupError("no notes here")


@pytest.mark.parametrize("how", ["odd notes", "refuses notes"])
def test_exception_that_takes_no_note_is_told_all_the_same(kw, noting, told, how):
    error = ValueError("expected") if how == "odd notes" else StubbornError()
    if how == "odd notes":
        error.__notes__ = 7

    def odd():
        raise error

    noting.queue(kw.Work(odd))
    noting.flush()
    assert told == [error]
    assert noting.submit(odd).exception() is error
    assert noting.submit(lambda: 7).result() == 7


def test_noted_stack_keeps_nothing_alive(kw, noting):
    gate = hold(kw, noting)

    def queue():
        local = Thing()
        noting.queue(kw.Work(int))
        noting.submit(int)
        return weakref.ref(local)

    ref = queue()
    gc.collect()
    assert ref() is None
    gate.open()
    noting.flush()


def test_works_that_do_not_raise_go_on_as_ever(kw, noting, told):
    assert list(noting.map(abs, range(-20, 0))) == list(range(20, 0, -1))
    ran = []
    noting.queue_many(kw.Work(ran.append, number) for number in range(50))
    noting.flush()
    assert ran == list(range(50))
    assert told == []
