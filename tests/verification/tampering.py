"""Ways to tamper with a run or an experiment, each under a name, each to be seen by `verify`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from steerscope.runs.seals import file_sha256, seal_path, write_seal

Tampering = Callable[[Path], None]

DAMAGES: dict[str, bytes | None] = {
    "emptied": b"",
    "cut short": None,
    "a list": b"[]\n",
    "an empty mapping": b"{}\n",
    "nothing": b"null\n",
    "a number": b"3\n",
    "a mapping of lists": b'{"configuration": [], "provenance": [], "rows": [1]}\n',
    "not UTF-8": b"\xff\xfe{}\n",
    "nested deep": b"[" * 100_000,
}


def put(path: Path, content: bytes | str) -> None:
    """Replace a file, which may be a link to the one that other tests read."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def damaged(path: Path, how: str) -> None:
    content = DAMAGES[how]
    put(path, path.read_bytes()[: path.stat().st_size // 2] if content is None else content)


def changed(path: Path, pattern: str, by: str) -> None:
    """Replace the first match in a text file, which must be there."""
    text = path.read_text()
    after = re.sub(pattern, by, text, count=1, flags=re.DOTALL)
    assert after != text, (path, pattern)
    put(path, after)


def in_json(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    put(path, json.dumps(content))


def parts(run: Path, kind: str) -> list[Path]:
    """The larger part first."""
    return sorted((run / kind).glob("*.parquet"), key=lambda p: (-p.stat().st_size, p.name))


def in_part(run: Path, kind: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    part = parts(run, kind)[0]
    table = change(pd.read_parquet(part))
    part.unlink()
    table.to_parquet(part)
    return part


def with_value(table: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    table = table.astype(object).copy()
    table.loc[3, column] = value
    return table.infer_objects()


def swapped(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def resealed(run: Path) -> None:
    """A value changed and its part sealed again, as if it had been measured so."""
    part = in_part(run, "rows", lambda t: with_value(t, "value", 0.123))
    seal_path(part).unlink()
    write_seal(part, file_sha256(part), pd.read_parquet(part))


def unknown(run: Path) -> None:
    """A part taken out with its seal and its place in the manifest."""
    part = parts(run, "rows")[1]
    names = {f"rows/{part.name}", f"seals/rows/{part.stem}.txt"}
    in_json(run / "manifest.json", lambda m: [m.pop(name) for name in names])
    seal_path(part).unlink()
    part.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_records() -> Iterator[tuple[str, Tampering]]:
    """What is done to the files that were measured."""
    yield from _of_descriptions()
    yield from _of_parts("rows")
    yield from _of_parts("texts")
    yield from _of_values()


def _of_descriptions() -> Iterator[tuple[str, Tampering]]:
    for name in ("run.json", "manifest.json"):
        for how in DAMAGES:
            yield f"{name} {how}", lambda run, n=name, h=how: damaged(run / n, h)
        yield f"{name} gone", lambda run, n=name: (run / n).unlink()
        yield f"{name} a folder", lambda run, n=name: a_folder(run / n)
    yield (
        "model in run.json",
        lambda r: in_json(r / "run.json", lambda d: d["configuration"].update(model="other")),
    )
    yield (
        "seed in run.json",
        lambda r: in_json(r / "run.json", lambda d: d["configuration"].update(seed=5)),
    )
    yield "command in run.json", lambda r: in_json(r / "run.json", lambda d: d.update(command=[]))
    yield (
        "fingerprint in run.json",
        lambda r: in_json(r / "run.json", lambda d: d["provenance"].update(fingerprint="other")),
    )
    yield "age in run.json", lambda r: in_json(r / "run.json", lambda d: d.pop("format_version"))
    yield (
        "manifest empty and a part gone",
        lambda r: (
            put(r / "manifest.json", "{}"),
            parts(r, "rows")[1].unlink(),
        ),
    )
    yield "value changed and sealed again", resealed


def _of_parts(kind: str) -> Iterator[tuple[str, Tampering]]:
    yield f"{kind} emptied", lambda r, k=kind: put(parts(r, k)[0], b"")
    yield f"{kind} cut short", lambda r, k=kind: damaged(parts(r, k)[0], "cut short")
    yield (
        f"{kind} garbage",
        lambda r, k=kind: put(parts(r, k)[0], b"PAR1" + b"\0" * 500 + b"PAR1"),
    )
    yield f"{kind} gone", lambda r, k=kind: parts(r, k)[0].unlink()
    yield f"{kind} a folder", lambda r, k=kind: a_folder(parts(r, k)[0])
    yield f"{kind} renamed", lambda r, k=kind: parts(r, k)[0].rename(r / k / "00000.parquet")
    yield (
        f"{kind} twice",
        lambda r, k=kind: shutil.copy(parts(r, k)[0], r / k / "00000.parquet"),
    )
    yield (
        f"{kind} without a column",
        lambda r, k=kind: in_part(r, k, lambda t: t.drop(columns="cell")),
    )
    yield f"{kind} with a row less", lambda r, k=kind: in_part(r, k, lambda t: t.iloc[:-1])
    yield (
        f"{kind} with a row twice",
        lambda r, k=kind: in_part(r, k, lambda t: pd.concat([t, t.iloc[:1]])),
    )
    yield (
        f"{kind} of another cell",
        lambda r, k=kind: in_part(r, k, lambda t: with_value(t, "cell", "x")),
    )
    yield f"seal of {kind} gone", lambda r, k=kind: seal_path(parts(r, k)[0]).unlink()
    yield f"seal of {kind} emptied", lambda r, k=kind: put(seal_path(parts(r, k)[0]), b"")
    yield (
        f"seal of {kind} not UTF-8",
        lambda r, k=kind: put(seal_path(parts(r, k)[0]), b"\xff\xfe"),
    )
    yield (
        f"seal of {kind} changed",
        lambda r, k=kind: changed(seal_path(parts(r, k)[0]), r"\n[0-9a-f]{8}", "\n00000000"),
    )


def _of_values() -> Iterator[tuple[str, Tampering]]:
    yield "parts swapped", lambda r: swapped(*parts(r, "rows")[:2])
    yield (
        "a value a hair higher",
        lambda r: in_part(r, "rows", lambda t: with_value(t, "value", float(t.value[3]) + 1e-12)),
    )
    yield (
        "a value that is no number",
        lambda r: in_part(r, "rows", lambda t: t.assign(value="high")),
    )
    yield "a status", lambda r: in_part(r, "rows", lambda t: with_value(t, "status", "empty"))
    yield "a written text", lambda r: in_part(r, "texts", lambda t: with_value(t, "written", "!"))
    yield "a strange file among the rows", lambda r: put(r / "rows" / "notes.txt", "x")
    yield "a strange file in the run", lambda r: put(r / "summary.html", "<p>It works.</p>")
    yield "token effects invented", lambda r: put(r / "lens.json", "[1]")


def of_forgeries() -> Iterator[tuple[str, Tampering]]:
    """What is consistent in itself, so that only what is printed tells."""
    yield "part gone with all that names it", unknown


def of_pages(name: str) -> Iterator[tuple[str, Tampering]]:
    """What is done to a page that holds figures."""
    at = partial(changed)
    pairs = {
        "title": (r"<title>[^<]*", "<title>Proved"),
        "style": (r"</style>", ".verdict{display:none}</style>"),
        "script": (r"</body>", "<script>document.title='x'</script></body>"),
        "block": (r"</body>", "<div>Proved.</div></body>"),
        "bare words": (r"</body>", "Proved.</body>"),
        "caption": (r"<figcaption>[^<]*", "<figcaption>Proved"),
        "program": (r"plotly\.js v", "plotly.js  v"),
        "title of a figure": (r'("title":\{[^{}]*?"text":")[^"]*', r"\1Proved"),
        "colour of a line": (r'"color":"#[0-9A-F]{6}"', '"color":"#123456"'),
        "height of a figure": (r'"height":\d+', '"height":90'),
        "drawing that is no JSON": (r'(Plotly\.newPlot\(\s*"[^"]+",\s*)\[', r"\1{"),
        "figure hidden": (r"<body", '<body style="display:none"'),
    }
    for what, (pattern, by) in pairs.items():
        yield f"{name}: {what}", lambda r, p=pattern, b=by: at(r / name, p, b)
    yield f"{name}: cut short", lambda r: damaged(r / name, "cut short")
    yield f"{name}: not UTF-8", lambda r: put(r / name, (r / name).read_bytes() + b"\xff")
    yield f"{name}: gone", lambda r: (r / name).unlink()
    yield f"{name}: a folder", lambda r: a_folder(r / name)


def of_prints(page: str, table: str, picture: str) -> Iterator[tuple[str, Tampering]]:
    """What is done to figures, pictures and tables, and to the record of what was printed."""
    for how in DAMAGES:
        yield f"printed.json {how}", lambda r, h=how: damaged(r / "printed.json", h)
    yield "printed.json gone", lambda r: (r / "printed.json").unlink()
    yield "a table's cell", lambda r: changed(r / table, r"\n([^,\n]*),", r"\nx\1,")
    yield "a table gone", lambda r: (r / table).unlink()
    yield "a table invented", lambda r: put(r / "tables" / "wins.csv", "a\n1\n")
    yield "a figure invented", lambda r: put(r / "figures" / "proof.html", "<p>x</p>")
    yield "a figure in a folder", lambda r: put(r / "figures" / "more" / "a.png", "x")
    yield "a picture invented", lambda r: put(r / "figures" / "proof.png", "x")
    yield "a picture replaced", lambda r: put(r / picture, "other")
    yield "a picture gone", lambda r: (r / picture).unlink()
    yield "a figure's numbers", lambda r: changed(r / page, r"\n([^,\n]*),", r"\nx\1,")
    yield "a caption beside it", lambda r: put((r / page).with_suffix(".txt"), "Proved.\n")


def of_experiments() -> Iterator[tuple[str, Tampering]]:
    """What is done to an experiment's file and to its runs as a whole."""
    file = "experiment.json"
    for how in DAMAGES:
        yield f"{file} {how}", lambda e, h=how: damaged(e / file, h)
    edits = {
        "layers": lambda d: d["sites"].update(layers=[1, 2]),
        "doses": lambda d: d["doses"].update(values=[1.0]),
        "seeds": lambda d: d.update(seeds=[0, 1]),
        "fewer seeds": lambda d: d.update(seeds=[7]),
        "contrasts": lambda d: d.update(contrasts=["register"]),
        "question": lambda d: d.update(question="Is it proved?"),
        "name": lambda d: d.update(name="other"),
        "job": lambda d: d.update(job="study"),
        "job unknown": lambda d: d.update(job="nothing"),
        "figures": lambda d: d.update(figures=["all"]),
        "metrics": lambda d: d.update(metrics=["flipped"]),
        "model": lambda d: d.update(models=["other"]),
        "an unknown key": lambda d: d.update(proved=True),
    }
    for what, edit in edits.items():
        yield f"{file}: {what}", lambda e, f=edit: in_json(e / file, f)
    yield f"{file} gone", lambda e: (e / file).unlink()
    yield "a run gone", lambda e: shutil.rmtree(runs(e)[0])
    yield "a run twice", lambda e: shutil.copytree(runs(e)[0], e / "runs" / "again")
    yield "a run renamed", lambda e: runs(e)[0].rename(e / "runs" / "better")
    yield "runs swapped", lambda e: swapped(*runs(e)[:2])
    yield "a strange folder", lambda e: put(e / "runs" / "letters" / "a.txt", "dear")
    yield "a strange file", lambda e: put(e / "summary.html", "<p>x</p>")
    yield "a run without rows", lambda e: shutil.rmtree(runs(e)[0] / "rows")
    yield "a run that is damaged", lambda e: damaged(runs(e)[0] / "run.json", "cut short")


def runs(experiment: Path) -> list[Path]:
    """The folders of its runs."""
    return sorted(p for p in (experiment / "runs").iterdir() if p.is_dir())
