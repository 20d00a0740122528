"""The directions of a vector file of any kind, all of them or those at chosen sites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from steerscope.directions.direction import Direction
from steerscope.directions.imports import import_directions
from steerscope.directions.imports.lengths import NEUTRAL_PROMPTS
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.models.chat_templates import texts_in_chat
from steerscope.models.lens_model import LensModel
from steerscope.sites import Site
from steerscope.texts.chats import Chat
from steerscope.texts.contrasts import load_prompts

_SHOWN = 3  # of the directions at a site, where all cannot be told


def vectors_of_file(
    path: str | Path, model: LensModel, prompts: str | None = None, chat: Chat | None = None
) -> list[Direction]:
    """The directions of a vector file of any kind, lengths measured on a prompt set if need be."""
    named = None if prompts is None else [p.text for p in load_prompts(prompts).prompts]
    texts = texts_in_chat(model, named or NEUTRAL_PROMPTS, chat)
    return import_directions(path, model, prompts=texts)


def one_of_each_site(
    path: str | Path, sites: Sequence[str] | None, model: LensModel
) -> list[Direction]:
    """The directions of a vector file at these sites; without any, all, which may then be one each.

    Args:
        path: the file.
        sites: each as `resid_post.4`, or where there are several directions as `mean_diff@resid_post.4`,
            which may end in the seed (`random@resid_post.4#1`); None for all in the file.
        model: has the sites.

    Raises:
        UnknownNameError: the file has none at a site, or none of that method there.
        BadValueError: it has several at one, and none was chosen.
    """
    directions = vectors_of_file(path, model)
    if sites:
        found = [_named(path, directions, name, model) for name in sites]
        return list({direction.label: direction for direction in found}.values())
    by_site: dict[str, list[Direction]] = {}
    for direction in directions:
        by_site.setdefault(str(direction.site), []).append(direction)
    for site, there in by_site.items():
        if len(there) > 1:
            alone = sorted(name for name, found in by_site.items() if len(found) == 1)
            others = f", or a site that has one: {', '.join(alone)}" if alone else ""
            raise BadValueError(
                f"{path} holds {len(there)} directions at {site}, so it is no control vector as a "
                f"whole; choose with --site, once or again, such as {_labels(there)}{others}."
            )
    return directions


def of_method(directions: Sequence[Direction], method: str) -> list[Direction]:
    """The directions of one method, which may end in the seed, such as `random#1`.

    Raises:
        UnknownNameError: there is none; the message lists the methods that are there.
    """
    found = [d for d in directions if method in {d.method, f"{d.method}#{d.provenance.seed}"}]
    if not found:
        raise UnknownNameError("method in this vector file", method, {d.method for d in directions})
    return found


def _named(
    path: str | Path, directions: Sequence[Direction], name: str, model: LensModel
) -> Direction:
    """The one direction at a site, or of a method at a site."""
    method, at, place = name.rpartition("@")
    place, _, seed = place.partition("#") if at else (place, "", "")
    site = Site.parse(place)
    model.check_module(site)
    there = [d for d in directions if str(d.site) == str(site)]
    if not there:
        known = {str(d.site) for d in directions}
        raise UnknownNameError("site in this vector file", site, known)
    wanted = f"{method}@{site}" + (f"#{seed}" if seed else "")
    found = [d for d in there if d.label == wanted] or [
        d for d in there if not at or (d.method == method and not seed)
    ]
    if not found:
        raise UnknownNameError("direction in this vector file", wanted, [d.label for d in there])
    if len(found) > 1:
        raise BadValueError(
            f"{path} holds {len(found)} directions at {site}; choose one with --site, such as "
            f"{_labels(found)}."
        )
    return found[0]


def _labels(directions: Sequence[Direction]) -> str:
    """How to name the first few of them."""
    return " or ".join(d.label for d in directions[:_SHOWN])
