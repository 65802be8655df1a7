# SPDX-License-Identifier: GPL-2.0-only
"""Random sequences of calls, in every state, against a plain sequential model.

A worker, four works, and every call there is. A callback waits until the machine lets it go,
and tells it what to do first: return, raise, queue itself, end itself. Delays are so long that
no timer runs out; mod_delayed() to 0 stands for that. So the model knows at every step which
work runs, and what each call answers.

PYKWORKER_STRESS_SEED repeats a run: the seed is printed, and so are the steps that failed.
PYKWORKER_MODEL_EXAMPLES sets how many sequences are played (default 150).
"""

from __future__ import annotations

import os
import queue
import random
import time
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import Background, wait_until

from pykworker import pure

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, Phase, settings  # noqa: E402 - see above
from hypothesis import strategies as st  # noqa: E402
from hypothesis.stateful import (  # noqa: E402
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

pytestmark = pytest.mark.timeout(0 if "PYKWORKER_MODEL_EXAMPLES" in os.environ else 300)

EXAMPLES = int(os.environ.get("PYKWORKER_MODEL_EXAMPLES", "150"))
LONG = 1e6  # seconds; no timer runs out
PATIENCE = 10.0  # seconds until what should have happened counts as failed
TEARDOWN_PATIENCE = 60.0  # seconds
LESS_PATIENCE = 0.3  # the same once something has failed, and shorter sequences are looked for
COUNT = 4
BEAT = 3  # the work that may be a periodic one

WORKS = st.integers(0, COUNT - 1)
DELAYS = st.sampled_from([0, LONG])
PLAIN = st.sampled_from(["return", "raise", "queue"])
ACTIONS = st.sampled_from(
    [
        "return", "return", "return CANCEL", "raise", "queue", "queue", "queue next", "delay",
        "mod", "mod 0", "cancel", "cancel without wait", "cancel next", "disable", "enable",
        "flush", "flush worker", "drain", "freeze", "destroy", "run_pending", "stop",
    ]
)  # fmt: skip


class ExpectedError(Exception):
    """What a callback raises when it is told to."""


class Model:
    """What a worker and its works do, one step after the other."""

    def __init__(self) -> None:
        self.disabled = [0] * COUNT
        self.coalesced = [0] * COUNT
        self.begun: list[int] = []  # every run, in order
        self.new_worker()

    def new_worker(self) -> None:
        self.thread = True
        self.frozen = False
        self.listed: list[int] = []
        self.timers: set[int] = set()
        self.executing: int | None = None
        self.repeats = False  # the periodic work has not been cancelled
        self.counts = dict.fromkeys(["executed", "coalesced", "cancelled"], 0)

    def pending(self, i: int) -> bool:
        return i in self.listed or i in self.timers

    def idle(self, i: int) -> bool:
        return not self.pending(i) and self.executing != i

    def state(self) -> dict[str, Any]:
        """What is to be seen from outside."""
        return {
            "pending": [self.pending(i) for i in range(COUNT)],
            "executing": [self.executing == i for i in range(COUNT)],
            "delayed": [i in self.timers for i in range(COUNT)],
            "disabled": [count > 0 for count in self.disabled],
            "coalesced": self.coalesced.copy(),
            "alive": self.thread,
            "current": self.executing,
            "counts": {
                **self.counts, "pending": len(self.listed), "delayed": len(self.timers),
            },
        }  # fmt: skip

    # -- the calls; each returns what the real one is to return

    def queue(self, i: int) -> bool:
        return self.queue_delayed(i, 0)

    def queue_delayed(self, i: int, delay: float) -> bool:
        if self.disabled[i]:
            return False
        if self.pending(i):
            self.coalesced[i] += 1
            self.counts["coalesced"] += 1
            return False
        self.put(i, delay)
        return True

    def mod_delayed(self, i: int, delay: float) -> bool:
        if self.disabled[i]:
            return False
        was_pending = self.pending(i)
        self.take_out(i)
        self.put(i, delay)
        return was_pending

    def put(self, i: int, delay: float) -> None:
        if delay:
            self.timers.add(i)
        else:
            self.listed.append(i)

    def take_out(self, i: int) -> None:
        self.timers.discard(i)
        if i in self.listed:
            self.listed.remove(i)

    def mod_timer_to_the_tail(self, i: int) -> None:
        self.timers.remove(i)
        self.listed.append(i)

    def cancel(self, i: int) -> bool:
        if i == BEAT:
            self.repeats = False
        was_pending = self.pending(i)
        self.take_out(i)
        self.counts["cancelled"] += was_pending
        return was_pending

    def disable(self, i: int) -> bool:
        self.disabled[i] += 1
        return self.cancel(i)

    def enable(self, i: int) -> bool | type[BaseException]:
        if not self.disabled[i]:
            return RuntimeError
        self.disabled[i] -= 1
        return not self.disabled[i]

    # -- runs

    def begin_if_possible(self) -> None:
        if self.thread and not self.frozen and self.executing is None and self.listed:
            self.begin()

    def begin(self) -> None:
        i = self.executing = self.listed.pop(0)
        self.begun.append(i)
        self.coalesced[i] = 0
        self.counts["executed"] += 1
        if i == BEAT and self.repeats:
            self.timers.add(i)

    def act(self, action: str) -> Any:
        """What the executing callback does before it ends, and what it is answered."""
        i = self.executing
        assert i is not None
        after = (i + 1) % COUNT
        match action:
            case "return CANCEL":
                if i == BEAT and self.repeats:
                    self.cancel(i)
            case "queue":
                return self.queue(i)
            case "queue next":
                return self.queue(after)
            case "delay":
                return self.queue_delayed(i, LONG)
            case "mod":
                return self.mod_delayed(i, LONG)
            case "mod 0":
                return self.mod_delayed(i, 0)
            case "cancel" | "cancel without wait":
                return self.cancel(i)
            case "cancel next":
                return self.cancel(after)
            case "disable":
                return self.disable(i)
            case "enable":
                return self.enable(i)
            case "flush" | "flush worker" | "drain" | "freeze" | "destroy":
                return pure.DeadlockError
            case "run_pending":
                return RuntimeError
            case "stop":
                self.thread = False
        return None

    def let_go(self, action: str) -> Any:
        answer = self.act(action)
        self.executing = None
        self.begin_if_possible()
        return answer


def outcome(call: Any, *args: Any) -> Any:
    """The call's result, or the class of its error."""
    try:
        return call(*args)
    except (RuntimeError, TimeoutError) as error:
        return type(error)


class Machine(RuleBasedStateMachine):
    """Plays each step on the model and on a real worker."""

    def __init__(self, kw: Any, patience: list[float]) -> None:
        super().__init__()
        self.kw = kw
        self.patience = patience  # one number, for all machines of a run
        self.model = Model()
        self.actions: queue.SimpleQueue[str] = queue.SimpleQueue()  # for callbacks
        self.began: queue.SimpleQueue[int] = queue.SimpleQueue()  # from callbacks
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()  # from callbacks
        self.begun: list[int] = []
        self.works = [kw.DelayedWork(self.callback, i) for i in range(COUNT)]
        self.other = kw.Worker(start=False)
        self.new_worker()

    def new_worker(self) -> None:
        self.worker = self.kw.Worker(on_error=self.on_error)

    def on_error(self, work: Any, error: BaseException) -> None:
        if not isinstance(error, ExpectedError):
            self.answers.put(error)

    # -- the real callbacks

    def callback(self, i: int) -> Any:
        self.began.put(i)
        action = self.actions.get(timeout=4 * PATIENCE)
        self.answers.put(self.act(action, self.works[i], self.works[(i + 1) % COUNT]))
        if action == "raise":
            raise ExpectedError
        if action == "return when stopping":
            wait_until(self.kw.should_stop)
        return self.kw.CANCEL if action == "return CANCEL" else None

    def act(self, action: str, work: Any, after: Any) -> Any:
        worker = self.worker
        calls = {
            "queue": lambda: worker.queue(work),
            "queue next": lambda: worker.queue(after),
            "delay": lambda: worker.queue_delayed(work, LONG),
            "mod": lambda: worker.mod_delayed(work, LONG),
            "mod 0": lambda: worker.mod_delayed(work, 0),
            "cancel": work.cancel,
            "cancel without wait": lambda: work.cancel(wait=False),
            "cancel next": after.cancel,
            "disable": work.disable,
            "enable": work.enable,
            "flush": work.flush,
            "flush worker": worker.flush,
            "drain": worker.drain,
            "freeze": worker.freeze,
            "destroy": worker.destroy,
            "run_pending": worker.run_pending,
            "stop": worker.stop,
        }
        return outcome(calls[action]) if action in calls else None

    # -- steps from outside

    def check(self, verb: str, *args: Any) -> None:
        """Play the same call on both."""
        target, *rest = args
        work = self.works[target]
        if verb in ("cancel", "disable", "enable"):
            answer = outcome(getattr(work, verb), *rest)
        else:
            answer = outcome(getattr(self.worker, verb), work, *rest)
        expected = getattr(self.model, verb)(target, *(rest if verb != "cancel" else ()))
        self.model.begin_if_possible()
        assert answer == expected, f"{verb}{args} said {answer}, and was to say {expected}"

    def let_go(self, action: str) -> None:
        self.actions.put(action)
        self.expect_answer(action)

    def expect_answer(self, action: str) -> None:
        expected = self.model.let_go(action)
        answer = self.receive(self.answers)
        assert answer == expected, f"{action} in a callback said {answer}, not {expected}"

    def receive(self, results: queue.SimpleQueue[Any]) -> Any:
        try:
            return results.get(timeout=self.patience[0])
        except queue.Empty:
            self.patience[0] = LESS_PATIENCE
            raise AssertionError("a callback did not begin or did not answer") from None

    def let_all_go(self, count: int, first: str = "return") -> None:
        """Ahead of a call that waits for so many runs."""
        for number in range(count):
            self.actions.put(first if number == 0 else "return")

    def expect_answers(self, count: int) -> None:
        for _ in range(count):
            self.expect_answer("return")

    @rule(i=WORKS)
    def queue(self, i: int) -> None:
        self.check("queue", i)

    @rule(i=WORKS, delay=DELAYS)
    def queue_delayed(self, i: int, delay: float) -> None:
        self.check("queue_delayed", i, delay)

    @rule(i=WORKS, delay=DELAYS)
    def mod_delayed(self, i: int, delay: float) -> None:
        self.check("mod_delayed", i, delay)

    @rule(order=st.permutations(range(COUNT)))
    def queue_many(self, order: list[int]) -> None:
        answer = self.worker.queue_many([self.works[i] for i in order])
        expected = 0
        for i in order:
            expected += self.model.queue(i)
            # The first may begin while the others are still being queued; no callback ends.
            self.model.begin_if_possible()
        assert answer == expected

    @rule(i=WORKS)
    def queue_elsewhere(self, i: int) -> None:
        work = self.works[i]
        if self.model.disabled[i]:
            return
        answer = outcome(self.other.queue, work)
        assert answer == (True if self.model.idle(i) else RuntimeError)
        if answer is True:
            assert work.cancel() is True

    @precondition(lambda self: self.model.idle(BEAT) and not self.model.disabled[BEAT])
    @rule()
    def every(self) -> None:
        self.works[BEAT] = self.worker.every(LONG, self.callback, BEAT)
        self.model.coalesced[BEAT] = 0
        self.model.repeats = True
        self.model.timers.add(BEAT)

    @rule(i=WORKS)
    def cancel_without_wait(self, i: int) -> None:
        self.check("cancel", i, False)

    @rule(i=WORKS, disable=st.booleans(), action=PLAIN)
    def cancel(self, i: int, disable: bool, action: str) -> None:
        verb = "disable" if disable else "cancel"
        if self.model.executing != i:
            self.check(verb, i)
            return
        # With a pending run to be dropped, it is seen when the cancel has begun.
        self.check("queue", i)
        was_pending = self.model.pending(i)
        work = self.works[i]
        canceller = Background(getattr(work, verb))
        wait_until(lambda: not work.pending if was_pending else work.disabled or not disable)
        expected = getattr(self.model, verb)(i)
        if was_pending:
            assert self.worker.queue(work) is False
            assert self.worker.queue_delayed(work, LONG) is False
            assert self.worker.mod_delayed(work, 0) is True
            assert work.executing
            # What the callback queues is refused as if the work were disabled.
            self.model.disabled[i] += 1
            self.let_go(action)
            self.model.disabled[i] -= 1
        else:
            self.let_go("return")
        assert canceller.result() is expected

    @rule(i=WORKS)
    def enable(self, i: int) -> None:
        self.check("enable", i)

    @precondition(lambda self: self.model.executing is not None)
    @rule(action=ACTIONS)
    def callback_ends(self, action: str) -> None:
        self.let_go(action)

    @rule(i=WORKS)
    def look_whether_flushed(self, i: int) -> None:
        answer = outcome(self.works[i].flush, 0)
        assert answer is (None if self.model.idle(i) else TimeoutError)
        if i in self.model.timers:  # cut short
            self.model.mod_timer_to_the_tail(i)
            self.model.begin_if_possible()

    @precondition(lambda self: self.model.thread and not self.model.frozen)
    @rule(i=WORKS)
    def flush(self, i: int) -> None:
        model = self.model
        before = model.executing is not None
        if i in model.timers:
            model.mod_timer_to_the_tail(i)
        if i in model.listed:
            count = before + model.listed.index(i) + 1
        else:
            count = int(model.executing == i)
        model.begin_if_possible()
        self.let_all_go(count)
        flusher = Background(self.works[i].flush, PATIENCE)
        self.expect_answers(count)
        # The run may have begun before the flush did. A periodic work was pending anew by then.
        if i == BEAT and i in model.timers:
            begun = len(model.begun)
            work = self.works[i]
            wait_until(
                lambda: (
                    flusher.is_over()
                    or len(self.begun) + self.began.qsize() > begun
                    or work.remaining is None
                )
            )
            if not flusher.is_over():
                self.flush_noted_the_next_run(i)
        flusher.result()

    def flush_noted_the_next_run(self, i: int) -> None:
        model = self.model
        model.mod_timer_to_the_tail(i)
        count = (model.executing is not None) + len(model.listed)  # it is the last one
        model.begin_if_possible()
        self.let_all_go(count)
        self.expect_answers(count)

    @rule(drain=st.booleans())
    def flush_worker(self, drain: bool) -> None:
        model = self.model
        count = len(model.listed) + (model.executing is not None)
        call = self.worker.drain if drain else self.worker.flush
        if count and (model.frozen or not model.thread):
            assert outcome(call, 0) is TimeoutError
            return
        self.let_all_go(count)
        call(PATIENCE)
        self.expect_answers(count)

    @rule(action=PLAIN)
    def freeze(self, action: str) -> None:
        model = self.model
        if model.executing is None:
            self.worker.freeze(PATIENCE)
            model.frozen = True
            return
        freezer = Background(self.worker.freeze)
        wait_until(lambda: "frozen" in repr(self.worker))
        model.frozen = True
        self.let_go(action)
        freezer.result()

    @rule()
    def thaw(self) -> None:
        self.worker.thaw()
        self.model.frozen = False
        self.model.begin_if_possible()

    @rule()
    def stop(self) -> None:
        model = self.model
        if model.executing is not None:
            self.actions.put("return when stopping")
        if model.thread:
            model.frozen = False
        model.thread = False
        self.worker.stop(PATIENCE)
        if model.executing is not None:
            self.expect_answer("return")

    @rule()
    def start(self) -> None:
        answer = outcome(self.worker.start)
        assert answer is (RuntimeError if self.model.thread else None)
        self.model.thread = True
        self.model.begin_if_possible()

    @rule(data=st.data())
    def run_pending(self, data: Any) -> None:
        model = self.model
        if model.thread:
            assert outcome(self.worker.run_pending) is RuntimeError
            return
        count = 0 if model.frozen else len(model.listed)
        actions = [data.draw(PLAIN) for _ in range(count)]
        for action in actions:
            self.actions.put(action)
        assert self.worker.run_pending() == count
        for action in actions:
            model.begin()
            self.expect_answer(action)

    @rule(rarely=st.sampled_from([True, False, False, False]))
    def destroy(self, rarely: bool) -> None:
        model = self.model
        if not rarely:  # else few sequences would get far
            return
        count = len(model.listed) + (model.executing is not None) if model.thread else 0
        for i in list(model.timers) if model.thread else list(model.timers) + model.listed:
            model.cancel(i)
        model.repeats = model.frozen = False
        self.let_all_go(count, first="return when stopping")
        self.worker.destroy(PATIENCE)
        model.begin_if_possible()
        self.expect_answers(count)
        model.thread = False
        self.compare()
        assert outcome(self.worker.queue, self.works[0]) is RuntimeError
        self.worker.destroy()
        self.new_worker()
        model.new_worker()

    # -- after each step

    def state(self) -> dict[str, Any]:
        stats = self.worker.stats()
        current = self.worker.current_work
        return {
            "pending": [work.pending for work in self.works],
            "executing": [work.executing for work in self.works],
            "delayed": [work.remaining is not None for work in self.works],
            "disabled": [work.disabled for work in self.works],
            "coalesced": [work.coalesced for work in self.works],
            "alive": self.worker.is_alive(),
            "current": None if current is None else self.works.index(current),
            "counts": {
                key: stats[key]
                for key in ("executed", "coalesced", "cancelled", "pending", "delayed")
            },
        }

    @invariant()
    def compare(self) -> None:
        while len(self.begun) < len(self.model.begun):
            self.begun.append(self.receive(self.began))
        assert self.begun == self.model.begun
        expected = self.model.state()
        # What a callback does last comes a moment later.
        end = time.monotonic() + self.patience[0]
        while (state := self.state()) != expected:
            if time.monotonic() > end:
                self.patience[0] = LESS_PATIENCE
                raise AssertionError(f"{state}\nis not\n{expected}")
            time.sleep(0.0002)

    def teardown(self) -> None:
        for _ in range(100):
            self.actions.put("return")
        # However little patience a fault leaves: a worker that stays fails some later test.
        self.worker.destroy(TEARDOWN_PATIENCE)
        self.other.destroy(TEARDOWN_PATIENCE)


def play(kw: Any, examples: int, phases: tuple[Phase, ...]) -> None:
    seed = int(os.environ.get("PYKWORKER_STRESS_SEED", random.randrange(2**32)))
    print(f"PYKWORKER_STRESS_SEED={seed}")

    patience = [PATIENCE]

    def factory() -> Machine:
        return Machine(kw, patience)

    run_state_machine_as_test(
        hypothesis.seed(seed)(factory),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_random_calls_against_the_model(kw: Any) -> None:
    play(kw, EXAMPLES, (Phase.generate, Phase.shrink))


# --- the model finds what is wrong ---


class ModSaysTheOpposite(pure.Worker):
    def mod_delayed(self, work, delay):
        return not super().mod_delayed(work, delay)


class ModForgetsTheDelay(pure.Worker):
    def mod_delayed(self, work, delay):
        return super().mod_delayed(work, LONG if work.pending else delay)


class QueueCountsNothing(pure.Worker):
    def queue(self, work):
        return not work.pending and super().queue(work)


class QueueManyTurnsTheOrderRound(pure.Worker):
    def queue_many(self, works):
        return super().queue_many(reversed(works))


class FreezeIsForgotten(pure.Worker):
    def freeze(self, timeout=None):
        super().freeze(timeout)
        self.thaw()


class DestroyRunsNothing(pure.Worker):
    def destroy(self, timeout=None):
        core = self._core
        with core.lock:
            for work in list(core.works.values()):
                work.cancel(wait=False)
        super().destroy(timeout)


class CancelDoesNotEndTheTicks(pure.DelayedWork):
    __slots__ = ()

    def cancel(self, wait=True):
        answer = super().cancel(wait)
        return answer or self.executing


class DisableIsForgotten(pure.DelayedWork):
    __slots__ = ()

    def disable(self):
        answer = super().disable()
        self.enable()
        return answer


FAULTS = [
    ModSaysTheOpposite, ModForgetsTheDelay, QueueCountsNothing, QueueManyTurnsTheOrderRound,
    FreezeIsForgotten, DestroyRunsNothing, CancelDoesNotEndTheTicks, DisableIsForgotten,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_model_finds_a_fault(fault: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PATIENCE", LESS_PATIENCE)  # a fault may make it wait
    kw = SimpleNamespace(**{name: getattr(pure, name) for name in pure.__all__})
    setattr(kw, fault.__base__.__name__, fault)
    # Flaky is what hypothesis says of a fault that shows in one interleaving and not in the next.
    with pytest.raises((AssertionError, TimeoutError, hypothesis.errors.Flaky)):
        play(kw, 1000, (Phase.generate,))
