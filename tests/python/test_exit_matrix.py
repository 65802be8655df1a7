# SPDX-License-Identifier: GPL-2.0-only
"""The interpreter's exit: what is outstanding, times how the program ends, daemon or not.

What can be outstanding side by side is so in one process; then a few at a time, for what one
hides of another. All that is outstanding stays so until the exit itself gives the sign, which is
that should_stop() says True: nothing here depends on time.
"""

from __future__ import annotations

import re
import signal
import sys
import textwrap

import pytest
from processes import run_all, run_until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform == "win32", reason="ends by signals"),
]

QUIET = ("-W", "ignore::ResourceWarning")

PROLOGUE = """
import asyncio, atexit, concurrent.futures, ctypes, weakref

def say(line):
    sys.stdout.write(line + "\\n")  # in one piece, unlike print

def told(call, *args):
    try:
        return call(*args)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def until_asked():
    while not kw.should_stop():
        time.sleep(0.001)

sentinel = kw.Worker(daemon=True, start=False)
def until_the_exit():
    # For code that is no callback.
    try:
        while True:
            sentinel.queue(kw.Work(int))
            time.sleep(0.001)
    except RuntimeError:
        pass

def fail_silently():
    raise LookupError("nobody asks for it")

def busy(name, **options):
    worker = kw.Worker(name, daemon=DAEMON, **options)
    entered = threading.Event()
    worker.queue(kw.Work(lambda: (entered.set(), until_asked())))
    entered.wait()
    return worker

libc = ctypes.CDLL(None)
"""

REFUSAL = "RuntimeError: cannot schedule new futures after interpreter shutdown"

