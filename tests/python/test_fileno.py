# SPDX-License-Identifier: GPL-2.0-only
"""What the descriptor of a worker shows when threads of its own come and go, and after a fork."""

from __future__ import annotations

import select
import sys
from typing import Any

import pytest
from helpers import LIMIT, Background, hold, run_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fileno() is for Linux")


def is_readable(worker: Any, seconds: float = 0.0) -> bool:
    return bool(select.select([worker.fileno()], [], [], seconds)[0])


def test_it_shows_what_is_queued_after_a_thread_has_gone(kw: Any) -> None:
    with kw.Worker(start=False) as worker:
        assert not is_readable(worker)
        worker.start()
        worker.stop()
        worker.queue(kw.Work(int))
        assert is_readable(worker)
        assert worker.run_pending() == 1
        assert not is_readable(worker)


def test_it_shows_what_a_thread_has_left_pending(kw: Any) -> None:
    with kw.Worker(start=False) as worker:
        assert not is_readable(worker)
        worker.start()
        gate = hold(kw, worker)
        stopping = Background(worker.stop)
        while not stopped(worker):
            pass
        worker.queue(kw.Work(int))
        gate.open()
        stopping.result()
        assert is_readable(worker)
        assert worker.run_pending() == 1


def stopped(worker: Any) -> bool:
    """Has the thread been asked to leave? A stop that only looks says so, and asks as well."""
    with pytest.raises(TimeoutError):
        worker.stop(0)
    return True


def test_it_shows_a_timer_that_a_thread_has_left_running(kw: Any) -> None:
    with kw.Worker(start=False) as worker:
        assert not is_readable(worker)
        worker.start()
        gate = hold(kw, worker)
        worker.queue_delayed(kw.DelayedWork(int), 0.001)
        stopped(worker)
        gate.open()
        worker.stop()
        assert is_readable(worker, LIMIT)
        assert worker.run_pending() == 1


def test_it_shows_nothing_while_a_thread_serves(kw: Any) -> None:
    with kw.Worker(start=False) as worker:
        late = kw.DelayedWork(int)
        worker.queue_delayed(late, 0.001)
        assert is_readable(worker, LIMIT)
        work = kw.Work(int)
        worker.queue(work)
        worker.start()
        late.flush()
        work.flush()
        assert not is_readable(worker)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_leaves_the_descriptor_to_the_parent(kw: Any) -> None:
    """The timer behind it is shared: the child's would take the place of the parent's."""
    source = """
        import select
        worker = kw.Worker(start=False)
        fd = worker.fileno()
        parent = os.getpid()
        wait_here, go_on = os.pipe()

        def fork():
            worker.queue_delayed(kw.DelayedWork(int), 1000.0)
            if not os.fork():
                os.read(wait_here, 1)

        worker.queue(kw.Work(fork))
        try:
            worker.run_pending()
        finally:
            if os.getpid() != parent:
                os._exit(0)
        worker.queue_delayed(kw.DelayedWork(int), 0.001)
        os.write(go_on, b".")
        os.wait()
        print(bool(select.select([fd], [], [], 20.0)[0]), worker.run_pending())
        worker.destroy()
    """
    result = run_script(kw, source)
    assert result.stdout == "True 1\n", result.stderr


def test_it_is_told_and_made_while_a_thread_serves(kw: Any) -> None:
    """An event loop asks for it in a callback, say, to stop watching it."""
    with kw.Worker(start=False) as worker:
        told: list[int] = []
        worker.queue(kw.Work(lambda: told.append(worker.fileno())))
        assert worker.run_pending() == 1
        assert told == [worker.fileno()]
        worker.queue(kw.Work(lambda: told.append(worker.fileno())))
        assert worker.run_pending() == 1
        assert told == [worker.fileno()] * 2
        worker.queue(kw.Work(int))
        assert is_readable(worker)
