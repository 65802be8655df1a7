# SPDX-License-Identifier: GPL-2.0-only
"""CPython's own tests of executors, with a Worker as the executor.

The cases are those of the running interpreter's ``test.test_concurrent_futures``; none of their
text is here. From each class that tests ThreadPoolExecutor one is derived for each backend, with a
Worker in the place of it; from that of futures one with our Future.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import logging
import os
import pkgutil
import sys
import unittest
import warnings
from collections import Counter
from types import ModuleType
from typing import Any

import one_thread
import pytest

PACKAGE = "test.test_concurrent_futures"

# An interpreter may come without its tests. One has to have them where no tool may be missing.
REQUIRED = os.environ.get("REQUIRE_TOOLS") == "1" and sys.version_info >= (3, 13)

# "concurrent.futures" is the standard executor with one thread, to compare with.
BACKENDS = os.environ.get("CPYTHON_TESTS_OF", "pykworker pykworker.pure").split()

# What one thread cannot pass, and what looks at more of ThreadPoolExecutor than an executor has:
# cases, and classes as a whole.
NO_SIZE = "a Worker is one thread, and takes no max_workers"

LEFT_OUT = {
    "ThreadPoolExecutorTest.test_default_workers": NO_SIZE,
    "ThreadPoolExecutorTest.test_max_workers_negative": NO_SIZE,
    "ThreadPoolShutdownTest.test_threads_terminate": "three threads have to have begun",
    "ThreadPoolShutdownTest.test_thread_names_assigned": "gives a prefix for the names of threads",
    "ThreadPoolShutdownTest.test_thread_names_default": "looks for the names of that class",
    "FutureTests.test_cancel": "looks at the state: ours is notified as soon as it is cancelled",
    "FailingInitializerResourcesTest": "executors of processes, which the class does not say",
}
# Those of one backend alone.
LEFT_OUT_OF = {"pykworker.pure": {"FutureTests": "makes futures by hand: its are made with a call"}}


# These cancel what is pending, and want a call to have begun before; the second until 3.12.
FIRST_CALL_BEGINS = {"test_cancel_futures", "test_cancel_futures_wait_false"}

# Some cases drop their executor, and one forks with threads about.
IGNORED = ("ignore::ResourceWarning", "ignore:.*multi-threaded.*fork:DeprecationWarning")


def interpreters_modules() -> list[ModuleType]:
    """The test modules that the interpreter has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            package = importlib.import_module(PACKAGE)
        except ModuleNotFoundError as error:
            if error.name not in (PACKAGE, PACKAGE.partition(".")[0]):
                raise
            return []
        names = [name for _, name, _ in pkgutil.iter_modules(getattr(package, "__path__", []))]
        # Before it was a package it was one module.
        return [importlib.import_module(f"{PACKAGE}.{name}") for name in names] or [package]


def find_cases() -> dict[str, type[unittest.TestCase]]:
    """The class of each case of threads, by "class.case"."""
    found: dict[str, type[unittest.TestCase]] = {}
    for module in MODULES:
        for kind in vars(module).values():
            if not isinstance(kind, type) or not issubclass(kind, unittest.TestCase):
                continue
            # Executors of processes and of interpreters are tested by the same mixins, and by
            # others of their own.
            if getattr(kind, "executor_type", STANDARD) is not STANDARD:
                continue
            for case in unittest.defaultTestLoader.getTestCaseNames(kind):
                assert found.setdefault(f"{kind.__name__}.{case}", kind) is kind
    return found


STANDARD = concurrent.futures.ThreadPoolExecutor
MODULES = interpreters_modules()
CASES = find_cases()


def is_left_out(name: str, backend: str) -> bool:
    left_out = LEFT_OUT | LEFT_OUT_OF.get(backend, {})
    return name in left_out or name.partition(".")[0] in left_out


def derive(base: type[unittest.TestCase], backend: str) -> type[unittest.TestCase]:
    """*base* with *backend*'s Worker, and without the cases that are left out."""
    body: dict[str, Any] = {"__module__": __name__, "backend": backend}
    body["pytestmark"] = [pytest.mark.filterwarnings(ignored) for ignored in IGNORED]
    for case in unittest.defaultTestLoader.getTestCaseNames(base):
        if is_left_out(f"{base.__name__}.{case}", backend):
            body[case] = None
    return type(f"{base.__name__}[{backend}]", (base,), body)


