"""Text classifiers of transformers: what their outputs are, and texts of any length."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

from steerscope.errors import ModelLoadError
from steerscope.models.text_classifiers import load_text_classifier
from tests.conftest import word_tokenizer

SHAPE = {"vocab_size": 96, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT = {**SHAPE, "intermediate_size": 8, "max_position_embeddings": 20}
TEXTS = ["w3 w4", "w9", "w5 w6 w7"]


def saved(folder, model, *, pad="</s>", longest=None):
    tokenizer = word_tokenizer()
    tokenizer.pad_token = pad
    if longest is not None:
        tokenizer.model_max_length = longest
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return load_text_classifier(str(folder))


def bert(**config):
    return hf.BertForSequenceClassification(hf.BertConfig(**BERT, pad_token_id=2, **config)).eval()


def logits(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].double()


@pytest.mark.parametrize(
    "problem", ["multi_label_classification", "single_label_classification", None]
)
def test_labels_of_which_several_may_be_true_are_read_one_by_one(tmp_path, problem):
    model = bert(num_labels=3, problem_type=problem)
    found = saved(tmp_path, model).probabilities(TEXTS)
    expected = logits(model, [1, 3, 4])
    each = problem == "multi_label_classification"
    expected = expected.sigmoid() if each else expected.softmax(-1)
    torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=1e-6)


def test_a_model_that_was_not_trained_to_classify_is_refused(tmp_path):
    model = hf.BertForMaskedLM(hf.BertConfig(**BERT))
    with pytest.raises(ModelLoadError, match="lacks .*classifier.weight.*random numbers"):
        saved(tmp_path, model)


def test_weights_that_a_classifier_does_not_use_are_no_fault(tmp_path):
    config = hf.RobertaConfig(**BERT, pad_token_id=2, num_labels=2)
    model = hf.RobertaForSequenceClassification(config)
    model.roberta.pooler = torch.nn.Linear(8, 8)  # as classifiers made of the bare model have
    assert saved(tmp_path, model).labels == ("LABEL_0", "LABEL_1")


MODELS = {
    "bert": (lambda: bert(), 20),
    "roberta": (  # whose positions begin behind the padding row
        lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**BERT, pad_token_id=2)),
        17,
    ),
    "gpt2": (
        lambda: hf.GPT2ForSequenceClassification(
            hf.GPT2Config(
                vocab_size=96, n_embd=8, n_layer=1, n_head=2, n_positions=20, pad_token_id=2
            )
        ),
        20,
    ),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("longest", [None, 10])
def test_a_text_beyond_the_context_is_read_as_its_beginning(tmp_path, kind, longest):
    make, n = MODELS[kind]
    classify = saved(tmp_path, make().eval(), longest=longest)
    n = longest or n
    assert classify.context == n
    words = [f"w{i}" for i in range(3, 60)]
    found = classify.probabilities([" ".join(words), " ".join(words[: n - 1])])  # <s> is the first
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("kind", MODELS)
def test_without_a_padding_token_each_text_is_read_by_itself(tmp_path, kind):
    model = MODELS[kind][0]().eval()
    together = saved(tmp_path / "with", model).probabilities(TEXTS)
    alone = saved(tmp_path / "without", model, pad=None).probabilities(TEXTS)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)
