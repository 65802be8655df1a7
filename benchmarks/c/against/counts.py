# SPDX-License-Identifier: GPL-2.0-only
"""What a job costs each contestant, counted: instructions, context switches, system calls.

    counts.py PROGRAM [--works N] [--markdown]

Counts do not depend on the clock. Instructions are those of two runs, one with jobs and one
with twice as many, and their difference: start and end fall out. callgrind runs one thread at
a time and strace stops the threads at each call, so that they sleep more or less often than
they would: context switches are counted without either.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = ("burst-1", "round-trip")
NEEDED = {"valgrind": "valgrind", "strace": "strace"}
LIMIT = 120  # seconds for one run


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run to its end; a failure ends the script with what the program said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return done


def counted(program: str, name: str, case: str, jobs: int, room: int = 0) -> list[str]:
    given = ["--count", str(jobs), "--room", str(room), "--case", case, "--name", name]
    return [program, *given]


def instructions(program: str, name: str, case: str, jobs: int) -> float:
    """Instructions of all threads, for each job."""
    totals = []
    with tempfile.TemporaryDirectory() as directory:
        for n in (jobs, 2 * jobs):
            out = Path(directory) / "callgrind.out"
            tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
            tool.append("--fair-sched=yes")
            done = run([*tool, *counted(program, name, case, n, 2 * jobs)])
            found = re.search(r"Collected : (\d+)", done.stderr)
            if not found:
                sys.exit(f"callgrind said no total:\n{done.stderr}")
            totals.append(int(found[1]))
    return (totals[1] - totals[0]) / jobs


def switches(program: str, name: str, case: str, jobs: int) -> tuple[float, float]:
    """Context switches of all threads for each job: of their own will, and not."""
    said = run(counted(program, name, case, jobs)).stdout
    found = re.search(r"voluntary (\d+) involuntary (\d+)", said)
    if not found:
        sys.exit(f"{name}: no context switches in {said!r}")
    return int(found[1]) / jobs, int(found[2]) / jobs


def calls(program: str, name: str, case: str, jobs: int) -> tuple[float, float]:
    """Futex calls, and system calls in all, for each job; those of a run without jobs are off."""
    sums = []
    with tempfile.TemporaryDirectory() as directory:
        for n in (jobs, 0):
            out = Path(directory) / "strace.out"
            run(["strace", "-f", "-c", "-o", str(out), *counted(program, name, case, n, jobs)])
            futex = every = 0
            for line in out.read_text().splitlines():
                words = line.split()
                if len(words) < 5 or not words[0][0].isdigit():
                    continue
                if words[-1] == "total":
                    every = int(words[3])
                elif words[-1] == "futex":
                    futex = int(words[3])
            sums.append((futex, every))
    return (sums[0][0] - sums[1][0]) / jobs, (sums[0][1] - sums[1][1]) / jobs


def contestants(program: str) -> list[str]:
    lines = run([program, "--list"]).stdout.splitlines()
    return [line.split(":")[0] for line in lines if ":" in line]


def main() -> None:
    parser = argparse.ArgumentParser(description="Count what a job costs each contestant.")
    parser.add_argument("program")
    parser.add_argument("--works", type=int, default=20000, help="jobs in the burst")
    parser.add_argument("--trips", type=int, default=1000, help="round trips")
    parser.add_argument("--only", default="", help="contestants whose name holds this")
    given = parser.parse_args()
    for tool, package in NEEDED.items():
        if not shutil.which(tool):
            sys.exit(f"{tool} is not here: install {package}")
    print("| | case | instructions | switches, voluntary | involuntary | futex calls | all calls |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for case in CASES:
        jobs = given.works if case == "burst-1" else given.trips
        for name in contestants(given.program):
            if given.only not in name:
                continue
            if "GMainLoop" in name:
                continue  # it has timers alone
            if case == "burst-1" and "ping-pong" in name:
                continue  # it has no jobs
            if case == "round-trip" and ("batches" in name or "bulk in" in name):
                continue  # one at a time is none
            # Whoever polls runs as many instructions as there is time: nothing to count.
            polls = case == "round-trip" and (
                name == "kthread_worker" or "moodycamel" in name or "cache-line" in name
            )
            told = "polls" if polls else f"{instructions(given.program, name, case, jobs):.0f}"
            own, forced = switches(given.program, name, case, jobs)
            futex, every = calls(given.program, name, case, jobs)
            print(
                f"| {name} | {case} | {told} | {own:.4f} | {forced:.4f} | {futex:.4f} "
                f"| {every:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
