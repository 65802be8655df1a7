# SPDX-License-Identifier: GPL-2.0-only
"""A worker whose one thread is somebody else's: run_pending() and fileno()."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import sys
import threading
import time

import pytest
from helpers import LIMIT, Background, Gate, hold, run_script, wait_until

HAS_THREAD = "^worker already has a thread$"
SERVES = "^this thread already serves a worker$"
SHUTDOWN = "^cannot schedule new futures after shutdown$"
LONG = 1000.0

linux = pytest.mark.skipif(sys.platform != "linux", reason="the descriptor is Linux's")


@pytest.fixture
def lazy(kw):
    """A worker without a thread."""
    with kw.Worker("lazy", start=False) as worker:
        yield worker


# --- run_pending ---


def test_runs_what_is_pending_in_order_on_the_calling_thread(kw, lazy):
    assert lazy.run_pending() == 0
    ran = []
    works = [kw.Work(lambda n=n: ran.append((n, threading.get_ident()))) for n in range(10)]
    lazy.queue_many(works)
    assert lazy.run_pending() == 10
    assert ran == [(number, threading.get_ident()) for number in range(10)]
    assert not any(work.pending or work.executing for work in works)
    assert lazy.run_pending() == 0
    assert lazy.stats()["executed"] == 10


def test_any_thread_may_call_it_one_after_the_other(kw, lazy):
    idents = []
    for _ in range(5):
        lazy.queue(kw.Work(lambda: idents.append(threading.get_ident())))
        assert Background(lazy.run_pending).result() == 1
    lazy.queue(kw.Work(lambda: idents.append(threading.get_ident())))
    assert lazy.run_pending() == 1
    assert idents[-1] == threading.get_ident()
    assert threading.get_ident() not in idents[:-1]


def test_what_callbacks_queue_is_left_for_the_next_call(kw, lazy):
    ran = []

    def body(number):
        ran.append(number)
        lazy.queue(kw.Work(body, number + 1))

    lazy.queue(kw.Work(body, 0))
    for count in range(1, 5):
        assert lazy.run_pending() == 1
        assert ran == list(range(count))
    assert lazy.stats()["pending"] == 1


def test_work_that_requeues_itself_runs_once_a_call(kw, lazy):
    work = kw.Work(lambda: lazy.queue(work))
    lazy.queue(work)
    assert [lazy.run_pending() for _ in range(5)] == [1] * 5
    assert work.pending


def test_works_whose_timer_has_run_out_are_among_them(kw, lazy):
    ran = []
    soon, late = kw.DelayedWork(ran.append, "soon"), kw.DelayedWork(ran.append, "late")
    lazy.queue_delayed(soon, 0.001)
    lazy.queue_delayed(late, LONG)
    wait_until(lambda: soon.remaining in (None, 0.0))
    lazy.queue(kw.Work(ran.append, "listed"))
    assert lazy.run_pending() == 2
    assert sorted(ran) == ["listed", "soon"]
    assert lazy.run_pending() == 0
    assert late.pending


def test_timer_never_comes_early(kw, lazy):
    ran = []
    work = kw.DelayedWork(lambda: ran.append(time.monotonic()))
    asked = time.monotonic()
    lazy.queue_delayed(work, 0.01)
    wait_until(lambda: lazy.run_pending())
    assert ran[0] >= asked + 0.01


def test_periodic_work_runs_once_a_tick(kw, lazy):
    ran = []
    beat = lazy.every(LONG, ran.append, 1)
    assert lazy.run_pending() == 0
    for count in range(1, 4):
        lazy.mod_delayed(beat, 0)
        assert lazy.run_pending() == 1
        assert len(ran) == count
        assert beat.remaining > LONG / 2
    beat.cancel()


def test_it_is_alive_in_the_meantime(kw, lazy):
    seen = []

    def body():
        seen.extend([lazy.is_alive(), lazy.ident, lazy.current_work, kw.current_work()])
        seen.append(kw.should_stop())

    work = kw.Work(body)
    lazy.queue(work)
    assert not lazy.is_alive()
    lazy.run_pending()
    assert seen == [True, threading.get_ident(), work, work, False]
    assert not lazy.is_alive()
    assert lazy.ident is None
    assert kw.current_work() is None
    with pytest.raises(RuntimeError):
        kw.should_stop()


def test_worker_with_a_thread_refuses(kw, worker):
    with pytest.raises(RuntimeError, match=HAS_THREAD):
        worker.run_pending()
    worker.stop()
    assert worker.run_pending() == 0
    worker.start()
    with pytest.raises(RuntimeError, match=HAS_THREAD):
        worker.run_pending()


def test_second_call_at_once_is_refused(kw, lazy):
    gate = Gate()
    lazy.queue(kw.Work(gate))
    runner = Background(lazy.run_pending)
    gate.wait_entered()
    for call in (lazy.run_pending, lazy.run, lazy.start):
        with pytest.raises(RuntimeError, match=HAS_THREAD):
            call()
    gate.open()
    assert runner.result() == 1


def test_callback_may_not_call_it(kw, worker, lazy):
    errors = []

    def body(which):
        try:
            which.run_pending()
        except RuntimeError as error:
            errors.append(str(error))

    work = kw.Work(body, lazy)
    worker.queue(work)
    work.flush()
    lazy.queue(kw.Work(body, lazy))
    assert lazy.run_pending() == 1
    assert errors[0] == "this thread already serves a worker"
    assert len(errors) == 2


def test_destroyed_worker_refuses(kw):
    worker = kw.Worker(start=False)
    worker.destroy()
    with pytest.raises(RuntimeError, match=SHUTDOWN):
        worker.run_pending()


def test_frozen_worker_runs_nothing(kw, lazy):
    lazy.freeze()
    lazy.queue_many(kw.Work(int) for _ in range(3))
    assert lazy.run_pending() == 0
    assert lazy.stats()["pending"] == 3
    lazy.thaw()
    assert lazy.run_pending() == 3


@pytest.mark.parametrize("verb", ["freeze", "stop"])
def test_freeze_and_stop_take_effect_between_two_works(kw, lazy, verb):
    gate = Gate()
    ran = []
    lazy.queue_many([kw.Work(gate), kw.Work(ran.append, 1)])
    runner = Background(lazy.run_pending)
    gate.wait_entered()
    caller = Background(getattr(lazy, verb))
    if verb == "freeze":
        wait_until(lambda: "frozen" in repr(lazy))
    else:
        with pytest.raises(TimeoutError):
            lazy.stop(timeout=0)
    gate.open()
    assert runner.result() == 1
    caller.result()
    assert ran == []
    lazy.thaw()
    assert lazy.run_pending() == 1
    assert ran == [1]


def test_stop_from_a_callback_ends_the_call(kw, lazy):
    lazy.queue_many([kw.Work(int), kw.Work(lazy.stop), kw.Work(int)])
    assert lazy.run_pending() == 2
    assert lazy.run_pending() == 1


def test_destroy_waits_for_the_running_callback(kw):
    worker = kw.Worker(start=False)
    gate = Gate()
    worker.queue(kw.Work(gate))
    runner = Background(worker.run_pending)
    gate.wait_entered()
    with pytest.raises(TimeoutError):
        worker.destroy(timeout=0)
    gate.open()
    worker.destroy()
    assert runner.result() == 1
    assert gate.runs == 1


def test_flusher_waits_until_somebody_calls_it(kw, lazy):
    work = kw.Work(int)
    lazy.queue(work)
    flushers = [Background(work.flush), Background(lazy.flush), Background(lazy.drain)]
    with pytest.raises(TimeoutError):
        work.flush(timeout=0.001)
    assert lazy.run_pending() == 1
    for flusher in flushers:
        flusher.result()


def test_callback_that_flushes_its_worker_is_told(kw, lazy):
    errors = []

    def body():
        try:
            lazy.flush()
        except kw.DeadlockError as error:
            errors.append(type(error))

    lazy.queue(kw.Work(body))
    lazy.run_pending()
    assert errors == [kw.DeadlockError]


def test_error_of_a_callback_does_not_end_it(kw, lazy, unraisable):
    def fail(error):
        raise error

    ran = []
    lazy.queue_many(
        [kw.Work(fail, ValueError()), kw.Work(fail, SystemExit()), kw.Work(ran.append, 1)]
    )
    assert lazy.run_pending() == 3
    assert ran == [1]
    assert [call.exc_type for call in unraisable] == [ValueError, SystemExit]


@pytest.mark.skipif(sys.platform == "win32", reason="signals as on Unix")
def test_ctrl_c_in_a_callback_ends_the_call_and_keeps_the_rest(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker(start=False)
        rest = kw.Work(print, "rest")
        worker.queue_many([kw.Work(signal.raise_signal, signal.SIGINT), rest])
        try:
            worker.run_pending()
        except KeyboardInterrupt:
            print("interrupted", rest.pending, worker.is_alive())
        print(worker.run_pending())
        worker.destroy()
        """,
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["interrupted True False", "rest", "1"]


