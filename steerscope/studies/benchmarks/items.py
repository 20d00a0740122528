"""Files of questions as tasks of lm-eval: with choices, or with a number or a text to be written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steerscope.errors import ContrastError
from steerscope.texts.answers import number_of, same_number
from steerscope.texts.files import parse_json
from steerscope.texts.records import SUFFIXES, read_records

_TARGETS = (
    "mc1_targets",
    "mc2_targets",
)  # of TruthfulQA, whose own file names answers by their label


def is_items_file(spec: str) -> bool:
    """Whether a task is named by a file of questions."""
    return Path(spec).suffix.lower() in SUFFIXES


def read_documents(path: str | Path) -> list[dict[str, Any]]:
    """The documents of a file, in the form in which the tasks of lm-eval expect them.

    Raises:
        ContrastError: it is no such file.
    """
    return [_as_on_the_hub(document) for document in read_records(path)]


def _as_on_the_hub(document: dict[str, Any]) -> dict[str, Any]:
    """The document with its targets as lists of choices and labels."""
    found = dict(document)
    for name in _TARGETS:
        given = document.get(name)
        if isinstance(given, Mapping) and "choices" not in given:
            found[name] = {"choices": list(given), "labels": [int(v) for v in given.values()]}
    return found


def task_of_items(path: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The configuration of a task, and its documents, of a file with `question` and `answer`.

    With `choices` (a list, or texts with `|` between them) the answer is one of them, or its place
    from 0 or letter from A, and each is scored as a whole text. Without, the answer is written:
    where every answer holds a number, that number counts, else the text without its case.

    Raises:
        ContrastError: a column is missing, or an answer is none of the choices.
    """
    path = Path(path)
    documents = read_records(path, ("question", "answer"))
    common: dict[str, Any] = {"task": path.stem, "test_split": "test", "num_fewshot": 0}
    if any("choices" in d for d in documents):
        documents = [_with_choices(f"{path}, item {n}", d) for n, d in enumerate(documents, 1)]
        return common | _CHOOSING, documents
    as_numbers = all(number_of(str(d["answer"])) is not None for d in documents)
    reading = _read_number if as_numbers else _read_text
    return common | _WRITING | {"process_results": reading}, documents


def _with_choices(where: str, document: dict[str, Any]) -> dict[str, Any]:
    given = document.get("choices")
    if isinstance(given, str):
        text = given.strip()
        listed = parse_json(text, where, ContrastError) if text[:1] == "[" else text.split("|")
    else:
        listed = given
    if not isinstance(listed, list) or len(listed) < 2:
        raise ContrastError(
            f"{where}: give at least two choices, as a list or with | between them."
        )
    choices = [str(choice).strip() for choice in listed]
    if len(set(choices)) < len(choices) or "" in choices:
        raise ContrastError(f"{where}: each choice is a text of its own.")
    return document | {"choices": choices, "answer": _place(where, document["answer"], choices)}


def _place(where: str, answer: Any, choices: list[str]) -> int:
    """The number of the right choice."""
    text = str(answer).strip()
    if text in choices:
        return choices.index(text)
    if text.isascii() and text.isdigit():
        place = int(text)
    else:
        place = ord(text.upper()) - ord("A") if len(text) == 1 and text.isalpha() else -1
    if not 0 <= place < len(choices):
        raise ContrastError(
            f"{where}: the answer {text[:40]!r} is none of its {len(choices)} choices, nor the place of "
            "one from 0, nor its letter."
        )
    return place


def _read_number(document: Mapping[str, Any], written: list[str]) -> dict[str, float]:
    """Whether the number of an answer is the right one, and whether there is a number at all."""
    right = same_number(written[0], str(document["answer"]))
    return {"exact_match": float(right is True), "no_answer": float(right is None)}


def _read_text(document: Mapping[str, Any], written: list[str]) -> dict[str, float]:
    """Whether an answer is the right text, and whether there is one at all."""
    said, wanted = (" ".join(t.casefold().split()) for t in (written[0], str(document["answer"])))
    return {"exact_match": float(said == wanted), "no_answer": float(not said)}


_CHOOSING: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm")
    ],
}
_WRITING: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["Question:"], "max_gen_toks": 256, "do_sample": False},
    "metric_list": [
        {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True},
        {"metric": "no_answer", "aggregation": "mean", "higher_is_better": False},
    ],
}


# Of a rolling text the harness has log-likelihood and length, of which each document gives its own mean.
_NATS = {"word_perplexity": "nats_per_word", "byte_perplexity": "nats_per_byte"}
_BIT = math.log(2)  # nats


def numbers_of(sample: Mapping[str, Any], ending: str = "") -> dict[str, float]:
    """The metrics of one document that are numbers, by name; likelihoods under that of their unit."""
    found = {metric: _number(sample[metric]) for metric in sample["metrics"]}
    return {
        _NATS.get(metric, metric) + ending: value / _BIT if metric.startswith("bits_") else value
        for metric, value in found.items()
        if value is not None
    }


def _number(value: Any) -> float | None:
    """A metric of one document as a number: nats per word or byte of a rolling text, else itself."""
    if isinstance(value, tuple | list) and len(value) == 2:
        total, weight = value
        if all(isinstance(v, int | float) for v in value) and weight:
            return -float(total) / float(weight)
        return None
    if isinstance(value, bool | int | float):
        return float(value)
    return None
