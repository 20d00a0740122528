"""Models of the shapes that are timed: the bundled one, and random weights made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

SHAPES = ("microworld", "gpt2-124m", "qwen3-0.6b")


def make_model(shape: str, folder: Path) -> Path:
    """A folder with the weights of a shape, and a tokenizer whose words are `w3`, `w4`, ..."""
    if shape == "microworld":
        return Path(__file__).parent.parent / "data" / "microworld"
    torch.manual_seed(0)
    if shape == "gpt2-124m":
        model: Any = hf.GPT2LMHeadModel(hf.GPT2Config())
    else:
        model = hf.Qwen3ForCausalLM(
            hf.Qwen3Config(
                vocab_size=151_936,
                hidden_size=1024,
                intermediate_size=3072,
                num_hidden_layers=28,
                num_attention_heads=16,
                num_key_value_heads=8,
                head_dim=128,
                tie_word_embeddings=True,
            )
        )
    path = folder / shape
    model.save_pretrained(path)
    n_vocab = model.config.vocab_size
    names = ["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(3, n_vocab))]
    words = Tokenizer(
        models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    hf.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    ).save_pretrained(path)
    return path


def write_vectors(model: Path, folder: Path) -> int:
    """A random unit vector for each layer, in `vectors.safetensors`; the number of layers."""
    config = hf.AutoConfig.from_pretrained(model)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(config.num_hidden_layers, config.hidden_size, generator=generator)
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    save_file({str(i): v.clone() for i, v in enumerate(vectors)}, folder / "vectors.safetensors")
    return config.num_hidden_layers


def random_prompts(model: Path, n_prompts: int, n_tokens: int) -> list[list[int]]:
    """Token ids that begin with the beginning-of-sequence token of all these tokenizers."""
    n_vocab = hf.AutoConfig.from_pretrained(model).vocab_size
    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(3, n_vocab, (n_prompts, n_tokens), generator=generator)
    prompts[:, 0] = 1
    return prompts.tolist()
