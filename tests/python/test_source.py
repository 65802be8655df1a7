# SPDX-License-Identifier: GPL-2.0-only
"""The core's source holds to its own rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKER = [
    "kthread_worker.c",
    "worker_cancel.c",
    "worker_flush.c",
    "worker_life.c",
    "worker_loop.c",
    "worker_timer.c",
    "worker_internal.h",
    "trace.h",
    "timers.c",
]
# A head that lists the pairs, and the files that it lists them for.
UNITS = {"kthread_worker.c": WORKER, "kthread.c": ["kthread.c"]}

BOTH = r"cas_(?:strong_)?acq_rel|exchange_acq_rel|fetch_\w+_acq_rel"
RELEASES = rf"(?:store|cas|exchange|fence|fetch_\w+)_release|{BOTH}"
ACQUIRES = rf"(?:load|exchange|fence|fetch_\w+)_acquire|{BOTH}"
ORDERED = re.compile(rf"\b({RELEASES}|{ACQUIRES}|fence_full(?:_after_rmw)?)\(")
LABEL = re.compile(r"/\* ([\w-]+)(?:, pairs with ([\w-]+))?[ :*]")


def declared_labels(text: str) -> set[str]:
    """The labels that the list of pairs at the head of a file gives."""
    head = text.split("*/\n#ifndef", 1)[0].split("The pairs", 1)[1]
    entries = re.findall(r"^ \*\t([\w-]+(?:(?:, |/)[\w-]+)*)(?:\t|$)", head, re.MULTILINE)
    labels = {label for entry in entries for label in re.split(r", |/", entry)}
    return labels | set(re.findall(r"\b(park-b\d)\b", head))


def ordered_accesses(text: str) -> list[tuple[int, str, str | None, str | None]]:
    """Line, operation, label and partner of each ordered access and fence."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for match in ORDERED.finditer(line.split("/*", 1)[0]):
            label = LABEL.search(line)
            found.append(
                (
                    number,
                    match.group(1),
                    label.group(1) if label else None,
                    label.group(2) if label else None,
                )
            )
    return found


def source(name: str) -> str:
    return (ROOT / "src" / name).read_text()


def accesses_of(head: str) -> list[tuple[str, int, str, str | None, str | None]]:
    return [(name, *access) for name in UNITS[head] for access in ordered_accesses(source(name))]


@pytest.mark.parametrize("head", UNITS)
def test_every_ordered_access_has_a_label_of_the_list(head):
    labels = declared_labels(source(head))
    wrong = [
        f"{name}:{number}: {operation} has the label {label}"
        for name, number, operation, label, _ in accesses_of(head)
        if label not in labels
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("head", UNITS)
def test_every_label_has_a_partner(head):
    accesses = accesses_of(head)
    fences = {label: partner for *_, label, partner in accesses if partner}
    for label, partner in fences.items():
        assert fences.get(partner) == label, f"{label} names {partner}, which does not name it"
    sides: dict[str, set[str]] = {}
    for _, _, operation, label, partner in accesses:
        if label and not partner:
            side = sides.setdefault(label, set())
            side |= {"releases"} if re.fullmatch(RELEASES, operation) else set()
            side |= {"acquires"} if re.fullmatch(ACQUIRES, operation) else set()
    assert sides
    if "request" in sides:  # a request, and the act upon it, are one pair under two names
        sides["request"] |= sides.pop("act")
    for label, side in sides.items():
        assert side == {"releases", "acquires"}, f"{label} only {side}"


@pytest.mark.parametrize("head", UNITS)
def test_the_list_of_pairs_has_no_label_that_is_not_used(head):
    used = {label for *_, label, _ in accesses_of(head)}
    assert declared_labels(source(head)) - used <= {"park"}


def test_every_label_has_its_section_in_the_document():
    text = (ROOT / "docs" / "memory-model.md").read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    described = {label for heading in headings for label in re.findall(r"`([\w-]+)`", heading)}
    labels = {label for head in UNITS for *_, label, _ in accesses_of(head)}
    assert labels - described == set()
    assert described - labels == set()


@pytest.mark.parametrize("name", [name for names in UNITS.values() for name in names])
def test_no_access_bypasses_the_vocabulary(name):
    """An atomic_... of <stdatomic.h> would be sequentially consistent, and have no label."""
    assert re.findall(r"\batomic_\w+\(", source(name)) == []


def test_every_file_of_the_core_is_looked_at():
    checked = {name for names in UNITS.values() for name in names}
    others = {
        "kthread_attr.c",
        "park.c",
        "park.h",
        "barrier.h",
        "kthread.h",
        "kthread_worker.h",
        "kthread_internal.h",
        "mends.h",
        "pykworker.h",
        "timers.h",
    }
    assert {path.name for path in (ROOT / "src").glob("*.[ch]")} == checked | others


def test_the_check_sees_a_missing_label():
    assert ordered_accesses("\tstore_release(&x, 1);\n") == [(1, "store_release", None, None)]
    assert ordered_accesses("\tfence_full(); /* a-b0, pairs with a-b1 */\n") == [
        (1, "fence_full", "a-b0", "a-b1")
    ]


