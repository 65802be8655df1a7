# SPDX-License-Identifier: GPL-2.0-only
"""Ctrl-C, a real SIGINT, in every call that waits: it ends the wait and nothing else.

The script sends it to itself, from a thread, when the main thread has come into the call: that is
seen from outside, never guessed by time. Were it sent a little early, it would still have to end
the call.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from helpers import LIMIT, script_command
from processes import run_all, run_until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent by pthread_kill"),
]

PROLOGUE = """
import asyncio, concurrent.futures

signal.signal(signal.SIGINT, signal.default_int_handler)

def enter(call):
    call()

def main_is_in_the_call():
    frame = sys._current_frames()[threading.main_thread().ident]
    innermost = frame
    while frame is not None and frame.f_code is not enter.__code__:
        frame = frame.f_back
    return frame is not None and frame is not innermost

def interrupt_main(come):
    # When come() says so, and main sleeps; or a while after: the call has to end either way.
    path = f"/proc/self/task/{threading.main_thread().native_id}/stat"
    asleep = 0
    while not come():
        time.sleep(0.0005)
    for _ in range(400):
        if asleep == 5:
            break
        if os.path.exists(path):
            with open(path, "rb") as stat:
                asleep = asleep + 1 if stat.read().rpartition(b") ")[2][:1] == b"S" else 0
        time.sleep(0.0005)
    os.kill(os.getpid(), signal.SIGINT)

def interrupted(call, come=None):
    # Whether Ctrl-C ended the call; what else it does is not caught. It comes when main is in
    # the call and come(), if given, says so.
    inside = lambda: main_is_in_the_call() and (come is None or come())
    thread = threading.Thread(target=interrupt_main, args=[inside])
    try:
        thread.start()
        enter(call)
        while True:
            time.sleep(1)  # it returned before Ctrl-C came
    except KeyboardInterrupt as error:
        traceback = error.__traceback__
        frames = []
        while traceback is not None:
            frames.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        return frames[2:] != []  # it was raised within the call
    finally:
        thread.join()

class Held:
    # A callback that sleeps until Ctrl-C comes, in what it is given.
    def __init__(self, sleep=None):
        self.entered = threading.Event()
        self.sleep = sleep or threading.Event().wait

    def __call__(self):
        self.entered.set()
        self.sleep()

def interrupted_in(held, call):
    return interrupted(call, held.entered.is_set)
"""

HELD = """
worker = kw.Worker("held")
gate, entered = threading.Event(), threading.Event()
work = kw.Work(lambda: (entered.set(), gate.wait()))
behind, later = kw.Work(int), kw.DelayedWork(int)
worker.queue_many([work, behind])
worker.queue_delayed(later, 1000)
entered.wait()
def state():
    stats = worker.stats()
    return (worker.is_alive(), work.executing, work.disabled, behind.pending, later.pending,
            stats["pending"], stats["delayed"], stats["executed"])
