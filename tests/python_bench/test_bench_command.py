# SPDX-License-Identifier: GPL-2.0-only
"""The command as people start it: a process of its own, with works in small numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import pykworker
from pykworker.bench import command

pytestmark = pytest.mark.timeout(120)

SMALL = ("--quick", "--works", "200", "--repeat", "2")

MAIN = "from pykworker.__main__ import main; sys.exit(main(sys.argv[1:]))"


def start(
    *arguments: str, before: str = "", stdout: int = subprocess.PIPE, **options: Any
) -> subprocess.Popen[str]:
    """`before` is Python that runs in the new process first."""
    root = str(Path(next(iter(pykworker.__path__))).parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    # -P keeps the current directory, which may hold a source tree without extension, out of it.
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"import sys\n{before}\n{MAIN}", *arguments],
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **options,
    )


def run(*arguments: str, before: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    process = start(*arguments, before=before, **options)
    try:
        out, err = process.communicate(timeout=100)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def check_document(data: dict[str, Any], names: Sequence[str], repeat: int) -> None:
    assert data["schema"] == "pykworker-bench"
    assert data["schema_version"] == 1
    assert set(data) == {
        "schema",
        "schema_version",
        "complete",
        "quick",
        "notes",
        "machine",
        "settings",
        "cases",
        "targets",
    }
    assert data["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert [case["name"] for case in data["cases"]] == list(names)
    for case in data["cases"]:
        assert set(case) == {
            "name",
            "title",
            "unit",
            "per",
            "timed",
            "skipped",
            "turns",
            "contestants",
            "ratios",
        }
        if case["skipped"] is not None:
            assert case["contestants"] == []
            continue
        keys = {row["key"] for row in case["contestants"]}
        assert "pure" in keys
        assert keys & {"executor", "threading"}
        assert [set(turn) for turn in case["turns"]] == [keys] * repeat
        for row in case["contestants"]:
            assert len(row["samples_ns"]) == repeat
            samples = [value for repetition in row["samples_ns"] for value in repetition]
            assert row["summary"]["count"] == len(samples) > 0
            assert all(value > 0 for value in samples)
            assert all(len(values) == repeat for values in row["counts"].values())
        for ratio in case["ratios"]:
            assert {ratio["ours"], ratio["against"]} <= keys
            assert len(ratio["per_repetition"]) == repeat


def test_no_arguments_is_help() -> None:
    done = run()
    assert done.returncode == 0
    assert "bench" in done.stdout


def test_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("pykworker ")
    assert "backend" in done.stdout


def test_help_needs_no_optional_package() -> None:
    blocked = "for name in ('rich', 'matplotlib'): sys.modules[name] = None"
    done = run("bench", "--help", before=blocked)
    assert done.returncode == 0
    for option in ("--json", "--plot", "--markdown", "--quick", "--case", "--repeat", "--works"):
        assert option in done.stdout


def test_all_cases_with_files(tmp_path: Path) -> None:
    document, tables = tmp_path / "run.json", tmp_path / "run.md"
    done = run("bench", *SMALL, "--json", str(document), "--markdown", str(tables))
    assert done.returncode == 0, done.stderr
    data = json.loads(document.read_text(encoding="utf-8"))
    check_document(data, command.CASE_NAMES, repeat=2)
    assert data["complete"] is True
    assert data["quick"] is True
    assert "QUICK" in done.stdout
    assert "ThreadPoolExecutor(1)" in done.stdout
    text = tables.read_text(encoding="utf-8")
    assert "| ---: |" in text
    for case in data["cases"]:
        assert case["skipped"] or case["title"] in text
    if data["machine"]["backend"] == "native":
        assert all(target["verdict"] for target in data["targets"])
    else:
        assert any("left out" in note for note in data["notes"])


def test_coalescing_counts_the_runs(tmp_path: Path) -> None:
    document = tmp_path / "run.json"
    done = run("bench", *SMALL, "--case", "coalescing", "--json", str(document))
    assert done.returncode == 0, done.stderr
    (case,) = json.loads(document.read_text(encoding="utf-8"))["cases"]
    for row in case["contestants"]:
        for runs in row["counts"]["runs"]:
            assert 1 <= runs <= 200
            assert row["ours"] or runs == 200


def test_json_to_standard_output_stands_there_alone() -> None:
    done = run("bench", *SMALL, "--case", "burst", "--case", "coalescing", "--json", "-")
    assert done.returncode == 0, done.stderr
    check_document(json.loads(done.stdout), ["burst", "coalescing"], repeat=2)
    assert "ThreadPoolExecutor(1)" in done.stderr


def test_without_rich_it_is_plain_text() -> None:
    done = run("bench", *SMALL, "--case", "burst", before="sys.modules['rich'] = None")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    (head,) = [line for line in done.stdout.splitlines() if "ns per work" in line]
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("  Thread")]
    assert "median" in head
    assert len(row) == len(head)  # the last column is aligned to the right


def test_a_poor_encoding_is_no_traceback() -> None:
    done = run(
        "bench",
        *SMALL,
        "--case",
        "round-trip",
        before="sys.stdout.reconfigure(encoding='ascii')",
    )
    assert done.returncode == 0, done.stderr
    assert "us per round trip" in done.stdout


@pytest.mark.parametrize("extension", ["png", "svg", "SVG"])
def test_picture(tmp_path: Path, extension: str) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / f"run.{extension}"
    done = run("bench", *SMALL, "--case", "burst", "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    content = picture.read_bytes()
    if extension == "png":
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
    else:
        assert b"<svg" in content


NEVER_RUN = "import pykworker.bench.measure as m\nm.take = None\n"
"""Any measurement would end in a traceback, and with exit code 1."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--case", "nonsense"], "invalid choice"),
        (["--repeat", "0"], "at least 1"),
        (["--repeat", "many"], "not a whole number"),
        (["--works", "-5"], "at least 1"),
        (["--json", "/no such directory/run.json"], "No such"),
        (["--markdown", "/no such directory/run.md"], "No such"),
        (["--json", "/"], "directory"),
        (["--json", f"{__file__}/run.json"], "Not a directory"),
        (["--plot", "run.pdf"], ".svg or .png"),
        (["--plot", "run"], ".svg or .png"),
        (["--unknown"], "unrecognized"),
    ],
)
def test_bad_arguments_are_refused_before_the_run(arguments: list[str], message: str) -> None:
    done = run("bench", *arguments, before=NEVER_RUN)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_picture_without_matplotlib_is_refused_before_the_run(tmp_path: Path) -> None:
    blocked = NEVER_RUN + "sys.modules['matplotlib'] = None"
    done = run("bench", "--plot", str(tmp_path / "run.svg"), before=blocked)
    assert done.returncode == 2
    assert "pip install matplotlib" in done.stderr