DERIVED = [derive(base, backend) for backend in BACKENDS for base in dict.fromkeys(CASES.values())]
globals().update({kind.__name__: kind for kind in DERIVED})


class Summary:
    """A plugin: how many cases each backend has passed, in a line at the end."""

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        ours = {kind.__name__: kind.backend for kind in DERIVED}
        counts: dict[str, Counter[str]] = {backend: Counter() for backend in BACKENDS}
        for outcome in ("passed", "failed", "error", "skipped"):
            for report in terminalreporter.getreports(outcome):
                name = report.nodeid.split("::")[1:2]
                if name and name[0] in ours:
                    counts[ours[name[0]]][outcome] += 1
        for backend, count in counts.items():
            text = ", ".join(f"{number} {outcome}" for outcome, number in count.items())
            line = f"CPython's executor tests, {backend}: {text or 'none run'}"
            terminalreporter.write_line(line)


@pytest.fixture(scope="module", autouse=True)
def summary(pytestconfig: pytest.Config) -> None:
    pytestconfig.pluginmanager.register(Summary())


@pytest.fixture(autouse=True)
def worker_in_its_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Worker is what the class makes, what ThreadPoolExecutor names, here and in programs."""
    backend = getattr(request.cls, "backend", None)
    if backend is None:
        yield
        return
    if backend == "pykworker":
        require_native()
    options = {"first_call_begins": request.node.name in FIRST_CALL_BEGINS}
    kind = one_thread.executor_type(backend, **options)
    monkeypatch.setattr(request.cls, "executor_type", kind, raising=False)
    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", kind)
    if request.cls.__name__.startswith("FutureTests"):
        future_in_its_place(importlib.import_module(backend).Future, monkeypatch)
        # What is logged is looked for on standard error, where it goes when pytest takes none.
        logger = logging.getLogger("concurrent.futures")
        monkeypatch.setattr(logger, "handlers", [logging.lastResort])

    def with_worker(run: Any) -> Any:
        def run_program(option: str, program: str) -> Any:
            assert option == "-c"
            return run(option, one_thread.preamble(backend, **options) + program)

        return run_program

    for module in MODULES:
        if hasattr(module, "assert_python_ok"):
            monkeypatch.setattr(module, "assert_python_ok", with_worker(module.assert_python_ok))
    support = importlib.import_module("test.support")
    monkeypatch.setattr(support, "environment_altered", False)
    yield
    # By this the cases tell that they have left a thread or a process.
    assert not support.environment_altered


def future_in_its_place(kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the modules make their futures of *kind*, and those that they have made be of it."""
    standard = concurrent.futures.Future
    for module in MODULES:
        for name, value in list(vars(module).items()):
            if value is standard:
                monkeypatch.setattr(module, name, kind)
            elif isinstance(value, standard):
                ours = kind()
                for state in ("_state", "_exception", "_result"):
                    setattr(ours, state, getattr(value, state))
                monkeypatch.setattr(module, name, ours)


def require_native() -> None:
    import pykworker

    if pykworker.backend != "native":
        reason = "the extension module is not built"
        if os.environ.get("PYKWORKER_REQUIRE_NATIVE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def test_interpreter_has_its_tests():
    if not MODULES:
        reason = f"this interpreter has no {PACKAGE}"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    assert len(CASES) > 50


@pytest.mark.skipif(not MODULES, reason="this interpreter has no tests")
def test_every_case_is_run_or_left_out_with_a_reason():
    classes = {name.partition(".")[0] for name in CASES}
    if sys.version_info >= (3, 12):  # before, there were fewer
        left_out = set(LEFT_OUT).union(*LEFT_OUT_OF.values())
        assert left_out <= set(CASES) | classes
    for backend in BACKENDS:
        run = {
            f"{kind.__name__.partition('[')[0]}.{case}"
            for kind in DERIVED
            if kind.backend == backend
            for case in unittest.defaultTestLoader.getTestCaseNames(kind)
        }
        assert run == {name for name in CASES if not is_left_out(name, backend)}
