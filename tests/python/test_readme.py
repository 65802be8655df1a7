# SPDX-License-Identifier: GPL-2.0-only
"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return text


def test_python_example_runs(kw):
    program = block("python").replace("import pykworker as kw", f"import {kw.__name__} as kw")
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=ROOT,
    )
    lines = result.stdout.splitlines()
    # The second queue() may come after the first run has begun: then there are two.
    rest = ["with arguments", "half a second after the last change"]
    assert lines in (
        ["on the thread sensor", *rest],
        ["on the thread sensor", "on the thread sensor", *rest],
    )
    assert result.stderr == ""


def test_c_example_compiles_and_runs(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    import pykworker

    (tmp_path / "example.c").write_text(block("c"))
    core = pykworker.get_sources()
    assert [Path(path).name for path in core] == sorted(p.name for p in ROOT.glob("src/*.c"))
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread"]
    command += [f"-I{pykworker.get_include()}", "-o", str(tmp_path / "example")]
    subprocess.run([*command, str(tmp_path / "example.c"), *core], check=True)
    result = subprocess.run(
        [tmp_path / "example"], capture_output=True, text=True, timeout=30, check=True
    )
    assert result.stdout == "on the worker's thread\n"


def test_links_lead_somewhere():
    for text, base in (
        (README, ROOT),
        *((p.read_text(), p.parent) for p in (ROOT / "docs").rglob("*.md")),
    ):
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?(?: \"[^\"]*\")?\)", text):
            assert (base / target).exists(), target


def test_every_public_function_of_the_headers_is_named_in_the_documents():
    headers = "".join((ROOT / "src" / n).read_text() for n in ("kthread.h", "kthread_worker.h"))
    code = re.sub(r"/\*.*?\*/", "", headers, flags=re.DOTALL)
    names = set(
        re.findall(r"^[\w \*]*?\b((?:kthread_|freezing|try_to_freeze)\w*)\(", code, re.MULTILINE)
    )
    assert len(names) > 40
    documents = README + (ROOT / "docs" / "departures.md").read_text()
    missing = {
        name
        for name in names
        if name not in documents and not name.endswith(("_timeout", "_interruptible"))
    }
    assert not missing
