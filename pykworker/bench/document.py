# SPDX-License-Identifier: GPL-2.0-only
"""The whole run as plain data: what ``--json`` writes, and all that the reports read.

    schema, schema_version, complete, quick, notes
    machine         see `machine.describe`
    settings        works, repeat, cases, and the sizes that follow from them
    cases           one for each case that began:
      name, title, unit, per, timed, skipped (a reason, or null)
      turns         the order within each repetition, as keys of contestants
      contestants   key, label, ours;
                    samples_ns: one list per repetition, nanoseconds per unit of the case;
                    counts: by name, one number per repetition;
                    summary: figures.Summary over all samples, or null when there are none
      ratios        each of ours over each other contestant: ours, against,
                    per_repetition (our median over theirs), median (null without a whole pair)
    targets         case, ours, against, kind, must, aim, value, verdict (null: not measured)

Times are nanoseconds throughout; `unit` says how people are shown them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from . import figures
from .measure import Result, Sizes
from .targets import TARGETS, Target

SCHEMA = "pykworker-bench"
SCHEMA_VERSION = 1

Data = dict[str, Any]


def build(
    results: Iterable[Result],
    *,
    sizes: Sizes,
    repeat: int,
    selected: Sequence[str],
    quick: bool,
    complete: bool,
    machine: Data,
    notes: Sequence[str] = (),
) -> Data:
    cases = [_case(result, sizes) for result in results]
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "complete": complete,
        "quick": quick,
        "notes": list(notes),
        "machine": machine,
        "settings": {
            "works": sizes.works,
            "repeat": repeat,
            "cases": list(selected),
            "native_works": sizes.native_works,
            "round_trips_per_batch": sizes.batch,
            "batches_per_repetition": sizes.batches,
            "looks_per_repetition": sizes.looks,
        },
        "cases": cases,
        "targets": [_target(target, cases) for target in TARGETS],
    }


def _case(result: Result, sizes: Sizes) -> Data:
    case = result.case
    contestants = []
    for contestant in result.contestants:
        samples = result.samples[contestant.key]
        times = [sample.times for sample in samples]
        flat = [time for repetition in times for time in repetition]
        names = samples[0].counts if samples else ()
        contestants.append(
            {
                "key": contestant.key,
                "label": contestant.label,
                "ours": contestant.ours,
                "samples_ns": times,
                "counts": {name: [sample.counts[name] for sample in samples] for name in names},
                "summary": asdict(figures.summarize(flat)) if flat else None,
            }
        )
    return {
        "name": case.name,
        "title": case.title(sizes),
        "unit": case.unit,
        "per": case.per,
        "timed": case.timed,
        "skipped": result.skipped,
        "turns": result.turns,
        "contestants": contestants,
        "ratios": [
            _ratio(ours, other)
            for ours in contestants
            if ours["ours"]
            for other in contestants
            if other is not ours
        ],
    }


def _ratio(ours: Data, other: Data) -> Data:
    ratios = figures.pair_ratios(ours["samples_ns"], other["samples_ns"])
    return {
        "ours": ours["key"],
        "against": other["key"],
        "per_repetition": ratios,
        "median": statistics.median(ratios) if ratios else None,
    }


def find_case(cases: Iterable[Data], name: str) -> Data | None:
    return next((case for case in cases if case["name"] == name), None)


def find_ratio(case: Data, ours: str, against: str) -> Data | None:
    """The ratio of that pair, unless it was not measured or has no whole repetition."""
    for ratio in case["ratios"]:
        if (ratio["ours"], ratio["against"]) == (ours, against) and ratio["per_repetition"]:
            return dict(ratio)
    return None


def _target(target: Target, cases: Sequence[Data]) -> Data:
    case = find_case(cases, target.case)
    ratio = find_ratio(case, target.ours, target.against) if case else None
    value = target.value(ratio["per_repetition"]) if ratio else None
    verdict = None if value is None else target.verdict(value)
    return {**asdict(target), "value": value, "verdict": verdict}


def reference(case: Data) -> Data | None:
    """The contestant that the reports compare with: the first, when it is ours."""
    first = next(iter(case["contestants"]), None)
    return first if first and first["ours"] else None


def times_reference(case: Data, contestant: Data) -> float | None:
    """How many times as long as the reference takes; the median over the repetitions' pairs."""
    base = reference(case)
    if base is None:
        return None
    if contestant is base:
        return 1.0
    ratio = find_ratio(case, base["key"], contestant["key"])
    if ratio is None:
        return None
    return float(statistics.median(1 / value for value in ratio["per_repetition"]))
