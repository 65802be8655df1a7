# SPDX-License-Identifier: GPL-2.0-only
"""The runs as a table and as a histogram in plain characters."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from pykworker.bench import machine
from pykworker.bench.report import NONE, TIMES, Table, aligned, number, times

from .document import FIGURES, Data, figure

LOADS = {
    "none": "nothing else is asked of the machine",
    "python": "the main thread computes in Python",
    "c": "another thread copies memory and calls the system, in C",
}
MOST_ROWS = 24
LEAST_BAR = 6

NAMES = {"50": "median", "99": "99%", "99.9": "99.9%", "99.99": "99.99%", "max": "max"}


def microseconds(ns: float | None) -> str:
    return NONE if ns is None else number(ns / 1e3)


def span(ns: float) -> str:
    """An interval or a duration for people."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:g} {unit}"
    return f"{ns:g} ns"


def ran(data: Data) -> list[Data]:
    """The runs that have something to show."""
    return [run for run in data["runs"] if run["count"]]


def _count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def result_table(data: Data) -> Table:
    heads = ["µs late", "ticks", "missed", "min", *NAMES.values()]
    rows = [
        [
            run["label"],
            _count(run["count"]),
            _count(run["missed"]),
            microseconds(run["min_ns"]),
            *(microseconds(figure(run, name)) for name in FIGURES),
        ]
        for run in ran(data)
    ]
    settings = data["settings"]
    title = (
        f"How late a tick begins, every {span(settings['interval_ns'])}"
        f" for {span(settings['duration_ns'])}; {LOADS[settings['load']]}"
    )
    if settings["timer_slack_ns"] is not None:
        title += f"; timer slack {span(settings['timer_slack_ns'])}"
    foot = f"{NONE}: too few ticks for any to be beyond, or not told by who counted."
    return Table(title, heads, rows, foot=foot)


def ratio_table(data: Data) -> Table:
    labels = {run["key"]: run["label"] for run in data["runs"]}
    rows = [
        [
            f"{labels[ratio['of']]} / {labels[ratio['to']]}",
            *(times(ratio[name]) for name in FIGURES),
        ]
        for ratio in data["ratios"]
    ]
    return Table(f"Ratios ({TIMES} as late)", ["", *NAMES.values()], rows)


# --- the histogram -----------------------------------------------------------------------------


def rows_of(runs: Sequence[Data]) -> tuple[list[float], list[list[int]]]:
    """Edges in nanoseconds, evenly apart on a logarithmic scale, and the counts of each run."""
    middles = [[(begin + end) / 2 for begin, end, _ in run["buckets"]] for run in runs]
    least = max(1.0, min(map(min, middles)))
    most = max(map(max, middles))
    for steps in (10, 5, 3, 2, 1):
        first = math.floor(math.log10(least) * steps + 1e-9)
        last = max(first, math.floor(math.log10(most) * steps + 1e-9))
        if last - first < MOST_ROWS:
            break
    counts = [[0] * (last - first + 1) for _ in runs]
    for run, column, places in zip(runs, counts, middles, strict=True):
        for (_, _, count), middle in zip(run["buckets"], places, strict=True):
            row = math.floor(math.log10(max(least, middle)) * steps + 1e-9) - first
            column[min(row, last - first)] += count
    return [10 ** ((first + row) / steps) for row in range(last - first + 2)], counts


def bar(count: int, most: int, width: int) -> str:
    """On a logarithmic scale, so that one tick in a million is seen."""
    if not count:
        return ""
    return "#" * max(1, round(width * math.log1p(count) / math.log1p(most)))


def histogram(data: Data, width: int) -> str:
    """One column for each run, on one scale; as wide as told."""
    runs = ran(data)
    edges, counts = rows_of(runs)
    most = max(map(max, counts))
    labels = [number(edge / 1e3) for edge in edges[:-1]]
    side = max(map(len, labels)) + 1
    figures = len(f"{most:,}") + 1
    room = max(LEAST_BAR + figures, (width - side) // len(runs) - 2)
    lines = ["Ticks by how late they were, from so many µs on; bars on a logarithmic scale"]
    heads = [textwrap.wrap(run["label"], room) for run in runs]
    if len(runs) > 1:
        for line in range(max(map(len, heads))):
            names = [head[line] if line < len(head) else "" for head in heads]
            lines.append(_row("", side, names, room))
    for row, label in enumerate(labels):
        cells: list[str] = []
        for column in counts:
            text = f"{column[row]:,}".rjust(figures) if column[row] else ""
            cells.append(f"{text} {bar(column[row], most, room - figures - 1)}".rstrip())
        lines.append(_row(label, side, cells, room))
    return "\n".join(lines)


def _row(label: str, side: int, cells: Sequence[str], room: int) -> str:
    return (label.rjust(side) + "".join(f" |{cell.ljust(room)}" for cell in cells)).rstrip()


# --- all of it ---------------------------------------------------------------------------------


def headings(data: Data) -> list[str]:
    """What must be known before any figure is read."""
    lines: list[str] = []
    if not data["complete"]:
        lines.append("PARTIAL: interrupted; the figures are those of what had been measured.")
    if machine.busy(data["machine"]):
        lines.append(
            f"BUSY: the load was {data['machine']['load_average'][0]:g} at the start;"
            " the figures are those of a machine that does other things as well."
        )
    lines += [
        f"{run['label']}: left out; {run['refused']}"
        for run in data["runs"]
        if run["refused"] is not None
    ]
    labels = {run["key"]: run["label"] for run in data["runs"]}
    lines += [
        f"{run['label']}: a process of its own, with the scheduler and the CPUs of"
        f" {labels[run['same_as']]!r}; its buckets are whole microseconds."
        for run in data["runs"]
        if run["same_as"]
    ]
    lines += [
        f"{run['label']}: not one tick."
        for run in data["runs"]
        if not run["count"] and run["refused"] is None
    ]
    return lines


def terminal(data: Data, width: int) -> str:
    parts = ["\n".join(machine.lines(data["machine"]))]
    heads = [line for text in headings(data) for line in textwrap.wrap(text, max(60, width))]
    if heads:
        parts.append("\n".join(heads))
    if ran(data):
        parts.append(aligned(result_table(data)))
        if data["ratios"]:
            parts.append(aligned(ratio_table(data)))
        parts.append(histogram(data, width))
    return "\n\n".join(parts) + "\n"
