"""What a public call was given, looked at where it fails with an error that is none of ours.

Whatever works is taken, so that nothing is refused for its type. A call that fails otherwise is told
which of its arguments is of another kind than it says; where none is, the error is ours to mend and
goes on as it is.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
import types
from collections.abc import Callable, Mapping
from functools import wraps
from operator import index
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from steerscope.errors import BadValueError, SteerscopeError, UnknownNameError

Function = TypeVar("Function", bound=Callable[..., Any])
_FROM = {
    "LensModel": "load_model",
    "Direction": "find_direction or load_directions",
    "Contrast": "extract",
    "ContrastSet": "load_contrasts",
    "PromptSet": "load_prompts",
    "Run": "Run.open",
    "SparseAutoencoder": "load_sae",
    "HeadSpectra": "eigengap",
    "Experiment": "load_experiment",
    "Style": "find_style",
}
_NOT_CALLED = {"LensModel", "Intervention", "SteerscopeError"}
_MANY = 100  # members of a list that are looked at
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
    signature = inspect.signature(function)
    name_of = re.sub(r"\.__(init|new)__$", "", function.__qualname__)
    try:
        bound = signature.bind(*given, **named).arguments
    except TypeError as error:
        known = [p for p in signature.parameters if p not in {"self", "cls"}]
        unknown = [name for name in named if name not in known]
        if unknown:
            raise UnknownNameError(f"argument of {name_of}", unknown[0], known) from None
        return f"{name_of}: {error}; its arguments are {', '.join(known) or 'none'}."
    hints = {name: _hint(function, p.annotation) for name, p in signature.parameters.items()}
    for name, value in bound.items():
        if at_once and _named(hints[name]) not in {"LensModel", "int"}:
            continue
        if not _all_fit(value, hints[name], signature.parameters[name]):
            return (
                f"{name_of}: {name} is {_shown(value)}; give {_words(function, name, hints[name])}."
            )
    for name, value in bound.items():
        if not at_once and (odd := _odd(value)):
            return f"{name_of}: {name} is {odd}; give {_words(function, name, hints[name])}."
    return ""


class _PublicNames(dict[str, Any]):
    """The public names, for annotations whose own module imports them for type checkers alone."""

    def __missing__(self, name: str) -> Any:
        package = sys.modules[__package__]
        if name not in package.__all__:
            raise KeyError(name)
        return getattr(package, name)


def _hint(function: Callable[..., Any], annotation: Any) -> Any:
    """What an annotation stands for; Any where it cannot be known."""
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    try:
        seen = dict(getattr(inspect.unwrap(function), "__globals__", {}))
        return eval(annotation, seen, _PublicNames())
    except Exception:  # a name that is there for type checkers alone
        return Any


def _all_fit(value: Any, hint: Any, parameter: inspect.Parameter) -> bool:
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return all(_fits(one, hint) for one in value)
    return value is parameter.default or _fits(value, hint)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value may be what a hint says; true where that cannot be told."""
    origin, parts = get_origin(hint), get_args(hint)
    if isinstance(hint, TypeVar):
        return not hint.__constraints__ or any(_fits(value, part) for part in hint.__constraints__)
    if origin is Annotated:
        return _fits(value, parts[0])
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts if isinstance(value, str | int) else False
    if hint is None or hint is type(None):
        return value is None
    if origin is not None:
        return _fits_within(value, origin, parts)
    if not isinstance(hint, type) or hint is object:
        return True
    if hint in (int, float):
        return _is_number(value, whole=hint is int)
    try:
        return isinstance(value, hint)
    except TypeError:  # a protocol that cannot be asked
        return all(hasattr(value, name) for name in getattr(hint, "__protocol_attrs__", ()))


def _is_number(value: Any, *, whole: bool) -> bool:
    if isinstance(value, str | bytes | bool):
        return False
    try:
        index(value) if whole else float(value)
    except (TypeError, ValueError, RuntimeError):  # of an array of several as well
        return False
    return True


def _fits_within(value: Any, origin: Any, parts: tuple[Any, ...]) -> bool:
    if origin is type or not isinstance(origin, type):
        return True
    if isinstance(value, str | bytes) or not isinstance(value, origin):
        return False
    if isinstance(value, Mapping):
        return all(_fits(v, parts[-1]) for v in list(value.values())[:_MANY])
    if isinstance(value, list | tuple):
        if origin is tuple and Ellipsis not in parts:
            return len(value) == len(parts) and all(map(_fits, value, parts))
        return all(_fits(one, parts[0]) for one in value[:_MANY])
    return True


def _odd(value: Any) -> str:
    """What may be wrong with a value of the right kind: nothing in it, below 1, or no number."""
    if hasattr(value, "__len__") and not len(value):
        return f"empty ({value!r:.20})"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if math.isnan(value) or math.isinf(value):
            return f"{value}, which is no number"
        if value < 1 or value >= 2**31:
            return f"{value}"
    return ""


def _named(hint: Any) -> str:
    return getattr(hint, "__name__", "")


def _shown(value: Any) -> str:
    shown = "" if type(value).__repr__ is object.__repr__ else f" {value!r:.40}".split("\n")[0]
    return (
        f"of the type {type(value).__name__}:{shown}"
        if shown
        else f"of the type {type(value).__name__}"
    )


def _words(function: Callable[..., Any], name: str, hint: Any) -> str:
    """What to give instead: what its help says, its kind, and what makes one of that kind."""
    annotation = inspect.signature(function).parameters[name].annotation
    said = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", str(annotation))
    )
    kinds = {*re.findall(r"\w+", said), *(_named(part) for part in (hint, *get_args(hint)))}
    made = [f"{kind} from {source}" for kind, source in _FROM.items() if kind in kinds]
    helped = _help_of(function, name)
    return (f"{helped} " if helped else "") + f"({'; '.join([said, *made])})"


def _help_of(function: Callable[..., Any], name: str) -> str:
    """What the documentation of a function, or of what it makes, says of an argument."""
    owner = function.__qualname__.rpartition(".")[0]
    maker = getattr(inspect.unwrap(function), "__globals__", {}).get(owner)
    for thing in (function, maker):
        found = re.search(
            rf"^( *){name}: (.*(?:\n\1 +.*)*)", inspect.getdoc(thing) or "", re.MULTILINE
        )
        if found and thing is not None:
            return " ".join(found[2].split()).rstrip(".")
    return ""
