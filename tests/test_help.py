"""What `help` says of every public name: what it is, every argument, what comes back, what may be raised."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap

import pytest

import steerscope as ss
from steerscope import errors

FUNCTIONS = [name for name in ss.__all__ if inspect.isroutine(getattr(ss, name))]
CLASSES = [name for name in ss.__all__ if inspect.isclass(getattr(ss, name))]
PUBLISHED = {  # what others invented, by its number on arXiv or by name
    "CosineGate", "ControlVector", "Prompting", "Sample", "SparseAutoencoder", "Steering", "SvdAdapter",
    "eigengap", "jackknife", "logit_lens", "mantel", "pairs_needed", "style_contrasts",
}  # fmt: skip
# Objects of transformers, which has no types of its own, and what JSON may hold.
UNTYPED = re.compile(r"(dict|Mapping)\[str, Any\]|tokenizer|Scope\.(includes|given)")


def said_of(thing) -> str:
    return inspect.getdoc(thing) or ""


def raised_in(function) -> set[str]:
    """Our errors that a function raises by name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    named = {c.func.id for c in calls if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)}
    return named & set(vars(errors))


def members_of(kind):
    """The public functions and properties of a class, by name."""
    for name, member in vars(kind).items():
        function = getattr(member, "fget", getattr(member, "__func__", member))
        if inspect.isfunction(function) and not name.startswith("_"):
            yield name, function


@pytest.mark.parametrize("name", ss.__all__)
def test_help_begins_with_a_sentence_and_names_what_is_published(name):
    said = said_of(getattr(ss, name))
    assert said.splitlines()[0].endswith((".", ";", ":")), said[:80]
    assert name not in PUBLISHED or re.search(r"Sources?:|arXiv", said)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_of_a_function_says_its_arguments_what_it_returns_and_what_it_refuses(name):
    function = getattr(ss, name)
    said = said_of(function)
    signature = inspect.signature(function)
    assert [a for a in signature.parameters if f"{a}:" not in said] == []
    returned = str(signature.return_annotation)
    if "DataFrame" in returned or "Tensor" in returned or "ndarray" in returned:
        assert "Returns:" in said
    assert "Raises:" in said
    assert raised_in(function) <= set(re.findall(r"\w+Error", said))


@pytest.mark.parametrize("name", CLASSES)
def test_help_of_a_class_says_its_fields_its_methods_and_what_they_refuse(name):
    kind = getattr(ss, name)
    said = " ".join(said_of(base) for base in kind.__mro__ if base.__module__.startswith("steer"))
    if dataclasses.is_dataclass(kind):
        fields = [f.name for f in dataclasses.fields(kind) if not f.name.startswith("_")]
        assert [f for f in fields if not re.search(rf"\b{f}\b", said)] == []
    for made in ("__init__", "__post_init__"):
        function = vars(kind).get(made)
        if function is not None and not getattr(function, "__wrapped__", None):
            source = inspect.getsourcefile(function)
            refused = raised_in(function) if source and "<" not in source else set()
            assert refused <= set(re.findall(r"\w+Error", said))
    for method, function in members_of(kind):
        told = said_of(function)
        assert told, f"{name}.{method}"
        assert raised_in(function) <= set(re.findall(r"\w+Error", told)), f"{name}.{method}"


def annotations():
    """Every annotation of what a user calls or reads, with where it stands."""
    for name in FUNCTIONS:
        for part, kind in inspect.unwrap(getattr(ss, name)).__annotations__.items():
            yield f"{name}({part})", str(kind)
    for name in CLASSES:
        kind = getattr(ss, name)
        for field, of in vars(kind).get("__annotations__", {}).items():
            if not field.startswith("_"):
                yield f"{name}.{field}", str(of)
        for method, function in members_of(kind):
            for part, of in function.__annotations__.items():
                yield f"{name}.{method}({part})", str(of)


def test_no_public_name_takes_or_gives_what_a_type_checker_cannot_know():
    found = [f"{where}: {kind}" for where, kind in annotations() if re.search(r"\bAny\b", kind)]
    assert [one for one in found if not UNTYPED.search(one)] == []
    assert len(list(annotations())) > 500
