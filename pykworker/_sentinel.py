# SPDX-License-Identifier: GPL-2.0-only
"""What a callback returns to end its own repetition; both backends look for the same object."""

from __future__ import annotations

import enum
from typing import Final, Literal

__all__ = ["CANCEL"]


class _Sentinel(enum.Enum):
    """An enum, since type checkers know its members for singletons; so does pickle."""

    CANCEL = "pykworker.CANCEL"

    def __repr__(self) -> str:
        return self.value

    __str__ = __repr__


CANCEL: Final[Literal[_Sentinel.CANCEL]] = _Sentinel.CANCEL
"""A periodic work whose callback returns it is not run again."""
