"""Texts to ids and back: what begins a text, what ends it, how tokens read."""

from __future__ import annotations

import json
import shutil

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from steerscope.engine.generation import generate
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.extraction.activations import extract
from steerscope.models.loading import load_model
from steerscope.models.vocabulary import Vocabulary
from steerscope.sites import Site
from steerscope.texts.contrasts import ContrastPair, ContrastSet


def sentencepiece(prefix: str = "<s> $A", **special: str) -> PreTrainedTokenizerFast:
    """A small tokenizer that writes a space as ▁, in front of a text too, and unknown letters as bytes."""
    pieces = ["<unk>", "<s>", "</s>", "[g]", *(f"<0x{b:02X}>" for b in range(256))]
    pieces += ["▁", *"abcdehinotT.", "▁a", "▁T", "▁c", "▁t", "he", "▁The", "▁the"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = [
        ("▁", "a"), ("▁", "T"), ("▁", "c"), ("▁", "t"), ("h", "e"), ("▁T", "he"), ("▁t", "he"),
    ]  # fmt: skip
    made = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    if prefix:
        made.post_processor = processors.TemplateProcessing(
            single=prefix, special_tokens=[("<s>", 1), ("</s>", 2), ("[g]", 3)]
        )
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} | special
    return PreTrainedTokenizerFast(
        tokenizer_object=made, additional_special_tokens=["[g]"], **named
    )