# --- fileno ---


class Readable:
    """What select, poll and epoll say of the descriptor, which must be the same."""

    def __init__(self, worker):
        self.fd = worker.fileno()

    def __call__(self, timeout=0.0):
        by_select = bool(select.select([self.fd], [], [], timeout)[0])
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        by_poll = [events for _, events in poll.poll(0)]
        with select.epoll() as epoll:
            epoll.register(self.fd, select.EPOLLIN)
            by_epoll = bool(epoll.poll(0))
        assert by_poll in ([], [select.POLLIN])
        assert bool(by_poll) == by_epoll
        return by_epoll if timeout == 0 else by_select


@linux
def test_descriptor_is_readable_while_there_is_something_to_run(kw, lazy):
    readable = Readable(lazy)
    assert not readable()
    lazy.queue(kw.Work(int))
    assert readable()
    assert readable()
    lazy.queue(kw.Work(int))
    assert readable()
    assert lazy.run_pending() == 2
    assert not readable()
    assert lazy.run_pending() == 0
    assert not readable()


@linux
def test_descriptor_made_late_is_readable_at_once(kw, lazy):
    lazy.queue(kw.Work(int))
    readable = Readable(lazy)
    assert readable()
    lazy.run_pending()
    assert not readable()


@linux
def test_descriptor_is_the_same_at_every_call_and_needs_no_thread(kw, lazy):
    before = os.listdir("/proc/self/task")
    fd = lazy.fileno()
    assert type(fd) is int
    assert [lazy.fileno() for _ in range(3)] == [fd] * 3
    assert os.listdir("/proc/self/task") == before
    assert not os.get_inheritable(fd)