# By the kind of what is outstanding: the source, what it prints when it is waited for, and what
# when it is dropped.
KINDS: dict[str, tuple[str, list[str], list[str]]] = {
    "queued": (
        """
        queued = busy("queued")
        for number in range(40):
            queued.queue(kw.Work(say, f"queued {number}"))
        """,
        [f"queued {number}" for number in range(40)],
        [],
    ),
    "running": (
        """
        running = kw.Worker("running", daemon=DAEMON)
        running_entered = threading.Event()
        def run_on():
            running_entered.set()
            until_asked()
            if not DAEMON:
                say("running ends")
        running.queue(kw.Work(run_on))
        running_entered.wait()
        """,
        ["running ends"],
        [],
    ),
    "delayed": (
        """
        delayed = busy("delayed")
        delayed.queue_delayed(kw.DelayedWork(say, "never"), 1000)
        idle_but_delayed = kw.Worker(daemon=DAEMON)
        idle_but_delayed.queue_delayed(kw.DelayedWork(say, "never"), 1000)
        """,
        [],
        [],
    ),
    "periodic": (
        """
        periodic = busy("periodic")
        periodic.every(1000, say, "never")
        ticking = kw.Worker("ticking", daemon=DAEMON)
        ticked = threading.Event()
        ticking.every(0.001, ticked.set)
        ticked.wait()
        """,
        [],
        [],
    ),
    "native": (
        """
        native = busy("native")
        clock = ctypes.c_long(0)
        for _ in range(5):
            native.queue(kw.NativeWork(libc.usleep, 10))
        native.queue(kw.NativeWork(libc.time, ctypes.pointer(clock)))
        native.queue(kw.Work(lambda: say(f"native {clock.value > 0}")))
        native.queue(kw.NativeWork(libc.usleep, 10))
        """,
        ["native True"],
        [],
    ),
    "native alone": (  # on a thread that never ran a Python work
        """
        native_alone = kw.Worker("native alone", daemon=DAEMON)
        for _ in range(50):
            native_alone.queue(kw.NativeWork(libc.usleep, 200))
        """,
        [],
        [],
    ),
    "native callback": (  # native code that calls back into the interpreter
        """
        callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda data: say(f"back {data}"))
        native_callback = busy("native callback")
        for number in range(1, 4):
            native_callback.queue(kw.NativeWork(callback, number))
        """,
        ["back 1", "back 2", "back 3"],
        [],
    ),
    "raising": (
        """
        raising = busy("raising", on_error=lambda work, error: say(f"on_error {error!r}"))
        def fail(error):
            raise error
        for error in (LookupError("x"), SystemExit(9), KeyboardInterrupt()):
            raising.queue(kw.Work(fail, error))
        """,
        ["on_error LookupError('x')", "on_error SystemExit(9)", "on_error KeyboardInterrupt()"],
        [],
    ),
    "requeueing": (
        """
        requeueing = busy("requeueing")
        def again():
            answer = told(requeueing.queue, requeueing_work)
            if answer is not True:
                say(f"again {answer}")
        requeueing_work = kw.Work(again)
        requeueing.queue(requeueing_work)
        """,
        [f"again {REFUSAL}"],
        [],
    ),
    "hooks": (
        """
        hooks = busy("hooks")
        hooks.on_start = lambda work: say(f"on_start {work.fn.__name__}")
        hooks.on_end = lambda work: say("on_end")
        hooks.queue(kw.Work(int))
        """,
        # The one that runs when the hooks are set has an end, and may have it when it is
        # dropped: it is taken out below.
        ["on_end", "on_start int", "on_end"],
        [],
    ),
    "idle": (
        """
        idle = [kw.Worker(daemon=DAEMON) for _ in range(5)]
        for worker in idle[:2]:
            worker.queue(kw.Work(int))
            worker.flush()
        """,
        [],
        [],
    ),
    "destroyed": (
        """
        with kw.Worker(daemon=DAEMON) as destroyed:
            destroyed.queue(kw.Work(say, "destroyed"))
        """,
        ["destroyed"],
        ["destroyed"],
    ),
    "dropped": (  # only the works hold it
        """
        dropped = busy("dropped")
        dropped.queue(kw.Work(say, "dropped"))
        del dropped
        """,
        ["dropped"],
        [],
    ),
    "cycle": (
        """
        class Holder:
            pass
        def make_cycle():
            holder = Holder()
            holder.me = holder
            holder.worker = busy("cycle", on_error=lambda work, error: holder)
            holder.worker.queue(kw.Work(lambda: say(f"cycle {holder.me is holder}")))
            return weakref.ref(holder)
        cycle = make_cycle()
        """,
        ["cycle True"],
        [],
    ),
    "frozen": (
        """
        frozen = kw.Worker("frozen", daemon=DAEMON)
        frozen.freeze()
        frozen.queue(kw.Work(say, "frozen"))
        """,
        ["frozen"],
        [],
    ),
    "no thread": (
        """
        threadless = kw.Worker("threadless", daemon=DAEMON, start=False)
        threadless.queue(kw.Work(say, "never"))
        threadless.queue_delayed(kw.DelayedWork(say, "never"), 0.001)
        """,
        [],
        [],
    ),
    "stopped": (
        """
        stopped = kw.Worker("stopped", daemon=DAEMON)
        stopped.stop()
        stopped.queue(kw.Work(say, "never"))
        """,
        [],
        [],
    ),
    "disabled": (
        """
        disabled = busy("disabled")
        disabled_work = kw.Work(say, "never")
        disabled.queue(disabled_work)
        disabled_work.disable()
        """,
        [],
        [],
    ),
    "run by another": (
        """
        lent = kw.Worker("lent", daemon=DAEMON, start=False)
        lent_entered = threading.Event()
        lent.queue(kw.Work(lambda: (lent_entered.set(), until_asked())))
        lent.queue(kw.Work(say, "lent"))
        def lend():
            lent.run()
            say("lent returned")
        threading.Thread(target=lend).start()
        lent_entered.wait()
        """,
        ["lent", "lent returned"],
        ["lent returned"],
    ),
    "flushers": (
        """
        flushed = busy("flushed")
        flushed_works = [kw.Work(int), kw.DelayedWork(int)]
        flushed.queue_many(flushed_works)
        def flush(call):
            call()
            say("flushed")
        calls = [flushed_works[0].flush, flushed_works[1].flush, flushed.flush]
        for call in calls:
            threading.Thread(target=flush, args=(call,)).start()
        """,
        ["flushed"] * 3,
        ["flushed"] * 3,
    ),
    "atexit": (  # by then the exit has begun
        """
        def late():
            say(f"late worker: {told(kw.Worker)}")
            say(f"late queue: {told(early.queue, kw.Work(say, 'never'))}")
            threadless = told(lambda: kw.Worker(daemon=DAEMON, start=False))
            if isinstance(threadless, kw.Worker):  # it may be the worker that refuses
                threadless = told(threadless.queue, kw.Work(say, 'never'))
            say(f"late threadless worker: {threadless}")
            say(f"late flush: {told(early.flush)}")
            say(f"late destroy: {told(early.destroy)}")
        early = kw.Worker("early", daemon=DAEMON)
        atexit.register(late)
        """,
        [
            f"late worker: {REFUSAL}",
            f"late queue: {REFUSAL}",
            f"late threadless worker: {REFUSAL}",
            "late flush: None",
            "late destroy: None",
        ],
        [
            f"late worker: {REFUSAL}",
            f"late queue: {REFUSAL}",
            f"late threadless worker: {REFUSAL}",
            "late flush: None",
            "late destroy: None",
        ],
    ),
    "finalizers": (  # of what the module's teardown takes away
        """
        class Last:
            def __init__(self, worker, work, line):
                self.worker, self.work, self.error = worker, work, RuntimeError
                self.write, self.line = sys.stdout.write, line + "\\n"
            def __del__(self):
                try:
                    self.worker.queue(self.work)
                except self.error:
                    self.write(self.line)
                repr(self.worker), repr(self.work)
                for call in (self.work.flush, self.work.cancel, self.worker.flush,
                             self.worker.thaw, self.worker.stop, self.worker.destroy):
                    try:
                        call()
                    except self.error:
                        pass  # it may say that nobody runs it any more; it must not wait
        last_worker, last_work = kw.Worker("last", daemon=DAEMON), kw.Work(int)
        last_worker.queue(last_work)
        last_work.flush()
        last = Last(last_worker, last_work, "last refused")
        last.me = last  # so that it is the collector that finds it
        """,
        ["last refused"],
        ["last refused"],
    ),
    "finalizers of the busy": (  # no frame of this module, whose globals would stay alive else
        """
        later_worker = kw.Worker("later", daemon=DAEMON)
        later_gate = threading.Event()
        later_work = kw.Work(later_gate.wait)
        later_worker.queue(later_work)
        while not later_work.executing:
            time.sleep(0.001)
        if not DAEMON:
            later_gate.set()
        later = Last(later_worker, later_work, "later refused")
        """,
        ["later refused"],
        ["later refused"],
    ),
    "submitted": (
        """
        submitted = busy("submitted")
        for number in range(20):
            future = submitted.submit(say, f"submitted {number}")
            future.add_done_callback(lambda future: future.cancelled() or say("submitted done"))
        submitted.submit(fail_silently)  # a submitted call's error is the future's
        """,
        [line for number in range(20) for line in (f"submitted {number}", "submitted done")],
        [],
    ),
    "cancelled future": (
        """
        cancelling = busy("cancelling")
        assert cancelling.submit(say, "never").cancel()
        """,
        [],
        [],
    ),
    "waiters": (  # threads that the exit joins
        """
        awaited = busy("awaited")
        awaited_future = awaited.submit(int, "7")
        def wait_for(call, good):
            try:
                answer = call()
            except concurrent.futures.CancelledError:
                answer = "was cancelled"
            say(f"waiter {answer if answer != good else 'is content'}")
        for call, good in (
            (awaited_future.result, 7),
            (awaited_future.exception, None),
            (lambda: len(concurrent.futures.wait([awaited_future]).done), 1),
            (lambda: len(list(concurrent.futures.as_completed([awaited_future]))), 1),
        ):
            threading.Thread(target=wait_for, args=(call, good)).start()
        """,
        ["waiter is content"] * 4,
        # Dropped silently, but whoever waits is told.
        ["waiter was cancelled"] * 2 + ["waiter is content"] * 2,
    ),
    "awaits": (  # in a loop on a thread that the exit joins
        """
        called = busy("called")
        called_work = kw.Work(int)
        called.queue(called_work)
        def await_them():
            async def tell(awaitable):
                try:
                    await awaitable
                finally:
                    say("await is over")
            async def main():
                calls = [called.call(int), called_work.flushed(), called.flushed()]
                tasks = [asyncio.create_task(tell(call)) for call in calls]
                await asyncio.sleep(0)
                awaits_begun.set()
                await asyncio.wait(tasks)
                for task in tasks:
                    task.cancelled() or task.exception()
            asyncio.run(main())
        awaits_begun = threading.Event()
        threading.Thread(target=await_them).start()
        awaits_begun.wait()
        """,
        ["await is over"] * 3,
        ["await is over"] * 3,
    ),
    "room": (  # a call that waits for room when the exit begins
        """
        full = busy("full", max_pending=1)
        full.queue(kw.Work(int))
        def wait_for_room():
            async def main():
                task = asyncio.create_task(full.call(say, "never"))
                await asyncio.sleep(0)
                room_begun.set()
                try:
                    await task
                except RuntimeError as error:
                    say(f"room RuntimeError: {error}")
            asyncio.run(main())
        room_begun = threading.Event()
        threading.Thread(target=wait_for_room).start()
        room_begun.wait()
        """,
        [f"room {REFUSAL}"],
        [f"room {REFUSAL}"],
    ),
    "async with": (
        """
        left = busy("left")
        left.queue(kw.Work(say, "left"))
        def leave():
            async def main():
                async with left:
                    left_begun.set()
            asyncio.run(main())
            say("async with is over")
        left_begun = threading.Event()
        threading.Thread(target=leave).start()
        left_begun.wait()
        """,
        ["left", "async with is over"],
        ["async with is over"],
    ),
    "map": (
        """
        mapped = busy("mapped")
        all_at_once = mapped.map(lambda number: say(f"map {number}"), range(3))
        some_at_once = mapped.map(lambda number: say(f"few {number}"), range(3), buffersize=2)
        """,
        ["map 0", "map 1", "map 2", "few 0", "few 1"],
        [],
    ),
    "shut down": (
        """
        shut = busy("shut")
        shut.submit(say, "shut")
        shut.shutdown(wait=False)
        """,
        ["shut"],
        [],
    ),
    "shut down and cancelled": (
        """
        emptied = busy("emptied")
        emptied.queue(kw.Work(say, "emptied"))
        emptied.submit(say, "never")
        emptied.shutdown(wait=False, cancel_futures=True)
        """,
        ["emptied"],
        [],
    ),
    "initializer": (  # one that is at work when the exit begins
        """
        def initialize(tag):
            until_the_exit()
            if not DAEMON:
                say(f"initialized {tag}")
        initialized = kw.Worker(daemon=DAEMON, initializer=initialize, initargs=("here",))
        initialized.queue(kw.Work(say, "after it"))
        """,
        ["initialized here", "after it"],
        [],
    ),
    "broken": (
        """
        import concurrent.futures.thread, logging
        logging.getLogger("concurrent.futures").addHandler(logging.NullHandler())
        def break_it():
            until_the_exit()
            raise LookupError
        broken = kw.Worker(daemon=DAEMON, initializer=break_it)
        broken.queue(kw.Work(say, "never"))
        broken_future = broken.submit(say, "never")
        broken_future.add_done_callback(lambda future: DAEMON or say(
            f"broken {type(future.exception()).__name__}"))
        """,
        ["broken BrokenThreadPool"],
        [],
    ),
    "watched": (
        """
        watched = busy("watched", watchdog=1000, traceback=True)
        watched.queue(kw.Work(say, "watched"))
        """,
        ["watched"],
        [],
    ),
    "native timers": (
        """
        tocking = busy("tocking")
        tocking.queue_delayed(kw.NativeWork(libc.usleep, 10), 1000)
        tocking.every(1000, kw.NativeWork(libc.usleep, 10))
        native_beat = kw.Worker("native beat", daemon=DAEMON)
        native_beat.every(0.001, kw.NativeWork(libc.usleep, 10))
        """,
        [],
        [],
    ),
}

