# SPDX-License-Identifier: GPL-2.0-only
"""What would help, from what was found. Each line is for a group of the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Data = dict[str, Any]
Advice = tuple[str, str]

_SESSION = "a line in /etc/security/limits.conf and a new login"


def _rights(tried: Data, system: Data) -> Iterator[Advice]:
    docker = system["container"] is not None
    if tried["fifo"]["allowed"] is False:
        ways = [
            f"RLIMIT_RTPRIO ({_SESSION}: 'USER - rtprio 99'; or LimitRTPRIO=99 in a systemd unit)",
            "CAP_SYS_NICE",
        ]
        if docker:
            ways.append("the container's --ulimit rtprio=99 or --cap-add SYS_NICE")
        yield "rights", "for real-time priority: " + "; or ".join(ways)
        empty = [
            group["own"] or group["mounted"]
            for group in system["cgroups"]
            if group["rt_runtime_us"] == 0
        ]
        if empty:
            yield (
                "rights",
                f"the cgroup {empty[0]} has no time for real-time threads: write some "
                "microseconds to its cpu.rt_runtime_us, or leave it",
            )
    if tried["nice"]["allowed"] is False:
        yield (
            "rights",
            f"for a nice value below 0: RLIMIT_NICE ({_SESSION}: 'USER - nice -20'; or "
            "LimitNICE=-20); or CAP_SYS_NICE",
        )
    lock, most = tried["memory_lock"]["allowed"], tried["limits"]["RLIMIT_MEMLOCK"]["soft"]
    too_little = (
        system["capabilities"]["CAP_IPC_LOCK"] is False
        and most not in (None, -1)
        and most < (system["memory_bytes"] or 0)
    )
    if lock is False or too_little:
        ways = [
            f"RLIMIT_MEMLOCK ({_SESSION}: 'USER - memlock unlimited'; or LimitMEMLOCK=infinity)"
        ]
        ways += ["CAP_IPC_LOCK"]
        if docker:
            ways.append("the container's --ulimit memlock=-1")
        yield "rights", "to lock memory: " + "; or ".join(ways)


def _kernel(system: Data) -> Iterator[Advice]:
    if system["kernel"]["realtime"] is False:
        yield (
            "kernel",
            "a kernel with PREEMPT_RT, for a bound on the longest wake-up rather than a good "
            "median (in the mainline since 6.12)",
        )
    runtime, period = system["throttling"]["runtime_us"], system["throttling"]["period_us"]
    if runtime is not None and period is not None and 0 <= runtime < period:
        yield (
            "kernel",
            f"a real-time thread that never sleeps is held up for {(period - runtime) / 1e3:g} ms "
            f"of {period / 1e3:g}: it saves the machine from one that hangs; "
            "sysctl kernel.sched_rt_runtime_us=-1 ends that",
        )
    slack = system["timer_slack_ns"]
    if slack is not None and slack > 1000:
        yield (
            "kernel",
            f"sleeps may end {slack / 1e3:g} µs late, so that wake-ups coincide: "
            "Worker(timer_slack=1e-9); with a real-time priority it does not count",
        )
    source = system["kernel"]["clock_source"]
    if source in ("hpet", "acpi_pm", "jiffies"):
        yield "kernel", f"the clock source {source} makes every look at the time a slow one"
    if system["virtual_machine"]["virtual"]:
        yield (
            "kernel",
            "in a virtual machine the host decides when a CPU runs: have it pin them, and give "
            "each a CPU of its own",
        )


def _cpus(system: Data) -> Iterator[Advice]:
    cpus = system["cpus"]
    several = any(mark in (cpus["exist"] or "") for mark in ",-")
    if cpus["isolated"] == "" and several:
        yield (
            "cpus",
            "a CPU that the scheduler leaves alone (isolcpus=N nohz_full=N rcu_nocbs=N for the "
            "kernel, or a partition of the cpuset), and the worker on it: Worker(cpus='N')",
        )
    if cpus["governors"] and cpus["governors"] != ["performance"]:
        yield (
            "cpus",
            f"the governor performance instead of {', '.join(cpus['governors'])} "
            "(cpupower frequency-set -g performance): a slow CPU takes longer to wake",
        )
    if (cpus["deepest_idle_us"] or 0) > 20:
        right = " (here it may be opened)" if system["cpu_dma_latency"] else ""
        yield (
            "cpus",
            f"the deepest sleep of a CPU takes {cpus['deepest_idle_us']} µs to leave: a process "
            f"that holds /dev/cpu_dma_latency open, with four zero bytes written{right}, "
            "keeps them out of it",
        )


def _cgroups(system: Data) -> Iterator[Advice]:
    for group in system["cgroups"]:
        if group["version"] == 2 and group["type"] in (None, "domain", "domain invalid"):
            if group["make"]:
                yield (
                    "cgroups",
                    f"for Worker(cgroup=...) below {group['own'] or group['mounted']}: make a "
                    "directory there and write 'threaded' to its cgroup.type; only threaded "
                    "cgroups take single threads",
                )
            else:
                yield (
                    "cgroups",
                    "no cgroup may be made in the v2 hierarchy: have it delegated "
                    "(systemd-run --user --scope -p Delegate=yes ...)",
                )
    if not system["cgroups"]:
        yield "cgroups", "none is mounted that this process sees: Worker(cgroup=...) has no use"


def _python(python: Data, package: Data) -> Iterator[Advice]:
    if python["gil"]:
        yield (
            "python",
            "while another thread computes a Python callback waits for the GIL, about "
            f"{(python['switch_interval_s'] or 0) * 1e3:g} ms: a NativeWork does not wait, and "
            "sys.setswitchinterval() makes it shorter",
        )
    if python["debug"]:
        yield "python", "this interpreter is built for debugging: figures are those of a slow one"
    if package["backend"] != "native":
        yield (
            "python",
            "the compiled backend is not in use: with CPython and a C compiler "
            "pip install --no-binary pykworker pykworker builds it",
        )


def advise(data: Data) -> list[Data]:
    system, tried = data["system"], data["tried"]
    lines = [
        *_rights(tried, system),
        *_kernel(system),
        *_cpus(system),
        *_cgroups(system),
        *_python(data["python"], data["package"]),
    ]
    return [{"group": group, "text": text} for group, text in lines]
