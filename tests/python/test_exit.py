# SPDX-License-Identifier: GPL-2.0-only
"""The interpreter's exit, each case in a process of its own."""

from __future__ import annotations

import pytest
from helpers import run_script

QUIET = ("-W", "ignore::ResourceWarning")


def check(result, *, out, code=0):
    assert result.stdout == out, result.stderr
    assert result.stderr == ""
    assert result.returncode == code


def test_queued_works_run_to_their_end(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker()
        gate = threading.Event()
        worker.queue(kw.Work(gate.wait))
        for number in range(100):
            worker.queue(kw.Work(print, number))
        gate.set()
        """,
    )
    check(result, out="".join(f"{number}\n" for number in range(100)))


def test_main_ends_while_a_callback_runs(kw):
    result = run_script(
        kw,
        """
        main_has_ended = threading.Event()
        def body():
            while not kw.should_stop():
                time.sleep(0.001)
            print("asked to stop")
        entered = threading.Event()
        worker = kw.Worker()
        worker.queue(kw.Work(entered.set))
        worker.queue(kw.Work(body))
        worker.queue(kw.Work(print, "and the rest"))
        entered.wait()
        print("main ends")
        """,
    )
    check(result, out="main ends\nasked to stop\nand the rest\n")


def test_worker_that_was_destroyed_leaves_nothing_to_do(kw):
    result = run_script(
        kw,
        """
        with kw.Worker() as worker:
            worker.queue(kw.Work(print, "ran"))
        print("main ends")
        """,
    )
    check(result, out="ran\nmain ends\n")


def test_idle_worker_never_destroyed_does_not_hinder(kw):
    result = run_script(kw, "workers = [kw.Worker() for _ in range(20)]\nprint('main ends')")
    check(result, out="main ends\n")


def test_worker_used_and_never_destroyed_does_not_hinder(kw):
    result = run_script(
        kw,
        """
        workers = [kw.Worker() for _ in range(20)]
        for worker in workers:
            work = kw.Work(int)
            worker.queue(work)
            work.flush()
        print("main ends")
        """,
    )
    check(result, out="main ends\n")


def test_dropped_worker_runs_what_is_pending(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker()
        gate = threading.Event()
        worker.queue(kw.Work(gate.wait))
        worker.queue(kw.Work(print, "ran"))
        del worker
        print("main ends")
        gate.set()
        """,
        *QUIET,
    )
    check(result, out="main ends\nran\n")


def test_frozen_worker_runs_what_is_pending(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker()
        worker.freeze()
        worker.queue(kw.Work(print, "ran"))
        print("main ends")
        """,
    )
    check(result, out="main ends\nran\n")


def test_worker_without_a_thread_drops_what_is_pending(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker(start=False)
        worker.queue(kw.Work(print, "never"))
        print("main ends")
        """,
    )
    check(result, out="main ends\n")


def test_worker_run_by_another_thread_runs_what_is_pending(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker(start=False)
        threading.Thread(target=worker.run).start()
        while not worker.is_alive():
            time.sleep(0.001)
        gate = threading.Event()
        worker.queue(kw.Work(gate.wait))
        worker.queue(kw.Work(print, "ran"))
        gate.set()
        """,
    )
    check(result, out="ran\n")


def test_work_that_requeues_itself_ends(kw):
    result = run_script(
        kw,
        """
        def again():
            try:
                worker.queue(work)
            except RuntimeError as error:
                print(error)
        worker = kw.Worker()
        work = kw.Work(again)
        worker.queue(work)
        """,
    )
    check(result, out="cannot schedule new futures after interpreter shutdown\n")


def test_queueing_after_exit_began_is_refused_in_the_words_for_it(kw):
    result = run_script(
        kw,
        """
        import atexit
        def late():
            for call in (lambda: worker.queue(kw.Work(int)), lambda: kw.Worker()):
                try:
                    call()
                except RuntimeError as error:
                    print(error)
        atexit.register(late)
        worker = kw.Worker()
        """,
    )
    lines = result.stdout.splitlines()
    assert lines[0] == "cannot schedule new futures after interpreter shutdown", result.stderr
    assert len(lines) == 2
    assert result.stderr == ""
    assert result.returncode == 0


def test_daemon_drops_what_is_pending_and_is_not_waited_for(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker(daemon=True)
        entered = threading.Event()
        worker.queue(kw.Work(lambda: (entered.set(), threading.Event().wait())))
        worker.queue(kw.Work(print, "never"))
        entered.wait()
        print("main ends", worker.daemon)
        """,
    )
    check(result, out="main ends True\n")


def test_daemon_that_computes_is_not_waited_for(kw):
    result = run_script(
        kw,
        """
        def compute():
            entered.set()
            while True:
                sum(range(1000))
        worker = kw.Worker(daemon=True)
        entered = threading.Event()
        worker.queue(kw.Work(compute))
        entered.wait()
        print("main ends")
        sys.exit(3)
        """,
    )
    check(result, out="main ends\n", code=3)


