# SPDX-License-Identifier: GPL-2.0-only
"""The device's side of virtual queues, as vhost: rings in memory, eventfds, one worker for all.

A guest's thread fills a ring and kicks an eventfd; a poller turns kicks into queued works; the
work drains its ring and calls another eventfd. Each side writes into the ring from where on it
wants to be told. The GIL orders the accesses to the memory: what a guest in a process of its own
takes besides, on any machine, is in examples/c/virtqueue_backend.c.
"""

import argparse
import mmap
import os
import select
import sys
import threading
import time
import zlib
from pathlib import Path

import pykworker as kw

DEVICES, QUEUES_EACH = 2, 2
RING = 128  # slots; a power of two, for the indices run free, modulo 2**16
LENGTH = 64  # of a payload
WEIGHT = 64  # requests in a run, before other queues have their turn
PATIENCE = 20.0  # the guest's, in seconds

# Where in the ring's memory, in 16-bit words: the indices, then the slots' lengths.
AVAIL, USED, AVAIL_EVENT, USED_EVENT, LENGTHS = range(5)
HEADER = 2 * (LENGTHS + RING)
SLOT = 8 + LENGTH + 8  # number and payload; the answer is a checksum


def passes(event: int, new: int, old: int) -> bool:
    """Has an index on its way from *old* to *new* passed *event*?"""
    return (new - event - 1) & 0xFFFF < (new - old) & 0xFFFF


class Ring:
    """What the guest and the device share: memory, and an eventfd each way."""

    def __init__(self) -> None:
        fd = os.memfd_create("ring")
        os.ftruncate(fd, HEADER + RING * SLOT)
        self.memory = mmap.mmap(fd, HEADER + RING * SLOT)
        os.close(fd)
        self.view = memoryview(self.memory)
        self.words = self.view[:HEADER].cast("H")
        self.kick, self.call = (os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2))

    def slot(self, index: int) -> memoryview:
        at = HEADER + index % RING * SLOT
        return self.view[at : at + SLOT]

    def close(self) -> None:
        os.close(self.kick)
        os.close(self.call)


class Queue:
    """The device's view of a ring; one work drains it."""

    def __init__(self, worker: kw.Worker, ring: Ring, tally: "Tally") -> None:
        self.ring, self.tally = ring, tally
        self.next = self.signalled = self.served = 0
        self.work = worker.work(self.drain)

    def drain(self) -> None:
        words, first = self.ring.words, self.next
        self.tally.runs += 1
        for _ in range(WEIGHT):
            if self.next == words[AVAIL]:
                break
            slot, length = self.ring.slot(self.next), words[LENGTHS + self.next % RING]
            assert length <= LENGTH  # what the guest writes is not to be trusted
            number = int.from_bytes(slot[:8], "little")
            assert number == self.served, f"{number} is lost, or came twice"
            slot[-8:] = zlib.crc32(slot[8 : 8 + length], number & 0xFFFF).to_bytes(8, "little")
            self.served += 1
            self.next = (self.next + 1) & 0xFFFF
            if not self.tally.suppress:
                self.publish()
        if self.next != first and self.tally.suppress:
            self.publish()
        words[AVAIL_EVENT] = self.next  # ask for the next kick, and look again:
        if self.next != words[AVAIL]:  # it may have come before, or the run was long
            self.work.queue()

    def publish(self) -> None:
        words = self.ring.words
        words[USED] = self.next
        if not self.tally.suppress or passes(words[USED_EVENT], self.next, self.signalled):
            self.tally.calls += 1
            os.eventfd_write(self.ring.call, 1)
        self.signalled = self.next


class Tally:
    def __init__(self, suppress: bool) -> None:
        self.suppress = suppress
        self.kicks = self.queued = self.runs = self.calls = self.moves = 0
        self.failure: BaseException | None = None


