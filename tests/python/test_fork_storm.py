# SPDX-License-Identifier: GPL-2.0-only
"""Forks of every kind, out of callbacks and beside them, in a storm of all that can be asked.

The parent loses nothing: all that it queued and did not cancel has run, once. The child is told
that the old workers are gone, and new ones work. Each case is a process of its own.
"""

from __future__ import annotations

import os
import textwrap

import pytest
from processes import run_until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
]

LIMIT = 60.0  # seconds; a storm is slow where others compute as well
QUIET = ("-W", "ignore::DeprecationWarning", "-W", "ignore::ResourceWarning")
LEFT_BEHIND = "this worker was left behind in the parent process by fork"

PROLOGUE = """
import concurrent.futures, multiprocessing, subprocess, traceback

signal.signal(signal.SIGALRM, signal.SIG_DFL)

def told(call, *args, **kwargs):
    try:
        return call(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def join(pid):
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        problems.append(f"a child ended with {code}")

def fork(child, *args):
    pid = os.fork()
    if pid == 0:
        signal.alarm(40)  # a child that hangs dies of it
        code = 1
        try:
            child(*args)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    join(pid)

problems = []

def new_worker_works():
    done = []
    with kw.Worker() as new:
        new.queue_many([kw.Work(done.append, number) for number in range(3)])
        delayed = kw.DelayedWork(done.append, 3)
        new.queue_delayed(delayed, 1000)
        delayed.flush()
        assert done == [0, 1, 2, 3], done
        new.freeze()
        new.thaw()
        new.drain()
        assert not new.queue_delayed(delayed, 1000) or delayed.cancel()
    assert not new.is_alive()
"""

STORM = """
class Storm:
    # Threads that queue, cancel, flush, disable and delay, on workers of their own and shared.
    def __init__(self, threads=3, workers=2):
        self.workers = [kw.Worker(f"storm {number}") for number in range(workers)]
        self.over = threading.Event()
        self.threads = [
            threading.Thread(target=self.body, args=(number,)) for number in range(threads)
        ]
        for thread in self.threads:
            thread.start()

    def body(self, number):
        try:
            self.blow(number)
        except BaseException:
            problems.append(traceback.format_exc())

    def blow(self, number):
        worker = self.workers[number % len(self.workers)]
        ran, wanted, rounds = [], 0, 0
        add = ran.append
        delayed = kw.DelayedWork(add, 1)
        beat = worker.every(0.0005, int)
        while not self.over.is_set():
            rounds += 1
            works = [kw.Work(add, 1) for _ in range(3)]
            wanted += worker.queue(works[0])
            wanted += worker.queue_many(works[1:])
            wanted -= works[rounds % 3].cancel()
            if rounds % 4 == 0:
                works[2].flush()
            wanted += worker.queue_delayed(delayed, 0.0002)
            if rounds % 3 == 0:
                wanted += not worker.mod_delayed(delayed, 0.0001)
            if rounds % 5 == 0:
                wanted -= delayed.cancel()
            if rounds % 7 == 0:
                worker.flush()
            if rounds % 11 == 0:
                wanted -= works[0].disable()
                assert not worker.queue(works[0])
                works[0].enable()
            if rounds % 2 == 0:
                futures = [worker.submit(add, 1) for _ in range(3)]
                wanted += 3 - futures[1].cancel()
                futures[2].result()
        wanted -= delayed.cancel()
        beat.cancel()
        worker.flush()
        if wanted != len(ran):
            problems.append(f"thread {number}: {wanted} wanted, {len(ran)} ran")

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        for worker in self.workers:
            worker.destroy()

    def in_child(self):
        for worker in self.workers:
            for call in (
                lambda: worker.queue(kw.Work(int)),
                lambda: worker.queue_many([kw.Work(int)]),
                lambda: worker.queue_delayed(kw.DelayedWork(int), 1),
                lambda: worker.every(1, int),
                worker.start,
            ):
                assert told(call) == f"RuntimeError: {LEFT_BEHIND}", told(call)
            # Out of one of its callbacks these may also say that they would wait for that.
            assert "Error: " in told(worker.freeze)
            assert "Error: " in told(worker.run_pending)
            assert told(worker.submit, int) == f"RuntimeError: {LEFT_BEHIND}"
            repr(worker), worker.stats(), worker.thaw(), worker.stop()
            assert not worker.is_alive()
            told(worker.destroy)
            told(worker.destroy)
        new_worker_works()

storm = Storm()
"""

