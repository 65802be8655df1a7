# SPDX-License-Identifier: GPL-2.0-only
"""The worker's thread as others see it: threading, tracing, profilers, debuggers, coverage."""

from __future__ import annotations

import faulthandler
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import threading
import traceback
from pathlib import Path

import pytest
from helpers import LIMIT, hold, run_script, script_command


def traced_callback():
    inner = 1
    return inner + 1


def run(kw, worker, fn):
    """Once as a work and once as a call."""
    work = kw.Work(fn)
    worker.queue(work)
    work.flush()
    worker.submit(fn).result()


# -- threading


def test_current_thread_is_one_of_threadings_own(kw):
    with kw.Worker("sensor") as worker:
        seen = []
        run(kw, worker, lambda: seen.append(threading.current_thread()))
        one, two = seen
        assert one is two
        assert one.name == "sensor"
        assert one.ident == worker.ident
        assert one.native_id == worker.native_id
        assert one.is_alive()
        assert one in threading.enumerate()
        assert [thread.name for thread in threading.enumerate()].count("sensor") == 1
    assert one not in threading.enumerate()
    assert not one.is_alive()


def test_values_of_the_thread_last_as_long_as_it(kw, worker):
    local = threading.local()
    run(kw, worker, lambda: setattr(local, "count", getattr(local, "count", 0) + 1))
    assert worker.submit(lambda: local.count).result() == 2
    assert not hasattr(local, "count")
    worker.stop()
    worker.start()
    assert worker.submit(lambda: hasattr(local, "count")).result() is False


def test_frames_of_a_running_callback_are_seen(kw, worker):
    gate = hold(kw, worker)
    stack = traceback.extract_stack(sys._current_frames()[worker.ident])
    assert "__call__" in [frame.name for frame in stack]
    assert any(frame.filename.endswith("helpers.py") for frame in stack)
    gate.open()


# -- tracing


@pytest.fixture
def hooks():
    """Whoever traces or profiles this test itself is back afterwards, on threads to come, too."""
    trace, profile = threading.gettrace(), threading.getprofile()
    yield
    threading.settrace(trace)
    threading.setprofile(profile)


def test_settrace_of_threading_traces_callbacks(kw, hooks):
    events = []

    def trace(frame, event, arg):
        if frame.f_code is not traced_callback.__code__:
            return None
        events.append((event, threading.current_thread().name))
        return trace

    threading.settrace(trace)
    with kw.Worker("traced") as worker:
        run(kw, worker, traced_callback)
    threading.settrace(None)
    assert [event for event, _ in events] == ["call", "line", "line", "return"] * 2
    assert {name for _, name in events} == {"traced"}


def test_setprofile_of_threading_profiles_callbacks(kw, hooks):
    events = []

    def profile(frame, event, arg):
        if frame.f_code is traced_callback.__code__:
            events.append((event, threading.current_thread().name))

    threading.setprofile(profile)
    with kw.Worker("profiled") as worker:
        run(kw, worker, traced_callback)
    threading.setprofile(None)
    assert events == [("call", "profiled"), ("return", "profiled")] * 2


def test_trace_set_inside_a_callback_lasts(kw, worker):
    """As debuggers do: sys.settrace on the thread itself; it is there in the next callback."""
    events = []

    def trace(frame, event, arg):
        if frame.f_code is traced_callback.__code__:
            events.append(event)
            return trace
        return None

    worker.submit(sys.settrace, trace).result()
    run(kw, worker, traced_callback)
    worker.submit(sys.settrace, None).result()
    run(kw, worker, traced_callback)
    assert events == ["call", "line", "line", "return"] * 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no settrace_all_threads")
@pytest.mark.parametrize("what", ["trace", "profile"])
def test_hooks_set_for_all_threads_reach_an_idle_worker(kw, worker, hooks, what):
    run(kw, worker, traced_callback)
    events = []
    own = getattr(sys, f"get{what}")()

    def hook(frame, event, arg):
        if frame.f_code is traced_callback.__code__:
            events.append(event)
        return hook

    getattr(threading, f"set{what}_all_threads")(hook)
    run(kw, worker, traced_callback)
    getattr(threading, f"set{what}_all_threads")(None)
    getattr(sys, f"set{what}")(own)
    assert events.count("call") == events.count("return") == 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no sys.monitoring")
def test_monitoring_sees_callbacks(kw, worker):
    monitoring = sys.monitoring
    tool = monitoring.PROFILER_ID
    if monitoring.get_tool(tool) is not None:
        pytest.skip("somebody profiles the tests")
    events = []

    def started(code, offset):
        if code is traced_callback.__code__:
            events.append(("start", threading.get_ident()))

    def returned(code, offset, value):
        if code is traced_callback.__code__:
            events.append(("return", value))

    monitoring.use_tool_id(tool, "test")
    try:
        monitoring.register_callback(tool, monitoring.events.PY_START, started)
        monitoring.register_callback(tool, monitoring.events.PY_RETURN, returned)
        monitoring.set_events(tool, monitoring.events.PY_START | monitoring.events.PY_RETURN)
        run(kw, worker, traced_callback)
    finally:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, monitoring.events.PY_START, None)
        monitoring.register_callback(tool, monitoring.events.PY_RETURN, None)
        monitoring.free_tool_id(tool)
    assert events == [("start", worker.ident), ("return", 2)] * 2


