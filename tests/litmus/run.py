#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Check the litmus tests of the pairs with herd7, under the RC11 model.

Each test names the outcome that it expects: Never for a pair as the core has it, Sometimes
for its twin without one side.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "model"))

import fetch  # noqa: E402  the fetcher is the model checker's


def outcome(herd: list[str], test: Path, model: str) -> str:
    """Never, Sometimes or Always; or what went wrong."""
    done = subprocess.run(
        [*herd, "-model", model, str(test)], capture_output=True, text=True, check=False
    )
    found = re.search(r"^Observation \S+ (\w+)", done.stdout, re.MULTILINE)
    return found[1] if found else (done.stderr or done.stdout).strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--model", default="rc11.cat", help="default: rc11.cat")
    args = parser.parse_args()
    try:
        herd = fetch.herd_command()
    except fetch.MissingError as reason:
        required = os.environ.get("REQUIRE_TOOLS") == "1"
        print(f"{'FAILED' if required else 'skip '} litmus: {reason}")
        return 1 if required else 0
    tests = sorted(HERE.glob("*.litmus"))
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        outcomes = list(pool.map(lambda test: outcome(herd, test, args.model), tests))
    wrong = 0
    for test, got in zip(tests, outcomes, strict=True):
        expected = re.search(r"Expected: (\w+)", test.read_text())
        good = expected is not None and expected[1] == got
        wrong += not good
        print(f"{'ok   ' if good else 'FAIL '} {test.stem}: {got}")
    print(f"{len(tests) - wrong} of {len(tests)} as expected")
    return 1 if wrong or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
