# SPDX-License-Identifier: GPL-2.0-only
"""The run as tables: for a terminal with rich, as aligned plain text, or as Markdown."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TextIO

from . import machine
from .document import Data, reference, times_reference

TIMES = "\N{MULTIPLICATION SIGN}"
NONE = "\N{EN DASH}"

SCALE = {"ns": 1.0, "µs": 1e3}


def number(value: float) -> str:
    """Three significant digits, thousands separated, never an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def times(value: float | None) -> str:
    return NONE if value is None else f"{number(value)}{TIMES}"


@dataclass(frozen=True)
class Table:
    """The first column is text and stands to the left, the others are figures to the right."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[int] = frozenset()
    """Rows that are ours."""
    foot: str = ""


def case_table(case: Data) -> Table:
    base = reference(case)
    unit, scale = case["unit"], SCALE[case["unit"]]
    heads = [f"{unit} per {case['per']}", "median", "quartiles", "min … max"]
    counts = sorted({name for row in case["contestants"] for name in row["counts"]})
    heads += counts
    if base is not None:
        heads.append(f"{TIMES} {base['label']}")
    rows = []
    for contestant in case["contestants"]:
        summary = contestant["summary"]
        if summary is None:
            continue
        row = [
            contestant["label"],
            number(summary["median"] / scale),
            *(
                f"{number(summary[low] / scale)} … {number(summary[high] / scale)}"
                for low, high in (("lower_quartile", "upper_quartile"), ("minimum", "maximum"))
            ),
        ]
        for name in counts:
            values = contestant["counts"].get(name)
            row.append(f"{statistics.median(values):,.0f}" if values else NONE)
        if base is not None:
            row.append(times(times_reference(case, contestant)))
        rows.append(row)
    ours = [row["ours"] for row in case["contestants"] if row["summary"] is not None]
    strong = frozenset(index for index, flag in enumerate(ours) if flag)
    return Table(case["title"], heads, rows, strong, case["timed"])


def target_table(data: Data) -> Table:
    labels = {
        (case["name"], row["key"]): row["label"]
        for case in data["cases"]
        for row in case["contestants"]
    }
    rows = []
    for target in data["targets"]:
        if target["value"] is None:
            continue
        faster = target["kind"] == "faster"
        ours = labels[target["case"], target["ours"]]
        against = labels[target["case"], target["against"]]
        sign, words = ("≥ ", "times faster") if faster else ("≤ ", "of its time")
        rows.append(
            [
                f"{target['case']}: {ours} against {against}, {words}",
                f"{sign}{target['must']:g}{TIMES}",
                f"{sign}{target['aim']:g}{TIMES}",
                times(target["value"]),
                target["verdict"],
            ]
        )
    return Table("Targets", ["", "must", "aim", "measured", "verdict"], rows)


def tables(data: Data) -> list[Table]:
    """Those that have something to show."""
    made = [case_table(case) for case in data["cases"] if case["skipped"] is None]
    made.append(target_table(data))
    return [table for table in made if table.rows]


def headings(data: Data) -> list[str]:
    """What must be known before any figure is read: what kind of run this is."""
    settings = data["settings"]
    lines = []
    if not data["complete"]:
        lines.append("PARTIAL: interrupted; the figures are those of what had been measured.")
    if data["quick"]:
        lines.append("QUICK: few works and few repetitions; good for a look, not for a quotation.")
    if machine.busy(data["machine"]):
        lines.append(
            f"BUSY: the load was {data['machine']['load_average'][0]:g} at the start;"
            " the figures are those of a machine that does other things as well."
        )
    lines.append(
        f"{settings['repeat']} repetitions after one to warm up; in each, every contestant in turn"
        f" ({settings['works']:,} works)."
    )
    lines += data["notes"]
    lines += [
        f"{case['name']}: left out, {case['skipped']}."
        for case in data["cases"]
        if case["skipped"] is not None
    ]
    return lines


READING = (
    "Quartiles and min … max are over all samples. Ratios are taken within each repetition, then"
    " their median. runs: how many callbacks ran, median of the repetitions."
)


def aligned(table: Table) -> str:
    """As plain text."""
    grid = [table.heads, *table.rows]
    widths = [max(len(row[column]) for row in grid) for column in range(len(table.heads))]
    lines = [table.title]
    for row in grid:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells).rstrip())
        if row is table.heads:
            lines.append("  " + "  ".join("-" * width for width in widths))
    lines += textwrap.wrap(table.foot, 96, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def plain(data: Data) -> str:
    heads = [line for text in headings(data) for line in textwrap.wrap(text, 100)]
    parts = ["\n".join(machine.lines(data["machine"])), "\n".join(heads)]
    parts += map(aligned, tables(data))
    parts.append(textwrap.fill(READING, 100))
    return "\n\n".join(parts) + "\n"


def fancy(data: Data, stream: TextIO) -> str:
    """The same by rich, for a terminal like `stream`; ImportError where rich is missing."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console, Group
    from rich.padding import Padding
    from rich.table import Table as RichTable
    from rich.text import Text

    terminal = stream.isatty()
    colours = {"aim met": "green", "met": "green", "not met": "red"}
    parts: list[Text | Padding] = [
        Text(line, style="dim") for line in machine.lines(data["machine"])
    ]
    parts.append(Text())
    parts += [
        Text(line, style="bold yellow" if line.startswith(("PARTIAL", "QUICK", "BUSY")) else "")
        for line in headings(data)
    ]
    for table in tables(data):
        made = RichTable(
            title=table.title,
            title_style="bold",
            title_justify="left",
            caption=table.foot or None,
            caption_style="dim",
            caption_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        last = len(table.heads) - 1
        for column, head in enumerate(table.heads):
            # On a narrow terminal it is the last head that breaks, never a name or a figure.
            made.add_column(
                head, justify="right" if column else "left", no_wrap=column != last, min_width=4
            )
        for index, row in enumerate(table.rows):
            cells = [Text(cell, style=colours.get(cell, "")) for cell in row]
            made.add_row(*cells, style="bold" if index in table.strong else "")
        parts.append(Padding(made, (1, 0, 0, 0)))
    parts.append(Text("\n" + READING, style="dim"))
    # Into memory first: the caller writes it in one go, and meets a closed pipe in one place.
    console = Console(
        file=StringIO(), force_terminal=terminal, width=None if terminal else 110, highlight=False
    )
    with console.capture() as capture:
        console.print(Group(*parts))
    lines = capture.get().splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def terminal(data: Data, stream: TextIO) -> str:
    try:
        return fancy(data, stream)
    except ImportError:
        return plain(data)


def markdown(data: Data) -> str:
    """Tables for a README: GitHub's Markdown, ours in bold."""
    parts = ["  \n".join(" ".join(line.split()) for line in machine.lines(data["machine"]))]
    parts.append("  \n".join(headings(data)))
    for table in tables(data):
        lines = [f"### {table.title}", ""]
        lines.append(_pipes(table.heads))
        lines.append(_pipes(["---"] + ["---:"] * (len(table.heads) - 1)))
        for index, row in enumerate(table.rows):
            cells = [f"**{cell}**" for cell in row] if index in table.strong else row
            lines.append(_pipes(cells))
        if table.foot:
            lines += ["", table.foot]
        parts.append("\n".join(lines))
    parts.append(READING)
    return "\n\n".join(parts) + "\n"


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
