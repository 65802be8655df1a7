# SPDX-License-Identifier: GPL-2.0-only
"""A signal at every point of the pure backend's queueing and serving where it can come at all.

The interpreter looks for signals where a function begins, where a call has returned, and where a
loop jumps back. At the first two a trace function stands in for the handler: it raises
KeyboardInterrupt at the first such point, then at the second one and so on, until the call gets
through; or it uses the worker itself. Each time the worker has to be as sound as before. Of the
jumps back, where no trace function is called, it is looked up that none leaves its "try".
"""

from __future__ import annotations

import dis
import functools
import pathlib
import signal
import sys
import types

import pytest

from pykworker import pure as kw

pytestmark = pytest.mark.timeout(120)

LIMIT = 30
INSIDE = tuple(f"pykworker.pure.{name}" for name in ("_core", "_condition", "_timers", "_worker"))


@functools.cache
def points(code):
    """The offsets of the instructions that come next after a call's."""
    offsets, was_call = set(), False
    for instruction in dis.get_instructions(code):
        if was_call and instruction.opname != "CACHE":
            offsets.add(instruction.offset)
        was_call = instruction.opname.startswith("CALL") and "INTRINSIC" not in instruction.opname
    return frozenset(offsets)


def all_code(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from all_code(constant)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="comprehensions jump back in others' code")
@pytest.mark.parametrize("module", ["_core", "_condition", "_timers"])
def test_no_jump_back_is_outside_of_what_sees_to_its_loop(module):
    path = pathlib.Path(kw.__file__).parent / f"{module}.py"
    left_out = []
    for code in all_code(compile(path.read_text("utf-8"), str(path), "exec")):
        entries = dis.Bytecode(code).exception_entries
        covered = [False]
        for instruction in dis.get_instructions(code):
            covered.append(any(e.start <= instruction.offset < e.end for e in entries))
            if instruction.opname == "JUMP_BACKWARD" and covered[-2] and not covered[-1]:
                left_out.append(f"{code.co_qualname} line {instruction.positions.lineno}")
    assert left_out == []


class Interrupts:
    """Have a signal handler be called once, at point number *at*; in the calling thread."""

    def __init__(self, at, handler=signal.default_int_handler):
        self.left = at
        self.handler = handler
        self.place = None

    def point(self, frame):
        self.left -= 1
        if self.left == 0:
            self.place = f"{frame.f_code.co_qualname} line {frame.f_lineno}"
            self.handler(signal.SIGINT, frame)

    def begins(self, frame, event, arg):
        if frame.f_globals.get("__name__") not in INSIDE or self.left <= 0:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        self.point(frame)
        return self.goes_on

    def goes_on(self, frame, event, arg):
        if event == "opcode" and frame.f_lasti in points(frame.f_code):
            self.point(frame)
        return self.goes_on

    def during(self, call):
        """Returns whether KeyboardInterrupt was raised."""
        before = sys.gettrace()
        sys.settrace(self.begins)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


def at_every_point(attempt):
    """Call *attempt* with one that interrupts at the first point, at the second, and so on."""
    number, got_through = 0, False
    while not got_through:
        number += 1
        interrupts = Interrupts(number)
        interrupted = attempt(interrupts)
        got_through = interrupts.place is None
        assert not (got_through and interrupted)
    assert number > 4  # it did look inside


@pytest.fixture
def other():
    with kw.Worker("other") as worker:
        yield worker


def check_idle(work, ran, was_interrupted, worker, other):
    """It ran once, or was not queued; and is as good as new, here and elsewhere."""
    worker.flush(LIMIT)
    work.flush(LIMIT)
    assert not work.pending
    assert len(ran) in ((0, 1) if was_interrupted else (1,))
    for another in (other, worker):
        before = len(ran)
        assert another.queue(work)
        work.flush(LIMIT)
        assert len(ran) == before + 1
    stats = worker.stats()
    assert stats["pending"] == stats["delayed"] == 0


def queue(worker, work):
    worker.queue(work)


def queue_many(worker, work):
    worker.queue_many([work])


def queue_delayed_by_nothing(worker, work):
    worker.queue_delayed(work, 0)


def queue_delayed(worker, work):
    worker.queue_delayed(work, 1e-6)


def modify(worker, work):
    worker.mod_delayed(work, 0)


def delay(worker, work):
    worker.mod_delayed(work, 1e-6)


def modify_what_is_armed(worker, work):
    worker.queue_delayed(work, 3600)
    worker.mod_delayed(work, 0)


def modify_what_is_listed(worker, work):
    worker.freeze(LIMIT)
    worker.queue(work)
    worker.mod_delayed(work, 1e-6)
    worker.thaw()


@pytest.mark.parametrize(
    "ask",
    [queue, queue_many, queue_delayed_by_nothing, queue_delayed, modify, delay,
     modify_what_is_armed, modify_what_is_listed],
    ids=lambda ask: ask.__name__,
)  # fmt: skip
def test_who_queues_leaves_the_work_queued_or_idle(ask, other):
    with kw.Worker() as worker:

        def attempt(interrupts):
            ran = []
            work = kw.DelayedWork(ran.append, 1)
            interrupted = interrupts.during(lambda: ask(worker, work))
            worker.thaw()
            if (work.remaining or 0) > 60:
                worker.mod_delayed(work, 0)  # it would run in an hour
            check_idle(work, ran, interrupted, worker, other)
            return interrupted

        at_every_point(attempt)


