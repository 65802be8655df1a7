# SPDX-License-Identifier: GPL-2.0-only
"""In a subinterpreter the compiled backend says that it cannot, and the pure one works."""

from __future__ import annotations

import sys

import pytest
from conftest import load_backend
from helpers import run_script

REFUSAL = "pykworker's callbacks need the main interpreter: use pykworker.pure in a subinterpreter"
# Runs code in a new subinterpreter; what is printed in there comes out here.
PROLOGUE = """
def run_inside(code):
    sys.stdout.flush()
    if sys.version_info >= (3, 13):
        import _interpreters
        inside = _interpreters.create("isolated" if {own_gil} else "legacy")
        error = _interpreters.run_string(inside, code)
        if error is not None:
            print("failed", error.formatted)
    else:
        import _xxsubinterpreters as _interpreters
        inside = _interpreters.create(isolated={own_gil})
        try:
            _interpreters.run_string(inside, code)
        except _interpreters.RunFailedError as error:
            print("failed", error)
    _interpreters.destroy(inside)
"""

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="there are no subinterpreters"
)


# Before 3.12 an isolated one shares the GIL as well, and may not start threads.
KINDS = ["own GIL", "shared GIL"] if sys.version_info >= (3, 12) else ["shared GIL"]


@pytest.fixture(params=KINDS)
def inside(request):
    """Runs code in a subinterpreter of a fresh process; its lines."""

    def inside(kw, code, before="", after=""):
        prologue = PROLOGUE.format(own_gil=request.param == "own GIL")
        result = run_script(kw, f"{prologue}\n{before}\nrun_inside({code!r})\n{after}\n")
        assert result.stderr == ""
        assert result.returncode == 0
        return result.stdout.splitlines()

    return inside


@pytest.fixture
def native():
    return load_backend("native")


IMPORT = """
try:
    import pykworker
except ImportError as error:
    print(type(error).__name__, error, sep=": ")
else:
    print(pykworker.backend)
"""
REFUSED = f"ImportError: {REFUSAL}"

PURE = """
import pykworker.pure as kw, threading
ran = []
with kw.Worker("inside") as worker:
    work = kw.Work(ran.append, 1)
    worker.queue(work)
    work.flush()
    print(ran, worker.submit(lambda: threading.current_thread().name).result())
    late = kw.DelayedWork(ran.append, 2)
    worker.queue_delayed(late, 0.001)
    late.flush()
    print(ran, kw.backend)
print(worker.is_alive())
"""
WORKED = ["[1] inside", "[1, 2] pure", "False"]


def test_import_is_refused(native, inside):
    assert inside(native, IMPORT) == [REFUSED]


def test_import_from_is_refused(native, inside):
    code = IMPORT.replace("import pykworker", "from pykworker import Worker")
    assert inside(native, code) == [REFUSED]


def test_import_is_refused_again_and_the_main_interpreter_goes_on(native, inside):
    before = "worker = kw.Worker(); print(worker.submit(lambda: 7).result())"
    after = f"""
run_inside({IMPORT!r})
print(worker.submit(lambda: 8).result())
worker.destroy()
"""
    assert inside(native, IMPORT + IMPORT, before, after) == ["7", *[REFUSED] * 3, "8"]


def test_pure_works_after_the_other_was_refused(native, inside):
    assert inside(native, IMPORT + PURE) == [REFUSED, *WORKED]


def test_pure_works_in_one_after_the_other(kw, inside):
    assert inside(kw, PURE, after=f"run_inside({PURE!r})") == WORKED * 2


def test_pure_works_beside_the_main_interpreter(kw, inside):
    before = """
worker = kw.Worker("outside")
gate, entered = threading.Event(), threading.Event()
worker.submit(lambda: (entered.set(), gate.wait()))
future = worker.submit(lambda: "outside")
entered.wait()
"""
    after = """
gate.set()
print(future.result())
worker.destroy()
"""
    assert inside(kw, PURE, before, after) == [*WORKED, "outside"]
