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

    Raises:
        UnknownNameError: the file has none at a site.
        BadValueError: it has several at one, and none was chosen.
    """
    found: dict[str, list[Direction]] = {}
    for direction in vectors_of_file(path, model):
        found.setdefault(str(direction.site), []).append(direction)
    if sites:
        places = [Site.parse(site) for site in sites]
        for place in places:
            model.check_module(place)
        wanted = list(dict.fromkeys(map(str, places)))
        for site in wanted:
            if site not in found:
                raise UnknownNameError("site in this vector file", site, found)
        return [found[site][0] for site in wanted]
    crowded = [site for site, there in found.items() if len(there) > 1]
    if len(found) > 1 and crowded:
        raise BadValueError(
            f"{path} holds {len(found[crowded[0]])} directions at {crowded[0]}, so it is no control "
            f"vector as a whole; choose with --site, once or again, of {', '.join(sorted(found))}."
        )
    return [there[0] for there in found.values()]
