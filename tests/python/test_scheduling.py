# SPDX-License-Identifier: GPL-2.0-only
"""Class, CPUs, cgroup, memory and stack of a worker's thread, by the system's own account."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading

import pytest
from helpers import LIMIT, hold, run_script, script_command

from pykworker import _scheduling

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="scheduling by thread is Linux's"),
]

UNIFIED = next((path for path, names in _scheduling.cgroup_mounts() if not names), "/sys/fs/cgroup")
FREEZER = next((path for path, names in _scheduling.cgroup_mounts() if "freezer" in names), None)


def may_be_realtime():
    def attempt():
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            allowed.append(True)

    allowed = []
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(allowed)


realtime = pytest.mark.skipif(not may_be_realtime(), reason="SCHED_FIFO is not permitted here")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="it takes root")
two_cpus = pytest.mark.skipif(
    not {0, 1} <= os.sched_getaffinity(0), reason="CPUs 0 and 1 are not ours"
)


def policy_of(worker):
    return os.sched_getscheduler(worker.native_id) & ~os.SCHED_RESET_ON_FORK


@pytest.fixture
def cgroup():
    """A cgroup of v1 that this process may use."""
    if FREEZER is None or not os.access(f"{FREEZER}/tasks", os.W_OK):
        pytest.skip("there is no cgroup v1 that may be written")
    path = f"{FREEZER}/pykworker-{os.getpid()}"
    os.mkdir(path)
    yield path
    remove(path)


@pytest.fixture
def unified(request):
    """One of v2, not yet threaded."""
    if not os.access(f"{UNIFIED}/cgroup.threads", os.W_OK):
        pytest.skip("there is no cgroup v2 that may be written")
    path = f"{UNIFIED}/pykworker-{os.getpid()}"
    os.mkdir(path)
    yield path
    remove(path)


def remove(path):
    for _ in range(1000):
        try:
            os.rmdir(path)
            return
        except OSError as error:
            if error.errno != errno.EBUSY:  # a thread that has just ended counts for a moment
                raise
        threading.Event().wait(0.01)
    raise AssertionError(f"{path} stays busy")


# -- the classes


@pytest.mark.parametrize("priority", [0, 100, -1])
def test_priority_out_of_range(kw, priority):
    for kind in (kw.Fifo, kw.RoundRobin):
        with pytest.raises(ValueError, match=r"priority must be in 1\.\.\.99"):
            kind(priority)


@pytest.mark.parametrize("value", ["50", 50.0, None, True])
def test_priority_of_a_bad_type(kw, value):
    with pytest.raises(TypeError, match="priority must be an integer"):
        kw.Fifo(value)


@pytest.mark.parametrize("nice", [-21, 20])
def test_nice_out_of_range(kw, nice):
    for kind in (kw.Other, kw.Batch):
        with pytest.raises(ValueError, match="nice"):
            kind(nice=nice)


@pytest.mark.parametrize(
    "times", [(2, 1), (1, 3, 2), (1e-9, 1), (0, 1), (-1, 1), (float("nan"), 1), (1, float("inf"))]
)
def test_times_that_no_deadline_has(kw, times):
    with pytest.raises(ValueError, match="must"):
        kw.Deadline(*times)


def test_classes_are_values(kw):
    assert kw.Fifo(50) == kw.Fifo(50) != kw.RoundRobin(50)
    assert len({kw.Other(), kw.Other(nice=0), kw.Idle(), kw.Batch()}) == 3
    assert repr(kw.Deadline(1, 2)) == "Deadline(runtime=1.0, deadline=2.0, period=2.0)"
    with pytest.raises(AttributeError):
        kw.Fifo(50).priority = 51


@pytest.mark.parametrize(
    ("text", "scheduler"),
    [
        ("fifo:50", _scheduling.Fifo(50)),
        ("RR:1", _scheduling.RoundRobin(1)),
        ("other", _scheduling.Other()),
        ("other:-5", _scheduling.Other(-5)),
        ("batch:19", _scheduling.Batch(19)),
        ("idle", _scheduling.Idle()),
        ("deadline:0.001,0.002", _scheduling.Deadline(0.001, 0.002)),
        ("deadline:0.001,0.002,0.004", _scheduling.Deadline(0.001, 0.002, 0.004)),
    ],
)
def test_scheduler_is_read(text, scheduler):
    assert _scheduling.parse_scheduler(text) == scheduler


@pytest.mark.parametrize(
    "text",
    ["", "fifo", "fifo:", "fifo:x", "fifo:1,2", "idle:1", "deadline:1", "deadline:2,1", "no"],
)
def test_scheduler_that_is_none(text):
    with pytest.raises(ValueError, match=r"\w"):
        _scheduling.parse_scheduler(text)


# -- CPU lists


def test_cpu_lists_are_read_and_written(monkeypatch):
    monkeypatch.setattr(_scheduling, "existing_cpus", lambda: set(range(64)))
    for text, cpus in (("0", {0}), ("2-3,6", {2, 3, 6}), (" 1 , 0 ", {0, 1}), ("5-5", {5})):
        assert _scheduling.parse_cpus(text) == cpus
    assert _scheduling.cpu_list({6, 2, 3}) == "2-3,6"
    assert _scheduling.cpu_list([]) == ""
    for cpus in ({1, 2, 3, 9}, {0}, set(range(64)), {0, 2, 4}):
        assert _scheduling.parse_cpus(_scheduling.cpu_list(cpus)) == cpus


@pytest.mark.parametrize("cpus", ["", "x", "1-", "-1", "1-0", "0,,1", "0,", "0-1-2", "0 1", "1e3"])
def test_malformed_cpu_list(kw, cpus):
    with pytest.raises(ValueError, match="cpus must be a list"):
        kw.Worker(cpus=cpus)


@pytest.mark.parametrize("cpus", [7, 1.5, b"0", [0.5], ["0"], [None]])
def test_cpus_of_a_bad_type(kw, cpus):
    with pytest.raises(TypeError, match="cpus"):
        kw.Worker(cpus=cpus)


def test_cpus_that_do_not_exist_are_named(kw):
    with pytest.raises(ValueError, match=r"there is no CPU 1022-1023; [-0-9,]+ exist"):
        kw.Worker(cpus="0,1022-1023")
    with pytest.raises(ValueError, match="must not be empty"):
        kw.Worker(cpus=())


# -- from the beginning


@realtime
@pytest.mark.parametrize("kind", ["Fifo", "RoundRobin"])
def test_first_work_runs_in_the_class_that_was_asked_for(kw, kind):
    scheduler = getattr(kw, kind)(7)
    with kw.Worker(scheduler=scheduler) as worker:
        policy, priority = worker.submit(
            lambda: (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)
        ).result(LIMIT)
        assert policy == (os.SCHED_FIFO if kind == "Fifo" else os.SCHED_RR)
        assert priority == 7
        assert worker.scheduler == scheduler
    assert worker.scheduler == scheduler  # what its next thread would have


def test_niceness_is_the_thread_s_alone(kw):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with kw.Worker(scheduler=kw.Other(nice=11)) as worker:
        assert worker.submit(os.getpriority, os.PRIO_PROCESS, 0).result(LIMIT) == 11
        assert worker.scheduler == kw.Other(nice=11)
        assert os.getpriority(os.PRIO_PROCESS, 0) == before
    with kw.Worker(scheduler=kw.Batch(3)) as worker:
        assert worker.scheduler == kw.Batch(3)
        assert policy_of(worker) == os.SCHED_BATCH
    with kw.Worker(scheduler=kw.Idle()) as worker:
        assert worker.scheduler == kw.Idle()
        assert policy_of(worker) == os.SCHED_IDLE


@realtime
def test_deadline(kw):
    scheduler = kw.Deadline(0.001, 0.005, 0.02)
    try:
        worker = kw.Worker(scheduler=scheduler)
    except (NotImplementedError, PermissionError, OSError) as error:
        if getattr(error, "errno", None) in (errno.EINVAL, None):
            raise
        pytest.skip(f"SCHED_DEADLINE is not permitted here: {error}")
    with worker:
        assert worker.scheduler == scheduler
        assert policy_of(worker) == 6
        assert worker.submit(int).result(LIMIT) == 0
        worker.scheduler = longer = kw.Deadline(0.002, 0.01)
        assert worker.scheduler == longer


@realtime
@as_root
@two_cpus
def test_deadline_on_some_cpus_alone_says_why_not(kw):
    with pytest.raises(PermissionError, match="may run on all CPUs"):
        kw.Worker(scheduler=kw.Deadline(0.001, 0.005), cpus="0")


@two_cpus
def test_first_work_runs_where_it_may(kw):
    for cpus in ("1", {0}, [0, 1], "0-1"):
        with kw.Worker(cpus=cpus) as worker:
            expected = _scheduling.parse_cpus(cpus)
            assert worker.submit(os.sched_getaffinity, 0).result(LIMIT) == expected
            assert worker.cpus == expected
    assert os.sched_getaffinity(0) >= {0, 1}


def test_cgroup_of_v1(kw, cgroup):
    with kw.Worker(cgroup=cgroup) as worker:
        with open(f"{cgroup}/tasks") as tasks:
            assert tasks.read().split() == [str(worker.native_id)]
        assert worker.cgroup == cgroup
        with kw.Worker() as another:
            another.cgroup = cgroup
            with open(f"{cgroup}/tasks") as tasks:
                found = sorted(map(int, tasks.read().split()))
            assert found == sorted([worker.native_id, another.native_id])
            another.cgroup = FREEZER
            assert another.cgroup == FREEZER


def test_cgroup_of_v2(kw, unified):
    with pytest.raises(OSError, match="write threaded to it") as refused:
        kw.Worker(cgroup=unified)
    assert refused.value.errno == errno.EOPNOTSUPP
    with open(f"{unified}/cgroup.type", "w") as file:
        file.write("threaded")
    with kw.Worker(cgroup=unified) as worker:
        with open(f"{unified}/cgroup.threads") as threads:
            assert threads.read().split() == [str(worker.native_id)]
        assert worker.cgroup == unified
        worker.cgroup = UNIFIED
        assert worker.cgroup == UNIFIED


def test_cgroup_that_is_none(kw, tmp_path):
    with pytest.raises(FileNotFoundError, match="cgroups are mounted at"):
        kw.Worker(cgroup="/sys/fs/cgroup/there-is-none-of-this-name")
    with pytest.raises(FileNotFoundError, match="the directory is no cgroup"):
        kw.Worker(cgroup=tmp_path)
    for bad, kind in (("", ValueError), ("a\0b", ValueError), (7, TypeError), (b"x", TypeError)):
        with pytest.raises(kind):
            kw.Worker(cgroup=bad)


def test_timer_slack(kw):
    def slack():
        with open(f"/proc/{threading.get_native_id()}/timerslack_ns") as file:
            return int(file.read())

    with kw.Worker(timer_slack=1e-6) as worker:
        assert worker.submit(slack).result(LIMIT) == 1000
    with kw.Worker() as worker:
        assert worker.submit(slack).result(LIMIT) == slack()
    for bad, kind in ((0, ValueError), (-1, ValueError), ("1", TypeError)):
        with pytest.raises(kind, match="timer_slack"):
            kw.Worker(timer_slack=bad)


def test_stack_size(kw):
    def mapped():
        # The mapping that the present frame of C lies in has the thread's stack.
        import ctypes

        here = ctypes.addressof(ctypes.c_char.from_buffer(bytearray(1)))
        assert here
        with open("/proc/thread-self/maps") as maps:
            return {
                end - begin
                for begin, end in (
                    (int(part, 16) for part in line.split()[0].split("-")) for line in maps
                )
            }

    size = 13 << 20
    with kw.Worker(stack_size=size + 1) as worker:
        sizes = worker.submit(mapped).result(LIMIT)
        assert any(size < found <= size + (1 << 20) for found in sizes)
    for bad, kind in ((0, ValueError), (100, ValueError), ("1", TypeError), (1.5, TypeError)):
        with pytest.raises(kind, match="stack_size"):
            kw.Worker(stack_size=bad)
    assert threading.stack_size() == 0


# -- as it lives


@realtime
def test_living_worker_changes_its_class(kw):
    with kw.Worker() as worker:
        for scheduler in (
            kw.Fifo(50), kw.Other(nice=-5), kw.RoundRobin(1), kw.Batch(), kw.Idle(), kw.Fifo(99),
        ):  # fmt: skip
            worker.scheduler = scheduler
            assert worker.scheduler == scheduler
            assert worker.submit(os.sched_getscheduler, 0).result(LIMIT) == policy_of(worker)
        worker.stop()
        assert worker.scheduler == kw.Fifo(99)
        worker.start()
        assert worker.scheduler == kw.Fifo(99)
        assert policy_of(worker) == os.SCHED_FIFO


@two_cpus
def test_living_worker_changes_its_cpus(kw):
    with kw.Worker(start=False) as worker:
        assert worker.cpus is None
        worker.cpus = "1"  # for its thread to come
        assert worker.cpus == {1}
        worker.start()
        assert worker.submit(os.sched_getaffinity, 0).result(LIMIT) == {1}
        worker.cpus = [0]
        assert worker.submit(os.sched_getaffinity, 0).result(LIMIT) == {0} == worker.cpus
        with pytest.raises(ValueError, match="list"):
            worker.cpus = "0-"
        assert worker.cpus == {0}


def test_reading_says_what_the_system_says_and_not_what_was_asked(kw):
    with kw.Worker(scheduler=kw.Other(nice=3)) as worker:
        os.setpriority(os.PRIO_PROCESS, worker.native_id, 9)
        assert worker.scheduler == kw.Other(nice=9)


def test_change_from_its_own_callback_and_while_it_runs(kw):
    with kw.Worker() as worker:
        gate = hold(kw, worker)
        worker.scheduler = kw.Other(nice=6)
        gate.open()
        assert worker.submit(os.getpriority, os.PRIO_PROCESS, 0).result(LIMIT) == 6
        worker.submit(setattr, worker, "scheduler", kw.Other(nice=8)).result(LIMIT)
        assert worker.scheduler == kw.Other(nice=8)


@pytest.mark.parametrize("value", [None, 50, "fifo:50", object()])
def test_scheduler_of_a_bad_type(kw, value):
    with kw.Worker() as worker, pytest.raises(TypeError, match="scheduler must be Fifo"):
        worker.scheduler = value
    if value is not None:
        with pytest.raises(TypeError, match="scheduler must be Fifo"):
            kw.Worker(scheduler=value)


def test_destroyed_worker_refuses(kw):
    with kw.Worker() as worker:
        pass
    for name, value in (("scheduler", kw.Other()), ("cpus", "0"), ("cgroup", "/")):
        with pytest.raises(RuntimeError, match="after shutdown"):
            setattr(worker, name, value)


def test_thread_of_somebody_else_is_left_as_it_is_until_it_is_asked_for(kw):
    with kw.Worker(start=False, scheduler=kw.Other(nice=7)) as worker:
        future = worker.submit(os.getpriority, os.PRIO_PROCESS, 0)
        worker.run_pending()
        assert future.result(LIMIT) == os.getpriority(os.PRIO_PROCESS, 0)


# -- refused as a whole


def test_refused_worker_leaves_nothing(kw):
    tasks = len(os.listdir("/proc/self/task"))
    for options in ({"cgroup": "/nonexistent"}, {"cgroup": "/nonexistent", "cpus": "0"}):
        for _ in range(5):
            with pytest.raises(FileNotFoundError):
                kw.Worker(scheduler=kw.Other(nice=5), **options)
    for _ in range(1000):
        if len(os.listdir("/proc/self/task")) <= tasks:
            break
        threading.Event().wait(0.01)
    assert len(os.listdir("/proc/self/task")) <= tasks
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("kworker")]


def test_refused_start_can_be_made_again(kw):
    with kw.Worker(start=False, cgroup="/nonexistent") as worker:
        future = worker.submit(int)
        with pytest.raises(FileNotFoundError):
            worker.start()
        assert not worker.is_alive()
        assert not future.done()
    assert future.cancelled()


WITHOUT_RIGHTS = """
import resource
for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_NICE, resource.RLIMIT_MEMLOCK):
    resource.setrlimit(limit, (0, 0))
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)

