# SPDX-License-Identifier: GPL-2.0-only
"""Fork, each case in a process of its own. What the child finds out, it prints."""

from __future__ import annotations

import os

import pytest
from helpers import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

LEFT_BEHIND = "this worker was left behind in the parent process by fork"
PROLOGUE = """
def told(call, *args, **kwargs):
    try:
        return call(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def fork(child):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
"""


def run(kw, source):
    import textwrap

    result = run_script(kw, PROLOGUE + textwrap.dedent(source), "-W", "ignore::DeprecationWarning")
    assert result.stderr == ""
    assert result.returncode == 0
    return result.stdout.splitlines()


def test_child_is_told_that_its_worker_is_gone(kw):
    lines = run(
        kw,
        """
        worker = kw.Worker()
        gate, entered = threading.Event(), threading.Event()
        executing = kw.Work(lambda: (entered.set(), gate.wait()))
        pending, idle = kw.Work(print, "ran in the parent"), kw.Work(int)
        worker.queue_many([executing, pending])
        entered.wait()
        def child():
            print(told(worker.queue, idle))
            print(told(worker.queue, pending))
            print(told(worker.queue_many, [idle]))
            print(told(pending.flush))
            print(told(worker.run))
            print(told(worker.start))
            print(told(worker.freeze))
            print(told(idle.flush), worker.is_alive(), worker.ident, worker.native_id)
            print(told(worker.thaw), told(worker.stop))
            repr(worker), repr(pending), worker.stats()
        fork(child)
        gate.set()
        worker.destroy()
        """,
    )
    assert lines[:7] == [f"RuntimeError: {LEFT_BEHIND}"] * 7
    assert lines[7:] == ["None False None None", "None None", "ran in the parent"]


def test_child_destroys_an_old_worker_without_a_hang(kw):
    lines = run(
        kw,
        """
        busy, idle, frozen, none = kw.Worker(), kw.Worker(), kw.Worker(), kw.Worker(start=False)
        gate, entered = threading.Event(), threading.Event()
        pending = kw.Work(print, "ran in the parent")
        busy.queue_many([kw.Work(lambda: (entered.set(), gate.wait())), pending])
        entered.wait()
        frozen.freeze()
        def child():
            for worker in (busy, idle, frozen, none):
                print(told(worker.destroy), told(worker.destroy))
            print(pending.pending)
        fork(child)
        gate.set()
        for worker in (busy, idle, frozen, none):
            worker.destroy()
        """,
    )
    assert lines == ["None None"] * 4 + ["False", "ran in the parent"]


def test_child_cancels_old_works_without_a_hang(kw):
    lines = run(
        kw,
        """
        worker = kw.Worker()
        gate, entered = threading.Event(), threading.Event()
        executing = kw.Work(lambda: (entered.set(), gate.wait()))
        pending, idle = kw.Work(print, "ran in the parent"), kw.Work(int)
        armed = kw.DelayedWork(int)
        worker.queue_many([executing, pending])
        worker.queue_delayed(armed, 1000)
        beat = worker.every(1000, int)
        entered.wait()
        def child():
            for call in (worker.drain, worker.run_pending, worker.fileno):
                print(told(call))
            print(told(worker.queue_delayed, kw.DelayedWork(int), 1))
            print(told(worker.mod_delayed, armed, 1))
            print(told(worker.every, 1, int))
            for work in (pending, armed, beat, idle):
                print(told(work.cancel), work.pending, told(work.cancel, wait=False))
            told(executing.cancel)
            told(executing.disable)
            with kw.Worker(start=False) as new:
                print(new.queue(pending), new.queue_delayed(armed, 0))
        fork(child)
        print(armed.pending, beat.pending)
        gate.set()
        worker.destroy()
        """,
    )
    assert lines[:6] == [f"RuntimeError: {LEFT_BEHIND}"] * 6
    assert lines[6:10] == ["True False False"] * 3 + ["False False False"]
    assert lines[10] == "True True"
    assert lines[-2:] == ["True True", "ran in the parent"]


def test_child_may_queue_a_work_that_another_thread_was_cancelling(kw):
    lines = run(
        kw,
        """
        worker = kw.Worker()
        gate, entered = threading.Event(), threading.Event()
        work = kw.Work(lambda: (entered.set(), gate.wait(), print("ran")))
        worker.queue(work)
        entered.wait()
        canceller = threading.Thread(target=work.cancel)
        canceller.start()
        while worker.queue(work) or work.pending:
            time.sleep(0.001)
        def child():
            worker.destroy()
            gate.set()
            with kw.Worker() as new:
                queued = new.queue(work)
                work.flush()
                print(queued)
        fork(child)
        gate.set()
        canceller.join()
        worker.destroy()
        """,
    )
    assert lines == ["ran", "True", "ran"]


