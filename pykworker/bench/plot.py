# SPDX-License-Identifier: GPL-2.0-only
"""The run as a picture: one block of bars per case, on a logarithmic axis."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from . import report
from .document import Data, times_reference
from .machine import busy

EXTENSIONS = (".svg", ".png")

# Dark enough on white for text beside them, and told apart without colour vision by lightness too.
NATIVE, PURE, OTHER = "#1a5fb4", "#7da7d9", "#b8b8b8"
INK, FAINT = "#1c1c1c", "#5f5f5f"

WIDTH = 9.0  # inches: 900 CSS pixels, which is what a README gives a picture
ROW, TITLE, SCALE, HEAD, FOOT = 0.27, 0.28, 0.26, 0.66, 0.56


def _rows(case: Data) -> list[Data]:
    return [row for row in case["contestants"] if row["summary"] is not None]


def _colour(row: Data) -> str:
    if not row["ours"]:
        return OTHER
    return PURE if row["key"] == "pure" else NATIVE


def draw(data: Data, path: Path) -> None:
    """Writes the picture; the extension says which kind. Needs matplotlib."""
    import matplotlib
    from matplotlib.figure import Figure

    cases = [case for case in data["cases"] if _rows(case)]
    counts = [len(_rows(case)) for case in cases]
    height = HEAD + FOOT + sum(TITLE + ROW * count + SCALE for count in counts)
    style: Any = {"font.family": "DejaVu Sans", "font.size": 9.5, "svg.fonttype": "path"}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(WIDTH, height), facecolor="white")
        _headline(figure, data, height)
        top = height - HEAD
        for case, count in zip(cases, counts, strict=True):
            top -= TITLE
            axes = figure.add_axes((0.25, (top - ROW * count) / height, 0.72, ROW * count / height))
            _block(axes, case)
            top -= ROW * count + SCALE
        figure.savefig(path, dpi=200)


def _headline(figure: Any, data: Data, height: float) -> None:
    machine = data["machine"]
    title = "pykworker against what the standard library offers"
    labels = [
        text
        for flag, text in (
            (data["quick"], "quick run"),
            (not data["complete"], "partial"),
            (busy(machine), "busy machine"),
        )
        if flag
    ]
    if labels:
        title += f" ({', '.join(labels)})"
    figure.text(0.02, 1 - 0.16 / height, title, va="top", weight="bold", size=13, color=INK)
    figure.text(
        0.02,
        1 - 0.42 / height,
        "Shorter is better; logarithmic axes. Bar: median; whisker: quartiles;"
        f" {report.TIMES}: time as a multiple of the first row's; runs: callbacks that ran.",
        va="top",
        color=FAINT,
        size=8.5,
    )
    figure.text(
        0.02,
        0.12 / height,
        made_on(machine, f"{data['settings']['repeat']} repetitions"),
        va="bottom",
        color=FAINT,
        size=8,
        linespacing=1.4,
    )


def made_on(machine: Data, *more: str) -> str:
    """What it was measured on, when, and what *more* there is to say; two lines."""
    virtual = " (virtual machine)" if machine["virtual_machine"] else ""
    parts = [
        f"{machine['cpu']}, {machine['logical_cpus']} logical CPUs{virtual}",
        f"{machine['system']}\n{machine['implementation']} {machine['python']}",
        f"pykworker {machine['package'] or '(version unknown)'}, {machine['backend']} backend",
        *more,
        machine["date"][:10],
    ]
    return "; ".join(parts)


def _label(case: Data, row: Data) -> str:
    """The figure beside the bar; the ratio and the number of runs where there is one."""
    median = row["summary"]["median"] / report.SCALE[case["unit"]]
    ratio = times_reference(case, row)
    more = [] if ratio is None else [report.times(ratio)]
    for name, values in row["counts"].items():
        more.append(f"{statistics.median(values):,.0f} {name}")
    text = f"{report.number(median)} {case['unit']}"
    return f"{text}  ({', '.join(more)})" if more else text


def _block(axes: Any, case: Data) -> None:
    from matplotlib.ticker import NullLocator

    rows = _rows(case)
    scale = report.SCALE[case["unit"]]
    medians = [row["summary"]["median"] / scale for row in rows]
    lower = [row["summary"]["lower_quartile"] / scale for row in rows]
    upper = [row["summary"]["upper_quartile"] / scale for row in rows]

    # A bar on a logarithmic axis has no natural root: take the decade below the smallest, so that
    # the shortest bar is visible, and leave room on the right for the figures.
    left = 10.0 ** (math.floor(math.log10(min(medians + lower)) - 0.25))
    decades = math.log10(max(medians + upper) / left)
    axes.set_xscale("log")
    axes.set_xlim(left, left * 10 ** (decades / 0.66))
    axes.set_ylim(len(rows) - 0.5, -0.5)

    positions = range(len(rows))
    axes.barh(positions, medians, left=0, height=0.68, color=[_colour(row) for row in rows])
    for position, row, median, low, high in zip(
        positions, rows, medians, lower, upper, strict=True
    ):
        axes.plot([low, high], [position, position], color=INK, linewidth=1.1)
        axes.annotate(
            _label(case, row),
            (max(median, high), position),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            size=9,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            weight="bold" if row["ours"] and row["key"] != "pure" else "normal",
        )
    axes.set_yticks(list(positions), [row["label"] for row in rows], size=8.8)
    axes.tick_params(axis="y", length=0, colors=INK)
    axes.tick_params(axis="x", which="both", length=0, labelsize=7, labelcolor=FAINT, pad=1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", which="major", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(
        f"{case['title']}  [{case['unit']} per {case['per']}]",
        loc="left",
        x=-0.25 / 0.72 + 0.02 / 0.72,
        size=10,
        weight="bold",
        color=INK,
        pad=4,
    )
