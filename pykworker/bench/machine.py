# SPDX-License-Identifier: GPL-2.0-only
"""What it was measured on. Everything is best effort: None where the system does not tell."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
import sysconfig
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pykworker


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpuinfo(field: str) -> str | None:
    found = re.search(rf"^{field}\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else None


def _virtual() -> bool | None:
    """True or False where the processor's flags tell (x86 on Linux), else None."""
    flags = _cpuinfo("flags")
    return None if flags is None else "hypervisor" in flags.split()


def _distribution(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def usable_cpus() -> list[int]:
    """The CPUs this process may use, in order; empty where the system does not tell."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return []


def siblings(cpu: int) -> set[int]:
    """The logical CPUs that share `cpu`'s core, itself included."""
    cpus = {cpu}
    text = _read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").strip()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def cpu_pair() -> tuple[int, int] | None:
    """Two CPUs this process may use, on different cores where there is a choice."""
    cpus = usable_cpus()
    if len(cpus) < 2:
        return None
    first = cpus[0]
    shared = siblings(first)
    second = next((cpu for cpu in cpus if cpu not in shared), cpus[1])
    return first, second


def busy(machine: dict[str, Any]) -> bool:
    """Was something else running at the start? By the load of the minute before it."""
    load = machine["load_average"]
    return bool(load) and load[0] > (machine["logical_cpus"] or 1) / 2


def describe() -> dict[str, Any]:
    """The machine, the system, the interpreter and the versions, as plain data."""
    gil = getattr(sys, "_is_gil_enabled", None)
    try:
        load: list[float] | None = [round(value, 2) for value in os.getloadavg()]
    except (AttributeError, OSError):
        load = None
    pair = cpu_pair()
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "logical_cpus": os.cpu_count(),
        "usable_cpus": usable_cpus() or None,
        "pinned_pair": list(pair) if pair else None,
        "pinned_pair_shares_a_core": pair[1] in siblings(pair[0]) if pair else None,
        "governor": governor or None,
        "virtual_machine": _virtual(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": load,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "build": " ".join(platform.python_build()),
        "compiler": platform.python_compiler(),
        "gil": True if gil is None else bool(gil()),
        "free_threaded_build": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "switch_interval_s": sys.getswitchinterval() if hasattr(sys, "getswitchinterval") else None,
        "clock_resolution_s": time.get_clock_info("perf_counter").resolution,
        "package": getattr(pykworker, "__version__", None),
        "backend": getattr(pykworker, "backend", "pure"),
        "cffi": _distribution("cffi"),
    }


def lines(machine: dict[str, Any]) -> list[str]:
    """`describe()`'s answer for people, one subject per line."""
    virtual = {True: "virtual machine", False: "not virtual", None: "virtual or not: unknown"}
    usable = machine["usable_cpus"]
    cpus = f"{machine['logical_cpus']} logical CPUs"
    if usable is not None:
        cpus += f" (usable: {', '.join(map(str, usable))})"
    if machine["governor"]:
        cpus += f", governor {machine['governor']}"
    load = machine["load_average"]
    interval = machine["switch_interval_s"]
    gil = "GIL" if machine["gil"] else "no GIL"
    if interval is not None:
        gil += f", switch interval {interval * 1e3:g} ms"
    python = f"{machine['implementation']} {machine['python']}"
    package = f"{machine['package'] or '(version unknown)'}, {machine['backend']}"
    return [
        f"CPU      {machine['cpu']}; {cpus}; {virtual[machine['virtual_machine']]}",
        f"System   {machine['system']} {machine['architecture']}"
        + (f"; load {load[0]:.2f} at the start" if load else ""),
        f"Python   {python} ({machine['build']}; {machine['compiler']}); {gil}",
        f"Package  pykworker {package} backend; cffi {machine['cffi'] or 'not installed'}",
        f"Date     {machine['date']}",
    ]
