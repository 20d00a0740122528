"""Builders for tests: tiny models, planted contrasts, directions, rows; and equality but for rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from steerscope.directions import Direction
from steerscope.doses import Scale
from steerscope.eigengaps import HeadSpectra, HeadStatistic, KeyView
from steerscope.extraction.activations import Contrast, Gradients, Provenance
from steerscope.models.lens_model import LensModel
from steerscope.runs.results import Row
from steerscope.sites import Site

FAMILIES = ("gpt2", "llama", "qwen3", "gemma3", "phi3", "neox", "lfm2")
_BASE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_BASE, "num_key_value_heads": 2}


# The longest chain of additions in a pass of the small models: 3 blocks of some sums over 32 to 64.
PASS = 500


def tiny_model(family: str, seed: int = 0) -> Any:
    """A random transformers model with weights large enough to make every part matter."""
    torch.manual_seed(seed)
    model = {
        "gpt2": lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(
                vocab_size=96,
                n_embd=32,
                n_layer=3,
                n_head=4,
                n_positions=64,
                bos_token_id=1,
                eos_token_id=2,
            )  # fmt: skip
        ),
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_GROUPED)),
        "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**_GROUPED, head_dim=8)),
        "gemma3": lambda: hf.Gemma3ForCausalLM(
            hf.Gemma3TextConfig(**_GROUPED, head_dim=8, sliding_window=16)
        ),
        "phi3": lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**_GROUPED, pad_token_id=0)),
        "neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**_BASE)),
        "lfm2": lambda: hf.Lfm2ForCausalLM(
            hf.Lfm2Config(**_GROUPED, layer_types=["conv", "full_attention", "conv"])
        ),
        "opt": lambda: hf.OPTForCausalLM(
            hf.OPTConfig(**_BASE, ffn_dim=64, word_embed_proj_dim=32, pad_token_id=0)
        ),
        "bitnet": lambda: hf.BitNetForCausalLM(hf.BitNetConfig(**_GROUPED)),
        "llama4": lambda: hf.Llama4ForCausalLM(
            hf.Llama4TextConfig(**_GROUPED, head_dim=8, num_local_experts=2, moe_layers=[])
        ),
        "gemma3_pictures": lambda: hf.Gemma3ForConditionalGeneration(
            hf.Gemma3Config(
                text_config=hf.Gemma3TextConfig(**_GROUPED, head_dim=8, sliding_window=16),
                vision_config=hf.SiglipVisionConfig(
                    hidden_size=16,
                    intermediate_size=16,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    image_size=8,
                    patch_size=4,
                ),
                mm_tokens_per_image=1,
                image_token_index=3,
            )
        ),  # fmt: skip
        "granite": lambda: hf.GraniteForCausalLM(
            hf.GraniteConfig(**_GROUPED, residual_multiplier=0.5)
        ),
        "olmo_clipped": lambda: hf.OlmoForCausalLM(hf.OlmoConfig(**_GROUPED, clip_qkv=0.5)),
        "gpt_oss": lambda: hf.GptOssForCausalLM(
            hf.GptOssConfig(
                **_GROUPED,
                head_dim=8,
                num_local_experts=2,
                num_experts_per_tok=2,
                sliding_window=16,
            )
        ),
        "qwen3_5": lambda: hf.Qwen3_5ForCausalLM(
            hf.Qwen3_5TextConfig(**_GROUPED, head_dim=8, layer_types=["full_attention"] * 3)
        ),
    }[family]()
    for name, weight in model.named_parameters():
        scale = "norm" in name or ".ln_" in name
        centre = 1.0 if scale and name.endswith("weight") and family != "gemma3" else 0.0
        torch.nn.init.normal_(weight, centre, 0.3)
    return model.eval()


def origin(model: LensModel | None = None, **changes: Any) -> Provenance:
    """Provenance of a made-up direction."""
    values: dict[str, Any] = {
        "model": "made up" if model is None else model.name,
        "fingerprint": "none" if model is None else model.fingerprint,
        "contrasts": "made up",
        "contrasts_sha256": "0" * 64,
        "read": "token -1",
        "n_pairs": 1,
        "versions": {},
    }
    return Provenance(**{**values, **changes})


def random_direction(
    model: LensModel, site: Site, *, seed: int = 0, natural: float = 2.0, relative: float = 5.0
) -> Direction:
    """A random unit vector at a site of a model."""
    vector = torch.randn(model.width(site), generator=torch.Generator().manual_seed(seed))
    return Direction(
        site, vector / vector.norm(), Scale(natural, relative), "random", origin(model)
    )


def planted_contrast(
    *, n_pairs: int = 60, d: int = 100, length: float = 3.0, noise: float = 0.2, seed: int = 0
) -> tuple[Contrast, torch.Tensor]:
    """A contrast whose classes differ by `length` along a known unit vector."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(d, generator=generator)
    truth = truth / truth.norm()
    negative = torch.randn(n_pairs, d, generator=generator)
    jitter = noise * torch.randn(n_pairs, d, generator=generator)
    contrast = Contrast(
        Site("resid_post", 1), negative + length * truth + jitter, negative, 10.0, origin()
    )
    return with_evidence(contrast, truth, seed=seed), truth


