# SPDX-License-Identifier: GPL-2.0-only
"""A watchdog: a delayed work pings the hardware and arms itself again while its user lives."""

import threading
import time

import pykworker as kw

PING = 0.005


class Watchdog:
    def __init__(self, worker: kw.Worker) -> None:
        self.worker, self.pings, self.last = worker, 0, 0.0
        self.patience = 10.0
        self.work = kw.DelayedWork(self.ping)
        self.ten, self.bitten = threading.Event(), threading.Event()

    def ping(self) -> None:
        if time.monotonic() - self.last > self.patience:
            self.bitten.set()
            return
        self.pings += 1
        if self.pings == 10:
            self.ten.set()
        self.worker.queue_delayed(self.work, PING)

    def keepalive(self) -> None:
        self.last = time.monotonic()
        self.worker.mod_delayed(self.work, 0)

    def close(self) -> None:
        self.work.cancel()  # also when it is just arming itself


with kw.Worker("watchdogd") as worker:
    dog = Watchdog(worker)
    while not dog.ten.wait(PING):
        dog.keepalive()
    dog.close()
    quiet = dog.pings
    assert not dog.bitten.wait(3 * PING)
    assert dog.pings == quiet
    dog.patience = 0.03
    dog.keepalive()  # and then not a word
    assert dog.bitten.wait(10)

print("pinged by itself, quiet when closed, bit a silent user")
