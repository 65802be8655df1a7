#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run the core's source under Relacy, as it is and with each ordered access weakened.

First every scenario is run with the source as it is, and has to pass. Then each ordered
access and each fence is weakened by one step, one at a time, and the scenarios that use it
are run until one of them refutes the change. What none refutes is an error, unless it
stands with its reason in unrefuted.txt.

Prints the matrix: an access a line, a scenario a column; x: refuted, .: not refuted by
this one, empty: not used there, or not run because another has refuted it already.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import fetch
import headers

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SRC = ROOT / "src"
BUILD = ROOT / "build" / "model"
PROGRAM = BUILD / "model"
MEMORY = BUILD / "refuted.json"
UNREFUTED = HERE / "unrefuted.txt"

FLAGS = ["-std=c++20", "-O1", "-fpermissive", "-w", "-U_FORTIFY_SOURCE", "-DNDEBUG"]
UNITS = ["shim", "main", "core", "thread"]
OF_THE_CORE = ["core", "thread"]

WORD = re.compile(
    r"\b((?:load|store|exchange|fetch_(?:add|sub|and|or|xor)|cas(?:_strong)?)_(?:acquire|release|acq_rel)"
    r"|fence_(?:acquire|release|full(?:_after_rmw)?))\("
)
LABEL = re.compile(r"/\* ([\w-]+)(?:, pairs with [\w-]+)?[ :*]")
FUNCTION = re.compile(r"^[A-Za-z].*?\b(\w+)\(", re.MULTILINE)


def weaker(word: str) -> list[str]:
    """The orders that are one step weaker."""
    if word.startswith("fence_full"):
        return ["acq_rel"]
    if word.startswith("fence"):
        return ["none"]
    return ["acquire", "release"] if word.endswith("acq_rel") else ["relaxed"]


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    word: str
    function: str
    label: str
    order: str

    @property
    def site(self) -> str:
        return f"{self.file}:{self.line}:{self.word}"

    @property
    def name(self) -> str:
        """The same when lines move."""
        return f"{self.file} {self.function} {self.label} {self.word} {self.order}"


@dataclass
class Row:
    cells: dict[str, str] = field(default_factory=dict)
    refuted: bool = False
    reason: str = ""


def scan(path: Path) -> list[Mutant]:
    """All mutants of a file of the core."""
    found, function = [], "?"
    for number, line in enumerate(path.read_text().splitlines(), 1):
        start = FUNCTION.match(line)
        if start and not line.endswith(";"):
            function = start[1]
        label = LABEL.search(line)
        for match in WORD.finditer(line.split("/*", 1)[0]):
            found += [
                Mutant(path.name, number, match[1], function, label[1] if label else "?", order)
                for order in weaker(match[1])
            ]
    return found


def mutants() -> list[Mutant]:
    names = [path for path in sorted(SRC.glob("*.[ch]")) if path.name not in ("barrier.h",)]
    return [mutant for path in names for mutant in scan(path)]


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def compile_unit(unit: str, compiler: str, include: Path) -> None:
    out = BUILD / f"{unit}.o"
    directories = [f"-I{BUILD / 'include'}", f"-I{HERE}", f"-I{SRC}"]
    source = str(HERE / f"{unit}.cc")
    run(compiler, *FLAGS, *directories, "-isystem", str(include), "-c", source, "-o", str(out))
    if unit in OF_THE_CORE:  # its static objects are made anew in each execution
        run(
            "objcopy",
            "--rename-section=.data=core_data",
            "--rename-section=.bss=core_bss,alloc,load,contents,data",
            "--set-section-flags=.bss=alloc,load,contents,data",
            str(out),
        )


def build() -> None:
    include = fetch.relacy_include()
    compiler = os.environ.get("CXX", "g++")
    for program in (compiler, "objcopy"):
        if not shutil.which(program):
            raise fetch.MissingError(f"there is no {program} here")
    sources = [*HERE.glob("*.[ch]*"), *SRC.glob("*.[ch]"), HERE / "headers.py", HERE / "run.py"]
    newest = max(path.stat().st_mtime for path in sources)
    if PROGRAM.exists() and PROGRAM.stat().st_mtime > newest:
        return
    headers.convert_all(SRC, BUILD / "include")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda unit: compile_unit(unit, compiler, include), UNITS))
    run(compiler, "-o", str(PROGRAM), *[str(BUILD / f"{unit}.o") for unit in UNITS])


