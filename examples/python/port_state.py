# SPDX-License-Identifier: GPL-2.0-only
"""A port's state machine: all on one worker, and one timeout that every state sets anew."""

import threading

import pykworker as kw

DEBOUNCE, RESPONSE = 0.02, 0.03


class Port:
    def __init__(self, worker: kw.Worker, partner_answers: bool) -> None:
        self.worker, self.partner_answers = worker, partner_answers
        self.state = "unattached"
        self.path: list[str] = []
        self.settled = threading.Event()
        self.plugged = False
        self.plug_work = kw.Work(self.contact)
        self.accept_work = kw.Work(self.accept)
        self.after = ""
        self.timeout = kw.DelayedWork(lambda: self.enter(self.after))

    def plug(self, plugged: bool) -> None:
        self.plugged = plugged
        self.worker.queue(self.plug_work)

    # What follows runs on the worker: no lock.

    def then(self, state: str, delay: float) -> None:
        self.after = state
        self.worker.mod_delayed(self.timeout, delay)

    def contact(self) -> None:
        if not self.plugged:
            self.enter("unattached")
        elif self.state == "unattached":
            self.enter("attach-wait")
        elif self.state == "attach-wait":
            self.then("negotiate", DEBOUNCE)  # it chatters: wait anew

    def accept(self) -> None:
        if self.state == "negotiate":
            self.enter("ready")

    def enter(self, state: str) -> None:
        self.state = state
        self.path.append(state)
        if state == "attach-wait":
            self.then("negotiate", DEBOUNCE)
        elif state == "negotiate":
            self.then("unattached", RESPONSE)
            if self.partner_answers:
                self.worker.queue(self.accept_work)
        else:
            self.timeout.cancel()
            self.settled.set()


with kw.Worker("port0") as worker:
    for answers, end in ((True, "ready"), (False, "unattached")):
        port = Port(worker, answers)
        for _ in range(5):
            port.plug(True)
        assert port.settled.wait(10)
        print(" -> ".join(port.path))
        assert port.path == ["attach-wait", "negotiate", end]
