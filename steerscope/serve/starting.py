"""What a server begins with: its models, and the vectors that are given or found for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from steerscope.directions import import_directions
from steerscope.directions.choosing import of_method
from steerscope.directions.finding import find_directions
from steerscope.engine.gathering import gather
from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.sae import load_sae
from steerscope.serve.shelf import Shelf
from steerscope.sites import Site
from steerscope.texts.bundled import DEFAULT_MODEL, bundled_autoencoders
from steerscope.texts.contrasts import load_contrasts

# Of the bundled model, which writes joyful stories with it: one natural unit in the middle of its blocks.
BUNDLED_FINDS = {DEFAULT_MODEL: "joyful=mood@resid_post.3"}
_FIND = re.compile(r"(?P<name>[^=]+)=(?P<contrasts>.+)@(?P<site>[a-z_]+\.[0-9]+)")


def usual_finds(
    model: str, files: Sequence[str] | None, found: Sequence[str] | None
) -> Sequence[str]:
    """What is found at the start: what is asked for, else for the bundled model a vector of its own."""
    if found is not None or files:
        return found or []
    return [BUNDLED_FINDS[model]] if model in BUNDLED_FINDS else []


def short_name(model: str) -> str:
    """How requests call a model: the last part of a folder, else the name itself."""
    path = Path(model)
    return path.resolve().name if path.exists() else model


def named_models(models: Sequence[str]) -> dict[str, str]:
    """Models by the name that requests use.

    Raises:
        BadValueError: two have the same name, or one that cannot stand before a vector.
    """
    found: dict[str, str] = {}
    for model in models:
        name = short_name(model)
        if name in found:
            raise BadValueError(f"two models are called {name!r}; rename one of the folders.")
        if "+" in name:
            raise BadValueError(f"the model {name!r} has a + in its name, which begins a vector.")
        found[name] = model
    return found


def read_named_file(given: str) -> tuple[str, str, str]:
    """Name, method and path of a vector file written as `NAME=METHOD@FILE`, each of the first two optional.

    The method is empty where none is named, for all that the file holds.

    Raises:
        BadValueError: the name or the method is empty.
    """
    name, sign, rest = given.partition("=")
    rest = rest if sign else given
    method, at, path = ("", "", rest) if Path(rest).exists() else rest.partition("@")
    if not at:
        method, path = "", rest
    if (sign and not name) or (at and not method) or not path:
        raise BadValueError(
            f"cannot read the vector {given!r}; write NAME=FILE, or NAME=METHOD@FILE."
        )
    return name if sign else re.sub(r"[^A-Za-z0-9_.-]", "-", Path(path).stem), method, path


def add_files(shelf: Shelf, model: LensModel, files: Sequence[str]) -> None:
    """Put the vectors of files on the shelf.

    Raises:
        SteerscopeError: a file that cannot be read, a method that it lacks, or a name that is taken.
    """
    for given in files:
        name, method, path = read_named_file(given)
        found = import_directions(path, model)
        shelf.put(name, of_method(found, method) if method else found)


def add_found(
    shelf: Shelf, model: LensModel, wanted: Sequence[str], progress: Track = silent
) -> None:
    """Find the vectors written as `NAME=CONTRASTS@SITE`, at every layer of the stream of the site.

    Raises:
        BadValueError: one that is not written so.
        SteerscopeError: it cannot be found.
    """
    for given in wanted:
        read = _FIND.fullmatch(given)
        if read is None:
            raise BadValueError(
                f"cannot read {given!r}; write NAME=CONTRASTS@SITE, such as joyful=mood@resid_post.3."
            )
        site = Site.parse(read["site"])
        model.check(site)
        sites = [Site(site.stream, layer) for layer in range(model.shape.n_layers)]
        pairs = load_contrasts(read["contrasts"])
        there = [s for s in sites if model.has(s)]
        found = gather(model, pairs, there, ["mean_diff"], progress=progress)
        shelf.put(read["name"], [*find_directions("mean_diff", found).values()], [site])


def told_by(found: Sequence[str]) -> str | None:
    """The contrast set of the first vector that is found at the start, which says what texts should show."""
    read = _FIND.fullmatch(found[0]) if found else None
    return None if read is None else read["contrasts"]


def add_autoencoder(shelf: Shelf, model: LensModel, given: str | None, name: str) -> None:
    """Have the features of an autoencoder steered: the one that is given, else the model's bundled one.

    Raises:
        SteerscopeError: it cannot be loaded, or is of another model.
    """
    wanted = given or (name if name in bundled_autoencoders() else None)
    if wanted is not None:
        shelf.autoencoder = wanted, load_sae(wanted, model=model)


def loaders(
    models: dict[str, str], load: Callable[[str], LensModel], ready: dict[str, LensModel]
) -> dict[str, Callable[[], LensModel]]:
    """What loads each model when it is asked for; those that are ready are handed out first."""

    def loading(name: str) -> LensModel:
        return ready.pop(name, None) or load(models[name])

    return {name: lambda name=name: loading(name) for name in models}  # type: ignore[misc]
