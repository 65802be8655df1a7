# SPDX-License-Identifier: GPL-2.0-only
"""How a worker's thread is scheduled: its class and priority, its CPUs, its cgroup.

The classes are what the user writes, ``scheduler=kw.Fifo(50)``. Below them is what the system is
asked and told, by the id of a thread, and what to say when it refuses: which right is missing, and
what it is now.
"""

from __future__ import annotations

import contextlib
import errno
import operator
import os
import platform
import re
import struct
import sys
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, NoReturn, cast

from pykworker._arguments import delay_seconds, interval_seconds

__all__ = [
    "Batch",
    "Deadline",
    "Fifo",
    "Idle",
    "Other",
    "RoundRobin",
    "Scheduler",
    "ThreadOptions",
    "cgroup_of",
    "cpu_list",
    "cpus_of",
    "explain",
    "join_cgroup",
    "lock_memory",
    "parse_cpus",
    "parse_scheduler",
    "scheduler_of",
    "set_cpus",
    "set_scheduler",
    "set_timer_slack",
    "thread_options",
]

# <linux/sched.h>
_OTHER, _FIFO, _RR, _BATCH, _IDLE, _DEADLINE = 0, 1, 2, 3, 5, 6
_RESET_ON_FORK = 0x40000000

_HIGHEST = 99
_MOST_CPUS = 1024  # CPU_SETSIZE
_SHORTEST_NS = 1024  # the kernel's least runtime


# --- what the user writes ----------------------------------------------------------------------


def _whole(value: object, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    number = operator.index(value)  # type: ignore[arg-type]
    if not least <= number <= most:
        raise ValueError(f"{name} must be in {least}...{most}, not {number}")
    return number


@dataclass(frozen=True, slots=True)
class Fifo:
    """SCHED_FIFO: runs before every thread of a lower priority, until it sleeps.

    *priority* is 1 to 99, the highest. Takes CAP_SYS_NICE, or RLIMIT_RTPRIO of at least that.

    Raises TypeError and ValueError for any other priority. See ``sched(7)``.

    >>> kw.Fifo(50)
    Fifo(priority=50)
    """

    priority: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "priority", _whole(self.priority, "priority", 1, _HIGHEST))


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """SCHED_RR: as :class:`Fifo`, but threads of one priority take turns.

    >>> kw.RoundRobin(1)
    RoundRobin(priority=1)
    """

    priority: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "priority", _whole(self.priority, "priority", 1, _HIGHEST))


@dataclass(frozen=True, slots=True)
class Deadline:
    """SCHED_DEADLINE: *runtime* of every *period*, given within *deadline* of its begin.

    All in seconds; *period* is the *deadline* when it is None. Takes CAP_SYS_NICE, a thread that
    may run on all CPUs, and so much bandwidth to be free.

    Raises TypeError for what is no number, ValueError unless 1.024 us <= runtime <= deadline <=
    period. See ``sched(7)``.

    >>> kw.Deadline(0.001, 0.005, 0.010)
    Deadline(runtime=0.001, deadline=0.005, period=0.01)
    """

    runtime: float
    deadline: float
    period: float | None = None

    def __post_init__(self) -> None:
        period = self.deadline if self.period is None else self.period
        for name, value in (
            ("runtime", self.runtime),
            ("deadline", self.deadline),
            ("period", period),
        ):
            object.__setattr__(self, name, interval_seconds(value, name))
        runtime, deadline, length = self._nanoseconds
        if not _SHORTEST_NS <= runtime <= deadline <= length:
            raise ValueError("it must be that 1.024 us <= runtime <= deadline <= period")

    @property
    def _nanoseconds(self) -> tuple[int, int, int]:
        """Runtime, deadline and period, as the system takes them."""
        period = self.deadline if self.period is None else self.period
        return round(self.runtime * 1e9), round(self.deadline * 1e9), round(period * 1e9)


@dataclass(frozen=True, slots=True)
class Other:
    """SCHED_OTHER: the usual, a share of the time.

    *nice* is -20, the largest share, to 19. Less than it is now takes CAP_SYS_NICE, or RLIMIT_NICE.

    >>> kw.Other(nice=5)
    Other(nice=5)
    """

    nice: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "nice", _whole(self.nice, "nice", -20, 19))


