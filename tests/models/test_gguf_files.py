"""GGUF files: which weights they hold, and how much of them is in memory at once."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from steerscope.models.lean_loading import lean_loading
from steerscope.models.sources import find_source
from steerscope.models.weight_hashes import numbers_of, weights_fingerprint

WIDTH, HEADS, HIDDEN, WORDS, EXPERTS = 32, 4, 64, 40, 3
WIDE = 768  # of an expert: transformers reads no other size from a file
_DENSE = {"ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN)}
_EXPERTS = {
    "ffn_gate_inp": (EXPERTS, WIDTH), "ffn_gate_exps": (EXPERTS, WIDE, WIDTH),
    "ffn_up_exps": (EXPERTS, WIDE, WIDTH), "ffn_down_exps": (EXPERTS, WIDTH, WIDE),
}  # fmt: skip


def write_gguf(path, kind):
    """A random model of one block, whose matrices are in blocks of 32 numbers of 8 bits."""
    writer, generator = gguf.GGUFWriter(path, kind), np.random.default_rng(0)
    for name, value in {
        "vocab_size": WORDS, "context_length": 64, "embedding_length": WIDTH, "block_count": 1,
        "feed_forward_length": HIDDEN, "attention.head_count": HEADS, "attention.head_count_kv": HEADS,
    }.items():  # fmt: skip
        writer.add_uint32(f"{kind}.{name}", value)
    writer.add_float32(f"{kind}.attention.layer_norm_rms_epsilon", 1e-5)
    attention = {f"attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
    block = attention | {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,)}
    if kind == "qwen3moe":
        for name, value in {
            "expert_count": EXPERTS, "expert_used_count": 2, "expert_feed_forward_length": WIDE,
            "attention.key_length": WIDTH // HEADS, "attention.value_length": WIDTH // HEADS,
        }.items():  # fmt: skip
            writer.add_uint32(f"{kind}.{name}", value)
        block |= _EXPERTS | {f"attn_{part}_norm": (WIDTH // HEADS,) for part in "qk"}
    else:
        block |= _DENSE
    tensors = {f"blk.0.{name}": shape for name, shape in block.items()}
    tensors |= {"token_embd": (WORDS, WIDTH), "output_norm": (WIDTH,)}
    for name, shape in tensors.items():
        numbers = generator.normal(size=shape).astype(np.float32)
        if len(shape) == 1 or name.endswith("gate_inp"):
            writer.add_tensor(f"{name}.weight", numbers)
            continue
        packed = gguf.quantize(numbers, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def loaded(path, dtype):
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)


@pytest.mark.parametrize("kind", ["llama", "qwen3moe"])
def test_the_fingerprint_of_a_file_is_one_in_every_format(tmp_path, kind):
    path = tmp_path / "model.gguf"
    write_gguf(path, kind)
    whole = loaded(path, torch.float32)
    usual = weights_fingerprint(type(whole).__name__, whole.state_dict())
    source = find_source(str(path))
    for dtype in (torch.float32, torch.bfloat16):
        assert source.fingerprint(loaded(path, dtype)) == usual
    with lean_loading():
        lean = loaded(path, torch.float32).state_dict()
    for name, weight in whole.state_dict().items():
        assert torch.equal(lean[name], weight), name


def test_a_file_is_measured_with_one_of_its_tensors_there_at_a_time(tmp_path, monkeypatch):
    path, there = tmp_path / "model.gguf", []
    write_gguf(path, "llama")

    def measured(weight, done=None):
        there.append(weight)
        standing = [w for w in there if w.untyped_storage().nbytes() > w.element_size()]
        assert [w is weight for w in standing] == [True]
        return numbers_of(weight, done)

    source, narrow = find_source(str(path)), loaded(path, torch.bfloat16)
    usual = source.fingerprint(narrow)
    monkeypatch.setattr("steerscope.models.sources.numbers_of", measured)
    assert source.fingerprint(narrow) == usual
    assert len(there) == 11
