# SPDX-License-Identifier: GPL-2.0-only
"""The document for people: groups of lines, and under each what would help."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from pykworker.bench.report import number

Data = dict[str, Any]
Line = tuple[str, str]

UNKNOWN = "unknown"
_WIDTH = 110
_LABEL = 20
_MIB = 1 << 20


def _yes(value: bool | None, yes: str = "yes", no: str = "no") -> str:
    return UNKNOWN if value is None else yes if value else no


def _list(value: str | None) -> str:
    return UNKNOWN if value is None else value or "none"


def _limit(tried: Data, name: str) -> str:
    limit = tried["limits"][name]

    def text(value: int | None) -> str:
        if value == -1:
            return "unlimited"
        return UNKNOWN if value is None else str(value)

    return f"{name} {text(limit['soft'])}, at most {text(limit['hard'])}"


def _granted(answer: Data, what: str) -> str:
    """What came of an attempt."""
    if answer["allowed"] is None:
        return UNKNOWN + (f" ({answer['why']})" if answer["why"] else "")
    if answer["allowed"]:
        return "granted" + (f", {what} {answer['value']}" if answer["value"] is not None else "")
    return f"refused ({answer['why']})" if answer["why"] else "refused"


def _rights(data: Data) -> list[Line]:
    tried, system = data["tried"], data["system"]
    memory = system["memory_bytes"]
    held = UNKNOWN if memory is None else f"{memory / _MIB:,.0f} MiB"
    capabilities = ", ".join(
        f"{name} {_yes(value)}" for name, value in system["capabilities"].items()
    )
    return [
        ("SCHED_FIFO", _granted(tried["fifo"], "up to priority")),
        ("", _limit(tried, "RLIMIT_RTPRIO")),
        ("SCHED_DEADLINE", _granted(tried["deadline"], "")),
        ("nice", _granted(tried["nice"], "down to")),
        ("", _limit(tried, "RLIMIT_NICE")),
        ("memory lock", f"{_granted(tried['memory_lock'], '')}; this process has {held}"),
        ("", _limit(tried, "RLIMIT_MEMLOCK")),
        ("capabilities", capabilities),
    ]


def _kernel(data: Data) -> list[Line]:
    system = data["system"]
    kernel, slack = system["kernel"], system["timer_slack_ns"]
    runtime, period = system["throttling"]["runtime_us"], system["throttling"]["period_us"]
    throttled = UNKNOWN
    if runtime is not None and runtime < 0:
        throttled = "none"
    elif runtime is not None and period is not None:
        throttled = f"{runtime / 1e3:g} ms of each {period / 1e3:g} ms"
    preemption = kernel["preemption"] or UNKNOWN
    if kernel["preemption_mode"]:
        preemption += f", {kernel['preemption_mode']}"
    virtual = system["virtual_machine"]
    machine = _yes(virtual["virtual"], "virtual", "not virtual")
    if virtual["kind"]:
        machine += f" ({virtual['kind']})"
    platform = data["platform"]
    return [
        (
            "system",
            f"{platform['system']} {kernel['release'] or UNKNOWN} {platform['architecture']}",
        ),
        ("PREEMPT_RT", f"{_yes(kernel['realtime'])} (preemption: {preemption})"),
        ("real-time share", throttled),
        ("timer slack", UNKNOWN if slack is None else f"{slack / 1e3:g} µs"),
        ("clock source", kernel["clock_source"] or UNKNOWN),
        ("machine", machine),
        ("container", system["container"] or "none that shows"),
    ]


def _cpus(data: Data) -> list[Line]:
    cpus = data["system"]["cpus"]
    deepest = cpus["deepest_idle_us"]
    sleep = UNKNOWN if deepest is None else f"up to {deepest} µs to wake from"
    if cpus["idle_governor"]:
        sleep += f" (governor {cpus['idle_governor']})"
    return [
        ("on", _list(cpus["exist"])),
        ("allowed", _list(cpus["allowed"])),
        ("isolated", _list(cpus["isolated"])),
        ("nohz_full", _list(cpus["nohz_full"])),
        ("two threads a core", _yes(cpus["smt"])),
        ("governor", ", ".join(cpus["governors"] or ()) or UNKNOWN),
        ("idle states", sleep),
    ]


def _cgroups(data: Data) -> list[Line]:
    lines: list[Line] = []
    for group in data["system"]["cgroups"]:
        text = group["mounted"]
        if group["controllers"]:
            text += f" ({', '.join(group['controllers'])})"
        text += f": own {group['own'] or UNKNOWN}"
        if group["type"]:
            text += f", {group['type']}"
        text += f"; threads may join {_yes(group['join'])}, groups be made {_yes(group['make'])}"
        if group["rt_runtime_us"] is not None:
            text += f"; cpu.rt_runtime_us {group['rt_runtime_us']}"
        lines.append((f"v{group['version']}", text))
    return lines or [("mounted", "none")]


def _wake_ups(data: Data) -> list[Line]:
    if data["wake_ups"] is None:
        return [("", "not measured")]
    lines: list[Line] = []
    way = None
    for entry in data["wake_ups"]:
        if entry["threads"] != way:
            way = entry["threads"]
            lines.append(("", f"{way}:"))
        if entry["skipped"]:
            lines.append((entry["where"], f"not measured: {entry['skipped']}"))
            continue
        low, high = (number(value / 1e3) for value in entry["quartiles_ns"])
        least, most = (number(value / 1e3) for value in entry["range_ns"])
        lines.append(
            (
                entry["where"],
                f"{number(entry['median_ns'] / 1e3)} µs (quartiles {low} … {high}, "
                f"range {least} … {most})",
            )
        )
    return lines


def _python(data: Data) -> list[Line]:
    python, package = data["python"], data["package"]
    interval = python["switch_interval_s"]
    gil = "GIL" if python["gil"] else "no GIL"
    if python["free_threaded"]:
        gil += ", free-threaded build"
    if interval is not None:
        gil += f", switch interval {interval * 1e3:g} ms"
    version = f"{python['implementation']} {python['version']}"
    debug = ", debug build" if python["debug"] else ""
    return [
        ("interpreter", f"{version} ({python['build']}; {python['compiler']}){debug}; {gil}"),
        (
            "pykworker",
            f"{package['version'] or UNKNOWN}, {package['backend']} backend, "
            f"sleeps on: {package['sleeps_on']}",
        ),
    ]


GROUPS: tuple[tuple[str, str, Callable[[Data], list[Line]]], ...] = (
    ("rights", "What a thread may have", _rights),
    ("kernel", "Kernel", _kernel),
    ("cpus", "CPUs", _cpus),
    ("cgroups", "Control groups", _cgroups),
    ("wake_ups", "Round trip: queue one work, wait until it has run", _wake_ups),
    ("python", "Python", _python),
)


def _wrapped(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"  {label:<{_LABEL}}",
        subsequent_indent=" " * (_LABEL + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def text(data: Data) -> str:
    """The whole report."""
    parts: list[str] = []
    for group, title, lines in GROUPS:
        part = [title, *(_wrapped(label, line) for label, line in lines(data))]
        part += [
            _wrapped("would help", advice["text"])
            for advice in data["advice"]
            if advice["group"] == group
        ]
        parts.append("\n".join(part))
    return "\n\n".join(parts) + "\n"