@dataclass(frozen=True, slots=True)
class Batch:
    """SCHED_BATCH: as :class:`Other`, for work that nobody waits for.

    >>> kw.Batch()
    Batch(nice=0)
    """

    nice: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "nice", _whole(self.nice, "nice", -20, 19))


@dataclass(frozen=True, slots=True)
class Idle:
    """SCHED_IDLE: runs when hardly anybody else wants to.

    >>> kw.Idle()
    Idle()
    """


Scheduler = Fifo | RoundRobin | Deadline | Other | Batch | Idle

_POLICIES: Final[dict[type, int]] = {
    Fifo: _FIFO, RoundRobin: _RR, Deadline: _DEADLINE, Other: _OTHER, Batch: _BATCH, Idle: _IDLE,
}  # fmt: skip
_WORDS: Final[dict[str, type]] = {
    "fifo": Fifo, "rr": RoundRobin, "deadline": Deadline, "other": Other, "batch": Batch,
    "idle": Idle,
}  # fmt: skip


def parse_scheduler(text: str) -> Scheduler:
    """Read what a command line says: ``fifo:50``, ``rr:50``, ``other``, ``other:-5``, ``batch``,
    ``idle``, ``deadline:0.001,0.005,0.01``.

    Raises ValueError.
    """
    word, colon, rest = text.strip().partition(":")
    kind = _WORDS.get(word.lower())
    if kind is None:
        raise ValueError(f"no scheduler {word!r}; there are {', '.join(_WORDS)}")
    names = [field.name for field in fields(kind)]
    values = rest.split(",") if colon else []
    takes = f"{word} takes {', '.join(names) or 'nothing'}"
    if kind is Deadline:
        takes += ", in seconds; without a period it is the deadline"
    try:
        numbers: list[Any] = [float(value) if kind is Deadline else int(value) for value in values]
    except ValueError:
        raise ValueError(f"{takes}, not {rest!r}") from None
    try:
        scheduler: Scheduler = kind(*numbers)
    except TypeError:
        raise ValueError(f"{takes}, not {rest!r}") from None
    return scheduler


class SchedulerNumbers(NamedTuple):
    """A scheduler as the system takes it."""

    policy: int
    priority: int = 0
    nice: int = 0
    runtime_ns: int = 0
    deadline_ns: int = 0
    period_ns: int = 0


def numbers_of(scheduler: Scheduler) -> SchedulerNumbers:
    policy = _POLICIES[type(scheduler)]
    match scheduler:
        case Fifo(priority) | RoundRobin(priority):
            return SchedulerNumbers(policy, priority)
        case Other(nice) | Batch(nice):
            return SchedulerNumbers(policy, 0, nice)
        case Deadline():
            return SchedulerNumbers(policy, 0, 0, *scheduler._nanoseconds)
        case _:
            return SchedulerNumbers(policy)


# --- CPUs --------------------------------------------------------------------------------------


def parse_cpus(value: object, name: str = "cpus") -> frozenset[int]:
    """Check a set of CPUs: ``"2-3,6"``, or an iterable of numbers.

    Raises TypeError; ValueError for none, for a malformed list, and for CPUs that do not exist.
    """
    if isinstance(value, str):
        cpus: set[int] = set()
        for part in value.split(","):
            found = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part, re.ASCII)
            first, last = (0, -1) if found is None else (int(found[1]), int(found[2] or found[1]))
            if last < first or last >= _MOST_CPUS:
                raise ValueError(f'{name} must be a list like "2-3,6", not {value!r}')
            cpus.update(range(first, last + 1))
    elif isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        numbers = cast(Iterable[object], value)
        cpus = {_whole(cpu, f"a number in {name}", 0, _MOST_CPUS - 1) for cpu in numbers}
    else:
        raise TypeError(f'{name} must be a list like "2-3,6" or a set, not {type(value).__name__}')
    if not cpus:
        raise ValueError(f"{name} must not be empty")
    missing = cpus - existing_cpus()
    if missing:
        raise ValueError(
            f"{name}: there is no CPU {cpu_list(missing)}; {cpu_list(existing_cpus())} exist"
        )
    return frozenset(cpus)