@dataclass
class Result:
    verdict: str  # passes, refuted, late
    text: str
    seconds: float
    used: set[str]


def execute(scenario: str, *options: str, limit: float) -> Result:
    begin = time.monotonic()
    try:
        done = subprocess.run(
            [str(PROGRAM), "run", scenario, *options],
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result("late", f"not ready after {limit:.0f} s", limit, set())
    lines = done.stdout.splitlines() or [f"ended with {done.returncode} {done.stderr}"]
    verdict = {0: "passes", 1: "refuted"}.get(done.returncode, "broken")
    return Result(verdict, lines[0], time.monotonic() - begin, set(lines[1:]))


def reasons() -> dict[str, str]:
    """Which mutants may stay unrefuted, and why."""
    found = {}
    if UNREFUTED.exists():
        for line in UNREFUTED.read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                name, _, reason = line.partition(":")
                found[" ".join(name.split())] = reason.strip()
    return found


def say(text: str) -> None:
    print(text, flush=True)


def matrix(rows: dict[Mutant, Row], scenarios: list[str]) -> str:
    width = max((len(describe(mutant)) for mutant in rows), default=0)
    lines = [
        f"  {chr(ord('A') + i) if i < 26 else chr(ord('a') + i - 26)}  {name}"
        for i, name in enumerate(scenarios)
    ]
    letters = [line[2] for line in lines]
    lines += ["", " " * width + "  " + "".join(letters)]
    for mutant, row in rows.items():
        cells = "".join(row.cells.get(name, " ") for name in scenarios)
        end = "" if row.refuted else f"  {row.reason or 'NOT REFUTED'}"
        lines.append(f"{describe(mutant):{width}}  {cells}{end}")
    return "\n".join(lines)


def describe(mutant: Mutant) -> str:
    return (
        f"{mutant.label:10} {mutant.file}:{mutant.line} {mutant.function}: "
        f"{mutant.word} -> {mutant.order}"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-j", "--jobs", type=int, default=2, help="runs at once (default 2)")
    parser.add_argument("--scenarios", default="", metavar="REGEX", help="only these scenarios")
    parser.add_argument(
        "--only",
        default="",
        metavar="REGEX",
        help="only accesses whose description matches; an empty match: all",
    )
    parser.add_argument(
        "--unchanged", action="store_true", help="only the source as it is, without mutants"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="run all scenarios for each mutant, also when one has refuted it",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=120,
        metavar="S",
        help="seconds that one run may take (default 120)",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=0,
        metavar="S",
        help="seconds for everything; what is not run then is an error",
    )
    parser.add_argument(
        "--trace", metavar="SCENARIO", help="run one scenario and show the execution that fails"
    )
    parser.add_argument("--weaken", metavar="FILE:LINE:WORD:ORDER", help="with --trace")
    return parser.parse_args()


def run_unchanged(
    names: list[str], threads: dict[str, int], args: argparse.Namespace
) -> dict[str, Result]:
    results = {}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        # A sleep may end for no reason.
        tasks = {pool.submit(execute, name, "--uses", limit=args.limit): name for name in names}
        more = {
            pool.submit(execute, name, "--vain", "--bound", "1", limit=args.limit): name
            for name in names
            if threads[name] < 3
        }
        for task in concurrent.futures.as_completed([*tasks, *more]):
            name, result = {**tasks, **more}[task], task.result()
            kind = "" if task in tasks else " (woken in vain)"
            say(f"  {name + kind:36} {result.seconds:6.1f} s  {result.text}")
            if task in tasks or result.verdict != "passes":
                results[name] = result
    return results


def refute(
    mutant: Mutant,
    names: list[str],
    memory: dict[str, str],
    results: dict[str, Result],
    allowed: dict[str, str],
    args: argparse.Namespace,
    end: float,
) -> Row:
    row = Row()
    names = [name for name in names if mutant.site in results[name].used]
    names.sort(key=lambda name: (memory.get(mutant.name) != name, results[name].seconds))
    for name in names:
        if time.monotonic() > end:
            row.reason = "NOT RUN: the time is over"
            break
        weaken = ["--weaken", f"{mutant.site}:{mutant.order}"]
        # Most are refuted by an execution of few switches, which is found soon.
        result = execute(name, *weaken, "--bound", "1", limit=args.limit)
        if result.verdict == "passes" and mutant.name not in allowed:
            result = execute(name, *weaken, limit=args.limit)
        row.cells[name] = {"refuted": "x", "passes": ".", "late": "?"}.get(result.verdict, "!")
        if result.verdict == "refuted":
            row.refuted = True
            memory[mutant.name] = name
            if not args.full:
                break
    return row


def check(args: argparse.Namespace) -> int:
    begin = time.monotonic()
    end = begin + (args.budget or 1e9)
    listed = subprocess.run([str(PROGRAM), "scenarios"], capture_output=True, text=True, check=True)
    threads = {name: int(n) for name, n, _ in map(str.split, listed.stdout.splitlines())}
    names = sorted(name for name in threads if re.search(args.scenarios, name))
    say(f"{len(names)} scenarios with the source as it is")
    results = run_unchanged(names, threads, args)
    bad = [name for name in names if results[name].verdict != "passes"]
    if bad:
        say(f"FAILED: {', '.join(bad)}")
        return 1
    if args.unchanged:
        return 0

    memory = json.loads(MEMORY.read_text()) if MEMORY.exists() else {}
    allowed = reasons()
    chosen = [mutant for mutant in mutants() if re.search(args.only, describe(mutant))]
    say(f"\n{len(chosen)} mutants")
    rows: dict[Mutant, Row] = {}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        tasks = {
            pool.submit(refute, mutant, names, memory, results, allowed, args, end): mutant
            for mutant in chosen
        }
        for task in concurrent.futures.as_completed(tasks):
            rows[tasks[task]] = task.result()
            if len(rows) % 10 == 0:
                say(f"  {len(rows)} of {len(chosen)}, {time.monotonic() - begin:.0f} s")
    MEMORY.write_text(json.dumps(memory, indent=1, sort_keys=True))
    rows = {mutant: rows[mutant] for mutant in chosen}
    for mutant, row in rows.items():
        row.reason = row.reason or allowed.get(mutant.name, "")
    say("\n" + matrix(rows, names))
    open_rows = [
        m
        for m, row in rows.items()
        if not row.refuted and (not row.reason or row.reason.startswith("NOT"))
    ]
    stale = [m for m, row in rows.items() if row.refuted and m.name in allowed]
    if not args.only and not args.scenarios:
        known = {mutant.name for mutant in rows}
        for name in allowed.keys() - known:
            say(f"unrefuted.txt names what does not exist: {name}")
        if allowed.keys() - known:
            return 1
    for mutant in stale:
        say(f"unrefuted.txt names what is refuted: {mutant.name}")
    refuted = sum(row.refuted for row in rows.values())
    say(
        f"\n{refuted} of {len(rows)} mutants refuted, {len(rows) - refuted - len(open_rows)} "
        f"listed with a reason, {len(open_rows)} open; {time.monotonic() - begin:.0f} s"
    )
    return 1 if open_rows or stale else 0


def main() -> int:
    args = arguments()
    try:
        build()
    except fetch.MissingError as reason:
        required = os.environ.get("REQUIRE_TOOLS") == "1"
        say(f"{'FAILED' if required else 'skip '} model: {reason}")
        return 1 if required else 0
    if args.trace:
        options = ["--weaken", args.weaken] if args.weaken else []
        return subprocess.run(
            [str(PROGRAM), "run", args.trace, "--trace", *options], check=False
        ).returncode
    return check(args)


if __name__ == "__main__":
    sys.exit(main())