def test_idle_daemon_ends_in_silence(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker(daemon=True)
        work = kw.Work(print, "ran")
        worker.queue(work)
        work.flush()
        """,
    )
    check(result, out="ran\n")


def test_daemon_and_other_worker_together(kw):
    result = run_script(
        kw,
        """
        daemon, worker = kw.Worker(daemon=True), kw.Worker()
        entered, gate = threading.Event(), threading.Event()
        daemon.queue(kw.Work(lambda: (entered.set(), threading.Event().wait())))
        entered.wait()
        worker.queue(kw.Work(gate.wait))
        worker.queue(kw.Work(print, "ran"))
        gate.set()
        """,
    )
    check(result, out="ran\n")


@pytest.mark.parametrize("code", [0, 1, 42])
def test_exit_code_is_kept(kw, code):
    result = run_script(
        kw,
        f"""
        worker = kw.Worker()
        for number in range(10):
            worker.queue(kw.Work(print, number))
        sys.exit({code})
        """,
    )
    check(result, out="".join(f"{number}\n" for number in range(10)), code=code)


def test_uncaught_error_of_main_still_runs_what_is_pending(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker()
        gate = threading.Event()
        worker.queue(kw.Work(gate.wait))
        worker.queue(kw.Work(print, "ran"))
        gate.set()
        raise LookupError("the end of main")
        """,
    )
    assert result.stdout == "ran\n"
    assert result.stderr.count("Traceback") == 1
    assert "LookupError: the end of main" in result.stderr
    assert result.returncode == 1


def test_error_of_a_callback_at_exit_is_told_and_the_code_kept(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker()
        gate = threading.Event()
        def fail():
            raise LookupError("at exit")
        worker.queue(kw.Work(gate.wait))
        worker.queue(kw.Work(fail))
        worker.queue(kw.Work(print, "and on"))
        gate.set()
        """,
    )
    assert result.stdout == "and on\n"
    assert "Exception ignored in work" in result.stderr
    assert "LookupError: at exit" in result.stderr
    assert result.returncode == 0


@pytest.mark.parametrize("error", ["SystemExit(9)", "KeyboardInterrupt()"])
def test_exit_asked_for_by_a_callback_does_not_change_the_code(kw, error):
    result = run_script(
        kw,
        f"""
        worker = kw.Worker(on_error=lambda work, error: print(type(error).__name__))
        def fail():
            raise {error}
        worker.queue(kw.Work(fail))
        worker.queue(kw.Work(print, "and on"))
        """,
    )
    check(result, out=f"{error.partition('(')[0]}\nand on\n")


def test_buffered_output_is_whole(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker()
        for number in range(5000):
            worker.queue(kw.Work(sys.stdout.write, f"{number}\\n"))
        """,
        buffered=True,
    )
    check(result, out="".join(f"{number}\n" for number in range(5000)))


def test_worker_in_a_cycle_and_in_a_global_at_teardown(kw):
    result = run_script(
        kw,
        """
        class Holder:
            pass
        holder = Holder()
        holder.me = holder
        holder.worker = kw.Worker(on_error=lambda work, error: holder)
        @holder.worker.work
        def tick():
            print("ran")
        tick.queue()
        """,
    )
    check(result, out="ran\n")


def test_dropped_worker_gives_its_warning_and_ends(kw):
    result = run_script(kw, "kw.Worker('forgotten')\nprint('main ends')", "-W", "always")
    assert result.stdout == "main ends\n"
    assert "ResourceWarning" in result.stderr
    assert "forgotten" in result.stderr
    assert result.returncode == 0


def test_threads_that_flush_while_main_ends_return(kw):
    result = run_script(
        kw,
        """
        worker = kw.Worker()
        gate = threading.Event()
        works = [kw.Work(gate.wait)] + [kw.Work(int) for _ in range(20)]
        worker.queue_many(works)
        def flush(work):
            work.flush()
            sys.stdout.write("flushed\\n")  # in one piece, unlike print
        for work in works:
            threading.Thread(target=flush, args=(work,)).start()
        gate.set()
        """,
    )
    check(result, out="flushed\n" * 21)


@pytest.mark.timeout(120)
def test_exit_in_the_middle_of_a_storm(kw):
    for _ in range(5):
        result = run_script(
            kw,
            """
            workers = [kw.Worker() for _ in range(4)]
            def storm(worker):
                work = kw.Work(int)
                try:
                    while True:
                        worker.queue(work)
                except RuntimeError as error:
                    sys.stdout.write(f"{error}\\n")  # in one piece, unlike print
            for worker in workers:
                threading.Thread(target=storm, args=(worker,)).start()
            while any(worker.stats()["executed"] < 5 for worker in workers):
                time.sleep(0.001)
            """,
        )
        check(result, out="cannot schedule new futures after interpreter shutdown\n" * 4)


def test_many_daemons_leave_no_lock_of_threading_s_behind(kw):
    """A thread that the interpreter ends while it tells threading of itself takes a lock along."""
    source = """
    sys.setswitchinterval(1e-6)
    workers = [kw.Worker(daemon=True) for _ in range(24)]
    for worker in workers:
        worker.queue(kw.Work(int))
    """
    for _ in range(12):
        check(run_script(kw, source), out="")