def test_who_flushes_leaves_the_worker_as_it_was(other):
    with kw.Worker() as worker:

        def attempt(interrupts):
            ran = []
            work = kw.Work(ran.append, 1)
            worker.freeze(LIMIT)
            worker.queue(work)
            worker.thaw()
            interrupted = interrupts.during(lambda: worker.flush(LIMIT))
            check_idle(work, ran, False, worker, other)
            return interrupted

        at_every_point(attempt)


def test_who_submits_leaves_the_call_queued_or_forgotten():
    with kw.Worker(max_pending=1) as worker:

        def attempt(interrupts):
            ran = []
            interrupted = interrupts.during(lambda: worker.submit(ran.append, 1))
            worker.flush(LIMIT)
            assert len(ran) in ((0, 1) if interrupted else (1,))
            assert worker.submit(int).result(LIMIT) == 0  # the one place is free
            return interrupted

        at_every_point(attempt)


def test_who_cancels_leaves_the_work_pending_or_idle(other):
    with kw.Worker(max_pending=1) as worker:

        def attempt(interrupts):
            ran = []
            work = kw.DelayedWork(ran.append, 1)
            worker.queue_delayed(work, 3600)
            interrupted = interrupts.during(work.cancel)
            if work.pending:
                assert interrupted
                work.cancel()
            worker.queue(work)
            check_idle(work, ran, False, worker, other)
            return interrupted

        at_every_point(attempt)


@pytest.mark.parametrize("serve", ["run", "run_pending"])
def test_what_had_not_begun_runs_the_next_time(serve):
    def attempt(interrupts):
        ran = []
        worker = kw.Worker(start=False)
        works = [kw.Work(ran.append, number) for number in range(2)]
        later = kw.DelayedWork(ran.append, 2)
        worker.queue_many(works)
        future = worker.submit(ran.append, "call")
        worker.queue_delayed(later, 1e-9)
        worker.queue(last := kw.Work(worker.stop))
        interrupted = interrupts.during(getattr(worker, serve))
        while worker.stats()["pending"] or worker.stats()["delayed"]:
            assert interrupted
            worker.run_pending()
        # A call that was made while its outcome was not noted yet has none but Ctrl-C.
        assert future.done()
        assert sorted(ran, key=str) == [0, 1, 2, "call"], interrupts.place
        assert ran.index(0) < ran.index(1) < ran.index("call")
        stats = worker.stats()
        assert stats["executed"] == stats["queued"] == 5, interrupts.place
        assert not any(work.pending or work.executing for work in [*works, later, last])
        worker.destroy(LIMIT)
        return interrupted

    at_every_point(attempt)


def test_a_tick_that_had_not_begun_comes_the_next_time():
    def attempt(interrupts):
        ran = []
        worker = kw.Worker(start=False)
        work = worker.every(1e-9, ran.append, 1)
        interrupted = interrupts.during(worker.run_pending)
        for _ in range(3):
            before = len(ran)
            worker.run_pending()
            assert len(ran) == before + 1
        assert work.pending
        assert work.cancel()
        assert worker.stats()["delayed"] == 0
        worker.destroy(LIMIT)
        return interrupted

    at_every_point(attempt)


def handler_queues(worker, work, answers):
    answers.append(worker.queue(work))


def handler_delays(worker, work, answers):
    answers.append(worker.queue_delayed(work, 1e-9))


def handler_modifies(worker, work, answers):
    answers.append(not worker.mod_delayed(work, 1e-9))


def handler_cancels(worker, work, answers):
    if work.cancel():
        answers.append(-1)


ASKED = {
    "queue": lambda worker, work: worker.queue(work),
    "queue_many": lambda worker, work: worker.queue_many([work]),
    "queue_delayed": lambda worker, work: worker.queue_delayed(work, 1e-9),
    "mod_delayed": lambda worker, work: not worker.mod_delayed(work, 0),
    "cancel": lambda worker, work: -work.cancel(),
    "run_pending": lambda worker, work: worker.run_pending() * 0,
}


@pytest.mark.parametrize(
    "handler", [handler_queues, handler_delays, handler_modifies, handler_cancels],
    ids=lambda handler: handler.__name__,
)  # fmt: skip
@pytest.mark.parametrize("before", ["idle", "listed", "armed"])
@pytest.mark.parametrize("asked", ASKED)
def test_what_a_handler_does_to_the_same_work_counts_once(asked, before, handler):
    def attempt(interrupts):
        ran, answers = [], []
        worker = kw.Worker(start=False)
        work = kw.DelayedWork(ran.append, 1)
        if before == "listed":
            answers.append(worker.queue(work))
        elif before == "armed":
            answers.append(worker.queue_delayed(work, 1e-9))
        interrupts.handler = lambda *_: handler(worker, work, answers)
        assert not interrupts.during(lambda: answers.append(ASKED[asked](worker, work)))
        while work.pending:
            worker.run_pending()
        # Each that made it pending was told so, and each that took it back.
        assert len(ran) == sum(answers), interrupts.place
        stats = worker.stats()
        assert stats["pending"] == stats["delayed"] == 0, interrupts.place
        assert stats["executed"] == len(ran), interrupts.place
        worker.destroy(LIMIT)

    at_every_point(attempt)