def cpu_list(cpus: Iterable[int]) -> str:
    """As the kernel writes it: ``2-3,6``."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and parts[-1][1] == cpu - 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def existing_cpus(root: str = "") -> set[int]:
    """Those that are switched on; *root* is in front of the paths of the system's files."""
    listed = _read(f"{root}/sys/devices/system/cpu/online")
    cpus: set[int] = set()
    for part in (listed or f"0-{(os.cpu_count() or 1) - 1}").split(","):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


# --- a worker's options ------------------------------------------------------------------------


class ThreadOptions(NamedTuple):
    """How a worker's thread is to be made; None: as its creator's."""

    scheduler: Scheduler | None = None
    cpus: frozenset[int] | None = None
    cgroup: str | None = None
    memory_lock: bool = False
    timer_slack: float | None = None  # seconds
    stack_size: int | None = None  # bytes


def check_scheduler(value: object) -> Scheduler:
    if type(value) not in _POLICIES:
        raise TypeError(
            f"scheduler must be {', '.join(kind.__name__ for kind in _POLICIES)} or None, "
            f"not {value!r}"
        )
    return value  # type: ignore[return-value]


def check_cgroup(value: object) -> str:
    path = os.fspath(value)  # type: ignore[call-overload]
    if not isinstance(path, str):
        raise TypeError(f"cgroup must be a path, not {type(value).__name__}")
    if not path or "\0" in path:
        raise ValueError("cgroup must be the path of a directory")
    return os.path.abspath(path)


def thread_options(
    *,
    scheduler: object,
    cpus: object,
    cgroup: object,
    memory_lock: object,
    timer_slack: object,
    stack_size: object,
) -> ThreadOptions:
    """Check what both backends' Worker takes, before anything is done with it.

    Raises TypeError and ValueError.
    """
    slack = None if timer_slack is None else delay_seconds(timer_slack, "timer_slack")
    if slack is not None and not 1e-9 <= slack < 2**62 / 1e9:
        raise ValueError("timer_slack must be at least 1 ns")
    if stack_size is not None:
        stack_size = _whole(stack_size, "stack_size", 1, sys.maxsize)
        least = _least_stack()
        if stack_size < least:
            raise ValueError(f"stack_size must be at least {least} bytes")
    return ThreadOptions(
        None if scheduler is None else check_scheduler(scheduler),
        None if cpus is None else parse_cpus(cpus),
        None if cgroup is None else check_cgroup(cgroup),
        bool(memory_lock),
        slack,
        stack_size,
    )


def _least_stack() -> int:
    try:
        return max(os.sysconf("SC_THREAD_STACK_MIN"), 32768)
    except (AttributeError, OSError, ValueError):
        return 32768


# --- what the system is asked and told ---------------------------------------------------------

# sched_setattr and sched_getattr
_SYSCALLS = {
    "x86_64": (314, 315), "aarch64": (274, 275), "riscv64": (274, 275), "i686": (351, 352),
    "i386": (351, 352), "armv7l": (380, 381), "armv6l": (380, 381), "ppc64le": (355, 356),
    "s390x": (345, 346), "loongarch64": (274, 275),
}  # fmt: skip
_ATTR = struct.Struct("=IIQiIQQQ")  # struct sched_attr, version 0


def _require(what: str) -> None:
    if not hasattr(os, what):
        raise NotImplementedError("this system has no scheduling by thread")