@pytest.mark.parametrize(
    ("streams", "code"),
    [
        ("sys.stderr = None", 0),
        ("sys.stdout = None", 1),
        ("sys.stdout = open('/dev/full', 'w')", 1),
        ("sys.stdout = sys.stderr = None", 1),
        ("sys.stderr = open('/dev/full', 'w')", 0),
    ],
)
@pytest.mark.parametrize(
    "arguments", ["bench --works 1 --repeat 1 --case burst", "latency --duration 0.05", "info"]
)
def test_streams_that_are_closed_or_full_cost_no_file(
    tmp_path: Path, arguments: str, streams: str, code: int
) -> None:
    if "/dev/full" in streams and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    file = tmp_path / "run.json"
    done = run(*arguments.split(), "--json", str(file), before=streams)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert json.loads(file.read_text(encoding="utf-8"))


def test_markdown_to_standard_output() -> None:
    done = run("bench", *SMALL, "--case", "burst", "--markdown", "-")
    assert done.returncode == 0
    assert "| **pykworker** |" in done.stdout
    assert "ns per work" in done.stderr


@pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="everything is writable for root"
)
def test_an_unwritable_directory_is_refused_before_the_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        done = run("bench", "--json", str(tmp_path / "run.json"), before=NEVER_RUN)
    finally:
        tmp_path.chmod(0o755)
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_refused_run_leaves_no_empty_file(tmp_path: Path) -> None:
    done = run("bench", "--json", str(tmp_path / "run.json"), "--plot", "run.pdf")
    assert done.returncode == 2
    done = run(
        "bench",
        *("--json", str(tmp_path / "run.json"), "--markdown", str(tmp_path / "none" / "run.md")),
        before=NEVER_RUN,
    )
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


INTERRUPT = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may inherit "ignore"
import pykworker.bench.measure as m
take, taken = m.take, 0
def strike(contestant):
    global taken
    taken += 1
    sample = take(contestant)
    if taken == {after}:
        for _ in range({times}):
            os.kill(os.getpid(), signal.SIGINT)
    return sample
m.take = strike
"""


@pytest.mark.parametrize("times", [1, 2])
def test_interrupted_it_still_tells_what_it_has(tmp_path: Path, times: int) -> None:
    document = tmp_path / "run.json"
    done = run(
        "bench",
        *("--works", "200", "--repeat", "1000", "--case", "burst", "--json", str(document)),
        before=INTERRUPT.format(after=23, times=times),
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "PARTIAL" in done.stdout
    assert "ThreadPoolExecutor(1)" in done.stdout
    data = json.loads(document.read_text(encoding="utf-8"))
    assert data["complete"] is False
    assert data["cases"][0]["contestants"][0]["summary"]["count"] < 1000


def test_interrupted_before_the_first_figure(tmp_path: Path) -> None:
    document = tmp_path / "run.json"
    done = run(
        "bench",
        *SMALL,
        *("--json", str(document)),
        before=INTERRUPT.format(after=1, times=1),
    )
    assert done.returncode == 130, done.stderr
    assert "PARTIAL" in done.stdout
    data = json.loads(document.read_text(encoding="utf-8"))
    assert all(row["summary"] is None for row in data["cases"][0]["contestants"])


def test_an_interrupted_run_is_drawn_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for after in (1, 23):
        picture = tmp_path / f"after-{after}.png"
        done = run(
            "bench",
            *("--works", "200", "--repeat", "1000", "--case", "burst", "--plot", str(picture)),
            before=INTERRUPT.format(after=after, times=1),
        )
        assert done.returncode == 130, done.stderr
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    document = tmp_path / "run.json"
    try:
        done = run("bench", *SMALL, "--case", "burst", "--json", str(document), stdout=writing)
    finally:
        os.close(writing)
    assert done.returncode == 0
    assert "Error" not in done.stderr
    assert json.loads(document.read_text(encoding="utf-8"))["complete"] is True
