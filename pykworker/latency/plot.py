# SPDX-License-Identifier: GPL-2.0-only
"""The runs as a picture: a histogram for each, and how many ticks are later than that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pykworker.bench.machine import busy
from pykworker.bench.plot import FAINT, INK, made_on

from .document import Data, figure
from .report import LOADS, microseconds, ran, span

# Told apart by lightness and by the dashes too; what others do is grey.
OTHER = ("#8a8a8a", "#2e8b57", "#4d4d4d")
OURS = ("#7da7d9", "#3d7ec7", "#e08a3c", "#a03c14")

WIDTH = 9.0  # inches
ROW, HEAD, FOOT, BELOW = 0.84, 0.72, 0.46, 0.36
ABOVE = 0.36  # a row's two lines of text
LEAST_HEIGHT = 3.0
PER_DECADE = 20


def colours(runs: Sequence[Data]) -> list[str]:
    """In the order of the runs."""
    ours, others = iter(OURS * 2), iter(OTHER * 2)
    return [next(ours if run["kind"] in ("python", "native") else others) for run in runs]


def bars(run: Data) -> tuple[list[float], list[float]]:
    """Edges in microseconds, evenly apart on a logarithmic axis, and the share in each."""
    places = [max(1.0, (begin + end) / 2) for begin, end, _ in run["buckets"]]
    rows = [math.floor(math.log10(place) * PER_DECADE) for place in places]
    first, last = min(rows), max(rows)
    shares = [0.0] * (last - first + 1)
    for row, (_, _, count) in zip(rows, run["buckets"], strict=True):
        shares[row - first] += count / run["count"]
    edges = [10 ** (row / PER_DECADE) / 1e3 for row in range(first, last + 2)]
    return edges, shares


def tail(run: Data) -> tuple[list[float], list[float]]:
    """Microseconds, and the share of the ticks that are at least so late."""
    left = run["count"]
    xs: list[float] = []
    ys: list[float] = []
    for begin, end, count in run["buckets"]:
        xs.append(min(max((begin + end) / 2, run["min_ns"], 1), run["max_ns"]) / 1e3)
        ys.append(left / run["count"])
        left -= count
    return xs, ys


def draw(data: Data, path: Path) -> None:
    """Writes the picture; the suffix says which kind. Needs matplotlib, and one run that ran."""
    import matplotlib
    from matplotlib.figure import Figure

    runs = ran(data)
    inner = max(LEAST_HEIGHT, ROW * len(runs))
    height = HEAD + inner + BELOW + FOOT
    style: Any = {"font.family": "DejaVu Sans", "font.size": 9, "svg.fonttype": "path"}
    with matplotlib.rc_context(style):
        drawing = Figure(figsize=(WIDTH, height), facecolor="white")
        _words(drawing, data, height)
        bottom = (BELOW + FOOT) / height
        limits = _limits(runs)
        row = inner / len(runs)
        for index, (run, colour) in enumerate(zip(runs, colours(runs), strict=True)):
            at = bottom + (inner - row * (index + 1)) / height
            axes = drawing.add_axes((0.03, at, 0.45, (row - ABOVE) / height))
            _histogram(axes, run, colour, limits, last=index == len(runs) - 1)
        axes = drawing.add_axes((0.565, bottom, 0.415, (inner - ABOVE) / height))
        _tails(axes, runs, limits)
        drawing.savefig(path, dpi=200)


def _limits(runs: Sequence[Data]) -> tuple[float, float]:
    least = min(max(1, run["min_ns"]) for run in runs) / 1e3
    most = max(max(run["max_ns"], 1) for run in runs) / 1e3
    return least / 1.3, most * 1.5


def _words(drawing: Any, data: Data, height: float) -> None:
    machine, settings = data["machine"], data["settings"]
    title = "How late a periodic tick begins"
    labels = [
        text
        for flag, text in ((not data["complete"], "partial"), (busy(machine), "busy machine"))
        if flag
    ]
    if labels:
        title += f" ({', '.join(labels)})"
    drawing.text(0.02, 1 - 0.14 / height, title, va="top", weight="bold", size=13, color=INK)
    drawing.text(
        0.02,
        1 - 0.40 / height,
        f"Every {span(settings['interval_ns'])} for {span(settings['duration_ns'])} each;"
        f" {LOADS[settings['load']]}. Further left is better; logarithmic axes.",
        va="top",
        color=FAINT,
        size=8.5,
    )
    drawing.text(
        0.02,
        0.10 / height,
        made_on(machine),
        va="bottom",
        color=FAINT,
        size=7.5,
        linespacing=1.4,
    )


def _axis(axes: Any, limits: tuple[float, float], shown: bool) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.xaxis.set_major_locator(LogLocator(base=10, numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.tick_params(axis="x", length=0, labelsize=7.5, labelcolor=FAINT, labelbottom=shown, pad=2)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    for name, side in axes.spines.items():
        side.set_visible(name == "bottom")
        side.set_color("#b8b8b8")
    if shown:
        axes.set_xlabel("µs late", size=8, color=FAINT, labelpad=1)


def _histogram(
    axes: Any, run: Data, colour: str, limits: tuple[float, float], *, last: bool
) -> None:
    edges, shares = bars(run)
    _axis(axes, limits, last)
    axes.stairs(shares, edges, fill=True, color=colour)
    axes.set_ylim(0, max(shares) * 1.05)
    axes.set_yticks([])
    for name in ("50", "99.9"):
        value = figure(run, name)
        if value is not None:
            axes.axvline(max(value, 1) / 1e3, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
    axes.set_title(run["label"], loc="left", size=8.8, weight="bold", color=INK, pad=14)
    words = [f"{run['count']:,} ticks", f"median {microseconds(figure(run, '50'))}"]
    if figure(run, "99.9") is not None:
        words.append(f"99.9% {microseconds(figure(run, '99.9'))}")
    words.append(f"max {microseconds(run['max_ns'])} µs")
    axes.annotate(
        " · ".join(words),
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 3),
        textcoords="offset points",
        size=7.8,
        color=FAINT,
    )


def _tails(axes: Any, runs: Sequence[Data], limits: tuple[float, float]) -> None:
    from matplotlib.ticker import NullLocator

    _axis(axes, limits, True)
    most = max(run["count"] for run in runs)
    axes.set_yscale("log")
    axes.set_ylim(0.7 / most, 1.3)
    dashes: list[Any] = ["-", (0, (4, 1.2)), (0, (1.5, 1)), "-.", (0, (6, 1, 1, 1, 1, 1))]
    for index, (run, colour) in enumerate(zip(runs, colours(runs), strict=True)):
        xs, ys = tail(run)
        axes.plot(
            [*xs, xs[-1]],
            [*ys, 0.1 / most],
            color=colour,
            linewidth=1.6,
            linestyle=dashes[index % len(dashes)],
            drawstyle="steps-pre",
            label=run["label"],
        )
    shares = [10.0**-power for power in range(8) if 10.0**-power >= 0.7 / most]
    axes.set_yticks(shares, [_share(share) for share in shares], size=7.5, color=FAINT)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_title("Ticks at least so late", loc="left", size=8.8, weight="bold", color=INK, pad=3)
    if len(runs) > 1:
        axes.legend(fontsize=7, frameon=True, framealpha=0.85, edgecolor="none", loc="lower left")


def _share(share: float) -> str:
    return "all" if share == 1 else f"{share:.6%}".rstrip("0%").rstrip(".") + "%"