def _sched_attr(get: bool, tid: int, content: bytes = b"") -> bytes:
    """Call sched_getattr, or sched_setattr with *content*; returns what is there then."""
    import ctypes  # not before it is needed: a subinterpreter of 3.12 has none

    numbers = _SYSCALLS.get(platform.machine())
    if numbers is None or sys.platform != "linux":
        raise NotImplementedError("SCHED_DEADLINE is not known on this system")
    call = ctypes.CDLL(None, use_errno=True).syscall
    attr = ctypes.create_string_buffer(content, _ATTR.size)
    number = ctypes.c_long(numbers[get])
    last = (ctypes.c_uint(_ATTR.size),) if get else ()
    if call(number, ctypes.c_long(tid), attr, *last, ctypes.c_uint(0)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return attr.raw


def set_scheduler(tid: int, scheduler: Scheduler) -> None:
    """Give a thread another class; 0: the calling one.

    Raises what :func:`explain` makes of a refusal.
    """
    numbers = numbers_of(scheduler)
    try:
        if isinstance(scheduler, Deadline):
            attr = (_ATTR.size, _DEADLINE, 0, 0, 0, *scheduler._nanoseconds)
            _sched_attr(False, tid, _ATTR.pack(*attr))
            return
        _require("sched_setscheduler")
        nice = None
        if isinstance(scheduler, (Other, Batch)):
            nice = os.getpriority(os.PRIO_PROCESS, tid)
            # First, since it may be refused, and changes nothing for one of another class.
            os.setpriority(os.PRIO_PROCESS, tid, numbers.nice)
        try:
            os.sched_setscheduler(tid, numbers.policy, os.sched_param(numbers.priority))
        except BaseException:
            if nice is not None:
                os.setpriority(os.PRIO_PROCESS, tid, nice)
            raise
    except OSError as error:
        explain("scheduler", error.errno or 0, ThreadOptions(scheduler=scheduler))


def scheduler_of(tid: int) -> Scheduler:
    """What a thread has now; 0: the calling one. Raises OSError."""
    _require("sched_getscheduler")
    policy = os.sched_getscheduler(tid) & ~_RESET_ON_FORK
    match policy:
        case _ if policy == _FIFO:
            return Fifo(os.sched_getparam(tid).sched_priority)
        case _ if policy == _RR:
            return RoundRobin(os.sched_getparam(tid).sched_priority)
        case _ if policy == _BATCH:
            return Batch(os.getpriority(os.PRIO_PROCESS, tid))
        case _ if policy == _IDLE:
            return Idle()
        case _ if policy == _DEADLINE:
            runtime, deadline, period = _ATTR.unpack(_sched_attr(True, tid))[5:]
            return Deadline(runtime / 1e9, deadline / 1e9, period / 1e9)
        case _:
            return Other(os.getpriority(os.PRIO_PROCESS, tid))


def set_cpus(tid: int, cpus: frozenset[int]) -> None:
    """Have a thread run on these alone; 0: the calling one. Raises as :func:`set_scheduler`."""
    try:
        _require("sched_setaffinity")
        os.sched_setaffinity(tid, cpus)
    except OSError as error:
        explain("cpus", error.errno or 0, ThreadOptions(cpus=cpus))


def cpus_of(tid: int) -> frozenset[int]:
    """Those that a thread may run on; 0: the calling one. Raises OSError."""
    _require("sched_getaffinity")
    return frozenset(os.sched_getaffinity(tid))


def join_cgroup(tid: int, directory: str) -> None:
    """Put a thread into a cgroup, v1 or v2. Raises as :func:`set_scheduler`."""
    try:
        for name in ("cgroup.threads", "tasks"):
            try:
                file = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                os.write(file, str(tid).encode())
            finally:
                os.close(file)
            return
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except OSError as error:
        explain("cgroup", error.errno or 0, ThreadOptions(cgroup=directory))


def cgroup_mounts(root: str = "") -> list[tuple[str, frozenset[str]]]:
    """Where cgroups are mounted, and the controllers there; v2: none named."""
    mounts: list[tuple[str, frozenset[str]]] = []
    for line in (_read(f"{root}/proc/self/mounts") or "").splitlines():
        _, where, kind, options, *_ = line.split()
        where = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), where)
        if kind == "cgroup2":
            mounts.append((where, frozenset[str]()))
        elif kind == "cgroup":
            mounts.append((where, frozenset(options.split(","))))
    return mounts


