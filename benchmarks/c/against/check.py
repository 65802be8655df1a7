# SPDX-License-Identifier: GPL-2.0-only
"""The harness notices what is wrong: a lost job or timer, one too many, a mistyped case."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

program = sys.argv[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


def main() -> None:
    few = ("--case", "burst-1", "--works", "1000", "--repeat", "2")

    lost = run(*few, "--broken", "lose", "--only", "loses", "--patience", "1")
    assert lost.returncode == 1, lost
    assert "loses a job: lost: 999 of 1000 jobs ran" in lost.stderr, lost.stderr

    twice = run(*few, "--broken", "twice", "--only", "twice")
    assert twice.returncode == 1, twice
    assert "runs a job twice: 1001 jobs ran where 1000" in twice.stderr, twice.stderr

    expire = ("--case", "timers-expire", "--quick", "--repeat", "2")
    lost = run(*expire, "--broken", "lose", "--only", "loses", "--patience", "1")
    assert lost.returncode == 1, lost
    assert "loses a job: lost: 1999 of 2000 jobs ran" in lost.stderr, lost.stderr

    twice = run(*expire, "--broken", "twice", "--only", "twice")
    assert twice.returncode == 1, twice
    assert "runs a job twice: 2001 jobs ran where 2000" in twice.stderr, twice.stderr

    # This one's timer runs although it was cancelled.
    timers = ("--case", "timers", "--quick", "--repeat", "2")
    ran = run(*timers, "--broken", "lose", "--only", "loses")
    assert ran.returncode == 1, ran
    assert "loses a job: 1 jobs ran where 0" in ran.stderr, ran.stderr

    none = run("--case", "bursts")
    assert none.returncode == 2, none

    refused = run(*few, "--json", "/nonexistent/file")
    assert refused.returncode == 2, refused

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "run.json"
        done = run(*few, "--json", str(path))
        assert done.returncode == 0, done
        document = json.loads(path.read_text())
    assert not document["partial"], document
    assert all(len(case["samples"]) == 2 for case in document["cases"]), document
    said = json.loads(run(*few, "--only", "mutex", "--json", "-").stdout)
    assert "mutex + condition" in [case["name"] for case in said["cases"]], said
    print("lost jobs and timers, those that ran too often, and wrong arguments are noticed")


if __name__ == "__main__":
    main()
