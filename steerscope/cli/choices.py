"""Names that options take, for their help and for the shell's completion.

Kept as text, since the modules that know them load torch; a test compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

MEASURED = (  # by a study or a sweep, which takes null directions by itself
    "mean_diff", "pca_uncentred", "pca_centred", "pca_weighted", "whitened", "logistic_probe",
    "repe", "sspace_mean", "sspace_aggregate_then_project", "sspace_project_then_aggregate",
    "gradient_mean", "gradient_svd", "fisher_empirical", "fisher_ief", "fisher_covariance",
    "fisher_positive", "fisher_negative", "fisher_difference",
)  # fmt: skip
METHODS = (
    *MEASURED, "pca_pair_centred", "random", "covariance_matched_random", "label_shuffled",
    "other_concept",
)  # fmt: skip
STREAMS = (
    "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "mlp_pre",
    "mlp_pre_linear", "mlp_post",
)  # fmt: skip
LOSSES = ("margin", "hinge", "reference", "tanh", "separation", "cosine", "log_magnitude")
BACKBONES = ("auto", "hooked", "bridge")
DTYPES = ("auto", "float32", "bfloat16", "float16")
LENGTHS = ("natural", "relative", "absolute")
UNITS = (*LENGTHS, "kl", "degrees")
OPERATORS = ("add", "project_out", "clamp", "rotate", "rotate_to")
FORMATS = ("html", "png", "svg", "pdf")
THEMES = ("light", "dark")


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return ", ".join(names)


def completing(names: Sequence[str]) -> Callable[[str], list[str]]:
    """What the shell offers for the beginning of one of these names."""

    def offered(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return offered


def contrast_names(incomplete: str) -> list[str]:
    """The bundled contrast sets that begin so."""
    from steerscope.texts.bundled import bundled_contrasts

    return [name for name in bundled_contrasts() if name.startswith(incomplete)]