@linux
def test_descriptor_stays_readable_for_what_callbacks_queue(kw, lazy):
    readable = Readable(lazy)
    work = kw.Work(lambda: lazy.queue(work))
    lazy.queue(work)
    for _ in range(5):
        assert readable()
        assert lazy.run_pending() == 1
    assert readable()
    work.cancel()
    assert lazy.run_pending() == 0
    assert not readable()


@linux
def test_descriptor_is_readable_when_a_timer_runs_out(kw, lazy):
    readable = Readable(lazy)
    soon, late = kw.DelayedWork(int), kw.DelayedWork(int)
    lazy.queue_delayed(late, LONG)
    assert not readable()
    for _ in range(5):
        lazy.queue_delayed(soon, 0.003)
        assert readable(LIMIT)
        assert readable()
        wait_until(lambda: soon.remaining in (None, 0.0))
        assert lazy.run_pending() == 1
        assert not readable()
    lazy.mod_delayed(late, 0.001)
    assert readable(LIMIT)
    wait_until(lambda: lazy.run_pending() == 1)
    assert not readable()


@linux
def test_descriptor_is_readable_when_a_timer_is_cut_short(kw, lazy):
    readable = Readable(lazy)
    work = kw.DelayedWork(int)
    lazy.queue_delayed(work, LONG)
    flusher = Background(work.flush)
    assert readable(LIMIT)
    assert lazy.run_pending() == 1
    flusher.result()
    assert not readable()


