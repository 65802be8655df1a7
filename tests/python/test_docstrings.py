# SPDX-License-Identifier: GPL-2.0-only
"""Every public name, method and property has an example in its docstring, and all of them run.

In an example ``kw`` is the backend; each docstring's examples are a program of their own. What a
callback prints is seen when the example waits for it. The examples are those of the native
backend, which is what editors and the reference show; they run with either one as ``kw``.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import types
import warnings
from typing import Any

import pytest
from helpers import public_members

OPTIONS = doctest.ELLIPSIS
PROPERTIES = (property, types.GetSetDescriptorType, types.MemberDescriptorType)


def documented(kw: Any) -> dict[str, str]:
    """The docstring of each public class and function, and of the methods and properties that
    the package gives it; what a subclass inherits is its base's."""
    docs: dict[str, str] = {}
    seen: set[int] = set()
    for name in sorted(kw.__all__, key=lambda name: inheritance(getattr(kw, name))):
        thing = getattr(kw, name)
        if not (isinstance(thing, type) or inspect.isroutine(thing)):
            continue  # data: its docstring would be its type's
        docs[name] = thing.__doc__ or ""
        if not isinstance(thing, type):
            continue
        for member in public_members(thing):
            kind = next(base for base in thing.__mro__ if member in vars(base))
            value = vars(kind)[member]
            if id(value) in seen or not kind.__module__.startswith("pykworker"):
                continue
            if any(f"{base.__name__}.{member}" in docs for base in thing.__mro__[1:]):
                continue  # the base's, done in another way
            seen.add(id(value))
            if isinstance(value, PROPERTIES) or callable(getattr(thing, member)):
                docs[f"{name}.{member}"] = value.__doc__ or ""
    return docs


def inheritance(thing: Any) -> int:
    """Bases come before their subclasses."""
    return len(thing.__mro__) if isinstance(thing, type) else 0


def examples(path: str, text: str, kw: Any) -> doctest.DocTest:
    # A name of its own for each: doctest reports file and line by it.
    return doctest.DocTestParser().get_doctest(text, {"kw": kw}, path, path, 0)


def run(test: doctest.DocTest) -> str:
    """What is to be reported: nothing when all examples print what stands there."""
    report: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=report.append)
    return "".join(report)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # the extension module is not built
    PACKAGE: Any = importlib.import_module("pykworker")
PATHS = sorted(documented(PACKAGE))


@pytest.mark.parametrize("path", PATHS)
def test_examples_of_the_docstring_run(kw, path):
    if path not in documented(kw):
        pytest.skip(f"{path} is the other backend's alone")
    report = run(examples(path, documented(PACKAGE)[path], kw))
    assert not report, report


def test_every_docstring_has_an_example():
    if PACKAGE.backend == "pure":
        pytest.skip("the extension module is not built")
    missing = [
        path
        for path, text in documented(PACKAGE).items()
        if not examples(path, text, PACKAGE).examples
    ]
    assert not missing, f"{len(missing)} without an example: {', '.join(missing)}"


def test_every_name_has_a_docstring(kw):
    assert [path for path, text in documented(kw).items() if not text.strip()] == []


def test_methods_and_properties_written_in_c_are_among_them(kw):
    paths = documented(kw)
    assert {"Worker", "Worker.queue", "Work.fn", "Work.pending", "Worker.name"} <= set(paths)
    assert {"current_work", "DeadlockError", "PeriodicWork.missed"} <= set(paths)
    assert "DelayedWork.flush" not in paths  # Work's
    assert "DeadlockError.with_traceback" not in paths  # Python's


def test_an_example_that_prints_something_else_is_reported(kw):
    good = ">>> with kw.Worker() as worker:\n...     work = kw.Work(print, 'ran')\n"
    good += "...     assert worker.queue(work)\nran\n"
    assert run(examples("good", good, kw)) == ""
    assert "Expected:" in run(examples("bad", ">>> kw.Work(int).pending\nTrue\n", kw))
    assert "ZeroDivisionError" in run(examples("bad", ">>> 1 / 0\n1\n", kw))
