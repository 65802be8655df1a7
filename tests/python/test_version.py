# SPDX-License-Identifier: GPL-2.0-only
"""The version is typed once, in the C header, and is the same everywhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pykworker

ROOT = Path(__file__).resolve().parents[2]


def in_header(folder: Path) -> str:
    text = (folder / "kthread_worker.h").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^#define KTHREAD_WORKER_VERSION_(\w+) (\d+)$", text, re.MULTILINE))
    return f"{parts['MAJOR']}.{parts['MINOR']}.{parts['PATCH']}"


def test_package_has_the_headers_version():
    assert pykworker.__version__ == in_header(Path(pykworker.get_include()))


def test_changelog_knows_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {pykworker.__version__} (" in changelog


def test_import_asks_no_metadata_for_it():
    code = "import sys, pykworker; print('importlib.metadata' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, text=True, timeout=60, check=True, cwd=ROOT,
    )  # fmt: skip
    assert result.stdout == "False\n"


def test_what_is_built_has_the_version_and_no_header_to_read(tmp_path):
    """As in a wheel: another version in the header, and the package taken out of the sources."""
    for name in ("setup.py", "build_ffi.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("src", "pykworker", "compat"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.o", "*.so", "_native.c")
        )
    header = tmp_path / "src/kthread_worker.h"
    text = header.read_text(encoding="utf-8")
    for part, number in (("MAJOR", 7), ("MINOR", 8), ("PATCH", 9)):
        text = re.sub(rf"(VERSION_{part}) \d+\n", rf"\1 {number}\n", text)
    header.write_text(text, encoding="utf-8")
    assert in_header(header.parent) == "7.8.9"

    command = [sys.executable, "-W", "ignore", "setup.py", "--quiet", "build_py"]
    command += ["--build-lib", "built"]
    subprocess.run(command, timeout=120, check=True, cwd=tmp_path, capture_output=True)
    built = tmp_path / "built/pykworker/_version.py"
    names: dict[str, object] = {}
    exec(built.read_text(encoding="utf-8"), names)
    assert names["__version__"] == "7.8.9"
    assert "import" not in built.read_text(encoding="utf-8")
