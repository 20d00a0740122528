"""Every command with every option of it given badly: the arguments, and where output would appear."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.attacks import places
from tests.attacks.places import DIGITS, LONG, Good, world

WHOLE = (
    "-5",
    "1_0",
    "٣",
    "²",
    DIGITS,
    "99999999999999999999",
    "1e3",
    "1.5",
    "nan",
    "",
    "0x10",
    "5 5",
)
COUNT = (*WHOLE, "0")
REAL = ("1_0", "٣", DIGITS, "", "abc", "0x1p3", "nan", "inf", "-inf", "1e999", "1,5")
LAYERS = (
    "0-99999999999",
    "²",
    "٣",
    "3-1",
    "a",
    "1,,2",
    "-1",
    DIGITS,
    "0-5000",
    "",
    "1;2",
    "0x1",
    "77",
)
NUMBERS = ("1,x", "nan", "inf", "1,,2", "1_0", "", "1,1", DIGITS, "1e999", "٣", "0x1", "1 2")
NAME = ("nosuch", "", LONG, "<script>", "../../etc/passwd", "\x1b[31m", "None", "🙂")
TEXT = ("\udcff", "a\0b")
DEVICE = ("nosuch", "", "tpu:9", "cpu:x", "cuda:99")
MEMORY = ("1KiB", "0", "-1GB", "1_0GB", "٣GB", f"{DIGITS}GB", "nan", "1XB", "")
SCOPE = (
    "nosuch",
    "",
    "(" * 5000,
    "all" + "|all" * 900,
    "last:0",
    "last:٣",
    "window:5:2",
    "last:-1",
)
SCOPE += (f"last:{DIGITS}", "all)", "from_token:x", "window:1:2:3", "all - ")
READ = ("first", "", "٣", DIGITS, "1:2:3", "mean+", "0")
SITE = ("resid_post", "resid_post.x", "resid_post.-1", "q.1.h99", "resid_post.1.h0", "", DIGITS)
SITE += (f"resid_post.{DIGITS}", "resid_post.٣", "nosuch.1", "resid_post.99", LONG)
STRENGTH = ("nosuch", "", "2", "-1", "nan", "ramp:0", "ramp:x", "ramp:1:2", "decay:-1", "1_0", "٣")
STRENGTH += ("0.5*" * 5000 + "1", "cosine:nan", "ramp:" + DIGITS, "pulse:2:3", "inf")
CHANGED = ("1", "=", "1=", "99=1", "-1=1", "1=nan", "1=-1", "٣=1", "1_0=1", f"1={DIGITS}", "1=1=1")
_NEVER_GOOD = {"claims store", "sae steer "}  # for want of evidence, and of a change
_UNFINISHED = {"run-manifest-gone"}  # which may be looked at


@dataclass(frozen=True)
class Case:
    """One call that must be refused.

    Attributes:
        arguments: of the command line.
        out: where its output would be; None where it writes none.
    """

    arguments: tuple[str, ...]
    out: Path | None = None


def all_cases(good: Good, bad: Path) -> Iterator[Case]:
    """Every case; `bad` is a folder for bad files and for what must not appear."""
    (bad / "pairs.jsonl").write_text(good.pairs.read_text())
    for name, (base, options, out) in _commands(good, bad).items():
        words = tuple(name.split())
        yield Case((*words, "--nosuch"))
        yield Case((*words, "--json", "--nosuch", "1"))
        for option, values in options.items():
            for value in values:
                yield _case(words, base, out, option, str(value))
        for option in ("--seed", "--n-new", "--model", "--out"):
            if option in options:
                yield Case((*words, *map(str, base), option))  # its value is missing
    yield from _unused(good, bad)


def all_bases(good: Good, bad: Path) -> Iterator[Case]:
    """Each command as the cases change it, which must be accepted, or no refusal would say anything."""
    for name, (base, _, out) in _commands(good, bad).items():
        if name not in _NEVER_GOOD:
            yield Case((*name.split(), *map(str, base)), out)


def _case(words: tuple[str, ...], base: Iterable[object], out: Path | None, option: str, value: str) -> Case:  # fmt: skip
    given = [str(b) for b in base]
    if option.startswith("@"):  # the argument without a name, which comes first
        return Case((*words, value, *given[1:]), out)
    if option in given:
        place = given.index(option)
        given = given[:place] + given[place + 2 :]
    if option == "--out":
        out = None if not value or os.path.exists(value) else Path(value)
    return Case((*words, *given, f"{option}={value}"), out)


Table = dict[str, tuple[list[object], dict[str, Iterable[object]], Path | None]]


def _commands(good: Good, bad: Path) -> Table:
    """For each command: good arguments, bad values of each option, and where its output would be."""
    pairs = list(places.bad_pairs(bad))
    prompts = [*places.bad_texts(bad, ".txt"), *places.bad_rows(bad, {"prompt": "w5 w6"})]
    vectors = list(places.bad_vectors(bad, good.vector))
    models = [*places.bad_folders(bad, good.model), *NAME]
    runs = list(places.bad_folders(bad, good.run))
    saes = [*places.bad_saes(bad, good.sae), *NAME]
    folder, file = list(places.bad_outputs(bad, folder=True)), list(places.bad_outputs(bad, folder=False))  # fmt: skip
    loading: dict[str, Iterable[object]] = {
        "--backbone": NAME, "--dtype": NAME, "--device": DEVICE, "--memory": MEMORY, "--bos": NAME,
        "--revision": NAME, "--device-map": NAME, "--system": NAME, "--template": NAME,
        "--date": NAME,
    }  # fmt: skip
    recipe = {"--method": NAME, "--stream": NAME, "--layers": LAYERS, "--read": READ}
    writing = {"--n-new": COUNT, "--temperature": (*REAL, "-1"), "--seed": WHOLE}
    subject = {"--model": models, "--contrasts": [*pairs, *NAME], "--prompts": prompts}
    light = {"--model": NAME, "--contrasts": [*pairs[:6], *NAME]}
    measured: dict[str, Iterable[object]] = {
        **recipe, **writing, **loading, "--doses": NUMBERS, "--scope": SCOPE,
        "--max-select": COUNT, "--out": folder,
    }  # fmt: skip
    out, saved = bad / "out", bad / "out.safetensors"
    small: list[object] = [*world(good), "--n-new", "2", "--out", out]
    text: dict[str, Iterable[object]] = {"--text": prompts, "--n-texts": COUNT}
    sae_base: list[object] = [good.sae, "--model", good.model, "--text", good.prompts]
    return {
        "report": ([*small, "--doses", "1"], {**measured, **subject, "--max-test": COUNT, "--nulls": WHOLE, "--other": [*pairs[:8], *NAME]}, out),
        "sweep": ([*small, "--doses", "1"], {**measured, **light, "--unit": NAME, "--prompts": prompts[:9]}, out),
        "vectors": (
            [*world(good), "--out", saved],
            {**recipe, **loading, **light, "--seed": WHOLE, "--other": pairs[:8], "--out": file, "--gguf": [*file, ""]},
            saved,
        ),
        "convert": (
            [good.vector, "--out", bad / "out.gguf", "--model", good.model],
            {"@source": vectors, "--dose": (*REAL, "0"), "--unit": (*NAME, "kl", "degrees"), **loading, "--out": [*file, bad / "out.xyz", ""]},
            bad / "out.gguf",
        ),
        "styles": (
            ["--model", good.model, "--style", "w5 w6 | w7 w8", "--out", out],
            {**recipe, **loading, "--style": (*NAME, "a |", "| b", "a | a", "|"), "--seed": WHOLE},
            out,
        ),
        "eigengap": (
            ["--model", good.model, "--prompts", good.prompts],
            {**loading, "--prompts": prompts, "--variant": NAME, "--seed": WHOLE},
            None,
        ),
        "steer": (
            ["--model", good.model, "--vector", good.vector, "--prompt", "w5", "--n-new", "2"],
            {**writing, **loading, "--vector": vectors, "--site": SITE, "--dose": REAL, "--unit": (*NAME, "degrees"), "--operator": NAME, "--scope": SCOPE, "--strength": STRENGTH, "--prompt": ("w5 " * 70, *TEXT)},
            None,
        ),
        "lens ": (
            ["--model", good.model, "--vector", good.vector],
            {"--vector": vectors, "--site": SITE, "--top": COUNT},
            None,
        ),
        "lens": (
            ["--model", good.model, "--prompt", "w5 w6"],
            {**loading, "--model": models, "--top": COUNT, "--prompt": ("w5 " * 70, *TEXT)},
            None,
        ),
        "figures": ([good.run], {"@run": [r for r in runs if r.name not in _UNFINISHED], "--format": (*NAME, "html,,svg"), "--theme": NAME, "--columns": (*COUNT, "3")}, None),
        "audit": ([good.run], {"@run": [r for r in runs if r.name not in _UNFINISHED]}, None),
        "verify": ([good.run], {"@folder": runs}, None),
        "run": ([good.experiment, "--out", out], {"@experiment": list(places.bad_yaml(bad, good.experiment)), "--device": DEVICE, "--memory": MEMORY, "--out": folder}, out),
        "weights sweep": (
            [*small, "--layers", "1", "--capability", good.pairs, "--edits", "power", "--alphas", "0.3"],
            {**writing, **loading, **light, "--edits": (*NAME, "band[]", "band[9-1]", "deflate[x]", "power[1]", "band[0-٣]", ","), "--weights": (*NAME, ","), "--layers": LAYERS, "--alphas": NUMBERS, "--together": (*NAME, "down:1", "down:9-1:0.1", "down:1:nan", "down:0-99999999:1", "down:1:0.1,down:1:0.2", "up:٣:1"), "--max-select": COUNT, "--max-test": COUNT, "--texts": prompts, "--capability": [*pairs, *NAME], "--out": folder},
            out,
        ),
        "adapter train": (
            [*world(good), "--out", saved, "--kind", "svd", "--rank", "2", "--epochs", "1"],
            {**loading, **light, "--matrices": (*NAME, ","), "--layers": LAYERS, "--rank": (*COUNT, "999"), "--turn": NAME, "--scaling": NAME, "--columns": NAME, "--angle": (*REAL, "0", "-1", "4"), "--aim": NAME, "--link": NAME, "--space": NAME, "--ruler": LAYERS, "--epochs": COUNT, "--learning-rate": (*REAL, "0", "-1"), "--seed": WHOLE, "--out": file},
            saved,
        ),
        "adapter evaluate": (
            [good.adapter, *world(good), "--out", out],
            {"@adapter": list(places.bad_tensors(bad, good.adapter)), **loading, **light, "--prompts": prompts[:6], "--coefficients": (*NUMBERS, "0", "-1"), "--kl": (*REAL, "0", "-1"), "--n-prompts": COUNT, "--seed": WHOLE},
            out,
        ),
        "adapter merge": (
            [good.adapter, "--model", good.model, "--out", out],
            {"@adapter": list(places.bad_tensors(bad, good.adapter)), "--coefficient": REAL, "--model": models[:30], "--out": [*folder, good.model]},
            out,
        ),
        "claims list": ([], {"--file": [*places.bad_texts(bad, ".yaml"), *_claims(bad)]}, None),
        "claims check": ([], {"--runs": NAME, "--file": [*places.bad_texts(bad, ".yaml"), *_claims(bad)]}, None),
        "claims store": (["nosuch", "--out", out], {"@experiment": NAME, "--runs": NAME}, out),
        "sae train": (
            ["--model", good.model, "--text", good.prompts, "--out", out, "--site", "resid_post.1", "--features", "8", "--k", "2", "--activations", "64", "--batch", "16"],
            {**loading, **text, "--site": SITE, "--architecture": NAME, "--features": COUNT, "--k": (*REAL, "0", "-1", "99"), "--penalty": (*REAL, "1"), "--activations": COUNT, "--batch": COUNT, "--learning-rate": (*REAL, "0", "-1"), "--normalisation": NAME, "--dead-after": COUNT, "--seed": WHOLE, "--out": folder},
            out,
        ),
        "sae evaluate": (sae_base, {"@sae": saes, **loading, **text, "--seed": WHOLE}, None),
        "sae overlap": (
            [*sae_base, "--contrasts", good.pairs, "--n-texts", "5", "--k", "2"],
            {**loading, "--k": COUNT, "--source": (*NAME, "codes"), "--pairs": COUNT, "--n-texts": WHOLE, "--seed": WHOLE, "--contrasts": pairs[:12]},
            None,
        ),
        "sae features": (
            [*sae_base, "--contrasts", good.pairs, "--top", "2", "--out", bad / "out.html"],
            {**loading, "--top": (*COUNT, "9"), "--features": (*NUMBERS, "99", "-1", "1.5"), "--pairs": COUNT, "--n-null": COUNT, "--n-texts": COUNT, "--seed": WHOLE, "--neuronpedia": [*places.bad_texts(bad, ".json"), bad / "deep.json"], "--out": file},
            bad / "out.html",
        ),
        "sae steer": (
            [good.sae, "--model", good.model, "--prompt", "w5", "--clamp", "1=1", "--n-new", "2"],
            {**writing, **loading, "--clamp": CHANGED, "--strength": (*REAL, "2", "-1"), "--scope": SCOPE, "--prompt": ("w5 " * 70, *TEXT)},
            None,
        ),
        "sae steer ": (
            [good.sae, "--model", good.model, "--prompt", "w5", "--n-new", "2"],
            {"--scale": CHANGED, "--add": [c for c in CHANGED if c != "1=-1"], "--clamp": [""]},
            None,
        ),
    }  # fmt: skip


def _claims(bad: Path) -> Iterator[Path]:
    for name, content in {
        "bomb": places.BOMB, "self": "claims: &a [*a]\n", "deep": f"claims: {places.DEEP}\n",
        "number": "claims: 5\n", "unknown": "claims: []\nnosuch: 1\n", "item": "claims: [5]\n",
        "code": "claims: !!python/name:os.system\n", "digits": f"claims: {'9' * 5000}\n",
    }.items():  # fmt: skip
        path = bad / f"claims-{name}.yaml"
        path.write_text(content)
        yield path


def _unused(good: Good, bad: Path) -> Iterator[Case]:
    """Options that a command would ignore, and choices that undo each other."""
    steer = ("steer", "--vector", str(good.vector), "--prompt", "w5", "--model", str(good.model))
    yield Case((*steer, "--operator", "project_out", "--dose", "2"))
    yield Case((*steer, "--operator", "project_out", "--unit", "natural"))
    yield Case(("convert", str(good.vector), "--out", str(bad / "o.safetensors"), "--dose", "2"))
    yield Case(("convert", str(good.vector), "--out", str(bad / "o.gguf"), "--prompts", str(good.prompts)))  # fmt: skip
    yield Case(("lens", "--prompt", "w5", "--site", "resid_post.1"))
    yield Case(("lens", "--prompt", "w5", "--vector", str(good.vector)))
    yield Case(("lens", "--vector", str(good.vector), "--chat"))
    yield Case(("vectors", "--out", str(bad / "o.safetensors"), "--other", str(good.pairs)))
    yield Case(("run", str(good.experiment), "--dry-run", "--out", str(bad / "o")))
    yield Case(("eigengap", "--legacy", "--rotated"))
    sae = ("sae", "steer", str(good.sae), "--prompt", "w5", "--model", str(good.model))
    yield Case((*sae, "--clamp", "1=1", "--clamp", "1=2"))
    yield Case((*sae, "--clamp", "1=1", "--scale", "1=2"))
    yield Case(sae)
