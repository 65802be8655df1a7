# SPDX-License-Identifier: GPL-2.0-only
"""An interrupt's bottom half on a worker, as the ivtv driver: one run takes all causes at once.

The interrupt is an eventfd that a thread waits for or, with ``--source signal``, a signal with a
Python handler. Beside it, in turn, stands a thread that is woken by hand: with a condition or,
as a handler may interrupt who holds its lock, with a SimpleQueue. The same in C:
examples/c/irq_bottom_half.c.
"""

import argparse
import os
import queue
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pykworker as kw

CAUSES = 8


class Device:
    """What top and bottom half share: which causes there are, and how often each came."""

    def __init__(self) -> None:
        self.causes: dict[int, int] = {}  # cause: when it came first
        self.raised, self.handled = [0] * CAUSES, [0] * CAUSES
        self.late: list[int] = []
        self.interrupts = self.runs = 0

    def top_half(self, cause: int) -> None:
        self.interrupts += 1
        self.raised[cause] += 1
        self.causes.setdefault(cause, time.monotonic_ns())

    def bottom_half(self) -> None:
        now = time.monotonic_ns()
        found = 0
        while self.causes:
            # Taken off before it is acknowledged: what comes between is a cause anew.
            cause, since = self.causes.popitem()
            self.handled[cause] = self.raised[cause]
            self.late.append(max(now - since, 0))
            found += 1
        self.runs += found > 0

    def lost(self) -> int:
        return sum(self.raised) - sum(self.handled)


def by_worker(device: Device, scheduler: Any) -> tuple[Callable[[], object], Callable[[], None]]:
    """Returns how to ask for the bottom half, and how to end."""
    worker = kw.Worker("bottom-half", scheduler=scheduler)
    work = worker.work(device.bottom_half)
    return work.queue, worker.destroy  # which runs what is pending


def by_hand(
    device: Device, scheduler: Any, *, handler: bool
) -> tuple[Callable[[], object], Callable[[], None]]:
    wanted = threading.Condition()
    posts: queue.SimpleQueue[bool] = queue.SimpleQueue()
    state = {"wanted": False, "over": False}

    def serve() -> None:
        if scheduler is not None:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(scheduler.priority))
        while not state["over"]:
            if handler:
                posts.get()
            else:
                with wanted:
                    wanted.wait_for(lambda: state["wanted"])
                    state["wanted"] = False
            device.bottom_half()
        device.bottom_half()

    def ask() -> None:
        if handler:
            posts.put(True)
            return
        with wanted:
            state["wanted"] = True
            wanted.notify()

    thread = threading.Thread(target=serve)
    thread.start()

    def end() -> None:
        state["over"] = True
        ask()
        thread.join()

    return ask, end


def interrupt_by_eventfd(device: Device, ask: Callable[[], object], count: int) -> None:
    fd = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_CLOEXEC)

    def take() -> None:
        for number in range(count):
            os.eventfd_read(fd)
            device.top_half(number % CAUSES)
            ask()

    taker = threading.Thread(target=take)
    taker.start()
    try:
        for size in bursts(count):
            os.eventfd_write(fd, size)
    finally:
        if sys.exc_info()[0] is not None:
            os.eventfd_write(fd, count)  # after Ctrl-C: it ends with what it has not seen
        taker.join()
        os.close(fd)


def interrupt_by_signal(device: Device, ask: Callable[[], object], count: int) -> None:
    def handle(_: int, __: object) -> None:
        device.top_half(device.interrupts % CAUSES)
        ask()  # queueing is legal there

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        for size in bursts(count):
            for _ in range(size):
                signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def bursts(count: int) -> Any:
    chance = random.Random(count)
    while count:
        size = min(count, chance.randint(1, 8))
        count -= size
        yield size
        time.sleep(0.0005)


def fifo_is_allowed() -> bool:
    try:
        kw.Worker(scheduler=kw.Fifo(50)).destroy()
    except (PermissionError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        print(f"without real-time priority: {error}")
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 interrupts, not 3 times 1000")
    parser.add_argument(
        "--source", choices=("eventfd", "signal"), default="eventfd", help="what interrupts"
    )
    args = parser.parse_args()
    source = args.source
    count, rounds = (200, 1) if args.quick else (1000, 3)
    interrupt = interrupt_by_signal if source == "signal" else interrupt_by_eventfd
    scheduler = kw.Fifo(50) if kw.backend == "native" and fifo_is_allowed() else None
    devices = {"worker": Device(), "thread by hand": Device()}
    print(f"interrupts by {source}, bottom halves with {scheduler or 'no priority'}")
    try:
        for _ in range(rounds):
            for name, device in devices.items():
                if name == "worker":
                    ask, end = by_worker(device, scheduler)
                else:
                    ask, end = by_hand(device, scheduler, handler=source == "signal")
                try:
                    interrupt(device, ask, count)
                finally:
                    end()
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    for name, device in devices.items():
        late = sorted(device.late)
        figures = [late[min(int(part * len(late)), len(late) - 1)] for part in (0.5, 0.99, 1)]
        print(
            f"{name:<15} {device.interrupts} interrupts, {device.runs} runs; us until handled: "
            + ", ".join(f"{figure / 1000:.0f}" for figure in figures)
            + " (p50, p99, most)"
        )
        assert device.interrupts == rounds * count
        assert device.lost() == 0, f"{name}: {device.lost()} lost"
    print("no cause lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
