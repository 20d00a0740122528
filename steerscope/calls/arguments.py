"""Whether an argument is of the kind that a call says, and what to give where it is not."""

from __future__ import annotations

import inspect
import math
import re
import sys
import types
from collections.abc import Callable, Mapping
from operator import index
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

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
_MANY = 100  # members of a list that are looked at


class _PublicNames(dict[str, Any]):
    """The public names, for annotations whose own module imports them for type checkers alone."""

    def __missing__(self, name: str) -> Any:
        package = sys.modules["steerscope"]
        if name not in package.__all__:
            raise KeyError(name)
        return getattr(package, name)


def hint_of(function: Callable[..., Any], annotation: Any) -> Any:
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


def all_fit(value: Any, hint: Any, parameter: inspect.Parameter) -> bool:
    """Whether an argument, or each of several, is of its kind; its default always is."""
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


def oddness(function: Callable[..., Any], name: str, value: Any) -> str:
    """What may be wrong with an argument of the right kind, in words; empty for nothing.

    Nothing in it, no number, or a whole number below 0 or beyond 32 bits, or 0 where the default is
    at least 1. A quantity, such as a dose, may be of either sign and below 1, as may a whole number
    whose help says so, and a default is never to blame.
    """
    parameter = inspect.signature(function).parameters[name]
    scalar = isinstance(value, str | int | float) and type(value) is type(parameter.default)
    if (
        isinstance(value, bool)
        or value is parameter.default
        or (scalar and value == parameter.default)
    ):
        return ""
    if not isinstance(value, int | float):
        return f"empty ({value!r:.20})" if _is_empty(value) else ""
    if math.isnan(value) or math.isinf(value):
        return f"{value}, which is no number"
    if _fits(0.5, hint_of(function, parameter.annotation)) or _may_be(function, parameter, value):
        return ""
    return f"{value}"


def _may_be(function: Callable[..., Any], parameter: inspect.Parameter, value: float) -> bool:
    """Whether a whole number is one that an argument may well have, by its default and its help."""
    usual, helped = parameter.default, _help_of(function, parameter.name)
    if value == 0:
        counts = isinstance(usual, int) and usual > 0
        return not counts or re.search(r"\b0\b", helped) is not None
    return 0 < value < 2**31 or (value < 0 and bool(re.search(r"negative|-[0-9]", helped)))


def _is_empty(value: Any) -> bool:
    try:
        return len(value) == 0
    except TypeError:  # of a single number, such as a tensor without dimensions, as well
        return False


def name_of_kind(hint: Any) -> str:
    """The name of a kind; empty where it has none."""
    return getattr(hint, "__name__", "")


def kind_shown(value: Any) -> str:
    """Of what type a value is, and the beginning of it."""
    shown = "" if type(value).__repr__ is object.__repr__ else f" {value!r:.40}".split("\n")[0]
    return (
        f"of the type {type(value).__name__}:{shown}"
        if shown
        else f"of the type {type(value).__name__}"
    )


def what_to_give(function: Callable[..., Any], name: str, hint: Any) -> str:
    """What to give instead: what its help says, its kind, and what makes one of that kind.

    The help of an argument goes on from its name (`seed: of the resamples`), so it is quoted with it
    unless it names the thing itself (`the coefficient`).
    """
    annotation = inspect.signature(function).parameters[name].annotation
    said = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", str(annotation))
    )
    kinds = {*re.findall(r"\w+", said), *(name_of_kind(part) for part in (hint, *get_args(hint)))}
    made = [f"{kind} from {source}" for kind, source in _FROM.items() if kind in kinds]
    helped = _help_of(function, name)
    if re.match("(a|an|the) ", helped):
        return f"{helped} ({'; '.join([said, *made])})"
    quoted = [f"{name}: {helped}"] if helped else []
    return f"another value ({'; '.join([said, *made, *quoted])})"


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
