# SPDX-License-Identifier: GPL-2.0-only
"""trace(): the file is what it says, and nothing else changes."""

from __future__ import annotations

import ctypes
import functools
import gc
import gzip
import io
import json
import os
import threading
import weakref
from collections import Counter

import pytest
from helpers import LIMIT, Background, Gate, hold, run_script, wait_until


def load(file):
    text = file.getvalue() if hasattr(file, "getvalue") else file.read_text()
    data = json.loads(text)
    assert set(data) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert set(data["otherData"]) == {"pykworker", "events", "lost", "limit"}
    for event in data["traceEvents"]:
        assert event["pid"] == os.getpid()
        if event["ph"] != "M":
            assert event["ts"] > 0
            assert isinstance(event["tid"], int)
    return data


class Seen:
    """A trace, sorted."""

    def __init__(self, file):
        self.data = load(file)
        events = self.data["traceEvents"]
        slices = [event for event in events if event["ph"] == "X"]
        self.queueings = [event for event in slices if event["cat"] == "queue"]
        self.runs = [event for event in slices if event["cat"] != "queue"]
        self.starts = {event["id"]: event for event in events if event["ph"] == "s"}
        self.ends = {event["id"]: event for event in events if event["ph"] == "f"}
        self.tracks = {
            event["tid"]: event["args"]["name"]
            for event in events
            if event["ph"] == "M" and event["name"] == "thread_name"
        }
        self.lost = self.data["otherData"]["lost"]
        assert {event["ph"] for event in events} <= set("MXsf")
        assert set(self.starts) == set(self.ends)
        assert {event["tid"] for event in slices} == set(self.tracks)

    def names(self, worker=None):
        return [run["name"] for run in self.runs if worker in (None, run["args"]["worker"])]

    def origin(self, run):
        """The queueing that a run's arrow comes from; None: it has none."""
        at = [end["id"] for end in self.ends.values() if (end["tid"], end["ts"]) == place(run)]
        if not at:
            return None
        (queueing,) = [q for q in self.queueings if place(q) == place(self.starts[at[0]])]
        return queueing


def place(event):
    return event["tid"], event["ts"]


def one():
    pass


def two():
    pass


class Callable:
    def __call__(self):
        pass

    def method(self):
        pass


def test_each_run_has_one_slice_and_one_arrow_in_order(kw):
    file = io.StringIO()
    with kw.trace(file), kw.Worker("sensor") as worker:
        for fn in [one, two] * 50:
            assert worker.queue(kw.Work(fn))
    seen = Seen(file)
    assert seen.names() == ["one", "two"] * 50
    assert seen.lost == 0
    assert len(seen.starts) == len(seen.queueings) == 100
    assert "sensor" in seen.tracks.values()
    last = 0
    for run in seen.runs:
        assert run["cat"] == "python"
        assert run["ts"] >= last
        last = run["ts"] + run["dur"] - 0.01  # of rounding, in floating-point numbers
        queueing = seen.origin(run)
        assert queueing["args"]["worker"] == run["args"]["worker"] == "sensor"
        assert queueing["args"]["work"] == run["args"]["work"]
        assert queueing["ts"] <= run["ts"]
        waited = run["ts"] - queueing["ts"]
        assert abs(run["args"]["waited_us"] - waited) < 0.01
        assert seen.tracks[queueing["tid"]] == threading.current_thread().name
        assert seen.tracks[run["tid"]] == "sensor"


def test_nothing_before_and_nothing_after(kw, worker):
    file = io.StringIO()
    worker.queue(kw.Work(one))
    worker.flush()
    with kw.trace(file):
        worker.queue(kw.Work(two))
        worker.flush()
    before = file.getvalue()
    worker.queue(kw.Work(one))
    worker.flush()
    assert file.getvalue() == before
    assert Seen(file).names() == ["two"]


def test_run_that_was_queued_before_has_no_arrow(kw, worker):
    file = io.StringIO()
    gate = hold(kw, worker)
    worker.queue(kw.Work(one))
    with kw.trace(file):
        gate.open()
        worker.flush()
    seen = Seen(file)
    assert seen.names() == ["one"]  # the gate had begun before
    assert seen.origin(seen.runs[0]) is None
    assert "waited_us" not in seen.runs[0]["args"]


def test_run_that_goes_on_at_the_end(kw, worker):
    file = io.StringIO()
    with kw.trace(file):
        gate = hold(kw, worker)
        worker.queue(kw.Work(one))  # not run
    gate.open()
    worker.flush()
    seen = Seen(file)
    assert seen.names() == ["Gate"]
    assert seen.runs[0]["args"]["unfinished"] is True
    assert seen.origin(seen.runs[0]) is not None
    assert len(seen.queueings) == 2


