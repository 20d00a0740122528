"""The command that compares how tokenizers cut texts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerscope.cli.shared import Json, finish, table
from steerscope.errors import BadValueError

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = ("tokens_per_word", "characters_per_token", "bytes_per_token", "parity", "unit_tokens")


def tokenizers(
    names: Annotated[
        list[str], typer.Argument(help="models: bundled names, folders or hub names, one or more")
    ],
    texts: Annotated[
        list[str] | None,
        typer.Option(help="KIND=FILE: texts of your own, one a line; again for other kinds"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for figures, numbers and captions")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit on the hub")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="run code that comes with a tokenizer")
    ] = False,
    as_json: Json = False,
) -> None:
    """How tokenizers cut texts: words, characters, numbers, dates, JSON, code and languages.

    Examples:
        steerscope tokenizers ./my-model
        steerscope tokenizers gpt2 Qwen/Qwen3-0.6B --texts mine=texts.txt --out cuts
    """
    from steerscope.runs.outputs import check_folder, marked
    from steerscope.texts.fertility import KINDS

    if out is not None:
        check_folder(out, own=marked(_WHAT), inputs=names)
    kinds = dict(KINDS) | _own(texts or [])
    labels = _labels(names)
    found = _measured(names, labels, kinds, revision, trust_remote_code)
    pages = [] if out is None else _drawn(found, out)
    rows = [
        [r.tokenizer, r.kind, *(_number(getattr(r, name)) for name in _SHOWN)]
        + ["yes" if r.lossless else "no"]
        for r in found.itertuples()
    ]
    columns = (
        "tokenizer", "kind", "tokens / word", "characters / token", "bytes / token", "against English",
        "tokens / number or date", "gives the text back",
    )  # fmt: skip
    result = {"table": found.to_dict("records"), "files": pages}
    finish(as_json, result, [*table("how texts are cut:", columns, rows), *pages])


def _number(value: float) -> str:
    return "" if value != value else f"{value:.2f}"  # noqa: PLR0124 - NaN alone differs from itself


def _own(given: list[str]) -> dict[str, tuple[str, ...]]:
    """Texts of the user's own by kind."""
    from steerscope.texts.lines import text_lines

    found: dict[str, tuple[str, ...]] = {}
    for text in given:
        kind, equals, path = text.partition("=")
        if not (kind and equals and path) or kind in found:
            raise BadValueError(
                f"cannot read --texts {text!r}; write KIND=FILE, once for each kind."
            )
        found[kind] = tuple(line for _, line in text_lines(Path(path)))
    return found


def _labels(names: list[str]) -> list[str]:
    """What each tokenizer is called."""
    short = [Path(name).name for name in names]
    labels = short if len(set(short)) == len(short) else list(names)
    if len(set(labels)) < len(labels):
        raise BadValueError("the same tokenizer is named twice; name each once.")
    return labels


def _measured(
    names: list[str], labels: list[str], kinds: dict[str, tuple[str, ...]],
    revision: str | None, trust_remote_code: bool,
) -> pd.DataFrame:  # fmt: skip
    """One row a tokenizer and kind."""
    import pandas as pd

    from steerscope.models.sources import find_source
    from steerscope.models.vocabulary import Vocabulary
    from steerscope.texts.fertility import KINDS, fertility, parity

    rows: list[dict[str, Any]] = []
    same = {
        k for k in _LANGUAGES if kinds.get(k) == KINDS[k]
    }  # not what the user put in their place
    for name, label in zip(names, labels, strict=True):
        source = find_source(name, revision=revision, trust_remote_code=trust_remote_code)
        vocabulary = Vocabulary(source.tokenizer())
        found = [fertility(vocabulary.bare, vocabulary.text, k, t) for k, t in kinds.items()]
        against = parity([f for f in found if f.kind in same])
        rows += [
            {"tokenizer": label, **asdict(f)}
            | {
                n: getattr(f, n)
                for n in ("tokens_per_word", "characters_per_token", "bytes_per_token")
            }
            | {"parity": against.get(f.kind, float("nan"))}
            for f in found
        ]
    return pd.DataFrame(rows)


_WHAT = "cuts of tokenizers"  # what a folder of these files says it is
_LANGUAGES = {"english", "french", "german", "chinese", "arabic"}


def _drawn(found: pd.DataFrame, out: Path) -> list[str]:
    """Write the figures with their numbers."""
    from steerscope import figures
    from steerscope.figures.fertility import MEASURES
    from steerscope.figures.files import Plate, write_plate
    from steerscope.runs.outputs import write_mark
    from steerscope.runs.whole_files import whole_folder

    written: list[str] = []
    with whole_folder(out) as unfinished:
        for measure in MEASURES:
            figure = figures.tokenizer_bars(found, measure)
            plate = Plate(
                measure, figure, "Each bar is one tokenizer on the same short texts of a kind."
            )
            written += [str(out / p.name) for p in write_plate(plate, unfinished, ("html",))]
        write_mark(unfinished, _WHAT)
    return written
