# SPDX-License-Identifier: GPL-2.0-only
"""Ctrl-C in every wait; signals and the worker's thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from helpers import LIMIT, run_script, script_command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent by os.kill")


def interrupt(kw, source):
    """Run *source*, send SIGINT as soon as it says ready; what it printed afterwards."""
    command, env = script_command(kw, source)
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
        process.wait()
    assert err == ""
    assert process.returncode == 0
    return out.splitlines()


HELD = """
worker = kw.Worker()
gate, entered = threading.Event(), threading.Event()
work, behind = kw.Work(lambda: (entered.set(), gate.wait())), kw.Work(print, "behind ran")
worker.queue_many([work, behind])
entered.wait()
"""


@pytest.mark.parametrize(
    "call",
    [
        "behind.flush()",
        "behind.flush(timeout=1000)",
        "work.flush()",
        "worker.flush()",
        "worker.flush(timeout=1000)",
        "worker.drain()",
        "worker.drain(timeout=1000)",
        "work.cancel()",
        "work.disable()",
        "worker.freeze()",
        "worker.stop()",
        "worker.destroy()",
        "worker.destroy(timeout=1000)",
    ],
)
def test_ctrl_c_ends_the_wait(kw, call):
    lines = interrupt(
        kw,
        HELD
        + f"""
try:
    print("ready")
    {call}
except KeyboardInterrupt:
    print("interrupted", behind.pending, work.executing)
else:
    print("returned")
gate.set()
worker.stop()
worker.thaw()
if "destroy" not in {call!r}:
    worker.start()
    behind.flush()
