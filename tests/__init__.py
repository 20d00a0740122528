"""The checker of shapes and types that the tests run the package under."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

# An int where a float is annotated is right, as PEP 484 has it.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