EPILOGUE = """
storm.end()
print(problems or "sound")
"""


def storm(kw, source, *, before="", limit=LIMIT):
    head = f"LEFT_BEHIND = {LEFT_BEHIND!r}\n"
    parts = [head, PROLOGUE, before, STORM, textwrap.dedent(source), EPILOGUE]
    result = run_until(kw, "\n".join(parts), *QUIET, limit=limit)
    check(result, "sound\n")


def check(result, out):
    assert result.in_time, result.stderr
    assert (result.stdout, result.stderr, result.returncode) == (out, "", 0), result.stderr


def test_forks_from_everywhere(kw):
    """From main, from a thread, from callbacks of workers in the storm and beside it."""
    storm(
        kw,
        """
        sys.setswitchinterval(1e-5)  # so that forks come in the middle of everything
        def from_a_thread():
            for _ in range(30):
                fork(storm.in_child)
        thread = threading.Thread(target=from_a_thread)
        thread.start()
        beside = kw.Worker("beside")
        forks = []
        for worker in (beside, storm.workers[0]):
            for _ in range(15):
                forks.append(kw.Work(fork, storm.in_child))
                worker.queue(forks[-1])
            delayed = kw.DelayedWork(fork, storm.in_child)
            worker.queue_delayed(delayed, 0.0001)
            forks.append(delayed)
        for _ in range(30):
            fork(storm.in_child)
        for work in forks:
            work.flush()
        thread.join()
        beside.destroy()
        """,
    )


def test_forks_from_hooks_on_error_and_finalizers(kw):
    storm(
        kw,
        """
        beside = kw.Worker("beside", on_error=lambda work, error: fork(storm.in_child))
        class Last:
            def __del__(self):
                fork(storm.in_child)
        def fail():
            raise LookupError
        beside.queue(kw.Work(fail))
        beside.queue(kw.Work(lambda last: None, Last()))
        beside.flush()
        beside.on_start = beside.on_end = beside.on_queue = lambda work: fork(storm.in_child)
        beside.queue(kw.Work(int))
        beside.flush()
        beside.on_start = beside.on_end = beside.on_queue = None
        beside.destroy()
        """,
    )


def test_forks_in_the_midst_of_every_wait(kw):
    """One thread waits in each call there is, when the others fork."""
    storm(
        kw,
        """
        def waits(worker, work, other):
            return [
                work.flush, other.flush, worker.flush, worker.drain, work.cancel, work.disable,
                worker.freeze, worker.stop, worker.destroy,
            ]
        for number in range(9):
            gate, entered = threading.Event(), threading.Event()
            worker = kw.Worker("waited for")
            work = kw.Work(lambda: (entered.set(), gate.wait()))
            other = kw.DelayedWork(int)
            worker.queue(work)
            worker.queue_delayed(other, 1000)
            entered.wait()
            waiter = threading.Thread(target=waits(worker, work, other)[number])
            waiter.start()
            def child():
                assert LEFT_BEHIND in told(worker.queue, kw.Work(int)), number
                for call in (other.cancel, work.cancel, work.disable, worker.thaw, worker.stop):
                    told(call)
                worker.destroy()
                assert not other.pending
                with kw.Worker() as new:
                    assert new.queue_delayed(other, 0.0001)
                    other.flush()
                storm.in_child()
            for _ in range(3):
                fork(child)
            gate.set()
            worker.thaw()
            waiter.join()
            worker.thaw()
            worker.destroy()
        """,
    )