def test_cprofile_inside_a_callback(kw, worker):
    def body():
        import cProfile
        import pstats

        profile = cProfile.Profile()
        profile.runcall(traced_callback)
        return [name for _, _, name in pstats.Stats(profile).stats]

    assert "traced_callback" in worker.submit(body).result()


# -- from outside


HELD = """
def held_in_here():
    entered.set()
    gate.wait()

worker = kw.Worker("sensor")
gate, entered = threading.Event(), threading.Event()
worker.{verb}
entered.wait()
"""
VERBS = ["queue(kw.Work(held_in_here))", "submit(held_in_here)"]


@pytest.mark.parametrize("verb", VERBS, ids=["work", "call"])
def test_faulthandler_dumps_the_thread(kw, verb):
    result = run_script(
        kw,
        HELD.format(verb=verb)
        + """
import faulthandler
faulthandler.dump_traceback(all_threads=True)
gate.set()
worker.destroy()
""",
    )
    assert result.returncode == 0
    assert "in held_in_here" in result.stderr
    threads = result.stderr.split("\n\n")
    (mine,) = [text for text in threads if "held_in_here" in text]
    assert "most recent call first" in mine


def test_faulthandler_dumps_an_idle_thread(kw, worker):
    """It has no frame, or the frames of its sleep: nothing that a dump could stumble over."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        worker.submit(int).result()
        faulthandler.dump_traceback(file, all_threads=True)
        gate = hold(kw, worker)
        faulthandler.dump_traceback(file, all_threads=True)
        gate.open()
        file.seek(0)
        text = file.read()
    assert "helpers.py" in text


def tool(name):
    """Where the tool is, installed along with this interpreter or anywhere."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)


@pytest.mark.parametrize("verb", VERBS, ids=["work", "call"])
def test_py_spy_dumps_the_thread(kw, verb):
    py_spy = tool("py-spy")
    if py_spy is None:
        pytest.skip("py-spy is not installed")
    command, env = script_command(
        kw, HELD.format(verb=verb) + "print('ready'); sys.stdin.read(); gate.set()\n"
    )
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        dump = subprocess.run(
            [py_spy, "dump", "--pid", str(process.pid)],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        process.stdin.close()
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    if dump.returncode and "ermission" in dump.stderr:
        pytest.skip("py-spy may not look at other processes here")
    if dump.returncode and "version" in dump.stderr:
        pytest.skip("py-spy does not know this interpreter")
    assert dump.returncode == 0, dump.stderr
    (mine,) = [text for text in dump.stdout.split("\nThread ")[1:] if "held_in_here" in text]
    assert '"sensor"' in mine.partition("\n")[0]


def test_coverage_measures_callbacks(kw, tmp_path):
    if importlib.util.find_spec("coverage") is None:
        pytest.skip("coverage is not installed")
    measured = tmp_path / "measured.py"
    measured.write_text(
        textwrap.dedent(
            f"""\
            import threading
            import {kw.__name__} as kw
            def body():
                inner = 1
                return inner
            def call():
                inner = 2
                return inner
            def never():
                return 3
            with kw.Worker() as worker:
                work = kw.Work(body)
                worker.queue(work)
                work.flush()
                worker.submit(call).result()
            """
        )
    )
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    env["COVERAGE_FILE"] = str(tmp_path / "data")
    env.pop("COVERAGE_PROCESS_START", None)
    for arguments in (["run", "--concurrency=thread", str(measured)], ["report", "-m"]):
        result = subprocess.run(
            [sys.executable, "-m", "coverage", *arguments],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=2 * LIMIT,
            check=False,
        )
        assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("measured.py")]
    assert line.split()[-1] == "10", result.stdout


def test_breakpoint_of_a_debugger_stops_in_a_callback(kw):
    result = run_script(
        kw,
        """
        import bdb
        hits = []
        class Debugger(bdb.Bdb):
            def user_line(self, frame):
                hits.append((frame.f_code.co_name, threading.current_thread().name))
                self.set_continue()
        def body():
            debugger = Debugger()
            debugger.set_trace()
            inner = 1
            return inner
        with kw.Worker("debugged") as worker:
            work = kw.Work(body)
            worker.queue(work)
            work.flush()
            worker.submit(body).result()
        print(hits)
        """,
    )
    assert result.stderr == ""
    assert result.stdout == f"{[('body', 'debugged')] * 2}\n"


def test_traceback_of_a_callback_begins_in_the_users_code_or_the_packages(kw, worker, unraisable):
    """No frame of a stranger is in it, and the last one is where it was raised."""

    def fail():
        raise LookupError("expected")

    work = kw.Work(fail)
    worker.queue(work)
    work.flush()
    future = worker.submit(fail)
    package = str(Path(sys.modules["pykworker"].__file__).parent)
    for error in (unraisable[0].exc_value, future.exception()):
        frames = traceback.extract_tb(error.__traceback__)
        assert frames[-1].name == "fail"
        assert all(
            frame.filename.startswith(package) or frame.filename == __file__ for frame in frames
        )