# How the program ends: the source, the exit code, and what standard error has to be.
ENDINGS: dict[str, tuple[str, int, str]] = {
    "falls off": ("", 0, ""),
    "error": ("raise LookupError('the end of main')", 1, r"Traceback .*LookupError: .* main\n"),
    "sys.exit": ("sys.exit(7)", 7, ""),
    "sys.exit with words": ("sys.exit('last words')", 1, "last words\n"),
    "Ctrl-C": (
        "signal.raise_signal(signal.SIGINT); time.sleep(100)",
        -signal.SIGINT,
        r"Traceback .*KeyboardInterrupt\n",
    ),
    "SIGTERM handled": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(8))\n"
        "signal.raise_signal(signal.SIGTERM); time.sleep(100)",
        8,
        "",
    ),
    "SIGTERM": ("signal.raise_signal(signal.SIGTERM); time.sleep(100)", -signal.SIGTERM, ""),
    "os._exit": ("os._exit(9)", 9, ""),
}
AT_ONCE = ("SIGTERM", "os._exit")  # these end the process where it stands
# Workers that are asked to end before the program is: they go on until it ends.
ASKED_BEFORE = {"dropped", "async with", "shut down", "shut down and cancelled"}


def source_of(kinds, daemon, ending):
    parts = [textwrap.dedent(KINDS[kind][0]) for kind in kinds]
    return "\n".join(
        [f"DAEMON = {daemon}", PROLOGUE, *parts, "say('main ends')", ENDINGS[ending][0]]
    )