def test_the_cdef_agrees_with_the_headers(tmp_path):
    """The compiler holds the declarations that cffi reads against the definitions."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    import sysconfig

    binding = ROOT / "pykworker" / "_binding"
    include = [f"-I{ROOT / 'src'}", f"-I{binding}", f"-I{sysconfig.get_path('include')}"]
    flags = ["-std=gnu11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", *include]
    sources = [str(path) for path in binding.glob("*.c")]
    assert sources
    subprocess.run([compiler, *flags, "-DPy_LIMITED_API=0x030B0000", *sources], check=True)

    # And the check can fail: the same with a declaration that differs.
    changed = (
        (binding / "binding.cdef")
        .read_text()
        .replace("int pykw_should_stop(void)", "long pykw_should_stop(void)")
    )
    assert changed != (binding / "binding.cdef").read_text()
    (tmp_path / "binding.cdef").write_text(changed)
    for name in ("binding.h", "future.h", "worker.c"):
        (tmp_path / name).write_text((binding / name).read_text())
    include[1] = f"-I{tmp_path}"
    failed = subprocess.run(
        [compiler, "-std=gnu11", "-fsyntax-only", *include, str(tmp_path / "worker.c")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode != 0
    assert "conflicting types for" in failed.stderr


def test_every_declared_function_is_in_the_extension():
    native = pytest.importorskip("pykworker._native")
    cdef = (ROOT / "pykworker" / "_binding" / "binding.cdef").read_text()
    names = set(re.findall(r"\b(pykw_\w+)\(", cdef))
    assert names
    assert names <= set(dir(native.lib))


def c_cases(program: str) -> set[str]:
    """The cases of a program of tests/c, those that its CELL makes included."""
    text = (ROOT / "tests" / "c" / f"{program}.c").read_text()
    cells = re.findall(r"^CELL\((\w+), \w+, (\w+), (\w+),", text, re.MULTILINE)
    return set(re.findall(r"^TEST\((\w+)\)", text, re.MULTILINE)) | {
        f"{state}_work_{verb}_{happens}" for state, verb, happens in cells
    }


SEMANTICS = (ROOT / "docs" / "semantics.md").read_text()


def test_each_case_that_the_semantics_name_exists():
    named = re.findall(r"\[(\w+)\]\(\.\./tests/c/(\w+)\.c\)", SEMANTICS)
    named += [
        (case, program)
        for program, case in re.findall(r"\(\.\./tests/c/(\w+)\.c \"(\w+)\"\)", SEMANTICS)
    ]
    assert len(named) > 200
    missing = [(program, case) for case, program in named if case not in c_cases(program)]
    assert not missing
    in_python = re.findall(r"\[(\w+)\]\(\.\./tests/python/(\w+)\.py\)", SEMANTICS)
    assert in_python
    for case, module in in_python:
        text = (ROOT / "tests" / "python" / f"{module}.py").read_text()
        assert re.search(rf"^def {case}\(", text, re.MULTILINE), (module, case)


def test_each_row_of_the_semantics_names_a_test():
    rows = [line for line in SEMANTICS.splitlines() if line.startswith("| ")]
    heads = [line for line in rows if line.endswith(("| Tests |", "| free |", "misses it |"))]
    assert len(heads) == 9
    assert [line for line in rows if line not in heads and "](../tests/" not in line] == []


def test_the_matrix_of_the_semantics_has_a_case_in_each_cell():
    cells = re.findall(r"test_matrix\.c \"(\w+)\"", SEMANTICS)
    assert len(cells) == len(set(cells)) == 10 * 11
    extra = {"executing_work_free_after_flush"}  # besides the one in its callback
    assert set(cells) | extra == c_cases("test_matrix")


def test_each_mend_has_its_mutant_and_stands_in_the_semantics():
    mends = set(re.findall(r"^\tMEND_(\w+),", source("mends.h"), re.MULTILINE)) - {"NONE"}
    assert mends
    used = {
        name
        for path in (ROOT / "src").glob("*.c")
        for name in re.findall(r"\bMENDED\((\w+)\)", path.read_text())
    }
    assert used == mends
    assert set(re.findall(r"`([A-Z_]+)`", SEMANTICS.split("## Faults known")[1])) == mends
    killed = set()
    for line in (ROOT / "tests" / "c" / "mutants.txt").read_text().splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        mend, program, *cases = words
        assert cases, line
        assert set(cases) <= c_cases(program.rsplit("/", 1)[-1]), line
        killed.add(mend)
    assert killed == mends


@pytest.mark.parametrize(
    "path", sorted((ROOT / "pykworker" / "_binding").glob("*.[ch]")), ids=lambda path: path.name
)
def test_binding_counts_what_it_returns(path: Path) -> None:
    """Since 3.12 the macros count nothing, and the module that 3.13 has built serves 3.11."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    assert re.findall(r"\bPy_RETURN_\w+|\breturn Py_(?:None|True|False)\b", text) == []