def with_evidence(contrast: Contrast, truth: torch.Tensor, *, seed: int = 0) -> Contrast:
    """The contrast with all that a method may need; the weight writes mostly along the truth."""
    generator = torch.Generator().manual_seed(1000 + seed)
    n_pairs, d = contrast.positive.shape
    strong = 50 * truth * torch.randn(8, 1, generator=generator)
    pushed = contrast.negative + torch.randn(d, generator=generator)
    other = Contrast(
        contrast.site, pushed, contrast.negative, contrast.relative, origin(contrasts="another")
    )
    descents = 1e-3 * (truth + torch.randn(2, n_pairs, d, generator=generator) / d**0.5)
    gradients = Gradients(
        -descents[0], descents[1], torch.ones(n_pairs, 2), "made up", "apart", "mean"
    )
    return replace(
        contrast,
        gradients=gradients,
        log_likelihood=torch.randn(n_pairs, generator=generator) / 2 - 4,
        weight=torch.cat([strong, torch.randn(40, d, generator=generator)]),
        other=other,
    )


def swapped(contrast: Contrast) -> Contrast:
    """The same pairs with their classes swapped, for losses whose slope is the same either way."""
    gradients = contrast.gradients
    if gradients is not None:
        sign = 1 if gradients.moves == "apart" else -1
        gradients = replace(
            gradients,
            positive=sign * gradients.negative,
            negative=sign * gradients.positive,
            output_norm=gradients.output_norm.flip(1),
        )
    return replace(
        contrast, positive=contrast.negative, negative=contrast.positive, gradients=gradients
    )


def spectra_with_gaps(gap: torch.Tensor, layers: tuple[int, ...]) -> HeadSpectra:
    """Spectra of which only the gap, layer by head, means anything."""
    statistic = HeadStatistic(gap, gap, gap, "ratio")
    return HeadSpectra(KeyView(), layers, {"gap": statistic}, {"random": gap}, 2, 20)


def row(**changes: Any) -> Row:
    """A row of results with everything unremarkable but what is given."""
    values: dict[str, Any] = {
        "cell": "plain", "concept": "mood", "method": "plain", "stream": "", "layer": -1,
        "head": -1, "operator": "", "scope": "", "dose_absolute": 0.0, "dose_relative": 0.0,
        "dose_natural": 0.0, "kl_nats": 0.0, "prompt": 0, "split": "select", "seed": -1,
        "metric": "flipped", "unit": "share", "value": 0.0, "status": "ok",
    }  # fmt: skip
    return Row(**{**values, **changes})


N_PROMPTS = 60


def steered_rows(
    layer, dose, share, *, method="mean_diff", seed=-1, split="select", topic=1.0, kl=0.1
):
    """Rows of one condition: the first `share` of the prompts flipped, `topic` of them kept."""
    cell = f"{method} {layer} {dose} {seed}"
    label = {
        "cell": cell, "method": method, "stream": "resid_post", "layer": layer, "operator": "add",
        "scope": "all", "dose_absolute": 10 * dose, "dose_relative": dose / 5,
        "dose_natural": dose, "kl_nats": kl, "seed": seed, "split": split,
    }  # fmt: skip
    return [
        row(**label, prompt=p, metric=metric, value=float(p < round(at * N_PROMPTS)))
        for metric, at in (("flipped", share), ("kept_topic", topic))
        for p in range(N_PROMPTS)
    ]


def plain_rows(split="select"):
    return [
        row(prompt=p, metric=m, value=v, split=split)
        for m, v in (("flipped", 0.0), ("kept_topic", 1.0))
        for p in range(N_PROMPTS)
    ]


def count_hooks(model: LensModel) -> int:
    """Forward hooks and pre-hooks on every module of a model."""
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.transformer.modules()
    )


def null_rows(n=19, share=0.1, *, kinds=("null_random", "null_covariance_matched")):
    """Rows of nulls at a layer and dose of their own, on the held-out prompts."""
    rows = plain_rows("null")
    for kind in kinds:
        for seed in range(n):
            rows += steered_rows(1, 1.0, share, method=kind, seed=seed, split="null")
    return rows


def rounding(terms: int, size: float, dtype: torch.dtype = torch.float32) -> float:
    """Most that two orders of one sum can differ by: terms x unit of the last place x size.

    Each of n additions is wrong by half a unit in the last place of what was summed so far, which is
    at most `size`, the sum of the absolute terms or a bound of it; two sums, twice that.
    """
    return terms * torch.finfo(dtype).eps * size


def assert_rounded(
    found: Tensor, expected: Tensor, *, terms: int, size: float | None = None
) -> None:
    """The same numbers, added up in another order.

    For what is not the very same operation on the very same shapes; that alone is equal bit by bit.

    Args:
        found: what is tested.
        expected: what it must be, in the same number format.
        terms: additions behind each number, one after the other.
        size: largest sum of absolute terms; None for the largest number expected.
    """
    assert found.dtype == expected.dtype
    size = float(expected.abs().max()) if size is None else size
    atol = rounding(terms, size, expected.dtype)
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)
