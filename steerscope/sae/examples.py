"""Where features speak loudest, as texts with the tokens coloured, on a page that opens offline."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.runs.outputs import check_file
from steerscope.runs.whole_files import write_whole
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.files import check_fits
from steerscope.sae.stream import activations_of, token_ids
from steerscope.sae.vectors import check_features


@dataclass(frozen=True)
class Example:
    """A stretch of text around a token at which a feature speaks.

    Attributes:
        tokens: as text, leading spaces shown.
        codes: of the feature at each of them.
        peak: place of the loudest.
        source: number of the text.
    """

    tokens: tuple[str, ...]
    codes: tuple[float, ...]
    peak: int
    source: int


@torch.no_grad()
def top_examples(
    model: LensModel,
    sae: SparseAutoencoder,
    texts: Sequence[TextOrIds],
    features: Sequence[int],
    *,
    count: int = 8,
    window: int = 12,
) -> dict[int, tuple[Example, ...]]:
    """For each feature the texts in which it speaks loudest, the loudest first, once per text.

    Args:
        model: the model.
        sae: the autoencoder.
        texts: to look in; position 0 is left out.
        features: which; one that never speaks has no example.
        count: examples per feature at most.
        window: tokens shown before and after the loudest.

    Raises:
        BadValueError: no such feature, no text, or a count or window below 1.
        AutoencoderMismatchError: the autoencoder is for another model.
    """
    check_fits(sae, model=model)
    check_features(sae, list(features))
    if min(count, window) < 1:
        raise BadValueError(f"{count} examples of {window} tokens; ask for at least 1 of each.")
    rows = token_ids(model, texts)
    found: dict[int, list[tuple[float, Example]]] = {feature: [] for feature in features}
    for indices, x, kept in activations_of(model, sae.site, rows):
        codes = (sae.encode(x)[..., list(features)] * kept[..., None].to(x.dtype)).cpu()
        loudest = codes.max(dim=1)
        for place, number in enumerate(features):
            for row in torch.nonzero(loudest.values[:, place] > 0).flatten().tolist():
                source, peak = indices[row], int(loudest.indices[row, place])
                start, stop = max(0, peak - window), peak + window + 1
                shown = rows[source][start:stop]
                example = Example(
                    tuple(model.token_label(t) for t in shown),
                    tuple(codes[row, start:stop, place].tolist()),
                    peak - start,
                    source,
                )
                found[number].append((-float(loudest.values[row, place]), example))
            found[number] = sorted(found[number], key=lambda f: (f[0], f[1].source))[:count]
    return {feature: tuple(e for _, e in mine) for feature, mine in found.items()}


def examples_page(
    examples: Mapping[int, Sequence[Example]],
    *,
    title: str,
    notes: Mapping[int, str] | None = None,
    links: Mapping[int, str] | None = None,
) -> str:
    """A page of examples: the redder a token, the louder the feature there. All text is escaped.

    Args:
        examples: as `top_examples` returns them.
        title: of the page.
        notes: a line about a feature, such as its scores or what it speaks for.
        links: address of a feature elsewhere, such as `neuronpedia_link` gives.
    """
    parts = []
    for feature, mine in examples.items():
        link = (links or {}).get(feature)
        safe = link is not None and link.startswith("https://")
        head = (
            f'<a href="{html.escape(link or "")}">feature {feature}</a>'
            if safe
            else f"feature {feature}"
        )
        note = html.escape((notes or {}).get(feature, ""))
        lines = "".join(f"<p>{_coloured(e)}</p>" for e in mine) or "<p>never speaks here</p>"
        parts.append(f'<section id="f{feature}"><h2>{head}</h2><div>{note}</div>{lines}</section>')
    return _PAGE.format(generator=_GENERATOR, title=html.escape(title), body="\n".join(parts))


def write_examples(path: str | Path, page: str, *, force: bool = False) -> None:
    """Write a page whole or not at all.

    Args:
        path: of the file; a page of examples that is there is replaced, and nothing else.
        page: as `examples_page` makes it.
        force: replace a file of any other kind as well.

    Raises:
        OutputError: there is a folder, or a file of something else.
    """
    check_page(path, force=force)
    write_whole(Path(path), page)


def check_page(
    path: str | Path | None, *, inputs: Sequence[str | Path | None] = (), force: bool = False
) -> None:
    """Refuse a page that must not be written, before anything is measured for it.

    Raises:
        OutputError: it is an input, a folder, or a file of something else.
    """
    if path is not None:
        check_file(path, own=_is_examples_page, inputs=inputs, force=force)


def _is_examples_page(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return _GENERATOR in file.read(2000)
    except (OSError, ValueError):
        return False


_GENERATOR = '<meta name="generator" content="steerscope examples">'


def _coloured(example: Example) -> str:
    loudest = max(example.codes)
    spans = []
    for token, code in zip(example.tokens, example.codes, strict=True):
        text = html.escape(token).replace("\n", "↵")
        if code > 0:
            spans.append(f'<mark style="--a:{code / loudest:.2f}" title="{code:.3g}">{text}</mark>')
        else:
            spans.append(text)
    return "".join(spans)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{generator}
<title>{title}</title>
<style>
body {{ font: 16px/1.6 Helvetica, Arial, sans-serif; color: #222; max-width: 880px;
  margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.1rem; margin: 1.8rem 0 .2rem; }}
section div {{ color: #555; font-size: .9rem; }}
section p {{ margin: .3rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }}
mark {{ color: inherit; background: rgba(213, 94, 0, calc(.12 + .6 * var(--a))); }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""