before = state()
assert before == (True, True, False, True, True, 1, 1, 1), before
"""

# The call; whether the state is as before it once it is interrupted; and what it gives when it is
# made again, the gate being open then.
CALLS = {
    "work.flush": ("work.flush()", True),
    "work.flush with a limit": ("work.flush(timeout=1000)", True),
    "flush of one behind": ("behind.flush()", True),
    "flush of a delayed one": ("later.flush()", False),  # its timer has been cut short
    "worker.flush": ("worker.flush()", True),
    "worker.flush with a limit": ("worker.flush(timeout=1000)", True),
    "drain": ("worker.drain()", True),
    "drain with a limit": ("worker.drain(timeout=1000)", True),
    "cancel": ("work.cancel()", True),
    "disable": ("work.disable()", True),
    "freeze": ("worker.freeze()", True),
    "freeze with a limit": ("worker.freeze(timeout=1000)", True),
    "stop": ("worker.stop()", False),
    "stop with a limit": ("worker.stop(timeout=1000)", False),
    "destroy": ("worker.destroy()", False),
    "destroy with a limit": ("worker.destroy(timeout=1000)", False),
    "with": ("worker.__exit__(None, None, None)", False),
}
FUTURE_CALLS = {
    "result": ("future.result()", "7"),
    "result with a limit": ("future.result(1000)", "7"),
    "exception": ("future.exception()", "None"),
    "exception with a limit": ("future.exception(1000)", "None"),
    "result of the running one": ("running.result()", "(None, True)"),
    "wait": ("len(concurrent.futures.wait([future, running]).done)", "2"),
    "as_completed": ("len(list(concurrent.futures.as_completed([future, running])))", "2"),
    "map": ("list(worker.map(int, '12'))", "[1, 2]"),
    "map with a limit": ("list(worker.map(int, '12', timeout=1000))", "[1, 2]"),
    "map, few in flight": ("list(worker.map(int, '123', buffersize=1))", "[1, 2, 3]"),
    "map, some at a time": ("list(worker.map(int, '123', chunksize=2))", "[1, 2, 3]"),
    "shutdown": ("worker.shutdown()", "None"),
    "call": ("asyncio.run(call())", "7"),
    "flushed": ("asyncio.run(flushed())", "None"),
    "work.flushed": ("asyncio.run(work_flushed())", "None"),
    "async with": ("asyncio.run(async_with())", "None"),
}


def run_cases(kw, cases):
    """Each case a source that prints "sound"; all complaints of all at once."""
    results = run_all(
        {
            name: lambda source=source: run_until(
                kw, PROLOGUE + source, "-W", "ignore::ResourceWarning"
            )
            for name, source in cases.items()
        }
    )
    wrong = {
        name: (result.in_time, result.returncode, result.stdout, result.stderr)
        for name, result in results.items()
        if not result.in_time
        or (result.returncode, result.stdout, result.stderr) != (0, "sound\n", "")
    }
    assert not wrong, "\n".join(
        f"{name}: in time: {in_time}, code {code}\n{out}\n{err}"
        for name, (in_time, code, out, err) in wrong.items()
    )


def test_it_ends_the_wait_which_can_be_begun_again(kw):
    run_cases(
        kw,
        {
            name: HELD
            + textwrap.dedent(
                f"""
                def call():
                    {call}
                for _ in range(3):
                    assert interrupted(call)
                    assert not {unchanged} or state() == before, state()
                    assert work.executing and behind.pending and not work.disabled
                gate.set()
                call()
                worker.thaw()
                worker.stop()
                if "destroy" not in {call!r} and "exit" not in {call!r}:
                    worker.start()
                    if work.disabled:
                        assert work.enable()
                    worker.flush()
                    assert not behind.pending
                    ran = []
                    again = kw.Work(ran.append, 1)
                    assert worker.queue(work) and worker.queue(again)
                    again.flush()
                    assert ran == [1]
                worker.destroy()
                print("sound")
                """
            )
            for name, (call, unchanged) in CALLS.items()
        },
    )


def test_it_ends_the_wait_for_a_future(kw):
    run_cases(
        kw,
        {
            name: textwrap.dedent(
                f"""
                worker = kw.Worker("held")
                gate, entered = threading.Event(), threading.Event()
                running = worker.submit(lambda: (entered.set(), gate.wait()))
                future = worker.submit(int, "7")
                work = kw.Work(int)
                worker.queue(work)
                entered.wait()
                async def call():
                    return await worker.call(int, "7")
                async def flushed():
                    return await worker.flushed()
                async def work_flushed():
                    return await work.flushed()
                async def async_with():
                    async with worker:
                        pass
                for _ in range(3):
                    assert interrupted(lambda: {call})
                    assert running.running()
                    assert not future.done() and not future.running()
                    assert work.pending
                    # What the interrupted map and call had submitted is off the list.
                    assert worker.stats()["pending"] == 2, worker.stats()
                gate.set()
                assert str({call}) == {answer!r}
                assert future.result() == 7
                assert running.result() == (None, True)
                if worker.is_alive():
                    assert worker.submit(int, "8").result() == 8
                worker.destroy()
                assert not work.pending
                print("sound")
                """
            )
            for name, (call, answer) in FUTURE_CALLS.items()
        },
    )


SERVED = {
    "run, asleep": """
        assert interrupted(worker.run)
        assert interrupted(worker.run)
    """,
    "run, in a callback": """
        held = Held()
        worker.queue(kw.Work(held))
        worker.queue(behind)
        assert interrupted_in(held, worker.run)
        assert behind.pending
        worker.queue(kw.Work(worker.stop))
        worker.run()
    """,
    "run, in a native work": """
        libc = __import__("ctypes").CDLL(None)
        libc.usleep.argtypes = None
        worker.queue(kw.NativeWork(libc.usleep, 300000))
        worker.queue(behind)
        assert interrupted(worker.run)
        worker.queue(kw.Work(worker.stop))
        worker.run()
    """,
    "run, frozen": """
        worker.freeze()
        worker.queue(behind)
        assert interrupted(worker.run)
        assert behind.pending
        worker.thaw()
        worker.queue(kw.Work(worker.stop))
        worker.run()
    """,
    "run, a delayed one is armed": """
        delayed = kw.DelayedWork(int)
        worker.queue_delayed(delayed, 1000)
        assert interrupted(worker.run)
        assert delayed.cancel()
    """,
    "run_pending": """
        held = Held()
        worker.queue(kw.Work(held))
        worker.queue(behind)
        assert interrupted_in(held, worker.run_pending)
        assert behind.pending
        assert worker.run_pending() == 1
    """,
    "a wait in a callback of run": """
        with kw.Worker() as other:
            gate = threading.Event()
            began = threading.Event()
            gated = kw.Work(lambda: (began.set(), gate.wait()))
            other.queue(gated)
            began.wait()
            held = Held(gated.flush)
            worker.queue(kw.Work(held))
            worker.queue(behind)
            try:
                assert interrupted_in(held, worker.run)
                assert gated.executing and behind.pending
            finally:
                gate.set()
        worker.queue(kw.Work(worker.stop))
        worker.run()
    """,
    "a callback that catches it": """
        caught = []
        held = Held()
        def body():
            try:
                held()
            except KeyboardInterrupt:
                caught.append(1)
                worker.stop()
        worker.queue(kw.Work(body))
        thread = threading.Thread(target=interrupt_main, args=[held.entered.is_set])
        thread.start()
        worker.run()
        thread.join()
        assert caught == [1]
    """,
}
SERVED_CALLS = {
    # The future has it, and run() ends by it.
    "a submitted call in run": """
        held = Held()
        future = worker.submit(held)
        worker.queue(behind)
        assert interrupted_in(held, worker.run)
        assert isinstance(future.exception(0), KeyboardInterrupt)
        assert behind.pending
        assert worker.run_pending() == 1
    """,
    "a submitted call in run_pending": """
        held = Held()
        future = worker.submit(held)
        second = worker.submit(int, "7")
        assert interrupted_in(held, worker.run_pending)
        assert isinstance(future.exception(0), KeyboardInterrupt)
        assert not second.done()
        assert worker.run_pending() == 1
        assert second.result(0) == 7
    """,
    "an initializer in run": """
        import logging
        logging.getLogger("concurrent.futures").addHandler(logging.NullHandler())
        held = Held()
        initialized = kw.Worker(start=False, initializer=held)
        assert interrupted_in(held, initialized.run)
        initialized.destroy()
    """,
}


@pytest.mark.parametrize("cases", [SERVED, SERVED_CALLS], ids=["works", "calls"])
def test_it_ends_what_the_main_thread_serves(kw, cases):
    head = """