@linux
def test_descriptor_of_a_frozen_worker_with_a_run_out_timer_shows_it_after_the_thaw(kw, lazy):
    readable = Readable(lazy)
    lazy.freeze()
    work = kw.DelayedWork(int)
    lazy.queue_delayed(work, 0.001)
    wait_until(lambda: work.remaining in (None, 0.0))
    assert lazy.run_pending() == 0
    lazy.thaw()
    assert readable(LIMIT)
    assert lazy.run_pending() == 1
    assert not readable()


@linux
def test_descriptor_wakes_another_thread(kw, lazy):
    ran = []
    ends = threading.Event()
    fd = lazy.fileno()

    def loop():
        while not ends.is_set():
            assert select.select([fd], [], [], LIMIT)[0]
            lazy.run_pending()

    server = Background(loop)
    for number in range(200):
        work = kw.Work(ran.append, number)
        lazy.queue(work)
        work.flush(LIMIT)
    lazy.queue(kw.Work(ends.set))
    server.result()
    assert ran == list(range(200))


@linux
def test_destroy_closes_the_descriptor(kw):
    worker = kw.Worker(start=False)
    fd = worker.fileno()
    worker.destroy()
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno is looked at
        os.fstat(fd)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(RuntimeError, match=SHUTDOWN):
        worker.fileno()


@linux
def test_no_descriptor_is_left(kw):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        worker = kw.Worker(start=False)
        worker.fileno()
        worker.queue(kw.Work(int))
        worker.destroy()
    assert len(os.listdir("/proc/self/fd")) <= before


@linux
def test_asyncio_loop_serves_a_worker(kw, lazy):
    idents = []

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.add_reader(lazy.fileno(), lazy.run_pending)
        try:
            later = kw.DelayedWork(lambda: done.set_result("later"))

            def body():
                idents.append(threading.get_ident())
                lazy.queue_delayed(later, 0.002)

            other = threading.Thread(target=lazy.queue, args=(kw.Work(body),))
            other.start()
            answer = await asyncio.wait_for(done, LIMIT)
            other.join()
            return answer
        finally:
            loop.remove_reader(lazy.fileno())

    assert asyncio.run(main()) == "later"
    assert idents == [threading.get_ident()]


@linux
def test_in_a_forked_child_it_is_refused_and_the_parent_notices_nothing(kw):
    result = run_script(
        kw,
        """
        import select
        worker = kw.Worker(start=False)
        fd = worker.fileno()
        work = kw.DelayedWork(print, "ran in the parent")
        worker.queue(kw.Work(int))
        worker.queue_delayed(work, 0.001)
        pid = os.fork()
        if pid == 0:
            for call in (worker.run_pending, worker.fileno):
                try:
                    call()
                except RuntimeError as error:
                    print(error)
            print(work.cancel())
            worker.destroy()
            with kw.Worker(start=False) as new:
                new.queue(kw.Work(int))
                print(new.run_pending(), bool(select.select([new.fileno()], [], [], 0)[0]))
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        while work.pending:
            print(bool(select.select([fd], [], [], 20)[0]))
            while work.remaining:
                pass
            worker.run_pending()
        print(bool(select.select([fd], [], [], 0)[0]))
        worker.destroy()
        """,
        "-W",
        "ignore::DeprecationWarning",
    )
    assert result.stderr == ""
    left_behind = "this worker was left behind in the parent process by fork"
    assert result.stdout.splitlines() == [
        *[left_behind] * 2, "True", "1 False", "True", "ran in the parent", "False",
    ]  # fmt: skip


@linux
def test_exit_with_a_descriptor_in_use(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker(start=False)
        worker.fileno()
        worker.queue(kw.Work(print, "never"))
        print("main ends")
        """,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("main ends\n", "", 0)


def test_worker_that_got_a_thread_runs_the_rest(kw, lazy):
    ran = []
    lazy.queue(kw.Work(ran.append, 1))
    lazy.run_pending()
    lazy.queue(kw.Work(ran.append, 2))
    lazy.start()
    lazy.flush()
    gate = hold(kw, lazy)
    gate.open()
    assert ran == [1, 2]
