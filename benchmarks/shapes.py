"""Models of the shapes that are timed: the bundled one, and random weights made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

SHAPES = ("microworld", "gpt2-124m", "qwen3-0.6b", "qwen3-4b")
QWEN3 = {  # width, of the MLP, blocks, heads
    "qwen3-0.6b": (1024, 3072, 28, 16),
    "qwen3-4b": (2560, 9728, 36, 32),
}


def make_model(shape: str, folder: Path, *, device: str = "cpu", dtype: str = "float32") -> Path:
    """A folder with random weights of a shape, and a tokenizer of words; a folder is its own shape."""
    if shape == "microworld":
        return Path(__file__).parent.parent / "data" / "microworld"
    if Path(shape).is_dir():
        return Path(shape)
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = hf.AutoModelForCausalLM.from_config(config_of(shape), dtype=dtype)
    path = folder / shape
    model.save_pretrained(path)
    n_vocab = model.config.vocab_size
    make_tokenizer(n_vocab).save_pretrained(path)
    return path


def make_tokenizer(n_vocab: int) -> hf.PreTrainedTokenizerFast:
    """A tokenizer of words, `w3`, `w4` and so on."""
    names = ["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(3, n_vocab))]
    words = Tokenizer(
        models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )


def config_of(shape: str) -> hf.PretrainedConfig:
    """The configuration of a shape."""
    if shape == "gpt2-124m":
        return hf.GPT2Config()
    width, inner, n_layers, n_heads = QWEN3[shape]
    return hf.Qwen3Config(
        vocab_size=151_936,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )


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