def test_two_workers_that_queue_on_each_other(kw):
    file = io.StringIO()
    with kw.trace(file), kw.Worker("front") as front, kw.Worker("back") as back:
        work = kw.Work(one)

        def ask():
            back.queue(work)

        for _ in range(3):
            front.queue(kw.Work(ask))
            front.flush()
            back.flush()
    seen = Seen(file)
    assert seen.names("front") == [f"{ask.__qualname__}"] * 3
    assert seen.names("back") == ["one"] * 3
    for run in seen.runs:
        comes_from = seen.tracks[seen.origin(run)["tid"]]
        expected = "front" if run["name"] == "one" else threading.current_thread().name
        assert comes_from == expected
    asks = [run for run in seen.runs if run["args"]["worker"] == "front"]
    for run, ask_run in zip(
        [run for run in seen.runs if run["name"] == "one"], asks, strict=True
    ):  # within the run that queued it
        queueing = seen.origin(run)
        assert ask_run["ts"] <= queueing["ts"] <= ask_run["ts"] + ask_run["dur"]


def test_work_that_queues_itself(kw, worker):
    file = io.StringIO()
    left = [3]

    def again():
        left[0] -= 1
        if left[0]:
            worker.queue(work)

    work = kw.Work(again)
    with kw.trace(file):
        worker.queue(work)
        wait_until(lambda: not left[0])
        worker.flush()
    seen = Seen(file)
    assert len(seen.runs) == len(seen.starts) == 3
    origins = [seen.origin(run) for run in seen.runs]
    assert [seen.tracks[queueing["tid"]] for queueing in origins[1:]] == ["test"] * 2
    assert len({place(queueing) for queueing in origins}) == 3


def test_cancelled_work_has_a_queueing_and_no_run(kw, worker):
    file = io.StringIO()
    with kw.trace(file):
        gate = hold(kw, worker)
        work = kw.Work(one)
        worker.queue(work)
        assert work.cancel()
        worker.queue(work)
        gate.open()
        worker.flush()
    seen = Seen(file)
    assert sorted(seen.names()) == ["Gate", "one"]
    assert len(seen.queueings) == 3
    (run,) = [run for run in seen.runs if run["name"] == "one"]
    assert seen.origin(run) is seen.queueings[-1]  # the later one


def test_queue_many_submit_delayed_and_periodic(kw, worker):
    file = io.StringIO()
    ticks = threading.Semaphore(0)

    def tick():
        ticks.release()

    with kw.trace(file):
        worker.queue_many([kw.Work(one) for _ in range(5)])
        worker.submit(two).result(LIMIT)
        later = kw.DelayedWork(int)
        worker.queue_delayed(later, 0.0001)
        beat = worker.every(0.0001, tick)
        for _ in range(3):
            assert ticks.acquire(timeout=LIMIT)
        beat.cancel()
        worker.flush()
        later.flush()
    seen = Seen(file)
    counts = Counter(seen.names())
    assert counts["one"] == 5
    assert counts["two"] == counts["int"] == 1
    assert counts[tick.__qualname__] >= 3
    assert all(seen.origin(run) for run in seen.runs)


def test_names(kw, worker):
    file = io.StringIO()

    def inner():
        pass

    thing = Callable()
    cases = [
        (one, "one"),
        (inner, inner.__qualname__),
        (lambda: None, None),
        (thing, "Callable"),
        (thing.method, "Callable.method"),
        (functools.partial(two), "two"),
        (functools.partial(thing), None),
        (int, "int"),
        (abs, "abs"),
        ([].clear, "list.clear"),
    ]
    with kw.trace(file):
        for fn, _ in cases:
            worker.queue(kw.Work(fn, -1) if fn is abs else kw.Work(fn))
        worker.flush()
    names = Seen(file).names()
    assert [(n if expected else None) for n, (_, expected) in zip(names, cases, strict=True)] == [
        expected for _, expected in cases
    ]
    assert names[2].endswith("<lambda>")
    assert names[6] == "partial"


def test_odd_names(kw):
    """They are data: whatever letters they are made of."""
    file = io.StringIO()

    def odd():
        pass

    odd.__qualname__ = 'say "\\ä\n\ud800"'
    with kw.trace(file), kw.Worker('wo"rk\\er\u2028') as worker:
        worker.queue(kw.Work(odd))
    seen = Seen(file)
    assert seen.names() == [odd.__qualname__]
    assert 'wo"rk\\er\u2028' in seen.tracks.values()


