# SPDX-License-Identifier: GPL-2.0-only
"""Draw the pictures of the pages: ``python docs/drawings.py`` writes docs/images/*.svg.

A picture is a list of boxes, arrows and words with their places; there is no layout to compute.
The paper is white also where the page is dark.
"""

from __future__ import annotations

import json
import sys
import time
from html import escape
from pathlib import Path

INK, PALE, FAINT, BLUE = "#1b1f24", "#e8eff8", "#6b7785", "#2f5d9b"


class Drawing:
    def __init__(self, width: int, height: int, title: str) -> None:
        self.head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" font-family="sans-serif" '
            f'font-size="14">\n<title>{escape(title)}</title>\n'
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0 L10 5 L0 10 z" '
            f'fill="{INK}"/></marker></defs>\n'
            f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>\n'
        )
        self.body: list[str] = []

    def box(self, x: int, y: int, w: int, h: int, *lines: str, dashed: bool = False) -> None:
        fill, dash = ("none", ' stroke-dasharray="5 4"') if dashed else (PALE, "")
        self.body.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="{fill}" '
            f'stroke="{FAINT if dashed else BLUE}" stroke-width="1.5"{dash}/>'
        )
        first = y + h / 2 - 9 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            self.text(x + w / 2, first + 18 * number, line, bold=number == 0)

    def text(
        self, x: float, y: float, words: str, anchor: str = "middle", *,
        bold: bool = False, code: bool = False, faint: bool = False,
    ) -> None:  # fmt: skip
        style = ' font-weight="bold"' if bold else ""
        style += ' font-family="monospace" font-size="13"' if code else ""
        self.body.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" '
            f'fill="{FAINT if faint else INK}"{style}>{escape(words)}</text>'
        )

    def arrow(self, *points: tuple[int, int], dashed: bool = False) -> None:
        path = " L".join(f"{x} {y}" for x, y in points)
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self.body.append(
            f'<path d="M{path}" fill="none" stroke="{INK}" stroke-width="1.4"{dash} '
            'marker-end="url(#tip)"/>'
        )

    def line(self, x: int, top: int, bottom: int) -> None:
        self.body.append(
            f'<path d="M{x} {top} L{x} {bottom}" stroke="{FAINT}" stroke-dasharray="3 5"/>'
        )

    def write(self, name: str) -> None:
        path = Path(__file__).resolve().parent / "images" / name
        path.write_text(self.head + "\n".join(self.body) + "\n</svg>\n", "utf-8")


def life_of_a_work() -> None:
    d = Drawing(860, 420, "The life of a work")
    d.box(40, 190, 120, 60, "idle")
    d.box(350, 60, 190, 210, dashed=True)
    d.text(445, 80, "pending", bold=True)
    d.box(370, 95, 150, 60, "delayed", "its timer runs")
    d.box(370, 195, 150, 60, "on the list", "in its place")
    d.box(670, 190, 150, 60, "executing")
    d.box(670, 330, 150, 60, "executing", "and pending")
    d.arrow((160, 207), (370, 207))
    d.text(265, 201, "queue()", code=True)
    d.arrow((130, 190), (130, 125), (370, 125))
    d.text(245, 119, "queue_delayed()", code=True)
    d.text(245, 142, "mod_delayed()", code=True)
    d.arrow((350, 237), (160, 237))
    d.text(255, 255, "cancel()", code=True)
    d.arrow((445, 155), (445, 195))
    d.text(453, 172, "time is up,", "start")
    d.text(453, 188, "flush()", "start", code=True)
    d.arrow((520, 220), (670, 220))
    d.text(605, 214, "its turn")
    d.arrow((745, 190), (745, 30), (80, 30), (80, 190))
    d.text(410, 24, "the callback has returned")
    d.arrow((715, 250), (715, 330))
    d.text(707, 295, "queue()", "end", code=True)
    d.arrow((775, 330), (775, 250))
    d.text(783, 295, "cancel()", "start", code=True)
    d.arrow((670, 360), (445, 360), (445, 270))
    d.text(555, 354, "the callback has returned")
    d.text(40, 330, "Queueing a pending work again", "start", faint=True)
    d.text(40, 348, "changes nothing: one run", "start", faint=True)
    d.text(40, 366, "serves all who asked.", "start", faint=True)
    d.write("life-of-a-work.svg")


def virtqueue() -> None:
    d = Drawing(860, 300, "The queues of two devices on one worker")
    d.text(110, 30, "the guest", bold=True)
    d.text(370, 30, "shared memory, eventfds", bold=True)
    d.text(700, 30, "the device's process", bold=True)
    d.box(30, 50, 160, 210, "fill, publish", "kick if asked", "", "reap, check")
    for number in range(4):
        d.box(280, 50 + 55 * number, 180, 45, f"device {number // 2}, queue {number % 2}")
        d.arrow((190, 72 + 55 * number), (280, 72 + 55 * number))
    d.box(590, 50, 220, 60, "poller", "a kick queues a work")
    d.box(590, 180, 220, 80, "worker", "a work drains its ring,", "calls if asked")
    d.arrow((460, 72), (590, 72))
    d.text(525, 66, "kicks")
    d.arrow((700, 110), (700, 180))
    d.text(708, 150, "works, in order", "start")
    d.arrow((590, 222), (460, 222))
    d.text(525, 216, "calls")
    d.text(
        430, 288, "Each side writes into the ring from where on it wants to be told.", faint=True
    )
    d.write("virtqueue.svg")


