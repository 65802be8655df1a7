# SPDX-License-Identifier: GPL-2.0-only
"""Draws what `against --json` wrote: medians with their quartiles, on a logarithmic axis.

python plot.py against.json bench-c.png
"""

from __future__ import annotations

import json
import sys
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

COLORS = {"ours": "tab:blue", "opponent": "tab:gray", "beside": "lightgray", "limit": "tab:green"}
LEGEND = {
    "ours": "this project's core",
    "opponent": "what the targets are held against",
    "beside": "shown beside",
    "limit": "the bare limit",
}


def label(value: float) -> str:
    return f"{value / 1000:,.1f} µs" if value >= 1000 else f"{value:,.0f} ns"


def draw(source: str, target: str) -> None:
    with open(source, encoding="utf-8") as file:
        document: dict[str, Any] = json.load(file)
    kinds = {entry["name"]: entry["kind"] for entry in document["contestants"]}
    names = [
        name
        for name in dict.fromkeys(entry["case"] for entry in document["cases"])
        if name not in ("memory", "idle")
    ]
    if not names:
        sys.exit(f"{source}: no case that can be drawn")
    rows = (len(names) + 1) // 2
    figure = Figure(figsize=(13, 3.5 * rows + 0.8), layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, 2, index + 1)
        entries = [entry for entry in document["cases"] if entry["case"] == name]
        entries.sort(key=lambda entry: -entry["median"])
        medians = [entry["median"] for entry in entries]
        whiskers = [
            [max(0, entry["median"] - entry["quartiles"][0]) for entry in entries],
            [max(0, entry["quartiles"][1] - entry["median"]) for entry in entries],
        ]
        axes.barh(
            [entry["name"] for entry in entries],
            medians,
            xerr=whiskers,
            color=[COLORS[kinds[entry["name"]]] for entry in entries],
            ecolor="black",
            capsize=2,
            height=0.72,
        )
        ends = [entry["quartiles"][1] for entry in entries]
        for place, (end, median) in enumerate(zip(ends, medians, strict=True)):
            axes.text(max(end, median) * 1.08, place, label(median), va="center", fontsize=8)
        axes.set_xscale("log")
        low = min(entry["quartiles"][0] for entry in entries) / 2
        axes.set_xlim(low, max([*ends, *medians]) * (max(ends) / low) ** 0.16)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(labelsize=9)
        axes.set_title(name, fontsize=11)
        axes.set_xlabel(entries[0]["unit"] + " (less is better)", fontsize=9)
        axes.grid(True, axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    handles = [figure.axes[0].barh([0], [0], color=COLORS[kind]) for kind in COLORS]
    figure.legend(handles, LEGEND.values(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(
        f"{document['machine']}, {document['system']}, {document['date']}; "
        f"medians, whiskers from quartile to quartile",
        fontsize=10,
    )
    figure.savefig(target, dpi=100)


if __name__ == "__main__":
    draw(sys.argv[1], sys.argv[2])
