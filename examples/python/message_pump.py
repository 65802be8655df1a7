# SPDX-License-Identifier: GPL-2.0-only
"""A bus controller's message pump: one work sends what is queued, in order, and rests when idle."""

import collections
import threading

import pykworker as kw


class Message:
    def __init__(self, data: bytes) -> None:
        self.data, self.answer = data, b""
        self.done = threading.Event()


class Controller:
    def __init__(self, worker: kw.Worker) -> None:
        self.worker = worker
        self.messages: collections.deque[Message] = collections.deque()
        self.pump_work = kw.Work(self.pump)
        self.prepared = False
        self.prepares = self.unprepares = 0

    def send(self, message: Message) -> None:
        self.messages.append(message)
        self.worker.queue(self.pump_work)  # however many come before it runs: one run

    def pump(self) -> None:
        if not self.messages:
            if self.prepared:
                self.prepared, self.unprepares = False, self.unprepares + 1
            return
        message = self.messages.popleft()
        if not self.prepared:
            self.prepared, self.prepares = True, self.prepares + 1
        message.answer = bytes(255 - byte for byte in message.data)  # the transfer
        # Once more, for the next message or to let the hardware go.
        self.worker.queue(self.pump_work)
        message.done.set()


with kw.Worker("bus0") as worker:
    bus = Controller(worker)
    messages = [Message(bytes([n])) for n in range(50)]
    for message in messages:
        bus.send(message)
    assert messages[-1].done.wait(10)
    worker.drain()  # the runs that it queues itself as well

print(f"{len(messages)} messages; prepared and let go as often: {bus.prepares == bus.unprepares}")
assert [m.answer[0] for m in messages] == [255 - n for n in range(50)]
assert bus.prepares == bus.unprepares >= 1