worker = kw.Worker(start=False)
behind = kw.Work(int)
"""
    tail = """
assert not worker.is_alive()
ran = []
worker.queue(kw.Work(ran.append, 1))
assert worker.run_pending() >= 1 and ran == [1]
assert not behind.pending
worker.destroy()
print("sound")
"""
    run_cases(kw, {name: head + textwrap.dedent(body) + tail for name, body in cases.items()})


def test_it_ends_flush_when_the_worker_is_frozen_or_has_no_thread(kw):
    run_cases(
        kw,
        {
            "frozen": """
worker = kw.Worker()
worker.freeze()
work = kw.Work(int)
worker.queue(work)
for call in (work.flush, worker.flush, worker.drain):
    assert interrupted(call)
    assert work.pending
worker.thaw()
work.flush()
worker.destroy()
print("sound")
""",
            "no thread": """
worker = kw.Worker(start=False)
work = kw.Work(int)
worker.queue(work)
for call in (work.flush, worker.flush, worker.drain):
    assert interrupted(call)
    assert work.pending
worker.start()
work.flush()
worker.destroy()
print("sound")
""",
        },
    )


STORM = """
import faulthandler, random
faulthandler.dump_traceback_later(60, exit=True)
seed = int(os.environ.get("PYKWORKER_STRESS_SEED", random.randrange(2**32)))
rng = random.Random(seed)
worker = kw.Worker("storm")
over = threading.Event()
sent, caught, ran, noted, futures = 0, 0, [], [], []