def test_subprocesses_in_a_storm(kw):
    """From callbacks and from other threads; with a preexec_fn the child runs Python first."""
    storm(
        kw,
        """
        def run(number):
            kwargs = {"preexec_fn": lambda: None} if number % 2 else {}
            code = f"print({number})"
            command = [sys.executable, "-I", "-S", "-c", code]
            if number % 3 == 0:
                command = ["/bin/echo", str(number)]
            out = subprocess.run(command, capture_output=True, timeout=50, check=True, **kwargs)
            if int(out.stdout) != number:
                problems.append(out)
            with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, **kwargs) as process:
                process.stdin.close()
                if process.wait(50):
                    problems.append("cat")
        beside = kw.Worker("beside")
        works = [kw.Work(run, number) for number in range(6)]
        beside.queue_many(works)
        for number in range(6, 12):
            run(number)
        storm.workers[0].queue(kw.Work(run, 12))
        beside.flush()
        storm.workers[0].flush()
        beside.destroy()
        """,
    )


def test_child_of_multiprocessing_ends_by_itself(kw):
    """With fork it runs what the interpreter's exit runs, though the workers are not its own."""
    storm(
        kw,
        """
        context = multiprocessing.get_context("fork")
        def child(queue):
            signal.alarm(40)
            storm.in_child()
            left = kw.Worker("for the exit")
            left.queue(kw.Work(queue.put, "from a worker of the child"))
        def start():
            queue = context.SimpleQueue()
            process = context.Process(target=child, args=(queue,))
            process.start()
            process.join(50)
            if process.exitcode:
                problems.append(f"exit code {process.exitcode}")
            elif queue.get() != "from a worker of the child":
                problems.append("something else in the queue")
        beside = kw.Worker("beside")
        for _ in range(3):
            beside.queue(kw.Work(start))
        for _ in range(3):
            start()
        beside.flush()
        beside.destroy()
        """,
    )


def test_process_pool_beside_a_worker(kw):
    """Its processes are forked one by one, while the storm goes on; from a callback as well."""
    storm(
        kw,
        """
        context = multiprocessing.get_context("fork")
        def use():
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                if list(pool.map(abs, range(-5, 0))) != [5, 4, 3, 2, 1]:
                    problems.append("the pool")
                if pool.submit(left_behind).result(50) != LEFT_BEHIND:
                    problems.append("the old worker")
                if pool.submit(work_in_child).result(50) != 7:
                    problems.append("the new worker")
        use()
        beside = kw.Worker("beside")
        beside.queue(kw.Work(use))
        beside.flush()
        beside.destroy()
        """,
        before="""
def left_behind():
    try:
        storm.workers[0].queue(kw.Work(int))
    except RuntimeError as error:
        return str(error)

def work_in_child():
    new_worker_works()
    return 7
""",
    )


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_process_of_another_start_method(kw, method, tmp_path):
    """It imports the main module anew, with the workers that this makes."""
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, os, signal, sys, threading
            import {kw.__name__} as kw

            worker = kw.Worker("of the module")

            def child(queue):
                signal.alarm(40)
                done = []
                work = kw.Work(done.append, os.getpid())
                worker.queue(work)
                work.flush()
                worker.queue(kw.Work(queue.put, done))

            def start(queue):
                process = context.Process(target=child, args=(queue,))
                process.start()
                process.join(50)
                print(process.exitcode, queue.get() == [process.pid])

            if __name__ == "__main__":
                context = multiprocessing.get_context({method!r})
                queue = context.SimpleQueue()
                start(queue)
                worker.queue(kw.Work(start, queue))
                worker.destroy()
            """
        )
    )
    result = run_until(
        kw,
        f"os.execv(sys.executable, [sys.executable, {str(script)!r}])",
        *QUIET,
        limit=LIMIT,
    )
    check(result, "0 True\n0 True\n")


def test_child_has_children_of_its_own(kw):
    storm(
        kw,
        """
        def grandchild(of_the_child):
            assert LEFT_BEHIND in told(of_the_child.queue, kw.Work(int))
            told(of_the_child.destroy)
            storm.in_child()
        def child():
            with kw.Worker() as own:
                gate = threading.Event()
                own.queue(kw.Work(gate.wait))
                own.queue(kw.Work(int))
                fork(grandchild, own)
                gate.set()
                own.queue(kw.Work(fork, grandchild, own))
            assert not problems, problems
        for _ in range(5):
            fork(child)
        """,
    )


def test_child_of_a_callback_destroys_the_worker(kw):
    """Its thread is in a callback of the parent's; nobody waits for anybody in the child."""
    result = run_until(
        kw,
        PROLOGUE
        + textwrap.dedent(
            """
            worker = kw.Worker()
            pending, delayed = kw.Work(print, "ran in the parent"), kw.DelayedWork(int)
            def child():
                worker.destroy()
                worker.destroy()
                assert not pending.pending
                assert not delayed.pending
                with kw.Worker() as new:
                    new.queue_many([kw.Work(os.write, 1, b"ran in the child\\n"), delayed])
                    new.flush()
            worker.queue_many([kw.Work(fork, child), pending])
            worker.queue_delayed(delayed, 1000)
            worker.flush()
            worker.destroy()
            print(problems)
            """
        ),
        *QUIET,
    )
    check(result, "ran in the child\nran in the parent\n[]\n")