def complaints(result, kinds, daemon, ending):
    """What is wrong with how it went; the empty list: nothing."""
    _, code, err = ENDINGS[ending]
    found = []
    if not result.in_time:
        found.append("it hung")
    if result.returncode != code:
        found.append(f"exit code {result.returncode}")
    if not re.fullmatch(err, result.stderr, re.DOTALL):
        found.append("standard error")
    lines = result.stdout.splitlines()
    expected = ["main ends"]
    for kind in kinds:
        _, waited_for, dropped = KINDS[kind]
        if ending in AT_ONCE:
            expected += waited_for if kind == "destroyed" else []
        else:
            expected += dropped if daemon else waited_for
        own = [line for line in lines if line in waited_for]
        if not daemon and own != [line for line in waited_for if line in own]:
            found.append(f"order {own}")
    if daemon or ending in AT_ONCE:
        lines = [line for line in lines if line != "on_end"]
    if daemon or ending in AT_ONCE:
        going_on = {line for kind in ASKED_BEFORE for line in KINDS[kind][1]} - set(expected)
        lines = [line for line in lines if line not in going_on]
    if sorted(lines) != sorted(expected):
        missing = [line for line in expected if line not in lines]
        surplus = [line for line in lines if line not in expected]
        found.append(f"missing {missing}, too many {surplus}")
    if found:
        found.append(f"out: {result.stdout}\nerr: {result.stderr}")
    return found