def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except OSError as error:
        print(type(error).__name__, error.args[1])

refused(kw.Worker, scheduler=kw.Fifo(50))
refused(kw.Worker, scheduler=kw.Other(nice=-5))
refused(kw.Worker, memory_lock=True)
refused(kw.lock_memory)
with kw.Worker() as worker:
    refused(setattr, worker, "scheduler", kw.RoundRobin(3))
    print(worker.scheduler == kw.Other(os.getpriority(os.PRIO_PROCESS, 0)))
    worker.scheduler = kw.Batch(19)
    print(worker.scheduler)
"""


def test_without_rights_it_says_what_would_allow_it(kw):
    result = run_script(kw, WITHOUT_RIGHTS)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    fifo, nice, locked, lock, rr, same, batch = lines
    assert fifo.startswith("PermissionError scheduler Fifo(priority=50) refused: it takes CAP_SYS")
    assert "RLIMIT_RTPRIO (ulimit -r) of at least 50, which is 0" in fifo
    assert nice.startswith(
        "PermissionError scheduler Other(nice=-5) refused: it takes CAP_SYS_NICE"
    )
    assert "RLIMIT_NICE (ulimit -e) of at least 25, which is 0" in nice
    for line in (locked, lock):
        assert "memory_lock True refused: it takes CAP_IPC_LOCK, or RLIMIT_MEMLOCK" in line
        assert "it is 0 bytes" in line
    assert "RoundRobin(priority=3) refused" in rr
    assert (same, batch) == ("True", "Batch(nice=19)")


@as_root
def test_cgroup_without_rights(kw, cgroup):
    result = run_script(
        kw,
        WITHOUT_RIGHTS.partition("refused(kw.Worker")[0]
        + f"refused(kw.Worker, cgroup={cgroup!r})\n",
    )
    assert result.stdout.startswith("PermissionError cgroup"), result.stderr
    assert "the right to write" in result.stdout


# -- memory


def test_locked_memory(kw):
    command, env = script_command(
        kw,
        """
        def locked():
            with open("/proc/self/status") as status:
                lines = [line for line in status if line.startswith("VmLck:")]
            return int(lines[0].split()[1])
        before = locked()
        try:
            worker = kw.Worker(memory_lock=True, stack_size=1 << 20)
        except OSError as error:
            print("skip", error)
            raise SystemExit
        print(before, locked() > 1000, worker.submit(int).result())
        kw.lock_memory()
        worker.destroy()
        """,
    )
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    if result.stdout.startswith("skip"):
        pytest.skip(result.stdout)
    assert result.stdout == "0 True 0\n"


# -- what explain says of the rest


@pytest.mark.parametrize(
    ("part", "number", "options", "kind", "text"),
    [
        ("scheduler", errno.EBUSY, {"scheduler": _scheduling.Deadline(1, 2)}, OSError, "bandwidth"),
        ("scheduler", errno.EINVAL, {"scheduler": _scheduling.Deadline(1, 2)}, OSError, "these ti"),
        ("cpus", errno.EINVAL, {"cpus": frozenset({0})}, ValueError, "are allowed"),
        ("cpus", errno.EPERM, {"cpus": frozenset({0})}, PermissionError, "cpus '0' refused"),
        ("cgroup", errno.ENOSPC, {"cgroup": "/x"}, OSError, "cpuset.cpus"),
        ("cgroup", errno.EINVAL, {"cgroup": "/x"}, OSError, "rt_runtime"),
        ("cgroup", errno.EBUSY, {"cgroup": "/x"}, OSError, "controllers"),
        ("stack_size", errno.EINVAL, {"stack_size": 5}, OSError, "stack_size 5 refused"),
    ],
)
def test_what_is_said_of_other_refusals(part, number, options, kind, text):
    with pytest.raises(kind, match=text):
        _scheduling.explain(part, number, _scheduling.ThreadOptions(**options))