class Backend:
    """Several devices on one worker, and the poller that queues their works."""

    def __init__(self, worker: kw.Worker, rings: list[list[Ring]], tally: Tally) -> None:
        self.devices = [[Queue(worker, ring, tally) for ring in device] for device in rings]
        self.queues = {queue.ring.kick: queue for device in self.devices for queue in device}
        self.tally = tally
        self.epoll = select.epoll()
        self.leave = os.eventfd(0)
        self.epoll.register(self.leave, select.EPOLLIN)
        self.poller = threading.Thread(target=self.poll)
        self.poller.start()
        for queue in self.queues.values():
            queue.work.disable()  # attach enables it

    def poll(self) -> None:
        while True:
            for fd, _ in self.epoll.poll():
                if fd == self.leave:
                    return
                try:
                    os.eventfd_read(fd)
                except BlockingIOError:
                    continue
                # A detached queue's work refuses, should the event be older than that.
                self.tally.queued += self.queues[fd].work.queue()

    def attach(self, number: int) -> None:
        for queue in self.devices[number]:
            queue.work.enable()
            self.epoll.register(queue.ring.kick, select.EPOLLIN)
            queue.work.queue()  # the poller may have taken a kick meanwhile

    def detach(self, number: int) -> None:
        """When it returns, no work of that device runs, and none will."""
        for queue in self.devices[number]:
            self.epoll.unregister(queue.ring.kick)
            queue.work.disable()

    def close(self) -> None:
        for number in range(len(self.devices)):
            self.detach(number)
        os.eventfd_write(self.leave, 1)
        self.poller.join()
        self.epoll.close()
        os.close(self.leave)