def check_all(kw, cases, **options):
    """Run the cases, each kinds, daemon, ending by a name; all complaints of all at once."""
    results = run_all(
        {
            name: lambda case=case: run_until(kw, source_of(*case), *QUIET, **options)
            for name, case in cases.items()
        }
    )
    wrong = {name: complaints(results[name], *case) for name, case in cases.items()}
    wrong = {name: found for name, found in wrong.items() if found}
    assert not wrong, "\n".join(f"{name}: {'; '.join(found)}" for name, found in wrong.items())


@pytest.mark.parametrize("daemon", [False, True])
def test_all_is_outstanding_at_once(kw, daemon):
    """Buffered, so that the output is whole only if it is flushed after the last work."""
    # A daemon's callback is ended where it stands: what it was called with stays alive, the
    # module's globals too, so that these are not finalized.
    kinds = [kind for kind in KINDS if not (daemon and kind.startswith("finalizers"))]
    cases = {ending: (kinds, daemon, ending) for ending in ENDINGS if ending not in AT_ONCE}
    check_all(kw, cases, buffered=True)


@pytest.mark.parametrize("daemon", [False, True])
def test_process_ends_where_it_stands(kw, daemon):
    check_all(kw, {ending: (list(KINDS), daemon, ending) for ending in AT_ONCE})


