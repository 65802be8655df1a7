# SPDX-License-Identifier: GPL-2.0-only
"""Addresses of machine code and of data, out of what Python people hold them in."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

__all__ = ["code_address", "data_address"]

_FunctionPointer: Any = ctypes._CFuncPtr  # type: ignore[attr-defined]
_Pointers = (ctypes._Pointer, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_wchar_p)
_HIGHEST_ADDRESS = 2 ** (8 * ctypes.sizeof(ctypes.c_void_p)) - 1


def _cffi_pointer(value: object, *kinds: str) -> int | None:
    """The address in a cffi pointer of one of these kinds; None: it is none."""
    cffi = sys.modules.get("_cffi_backend")  # who has such an object has imported it
    if cffi is None or not isinstance(value, cffi._CDataBase):
        return None
    ffi = cffi.FFI()
    return int(ffi.cast("uintptr_t", value)) if ffi.typeof(value).kind in kinds else None


def _ctypes_pointer(value: Any) -> int:
    return ctypes.cast(value, ctypes.c_void_p).value or 0


def code_address(value: object) -> int:
    """The address of a function.

    *value* is an int, a ctypes or cffi function pointer, or an object whose ``address`` is an
    int. Raises TypeError for any other kind, ValueError for an int that cannot be an address.
    """
    if isinstance(value, int):
        number = int(value)
    elif isinstance(value, _FunctionPointer):
        number = _ctypes_pointer(value)
    elif (pointer := _cffi_pointer(value, "function", "pointer")) is not None:
        number = pointer
    elif isinstance(attribute := getattr(value, "address", None), int):
        number = int(attribute)
    else:
        raise TypeError(
            "address must be an int, a ctypes or cffi function pointer, or an object with an "
            f"int address, not {type(value).__name__}"
        )
    if not 0 < number <= _HIGHEST_ADDRESS:
        raise ValueError(f"address must be that of a function, not {number:#x}")
    return number


def data_address(value: object) -> int | None:
    """The address of what a function gets; None for None.

    *value* is None, an int, a cffi pointer, or a ctypes pointer, array, structure or union.
    Raises TypeError for any other kind, ValueError for an int that cannot be an address.
    """
    if value is None:
        return None
    if isinstance(value, int):
        if not 0 <= value <= _HIGHEST_ADDRESS:
            raise ValueError(f"data must be an address, not {int(value):#x}")
        return int(value)
    if isinstance(value, _Pointers):
        return _ctypes_pointer(value)
    if isinstance(value, (ctypes.Array, ctypes.Structure, ctypes.Union)):
        return ctypes.addressof(value)
    pointer = _cffi_pointer(value, "pointer", "array", "function")
    if pointer is None:
        raise TypeError(
            "data must be None, an int, a cffi pointer, or a ctypes pointer, array or "
            f"structure, not {type(value).__name__}"
        )
    return pointer
