"""A claim in words with the test that decides it, stated before anything is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from steerscope.claims.measures import check_measure
from steerscope.errors import ExperimentError, SteerscopeError
from steerscope.experiments import bundled_experiments
from steerscope.texts.bundled import data_folder
from steerscope.texts.yaml_files import read_yaml

FILE = "claims.yaml"


def _some(claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    if not claims:
        raise ValueError("there is no claim; give at least one")
    return claims


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Test(_Part):
    """What decides a claim.

    Attributes:
        experiment: the experiment whose runs are the evidence: a bundled name, or a file, beside the
            file of the claims if its path is relative.
        measure: a name in `measures.MEASURES`.
        settings: of the measure.
        direction: where the measured number must lie if the claim holds: `above` or `below` the
            threshold, or `within` it of zero.
        threshold: in the unit of the measure.
        by: `interval`, the 95 % interval against the threshold with a p that bears it out, or `p`, of the number being the
            threshold (or of its lying no nearer to zero, for `within`), and the side it lies on.
        level: that p must be below.
    """

    __test__ = False  # no test of pytest's

    experiment: str
    measure: str
    settings: dict[str, Any] = {}
    direction: Literal["above", "below", "within"]
    threshold: float
    by: Literal["interval", "p"] = "interval"
    level: Annotated[float, Field(gt=0, lt=1)] = 0.05

    @model_validator(mode="after")
    def _can_decide(self) -> Test:
        try:
            check_measure(self.measure, self.settings)
        except SteerscopeError as error:
            raise ValueError(str(error)) from None
        if self.direction == "within" and not self.threshold > 0:
            raise ValueError("a claim `within` a threshold needs one above 0")
        return self

    def __str__(self) -> str:
        settings = ", ".join(f"{k} {v}" for k, v in self.settings.items())
        what = f"{self.measure.replace('_', ' ')} of {self.experiment}"
        what += f" ({settings})" if settings else ""
        by = ("95 % interval and " if self.by == "interval" else "") + f"p < {self.level:g}"
        return f"{what} {self.direction} {self.threshold:g}, by {by}"


class Claim(_Part):
    """What somebody holds to be so.

    Attributes:
        name: short.
        words: the claim, as it was published.
        source: where.
        test: what decides it here; None if nothing can yet.
        waits_for: what is missing for a test.
        tested_first: whether the test is known to have been written before any run that decides it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    words: str
    source: str
    test: Test | None = None
    waits_for: str | None = None
    tested_first: bool = False

    @model_validator(mode="after")
    def _decidable_or_waiting(self) -> Claim:
        if (self.test is None) == (self.waits_for is None):
            raise ValueError("give either a test or what it waits_for")
        return self


class _File(_Part):
    claims: Annotated[tuple[Claim, ...], AfterValidator(_some)]


def claims_folder() -> Path:
    """Folder of the bundled claims and their evidence."""
    return data_folder() / "claims"


def bundled_claims() -> dict[str, Path]:
    """The bundled files of claims by name: those of the bundled world, then of other models."""
    files = sorted(claims_folder().glob("*.yaml"), key=lambda f: (f.name != FILE, f.name))
    return {f.stem: f for f in files}


def load_claims(path: str | Path | None = None) -> tuple[Claim, ...]:
    """The claims of a file, or of a bundled one by its name; by default those of the bundled world.

    Args:
        path: a YAML file of claims; None for the bundled one.

    Raises:
        ExperimentError: no such file, or one that is not as it must be; the message has the line.
    """
    path = bundled_claims().get(str(path), Path(path)) if path else claims_folder() / FILE
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(f"cannot read {path} ({error}); give a file of claims.") from None
    data, lines = read_yaml(text, str(path), ExperimentError)
    try:
        claims = _File.model_validate(data).claims
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"]
        line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 1)
        said = first["msg"].removeprefix("Value error, ").rstrip(".")
        name = ".".join(str(p) for p in place if not isinstance(p, int))
        raise ExperimentError(f"{path}, line {line}: {name}: {said}.") from None
    names = [c.name for c in claims]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ExperimentError(f"{path} has two claims named {', '.join(twice)}; rename one.")
    return tuple(_beside(path, claim) for claim in claims)


def _beside(path: Path, claim: Claim) -> Claim:
    """The claim with the file of its experiment found beside that of the claims."""
    if claim.test is None:
        return claim
    name = claim.test.experiment
    for file in (path.parent / name, path.parent / f"{name}.yaml"):
        if name not in bundled_experiments() and file.is_file():
            test = claim.test.model_copy(update={"experiment": str(file)})
            return claim.model_copy(update={"test": test})
    return claim
