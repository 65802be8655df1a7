# SPDX-License-Identifier: GPL-2.0-only
"""The Python examples run, with either backend, and print what they promise."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import LIMIT

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "python"

ON_ASYNCIO = r"100 rows; asked 100 times, summarised \d+ times\nqueued by another thread, .*\n"
BRIDGE = "a call: 9\n{}a call: 25\nthe one that was cancelled never ran\n"

# What each prints, and which modules and commands it needs.
PRINTED = {
    "anyio_bridge.py": "on asyncio\n" + BRIDGE.format("") + "on trio\n" + BRIDGE.format(""),
    "asyncio_device.py": f"with asyncio's loop\n{ON_ASYNCIO}with uvloop's\n{ON_ASYNCIO}",
    "debounce.py": r"saved 1 time\(s\), 6 words; 5 samples\n",
    "device_thread.py": r"400 rows; asked 401 times, summarised \d+ times\n",
    "tk_worker.py": r"1000 readings, the last one shown, .* redraws\n",
    "trio_bridge.py": BRIDGE.format("the first: done\n"),
}
NEEDED = {
    "anyio_bridge.py": ("anyio", "trio"),
    "asyncio_device.py": ("uvloop",),
    "tk_worker.py": ("tkinter", "Xvfb"),
    "trio_bridge.py": ("trio",),
}


def lacking(reason: str) -> None:
    if os.environ.get("REQUIRE_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def display(request: pytest.FixtureRequest) -> Any:
    """The environment with a display of its own, for Tk."""
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-nolisten", "tcp"]
    server = subprocess.Popen(
        command, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(writer)
    try:
        with os.fdopen(reader) as numbers:
            number = numbers.readline().strip()  # empty, should the server end before
        assert number, f"Xvfb ended with {server.wait()}"
        yield {**os.environ, "DISPLAY": f":{number}"}
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_runs(kw, name, tmp_path, request):
    for needed in NEEDED.get(name, ()):
        if needed == "Xvfb":
            if shutil.which(needed) is None:
                lacking("there is no Xvfb")
        elif importlib.util.find_spec(needed) is None:
            lacking(f"{needed} is not installed")
    env = request.getfixturevalue("display") if name.startswith("tk_") else None
    program = tmp_path / name
    text = (EXAMPLES / name).read_text()
    program.write_text(text.replace("import pykworker as kw", f"import {kw.__name__} as kw"))
    result = subprocess.run(
        [sys.executable, "-W", "error", program],
        env=env,
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(PRINTED[name], result.stdout), result.stdout


@pytest.mark.parametrize(("required", "status"), [("0", 0), ("1", 1)])
@pytest.mark.parametrize("module", ["anyio", "tkinter", "trio"])
def test_example_says_what_it_lacks(module, required, status):
    (name,) = (name for name, needed in NEEDED.items() if needed[0] == module)
    without = f"import sys, runpy; sys.modules[{module!r}] = None; runpy.run_path(sys.argv[1])"
    result = subprocess.run(
        [sys.executable, "-c", without, EXAMPLES / name],
        env={**os.environ, "REQUIRE_TOOLS": required},
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        check=False,
    )
    assert (result.returncode, result.stdout) == (status, f"{module} is not installed\n")
