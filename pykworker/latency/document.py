# SPDX-License-Identifier: GPL-2.0-only
"""All of it as plain data: what ``--json`` writes, and all that the reports read.

    schema, schema_version, complete
    machine         see `pykworker.bench.machine.describe`
    settings        interval_ns, duration_ns, load, memory_lock, timer_slack_ns (or null)
    runs            one for each contestant that was begun:
      key, label, kind ("threading", "python", "native", "cyclictest"), scheduler, cpus
      same_as       the key of the run whose settings it has, or null
      refused       why it did not run, or null
      elapsed_ns, count, missed (null: not known)
      min_ns, max_ns, mean_ns, percentiles_ns (by name)
      buckets       [from, until, count], nanoseconds; those that are not empty
    ratios          threading's lateness over that of each other run, and that of the run that
                    cyclictest did again over cyclictest's: of, to, and "50", "99", "99.9",
                    "99.99", max

A figure is null where nothing was counted, or too few for that percentile; a ratio, where one of
the two is null or 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .histogram import PERCENTILES
from .runs import Plan, Result, scheduler_text

SCHEMA = "pykworker-latency"
SCHEMA_VERSION = 1

Data = dict[str, Any]

FIGURES = (*(f"{share:g}" for share in PERCENTILES), "max")


def build(results: Sequence[Result], plan: Plan, *, complete: bool, machine: Data) -> Data:
    runs = [_run(result) for result in results]
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "complete": complete,
        "machine": machine,
        "settings": {
            "interval_ns": plan.interval_ns,
            "duration_ns": plan.duration_ns,
            "load": plan.load,
            "memory_lock": plan.memory_lock,
            "timer_slack_ns": plan.timer_slack_ns,
        },
        "runs": runs,
        "ratios": _ratios(runs),
    }


def _run(result: Result) -> Data:
    contestant, record = result.contestant, result.record
    counted = record if record is not None and record.count else None
    return {
        "key": result.by or contestant.key,
        "label": result.by or contestant.label,
        "kind": result.by or contestant.kind,
        "same_as": contestant.key if result.by else None,
        "scheduler": scheduler_text(contestant.scheduler) if contestant.scheduler else None,
        "cpus": sorted(contestant.cpus) if contestant.cpus is not None else None,
        "refused": result.refused,
        "elapsed_ns": result.elapsed_ns,
        "count": record.count if record else 0,
        "missed": record.missed if record else None,
        "min_ns": counted.minimum if counted else None,
        "max_ns": counted.maximum if counted else None,
        "mean_ns": counted.total / counted.count if counted else None,
        "percentiles_ns": {
            f"{share:g}": counted.percentile(share) if counted else None for share in PERCENTILES
        },
        "buckets": [list(bucket) for bucket in record.buckets] if record else [],
    }


def figure(run: Data, name: str) -> float | None:
    """One of `FIGURES`, in nanoseconds; None: too few ticks for it."""
    value = run["max_ns"] if name == "max" else run["percentiles_ns"][name]
    return None if value is None else float(value)


def _ratio(above: Data, below: Data) -> Data:
    made: Data = {"of": above["key"], "to": below["key"]}
    for name in FIGURES:
        of, to = figure(above, name), figure(below, name)
        made[name] = of / to if of is not None and to else None
    return made


def _ratios(runs: Sequence[Data]) -> list[Data]:
    ran = [run for run in runs if run["count"]]
    foreign = next((run for run in ran if run["same_as"]), None)
    ours = [run for run in ran if run is not foreign]
    made: list[Data] = []
    if ours and ours[0]["kind"] == "threading":
        made += [_ratio(ours[0], run) for run in ours[1:]]
    if foreign is not None:
        same = [run for run in ours if run["key"] == foreign["same_as"]]
        made += [_ratio(run, foreign) for run in same]
    return made
