# SPDX-License-Identifier: GPL-2.0-only
"""Addresses of machine code and of data, out of what Python people hold them in.

A worker calls ``void (*)(void *)``, without the GIL. Called so, a function of another signature
would read what is not there, or crash: where the type of what holds it tells its signature, that
is checked. Which pointer the argument is does not matter, as long as it is one to data.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["callable_at", "code_address", "data_address"]

_FunctionPointer: Any = ctypes._CFuncPtr  # type: ignore[attr-defined]
_SimpleData: Any = ctypes._SimpleCData
_Pointers = (ctypes._Pointer, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_wchar_p)
_HIGHEST_ADDRESS = 2 ** (8 * ctypes.sizeof(ctypes.c_void_p)) - 1
_NEEDS_THE_GIL = 0x4  # of _flags_: what PyDLL and PYFUNCTYPE make


def _check(given: str, returns: bool, pointers: Iterable[bool] | None) -> None:
    """Raise TypeError for a function that is not ``void (*)(void *)``.

    *given* is how to write its type, *returns* whether it returns anything, *pointers* whether
    each argument is a pointer to data; None: nobody has said which it takes.
    """
    if returns or (pointers is not None and list(pointers) != [True]):
        raise TypeError(f"the function must be void (*)(void *), not {given}")


# --- cffi --------------------------------------------------------------------------------------


def _cffi_pointer(value: object, *kinds: str) -> int | None:
    """The address in a cffi pointer of one of these kinds; None: it is none."""
    cffi = sys.modules.get("_cffi_backend")  # who has such an object has imported it
    if cffi is None or not isinstance(value, cffi._CDataBase):
        return None
    ffi = cffi.FFI()
    return int(ffi.cast("uintptr_t", value)) if ffi.typeof(value).kind in kinds else None


def _cffi_function(value: object) -> int | None:
    cffi = sys.modules.get("_cffi_backend")
    if cffi is None:
        return None
    ffi = cffi.FFI()
    library = getattr(value, "__self__", None)
    if isinstance(library, cffi.Lib) and callable(value):
        value = ffi.addressof(library, value.__name__)  # type: ignore[attr-defined]
    address = _cffi_pointer(value, "function", "pointer")
    if address is None:
        return None
    kind = ffi.typeof(value)
    if kind.kind == "pointer":
        if kind.item.kind != "void":
            _check(kind.cname, True, None)
        return address
    pointers = [argument.kind == "pointer" for argument in kind.args]
    _check(kind.cname, kind.result.kind != "void" or kind.ellipsis, pointers)
    return address


# --- ctypes ------------------------------------------------------------------------------------


def _ctypes_pointer(value: Any) -> int:
    return ctypes.cast(value, ctypes.c_void_p).value or 0


def _is_ctypes_pointer(kind: object) -> bool:
    """Can an argument of that type be a pointer to data?"""
    if not isinstance(kind, type):
        return True  # an adapter of the user's, which says nothing
    if issubclass(kind, (*_Pointers, ctypes.Array)):
        return True
    return not issubclass(kind, (_SimpleData, ctypes.Structure, ctypes.Union, _FunctionPointer))


def _ctypes_name(kind: object) -> str:
    return getattr(kind, "__name__", None) or repr(kind)


def _ctypes_function(value: Any) -> int | None:
    if not isinstance(value, _FunctionPointer):
        return None
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    arguments, result = value.argtypes, value.restype
    names = "..." if arguments is None else ", ".join(map(_ctypes_name, arguments))
    given = f"{'void' if result is None else _ctypes_name(result)} (*)({names})"
    if getattr(kind, "_flags_", 0) & _NEEDS_THE_GIL:
        raise TypeError(f"the function must do without the GIL, which this {given} needs")
    # A function of a library seems to return an int until someone sets restype.
    told = hasattr(kind, "_argtypes_") or result is not getattr(kind, "_restype_", None)
    pointers = None if arguments is None else map(_is_ctypes_pointer, arguments)
    _check(given, told and result is not None, pointers)
    return _ctypes_pointer(value)


# --- Cython, numba, and others -----------------------------------------------------------------


def _capsule_function(value: object) -> int | None:
    """Of a capsule in the ``__pyx_capi__`` of a Cython module, whose name is the C signature."""
    if type(value).__name__ != "PyCapsule" or type(value).__module__ != "builtins":
        return None
    python = ctypes.pythonapi
    name_of: Any = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(
        ("PyCapsule_GetName", python)
    )
    pointer_of: Any = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", python)
    )
    name = name_of(value)
    signature = (name or b"").decode("utf-8", "replace")
    result, opened, rest = signature.partition("(")
    arguments, closed, after = rest.rpartition(")")
    if not (opened and closed) or after:
        raise TypeError(f"the capsule {signature!r} does not hold a function")
    # The comma of several arguments and the parentheses of a function end in no pointer.
    argument = arguments.strip()
    is_pointer = argument.endswith("*") and not set(argument) & set(",()")
    if argument.removesuffix("*").split() == ["PyObject"]:
        is_pointer = False
    _check(signature, result.strip() != "void", [is_pointer])
    address: int | None = pointer_of(value, name)
    return address or 0


def _object_with_address(value: object) -> int | None:
    """What numba makes of a function, and whatever else has an int ``address``."""
    address = getattr(value, "address", None)
    if not isinstance(address, int):
        return None
    signature = getattr(value, "_sig", None)
    if signature is not None:
        pointers = [str(argument).endswith("*") for argument in signature.args]
        _check(str(signature), str(signature.return_type) not in ("none", "void"), pointers)
    return int(address)


def code_address(value: object) -> int:
    """The address of a function that is called as ``void (*)(void *)``, without the GIL.

    *value* is an int, a ctypes or cffi function pointer, a function of a cffi library, a capsule
    of a Cython module, or an object whose ``address`` is an int, as a numba ``cfunc`` has.

    Raises TypeError for any other kind and, where the type tells, for a function of another
    signature or one that needs the GIL; ValueError for an int that cannot be an address.
    """
    number = int(value) if isinstance(value, int) else None
    for read in (_ctypes_function, _cffi_function, _capsule_function, _object_with_address):
        if number is None:
            number = read(value)
    if number is None:
        raise TypeError(
            "address must be an int, a ctypes or cffi function pointer, a Cython capsule, or an "
            f"object with an int address, not {type(value).__name__}"
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
        return ctypes.addressof(value)  # pyright: ignore[reportUnknownArgumentType]
    pointer = _cffi_pointer(value, "pointer", "array", "function")
    if pointer is None:
        raise TypeError(
            "data must be None, an int, a cffi pointer, or a ctypes pointer, array or "
            f"structure, not {type(value).__name__}"
        )
    return pointer


def callable_at(address: int) -> Callable[[int | None], None]:
    """What calls the function at an address, without the GIL."""
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
