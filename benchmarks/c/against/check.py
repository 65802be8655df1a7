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


def fails(complaint: str, *arguments: str) -> None:
    """A run with these arguments ends with 1, and says so."""
    ran = run(*arguments)
    assert ran.returncode == 1, ran
    assert complaint in ran.stderr, ran.stderr


def main() -> None:
    few = ("--case", "burst-1", "--works", "1000", "--repeat", "2")

    lose = ("--broken", "lose", "--only", "loses", "--patience", "1")
    twice = ("--broken", "twice", "--only", "twice")
    fails("loses a job: lost: 999 of 1000 jobs ran", *few, *lose)
    fails("runs a job twice: 1001 jobs ran where 1000", *few, *twice)

    expire = ("--case", "timers-expire", "--quick", "--repeat", "2")
    fails("loses a job: lost: 1999 of 2000 jobs ran", *expire, *lose)
    fails("runs a job twice: 2001 jobs ran where 2000", *expire, *twice)

    # This one's timer runs although it was cancelled.
    timers = ("--case", "timers", "--quick", "--repeat", "2")
    fails("loses a job: 1 jobs ran where 0", *timers, *lose)

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
