# SPDX-License-Identifier: GPL-2.0-only
"""The installed package used by a stranger: python smoke.py README.md

Nothing but the package and cffi is there. Runs the README's examples, the one in C against the
sources that the package brings. Fails with a traceback.
"""

import contextlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pykworker as kw
from pykworker import pure

README = Path(sys.argv[1]).read_text(encoding="utf-8")


def example(language: str) -> str:
    (first, *_) = re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return first


def main() -> None:
    assert kw.backend == "native", kw.backend
    assert Path(kw.__file__).is_relative_to(sys.prefix), kw.__file__
    for module in (kw, pure):
        ran: list[int] = []
        with module.Worker("smoke") as worker:
            worker.queue(module.Work(ran.append, 1))
            assert worker.submit(pow, 2, 10).result() == 1024
        assert ran == [1]

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(example("python"), "README.md", "exec"), {"__name__": "__main__"})
    assert "on the thread sensor" in said.getvalue()

    compiler = shutil.which("cc")
    assert compiler, "there is no C compiler"
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "example.c"), Path(folder, "example")
        source.write_text(example("c"), encoding="utf-8")
        subprocess.run(
            [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{kw.get_include()}",
             "-o", program, source, *kw.get_sources(), "-pthread"],
            check=True,
        )  # fmt: skip
        printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert printed == "on the worker's thread\n", printed

    command = [sys.executable, "-m", "pykworker", "bench", "--quick", "--case", "round-trip"]
    assert "round trip" in subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.replace("-", " ")


main()
