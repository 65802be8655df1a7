# SPDX-License-Identifier: GPL-2.0-only
"""Waiting on an event loop: somebody else's thread tells the loop that it is over.

asyncio is imported when it is used, since most programs that import this package don't.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

__all__ = ["Begin", "Watch", "wait_for"]


class Watch(Protocol):
    """What begins with a notification to come, and ends with it or with cancel()."""

    def cancel(self) -> object:
        """Not interested any more; does nothing when it was notified already."""


Begin = Callable[[Callable[[], object]], Watch | None]


async def wait_for(begin: Begin, unused: Callable[[], object] | None = None) -> bool:
    """Wait until what *begin* watches is over, without a thread and without polling.

    *begin* is called as ``begin(notify)``. It returns None when there is nothing to wait for;
    else a Watch, and then *notify* is called once, on whatever thread. *unused* is called when
    it was, and the wait cancelled nevertheless.

    Returns whether it was notified.

    From a coroutine on an asyncio loop; another implementation of it, such as uvloop, will do.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    over = loop.create_future()
    notified = False
    left = False
    unused_once = [] if unused is None else [unused]

    def tell_that_it_is_unused() -> None:
        with contextlib.suppress(IndexError):  # the other one has done it
            unused_once.pop()()

    def wake() -> None:
        if not over.done():
            over.set_result(None)

    def notify() -> None:
        nonlocal notified
        notified = True
        if left:
            tell_that_it_is_unused()
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(wake)

    watch = begin(notify)
    if watch is None:
        return notified
    try:
        await over
    except BaseException:  # a loop that is closed lets go of it by GeneratorExit
        left = True  # first: on another thread the notification may be under way
        watch.cancel()
        if notified:
            tell_that_it_is_unused()
        raise
    return True
