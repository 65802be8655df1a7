# SPDX-License-Identifier: GPL-2.0-only
"""The header for kernel code and its page hold together."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "compat" / "kthread_compat.h"
PAGE = ROOT / "docs" / "kernel-code.md"

INTERNAL = re.compile(r"(?i)kcompat_|KTHREAD_COMPAT_H$|_GNU_SOURCE$")


def names() -> set[str]:
    """All that the header defines for its users."""
    text = HEADER.read_text()
    macros = re.findall(r"^#define (\w+)", text, re.MULTILINE)
    functions = re.findall(r"^static inline [\w\s]+?\*?(\w+)\(", text, re.MULTILINE)
    functions += re.findall(r"^(?:int|long|bool|void) (\w+)\(", text, re.MULTILINE)
    types = re.findall(r"^typedef .*?(\w+);", text, re.MULTILINE)
    types += re.findall(r"^\} (\w+);", text, re.MULTILINE)
    structs = re.findall(r"^struct (\w+) \{", text, re.MULTILINE)
    return {n for n in (*macros, *functions, *types, *structs) if not INTERNAL.match(n)}


def test_every_name_stands_on_its_page():
    page = set(re.findall(r"\w+", PAGE.read_text()))
    assert sorted(names() - page) == []


def test_the_core_does_not_know_the_header():
    for source in (ROOT / "src").iterdir():
        assert "kthread_compat" not in source.read_text(), source.name


def test_the_code_on_the_page_compiles(tmp_path):
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("there is no cc here")
    blocks = re.findall(r"^```c\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        (tmp_path / "block.c").write_text(block)
        flags = ["-std=c17", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
        paths = [f"-I{ROOT / 'src'}", f"-I{ROOT / 'compat'}"]
        subprocess.run(
            [compiler, *flags, *paths, "-fsyntax-only", "block.c"],
            cwd=tmp_path,
            check=True,
            timeout=60,
        )
