# SPDX-License-Identifier: GPL-2.0-only
"""The command as people start it, and what it makes of systems that this one is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pykworker
from pykworker.info import advice, document, report, system, wakeups
from pykworker.info.system import Root

pytestmark = pytest.mark.timeout(120)

MAIN = "from pykworker.__main__ import main; sys.exit(main(sys.argv[1:]))"
BLOCKED = "for name in ('rich', 'matplotlib'): sys.modules[name] = None"
NOBODY = 65534

RT_MACHINE = {
    "/proc/version": "Linux version 6.12.1 (x@y) (gcc) #1 SMP PREEMPT_RT Thu Jan  1 00:00:00 UTC",
    "/proc/sys/kernel/osrelease": "6.12.1-rt5\n",
    "/proc/sys/kernel/sched_rt_runtime_us": "-1\n",
    "/proc/sys/kernel/sched_rt_period_us": "1000000\n",
    "/proc/self/status": (
        "Name:\tpython\nVmSize:\t   20480 kB\nCapEff:\t0000000000804000\n"
        "Cpus_allowed_list:\t0-1\n"
    ),
    "/proc/self/timerslack_ns": "1\n",
    "/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu vme de\n",
    "/proc/self/mounts": (
        "proc /proc proc rw 0 0\n"
        "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
    ),
    "/proc/self/cgroup": "0::/system.slice/rt.service\n",
    "/sys/kernel/realtime": "1\n",
    "/sys/kernel/debug/sched/preempt": "none voluntary (full) lazy\n",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
    "/sys/devices/system/cpu/online": "0-3\n",
    "/sys/devices/system/cpu/isolated": "2-3\n",
    "/sys/devices/system/cpu/nohz_full": "2-3\n",
    "/sys/devices/system/cpu/smt/active": "0\n",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
    "/sys/devices/system/cpu/cpuidle/current_governor": "menu\n",
    "/sys/devices/system/cpu/cpu0/cpuidle/state0/latency": "0\n",
    "/sys/devices/system/cpu/cpu0/cpuidle/state1/latency": "2\n",
    "/sys/fs/cgroup/system.slice/rt.service/cgroup.type": "threaded\n",
    "/sys/fs/cgroup/system.slice/rt.service/cgroup.threads": "1\n",
    "/sys/fs/cgroup/system.slice/rt.service/cgroup.controllers": "cpuset cpu\n",
}  # fmt: skip

LAPTOP = {
    "/.dockerenv": "",
    "/proc/version": "Linux version 6.8.0 (x@y) (gcc) #1 SMP PREEMPT_DYNAMIC Thu Jan  1",
    "/proc/sys/kernel/osrelease": "6.8.0-generic\n",
    "/proc/sys/kernel/sched_rt_runtime_us": "950000\n",
    "/proc/sys/kernel/sched_rt_period_us": "1000000\n",
    "/proc/self/status": "VmSize:\t   20480 kB\nCapEff:\t0000000000000000\n",
    "/proc/self/timerslack_ns": "50000\n",
    "/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu hypervisor de\n",
    "/proc/self/mounts": (
        "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n"
        "cgroup /sys/fs/cgroup/sys\\040temd cgroup rw,name=systemd 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    ),
    "/proc/self/cgroup": "3:cpu,cpuacct:/user\n1:name=systemd:/elsewhere\n0::/\n",
    "/sys/class/dmi/id/sys_vendor": "QEMU\n",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
    "/sys/devices/system/cpu/online": "0-1\n",
    "/sys/devices/system/cpu/isolated": "\n",
    "/sys/devices/system/cpu/nohz_full": "(null)\n",
    "/sys/devices/system/cpu/smt/active": "1\n",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    "/sys/devices/system/cpu/cpuidle/current_governor_ro": "menu\n",
    "/sys/devices/system/cpu/cpu0/cpuidle/state3/latency": "133\n",
    "/sys/fs/cgroup/cpu/user/tasks": "1\n",
    "/sys/fs/cgroup/cpu/user/cpu.rt_runtime_us": "0\n",
    "/sys/fs/cgroup/unified/cgroup.threads": "1\n",
}  # fmt: skip

REFUSED = {
    "limits": {
        "RLIMIT_RTPRIO": {"soft": 0, "hard": 0},
        "RLIMIT_NICE": {"soft": 0, "hard": 0},
        "RLIMIT_MEMLOCK": {"soft": 65536, "hard": -1},
    },
    "fifo": {"allowed": False, "value": None, "why": "it takes CAP_SYS_NICE"},
    "deadline": {"allowed": False, "value": None, "why": "it takes CAP_SYS_NICE"},
    "nice": {"allowed": False, "value": None, "why": "it takes RLIMIT_NICE"},
    "memory_lock": {"allowed": False, "value": None, "why": "Cannot allocate memory"},
}
GRANTED = {
    "limits": {name: {"soft": -1, "hard": -1} for name in REFUSED["limits"]},
    "fifo": {"allowed": True, "value": 99, "why": None},
    "deadline": {"allowed": True, "value": None, "why": None},
    "nice": {"allowed": True, "value": -20, "why": None},
    "memory_lock": {"allowed": True, "value": None, "why": None},
}
UNTOLD = {
    "limits": {name: {"soft": None, "hard": None} for name in REFUSED["limits"]},
    **{
        name: {"allowed": None, "value": None, "why": None}
        for name in ("fifo", "deadline", "nice", "memory_lock")
    },
}


def make_root(tmp_path: Path, files: dict[str, str]) -> Root:
    for name, text in files.items():
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Root(tmp_path)


def made_up(root: Root, tried: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "platform": {"system": "Linux", "architecture": "x86_64"},
        "package": document.package(),
        "python": document.python(),
        "system": system.describe(root),
        "tried": tried,
        "wake_ups": None,
    }
    data["advice"] = advice.advise(data)
    return data


def advised(data: dict[str, Any], group: str) -> str:
    return "\n".join(line["text"] for line in data["advice"] if line["group"] == group)


def run(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """*before* is Python that runs in the new process first."""
    root = str(Path(next(iter(pykworker.__path__))).parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-P", "-c", f"import os, sys\n{before}\n{MAIN}", *arguments],
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


ENTRY = {"threads", "where", "skipped"}
TIMES = {"rounds", "median_ns", "quartiles_ns", "range_ns"}


def check_document(data: dict[str, Any], *, measured: bool) -> None:
    assert data["schema"] == "pykworker-info"
    assert data["schema_version"] == 1
    assert set(data) == {
        "schema", "schema_version", "date", "platform", "package", "python", "system", "tried",
        "wake_ups", "advice",
    }  # fmt: skip
    assert set(data["package"]) == {"version", "backend", "sleeps_on"}
    assert set(data["python"]) == {
        "implementation", "version", "build", "compiler", "debug", "free_threaded", "gil",
        "switch_interval_s",
    }  # fmt: skip
    assert set(data["system"]) == {
        "kernel", "throttling", "capabilities", "memory_bytes", "timer_slack_ns", "cpus",
        "cpu_dma_latency", "virtual_machine", "container", "cgroups",
    }  # fmt: skip
    assert set(data["tried"]) == {"limits", "fifo", "deadline", "nice", "memory_lock"}
    for name in ("fifo", "deadline", "nice", "memory_lock"):
        answer = data["tried"][name]
        assert set(answer) == {"allowed", "value", "why"}
        assert answer["allowed"] in (True, False, None)
    for line in data["advice"]:
        assert set(line) == {"group", "text"}
        assert line["group"] in [group for group, _, _ in report.GROUPS]
    if not measured:
        assert data["wake_ups"] is None
        return
    for entry in data["wake_ups"]:
        assert set(entry) == (ENTRY if entry["skipped"] else ENTRY | TIMES)
        if not entry["skipped"]:
            low, high = entry["quartiles_ns"]
            least, most = entry["range_ns"]
            assert 0 < least <= low <= entry["median_ns"] <= high <= most


# --- the command -------------------------------------------------------------------------------


def test_help_needs_no_optional_package() -> None:
    done = run(
        "info", "--help", before="for name in ('rich', 'matplotlib'): sys.modules[name] = None"
    )
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout
    assert "--no-measure" in done.stdout


def test_text_and_file(tmp_path: Path) -> None:
    file = tmp_path / "info.json"
    done = run("info", "--json", str(file), before=BLOCKED)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    data = json.loads(file.read_text(encoding="utf-8"))
    check_document(data, measured=True)
    assert done.stdout == report.text(data)
    assert data["package"]["backend"] == pykworker.backend
    if sys.platform == "linux":
        assert data["system"]["kernel"]["release"] == os.uname().release
        assert data["tried"]["fifo"]["allowed"] is not None


def test_json_alone() -> None:
    done = run("info", "--json", "--no-measure")
    assert done.returncode == 0, done.stderr
    check_document(json.loads(done.stdout), measured=False)


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    done = run("info", "--no-measure", "--json", str(tmp_path / "no" / "file.json"))
    assert done.returncode == 2
    assert "--json: cannot write" in done.stderr
    assert "Traceback" not in done.stderr


def test_pure_backend() -> None:
    before = (
        "import warnings; warnings.simplefilter('ignore')\nsys.modules['pykworker._native'] = None"
    )
    done = run("info", "--json", before=before)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    check_document(data, measured=True)
    assert data["package"]["backend"] == "pure"
    assert "compiled backend" in advised(data, "python")


@pytest.mark.skipif(sys.platform != "linux", reason="rights are Linux's here")
def test_without_rights() -> None:
    """Nobody gets a priority; root that was made nobody is tried for real."""
    drop = "import resource\n"
    drop += "for name in ('RTPRIO', 'NICE', 'MEMLOCK'):\n"
    drop += "    resource.setrlimit(getattr(resource, 'RLIMIT_' + name), (0, 0))\n"
    if os.getuid() == 0:
        # Nobody may not be able to read the interpreter's files: what is needed is read before.
        drop += "from pykworker.info import command, document, report, system\n"
        drop += "from pykworker.__main__ import make_parser; make_parser()\n"
        drop += "report.text(document.build(system.Root(), measure=False))\n"
        drop += f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
    done = run("info", "--json", "--no-measure", before=drop)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    check_document(data, measured=False)
    if any(data["system"]["capabilities"].values()):
        pytest.skip("this user has capabilities that can't be dropped here")
    tried = data["tried"]
    assert tried["fifo"]["allowed"] is False
    assert "RLIMIT_RTPRIO" in tried["fifo"]["why"]
    assert tried["nice"]["allowed"] is False
    assert tried["memory_lock"]["allowed"] in (False, None)  # None: the interpreter is root's alone
    helps = advised(data, "rights")
    assert "rtprio 99" in helps
    assert "nice -20" in helps
    assert "memlock unlimited" in helps


@pytest.mark.skipif(sys.platform != "linux", reason="rights are Linux's here")
def test_nothing_that_was_tried_stays() -> None:
    before = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
    document.build(Root(), measure=False)
    wakeups.measure(rounds=5)
    after = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
    assert before == after


# --- other systems -----------------------------------------------------------------------------


def test_machine_for_real_time(tmp_path: Path) -> None:
    root = make_root(tmp_path, RT_MACHINE)
    data = made_up(root, GRANTED)
    found = data["system"]
    assert found["kernel"] == {
        "release": "6.12.1-rt5",
        "realtime": True,
        "preemption": "PREEMPT_RT",
        "preemption_mode": "full",
        "clock_source": "tsc",
    }
    assert found["throttling"] == {"runtime_us": -1, "period_us": 1000000}
    assert found["capabilities"] == {"CAP_SYS_NICE": True, "CAP_IPC_LOCK": True}
    assert found["memory_bytes"] == 20 << 20
    assert found["cpus"] == {
        "exist": "0-3",
        "allowed": "0-1",
        "isolated": "2-3",
        "nohz_full": "2-3",
        "governors": ["performance"],
        "idle_governor": "menu",
        "deepest_idle_us": 2,
        "smt": False,
    }
    assert found["virtual_machine"] == {"virtual": False, "kind": None}
    assert found["container"] is None
    assert found["cgroups"] == [
        {
            "version": 2,
            "mounted": "/sys/fs/cgroup",
            "controllers": ["cpuset", "cpu"],
            "own": "/sys/fs/cgroup/system.slice/rt.service",
            "type": "threaded",
            "join": True,
            "make": True,
            "rt_runtime_us": None,
        }
    ]
    for group in ("rights", "kernel", "cpus", "cgroups"):
        assert advised(data, group) == ""
    text = report.text(data)
    assert "granted, up to priority 99" in text
    assert "PREEMPT_RT          yes" in text
    assert "threaded; threads may join yes" in " ".join(text.split())


def test_laptop_in_a_container_of_a_virtual_machine(tmp_path: Path) -> None:
    root = make_root(tmp_path, LAPTOP)
    data = made_up(root, REFUSED)
    found = data["system"]
    assert found["kernel"]["realtime"] is False
    assert found["cpus"]["isolated"] == ""
    assert found["cpus"]["nohz_full"] == ""
    assert found["cpus"]["smt"] is True
    assert found["virtual_machine"] == {"virtual": True, "kind": "qemu"}
    assert found["container"] == "docker"
    cpu, named, unified = found["cgroups"]
    assert cpu["version"] == named["version"] == 1
    assert cpu["controllers"] == ["cpu", "cpuacct"]
    assert cpu["own"] == "/sys/fs/cgroup/cpu/user"
    assert cpu["join"] is True
    assert cpu["rt_runtime_us"] == 0
    assert named["mounted"] == "/sys/fs/cgroup/sys temd"
    assert named["own"] is None
    assert named["join"] is None
    assert unified["version"] == 2
    assert unified["own"] == "/sys/fs/cgroup/unified"
    rights = advised(data, "rights")
    for words in ("rtprio 99", "--cap-add SYS_NICE", "cpu.rt_runtime_us", "memlock=-1"):
        assert words in rights
    kernel = advised(data, "kernel")
    for words in ("PREEMPT_RT", "50 ms of 1000", "timer_slack", "hpet", "virtual machine"):
        assert words in kernel
    cpus = advised(data, "cpus")
    for words in ("isolcpus", "instead of powersave", "133"):
        assert words in cpus
    assert "'threaded'" in advised(data, "cgroups")
    assert "refused (it takes RLIMIT_NICE)" in report.text(data)


def test_system_without_any_of_it(tmp_path: Path) -> None:
    data = made_up(Root(tmp_path), UNTOLD)
    found = data["system"]
    assert found["kernel"]["realtime"] is None
    assert found["cgroups"] == []
    assert found["capabilities"] == {"CAP_SYS_NICE": None, "CAP_IPC_LOCK": None}
    assert all(value is None for value in found["cpus"].values())
    text = report.text(data)
    for label in ("SCHED_FIFO", "PREEMPT_RT", "timer slack", "machine", "isolated", "governor"):
        line = next(line for line in text.splitlines() if line.strip().startswith(label))
        assert "unknown" in line
    json.dumps(data)


@pytest.mark.parametrize("text", ["", "\n", "garbage\n", "1:2\n", "\xff\x00"])
def test_files_that_make_no_sense(tmp_path: Path, text: str) -> None:
    files = dict.fromkeys(LAPTOP, text)
    # A list of CPUs, and a mount, are the kernel's word.
    del files["/sys/devices/system/cpu/online"], files["/proc/self/mounts"]
    report.text(made_up(make_root(tmp_path, files), UNTOLD))


def test_cgroup_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path, LAPTOP)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write to all
    data = made_up(root, REFUSED)
    groups = data["system"]["cgroups"]
    assert [group["join"] for group in groups] == [False, None, False]
    assert not any(group["make"] for group in groups)
    assert "delegated" in advised(data, "cgroups")


def test_wake_ups_are_measured_or_say_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = wakeups.measure(rounds=5)
    assert {entry["where"] for entry in entries} == {"not pinned", "same CPU", "two CPUs"}
    for entry in entries:
        assert entry["skipped"] or entry["rounds"] == 5
    from pykworker.bench import machine

    monkeypatch.setattr(machine, "cpu_pair", lambda: None)
    entries = wakeups.measure(rounds=2)
    assert [bool(entry["skipped"]) for entry in entries][:3] == [False, True, True]
