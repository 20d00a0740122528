"""What a public call was given, looked at where it fails with an error that is none of ours.

Whatever works is taken, so that nothing is refused for its type. A call that fails otherwise is told
which of its arguments is of another kind than it says; where none is, the error is ours to mend and
goes on as it is.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

from steerscope.calls.arguments import (
    all_fit,
    hint_of,
    kind_shown,
    name_of_kind,
    oddness,
    what_to_give,
)
from steerscope.errors import BadValueError, SteerscopeError, UnknownNameError

Function = TypeVar("Function", bound=Callable[..., Any])
_NOT_CALLED = {"LensModel", "Intervention", "SteerscopeError"}
_NOT_TOLD = (SteerscopeError, Warning, OSError, MemoryError, NotImplementedError)


def told(function: Function) -> Function:
    """The function, failing by an error of ours where an argument is to blame."""
    kind = getattr(function, "__wrapped__", function)
    returned = str(getattr(kind, "__annotations__", {}).get("return", ""))
    lazy = inspect.isgeneratorfunction(kind) or returned.startswith("Iterator")

    @wraps(function)
    def called(*given: Any, **named: Any) -> Any:
        # What runs only later is asked at once for what cannot be right.
        if lazy and (blamed := _blame(function, given, named, at_once=True)):
            raise BadValueError(blamed)
        try:
            return function(*given, **named)
        except _NOT_TOLD:
            raise
        except Exception as error:
            if _is_out_of_memory(error):
                raise
            if blamed := _blame(function, given, named):
                raise BadValueError(blamed) from error
            raise

    return called  # type: ignore[return-value]


def as_told(thing: Any) -> Any:
    """A public function or class that fails so; what nobody calls stays as it is."""
    if isinstance(thing, types.ModuleType) or getattr(thing, "__name__", "") in _NOT_CALLED:
        return thing
    if not isinstance(thing, type):
        return told(thing)
    _tell(thing)
    return thing


def _tell(kind: type) -> None:
    """Have a class fail so where it is made, and in its own public functions."""
    for name, member in list(vars(kind).items()):
        if name == "__new__":
            setattr(kind, name, staticmethod(told(member.__func__)))
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, classmethod | staticmethod):
            setattr(kind, name, type(member)(told(member.__func__)))
        elif inspect.isfunction(member) and not getattr(member, "__isabstractmethod__", False):
            setattr(kind, name, told(member))


def _blame(
    function: Callable[..., Any],
    given: tuple[Any, ...],
    named: Mapping[str, Any],
    *,
    at_once: bool = False,
) -> str:
    """What is wrong with an argument, in words; empty where nothing is."""
    if found := misfit(function, given, named, ("LensModel", "int") if at_once else ()):
        return found
    if at_once:
        return ""
    signature = inspect.signature(function)
    name_of = _name_of(function)
    for name, value in signature.bind(*given, **named).arguments.items():
        if odd := oddness(function, name, value):
            hint = hint_of(function, signature.parameters[name].annotation)
            return f"{name_of}: {name} is {odd}; give {what_to_give(function, name, hint)}."
    return ""


def misfit(
    function: Callable[..., Any],
    given: tuple[Any, ...],
    named: Mapping[str, Any],
    kinds: Sequence[str] = (),
) -> str:
    """Which argument is missing, unknown or of another kind than is said, in words; empty for none.

    Args:
        function: that was called, or will be.
        given: its arguments by place.
        named: those by name.
        kinds: of which alone arguments are looked at, by their names; empty for all.

    Raises:
        UnknownNameError: an argument that it does not have.
    """
    signature = inspect.signature(function)
    name_of = _name_of(function)
    try:
        bound = signature.bind(*given, **named).arguments
    except TypeError as error:
        known = [p for p in signature.parameters if p not in {"self", "cls"}]
        unknown = [name for name in named if name not in known]
        if unknown:
            raise UnknownNameError(f"argument of {name_of}", unknown[0], known) from None
        return f"{name_of}: {error}; its arguments are {', '.join(known) or 'none'}."
    hints = {name: hint_of(function, p.annotation) for name, p in signature.parameters.items()}
    for name, value in bound.items():
        if kinds and name_of_kind(hints[name]) not in kinds:
            continue
        if not all_fit(value, hints[name], signature.parameters[name]):
            return f"{name_of}: {name} is {kind_shown(value)}; give {what_to_give(function, name, hints[name])}."
    return ""


def _is_out_of_memory(error: Exception) -> bool:
    """Whether the memory of a device ran out, which torch has a RuntimeError for, and no argument is to blame."""
    torch = sys.modules.get("torch")  # what never loaded it cannot have failed in it
    lacking: type[Exception] | tuple[()] = getattr(torch, "OutOfMemoryError", ())
    return isinstance(error, lacking) or "DefaultCPUAllocator" in str(error)


def _name_of(function: Callable[..., Any]) -> str:
    return re.sub(r"\.__(init|new)__$", "", function.__qualname__)