def cgroup_of(tid: int, asked: str | None) -> str | None:
    """Where a thread is: in the hierarchy of *asked*, else in v2's. None: there is none.

    Raises OSError.
    """
    with open(f"/proc/self/task/{tid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    mounts = cgroup_mounts()
    if asked is not None:
        above = [mount for mount in mounts if _is_under(asked, mount[0])]
        mounts = sorted(above, key=lambda mount: len(mount[0]))[-1:]
    for where, names in sorted(mounts, key=lambda mount: bool(mount[1])):
        for _, controllers, path in lines:
            if frozenset(filter(None, controllers.split(","))) <= names and (
                bool(controllers) == bool(names)
            ):
                return os.path.normpath(where + path)
        if asked is None and not names:
            break
    return None


def _is_under(path: str, directory: str) -> bool:
    return os.path.commonpath([os.path.realpath(path), directory]) == directory


def set_timer_slack(seconds: float) -> None:
    """Of the calling thread. Raises as :func:`set_scheduler`."""
    try:
        path = f"/proc/{threading.get_native_id()}/timerslack_ns"
        with open(path, "w", encoding="ascii") as file:
            file.write(str(max(1, round(seconds * 1e9))))
    except OSError as error:
        explain("timer_slack", error.errno or 0, ThreadOptions(timer_slack=seconds))


def lock_memory() -> None:
    """Keep all memory of the process resident, now and in future: a page that was used once
    faults no more.

    For what must not wait for the disk, or for the kernel to find a page; on glibc the C library
    keeps what is freed, besides. Takes CAP_IPC_LOCK, or RLIMIT_MEMLOCK of more than the process
    will have.

    Raises PermissionError or OSError, which says what the limit is; NotImplementedError where
    there is nothing of the kind.

    From any thread; takes as long as it takes to read in what is not resident. As ``mlockall(2)``.

    >>> try:
    ...     kw.lock_memory()
    ... except OSError as error:
    ...     assert "RLIMIT_MEMLOCK" in str(error)
    """
    if sys.platform != "linux":
        raise NotImplementedError("memory can't be locked on this system")
    import ctypes  # as above

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) < 0:
        explain("memory_lock", ctypes.get_errno(), ThreadOptions(memory_lock=True))
    if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
        libc.mallopt(_M_MMAP_MAX, 0)


_MCL_CURRENT, _MCL_FUTURE = 1, 2  # <sys/mman.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h>


class Setup:
    """What a thread of the pure backend sets on itself before it runs anything."""

    def __init__(self, options: ThreadOptions) -> None:
        self.options = options
        self.failure: BaseException | None = None
        self._told = threading.Event()
        if options == ThreadOptions(stack_size=options.stack_size):
            self._told.set()  # nobody need wait

    def apply(self) -> bool:
        """On the thread itself. False: something was refused, and is the failure."""
        options = self.options
        try:
            if options.timer_slack is not None:
                set_timer_slack(options.timer_slack)
            tid = threading.get_native_id()
            if options.cgroup is not None:
                join_cgroup(tid, options.cgroup)
            if options.cpus is not None:
                set_cpus(tid, options.cpus)
            if options.scheduler is not None:
                set_scheduler(tid, options.scheduler)
            if options.memory_lock:
                lock_memory()  # last: all else ends with the thread, if it is refused
        except BaseException as failure:
            self.failure = failure
        return self.failure is None

    def tell(self) -> None:
        self._told.set()

    def wait(self) -> None:
        """By who starts the thread."""
        self._told.wait()


_stack_size_lock = threading.Lock()  # threading's setting is the process's