def test_attribute_that_raises(kw, worker, unraisable):
    class Refuses:
        def __call__(self):
            done.append(1)

        def __getattr__(self, name):
            if name == "__qualname__":
                raise AttributeError(name)
            raise AssertionError(name)

    done = []
    file = io.StringIO()
    with kw.trace(file):
        worker.queue(kw.Work(Refuses()))
        worker.flush()
    assert done == [1]
    assert not unraisable
    assert Seen(file).names() == [Refuses.__qualname__]


def test_native_works(kw, worker):
    libc = ctypes.CDLL(None)
    free = libc.free
    free.argtypes, free.restype = [ctypes.c_void_p], None
    address = ctypes.cast(free, ctypes.c_void_p).value
    file = io.StringIO()
    with kw.trace(file):
        native = kw.NativeWork(free)
        worker.queue(native)
        native.flush()
        worker.queue(kw.Work(one))
        worker.flush()
        beat = worker.every(1000, native)
        beat.flush()
        beat.cancel()
    seen = Seen(file)
    natives = [run for run in seen.runs if run["cat"] == "native"]
    assert len(natives) == 2
    for run in natives:
        assert run["args"]["address"] == hex(address)
        assert run["name"] in ("free", "cfree", "__libc_free") or "+0x" in run["name"]
        assert seen.origin(run)
    assert seen.names().count("one") == 1


def test_address_without_a_symbol():
    from pykworker._trace import _symbol

    assert _symbol(0x10) == "0x10"


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_ring_overflow_keeps_the_latest_and_counts_the_lost(kw, worker, limit):
    file = io.StringIO()
    with kw.trace(file, limit=limit):
        for n in range(100):
            worker.queue(kw.Work(one if n < 90 else two))
            worker.flush()
    seen = Seen(file)
    other = seen.data["otherData"]
    assert other["limit"] == limit
    assert other["events"] == limit
    assert seen.lost == 200 - limit
    assert len(seen.runs) + len(seen.queueings) == limit
    assert seen.names()[-1:] == ["two"]
    assert len(seen.starts) == limit // 2


def test_larger_and_smaller_ones_one_after_the_other(kw, worker):
    for limit in (10, 1000, 5, 2000, 10):
        file = io.StringIO()
        with kw.trace(file, limit=limit):
            for _ in range(20):
                worker.queue(kw.Work(one))
                worker.flush()
        seen = Seen(file)
        assert len(seen.runs) + len(seen.queueings) == min(limit, 40)
        assert seen.lost == max(0, 40 - limit)


def test_names_without_end(kw, worker):
    """There is room for so many; the later ones show as that."""
    file = io.StringIO()
    with kw.trace(file, limit=8):
        for n in range(1100):
            fn = functools.wraps(one)(lambda: None)
            fn.__qualname__ = f"name {n}"
            worker.queue(kw.Work(fn))
        worker.flush()
    assert Seen(file).names()[-1] == ("name 1099" if kw.backend == "pure" else "(too many names)")


@pytest.mark.parametrize("kind", [str, "path", "bytes", "gzip", "text", "binary"])
def test_files(kw, tmp_path, kind):
    path = tmp_path / ("trace.json.gz" if kind == "gzip" else "trace.json")
    path.write_text("x" * 100_000)  # is overwritten
    file = {
        str: str(path),
        "path": path,
        "bytes": os.fsencode(path),
        "gzip": path,
        "text": io.StringIO(),
        "binary": io.BytesIO(),
    }[kind]
    with kw.trace(file), kw.Worker() as worker:
        worker.queue(kw.Work(one))
    if kind == "gzip":
        text = gzip.decompress(path.read_bytes()).decode()
    elif kind in ("text", "binary"):
        assert not file.closed
        text = file.getvalue()
    else:
        text = path.read_text()
    assert any(event["name"] == "one" for event in json.loads(text)["traceEvents"])


@pytest.mark.parametrize("file", [None, 3.5, object()], ids=["None", "float", "object"])
def test_what_is_no_file_is_refused(kw, file):
    with pytest.raises(TypeError):
        kw.trace(file)


@pytest.mark.parametrize(
    ("limit", "error"),
    [(0, ValueError), (-1, ValueError), (1 << 60, ValueError), (1.5, TypeError), (True, TypeError)],
)
def test_bad_limits_are_refused(kw, limit, error):
    with pytest.raises(error):
        kw.trace(io.StringIO(), limit=limit)


def test_file_that_cannot_be_opened(kw, tmp_path):
    with pytest.raises(FileNotFoundError), kw.trace(tmp_path / "no" / "trace.json"):
        pytest.fail("it was entered")
    with kw.trace(io.StringIO()):
        pass  # nothing is recorded any more


