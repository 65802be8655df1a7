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
    "deferred_free.py": r"100 let go on \{'reaper'\}; still there: 0\n",
    "fan_out.py": r"25 rounds over 4 workers: \{499500\}\n",
    "frames.py": r"\d+ frames, \d+ dropped, the slow one late: True\n",
    "hw_watchdog.py": "pinged by itself, quiet when closed, bit a silent user\n",
    "message_pump.py": "50 messages; prepared and let go as often: True\n",
    "own_thread.py": r"11 runs, all with what the thread had set up: \{'set up here'\}\n",
    "port_state.py": "attach-wait -> negotiate -> ready\nattach-wait -> negotiate -> unattached\n",
    "debounce.py": r"saved 1 time\(s\), 6 words; 5 samples\n",
    "irq_bottom_half.py": r"(without real-time priority: .*\n)?interrupts by eventfd, .*\n"
    r"(.* 200 interrupts, \d+ runs; .*\n){2}no cause lost\n",
    "ordered_parallel.py": r"100 items in order, errors in their places; full True\n"
    r"32 blocks of 64 KiB, .*\n(  .* ms .*\n){5}all in order\n",
    "virtqueue_backend.py": r"(cgroups: .*\n)?(.* 2000 requests: .*\n){3}.* times as fast\n"
    r"nothing lost, nothing twice, every checksum right\n",
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
# Those that measure: what they verify is the same.
QUICK = {"irq_bottom_half.py", "ordered_parallel.py", "virtqueue_backend.py"}


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
        [sys.executable, "-W", "error", program, *(["--quick"] if name in QUICK else [])],
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


def test_bottom_half_loses_no_signal(tmp_path):
    result = subprocess.run(
        [sys.executable, EXAMPLES / "irq_bottom_half.py", "--quick", "--source", "signal"],
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("no cause lost\n")


@pytest.mark.parametrize(
    ("name", "arguments", "verified"),
    [
        ("irq_bottom_half", ["--source", "eventfd"], "no cause lost, none handled twice"),
        ("irq_bottom_half", ["--source", "signal"], "no cause lost, none handled twice"),
        ("ordered_parallel", [], "every result in its turn, every error too"),
        ("virtqueue_backend", [], "nothing lost, nothing twice, every checksum right"),
        (
            "virtqueue_backend",
            ["--guest-thread"],
            "nothing lost, nothing twice, every checksum right",
        ),
    ],
)
def test_c_example_verifies_itself(name, arguments, verified, tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        lacking("there is no C compiler")
    root = EXAMPLES.parents[1]
    program = tmp_path_factory.getbasetemp() / name
    if not program.exists():
        sources = [root / "examples" / "c" / f"{name}.c", *sorted((root / "src").glob("*.c"))]
        subprocess.run(
            [compiler, "-O1", "-pthread", f"-I{root / 'src'}", "-o", program, *sources],
            timeout=4 * LIMIT,
            check=True,
        )
    result = subprocess.run(
        [program, "--quick", *arguments],
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == verified
