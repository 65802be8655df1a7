# SPDX-License-Identifier: GPL-2.0-only
"""What the tests share: gates, calls on threads of their own, scripts in their own process.

A test waits on events, never on time. Every wait has a limit, so that a failing test ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

LIMIT = 50.0  # seconds until a wait counts as failed; no test takes that long unless it fails


class Gate:
    """A callback that says when it has been entered, and stays inside until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.runs = 0

    def __call__(self) -> None:
        self.entered.set()
        if not self.opened.wait(LIMIT):
            raise AssertionError("nobody opened the gate")
        self.runs += 1

    def wait_entered(self) -> None:
        assert self.entered.wait(LIMIT), "nobody came to the gate"

    def open(self) -> None:
        self.opened.set()


class Background:
    """A call on a thread of its own; result() returns or raises what the call did."""

    def __init__(self, fn: Any, *args: Any, **kwargs: Any) -> None:
        self._value: Any = None
        self._error: BaseException | None = None

        def body() -> None:
            try:
                self._value = fn(*args, **kwargs)
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=body, daemon=True, name="background")
        self._thread.start()

    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), "the call did not return"
        if self._error is not None:
            raise self._error
        return self._value


def public_members(kind: type) -> list[str]:
    """What a class has for its users; a dataclass has its fields as parameters."""
    fields = getattr(kind, "__dataclass_fields__", ())
    return [name for name in dir(kind) if name[0] != "_" and name not in fields]


def hold(kw: Any, worker: Any) -> Gate:
    """Have *worker* execute a gate, so that what is queued from now on stays pending."""
    gate = Gate()
    worker.queue(kw.Work(gate))
    gate.wait_entered()
    return gate


def wait_until_cancelling(worker: Any, work: Any) -> None:
    """Wait until somebody's cancel waits for *work*, which executes on *worker*.

    Until then each look may leave the work pending, for the cancel to drop.
    """
    wait_until(lambda: not worker.queue(work) and not work.pending)


def wait_until_draining(kw: Any, worker: Any) -> None:
    """Wait until somebody's drain of *worker* waits. Each look may queue a work before that."""

    def refused() -> bool:
        try:
            worker.queue(kw.Work(int))
        except RuntimeError as error:
            return str(error) == "worker is being drained"
        return False

    wait_until(refused)


def wait_until(condition: Any) -> None:
    """Look until *condition* holds; for states that no event announces."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.0005)


def give_time_to_sleep(native_id: int) -> None:
    """Let a thread come to its sleep. It makes a test sharper; none may need it to pass."""
    asleep = 0
    for _ in range(200):
        if sys.platform == "linux":
            with open(f"/proc/self/task/{native_id}/stat", "rb") as stat:
                asleep = asleep + 1 if stat.read().rpartition(b") ")[2][:1] == b"S" else 0
        if asleep == 10:
            return
        time.sleep(0.0005)


def wait_for_end(native_id: int) -> None:
    """Wait until the thread is gone, whoever made it."""
    if sys.platform == "linux":
        wait_until(lambda: not os.path.exists(f"/proc/self/task/{native_id}"))
    else:
        wait_until(lambda: native_id not in [thread.native_id for thread in threading.enumerate()])


def script_command(kw: Any, source: str) -> tuple[list[str], dict[str, str]]:
    head = f"import sys, os, threading, time, signal\nimport {kw.__name__} as kw\n"
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    env["PYTHONUNBUFFERED"] = "1"
    env.pop("PYTHONDEVMODE", None)
    command = [sys.executable, "-X", "faulthandler", "-c", head + textwrap.dedent(source)]
    return command, env


def run_script(
    kw: Any, source: str, *options: str, buffered: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run *source* in a fresh interpreter, where kw is the same backend as here."""
    command, env = script_command(kw, source)
    if buffered:
        del env["PYTHONUNBUFFERED"]
    command[1:1] = options
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=2 * LIMIT, check=False
    )