def byte_level() -> PreTrainedTokenizerFast:
    """A small tokenizer of bytes, as GPT-2's, that adds nothing by itself."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<|end|>": 0, **{letter: i for i, letter in enumerate(letters, 1)}}
    vocab["he"], vocab["Ġa"] = len(vocab), len(vocab) + 1
    made = Tokenizer(models.BPE(vocab, [("h", "e"), ("Ġ", "a")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|end|>", eos_token="<|end|>")


# -- beginnings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tokenizer",
    [
        sentencepiece(),
        sentencepiece(""),
        sentencepiece("[g] <s> $A"),
        sentencepiece("</s> $A"),
        byte_level(),
    ],
    ids=["<s>", "none", "[g]<s>", "</s>", "bytes"],
)
def test_a_text_begins_as_the_tokenizer_itself_begins_it(tokenizer):
    for text in ("The cat", " a", "a. The", "\nhe"):
        assert Vocabulary(tokenizer).begin(text, "auto") == tokenizer(text).input_ids


def test_what_a_tokenizer_puts_behind_a_text_is_left_out():
    tokenizer = sentencepiece("<s> $A </s>")
    assert Vocabulary(tokenizer).begin("The", "auto") == tokenizer("The").input_ids[:-1]


def test_a_longer_beginning_is_kept_and_comes_once():
    vocabulary = Vocabulary(sentencepiece("[g] <s> $A"))
    the = vocabulary.bare("The")
    for text in ("The", "<s>The", "[g]<s>The"):
        assert vocabulary.begin(text, "auto") == [3, 1, *the], text
    assert vocabulary.begin("The", "always") == [3, 1, *the]
    assert vocabulary.begin("The", "never") == the


def test_a_template_that_writes_a_space_before_its_beginning_gets_no_second_one():
    vocabulary = Vocabulary(sentencepiece())
    ids = vocabulary.begin(" <s>The", "auto")
    assert ids.count(1) == 1
    assert ids == vocabulary.bare(" <s>The")


def test_always_and_never_are_what_they_say():
    vocabulary = Vocabulary(sentencepiece(""))
    the = vocabulary.bare("The")
    assert vocabulary.begin("The", "auto") == the
    assert vocabulary.begin("The", "always") == [1, *the]
    assert vocabulary.begin("<s>The", "always") == [1, *the]
    without = Vocabulary(PreTrainedTokenizerFast(tokenizer_object=byte_level().backend_tokenizer))
    with pytest.raises(BadValueError, match="has no beginning-of-sequence token"):
        without.begin("he", "always")


@pytest.fixture
def bare_folder(tiny_folder, tmp_path):
    """A tiny model whose tokenizer has a beginning token and does not add it."""
    folder = tmp_path / "bare"
    shutil.copytree(tiny_folder("llama"), folder)
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"post_processor": None}))
    return folder


def test_the_choice_of_a_beginning_reaches_every_verb(bare_folder):
    model, site = load_model(bare_folder), Site("resid_post", 1)
    pairs = ContrastSet("words", (ContrastPair("w5 w6", "w7 w8", "c"),))
    written = ContrastSet("words", (ContrastPair("<s> w5 w6", "<s> w7 w8", "c"),))
    plain = extract(model, pairs, [site])[site].positive
    begun = extract(model, pairs, [site], bos="always")[site].positive
    assert not plain.allclose(begun)
    assert begun.allclose(extract(model, written, [site])[site].positive, atol=1e-6)
    [[there]] = generate(model, ["w5 w6"], n_new=5, bos="always")
    assert there.tokens == generate(model, [[1, 5, 6]], n_new=5)[0][0].tokens
    assert model.beginning == []
    model.bos = "always"
    assert model.tokens("w5 w6") == [1, 5, 6]
    assert model.beginning == [1]
    with pytest.raises(UnknownNameError, match="always, auto, never"):
        model.tokens("w5", bos="sometimes")


# -- ends -------------------------------------------------------------------------------------------


def test_every_end_token_that_the_checkpoint_names_ends_a_text(tiny_folder, tmp_path):
    folder = tmp_path / "many-ends"
    shutil.copytree(tiny_folder("llama"), folder)
    [[free]] = generate(load_model(folder), ["w5 w6"], n_new=12)
    end = next(t for i, t in enumerate(free.tokens) if i > 1 and t not in free.tokens[:i])
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": [2, end]}))
    for backbone in ("hooked", "bridge"):
        model = load_model(folder, backbone=backbone)
        assert model.vocabulary.ends == {2, end}
        [[ended]] = generate(model, ["w5 w6"], n_new=12)
        assert ended.ended
        assert ended.tokens == free.tokens[: free.tokens.index(end)]
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    ids = model.tokenizer("w5 w6", return_tensors="pt")
    whole = theirs.generate(**ids, max_new_tokens=12, do_sample=False)[0, 3:].tolist()
    assert whole == [*ended.tokens, end]


# -- reading back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", [sentencepiece(), byte_level()], ids=["▁", "bytes"])
def test_prompt_and_continuation_put_together_are_the_whole_text(tokenizer):
    vocabulary = Vocabulary(tokenizer)
    for whole in ("The cat the a", "The. a hat é on"):
        ids = vocabulary.begin(whole, "auto")
        for cut in range(len(vocabulary.beginning), len(ids) + 1):
            before, after = ids[:cut], ids[cut:]
            prompt, text = vocabulary.text(before), vocabulary.text(after, before)
            if "\ufffd" not in prompt + text:  # no letter is cut in two
                assert prompt + text == whole, cut
        assert vocabulary.text(ids) == whole


def test_a_continuation_behind_a_special_token_keeps_its_space():
    vocabulary = Vocabulary(sentencepiece())
    the = vocabulary.tokenizer.convert_tokens_to_ids("▁the")
    asked = [1, *vocabulary.bare("a"), 3]
    assert vocabulary.text([the, 2], asked) == " the"
    assert vocabulary.text([the], [1]) == "the"  # nothing stands before it


@pytest.mark.parametrize("tokenizer", [sentencepiece(), byte_level()], ids=["▁", "bytes"])
def test_no_two_tokens_read_alike_and_spaces_show(tokenizer):
    vocabulary = Vocabulary(tokenizer)
    labels = [vocabulary.label(i) for i in range(len(tokenizer))]
    assert len(set(labels)) == len(labels)
    assert " a" in labels
    assert "a" in labels
    assert "\ufffd" not in "".join(labels)
    assert vocabulary.label(len(tokenizer) + 7) == f"<{len(tokenizer) + 7}>"


@pytest.mark.parametrize("tokenizer", [sentencepiece(), byte_level()], ids=["▁", "bytes"])
def test_the_bytes_of_the_tokens_are_those_of_the_text(tokenizer):
    vocabulary = Vocabulary(tokenizer)
    for text in (" The a", " hat é on", " the ☃, \ufffd and 🙂"):
        ids = vocabulary.bare(text)
        spelled = b"".join(vocabulary.spelled(token) for token in ids)
        assert spelled.decode().split() == text.split()  # sentencepiece puts a space in front
    assert [list(vocabulary.spelled(t)) for t in vocabulary.bare("é")[-2:]] == [[195], [169]]
