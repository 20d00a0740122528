"""What a user writes in another form than the documented one is read, or refused with the form to give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import steerscope as ss
from steerscope.calls import told
from steerscope.errors import BadValueError, ContrastError, SteerscopeError, UnknownNameError
from steerscope.models.prompts import as_prompts
from steerscope.sites import as_site, as_sites
from steerscope.steering.interventions import as_intervention
from steerscope.texts.contrasts import Prompt, PromptSet

TEXTS = [("w3 w4 w5", "w3 w4 w6"), ("w7 w8 w5", "w7 w8 w6"), ("w9 w5", "w9 w6")]
SITE = ss.Site("resid_post", 1)


@pytest.fixture(scope="module")
def model(load):
    return load("gpt2")


@pytest.fixture(scope="module")
def direction(model):
    return ss.find_direction("mean_diff", ss.extract(model, TEXTS, "resid_post.1"))


def test_a_text_alone_is_one_prompt(model):
    [[alone]] = ss.generate(model, "w3 w4", n_new=3)
    [[listed]] = ss.generate(model, ["w3 w4"], n_new=3)
    assert alone == listed


@pytest.mark.parametrize(
    "given",
    [
        ("w3", "w4"),
        iter(["w3", "w4"]),
        np.array(["w3", "w4"]),
        pd.Series(["w3", "w4"]),
        [Prompt("w3"), "w4"],
        PromptSet("two", (Prompt("w3"), Prompt("w4"))),
    ],
    ids=lambda g: type(g).__name__,
)
def test_prompts_are_read_from_whatever_holds_them(given):
    assert as_prompts(given) == ["w3", "w4"]


@pytest.mark.parametrize("ids", [[3, 4], (3, 4), torch.tensor([3, 4]), np.array([3, 4])], ids=type)
def test_token_ids_alone_are_one_prompt(ids):
    assert as_prompts(ids) == [[3, 4]]
    assert as_prompts([ids]) == [[3, 4]]


@pytest.mark.parametrize("given", [None, 3, 0.5, b"w3", {"prompt": "w3"}, [None], [[0.5]], [True]])
def test_what_is_no_prompt_is_refused_with_what_to_write(given):
    with pytest.raises(BadValueError, match="write a text"):
        as_prompts(given)


def test_messages_as_a_prompt_are_refused_with_the_chat_template_named():
    with pytest.raises(BadValueError, match="chat template"):
        as_prompts([[{"role": "user", "content": "w3"}]])


def logits(model, *given):
    with ss.steer(model, *given):
        return model.forward(torch.tensor([model.tokens("w3 w4 w5")]))


def test_a_direction_alone_and_a_number_alone_are_natural_units(model, direction):
    one = logits(model, ss.Steering(direction, ss.Dose(1.0, "natural")))
    three = logits(model, ss.Steering(direction, ss.Dose(3.0, "natural")))
    assert torch.equal(logits(model, direction), one)
    assert torch.equal(logits(model, ss.Steering(direction, 3.0)), three)
    assert torch.equal(logits(model, ss.Steering(direction, 3)), three)
    assert not torch.equal(one, three)


def test_a_number_alone_is_degrees_where_the_operator_turns(direction):
    assert ss.Steering(direction, 30, operator="rotate").dose == ss.Dose(30.0, "degrees")


def test_a_scope_may_be_written(direction):
    assert ss.Steering(direction, 1.0, scope="generated").scope == ss.Scope.generated()


def test_a_condition_may_be_given_alone(model, direction):
    steering = ss.Steering(direction, 2.0)
    whole = ss.generate(model, ["w3 w4"], [ss.Cell((steering,))], n_new=3)
    assert ss.generate(model, "w3 w4", steering, n_new=3) == whole
    assert ss.generate(model, "w3 w4", [steering], n_new=3) == whole
    assert ss.generate(model, "w3 w4", ss.Cell(steering), n_new=3) == whole
    kl = ss.kl_from_plain(model, "w3 w4 w5", direction)
    assert kl.shape == (1, 1)
    assert torch.equal(kl, ss.kl_from_plain(model, ["w3 w4 w5"], [ss.Cell((direction,))]))


@pytest.mark.parametrize("given", [3.0, "mood", None, torch.ones(4)])
def test_what_is_no_intervention_is_refused_with_the_form_to_give(given):
    with pytest.raises(BadValueError, match=r"Steering\(direction, 2.0\)"):
        as_intervention(given)


@pytest.mark.parametrize(
    "given", ["resid_post.1", 1, SITE, "blocks.1.hook_resid_post", "model.layers.1", [SITE], "1"]
)
def test_a_site_is_read_in_any_form(model, given):
    assert as_sites(given) == (SITE,)
    assert list(ss.extract(model, TEXTS, given)) == [SITE]


@pytest.mark.parametrize("given", [None, 0.5, True, object()])
def test_what_is_no_site_is_refused_with_the_form_to_give(given):
    with pytest.raises(BadValueError, match=r"resid_post\.5"):
        as_site(given)
    with pytest.raises(BadValueError, match=r"resid_post\.5"):
        as_sites([])


def test_what_was_found_is_looked_up_by_any_name_of_the_site(model):
    found = ss.extract(model, TEXTS, [0, 1], read="mean")
    assert found["resid_post.1"] is found[1] is found[SITE]
    assert found[1].provenance.read == "mean"
    with pytest.raises(UnknownNameError, match=r"Known: resid_post\.0, resid_post\.1"):
        found["resid_post.2"]
    with pytest.raises(KeyError):
        found[2]
    with pytest.raises(BadValueError, match="give one"):
        ss.find_direction("mean_diff", found)
    with pytest.raises(BadValueError, match="extract"):
        ss.find_direction("mean_diff", TEXTS)


ROWS = [{"positive": a, "negative": b} for a, b in TEXTS]


class Rows:
    """As a data set of `datasets`: rows are dicts, one after another."""

    def __iter__(self):
        return iter([{**row, "id": i} for i, row in enumerate(ROWS)])


@pytest.mark.parametrize(
    "given",
    [
        TEXTS,
        [list(two) for two in TEXTS],
        zip(*zip(*TEXTS, strict=True), strict=True),
        ROWS,
        Rows(),
        pd.DataFrame(ROWS),
        pd.DataFrame(TEXTS, columns=["chosen", "rejected"]),
        {"positive": [a for a, _ in TEXTS], "negative": [b for _, b in TEXTS]},
        [ss.ContrastPair(a, b, "pairs") for a, b in TEXTS],
    ],
)
def test_pairs_are_read_from_whatever_holds_them(given):
    found = ss.load_contrasts(given)
    assert [(p.positive, p.negative) for p in found] == TEXTS
    assert (found.name, found.concept) == ("pairs", "pairs")


def test_a_set_is_itself_and_one_pair_may_stand_alone():
    mood = ss.load_contrasts("mood")
    assert ss.load_contrasts(mood) is mood
    assert len(ss.load_contrasts([("a", "b")])) == len(ss.load_contrasts(("a", "b"))) == 1
    named = ss.ContrastSet.from_pairs(TEXTS, "mine", "joy")
    assert (named.name, named.concept) == ("mine", "joy")


def test_answers_to_a_question_are_conversations():
    row = {"prompt": "How are you?", "chosen": "Great!", "rejected": "Bad."}
    [pair] = ss.load_contrasts([row])
    assert [m.content for m in pair.positive.messages] == ["How are you?", "Great!"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, "in a list"),
        (None, "in a list"),
        ([], "at least one"),
        ([("a",)], "pair 1: .*write each as"),
        ([("a", "b"), 3], "pair 2: .*write each as"),
        ([("a", None)], "pair 1: a text of a pair is NoneType"),
        ([{"good": "a", "bad": "b"}], "names bad, good; name the two texts positive and negative"),
        ([("a", "a")], "pair 1: .*must differ"),
        ({"train": ROWS}, "give one, such as"),
        ({"positive": ["a", "b"], "negative": ["c"]}, "differ in length: 2 of positive, 1 of"),
        ((["a"] * 4, ["b"] * 4), r"list\(zip"),
    ],
)
def test_what_is_no_pair_is_refused_with_its_number_and_the_form_to_give(given, says):
    with pytest.raises(ContrastError, match=says):
        ss.load_contrasts(given)


def test_a_name_is_no_pair():
    with pytest.raises(SteerscopeError, match="load_contrasts"):
        ss.ContrastSet.from_pairs("mood")


WRONG = [
    (
        lambda m, d: ss.generate("gpt2", "w3", n_new=2),
        "generate: model is of the type str.*load_model",
    ),
    (lambda m, d: ss.generate(m, "w3", n_new="3"), "generate: n_new is of the type str: '3'.*int"),
    (lambda m, d: ss.generate(m, "w3", n_new=2.5), "n_new is of the type float"),
    (lambda m, d: ss.find_direction("mean_diff"), "missing a required argument: 'contrast'"),
    (lambda m, d: ss.generate(m, "w3", n_new=2, sampler=0.7), "sampler is of the type float"),
    (lambda m, d: ss.extract(m, TEXTS, 1, batch=3), "argument of extract 'batch'.*'batch_size'"),
    (lambda m, d: ss.extract(TEXTS, m, 1), "extract: model is of the type list"),
    (
        lambda m, d: ss.find_direction("mean_diff", d),
        "cannot find a direction from Direction.*extract",
    ),
    (lambda m, d: ss.kl_from_plain(m, [], d), "prompts is empty"),
    (lambda m, d: ss.save_directions(3, [d]), "path is of the type int"),
    (lambda m, d: ss.save_directions("v.safetensors", [m]), "directions is of the type list"),
    (lambda m, d: ss.stream("gpt2", "w3", n_new=2), "stream: model is of the type str"),
    (lambda m, d: ss.stream(m, "w3", n_new=2.5), "stream: n_new is of the type float"),
    (lambda m, d: ss.steer("gpt2", d), "steer: model is of the type str"),
    (lambda m, d: ss.Dose("much"), "Dose: value is of the type str: 'much'; give the coefficient"),
    (lambda m, d: ss.Dose(1.0, 3), "unit"),
    (lambda m, d: ss.Site(5, "resid_post"), "stream"),
    (lambda m, d: ss.Run.open(None), "Run.open: path is of the type NoneType"),
    (lambda m, d: ss.Conversation(3), "Conversation: messages is of the type int"),
    (lambda m, d: ss.transfer_table(TEXTS), "rows is of the type list"),
    (lambda m, d: d.hook(torch.ones(3)), "dose is of the type Tensor"),
]


@pytest.mark.parametrize(("call", "says"), WRONG)
def test_a_call_that_fails_says_which_argument_is_to_blame(model, direction, call, says):
    with pytest.raises(SteerscopeError, match=says):
        call(model, direction)


def test_a_fault_of_ours_is_not_put_down_to_an_argument():
    def broken(text: str, number: int = 0) -> str:
        raise TypeError(f"a mistake of ours in {text} {number}")

    with pytest.raises(TypeError, match="a mistake of ours in x 3"):
        told(broken)("x", 3)
    with pytest.raises(BadValueError, match="broken: text is of the type int: 3; give"):
        told(broken)(3)
    assert told(len)([1, 2]) == 2


def fails(
    dose: float, scale: Any, *, seed: int = 0, start: int | None = None, n: int = 3, text: str = ""
) -> None:
    """Fail by an error of its own, whatever it is given.

    Args:
        dose: how much, of either sign.
        scale: the length of it.
        seed: of the resamples.
        start: first token, negative from the end.
        n: draws.
        text: what is read.
    """
    raise KeyError("a mistake of ours")


@pytest.mark.parametrize(
    "named",
    [{}, {"seed": 0}, {"seed": 3}, {"start": 0}, {"start": -2}, {"text": ""}, {"text": "w3"}],
)
@pytest.mark.parametrize("dose", [0.25, -3.0, -3, 0, 1e300])
def test_a_good_argument_is_not_blamed_for_a_fault_of_ours(dose, named):
    for scale in (1, 0.5, -1, torch.tensor(2.0)):
        with pytest.raises(KeyError, match="a mistake of ours"):
            told(fails)(dose, scale, **named)


@pytest.mark.parametrize(
    ("dose", "named", "says"),
    [
        (float("nan"), {}, "dose is nan, which is no number"),
        (1.0, {"seed": -1}, r"seed is -1; give another value \(int; seed: of the resamples\)"),
        (1.0, {"seed": 2**40}, "seed is 1099511627776"),
        (1.0, {"n": 0}, r"n is 0; give another value \(int; n: draws\)"),
    ],
)
def test_a_bad_argument_is_blamed_in_a_sentence(dose, named, says):
    with pytest.raises(BadValueError, match=says):
        told(fails)(dose, [1], **named)
    with pytest.raises(
        BadValueError, match=r"scale is empty \(\[\]\); give the length of it \(Any"
    ):
        told(fails)(1.0, [])


def test_memory_that_runs_out_is_put_down_to_no_argument():
    def full(texts: list[str], message: str) -> None:
        raise torch.OutOfMemoryError(message) if "CUDA" in message else RuntimeError(message)

    for message in ("CUDA out of memory.", "DefaultCPUAllocator: can't allocate memory"):
        with pytest.raises(RuntimeError, match=message):
            told(full)([], message)