@pytest.mark.parametrize("daemon", [False, True])
def test_few_kinds_are_outstanding(kw, daemon):
    """Fewer hide less of each other; those alone that end a process in silence or by finalizers."""
    alone = ["idle", "no thread", "native alone", "frozen", "finalizers"]
    others = [kind for kind in KINDS if kind not in alone and kind != "finalizers of the busy"]
    groups = [[kind] for kind in alone] + [others[i::9] for i in range(9)]
    groups.append(["finalizers", "finalizers of the busy"])
    check_all(kw, {", ".join(group): (group, daemon, "falls off") for group in groups})


# What a work can be doing that never ends.
ENDLESS = {
    "a loop": ("kw.Work(loop)", "<Work loop executing>"),
    "a lock": ("kw.Work(lock)", "<Work lock executing>"),
    "machine code": ("kw.NativeWork(libc.pause)", r"<NativeWork 0x[0-9a-f]+ executing>"),
    "a submitted call": ("loop", r"<\w+ loop executing>"),
}


@pytest.mark.parametrize("ending", [name for name in ENDINGS if name not in AT_ONCE])
def test_work_that_never_ends_is_given_up(kw, ending):
    """The output is whole, of atexit too; what other workers have pending has run."""
    end, code, err = ENDINGS[ending]

    def source(work):
        return f"""
DAEMON = False
{PROLOGUE}
def loop():
    entered.set()
    while True:
        time.sleep(0.001)
def lock():
    entered.set()
    threading.Event().wait()
worker = kw.Worker("endless", exit_timeout=0.25)
entered = threading.Event()
what = {work}
worker.submit(what) if callable(what) else worker.queue(what)
while not worker.current_work:
    time.sleep(0.001)
for _ in range(3):
    worker.queue(kw.Work(say, "never"))
worker.queue_delayed(kw.DelayedWork(say, "never"), 1000)
other = busy("other", exit_timeout=1000)
other.queue(kw.Work(say, "ran"))
atexit.register(say, "atexit")
say("main ends")
{end}
"""

    results = run_all(
        {
            name: lambda work=work: run_until(kw, source(work), *QUIET, buffered=True)
            for name, (work, _) in ENDLESS.items()
        }
    )
    for name, result in results.items():
        what = ENDLESS[name][1]
        line = f"pykworker: worker 'endless' given up at exit after 0.25 s: {what}, 3 pending\n"
        assert result.in_time, (name, result.stderr)
        assert result.stdout == "main ends\nran\natexit\n", (name, result.stderr)
        assert re.fullmatch(err + line, result.stderr, re.DOTALL), (name, result.stderr)
        assert result.returncode == code, name


# Who waits on a thread that the exit joins, for what was given up. A thread that serves it by
# run() is the user's own, which the interpreter joins whatever we do.
WAITERS = {
    "flush": "work.flush",
    "flush of a pending one": "pending.flush",
    "flush of the worker": "worker.flush",
    "cancel": "work.cancel",
    "destroy": "worker.destroy",
    "result": "call.result",
    "result of a pending one": "pending_call.result",
    "await of the call": "lambda: asyncio.run(worker.call(loop))",
    "await of a flush": "lambda: asyncio.run(worker.flushed())",
}


