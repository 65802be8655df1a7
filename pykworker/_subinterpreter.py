# SPDX-License-Identifier: GPL-2.0-only
"""Subinterpreters: the native backend is for the main one, pykworker.pure for all.

A callback is called by a thread that knows one interpreter, the main one. In another one the
works of the native backend would run where nobody has put them.
"""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["REFUSAL", "refuses"]

REFUSAL = "pykworker's callbacks need the main interpreter: use pykworker.pure in a subinterpreter"


def refuses() -> bool:
    """Look where the package is being imported; for its own first lines alone.

    Returns False in the main interpreter; True in another one when pykworker.pure is what is
    imported, of which the package is the parent. Raises ImportError otherwise.
    """
    if _is_main():
        return False
    if _pure_is_imported():
        return True
    raise ImportError(REFUSAL, name="pykworker")


def _is_main() -> bool:
    for name in ("_interpreters", "_xxsubinterpreters"):  # since 3.13, and before
        try:
            interpreters = import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() == interpreters.get_main())
    return True


def _pure_is_imported() -> bool:
    """The import system does not say for whose sake a parent is imported; its frames do."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "_find_and_load" and "importlib" in frame.f_code.co_filename:
            name = frame.f_locals.get("name")
            if isinstance(name, str) and (name + ".").startswith("pykworker.pure."):
                return True
    return False
