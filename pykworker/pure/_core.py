# SPDX-License-Identifier: GPL-2.0-only
"""A worker's inside: all of it but the object that the user holds.

In this order: what each call does to the list and the timers; what the worker's thread does;
flush, cancel, drain; sleeping, and the search for circles; freeze, stop, destroy.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import signal
import sys
import threading
import time
import traceback
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from concurrent.futures._base import LOGGER
from concurrent.futures.thread import BrokenThreadPool
from typing import TYPE_CHECKING, Any, Final

from pykworker._errors import BROKEN
from pykworker._origin import add_note, calling_stack
from pykworker._scheduling import Setup, ThreadOptions, stack_size
from pykworker._sentinel import CANCEL
from pykworker._threads import do_not_join_at_exit
from pykworker._unraisable import report, report_given_up
from pykworker.pure._condition import Condition
from pykworker.pure._recorder import recorder
from pykworker.pure._records import (
    DrainRequest,
    FreezeRequest,
    RoomWatch,
    Service,
    Status,
    Times,
    Wait,
    Watch,
    here,
    shared,
)
from pykworker.pure._timers import Schedule, Timer, Timers

if TYPE_CHECKING:
    from pykworker._watchdog import Watchdog
    from pykworker.pure._futures import Future
    from pykworker.pure._readiness import Readiness
    from pykworker.pure._works import Call, PeriodicWork, Work

    OnError = Callable[[Work[Any], BaseException], object]
    Hook = Callable[[Work[Any]], object]

_numbers = itertools.count(1)

_AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"
AFTER_EXIT = "cannot schedule new futures after interpreter shutdown"
_LEFT_BEHIND = "this worker was left behind in the parent process by fork"
_DRAINED = "worker is being drained"
_GIVEN_UP = "the worker was given up at interpreter exit"
_ELSEWHERE = "work is pending or executing on another worker"


class Core:
    """All of a worker's state, under the lock of one condition."""

    def __init__(
        self,
        name: str,
        *,
        on_error: OnError | None,
        daemon: bool,
        max_pending: int | None,
        watchdog: float | None,
        exit_timeout: float | None,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        notes_origins: bool,
        thread_options: ThreadOptions,
        timing: bool,
    ) -> None:
        self.name = name
        self.number: Final = next(_numbers)  # in a trace
        self.thread_options = thread_options
        self.on_error: Final = on_error
        self.daemon: Final = daemon
        self.max_pending: Final = max_pending
        self.watchdog = watchdog
        self.exit_timeout: Final = exit_timeout
        self.initializer: Final = initializer
        self.initargs: Final = initargs
        self.notes_origins: Final = notes_origins
        self.on_queue: Hook | None = None
        self.on_start: Hook | None = None
        self.on_end: Hook | None = None

        self.make_lock()
        # By place: to take a work out of the middle, nothing is compared with it.
        self.works: OrderedDict[int, Work[Any]] = OrderedDict()
        self.timers = Timers()
        self.last = 0  # the number or place given out last
        self.executing: Status | None = None  # of the work whose callback runs
        self.executing_place = 0  # where on the list it was
        self.current: Work[Any] | None = None  # that work, until the worker lets go of it
        self.called = False  # its function; until then Ctrl-C puts it back on the list
        self.origin: traceback.StackSummary | None = None  # where its run was asked for
        self.outcome: tuple[Any, BaseException | None] | None = None  # of a submitted call

        self.service: Service | None = None  # the attached thread
        self.thread: threading.Thread | None = None  # the last one made by start()
        self.freeze_request: FreezeRequest | None = None
        self.drain_requests: list[DrainRequest] = []
        self.cancelled_now: list[Status] = []  # works whose cancel waits; one entry a cancel
        self.readiness: Readiness | None = None  # what fileno() shows
        self.closed = False  # destroyed, or about to be
        self.closed_by_exit = False  # not by the user
        self.broken = False  # the initializer has failed
        self.abandoned = False  # at exit: nothing begins any more
        self.given_up = False  # besides, nobody who waits for what runs will get an answer
        self.initialized: weakref.ref[threading.Thread] | None = None  # the last that called it
        self.left_behind = False  # in a forked child
        self.waits: Wait | None = None  # what this worker's callback waits for

        # Those who wait without sleeping. Whoever ends their wait, under the lock, puts them
        # among the told ones, and calls tell() without it.
        self.flush_watches: deque[Watch] = deque()  # by the place that they wait for
        self.room_watches: deque[RoomWatch] = deque()
        self.reserved = 0  # places that were handed to such, and not made use of yet
        self.told: deque[Watch] = deque()
        self.unrun: list[Future[Any]] = []  # calls that were dropped, whose futures are to tell

        self.dog: Watchdog | None = None
        self.dog_sleeps = False  # it is to be told when there is something to do

        self.queued = 0
        self.executed = 0
        self.coalesced = 0
        self.cancelled = 0
        self.sleeps = 0
        self.missed = 0  # ticks
        self.times = Times() if timing else None

        shared.cores.add(weakref.ref(self, shared.cores.discard))

    def make_lock(self) -> None:
        # A lock that its holder may take again: a signal handler, or a destructor that the
        # garbage collector calls, may queue a work at any point of what follows.
        self.lock = threading.RLock()
        self.changed = Condition(self.lock)

    def refuse_if_unusable(self) -> None:
        if self.left_behind:
            raise RuntimeError(_LEFT_BEHIND)
        if self.broken:
            raise BrokenThreadPool(BROKEN)
        if self.closed and not self.closed_by_exit:
            raise RuntimeError(_AFTER_SHUTDOWN)
        if shared.exiting:
            raise RuntimeError(AFTER_EXIT)

    def refuse_queueing(self) -> None:
        self.refuse_if_unusable()
        if self.drain_requests and here.core is not self:
            raise RuntimeError(_DRAINED)

    def has_room(self) -> bool:
        taken = len(self.works) + len(self.timers.armed) + self.reserved
        return self.max_pending is None or taken < self.max_pending

    def refuse_if_full(self) -> None:
        if not self.has_room():
            raise queue.Full(f"{self.max_pending} works are pending on worker {self.name!r}")

    def announce(self) -> None:
        """Something has changed: tell all who may wait for it. Under the lock."""
        while self.flush_watches and self.flush_watches[0].number < self.oldest():
            self.told.append(self.flush_watches[0])
            self.flush_watches.popleft()
        if self.drain_requests and not self.works and self.executing is None:
            for request in self.drain_requests:
                request.granted = True
            self.drain_requests.clear()
        if self.readiness is not None:
            if self.service is not None or self.freeze_request is not None:
                self.readiness.show(False, None)  # run_pending() would do nothing
            elif self.closed:
                self.readiness.close()
                self.readiness = None
            else:
                self.readiness.show(bool(self.works), self.timers.next_deadline())
        self.changed.notify_all()

    def tell(self) -> None:
        """Notify those whose wait is over. Under no lock."""
        while self.told:
            for watch in list(self.told):
                watch.tell()
                with contextlib.suppress(ValueError):  # another thread was here
                    self.told.remove(watch)

    # -- queue

    def queue(self, work: Work[Any], origin: traceback.StackSummary | None = None) -> bool:
        status = work._status
        with self.lock:
            self.refuse_queueing()
            self.list_what_is_due()
            try:
                if not self.claim(status):
                    return False
                if self.put_at_the_tail(work, unless_pending=True):
                    status.coalesced += 1
                    self.coalesced += 1
                    return False
            except BaseException:
                self.take_the_claim_back(status)
                raise
            status.origin = origin
            self.announce()
            return True

    def submit(self, call: Call[Any], future: Future[Any], reserved: bool) -> None:
        """Queue a call that nobody else has seen yet; on a place *reserved* for it, perhaps."""
        status = call._status
        origin = self.origin_of_a_queueing()
        try:
            with self.lock:
                self.reserved -= reserved
                self.refuse_queueing()
                self.list_what_is_due()
                self.claim(status)
                status.future = future
                status.origin = origin
                future._number = self.last + 1
                self.put_at_the_tail(call)
                self.announce()
        except BaseException:
            if reserved:
                self.offer_places()
            raise

    def was_queued(self, work: Work[Any]) -> None:
        """A work was made pending: tell those outside. Under no lock."""
        if self.dog_sleeps:
            self.wake_the_dog()
        if self.on_queue is not None:
            self.call_hook("on_queue", work)

    def origin_of_a_queueing(self) -> traceback.StackSummary | None:
        return calling_stack() if self.notes_origins else None

    def queue_delayed(
        self, work: Work[Any], delay: float, origin: traceback.StackSummary | None
    ) -> bool:
        if delay == 0:
            return self.queue(work, origin)
        timer = Timer(time.monotonic() + delay)
        status = work._status
        with self.lock:
            self.refuse_queueing()
            try:
                if not self.claim(status):
                    return False
                if self.arm(work, timer, unless_pending=True):
                    status.coalesced += 1
                    self.coalesced += 1
                    return False
            except BaseException:
                self.take_the_claim_back(status)
                raise
            status.origin = origin
            self.announce()
            return True

    def modify(
        self, work: Work[Any], delay: float, origin: traceback.StackSummary | None
    ) -> tuple[bool, bool]:
        """Returns what mod_delayed() does, and whether the work was made pending."""
        status = work._status
        with self.lock:
            self.refuse_queueing()
            self.list_what_is_due()
            try:
                if not self.claim(status):
                    return status.cancelling > 0, False
                now = time.monotonic()
                if status.schedule is not None:
                    status.schedule.restart(now + delay)
                if delay > 0:
                    was_pending = self.arm(work, Timer(now + delay))
                else:
                    was_pending = self.put_at_the_tail(work)
            except BaseException:
                self.take_the_claim_back(status)
                raise
            status.origin = origin
            self.announce()
        self.tell()  # who has awaited the place on the list that it had
        return was_pending, not was_pending

    def repeat(self, work: PeriodicWork[Any], schedule: Schedule) -> None:
        """Begin with the ticks of a work that nobody else has seen yet."""
        status = work._status
        origin = self.origin_of_a_queueing()
        with self.lock:
            self.refuse_queueing()
            self.claim(status)
            status.origin = origin
            status.schedule = schedule
            schedule.restart(time.monotonic() + schedule.interval)
            self.arm(work, Timer(schedule.start))
            self.announce()

    def claim(self, status: Status) -> bool:
        """Make the work ours. False: it is being cancelled, or disabled.

        Unless it is pending already, there must be room for it.
        """
        if status.owner is not self:
            # Two workers may claim an idle work at once: one of them gets it. The way back
            # to idle needs no such care, it is the owner's alone.
            with shared.claims:
                if status.cancelling or status.disabled:
                    return False
                if status.owner is not None:
                    raise RuntimeError(_ELSEWHERE)
                self.refuse_if_full()
                status.owner = self
        if status.cancelling or status.disabled:
            return False
        if not status.pending:
            self.refuse_if_full()
        return True

    def take_the_claim_back(self, status: Status) -> None:
        """Ctrl-C came between the claim and what it was for; or after that: then it stands."""
        if status.owner is self and not status.pending and not status.executing:
            status.owner = None

    # -- the list and the timers; under the lock
    #
    # A signal handler of the main thread comes where a function begins and where a call has
    # returned, nowhere else; it may raise, as for Ctrl-C, and it may queue here itself. So what
    # belongs together is looked at and stored without a call in between. Who sleeps is woken
    # first, and looks when the lock is free.

    def put_at_the_tail(
        self, work: Work[Any], unless_pending: bool = False, out_of: Timer | None = None
    ) -> bool:
        """Of the list, for its pending run or, when it has none, for a new one.

        With *out_of* only as long as that is the timer which runs for it. Returns whether it
        had one.
        """
        status, armed = work._status, self.timers.armed
        self.changed.notify_all()
        since = 0.0 if self.times is None else time.monotonic()
        timer, place, was_pending = status.timer, status.place, status.pending > 0
        if (was_pending and unless_pending) or (out_of is not None and timer is not out_of):
            return was_pending
        if out_of is not None:
            since = out_of.deadline
        self.last = status.place = self.last + 1
        status.pending = status.pending or status.place
        status.since = since
        status.timer = None
        self.works[status.place] = work
        if place in self.works:
            del self.works[place]
        if timer in armed:
            del armed[timer]
        self.queued += 1
        if recorder.events is not None:
            recorder.queued(self, work)
        return was_pending

    def arm(self, work: Work[Any], timer: Timer, unless_pending: bool = False) -> bool:
        """Let a timer run for its pending run or, when it has none, for a new one.

        Returns whether it had one.
        """
        status, armed = work._status, self.timers.armed
        self.timers.add(timer)
        self.changed.notify_all()
        former, place, was_pending = status.timer, status.place, status.pending > 0
        if was_pending and unless_pending:
            return True
        if not was_pending:
            status.pending = self.last = self.last + 1
        status.timer, status.place = timer, 0
        armed[timer] = work
        if former in armed:
            del armed[former]
        if place in self.works:
            del self.works[place]
        return was_pending

    def list_work_now(self, work: Work[Any]) -> None:
        """Put a work at the tail whose timer has run out, or is to be cut short."""
        timer = work._status.timer
        if timer is not None:
            self.put_at_the_tail(work, out_of=timer)

    def give_a_place_away(self) -> None:
        """One work less is pending: there is room for the first who waits for it."""
        while self.room_watches and self.has_room():
            self.room_watches[0].hand_over()
            self.room_watches.popleft()

    def give_up_all_places(self) -> None:
        """Nothing is taken any more: those who wait for room are to be refused."""
        for watch in self.room_watches:
            watch.hand_over()
        self.room_watches.clear()

    def look_at_watches(self, status: Status) -> None:
        """A run of the work is over: whose flush is?"""
        if status.watches is None:
            return
        for watch in list(status.watches):
            if self.is_flushed(status, watch.number):
                self.told.append(watch)
                status.watches.remove(watch)
        if not status.watches:
            status.watches = None

    def list_what_is_due(self) -> None:
        """Put the works at the tail whose timers have run out.

        Not the worker's thread alone calls this, but whoever is about to list something, or
        to look at the list: so a work whose timer ran out during a long callback, or while
        the worker rests, stands before what was queued later.
        """
        if not self.timers.armed:
            return
        now = time.monotonic()
        while (timer := self.timers.first_due(now)) is not None:
            work = self.timers.armed.get(timer)
            if work is not None:
                self.put_at_the_tail(work, out_of=timer)

    def drop(self, status: Status) -> bool:
        """Drop the pending run, and the ticks to come. False: there was none."""
        fate = BrokenThreadPool(BROKEN) if self.broken else CancelledError()
        status.schedule = None
        if not status.pending:
            return False
        timer, place, armed = status.timer, status.place, self.timers.armed
        future = None if status.executing else status.future
        status.timer, status.place, status.pending, status.origin = None, 0, 0, None
        self.cancelled += 1
        if place in self.works:
            del self.works[place]
        if timer in armed:
            del armed[timer]
        if not status.executing:
            if future is not None:
                future._fate = fate
            status.future = None
            status.owner = None  # last: who sees none, without the lock, looks for a fate
        if future is not None:
            self.unrun.append(future)
        self.give_a_place_away()
        self.look_at_watches(status)
        self.announce()
        return True

    def take_unrun(self) -> list[Future[Any]]:
        """The futures of calls just dropped, which are to tell it as soon as no lock is held."""
        unrun, self.unrun = self.unrun, []
        return unrun

    # -- serve: what the worker's thread does

    def serve(self, service: Service) -> int:
        """Run what is queued until the service shall end. The thread is attached already.

        Returns how many works were run.
        """
        here.core = self
        try:
            self.initialize(service)
            return self.run_works(service)
        finally:
            try:
                # Only after a KeyboardInterrupt is there anything to put back, or to finish.
                self.put_back()
                self.current = None
                self.finish(service)
            finally:
                here.core = None
                self.detach(service)

    # A loop that a "try" or a "with" is to see to stands in a function of its own: Ctrl-C at its
    # jump back is outside of what the interpreter takes for their body.

    def run_works(self, service: Service) -> int:
        count = 0
        while (work := self.take(service)) is not None:
            count += 1
            self.execute(work, service)
            self.current = None
            # Whoever flushed this work may count on it that we hold it no more. So let go
            # first, outside the lock since a destructor may run, and tell them then.
            work = None
            self.finish(service)
        return count

    def initialize(self, service: Service) -> None:
        """Call the initializer, unless this thread was the last to do so."""
        if self.initializer is None:
            return
        if self.initialized is not None and self.initialized() is service.thread:
            return
        self.initialized = weakref.ref(service.thread)
        try:
            self.initializer(*self.initargs)
        except BaseException as error:
            LOGGER.critical("Exception in initializer:", exc_info=True)
            self.break_down()
            if service.interruptible and isinstance(error, KeyboardInterrupt):
                raise

    def take(self, service: Service) -> Work[Any] | None:
        """Wait for the next work and take it off the list. None: the thread shall leave."""
        while True:
            with self.lock:
                if service.stop_asked or self.left_behind or self.broken or self.abandoned:
                    return None
                self.list_what_is_due()
                if self.freeze_request is None and self.works:
                    if service.last is not None and self.first_place() > service.last:
                        return None
                    work = self.begin()
                    if work is None:
                        continue
                    break
                if service.last is not None:
                    return None
                sleep = threading.TIMEOUT_MAX
                if self.freeze_request is not None:
                    self.freeze_request.granted = True
                    self.announce()
                elif self.closed:
                    return None
                else:
                    self.sleeps += 1
                    deadline = self.timers.next_deadline()
                    if deadline is not None:
                        sleep = deadline - time.monotonic()
                self.changed.wait(sleep)
            self.tell()  # if Ctrl-C has kept somebody else from it
        self.tell()  # whoever waits for a place
        return work

    def begin(self) -> Work[Any] | None:
        """Take the first work off the list: it executes now. Under the lock.

        None: a signal handler has taken it off.
        """
        place = self.first_place()
        if place not in self.works:
            return None
        work = self.works[place]
        status = work._status
        # No call up to the "del": so it is either on the list or executes.
        status.executing, status.pending, status.place = status.pending, 0, 0
        status.coalesced = 0
        self.called = False
        self.current = work
        self.executing = status
        self.executing_place = place
        self.executed += 1
        since = status.since
        self.origin = status.origin
        del self.works[place]
        if self.times is not None:
            self.times.begin(since)
        if status.future is not None:
            status.future._begin()
        if self.closed:
            status.schedule = None  # it ends with its worker
        if status.schedule is not None:
            missed = status.schedule.missed
            self.arm(work, Timer(status.schedule.next_after(time.monotonic())))
            self.missed += status.schedule.missed - missed
        else:
            status.origin = None
            self.give_a_place_away()
        return work

    def put_back(self) -> None:
        """Ctrl-C came before the work's function was called: so it has not begun."""
        with self.lock:
            status, work, place = self.executing, self.current, self.executing_place
            if status is None or work is None or self.called or status.cancelling:
                return
            # Of the next tick, or of a queueing meanwhile: the one put back stands for both.
            timer, again, armed = status.timer, status.place, self.timers.armed
            status.timer, status.place = None, place
            status.pending, status.executing = status.executing, 0
            status.origin = self.origin
            self.works[place] = work
            if again in self.works:
                del self.works[again]
            if timer in armed:
                del armed[timer]
            self.executed -= 1
            self.executing = self.outcome = self.origin = None
            self.works.move_to_end(place, last=False)
            if status.future is not None:
                status.future._take_back()

    def execute(self, work: Work[Any], service: Service) -> None:
        self.call_hook("on_start", work, service)
        if recorder.events is not None:
            recorder.begins(self, work)
        if work._is_call:
            self.execute_call(work, service)
        else:
            self.execute_work(work, service)
        if recorder.events is not None:
            recorder.ended(self)
        self.call_hook("on_end", work, service)

    def execute_call(self, work: Work[Any], service: Service) -> None:
        if work._status.future is None:
            return  # somebody has queued it again: a call is made once
        try:
            context = work._context
            self.called = True
            if context is None:
                self.outcome = (work._fn(*work._args, **work._kwargs), None)
            else:
                self.outcome = (context.run(work._fn, *work._args, **work._kwargs), None)
        except BaseException as error:
            if self.origin is not None:
                add_note(error, self.origin)
            self.outcome = (None, error)
            if service.interruptible and isinstance(error, KeyboardInterrupt):
                raise
        finally:
            del work  # the exception holds this frame, and would hold what holds the arguments

    def execute_work(self, work: Work[Any], service: Service) -> None:
        try:
            try:
                context = work._context
                self.called = True
                if context is None:
                    answer = work._fn(*work._args, **work._kwargs)
                else:
                    answer = context.run(work._fn, *work._args, **work._kwargs)
                if answer is CANCEL and work._is_periodic:
                    cancel(work, wait=False)
            except BaseException as error:
                if service.interruptible and isinstance(error, KeyboardInterrupt):
                    raise
                if self.origin is not None:
                    add_note(error, self.origin)
                if self.on_error is None:
                    report("Exception ignored in work", error, work)
                else:
                    self.on_error(work, error)
        except BaseException as error:
            if service.interruptible and isinstance(error, KeyboardInterrupt):
                raise
            report("Exception ignored in on_error", error, self.on_error)

    def call_hook(self, name: str, work: Work[Any], service: Service | None = None) -> None:
        """Call one of the user's hooks; never under a lock."""
        hook: Hook | None = getattr(self, name)
        if hook is None:
            return
        try:
            hook(work)
        except BaseException as error:
            interruptible = service is not None and service.interruptible
            if interruptible and isinstance(error, KeyboardInterrupt):
                raise
            report(f"Exception ignored in {name}", error, hook)

    def complete_call(self, service: Service | None) -> None:
        """Hand the outcome of the executed call to its future, if it is one."""
        status = self.executing
        future = None if status is None else status.future
        if status is None or future is None:
            return
        # Without an outcome Ctrl-C came between its beginning and its end.
        future._finish(*(self.outcome or (None, KeyboardInterrupt())))
        self.outcome = None
        if future._done_callbacks:
            with self.lock:
                future._early = True  # whoever waits for the result does not wait for these
                self.changed.notify_all()
            interruptible = service is not None and service.interruptible
            future._call_back(lambda error: interruptible and isinstance(error, KeyboardInterrupt))
        status.future = None

    def finish(self, service: Service | None = None) -> None:
        """Make the executed work idle, unless it was queued again, and wake its flushers."""
        self.complete_call(service)
        self.origin = None
        if self.times is not None and self.executing is not None:
            self.times.end()
        with self.lock:
            status, self.executing = self.executing, None
            if status is not None:
                status.executing = 0
                if not status.pending:
                    status.owner = None
                self.look_at_watches(status)
            self.announce()
        self.tell()

    # -- the thread comes and goes

    def attach(self, service: Service, what_is_pending: bool = False) -> None:
        """With *what_is_pending* for just that, else until the thread shall leave."""
        with self.lock:
            self.refuse_if_unusable()
            if self.service is not None:
                raise RuntimeError("worker already has a thread")
            self.list_what_is_due()
            if what_is_pending:
                service.last = self.last
            self.service = service
            if service.ours:
                self.thread = service.thread
            self.announce()

    def detach(self, service: Service) -> None:
        with self.lock:
            service.ended = True
            if self.service is service:
                self.service = None
            if self.freeze_request is not None:
                self.freeze_request.granted = True  # no thread rests as well as a resting one
            self.told.extend(service.watches)
            service.watches.clear()
            self.announce()
        if self.closed:
            self.leave_the_dog()
        self.tell()

    def start(self) -> None:
        setup = Setup(self.thread_options)
        thread = threading.Thread(target=self.serve_on_own_thread, args=(setup,))
        # Those that our own exit hook waits for, or gives up, are not for threading to join.
        thread.daemon = False
        if self.daemon or self.exit_timeout is not None or shared.exit_hook_is_late:
            with contextlib.suppress(RuntimeError):  # an isolated subinterpreter takes none
                thread.daemon = True
        thread.name = self.name  # as an argument, an empty one would not be taken
        service = Service(thread, ours=True)
        try:
            self.attach(service)
            with stack_size(self.thread_options.stack_size):
                thread.start()
        except BaseException:
            if self.service is service and thread.ident is None:
                self.thread = None
                self.detach(service)
            raise
        setup.wait()
        if setup.failure is not None:
            thread.join()
            raise setup.failure

    def serve_on_own_thread(self, setup: Setup) -> None:
        service = self.service
        assert service is not None, "start() attaches the thread before it begins"
        _block_signals()
        _show_name_to_the_system(self.name)
        if setup.apply():
            setup.tell()
            self.serve(service)
            return
        self.thread = None
        self.detach(service)
        setup.tell()

    def run(self, what_is_pending: bool = False) -> int:
        """Serve it with the calling thread. Returns how many works were run."""
        if here.core is not None:
            raise RuntimeError("this thread already serves a worker")
        service = Service(threading.current_thread(), ours=False)
        try:
            self.attach(service, what_is_pending)
            return self.serve(service)
        finally:
            # For Ctrl-C that came before serve() could see to it, or at its end.
            here.core = None
            if self.service is service:
                self.detach(service)

    def fileno(self) -> int:
        # Not before: a subinterpreter of 3.12 has no ctypes. Nor under the lock: who imports the
        # same at the time may run a destructor that queues here.
        from pykworker.pure._readiness import Readiness

        with self.lock:
            self.refuse_if_unusable()
            if self.readiness is None:
                self.readiness = Readiness()
                self.announce()
            return self.readiness.fileno()

    # -- flush

    def is_flushed(self, status: Status, number: int) -> bool:
        # Also when the run was cancelled: not before the one that executed then has ended.
        runs = (status.pending, status.executing)
        return status.owner is not self or not any(0 < run <= number for run in runs)

    def flush_work(self, work: Work[Any], seconds: float | None) -> None:
        """Wait for the pending run of a work or, when none is pending, for the executing one."""
        status = work._status
        with self.lock:
            if status.owner is not self:
                return  # idle, or on another worker: what it had to run here has run
            if self.left_behind:
                raise RuntimeError(_LEFT_BEHIND)
            number = status.pending or status.executing

        def is_over() -> bool:
            return self.is_flushed(status, number)

        with self.waiting(is_over):
            with self.lock:
                if status.owner is self and status.pending == number:
                    self.list_what_is_due()
                    self.list_work_now(work)
                    self.announce()
            if not self.sleep_until(is_over, seconds):
                raise TimeoutError("the work did not finish in time")

    def watch_work(self, work: Work[Any], notify: Callable[[], object]) -> Watch | None:
        """As flush_work, but for one who does not sleep. None: it is over."""
        status = work._status
        with self.lock:
            if status.owner is not self:
                return None
            if self.left_behind:
                raise RuntimeError(_LEFT_BEHIND)
            watch = Watch(notify, status.pending or status.executing)
            if not watch.number:
                return None
            if status.pending:
                self.list_what_is_due()
                self.list_work_now(work)
                self.announce()
            if status.watches is None:
                status.watches = []
            status.watches[:] = [other for other in status.watches if other.wanted]
            status.watches.append(watch)
            return watch

    def watch(self, notify: Callable[[], object]) -> Watch | None:
        """As flush, but for one who does not sleep. None: it is over."""
        with self.lock:
            self.list_what_is_due()
            if self.oldest() > self.last:
                return None
            if self.left_behind:
                raise RuntimeError(_LEFT_BEHIND)
            watch = Watch(notify, self.last)
            self.flush_watches.append(watch)
            return watch

    def watch_end(self, notify: Callable[[], object]) -> Watch | None:
        """For the thread to leave. None: there is none."""
        with self.lock:
            if self.service is None:
                return None
            watch = Watch(notify)
            self.service.watches.append(watch)
            return watch

    def watch_room(self, notify: Callable[[], object]) -> Watch | None:
        """For a place on the list. None: there is one, or there never will be."""
        with self.lock:
            unusable = self.broken or self.closed or shared.exiting or self.left_behind
            if unusable or self.has_room():
                return None
            watch = RoomWatch(notify, self)
            self.room_watches.append(watch)
            return watch

    def tell_room(self) -> None:
        """Somebody was handed a place, and does not want it."""
        with self.lock:
            self.reserved -= 1
        self.offer_places()

    def offer_places(self) -> None:
        """There may be room for those who wait for it."""
        with self.lock:
            self.give_a_place_away()
        self.tell()

    def wait_for_call(self, future: Future[Any], seconds: float | None) -> bool:
        """Wait until nothing is to come of a call. False: the time has run out."""
        with self.lock:
            if self.left_behind and not future._is_over():
                raise RuntimeError(_LEFT_BEHIND)
        with self.waiting(future._is_over):
            return self.sleep_until(future._is_over, seconds)

    def flush(self, seconds: float | None) -> None:
        """Wait until nothing is left that was listed or executing when the call began."""
        with self.lock:
            self.list_what_is_due()
            last = self.last
            if self.oldest() > last:
                return
            if self.left_behind:
                raise RuntimeError(_LEFT_BEHIND)

        def is_over() -> bool:
            return self.oldest() > last

        with self.waiting(is_over):
            if not self.sleep_until(is_over, seconds):
                raise TimeoutError("the worker did not finish in time")

    def oldest(self) -> int:
        """The place of the oldest run that has not ended; the next one's when all have."""
        if self.executing is not None:
            return self.executing_place
        return self.first_place()

    def first_place(self) -> int:
        """Of the first work on the list; the next one's when there is none."""
        # Looked up in one step, since a signal handler may change the list.
        places = list(map(next, map(iter, (self.works,))))
        return places[0] if places else self.last + 1

    def drain(self, seconds: float | None) -> None:
        """Wait for a moment in which nothing is listed and nothing executes."""
        request = DrainRequest()

        def is_over() -> bool:
            return request.granted

        with self.lock:
            self.list_what_is_due()
            if not self.works and self.executing is None:
                return
            if self.left_behind:
                raise RuntimeError(_LEFT_BEHIND)
        with self.waiting(is_over), self.lock:
            try:
                self.drain_requests.append(request)
                self.announce()  # it may be over already
                if not self.sleep_until(is_over, seconds):
                    raise TimeoutError("the worker still has works to run")
            finally:
                if request in self.drain_requests:
                    self.drain_requests.remove(request)

    # -- cancel

    def drop_and_wait(self, work: Work[Any], number: int, disabling: bool) -> bool | None:
        """Drop the pending run, and wait for the executing one, which has this *number*.

        Returns whether there was a pending run; None: the other one has ended meanwhile, and
        nothing was done.
        """
        status = work._status

        def is_over() -> bool:
            return status.owner is not self or status.executing != number

        with self.waiting(is_over), self.lock:
            if is_over():
                return None
            self.cancelled_now.append(status)
            # No call from here to the "try", so that Ctrl-C cannot come between.
            status.cancelling += 1
            status.disabled += disabling
            try:
                dropped = self.drop(status)
                self.sleep_until(is_over, None)
            except BaseException:
                status.disabled -= disabling  # who is told of an error does not enable it
                raise
            finally:
                if not self.left_behind:  # else fork has seen to it
                    # The work may be idle by now, but until here nobody else can own it.
                    status.cancelling -= 1
                    self.cancelled_now.remove(status)
            return dropped

    def cancel_call(self, future: Future[Any]) -> None:
        """Drop the run of a call, if it has not begun. Its future is to meet its fate then."""
        status = future._status
        with self.lock:
            call = None
            if status.owner is self and status.future is future and not status.executing:
                call = self.works.get(status.place)  # the last reference goes outside the lock
                self.drop(status)
            unrun = self.take_unrun()
        del call
        _meet_fate(unrun)
        self.tell()

    # -- sleeping, and the search for circles

    def sleep_until(self, is_over: Callable[[], bool], seconds: float | None) -> bool:
        """Sleep until *is_over*, or for *seconds*. Returns what *is_over* said last."""
        self.bury_the_thread()
        with self.lock:
            return self.wait_until(is_over, _deadline(seconds))

    def wait_until(self, is_over: Callable[[], bool], deadline: float | None) -> bool:
        """Under the lock, which is let go of meanwhile."""
        while not is_over():
            if self.given_up:
                raise RuntimeError(_GIVEN_UP)
            left = threading.TIMEOUT_MAX
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
            self.changed.wait(left)
        return True

    def waiting(self, is_over: Callable[[], bool]) -> Wait:
        """To be held in a "with" while the calling thread waits for this worker.

        DeadlockError when a callback's wait would close a circle.
        """
        return Wait(self, is_over)

    # -- freeze

    def freeze(self, seconds: float | None) -> None:
        request: FreezeRequest | None = None

        def is_over() -> bool:
            return request is not None and (request.granted or request.withdrawn)

        with self.waiting(is_over), self.lock:
            self.refuse_if_unusable()
            request = self.freeze_request or FreezeRequest()
            request.askers += 1
            try:
                self.freeze_request = request
                if self.service is None:
                    request.granted = True
                self.announce()
                if not self.sleep_until(is_over, seconds):
                    raise TimeoutError("the worker did not come to rest in time")
            except BaseException:
                request.askers -= 1
                if not request.askers and self.freeze_request is request:
                    self.thaw()
                raise
            if not request.granted:
                self.refuse_if_unusable()  # thawed by destroy, not by thaw

    def thaw(self) -> None:
        with self.lock:
            if self.freeze_request is not None:
                self.freeze_request.withdrawn = True
                self.freeze_request = None
                self.announce()

    # -- stop

    def stop(self, seconds: float | None) -> None:
        deadline = _deadline(seconds)
        service = self.service
        if service is None:
            self.join(deadline)
            return
        if here.core is self:
            self.ask_to_stop(service)
            return

        def is_over() -> bool:
            return service.ended

        with self.waiting(is_over):
            self.ask_to_stop(service)
            if not self.sleep_until(is_over, _remaining(deadline)):
                raise TimeoutError("the callback did not end in time")
        self.join(deadline)

    def ask_to_stop(self, service: Service) -> None:
        with self.lock:
            service.stop_asked = True
            if self.service is service:
                self.thaw()
            self.announce()

    def join(self, deadline: float | None) -> None:
        """Wait for the end of a thread that start() made and that has left already."""
        with self.lock:
            thread = self.thread if self.service is None else None
        if thread is None or thread is threading.current_thread():
            return
        thread.join(_remaining(deadline))
        if thread.is_alive():
            raise TimeoutError("the worker's thread did not end in time")

    # -- destroy

    def close(self, cancel_calls: bool = False) -> None:
        """Refuse what comes, cancel what is armed, and have the thread leave after the rest.

        With *cancel_calls* the submitted ones that have not begun are no more of the rest.
        """
        with self.lock:
            self.list_what_is_due()
            if not self.closed:
                self.closed = True
                self.closed_by_exit = shared.exiting
            dropped = self.drop_armed()
            if cancel_calls:
                calls = [work for work in self.works.values() if work._status.future is not None]
                for work in calls:
                    self.drop(work._status)
                dropped += calls
            self.give_up_all_places()
            self.thaw()
            self.announce()
            unrun = self.take_unrun()
        dropped.clear()  # outside the lock: a destructor may run
        _meet_fate(unrun)
        if self.service is None:
            self.leave_the_dog()
        self.tell()

    def drop_armed(self) -> list[Work[Any]]:
        """Cancel the works whose timer runs. Under the lock.

        Returns them, to be let go of outside it.
        """
        armed: list[Work[Any]] = []
        while (timer := self.timers.first_due(float("inf"))) is not None:
            work = self.timers.armed.get(timer)
            if work is not None:
                armed.append(work)
                self.drop(work._status)
        return armed

    def break_down(self) -> None:
        """The initializer has failed: refuse what comes, and drop what is pending."""
        with self.lock:
            self.broken = True
            dropped = self.drop_armed()
            self.give_up_all_places()
            self.announce()
        dropped.clear()  # as above
        self.drop_pending()

    def has_ended(self) -> bool:
        return self.closed and self.service is None

    def destroy(self, seconds: float | None) -> None:
        deadline = _deadline(seconds)
        with self.waiting(self.has_ended):
            self.close()
            if not self.sleep_until(self.has_ended, _remaining(deadline)):
                raise TimeoutError("the worker still has works to run")
        self.drop_pending()
        self.finish()  # only in a forked child is there anything to finish
        self.join(deadline)

    def destroy_at_exit(self, begin: float) -> None:
        """Destroy it, but wait no longer than it is worth from *begin* on."""
        if self.exit_timeout is None:
            self.destroy(None)
            return
        try:
            self.destroy(max(0.0, begin + self.exit_timeout - time.monotonic()))
        except TimeoutError:
            work, pending = self.current, len(self.works)
            if self.executing is None and not pending:
                self.destroy(None)  # it had nothing to do, but for its thread's last steps
                return
            self.give_up()
            if (service := self.service) is not None:
                do_not_join_at_exit(service.thread)
            report_given_up(self.name, self.exit_timeout, work, pending)

    def give_up(self) -> None:
        """Let go of all who wait: what runs will not end, and nothing else begins."""
        self.given_up = self.abandoned = True
        self.drop_pending()
        with self.lock:
            status, service = self.executing, self.service
            future = None
            if status is not None:
                future, status.future = status.future, None
                self.told.extend(status.watches or ())
                status.watches = None
            if future is not None:
                future._fate = RuntimeError(_GIVEN_UP)
            self.told.extend(self.flush_watches)
            self.flush_watches.clear()
            if service is not None:
                self.told.extend(service.watches)
                service.watches.clear()
            self.announce()
        if future is not None:
            future._meet_fate()
        self.tell()

    def bury_the_thread(self) -> None:
        """The interpreter has ended a daemon's thread without a word: nobody waits for it.

        It does so late in its exit, when only finalizers are left to ask for anything.
        """
        service = self.service
        if service is None or not sys.is_finalizing() or not service.thread.daemon:
            return
        self.make_lock()  # it may have had it
        self.thread = None
        self.give_up()
        self.current = None
        self.finish()
        self.detach(service)

    def drop_pending(self) -> None:
        """What is pending becomes idle without a run. Only for a worker that takes no more."""
        with self.lock:
            dropped, self.works = self.works, OrderedDict()
            runs = [(work._status, work._status.pending) for work in dropped.values()]
        dropped.clear()  # as in serve: let go of the works outside the lock, then tell
        with self.lock:
            for status, number in runs:
                # Meanwhile it may have been cancelled, and queued on another worker.
                if status.owner is self and status.pending == number:
                    self.drop(status)
            self.announce()
            unrun = self.take_unrun()
        _meet_fate(unrun)
        self.tell()

    # -- fork

    def leave_waiters_behind(self) -> None:
        """In the child: those who await are in the parent, and locks may be held from there."""
        works = [*self.works.values(), *self.timers.armed.values()]
        for status in [self.executing, *(work._status for work in works)]:
            if status is None:
                continue
            status.watches = None
            if status.future is not None:
                status.future._make_lock()
        for future in self.unrun:
            future._make_lock()
        self.flush_watches.clear()
        self.room_watches.clear()
        self.told.clear()
        self.reserved = 0
        self.dog, self.dog_sleeps = None, False

    # -- for the watchdog

    def look(self) -> tuple[int, Work[Any] | None, int | None]:
        service = self.service
        return self.executed, self.current, None if service is None else service.thread.ident

    def has_nothing_to_do(self) -> bool:
        with self.lock:
            return not self.works and not self.timers.armed and self.executing is None

    def tell_busy(self, wanted: bool) -> None:
        self.dog_sleeps = wanted

    def watch_out(self, dog: Watchdog) -> None:
        """Have it watched from now on."""
        self.dog = dog
        dog.add(self)

    def wake_the_dog(self) -> None:
        """Something was queued, and nobody looks."""
        dog, self.dog_sleeps = self.dog, False
        if dog is not None:
            with contextlib.suppress(RuntimeError):  # the interpreter exits
                dog.begin(self)

    def leave_the_dog(self) -> None:
        """It has ended: there is nothing to be watched any more. Under no lock."""
        dog, self.dog = self.dog, None
        if dog is not None:
            dog.discard(self)