class Guest(threading.Thread):
    """Sends *count* requests through each ring, and checks each answer."""

    def __init__(self, rings: list[Ring], count: int, tally: Tally) -> None:
        super().__init__()
        self.rings, self.count, self.tally = rings, count, tally
        self.sent, self.reaped = [0] * len(rings), [0] * len(rings)
        self.stopping = False

    def run(self) -> None:
        try:
            self.talk()
        except BaseException as error:  # the main thread raises it
            self.tally.failure = error

    def talk(self) -> None:
        calls = select.poll()
        for ring in self.rings:
            calls.register(ring.call, select.POLLIN)
        while self.reaped != self.sent or (self.sent[-1] < self.count and not self.stopping):
            if sum(self.reap(i) + self.fill(i) for i in range(len(self.rings))):
                continue
            if sum(self.ask(i) for i in range(len(self.rings))):  # all, where any() would stop
                continue
            ready = calls.poll(1000 * PATIENCE)
            if not ready:
                raise TimeoutError("the guest waits for an answer that does not come")
            for fd, _ in ready:
                os.eventfd_read(fd)

    @staticmethod
    def payload(number: int) -> bytes:
        return bytes([number * 31 % 251]) * (1 + number * 7 % LENGTH)

    def fill(self, i: int) -> int:
        words, kicked = self.rings[i].words, self.sent[i]
        goal = self.sent[i] if self.stopping else min(self.count, self.reaped[i] + RING)
        for number in range(self.sent[i], goal):
            payload = self.payload(number)
            slot = self.rings[i].slot(number)
            slot[:8] = number.to_bytes(8, "little")
            slot[8 : 8 + len(payload)] = payload
            slot[-8:] = bytes(8)
            words[LENGTHS + number % RING] = len(payload)
            self.sent[i] += 1
            if not self.tally.suppress:
                self.publish(i, number)
        if self.sent[i] != kicked and self.tally.suppress:
            self.publish(i, kicked)
        return self.sent[i] - kicked

    def publish(self, i: int, kicked: int) -> None:
        words, new = self.rings[i].words, self.sent[i] & 0xFFFF
        words[AVAIL] = new
        if not self.tally.suppress or passes(words[AVAIL_EVENT], new, kicked & 0xFFFF):
            self.tally.kicks += 1
            os.eventfd_write(self.rings[i].kick, 1)

    def reap(self, i: int) -> int:
        before = self.reaped[i]
        ready = (self.rings[i].words[USED] - before) & 0xFFFF
        for number in range(before, before + ready):
            answer = int.from_bytes(self.rings[i].slot(number)[-8:], "little")
            assert answer == zlib.crc32(self.payload(number), number & 0xFFFF), "damaged"
            self.reaped[i] += 1
        return ready

    def ask(self, i: int) -> bool:
        """Ask for a call once three of four are done. True: they are already."""
        waits, words = self.sent[i] - self.reaped[i], self.rings[i].words
        if not waits:
            return False
        words[USED_EVENT] = (self.reaped[i] + waits * 3 // 4) & 0xFFFF
        return (words[USED] - self.reaped[i]) & 0xFFFF > waits * 3 // 4


def play(worker: kw.Worker, count: int, *, suppress: bool, moving: bool = False) -> float:
    """Returns requests a second."""
    rings = [[Ring() for _ in range(QUEUES_EACH)] for _ in range(DEVICES)]
    flat = [ring for device in rings for ring in device]
    tally = Tally(suppress)
    backend = Backend(worker, rings, tally)
    guest = Guest(flat, count, tally)
    for number in range(DEVICES):
        backend.attach(number)
    begin = time.perf_counter()
    guest.start()
    try:
        while guest.is_alive():
            if not moving:
                guest.join()
                break
            number = tally.moves % DEVICES
            backend.detach(number)
            served = [queue.served for queue in backend.devices[number]]
            time.sleep(0.001)
            assert served == [queue.served for queue in backend.devices[number]], "it went on"
            backend.attach(number)
            tally.moves += 1
            guest.join(0.001)
    finally:
        guest.stopping = True
        guest.join()
        seconds = time.perf_counter() - begin
        backend.close()
        for ring in flat:
            ring.close()
    if tally.failure:
        raise tally.failure
    total = sum(guest.reaped)
    assert total == count * len(flat)
    saved = 100 * (1 - (tally.kicks + tally.calls) / (2 * total))
    name = "a kick, a call for each" if not suppress else "moving" if moving else "event index"
    print(
        f"{name:<24}{total / seconds:9.0f} requests/s; {total} requests: {tally.kicks} kicks, "
        f"{tally.queued} works queued, {tally.runs} run, {tally.calls} calls; "
        f"{saved:.1f} % of notifications saved" + (f"; moved {tally.moves} times" * moving)
    )
    return total / seconds


def join_cgroups(worker: kw.Worker) -> None:
    """As vhost for a device's owner, which is this process here."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    joined, refused = 0, []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for _, at, kind, options, *_ in mounts:
            v1 = kind == "cgroup" and controllers and set(controllers.split(",")) <= {
                *options.split(",")
            }  # fmt: skip
            if v1 or (kind == "cgroup2" and not controllers):
                try:
                    worker.cgroup = at + path
                    joined += 1
                except (OSError, ValueError) as error:
                    refused.append(f"{controllers or 'v2'}: {error}")
                break
    print(f"cgroups: joined its owner's in {joined} hierarchies", *refused, sep="; ")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="500 requests a queue, not 3000")
    sizes.add_argument("--long", action="store_true", help="20000 requests a queue")
    args = parser.parse_args()
    if not hasattr(os, "eventfd"):
        print("there is no eventfd here")
        return int(os.environ.get("REQUIRE_TOOLS") == "1")
    count = 500 if args.quick else 20000 if args.long else 3000
    try:
        with kw.Worker("vq-backend") as worker:
            if kw.backend == "native":
                join_cgroups(worker)
            each = play(worker, count, suppress=False)
            index = play(worker, count, suppress=True)
            play(worker, count, suppress=True, moving=True)
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    print(f"the event index makes it {index / each:.2f} times as fast")
    print("nothing lost, nothing twice, every checksum right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
