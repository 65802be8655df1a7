# SPDX-License-Identifier: GPL-2.0-only
"""What a worker has to change and show how its thread is scheduled; both backends share it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from pykworker import _scheduling
from pykworker._scheduling import Scheduler, ThreadOptions

__all__ = ["ScheduledMethods"]

_T = TypeVar("_T")


class ScheduledMethods:
    """A base of both backends' Worker."""

    if TYPE_CHECKING:
        _core: Any  # has thread_options, what is to hold for each of its threads

        @property
        def native_id(self) -> int | None: ...

    @property
    def scheduler(self) -> Scheduler | None:
        """The scheduling class of its thread: :class:`Fifo`, :class:`RoundRobin`,
        :class:`Deadline`, :class:`Other`, :class:`Batch` or :class:`Idle`.

        Reading gives what the system says now; without a thread, what the next one is to have,
        None: what its creator has. Writing changes the attached thread at once, and holds for
        those to come; refused, it changes nothing.

        Raises TypeError for anything but a class; PermissionError that says which right or limit
        is missing; OSError for what else the system refuses; RuntimeError when the worker is
        destroyed or was left behind by fork.

        From any thread; never waits. As ``sched_setattr(2)``, the kernel's
        ``sched_set_fifo(worker->task)``.

        >>> with kw.Worker() as worker:
        ...     worker.scheduler = kw.Other(nice=5)
        ...     worker.scheduler
        Other(nice=5)
        """
        found: Scheduler | None = self.__read(_scheduling.scheduler_of, self.__kept().scheduler)
        return found

    @scheduler.setter
    def scheduler(self, scheduler: Scheduler) -> None:
        checked = _scheduling.check_scheduler(scheduler)
        self.__write(_scheduling.set_scheduler, checked)
        self.__keep(scheduler=checked)

    @property
    def cpus(self) -> frozenset[int] | None:
        """The CPUs that its thread may run on; may be set to a list like ``"2-3,6"`` as well.

        Reads, writes and raises as :attr:`scheduler`; besides, ValueError for none, for a malformed
        list, and for CPUs that do not exist or are not allowed.

        From any thread; never waits. As ``sched_setaffinity(2)``.

        >>> with kw.Worker() as worker:
        ...     worker.cpus = min(worker.cpus),
        ...     len(worker.cpus)
        1
        """
        found: frozenset[int] | None = self.__read(_scheduling.cpus_of, self.__kept().cpus)
        return found

    @cpus.setter
    def cpus(self, cpus: str | Iterable[int]) -> None:
        checked = _scheduling.parse_cpus(cpus)
        self.__write(_scheduling.set_cpus, checked)
        self.__keep(cpus=checked)

    @property
    def cgroup(self) -> str | None:
        """The directory of the cgroup that its thread is in: of the hierarchy that was asked for,
        else of v2. None: there is none.

        Reads, writes and raises as :attr:`scheduler`; besides, FileNotFoundError when there is no
        such cgroup. The other threads of the process stay where they are.

        From any thread; never waits. As ``cgroups(7)``: v1's ``tasks``, v2's ``cgroup.threads``.

        >>> with kw.Worker() as worker:
        ...     worker.cgroup = "/nonexistent"
        Traceback (most recent call last):
        FileNotFoundError: ...
        """
        asked = self.__kept().cgroup
        found: str | None = self.__read(lambda tid: _scheduling.cgroup_of(tid, asked), asked)
        return found

    @cgroup.setter
    def cgroup(self, cgroup: str | os.PathLike[str]) -> None:
        checked = _scheduling.check_cgroup(cgroup)
        self.__write(_scheduling.join_cgroup, checked)
        self.__keep(cgroup=checked)

    def __kept(self) -> ThreadOptions:
        options: ThreadOptions = self._core.thread_options
        return options

    def __read(self, read: Callable[[int], Any], otherwise: Any) -> Any:
        tid = self.native_id
        if tid is None:
            return otherwise
        try:
            return read(tid)
        except (ProcessLookupError, FileNotFoundError):  # it has just ended
            return otherwise

    def __write(self, write: Callable[[int, _T], None], value: _T) -> None:
        self._core.refuse_if_unusable()
        tid = self.native_id
        if tid is None:
            return
        with contextlib.suppress(ProcessLookupError):  # it has just ended: for the next one
            write(tid, value)

    def __keep(self, **options: Any) -> None:
        self._core.thread_options = self.__kept()._replace(**options)
