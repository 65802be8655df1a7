# SPDX-License-Identifier: GPL-2.0-only
"""Many scripts, each in a process of its own, a few at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from helpers import LIMIT, script_command

AT_ONCE = 4


class Ended(subprocess.CompletedProcess[str]):
    """How a script ended, and whether it did so by itself."""

    in_time = True


def run_until(
    kw: Any, source: str, *options: str, limit: float = LIMIT, buffered: bool = False
) -> Ended:
    """Run *source* in a fresh interpreter. One that hangs tells where it does, and is ended.

    Where it hangs faulthandler says on standard error. *options* are the interpreter's.
    """
    command, env = script_command(kw, source)
    command[1:1] = options
    if buffered:
        del env["PYTHONUNBUFFERED"]
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    in_time = True
    try:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            in_time = False
            os.kill(process.pid, signal.SIGABRT)
            out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
        process.wait()
    ended = Ended(command, process.returncode, out, err)
    ended.in_time = in_time
    return ended


def run_all(calls: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Make the *calls*, a few at a time; what each returned, by its name."""
    with ThreadPoolExecutor(AT_ONCE) as executor:
        futures = {name: executor.submit(call) for name, call in calls.items()}
        return {name: future.result() for name, future in futures.items()}


def wait_for_children(pid: int, count: int) -> list[int]:
    """The children of a process, once there are *count* of them."""
    end = time.monotonic() + LIMIT
    while True:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(word) for word in file.read().split()]
        if len(children) >= count:
            return children
        assert time.monotonic() < end, "the children never came"
        time.sleep(0.001)