def test_new_worker_works_in_the_child(kw):
    lines = run(
        kw,
        """
        old = kw.Worker()
        work = kw.Work(print, "ran")
        old.queue(work)
        old.flush()
        def child():
            with kw.Worker() as new:
                new.queue(work)
                work.flush()
                new.freeze()
                new.thaw()
                new.flush()
                print(new.is_alive())
        fork(child)
        fork(child)
        old.queue(work)
        old.destroy()
        """,
    )
    assert lines == ["ran", "ran", "True", "ran", "True", "ran"]


def test_work_pending_in_the_parent_works_in_the_child_after_destroy(kw):
    lines = run(
        kw,
        """
        old = kw.Worker()
        old.freeze()
        work = kw.Work(lambda: print("ran in", "child" if os.getpid() != parent else "parent"))
        parent = os.getpid()
        old.queue(work)
        def child():
            old.destroy()
            with kw.Worker() as new:
                new.queue(work)
        fork(child)
        old.destroy()
        """,
    )
    assert lines == ["ran in child", "ran in parent"]


def test_child_ends_by_itself(kw):
    lines = run(
        kw,
        """
        worker = kw.Worker()
        gate, entered = threading.Event(), threading.Event()
        worker.queue_many([kw.Work(lambda: (entered.set(), gate.wait())), kw.Work(print, "ran")])
        entered.wait()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            with kw.Worker() as new:
                new.queue(kw.Work(print, "child"))
            last = kw.Worker()
            last.queue(kw.Work(print, "at exit"))
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        gate.set()
        """,
    )
    assert lines == ["child", "at exit", "5", "ran"]


def test_callback_forks(kw):
    lines = run(
        kw,
        """
        worker = kw.Worker()
        def child():
            print(told(worker.queue, kw.Work(int)))
            print(told(worker.destroy))
            with kw.Worker() as new:
                new.queue(kw.Work(print, "ran"))
        work = kw.Work(fork, child)
        worker.queue(work)
        work.flush()
        worker.queue(kw.Work(print, "parent goes on"))
        worker.destroy()
        """,
    )
    assert lines[0] == f"RuntimeError: {LEFT_BEHIND}"
    assert lines[2:] == ["ran", "parent goes on"]


@pytest.mark.timeout(120)
def test_parent_forks_in_a_storm_of_queueing(kw):
    lines = run(
        kw,
        """
        sys.setswitchinterval(1e-5)  # so that forks come in the middle of everything
        workers = [kw.Worker() for _ in range(2)]
        counts = [0] * 4
        ran = [0] * 4
        over = threading.Event()
        def run(number):
            ran[number] += 1
        def storm(number):
            worker = workers[number % 2]
            while not over.is_set():
                work = kw.Work(run, number)
                worker.queue(work)
                counts[number] += 1
                if counts[number] % 50 == 0:
                    work.flush()
        threads = [threading.Thread(target=storm, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        def child():
            for worker in workers:
                assert "left behind" in told(worker.queue, kw.Work(int))
                assert told(worker.destroy) is None
            done = []
            with kw.Worker() as new:
                new.queue(kw.Work(done.append, 1))
            assert done == [1]
        for _ in range(30):
            fork(child)
        over.set()
        for thread in threads:
            thread.join()
        for worker in workers:
            worker.destroy()
        print(counts == ran)
        """,
    )
    assert lines == ["True"]


def test_call_that_is_being_dropped_by_a_destroy_when_its_worker_is_left_behind(kw):
    """A destructor forks: the calls that are let go of are on no list any more."""
    lines = run(
        kw,
        """
        import concurrent.futures
        class Forks:
            def __del__(self):
                fork(child)
        def child():
            for future in futures:
                try:
                    future.result(5)
                except TimeoutError:
                    print("nobody knows")
                except (RuntimeError, concurrent.futures.CancelledError):
                    print("told")
        worker = kw.Worker(start=False)
        futures = [worker.submit(int), worker.submit(int, Forks()), worker.submit(int)]
        worker.destroy()
        print([future.cancelled() for future in futures])
        """,
    )
    assert lines == ["told"] * 3 + ["[True, True, True]"]