def test_child_goes_on_out_of_the_callback(kw):
    """A callback forks, and the child returns from it: no work of the parent runs in the child."""
    result = run_until(
        kw,
        """
        parent = os.getpid()
        worker = kw.Worker()
        def callback():
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                return
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os.write(1, f"the child ended with {code}\\n".encode())
        def other():
            where = "parent" if os.getpid() == parent else "child"
            os.write(1, f"ran in the {where}\\n".encode())
        worker.queue_many([kw.Work(callback), kw.Work(other)])
        worker.destroy()
        """,
        *QUIET,
    )
    check(result, "the child ended with 0\nran in the parent\n")


def test_child_exits_out_of_the_callback(kw):
    """The same, with sys.exit on what is the child's only thread now: as the end of a thread."""
    result = run_until(
        kw,
        """
        worker = kw.Worker(on_error=lambda work, error: os.write(1, b"on_error\\n"))
        def callback():
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                with kw.Worker() as new:
                    new.queue(kw.Work(os.write, 1, b"ran in the child\\n"))
                sys.exit(3)
            os.waitpid(pid, 0)
        worker.queue_many([kw.Work(callback), kw.Work(os.write, 1, b"ran in the parent\\n")])
        worker.destroy()
        """,
        *QUIET,
    )
    check(result, "ran in the child\non_error\nran in the parent\n")


FUTURES = """
gate, entered = threading.Event(), threading.Event()
worker = kw.Worker()
running = worker.submit(lambda: (entered.set(), gate.wait()))
pending = worker.submit(int, "7")
entered.wait()
with kw.Worker() as other:
    finished = other.submit(int, "8")
    other.flush()
"""


