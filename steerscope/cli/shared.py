"""What the commands share: options, reading arguments, printing results."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerscope.cli import choices
from steerscope.cli.choices import contrast_names
from steerscope.cli.endings import strict_json
from steerscope.cli.visible import visible
from steerscope.errors import BadValueError
from steerscope.texts.numbers import read_real, read_whole

if TYPE_CHECKING:
    from steerscope.directions import Direction
    from steerscope.doses import Dose
    from steerscope.engine.continuations import Continuation
    from steerscope.models.lens_model import LensModel
    from steerscope.steering.scopes import Scope
    from steerscope.texts.chats import Chat

Model = Annotated[
    str, typer.Option("--model", "-m", help="bundled name, Hugging Face folder or hub name")
]
Backbone = Annotated[
    str,
    typer.Option(
        autocompletion=choices.completing(choices.BACKBONES), help="auto, hooked or bridge"
    ),
]
Device = Annotated[str | None, typer.Option(help="such as cpu or cuda; default the GPU if any")]
Memory = Annotated[str | None, typer.Option(help="such as 8GiB; default what the device has")]
DType = Annotated[
    str,
    typer.Option(
        autocompletion=choices.completing(choices.DTYPES),
        help="float32, bfloat16, float16; auto: the checkpoint's own, float32 on a CPU",
    ),
]
Bos = Annotated[
    str, typer.Option(help="how texts begin: auto as the tokenizer does, always or never")
]
Revision = Annotated[str | None, typer.Option(help="branch, tag or commit of a hub model")]
DeviceMap = Annotated[
    str | None, typer.Option(help="lay the model over devices, such as auto, instead of --device")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="run Python code that comes with the checkpoint")
]
Check = Annotated[
    bool,
    typer.Option(
        "--check/--no-check",
        help="compare the model with transformers before it is used; without it nothing says that "
        "its logits are right, that a site steers it, or that its cache forgets nothing",
    ),
]
Nulls = Annotated[
    int,
    typer.Option(
        help="null directions of each kind, each at its own best layer and dose; under 19 test nothing"
    ),
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge",
        "-j",
        help="reads what is written: oracle, preference, words:FILE, length, regex:PATTERN, json:FILE, "
        "classifier[:FILE], sentiment, language:CODE, hf:MODEL, lm:self, lm:MODEL or python:module:function; default "
        "the one that the contrast set names beside its pairs, else oracle where it can read, else preference",
    ),
]
JudgeUrl = Annotated[
    str | None,
    typer.Option(
        help="OpenAI-compatible endpoint of the judge lm:MODEL, such as http://localhost:8000/v1; a "
        "key is read from STEERSCOPE_JUDGE_KEY"
    ),
]
SecondModel = Annotated[
    str | None,
    typer.Option(
        help="another model, under which what is written must stay about as likely as without steering"
    ),
]
JudgeLabels = Annotated[
    str | None,
    typer.Option(
        help="labelled texts for the judge and its card: JSON lines or CSV with text and label, or a contrast set"
    ),
]
Instruction = Annotated[
    str | None,
    typer.Option(
        help="ask for the concept in these words beside steering; default what a style wants"
    ),
]
Examples = Annotated[
    int, typer.Option(help="positive texts that ask for the concept beside steering; 0 for none")
]
Contrasts = Annotated[
    str,
    typer.Option(
        "--contrasts",
        "-c",
        autocompletion=contrast_names,
        help="bundled contrast set, JSON-lines file or style:NAME",
    ),
]
Prompts = Annotated[
    str | None, typer.Option("--prompts", "-p", help="bundled prompt set, .jsonl file or text file")
]
Method = Annotated[
    str,
    typer.Option(
        autocompletion=choices.completing(choices.METHODS),
        help=f"how the direction is found: {choices.listed(choices.METHODS)}",
    ),
]
MeasuredMethod = Annotated[
    str,
    typer.Option(
        "--method",
        autocompletion=choices.completing(choices.MEASURED),
        help=f"how the direction is found: {choices.listed(choices.MEASURED)}",
    ),
]
StreamName = Annotated[
    str,
    typer.Option(
        "--stream",
        autocompletion=choices.completing(choices.STREAMS),
        help=f"{choices.listed(choices.STREAMS)}, or the name of a hook point or module",
    ),
]
Layers = Annotated[
    str | None, typer.Option("--layers", "-l", help="such as 0-7 or 1,3,5; default all")
]
Read = Annotated[
    str,
    typer.Option(help="token of the pairs: last, mean, an index such as -2, a span such as -4:"),
]
ScopeText = Annotated[
    str,
    typer.Option(
        "--scope", help="all, everywhere, prompt, generated, last:N, window:A:B, from_token:ID"
    ),
]
ChatFlag = Annotated[
    bool, typer.Option("--chat", help="put the texts into the model's chat template")
]
System = Annotated[
    str | None, typer.Option(help="system message of the chat; implies --chat, as the next two do")
]
TemplateArguments = Annotated[
    list[str] | None,
    typer.Option("--template", help="argument of the template, as enable_thinking=false; again"),
]
ChatDate = Annotated[
    str | None, typer.Option("--date", help="that the template reads; default 2025-01-01")
]
Seed = Annotated[int, typer.Option("--seed", "-s", help="of splits, controls and sampling")]
NNew = Annotated[int, typer.Option("--n-new", "-n", help="new tokens per continuation")]
MaxSelect = Annotated[int, typer.Option(help="prompts to choose on, at most")]
MaxTest = Annotated[int, typer.Option(help="prompts to state the effect on, at most")]
Temperature = Annotated[
    float, typer.Option("--temperature", "-t", help="of sampling; 0 for the most likely token")
]
Samples = Annotated[int, typer.Option(help="texts of each prompt")]
TopK = Annotated[int, typer.Option(help="draw among so many likeliest tokens; 0 for all")]
TopP = Annotated[
    float, typer.Option(help="draw among the likeliest tokens that reach this probability together")
]
MinP = Annotated[
    float, typer.Option(help="draw among tokens of at least this share of the highest probability")
]
RepetitionPenalty = Annotated[
    float, typer.Option(help="divides the logits of tokens that are there already; 1 for none")
]
SiteNames = Annotated[
    list[str] | None,
    typer.Option(
        "--site",
        help="such as resid_post.4, or mean_diff@resid_post.4 where the file has several there; again "
        "for several at once; default all in the file",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", "-f", help="replace a file that steerscope did not write")
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]


def numbers(text: str, kind: type[int] | type[float], what: str) -> list[Any]:
    """Numbers with commas between them, none twice."""
    read = read_whole if kind is int else read_real
    try:
        found = [read(piece) for piece in text.split(",")]
    except ValueError:
        raise BadValueError(f"cannot read {what} {text!r}; write numbers with commas.") from None
    if len(set(found)) < len(found):
        raise BadValueError(f"{what} {text!r} name a number twice; write each once.")
    return found


def parse_layers(text: str | None) -> tuple[int, ...] | None:
    """Layers written as `0-7`, `1,3,5` or both together; None stays None."""
    if text is None:
        return None
    layers: list[int] = []
    for piece in text.split(","):
        span = re.fullmatch(r"\s*([0-9]{1,5})(?:-([0-9]{1,5}))?\s*", piece)
        if span and int(span[1]) <= int(span[2] or span[1]):
            layers += range(int(span[1]), int(span[2] or span[1]) + 1)
        else:
            raise BadValueError(
                f"cannot read layers {text!r}; write them as 0-7 or 1,3,5, counting from 0."
            )
    return tuple(dict.fromkeys(layers))


def refuse_unused(given: Mapping[str, object], why: str) -> None:
    """Refuse options that were given and would be ignored; None stands for one that was not given.

    Raises:
        BadValueError: one was given; the message says why it is not used.
    """
    for name, value in given.items():
        if value is not None:
            option = "--" + name.replace("_", "-")
            raise BadValueError(f"{option} is not used here, since {why}; leave it out.")


def say(line: str = "") -> None:
    """One line on standard output, of which the terminal obeys nothing."""
    sys.stdout.write(visible(line) + "\n")


def say_aside(line: str) -> None:
    """One line on standard error, beside the result."""
    logging.getLogger("steerscope.cli").info("%s", line)


def finish(
    as_json: bool, result: dict[str, Any], lines: Sequence[str], then: Sequence[str] = ()
) -> None:
    """Print a result as one JSON object or as lines, and below them commands worth typing now."""
    if as_json:
        sys.stdout.write(strict_json(result) + "\n")
        return
    for line in (*lines, *(["next:"] if then else []), *(f"  {command}" for command in then)):
        say(line)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A plain text table."""
    cells = [list(map(str, columns)), *([str(c) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return [title, *lines]


def check_vector(path: str) -> bool:
    """Refuse a vector file that no reader takes, before a model is loaded; whether it is one of ours."""
    from steerscope.directions.imports import read_own

    return read_own(path) is not None


def check_outputs(
    outputs: Mapping[str, Path | None], inputs: Sequence[str | None], *, force: bool
) -> None:
    """Refuse vector files that must not be written, before a model is loaded for them.

    Args:
        outputs: a file for each format, by its suffix; None for none.
        inputs: what is read.
        force: replace files that steerscope did not write.
    """
    from steerscope.directions.files import is_directions_file
    from steerscope.directions.gguf import is_our_gguf
    from steerscope.runs.outputs import check_apart, check_file

    check_apart(*outputs.values())
    for suffix, path in outputs.items():
        if path is not None:
            other = next((s for s in outputs if s != suffix and path.suffix.lower() == s), None)
            if other:
                raise BadValueError(
                    f"{path} is to hold {suffix[1:]}, and ends in {other}; name it otherwise."
                )
            own = is_our_gguf if suffix == ".gguf" else is_directions_file
            check_file(path, own=own, inputs=inputs, force=force)


def read_vectors(
    path: str, model: LensModel, prompts: str | None = None, chat: Chat | None = None
) -> list[Direction]:
    """The directions of a vector file of any kind, lengths measured on a prompt set if need be."""
    from steerscope.directions.choosing import vectors_of_file

    return vectors_of_file(path, model, prompts, chat)


def read_vector(path: str, site: str | None, model: LensModel) -> Direction:
    """The direction of a vector file at a site; the site may be left out if the file has one."""
    found = read_several(path, None if site is None else [site], model)
    if len(found) > 1:
        known = ", ".join(sorted(str(direction.site) for direction in found))
        raise BadValueError(f"{path} holds directions at {known}; choose one with --site.")
    return found[0]


def read_several(path: str, sites: Sequence[str] | None, model: LensModel) -> list[Direction]:
    """The directions of a vector file at these sites; without any, all, which may then be one each."""
    from steerscope.directions.choosing import one_of_each_site

    return one_of_each_site(path, sites, model)


def prompt_texts(
    texts: Sequence[str], model: LensModel, directions: Sequence[Direction], chat: Chat | None
) -> list[str]:
    """The prompts of a command, in the chat template if asked; a note if directions are of another.

    In a chat, a prompt that is a JSON list is read as the messages of a conversation.
    """
    from steerscope.models.chat_templates import in_chat
    from steerscope.steering.template_checks import check_templates
    from steerscope.texts.contrasts import Prompt, PromptSet

    said = [text if chat is None else _spoken(text) for text in texts]
    prompts = in_chat(model, PromptSet("prompts", tuple(Prompt(text) for text in said)), chat)
    check_templates(directions, prompts.template)
    return [p.text for p in prompts.prompts]


def _spoken(text: str) -> str:
    """A conversation if the text is a JSON list of messages, else the text as it is."""
    from steerscope.texts.chats import as_conversation
    from steerscope.texts.files import parse_json

    if not re.match(r'\s*\[\s*\{\s*"', text):
        return text
    return as_conversation(parse_json(text, "the prompt", BadValueError))


def side_by_side(
    prompts: Sequence[str],
    plain: Sequence[Continuation],
    steered: Sequence[Continuation],
    kl: Sequence[float],
    steers: Sequence[bool] | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Continuations without and with a change, as results and as lines.

    Args:
        prompts: what was continued.
        plain: without the change; for several samples, those of a prompt one after another.
        steered: with it.
        kl: nats a position of each prompt.
        steers: whether a position of each prompt is in scope; default that of all.
    """
    n = len(plain) // max(1, len(prompts))
    changes = [yes for yes in steers or [True] * len(prompts) for _ in range(n)]
    prompts = [text for text in prompts for _ in range(n)]
    kl = [nats for nats in kl for _ in range(n)]
    results = [
        {"prompt": text, "plain": before.text, "steered": after.text, "kl_nats": nats}
        for text, before, after, nats in zip(prompts, plain, steered, kl, strict=True)
    ]
    blocks = [
        f"prompt:  {r['prompt']}\nplain:   {r['plain']}\nsteered: {r['steered']}\n"
        f"KL(steered || plain): {r['kl_nats']:.3f} nats per position of the prompt"
        + (
            ""
            if changes[i]
            else ", of which none is in scope; in what is written it is not measured"
        )
        for i, r in enumerate(results)
    ]
    return results, ["\n\n".join(blocks)]


def steered_at(scope: Scope, model: LensModel, prompts: Sequence[str]) -> list[bool]:
    """Whether a position of each prompt is in scope."""
    from steerscope.steering.interventions import holds_some

    return [holds_some(scope, model.tokens(text)) for text in prompts]


def write_gguf(
    path: Path, directions: Sequence[Direction], dose: Dose, *, force: bool
) -> dict[str, Any]:
    """Write a control vector of the directions that have a place in one, and say which have not."""
    from steerscope.directions import export_gguf, fits_gguf

    fitting = [d for d in directions if fits_gguf(d)]
    export_gguf(path, fitting or directions, dose=dose, force=force)
    left_out = [str(d.site) for d in directions if not fits_gguf(d)]
    return {"gguf": str(path), "strength_1": str(dose), "left_out": left_out}


def gguf_lines(written: dict[str, Any]) -> list[str]:
    """What `write_gguf` did, as lines."""
    lines = [f"saved: {written['gguf']}, strength 1 = {written['strength_1']}"]
    if written["left_out"]:
        sites = ", ".join(written["left_out"])
        lines.append(f"left out, since llama.cpp has no place for it: {sites}")
    return lines