def _meet_fate(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future._meet_fate()


def cancel(work: Work[Any], wait: bool, disabling: bool = False) -> bool:
    """Drop the pending run; with *wait* also wait for the executing one.

    Returns whether there was a pending run.
    """
    dropped, owner = _cancel(work, wait, disabling)
    if owner is not None:
        with owner.lock:
            unrun = owner.take_unrun()
        _meet_fate(unrun)
        owner.tell()
    return dropped


def _cancel(work: Work[Any], wait: bool, disabling: bool) -> tuple[bool, Core | None]:
    """As cancel(), but those outside are not told yet. Returns also the worker it is from."""
    status = work._status
    while True:
        owner = status.owner
        with shared.claims if owner is None else owner.lock:
            if status.owner is not owner:
                continue  # it was queued, or became idle
            number = status.executing
            if owner is None or not number or not wait or here.core is owner or owner.left_behind:
                status.disabled += disabling
                dropped = owner is not None and owner.drop(status)
                if owner is not None and owner.left_behind and owner.executing is status:
                    owner.finish()  # no thread is here that ever would
                return dropped, owner
        answer = owner.drop_and_wait(work, number, disabling)
        if answer is not None:
            return answer, owner


def enable(work: Work[Any]) -> bool:
    """Take one disabling back. Returns whether the work may be queued again."""
    status = work._status
    while True:
        owner = status.owner
        with shared.claims if owner is None else owner.lock:
            if status.owner is not owner:
                continue  # it was queued, or became idle
            if not status.disabled:
                raise RuntimeError("enable() without disable()")
            status.disabled -= 1
            return not status.disabled


def _deadline(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _remaining(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    return min(max(deadline - time.monotonic(), 0.0), threading.TIMEOUT_MAX)


def _block_signals() -> None:
    """Leave signals to the other threads, as every kernel thread does."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _show_name_to_the_system(name: str) -> None:
    """Set the calling thread's name as top and gdb show it: 15 bytes, whole characters."""
    if sys.platform == "linux":
        short = name.encode("utf-8", "replace")[:15].decode("utf-8", "ignore")
        path = f"/proc/self/task/{threading.get_native_id()}/comm"
        with contextlib.suppress(OSError), open(path, "wb") as comm:
            comm.write(short.encode("utf-8"))