def event_loop() -> None:
    d = Drawing(760, 400, "How an event loop and a worker talk")
    d.text(190, 30, "the loop's thread", bold=True)
    d.text(570, 30, "the worker's thread", bold=True)
    d.line(190, 42, 385)
    d.line(570, 125, 315)
    d.box(70, 55, 240, 50, "a coroutine", "await worker.call(fn)")
    d.arrow((310, 80), (395, 80), (395, 160), (480, 160))
    d.text(405, 84, "to the tail of the list,", "start")
    d.text(405, 102, "with a copy of the context", "start")
    d.box(70, 130, 240, 150, "other coroutines run", "the loop is not blocked")
    d.box(480, 140, 180, 40, "what is before it")
    d.box(480, 195, 180, 60, "fn()", "in that context")
    d.arrow((480, 225), (395, 225), (395, 325), (310, 325))
    d.text(405, 340, "call_soon_threadsafe()", "start", code=True)
    d.text(405, 358, "wakes the loop, once", "start")
    d.box(70, 295, 240, 60, "the coroutine goes on", "with the result")
    d.box(480, 270, 180, 40, "what is behind it")
    d.write("event-loop.svg")


def loop_thread() -> None:
    d = Drawing(760, 270, "A worker on the event loop's own thread")
    d.text(140, 30, "another thread", bold=True)
    d.text(580, 30, "the loop's thread", bold=True)
    d.line(140, 42, 255)
    d.line(580, 42, 255)
    d.box(40, 60, 200, 40, "worker.queue(work)")
    d.box(300, 100, 130, 60, "the list", "and fileno()")
    d.arrow((240, 80), (365, 80), (365, 100))
    d.box(460, 60, 240, 40, "the loop waits, or is busy")
    d.arrow((430, 130), (460, 130))
    d.box(460, 110, 240, 40, "fileno() is readable")
    d.box(460, 165, 240, 70, "run_pending()", "the callbacks run here,", "and it returns")
    d.arrow((460, 200), (365, 200), (365, 160))
    d.text(380, 218, "takes it", "start")
    d.write("loop-thread.svg")


RECORDED = Path(__file__).resolve().parent / "images" / "trace.json"


def record_trace() -> None:
    """``python docs/drawings.py --record``: a real one of two workers, for trace() to draw."""
    import pykworker as kw

    with kw.trace(RECORDED), kw.Worker("camera") as camera, kw.Worker("disk") as disk:

        def save() -> None:
            time.sleep(0.004)

        def grab() -> None:
            time.sleep(0.003)
            disk.queue(kw.Work(save))

        grab.__qualname__, save.__qualname__ = "grab", "save"
        camera.queue_many(kw.Work(grab) for _ in range(3))
        camera.flush()
        disk.flush()


def trace() -> None:
    events = json.loads(RECORDED.read_text("utf-8"))["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    names = {e["tid"]: e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    rows = {tid: ["MainThread", "camera", "disk"].index(name) for tid, name in names.items()}
    first = min(event["ts"] for event in slices)
    last = max(event["ts"] + event["dur"] for event in slices)
    left, top, height = 130, 60, 60

    def x(at: float) -> int:
        return left + round((at - first) / (last - first) * 690)

    def y(tid: int) -> int:
        return top + 90 * rows[tid]

    d = Drawing(860, 350, "A trace of two workers")
    for step in range(0, int(last - first) // 1000 + 1, 2):
        d.line(x(first + 1000 * step), 36, 330)
        d.text(x(first + 1000 * step), 28, f"{step} ms", faint=True)
    for tid, name in names.items():
        d.text(110, y(tid) + 35, name, "end", bold=True)
    for event in slices:
        if event["cat"] == "queue":
            d.box(x(event["ts"]) - 1, y(event["tid"]) + 12, 2, height - 24)
        else:
            wide = x(event["ts"] + event["dur"]) - x(event["ts"])
            d.box(x(event["ts"]), y(event["tid"]), wide, height, event["name"])
    starts = {event["id"]: event for event in events if event["ph"] == "s"}
    for end in events:
        if end["ph"] == "f":
            start = starts[end["id"]]
            d.arrow(
                (x(start["ts"]), y(start["tid"]) + height - 12),
                (x(end["ts"]), y(end["tid"])),
            )
    d.write("trace.svg")


if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        record_trace()
    life_of_a_work()
    virtqueue()
    event_loop()
    loop_thread()
    trace()
