# SPDX-License-Identifier: GPL-2.0-only
"""Draws what `bench_delayed --csv` printed: the cost of an operation against n.

python plot_delayed.py delayed.csv delayed.png
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator


def read(path: str) -> tuple[dict[str, list[tuple[int, float]]], list[tuple[int, float]]]:
    """The medians of each operation, and the growth of log2(n)."""
    medians: dict[str, list[tuple[int, float]]] = defaultdict(list)
    growth: list[tuple[int, float]] = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if row["median_ns"]:
                medians[row["operation"]].append((int(row["n"]), float(row["median_ns"])))
            else:
                growth.append((int(row["n"]), float(row["ratio"])))
    return medians, growth


def draw(source: str, target: str) -> None:
    medians, growth = read(source)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, points in medians.items():
        style = "--" if name == "sorted list" else "-"
        axes.plot(*zip(*points, strict=True), style, marker="o", markersize=4, label=name)
    first = medians["arm"][0][1]
    axes.plot(
        [n for n, _ in growth],
        [first * ratio for _, ratio in growth],
        ":",
        color="gray",
        label="growth of log2(n)",
    )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="armed works",
        ylabel="nanoseconds an operation",
        title="What a delayed work costs",
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(True, alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(target, dpi=130)


if __name__ == "__main__":
    draw(sys.argv[1], sys.argv[2])