worker.destroy()
""",
    )
    if "destroy" in call:
        # The stop came before the list was empty; so the rest was dropped, or had run already.
        assert lines[0] == "interrupted True True"
    else:
        assert lines == ["interrupted True True", "behind ran"]


def test_ctrl_c_at_any_moment_of_a_call_leaves_the_worker_usable(kw):
    """An alarm stands for Ctrl-C, since it can be set to come a few microseconds later."""
    result = run_script(
        kw,
        """
        import faulthandler, random
        faulthandler.dump_traceback_later(20, exit=True)
        seed = int(os.environ.get("PYKWORKER_STRESS_SEED", random.randrange(2**32)))
        rng = random.Random(seed)
        armed = False
        def interrupt(*_):
            global armed
            if armed:
                armed = False
                raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, interrupt)
        worker = kw.Worker()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            entered, gate = threading.Event(), threading.Event()
            work = kw.Work(lambda: (entered.set(), gate.wait()))
            later = kw.DelayedWork(int)
            worker.queue(work)
            entered.wait()
            worker.queue(work)
            worker.queue_delayed(later, 1000)
            call = rng.choice([
                work.flush, later.flush, worker.flush, worker.drain, work.cancel, work.disable,
                worker.freeze, worker.stop,
            ])
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(5e-6, 1.5e-4))
                call()
                print("returned", call)
            except KeyboardInterrupt:
                pass
            stats = []
            other = threading.Thread(target=lambda: stats.append(worker.stats()))
            other.start()
            other.join()
            gate.set()
            worker.thaw()
            if call == worker.stop:
                worker.stop()
                worker.start()
            later.cancel()
            work.cancel()
            if stats[0]["executed"] < 1 or work.disabled or not worker.queue(work):
                print("unusable after", call, "seed", seed)
            worker.flush()
        worker.destroy()
        """,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_ctrl_c_in_a_with_block_waits_for_the_rest(kw):
    lines = interrupt(
        kw,
        """
        try:
            with kw.Worker() as worker:
                entered, gate = threading.Event(), threading.Event()
                worker.queue(kw.Work(lambda: (entered.set(), gate.wait(), print("gate"))))
                worker.queue(kw.Work(print, "ran"))
                entered.wait()
                try:
                    print("ready")
                    worker.flush()
                finally:
                    gate.set()
        except KeyboardInterrupt:
            print("interrupted", worker.is_alive())
        """,
    )
    assert lines == ["gate", "ran", "interrupted False"]


@pytest.mark.parametrize("where", ["sleep", "callback"])
def test_ctrl_c_ends_run(kw, where):
    lines = interrupt(
        kw,
        f"""
        worker = kw.Worker(start=False)
        where = {where!r}
        behind = kw.Work(print, "behind ran")
        def body():
            if where == "callback":
                worker.queue(behind)
                print("ready")
                threading.Event().wait()
        work = kw.Work(body)
        worker.queue(work)
        if where == "sleep":
            def tell():
                while not worker.stats()["sleeps"]:
                    time.sleep(0.001)
                print("ready")
            threading.Thread(target=tell).start()
        try:
            worker.run()
        except KeyboardInterrupt:
            print("interrupted", worker.is_alive(), work.executing, behind.pending)
        worker.queue(kw.Work(worker.stop))
        worker.run()
        worker.destroy()
        """,
    )
    expected = {
        "sleep": ["interrupted False False False"],
        "callback": ["interrupted False False True", "behind ran"],
    }
    assert lines == expected[where]


def test_ctrl_c_at_exit_while_a_callback_runs_does_not_crash(kw):
    command, env = script_command(
        kw,
        """
        worker = kw.Worker()
        def body():
            while not kw.should_stop():
                time.sleep(0.001)
            print("ready")
        worker.queue(kw.Work(body))
        """,
    )
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=LIMIT)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (0, 1, 130, -signal.SIGINT)


def test_workers_thread_blocks_all_signals(kw, worker):
    masks = []
    work = kw.Work(lambda: masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    worker.queue(work)
    work.flush()
    never = {signal.SIGKILL, signal.SIGSTOP}
    assert signal.valid_signals() - never <= masks[0]


def test_calling_threads_mask_is_left_alone(kw):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with kw.Worker() as worker:
        worker.queue(kw.Work(int))
    with kw.Worker(start=False) as worker:
        worker.queue(kw.Work(worker.stop))
        worker.run()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_signal_handler_runs_on_the_main_thread_while_it_flushes(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker()
        idents = []
        gate = threading.Event()
        def handler(*_):
            idents.append(threading.get_ident())
            gate.set()
        signal.signal(signal.SIGUSR1, handler)
        def body():
            os.kill(os.getpid(), signal.SIGUSR1)
            gate.wait()
        work = kw.Work(body)
        worker.queue(work)
        work.flush()
        worker.destroy()
        print(idents == [threading.main_thread().ident])
        """,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("True\n", "", 0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no setitimer here")
def test_signal_handler_queues_while_the_main_thread_queues_and_flushes(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker()
        ran = []
        asked = []
        tick = kw.Work(ran.append, 1)
        def handler(*_):
            asked.append(worker.queue(tick))
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        own = []
        count = 0
        while len(asked) < 200:
            work = kw.Work(own.append, 1)
            worker.queue(work)
            count += 1
            if count % 10 == 0:
                work.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)
        worker.flush()
        worker.destroy()
        print(len(own) == count, len(ran) == sum(asked))
        """,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("True True\n", "", 0)


def test_ctrl_c_in_on_queue_after_run_pending_is_reported(kw, unraisable):
    """The main thread served the worker a moment ago, and does so no more."""

    def on_queue(work):
        raise KeyboardInterrupt

    with kw.Worker(start=False) as worker:
        worker.queue(kw.Work(int))
        assert worker.run_pending() == 1
        worker.on_queue = on_queue
        assert worker.queue(kw.Work(int))
        worker.on_queue = None
        assert [(call.exc_type, call.object) for call in unraisable] == [
            (KeyboardInterrupt, on_queue)
        ]
        assert worker.run_pending() == 1


@pytest.mark.parametrize("call", ["worker.destroy()", "worker.shutdown()", "worker.__exit__()"])
def test_worker_is_destroyed_though_nobody_waits_for_its_end(kw, call):
    done = run_script(
        kw,
        HELD
        + f"""
import os, signal

def interrupt():
    try:
        while True:
            worker.queue(behind)
            time.sleep(0.0005)
    except RuntimeError:
        os.kill(os.getpid(), signal.SIGINT)

interrupter = threading.Thread(target=interrupt)
interrupter.start()
try:
    {call}
except KeyboardInterrupt:
    print(repr(worker))
interrupter.join()
gate.set()
worker.destroy()
""",
    )
    assert done.stderr == ""
    first, rest = done.stdout.split("\n", 1)
    assert first.startswith("<Worker '")
    assert first.endswith("' destroyed, 1 pending>")
    assert rest == "behind ran\n"
