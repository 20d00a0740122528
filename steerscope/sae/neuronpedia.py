"""Neuronpedia: the address of a released feature, and what an export says about it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from steerscope.errors import AutoencoderFileError, BadValueError
from steerscope.sae.examples import Example

_ADDRESS = "https://www.neuronpedia.org"


class _Loose(BaseModel):
    """Exports hold many more fields than are of use here."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Explanation(_Loose):
    """What somebody, or a model, says that a feature means."""

    description: str
    author: str | None = Field(default=None, alias="explanationModelName")


class Activation(_Loose):
    """A text in which a feature speaks, with its code at every token."""

    tokens: tuple[str, ...]
    values: tuple[float, ...]


class NeuronpediaFeature(_Loose):
    """A feature as Neuronpedia knows it.

    Attributes:
        model: name of the model there.
        source: name of the autoencoder there, such as `6-res-jb`.
        index: number of the feature.
        explanations: what it is said to mean.
        activations: texts in which it speaks.
        speaks_for: tokens with the largest logits.
        speaks_against: tokens with the smallest.
    """

    model: str = Field(alias="modelId")
    source: str = Field(alias="layer")
    index: int
    explanations: tuple[Explanation, ...] = ()
    activations: tuple[Activation, ...] = ()
    speaks_for: tuple[str, ...] = Field(default=(), alias="pos_str")
    speaks_against: tuple[str, ...] = Field(default=(), alias="neg_str")

    @property
    def link(self) -> str:
        """Address of its page."""
        return neuronpedia_link(f"{self.model}/{self.source}", self.index)

    def examples(self) -> tuple[Example, ...]:
        """Its activations as examples of ours, the loudest first; texts in which it is silent left out."""
        found = [
            Example(a.tokens, a.values, a.values.index(max(a.values)), number)
            for number, a in enumerate(self.activations)
            if a.values and max(a.values) > 0
        ]
        return tuple(sorted(found, key=lambda e: -max(e.codes)))


def neuronpedia_link(neuronpedia_id: str, feature: int) -> str:
    """Address of a feature's page.

    Args:
        neuronpedia_id: MODEL/SOURCE, as sae-lens' registry has it for released autoencoders.
        feature: its number.

    Raises:
        BadValueError: the id is not MODEL/SOURCE, or the number is negative.
    """
    parts = neuronpedia_id.split("/")
    if len(parts) != 2 or not all(parts) or feature < 0:
        raise BadValueError(
            f"{neuronpedia_id!r}, feature {feature}: write the id as MODEL/SOURCE, such as "
            "gpt2-small/6-res-jb; features count from 0."
        )
    return "/".join([_ADDRESS, *(quote(p, safe="-._") for p in parts), str(feature)])


def read_neuronpedia(path: str | Path) -> tuple[NeuronpediaFeature, ...]:
    """Features of a JSON export: one feature, a list of them, or one to a line.

    Raises:
        AutoencoderFileError: the file is missing or no such export; the message has the place.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AutoencoderFileError(f"cannot read {path}: {error}.") from None
    pieces = [text] if text.startswith("[") or "\n" not in text else _pieces(text)
    found: list[NeuronpediaFeature] = []
    for number, piece in enumerate(pieces, start=1):
        reader = TypeAdapter(
            tuple[NeuronpediaFeature, ...] if piece.startswith("[") else NeuronpediaFeature
        )
        try:
            read = reader.validate_json(piece)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise AutoencoderFileError(
                f"{path}, piece {number} is no Neuronpedia export: {place}: {first['msg']}."
            ) from None
        found += read if isinstance(read, tuple) else [read]
    for feature in found:
        for a in feature.activations:
            if len(a.tokens) != len(a.values):
                raise AutoencoderFileError(
                    f"{path}: feature {feature.index} has {len(a.values)} values for "
                    f"{len(a.tokens)} tokens."
                )
    return tuple(found)


def _pieces(text: str) -> list[str]:
    """One JSON object spread over lines, or one object on each line, which ends at a newline only."""
    lines = [line for line in text.split("\n") if line.strip()]
    return lines if all(line.lstrip().startswith("{") for line in lines) else [text]