def test_file_that_cannot_be_written(kw):
    class Full(io.StringIO):
        def write(self, text):
            if text:
                raise OSError("full")
            return 0

    with pytest.raises(OSError, match="full"), kw.trace(Full()):
        pass
    with kw.trace(io.StringIO()):
        pass


def test_nested_is_an_error_and_the_outer_one_goes_on(kw, worker):
    file, inner = io.StringIO(), io.StringIO()
    trace = kw.trace(file)
    with trace:
        with pytest.raises(RuntimeError, match="recorded already"), kw.trace(inner):
            pytest.fail("it was entered")
        with pytest.raises(RuntimeError, match="recorded already"), trace:
            pytest.fail("it was entered")
        worker.queue(kw.Work(one))
        worker.flush()
    assert Seen(file).names() == ["one"]
    assert inner.getvalue() == ""


def test_again_with_the_same_object(kw, worker, tmp_path):
    trace = kw.trace(tmp_path / "trace.json")
    for fn in (one, two):
        with trace:
            worker.queue(kw.Work(fn))
            worker.flush()
        assert Seen(tmp_path / "trace.json").names() == [fn.__name__]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_exception_in_the_body(kw, worker, error):
    file = io.StringIO()

    def body():
        with kw.trace(file):
            worker.queue(kw.Work(one))
            worker.flush()
            raise error

    with pytest.raises(error):
        body()
    assert Seen(file).names() == ["one"]


def test_exception_in_a_callback(kw, unraisable):
    def fails():
        raise ValueError

    file = io.StringIO()
    with kw.trace(file), kw.Worker() as worker:
        for fn in (fails, one, fails):
            worker.queue(kw.Work(fn))
    assert Seen(file).names() == [fails.__qualname__, "one", fails.__qualname__]
    assert len(unraisable) == 2


def test_ended_in_a_callback(kw, worker):
    file = io.StringIO()
    trace = kw.trace(file)
    trace.__enter__()
    worker.submit(trace.__exit__, None, None, None).result(LIMIT)
    seen = Seen(file)
    assert len(seen.runs) == 1
    assert seen.runs[0]["args"]["unfinished"] is True


def test_works_and_functions_are_held_no_longer(kw, worker):
    class Owner:
        def method(self):
            pass

    with kw.trace(io.StringIO()):
        owner = Owner()
        work = kw.Work(owner.method)
        refs = [weakref.ref(owner), weakref.ref(work)]
        worker.queue(work)
        worker.flush()
        del owner, work
        gc.collect()
        assert [ref() for ref in refs] == [None, None]


def test_work_that_is_freed_still_has_its_name(kw, worker):
    file = io.StringIO()
    with kw.trace(file):
        for n in range(100):
            source = f"def made_{n}(): pass"
            space = {}
            exec(source, space)
            worker.queue(kw.Work(space[f"made_{n}"]))
            worker.flush()
            del space
        gc.collect()
    assert Seen(file).names() == [f"made_{n}" for n in range(100)]


def test_hooks_go_on(kw, worker):
    file = io.StringIO()
    calls = []
    worker.on_queue = lambda work: calls.append("queue")
    worker.on_start = lambda work: calls.append("start")
    worker.on_end = lambda work: calls.append("end")
    with kw.trace(file):
        worker.queue(kw.Work(one))
        worker.flush()
    assert calls == ["queue", "start", "end"]
    seen = Seen(file)
    assert seen.names() == ["one"]
    assert seen.origin(seen.runs[0])


def test_from_many_threads(kw):
    file = io.StringIO()

    def produce(worker, count):
        for _ in range(count):
            worker.queue(kw.Work(one))

    with kw.trace(file), kw.Worker("a") as a, kw.Worker("b") as b:
        sides = [Background(produce, worker, 200) for worker in (a, b) for _ in range(3)]
        for side in sides:
            side.result()
    seen = Seen(file)
    assert Counter(run["args"]["worker"] for run in seen.runs) == {"a": 600, "b": 600}
    assert len(seen.starts) == 1200
    assert len({run["tid"] for run in seen.runs}) == 2


def test_overflow_from_many_threads(kw):
    file = io.StringIO()

    def produce(worker):
        for _ in range(300):
            worker.queue(kw.Work(one))

    with kw.trace(file, limit=16), kw.Worker() as worker:
        for side in [Background(produce, worker) for _ in range(4)]:
            side.result()
    seen = Seen(file)
    kept = len(seen.runs) + len(seen.queueings)
    assert 0 < kept <= 16
    assert seen.lost == 2400 - kept


