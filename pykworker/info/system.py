# SPDX-License-Identifier: GPL-2.0-only
"""What the system's files say. None: the system does not tell, or has nothing of the kind."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pykworker._scheduling import cgroup_mounts, cpu_list, existing_cpus

Data = dict[str, Any]

_CPUS = "/sys/devices/system/cpu"

# Bits of <linux/capability.h>.
_CAPABILITIES = {"CAP_SYS_NICE": 23, "CAP_IPC_LOCK": 14}

# What a maker of virtual machines calls itself in sys_vendor or product_name.
_MAKERS = (
    ("KVM", "kvm"), ("QEMU", "qemu"), ("Firecracker", "firecracker"), ("Amazon EC2", "amazon"),
    ("Google Compute Engine", "google"), ("VMware", "vmware"), ("VirtualBox", "virtualbox"),
    ("innotek", "virtualbox"), ("Xen", "xen"), ("Microsoft Corporation", "microsoft"),
    ("Parallels", "parallels"), ("BHYVE", "bhyve"), ("OpenStack", "openstack"),
)  # fmt: skip

_CONTAINERS = ("docker", "libpod", "kubepods", "containerd", "lxc", "garden")


class Root:
    """The files of a system, by their usual paths."""

    def __init__(self, root: str | Path = "/") -> None:
        self.prefix = os.fspath(root).rstrip("/")

    def path(self, name: str) -> str:
        return self.prefix + name

    def read(self, name: str) -> str | None:
        """A file's text without the space around it; None: it can't be read."""
        try:
            return Path(self.path(name)).read_text(encoding="utf-8", errors="replace").strip()
        except (OSError, ValueError):
            return None

    def number(self, name: str) -> int | None:
        try:
            return int(self.read(name) or "")
        except ValueError:
            return None

    def exists(self, name: str) -> bool:
        return os.path.exists(self.path(name))

    def writable(self, name: str) -> bool | None:
        """None: there is no such file."""
        return os.access(self.path(name), os.W_OK) if self.exists(name) else None

    def matches(self, directory: str, pattern: str) -> list[str]:
        """The paths, as :meth:`read` takes them, of the files that a glob pattern finds there."""
        found = sorted(Path(self.path(directory)).glob(pattern))
        return [os.fspath(path)[len(self.prefix) :] for path in found]


def _field(text: str | None, name: str) -> str | None:
    found = re.search(rf"^{name}\s*:\s*(.*)$", text or "", re.MULTILINE)
    return found[1].strip() if found else None


def kernel(root: Root) -> Data:
    """Which one, and how it may be preempted."""
    version = root.read("/proc/version")
    model = re.search(r"\bPREEMPT(?:_\w+)?", version or "")
    realtime = None if version is None else model is not None and model[0] == "PREEMPT_RT"
    flag = root.number("/sys/kernel/realtime")
    if flag is not None:
        realtime = flag == 1
    # "none voluntary (full)"; readable by root alone.
    mode = re.search(r"\((\w+)\)", root.read("/sys/kernel/debug/sched/preempt") or "")
    return {
        "release": root.read("/proc/sys/kernel/osrelease"),
        "realtime": realtime,
        "preemption": model[0] if model else None,
        "preemption_mode": mode[1] if mode else None,
        "clock_source": root.read(
            "/sys/devices/system/clocksource/clocksource0/current_clocksource"
        ),
    }


def throttling(root: Root) -> Data:
    """How much of each period real-time threads may have; a runtime of -1: all of it."""
    return {
        "runtime_us": root.number("/proc/sys/kernel/sched_rt_runtime_us"),
        "period_us": root.number("/proc/sys/kernel/sched_rt_period_us"),
    }


def capabilities(root: Root) -> dict[str, bool | None]:
    text = _field(root.read("/proc/self/status"), "CapEff")
    try:
        bits = None if text is None else int(text, 16)
    except ValueError:
        bits = None
    return {
        name: None if bits is None else bool(bits >> bit & 1) for name, bit in _CAPABILITIES.items()
    }


def memory_bytes(root: Root) -> int | None:
    """How much of it this process has mapped, which is what would be locked."""
    found = re.match(r"(\d+) kB", _field(root.read("/proc/self/status"), "VmSize") or "")
    return int(found[1]) * 1024 if found else None


def timer_slack_ns(root: Root) -> int | None:
    return root.number("/proc/self/timerslack_ns")


def cpus(root: Root) -> Data:
    """Lists of CPUs as the kernel writes them; "" says none."""

    def listed(name: str) -> str | None:
        text = root.read(f"{_CPUS}/{name}")
        return "" if text == "(null)" else text

    exist = None
    if root.exists(f"{_CPUS}/online"):
        exist = cpu_list(existing_cpus(root.prefix))
    governors = {root.read(path) for path in root.matches(_CPUS, "cpu[0-9]*/cpufreq/*_governor")}
    idle = root.read(f"{_CPUS}/cpuidle/current_governor")
    latencies = [
        root.number(path) or 0
        for path in root.matches(f"{_CPUS}/cpu0/cpuidle", "state[0-9]*/latency")
    ]
    smt = root.number(f"{_CPUS}/smt/active")
    return {
        "exist": exist,
        "allowed": _field(root.read("/proc/self/status"), "Cpus_allowed_list"),
        "isolated": listed("isolated"),
        "nohz_full": listed("nohz_full"),
        "governors": sorted(name for name in governors if name) or None,
        "idle_governor": idle or root.read(f"{_CPUS}/cpuidle/current_governor_ro"),
        "deepest_idle_us": max(latencies, default=None),
        "smt": None if smt is None else smt == 1,
    }


def virtual_machine(root: Root) -> Data:
    """Whether it is one, and whose."""
    flags = _field(root.read("/proc/cpuinfo"), "flags")
    virtual = None if flags is None else "hypervisor" in flags.split()
    kind = root.read("/sys/hypervisor/type") or None
    dmi = " ".join(
        root.read(f"/sys/class/dmi/id/{name}") or "" for name in ("sys_vendor", "product_name")
    )
    maker = next((name for text, name in _MAKERS if text in dmi), None)
    # Of Amazon's and Microsoft's some are machines: there the processor's flag decides.
    if kind is None and maker is not None and virtual is not False:
        kind = maker
    if "microsoft" in (root.read("/proc/sys/kernel/osrelease") or "").lower():
        kind = "wsl"
    return {"virtual": True if kind is not None else virtual, "kind": kind}


def container(root: Root) -> str | None:
    """What kind of container this is in; None: none that shows."""
    named = root.read("/run/systemd/container")
    if named:
        return named
    if root.exists("/.dockerenv"):
        return "docker"
    if root.exists("/run/.containerenv"):
        return "podman"
    groups = root.read("/proc/self/cgroup") or ""
    return next((name for name in _CONTAINERS if name in groups), None)


def cgroups(root: Root) -> list[Data]:
    """Each place where cgroups are mounted, and the process's own one there."""
    lines = [line.split(":", 2) for line in (root.read("/proc/self/cgroup") or "").splitlines()]
    own = {frozenset(filter(None, line[1].split(","))): line[2] for line in lines if len(line) == 3}
    found: list[Data] = []
    for where, options in cgroup_mounts(root.prefix):
        version = 1 if options else 2
        controllers = next((names for names in own if bool(names) == bool(options)
                            and names <= options), None)  # fmt: skip
        mine = None
        if controllers is not None:
            mine = os.path.normpath(where + own[controllers])
            if not root.exists(mine):
                mine = None  # of a namespace that is not seen from here
        looked_at = where if mine is None else mine
        names = sorted(controllers or ())
        if version == 2:
            names = (root.read(f"{looked_at}/cgroup.controllers") or "").split()
        found.append(
            {
                "version": version,
                "mounted": where,
                "controllers": names,
                "own": mine,
                "type": root.read(f"{looked_at}/cgroup.type") if version == 2 else None,
                # Threads join the process's own, or one that is made below it.
                "join": root.writable(
                    f"{looked_at}/{'cgroup.threads' if version == 2 else 'tasks'}"
                ),
                "make": root.writable(looked_at),
                "rt_runtime_us": root.number(f"{looked_at}/cpu.rt_runtime_us"),
            }
        )
    return found


def latency_file(root: Root) -> bool | None:
    """May the processors be kept out of deep sleep, by ``/dev/cpu_dma_latency``?"""
    return root.writable("/dev/cpu_dma_latency")


def describe(root: Root) -> Data:
    return {
        "kernel": kernel(root),
        "throttling": throttling(root),
        "capabilities": capabilities(root),
        "memory_bytes": memory_bytes(root),
        "timer_slack_ns": timer_slack_ns(root),
        "cpus": cpus(root),
        "cpu_dma_latency": latency_file(root),
        "virtual_machine": virtual_machine(root),
        "container": container(root),
        "cgroups": cgroups(root),
    }