def test_who_waits_for_what_is_given_up_does_not_keep_the_process(kw):
    """Whatever becomes of these threads, the line is told and the process ends."""

    def source(name, waiter):
        return f"""
{PROLOGUE.replace("DAEMON", "False")}
def loop():
    entered.set()
    while True:
        time.sleep(0.001)
entered = threading.Event()
worker = kw.Worker("endless", exit_timeout=0.25)
work, pending = kw.Work(loop), kw.Work(int)
if {name!r}.startswith("result"):
    call, pending_call = worker.submit(loop), worker.submit(int)
elif {name!r} != "await of the call":
    worker.queue_many([work, pending])
threading.excepthook = lambda args: None
if {name!r} == "cancel":
    entered.wait()  # else it would drop what is to run
threading.Thread(target={waiter}).start()
entered.wait()
time.sleep(0.05)  # the sharper; it may come to its wait later
sys.exit(7)
"""

    results = run_all(
        {
            name: lambda name=name, waiter=waiter: run_until(
                kw, source(name, waiter), *QUIET, limit=30
            )
            for name, waiter in WAITERS.items()
        }
    )
    wrong = {name: result.stderr for name, result in results.items() if not result.in_time}
    assert not wrong, f"hung: {list(wrong)}"
    assert {result.returncode for result in results.values()} == {7}
    line = r"pykworker: worker 'endless' given up at exit after 0.25 s: .*\n"
    for name, result in results.items():
        assert re.fullmatch(line, result.stderr), (name, result.stderr)


def test_without_standard_error_nothing_is_told(kw):
    result = run_until(
        kw,
        """
        worker = kw.Worker(exit_timeout=0.1)
        entered = threading.Event()
        worker.queue(kw.Work(lambda: (entered.set(), threading.Event().wait())))
        entered.wait()
        sys.stderr = None
        sys.exit(7)
        """,
        *QUIET,
    )
    assert result.in_time
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 7)


def test_work_that_ends_in_time_is_not_given_up(kw):
    source = source_of(["queued", "submitted", "native"], False, "sys.exit")
    source = source.replace("daemon=DAEMON", "exit_timeout=1000")
    result = run_until(kw, source, *QUIET)
    assert not complaints(result, ["queued", "submitted", "native"], False, "sys.exit")


def test_each_worker_that_is_given_up_has_its_line(kw):
    """One a worker; one without works has none, one that is a daemon neither."""
    result = run_until(
        kw,
        """
        def loop():
            while True:
                time.sleep(0.001)
        workers = [kw.Worker(f"endless {number}", exit_timeout=0.1 * number) for number in range(3)]
        workers.append(kw.Worker("daemon", daemon=True, exit_timeout=0.1))
        for worker in workers:
            worker.queue(kw.Work(loop))
            while not worker.current_work:
                time.sleep(0.001)
        idle = kw.Worker("idle", exit_timeout=0)
        idle.flush()
        """,
        *QUIET,
    )
    assert result.in_time
    assert (result.stdout, result.returncode) == ("", 0)
    told = sorted(re.findall(r"^pykworker: worker '([\w ]+)' given up .*$", result.stderr, re.M))
    assert told == [f"endless {number}" for number in range(3)], result.stderr
    assert len(result.stderr.splitlines()) == 3, result.stderr


@pytest.mark.parametrize("how", ["LookupError('the end of main')", "SystemExit(7)"])
def test_loop_of_main_ends_with_calls_outstanding(kw, how):
    """asyncio.run cancels what is awaited: the pending one never runs, the running one goes on."""
    result = run_until(
        kw,
        f"""
        import asyncio
        worker = kw.Worker()
        entered = threading.Event()
        def body():
            entered.set()
            while not kw.should_stop():
                time.sleep(0.001)
            print("running ends")
        async def main():
            running = asyncio.create_task(worker.call(body))
            pending = asyncio.create_task(worker.call(print, "never"))
            await asyncio.to_thread(entered.wait)
            raise {how}
        asyncio.run(main())
        """,
        *QUIET,
    )
    assert result.in_time
    assert result.stdout == "running ends\n", result.stderr
    if how.startswith("System"):
        assert (result.stderr, result.returncode) == ("", 7)
    else:
        assert re.fullmatch(r"Traceback .*LookupError: the end of main\n", result.stderr, re.S)
        assert result.returncode == 1