@contextlib.contextmanager
def stack_size(size: int | None) -> Generator[None]:
    """Threads that are started in its "with" have a stack of so many bytes; None: the usual one."""
    if size is None:
        yield
        return
    with _stack_size_lock:
        page = 4096
        before = threading.stack_size(-(-size // page) * page)
        try:
            yield
        finally:
            threading.stack_size(before)


# --- when it refuses ---------------------------------------------------------------------------


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def _limit(name: str) -> str:
    """The soft limit as text."""
    import resource

    value = resource.getrlimit(getattr(resource, name))[0]
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def _why_no_scheduler(number: int, scheduler: Scheduler | None) -> str:
    match scheduler:
        case Fifo(priority) | RoundRobin(priority) if number in (errno.EPERM, errno.EACCES):
            return (
                f"it takes CAP_SYS_NICE, or RLIMIT_RTPRIO (ulimit -r) of at least {priority}, "
                f"which is {_limit('RLIMIT_RTPRIO')}; or the cgroup of its thread, with the v1 "
                "controller cpu, has no time for real-time threads (cpu.rt_runtime_us)"
            )
        case Other(nice) | Batch(nice) if number in (errno.EPERM, errno.EACCES):
            return (
                f"it takes CAP_SYS_NICE, or RLIMIT_NICE (ulimit -e) of at least {20 - nice}, "
                f"which is {_limit('RLIMIT_NICE')}"
            )
        case Deadline() if number == errno.EPERM:
            return (
                "it takes CAP_SYS_NICE, and a thread that may run on all CPUs of its cpuset "
                "(leave cpus out)"
            )
        case Deadline() if number == errno.EBUSY:
            return "the CPUs have not so much bandwidth left for deadlines (sched_rt_runtime_us)"
        case Deadline() if number == errno.EINVAL:
            return "the system does not take these times (/proc/sys/kernel/sched_deadline_*)"
        case _:
            return os.strerror(number)


def _why_no_cgroup(number: int, directory: str) -> str:
    if number == errno.ENOENT:
        if os.path.isdir(directory):
            return "the directory is no cgroup: it has neither cgroup.threads nor tasks"
        where = [f"{path} ({'v2' if not names else 'v1'})" for path, names in cgroup_mounts()]
        return f"there is none; cgroups are mounted at {', '.join(where) or 'no place'}"
    if number == errno.EOPNOTSUPP:
        kind = _read(os.path.join(directory, "cgroup.type")) or "unknown"
        return (
            "threads join a cgroup v2 only when it is threaded, and in the threaded subtree that "
            f"their process is in; its cgroup.type is {kind!r}: write threaded to it"
        )
    if number in (errno.EPERM, errno.EACCES):
        return (
            "it takes the right to write to its cgroup.threads or tasks (and, in v2, to "
            "cgroup.procs of the common ancestor)"
        )
    if number == errno.ENOSPC:
        return "its cpuset.cpus or cpuset.mems is empty"
    if number == errno.EINVAL:
        return "a real-time thread needs cpu.rt_runtime_us greater than 0 there"
    if number == errno.EBUSY:
        return "it hands controllers on to its children, and so takes no threads"
    return os.strerror(number)


def explain(part: str, number: int, options: ThreadOptions) -> NoReturn:
    """Raise what says which of the *options* the system refused, and what would allow it.

    *number* is the errno. PermissionError, FileNotFoundError and the like, as Python has them for
    each errno; ValueError for CPUs, and for what the system does not know.
    """
    value = getattr(options, part, None)
    match part:
        case "scheduler":
            why = _why_no_scheduler(number, options.scheduler)
        case "cpus":
            value = cpu_list(options.cpus or ())
            why = os.strerror(number)
            if number == errno.EINVAL:
                allowed = (_allowed_cpus() or "unknown").strip()
                raise ValueError(
                    f"cpus {value!r} refused: its cpuset has none of them; CPUs "
                    f"{cpu_list(existing_cpus())} exist, {allowed} are allowed"
                )
        case "cgroup":
            why = _why_no_cgroup(number, options.cgroup or "")
        case "memory_lock":
            why = (
                f"it takes CAP_IPC_LOCK, or RLIMIT_MEMLOCK (ulimit -l) of more than the process "
                f"has; it is {_limit('RLIMIT_MEMLOCK')} bytes"
            )
        case _:
            why = os.strerror(number)
    raise OSError(number, f"{part} {value!r} refused: {why}")


def _allowed_cpus() -> str | None:
    found = re.search(r"^Cpus_allowed_list:(.*)$", _read("/proc/self/status") or "", re.MULTILINE)
    return found[1] if found else None