def interrupt(*_):
    # Once for each time that main is ready for it, wherever it is then; not in its handlers.
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

armed = False
signal.signal(signal.SIGINT, interrupt)

def rain():
    global sent
    chance = random.Random(seed + 1)
    for _ in range(COUNT):
        time.sleep(chance.expovariate(1 / 0.001))
        sent += 1
        os.kill(os.getpid(), signal.SIGINT)
    over.set()

def note(outcome, number):
    noted.append((number, outcome))

def one_round(number):
    # Whatever is interrupted, the number of runs is that of queueings that were told True and of
    # those of which nothing was told, since the interrupt came on the way back.
    work = works[number % len(works)]
    kind = number % 4
    if kind == 0:
        worker.queue(work)
        work.flush()
    elif kind == 1:
        worker.queue(work)
        work.cancel()
        worker.flush()
    elif kind == 2:
        worker.queue_delayed(later, 0.0001)
        later.flush()
        worker.drain()
    else:
        ROUND

works = [kw.Work(ran.append, number) for number in range(3)]
later = kw.DelayedWork(ran.append, 3)
thread = threading.Thread(target=rain)
number = 0
thread.start()
while not over.is_set():
    try:
        armed = True
        while not over.is_set():
            number += 1
            one_round(number)
        armed = False
    except KeyboardInterrupt:
        caught += 1
thread.join()
signal.signal(signal.SIGINT, signal.SIG_IGN)
# Nothing is stuck, and each run that was begun or dropped is in the counters.
worker.flush()
later.flush()
stats = worker.stats()
assert stats["pending"] == stats["delayed"] == 0, (stats, seed)
assert stats["queued"] >= stats["executed"] == len(ran) + EXTRA, (stats, len(ran), seed)
assert not any(work.pending or work.executing or work.disabled for work in [*works, later]), seed
assert 0 < caught <= sent == COUNT, (caught, sent, seed)
for work in [*works, later]:  # none is left in a cancel that nobody waits for any more
    before = len(ran)
    assert worker.queue(work), (work, seed)
    work.flush()
    assert len(ran) == before + 1, (work, seed)
CHECK
worker.destroy()
faulthandler.cancel_dump_traceback_later()
print("sound")
"""


def storm(kw, count, body, extra, check):
    source = STORM.replace("COUNT", str(count)).replace("ROUND", body)
    source = source.replace("EXTRA", extra).replace("CHECK", check)
    run_cases(kw, {f"storm {number}": source for number in range(2)})


def test_it_rains_while_main_queues_flushes_and_cancels(kw):
    storm(kw, 400, "worker.queue(work); worker.flush()", "0", "")


def test_it_rains_while_main_submits(kw):
    """Every future that main got hold of is done, and so is every other one that there was."""
    storm(
        kw,
        400,
        "futures.append(worker.submit(note, 'ran', number)); futures[-1].result()",
        "len(noted)",
        "assert all(future.done() for future in futures)\n"
        "assert len(set(noted)) == len(noted) >= len(futures), seed\n"
        "assert worker.submit(int, '7').result() == 7",
    )


@pytest.mark.parametrize("interrupts", [1, 2, 20])
def test_it_comes_while_the_exit_waits(kw, interrupts):
    """It may cut the wait for the workers short; it neither crashes nor hangs."""
    command, env = script_command(
        kw,
        """
        workers = [kw.Worker() for _ in range(3)]
        def body():
            while not kw.should_stop():
                time.sleep(0.001)
            print("ready")
            time.sleep(0.05)
        workers[0].queue(kw.Work(body))
        for worker in workers:
            worker.queue(kw.Work(int))
        """,
    )
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        for _ in range(interrupts):  # the process is a zombie at the least, until it is waited for
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.001)
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
        process.wait()
    assert out == ""
    assert "Fatal" not in err
    assert process.returncode in (0, 1, 120, -signal.SIGINT), err