def test_child_and_the_futures_of_the_parent(kw):
    head = f"LEFT_BEHIND = {LEFT_BEHIND!r}\n"
    result = run_until(
        kw,
        head
        + PROLOGUE
        + FUTURES
        + textwrap.dedent(
            """
            def child():
                for future in (running, pending):
                    assert told(future.result) == f"RuntimeError: {LEFT_BEHIND}"
                    assert told(future.result, 1) == f"RuntimeError: {LEFT_BEHIND}"
                    assert told(future.exception) == f"RuntimeError: {LEFT_BEHIND}"
                    assert not future.done()
                assert told(worker.submit, int) == f"RuntimeError: {LEFT_BEHIND}"
                assert LEFT_BEHIND in told(lambda: worker.map(int, "12"))
                assert finished.result() == 8
                assert told(worker.flush) == f"RuntimeError: {LEFT_BEHIND}"
                worker.shutdown()
                worker.shutdown(wait=False)
                worker.destroy()
                with kw.Worker() as new:
                    assert new.submit(int, "9").result() == 9
                    assert list(new.map(int, "123")) == [1, 2, 3]
                new_worker_works()
            fork(child)
            fork(lambda: (pending.cancel(), worker.shutdown(cancel_futures=True)))
            gate.set()
            assert pending.result() == 7
            assert running.result() == (None, True)
            worker.destroy()
            print(problems or "sound")
            """
        ),
        *QUIET,
    )
    check(result, "sound\n")


def test_child_cancels_a_future_of_the_parent(kw):
    """In the child it is cancelled, in the parent it is not."""
    result = run_until(
        kw,
        PROLOGUE
        + FUTURES
        + textwrap.dedent(
            """
            def child():
                assert pending.cancel()
                assert pending.cancelled()
                assert concurrent.futures.wait([pending], 0).done == {pending}
                worker.destroy()
            fork(child)
            gate.set()
            print(pending.result(), problems)
            worker.destroy()
            """
        ),
        *QUIET,
    )
    check(result, "7 []\n")


def test_child_of_a_full_worker(kw):
    """That it was left behind comes before that there is no room; nobody waits for room there."""
    result = run_until(
        kw,
        f"LEFT_BEHIND = {LEFT_BEHIND!r}\n"
        + PROLOGUE
        + textwrap.dedent(
            """
            import asyncio
            worker = kw.Worker(max_pending=1)
            gate, entered = threading.Event(), threading.Event()
            worker.queue(kw.Work(lambda: (entered.set(), gate.wait())))
            entered.wait()
            worker.queue(kw.Work(int))
            async def call():
                return await worker.call(int)
            def child():
                for ask in (
                    lambda: worker.queue(kw.Work(int)),
                    lambda: worker.queue_many([kw.Work(int)]),
                    lambda: worker.queue_delayed(kw.DelayedWork(int), 1),
                    lambda: worker.mod_delayed(kw.DelayedWork(int), 1),
                    lambda: worker.every(1, int),
                    lambda: worker.submit(int),
                    lambda: list(worker.map(int, "1")),
                    lambda: asyncio.run(call()),
                ):
                    assert told(ask) == f"RuntimeError: {LEFT_BEHIND}", told(ask)
            fork(child)
            gate.set()
            worker.destroy()
            print(problems)
            """
        ),
        *QUIET,
    )
    check(result, "[]\n")


def test_loop_of_the_child(kw):
    """asyncio in the child, with calls outstanding in the parent."""
    result = run_until(
        kw,
        PROLOGUE
        + textwrap.dedent(
            """
            import asyncio
            worker = kw.Worker()
            def child():
                async def main():
                    async with kw.Worker() as new:
                        assert await new.call(int, "7") == 7
                        await new.flushed()
                    return told_of(await asyncio.gather(worker.call(int), return_exceptions=True))
                def told_of(answers):
                    return str(answers[0])
                assert "left behind" in asyncio.run(main())
            async def main():
                gate = threading.Event()
                calls = [asyncio.create_task(worker.call(gate.wait))]
                calls += [asyncio.create_task(worker.call(int, "8")) for _ in range(3)]
                await asyncio.sleep(0)
                await asyncio.to_thread(fork, child)
                gate.set()
                print(await asyncio.gather(*calls), problems)
            asyncio.run(main())
            worker.destroy()
            """
        ),
        *QUIET,
    )
    check(result, "[True, 8, 8, 8] []\n")