def test_worker_on_a_thread_that_queues_has_a_track_of_its_own(kw):
    file = io.StringIO()
    with kw.Worker("loop", start=False) as worker, kw.trace(file):
        worker.queue(kw.Work(one))
        assert worker.run_pending() == 1
    seen = Seen(file)
    (run,) = seen.runs
    assert seen.tracks[run["tid"]] == "loop"
    assert seen.origin(run)["tid"] != run["tid"]


def test_worker_that_is_destroyed_meanwhile_and_one_that_comes(kw):
    file = io.StringIO()
    first = kw.Worker("first")
    with kw.trace(file):
        first.queue(kw.Work(one))
        first.destroy()
        del first
        gc.collect()
        with kw.Worker("second") as second:
            second.queue(kw.Work(two))
    seen = Seen(file)
    assert seen.names("first") == ["one"]
    assert seen.names("second") == ["two"]


def test_trace_of_nothing(kw):
    file = io.StringIO()
    with kw.trace(file):
        pass
    assert Seen(file).runs == []


def test_both_backends_at_once():
    import pykworker
    from pykworker import pure

    if pykworker.backend != "native":
        pytest.skip("there is only one")
    a, b = io.StringIO(), io.StringIO()
    with pykworker.trace(a), pure.trace(b), pykworker.Worker() as x, pure.Worker() as y:
        x.queue(pykworker.Work(one))
        y.queue(pure.Work(two))
    assert Seen(a).names() == ["one"]
    assert Seen(b).names() == ["two"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forked_child_writes_nothing_and_may_trace_itself(kw, tmp_path):
    path, child = tmp_path / "trace.json", tmp_path / "child.json"
    done = run_script(
        kw,
        f"""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        def before(): pass
        def inside(): pass
        with kw.trace({str(path)!r}):
            with kw.Worker() as worker:
                worker.queue(kw.Work(before))
            pid = os.fork()
            if pid == 0:
                with kw.trace({str(child)!r}), kw.Worker() as worker:
                    worker.queue(kw.Work(inside))
                sys.exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            assert os.path.getsize({str(path)!r}) == 0
        """,
    )
    assert done.stderr == ""
    assert done.stdout == "7\n"
    for file, name in ((path, "before"), (child, "inside")):
        events = json.loads(file.read_text())["traceEvents"]
        runs = [event["name"] for event in events if event.get("cat") == "python"]
        assert runs == [name]


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise ValueError", "the interpreter's"], ids=str)
def test_exit_inside(kw, tmp_path, end):
    path = tmp_path / "trace.json"
    if end.startswith("the"):  # it is never left, and ends with the interpreter
        body = f"""
        trace = kw.trace({str(path)!r})
        trace.__enter__()
        worker = kw.Worker()
        worker.queue(kw.Work(abs, -1))
        """
    else:
        body = f"""
        with kw.trace({str(path)!r}):
            worker = kw.Worker()
            worker.queue(kw.Work(abs, -1))
            worker.flush()
            {end}
        """
    done = run_script(kw, body)
    assert done.returncode == {"s": 3, "r": 1, "t": 0}[end[0]], done.stderr
    events = json.loads(path.read_text())["traceEvents"]
    assert [event["name"] for event in events if event.get("cat") == "python"] == ["abs"]


def test_worker_of_an_extension(kw):
    """What C queues has its function's name, or where that is."""
    if kw.backend != "native":
        pytest.skip("the compiled backend's alone")
    from pykworker import ffi, lib

    file = io.StringIO()
    calls = []

    @ffi.callback("void(struct kthread_work *)")
    def callback(work):
        calls.append(work)

    work = ffi.new("struct kthread_work *")
    lib.kthread_init_work(work, callback)
    with kw.trace(file), kw.Worker("c") as worker:
        pointer = kw.worker_pointer(worker)
        assert lib.kthread_queue_work(pointer, work)
        worker.flush()
    assert len(calls) == 1
    (run,) = Seen(file).runs
    assert run["cat"] == "native"
    assert run["args"]["address"] == hex(int(ffi.cast("uintptr_t", callback)))


def test_gate_is_left_open(kw):
    """A trace that ends while works are pending changes nothing for them."""
    gate = Gate()
    done = []
    with kw.Worker() as worker:
        with kw.trace(io.StringIO()):
            worker.queue(kw.Work(gate))
            gate.wait_entered()
            for n in range(10):
                worker.queue(kw.Work(done.append, n))
        gate.open()
        worker.flush()
    assert done == list(range(10))
