# SPDX-License-Identifier: GPL-2.0-only
"""Every Python example of the documentation runs as it stands there, on both backends.

The ``python`` blocks of a page are one program, run in an interpreter of its own; a ``text`` block
right behind one of them is what it prints. A comment in front of a block says what else holds:

``<!-- not run: reason -->``
    It cannot be run here. It still has to be Python.
``<!-- needs: a b -->``
    Run where each of these is a module or a command, left out elsewhere.
``<!-- by itself -->``
    A program of its own; the ``text`` block is what it prints on both streams, at its exit too.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import LIMIT, public_members, script_command

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
END = "\x1e"  # printed behind each block

BLOCK = re.compile(
    r"(?:^<!-- (?P<marker>[^\n]*) -->\n)?"
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    line: int
    code: str
    output: str | None
    marker: str

    @property
    def runs(self) -> bool:
        if self.marker.startswith("not run:"):
            return False
        if self.marker.startswith("needs:"):
            return all(
                importlib.util.find_spec(name) or shutil.which(name)
                for name in self.marker.split()[1:]
            )
        return True


def blocks_of(text: str) -> list[Block]:
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        found.append(Block(line, match["code"], match["output"], match["marker"] or ""))
    return found


PAGES = {
    path.relative_to(DOCS).as_posix(): blocks_of(path.read_text("utf-8"))
    for path in sorted(DOCS.rglob("*.md"))
}
RUN = [(page, None) for page, blocks in PAGES.items() if any(not b.marker for b in blocks)]
RUN += [(p, b) for p, blocks in PAGES.items() for b in blocks if b.marker == "by itself"]


def program(kw, blocks: list[Block]) -> str:
    """The blocks as one program whose lines have the numbers that they have on the page."""
    text = ""
    for block in blocks:
        text += "\n" * (block.line - 1 - text.count("\n"))
        text += block.code.replace("import pykworker as kw", f"import {kw.__name__} as kw")
        text = text.rstrip("\n") + f"\nprint({END!r})"  # on the line that ends the block
    return text + "\n"


def run(kw, tmp_path: Path, page: str, source: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / page.replace("/", "-")
    path.write_text(source, "utf-8")
    command, env = script_command(kw, "")
    command[command.index("-c") :] = [str(path)]
    command[1:1] = ["-W", "error", "-W", "ignore:pykworker's extension module"]
    return subprocess.run(
        command, env=env, cwd=tmp_path, timeout=2 * LIMIT, check=False, text=True,
        capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("page", "alone"), RUN, ids=[p if b is None else f"{p}:{b.line}" for p, b in RUN]
)
def test_examples_run_and_print_what_stands_there(kw, tmp_path, page, alone):
    if alone is not None:
        result = run(kw, tmp_path, page, program(kw, [alone]).replace(f"print({END!r})", ""))
        assert (result.returncode, result.stdout + result.stderr) == (0, alone.output)
        return
    blocks = [block for block in PAGES[page] if block.runs and block.marker != "by itself"]
    result = run(kw, tmp_path, page, program(kw, blocks))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    printed = result.stdout.split(END + "\n")
    assert printed.pop() == ""
    for block, output in zip(blocks, printed, strict=True):
        assert output == (block.output or ""), f"{page}, line {block.line}"


@pytest.mark.parametrize("page", [page for page, blocks in PAGES.items() if blocks])
def test_markers_are_known_and_each_block_is_python(page):
    for block in PAGES[page]:
        compile(block.code, f"{page}:{block.line}", "exec")
        known = re.fullmatch(r"|by itself|not run: \S.*|needs:( [\w.-]+)+|SPDX.*", block.marker)
        assert known, block.marker


def test_no_python_block_is_overlooked():
    for page, blocks in PAGES.items():
        text = (DOCS / page).read_text("utf-8")
        assert len(
            re.findall(r"^\s*(?:```+|~~~+|:::+)\{?python|\{code", text, re.MULTILINE)
        ) == len(blocks), page


def test_what_a_block_prints_is_held_against_the_page(kw, tmp_path):
    """The check itself: it sees another output, an error, and keeps the numbers of the lines."""
    text = (
        "# Page\n\n```python\nimport pykworker as kw\nprint(kw.backend)\n```\n\n```text\nx\n```\n"
    )
    text += "\n<!-- not run: so -->\n```python\nfail\n```\n\n```python\n1 / 0\n```\n"
    first, second, third = blocks_of(text)
    assert (first.line, first.output, second.marker, third.line) == (4, "x\n", "not run: so", 18)
    assert not second.runs
    result = run(kw, tmp_path, "page.md", program(kw, [first, third]))
    assert result.stdout == f"{kw.backend}\n{END}\n"
    assert 'page.md", line 18' in result.stderr
    assert result.returncode == 1


# --- the reference -----------------------------------------------------------------------------


def test_the_reference_has_every_public_name(kw):
    text = (DOCS / "reference.rst").read_text("utf-8")
    described = set(re.findall(r"^\.\. (?:auto\w+|py:data):: ([\w.]+)$", text, re.MULTILINE))
    missing = [path for path in public_paths(kw) if path not in described]
    assert not missing, f"docs/reference.rst lacks {', '.join(missing)}"


def public_paths(kw) -> list[str]:
    """The names, and the members of each class that are its own."""
    paths = []
    for name in kw.__all__:
        paths.append(name)
        kind = getattr(kw, name)
        if not isinstance(kind, type) or not kind.__module__.startswith("pykworker"):
            continue
        # What is written in C, and what both workers share, is the public class's.
        inner = [base for base in kind.__mro__ if base.__module__.startswith("pykworker")]
        public = {getattr(kw, n) for n in kw.__all__ if isinstance(getattr(kw, n), type)}
        own = {m for base in inner if base is kind or base not in public for m in vars(base)}
        inherited = {m for base in inner if base is not kind and base in public for m in dir(base)}
        paths += [
            f"{name}.{member}"
            for member in sorted(own - inherited)
            if member in public_members(kind)
        ]
    return paths


# --- the site ----------------------------------------------------------------------------------


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for index in (DOCS / "index.md", DOCS / "howto" / "index.md"):
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", index.read_text("utf-8"), re.DOTALL):
            names = [line for line in tree.splitlines() if line and line[0] != ":"]
            listed |= {(index.parent / name).relative_to(DOCS).as_posix() for name in names}
    pages = {path.removesuffix(".md") for path in PAGES} | {"reference"}
    assert listed | {"index"} == pages


def test_the_check_of_links_sees_a_broken_one(tmp_path):
    (tmp_path / "a.html").write_text('<p id="top"><a href="b.html#here">b</a><img src="c.png">')
    (tmp_path / "b.html").write_text('<p id="there"><a href="a.html#top">a</a>')
    result = subprocess.run(
        [sys.executable, str(DOCS / "check_links.py"), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        "a.html: b.html#here: no such place",
        "a.html: c.png: no such file",
    ]


def test_the_pictures_are_what_their_script_draws(tmp_path):
    copy = tmp_path / "docs"
    (copy / "images").mkdir(parents=True)
    shutil.copy(DOCS / "drawings.py", copy)
    shutil.copy(DOCS / "images" / "trace.json", copy / "images")  # what one of them shows
    subprocess.run([sys.executable, str(copy / "drawings.py")], check=True)
    drawn = list((copy / "images").iterdir())
    assert drawn
    for path in drawn:
        assert path.read_text() == (DOCS / "images" / path.name).read_text(), path.name
