"""What `help` says of every public name: what it is, every argument, what may be raised."""

from __future__ import annotations

import inspect

import pytest

import steerscope as ss


@pytest.mark.parametrize("name", ss.__all__)
def test_help_says_what_a_name_is_and_what_its_arguments_are(name):
    thing = getattr(ss, name)
    said = inspect.getdoc(thing) or ""
    assert said.splitlines()[0].endswith((".", ";", ":")), said[:80]
    if inspect.isfunction(thing):
        arguments = list(inspect.signature(thing).parameters)
        if len(arguments) > 2:
            assert [a for a in arguments if f"{a}:" not in said] == []
