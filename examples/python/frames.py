# SPDX-License-Identifier: GPL-2.0-only
"""Frames that want a certain blank: what is drawn too late is counted, a new mode flushes."""

import threading

import pykworker as kw

FRAMES, SLOW = 10, 6
count = 0
on_time: list[int] = []
late: list[int] = []
reached = threading.Event()
moved_on = threading.Event()


def draw(frame: int) -> None:
    if frame == SLOW:
        moved_on.wait(10)  # it takes until its blank is over
    (on_time if count <= frame else late).append(frame)


with kw.Worker("crtc-0") as crtc, kw.Worker("blanks") as hardware:
    frames = {n: kw.Work(draw, n) for n in range(1, FRAMES + 1)}
    waiting = {**frames, 10**9: kw.Work(draw, 10**9)}  # one waits for a blank that does not come

    def blank() -> object:
        global count
        count += 1
        if count > SLOW:
            moved_on.set()
        if work := waiting.pop(count, None):
            crtc.queue(work)
        if count == FRAMES:
            reached.set()
            return kw.CANCEL
        return None

    hardware.every(0.004, blank)
    assert reached.wait(10)
    # The change of mode: what waits is dropped, what was queued has run at the return.
    dropped = len(waiting)
    waiting.clear()
    crtc.flush()

print(f"{len(on_time) + len(late)} frames, {dropped} dropped, the slow one late: {SLOW in late}")
assert sorted(on_time + late) == list(range(1, FRAMES + 1))
assert SLOW in late
assert dropped == 1
