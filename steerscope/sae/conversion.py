"""Between sae-lens' autoencoders and ours: the decoder's norms move into the encoder."""

from __future__ import annotations

import warnings
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor

from steerscope.errors import AutoencoderFileError, BadValueError, UnknownNameError
from steerscope.sae.dictionary import Normalisation, SparseAutoencoder, check_k
from steerscope.sites import Site, Stream

if TYPE_CHECKING:
    from sae_lens import SAE, TopKSAE

RUNS = ("standard", "topk", "jumprelu")  # sae-lens' names of the architectures that run
_NORMALISATIONS: dict[str, Normalisation] = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm",
}
_SMALLEST_NORM = 1e-8  # as sae-lens
_FINGERPRINT = "model_fingerprint"
_WRITTEN: tuple[Stream, ...] = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
# options of sae-lens and TransformerLens under which a model has the same activations, to rounding
_SAME_ANYWHERE = frozenset(
    {
        "attn_implementation", "cache_dir", "center_unembed", "default_padding_side", "device", "device_map", "dtype",
        "first_n_layers", "fold_ln", "force_download", "local_files_only", "low_cpu_mem_usage", "max_memory",
        "move_to_device", "n_ctx", "n_devices", "offload_folder", "token", "torch_dtype", "trust_remote_code",
        "use_safetensors",
    }
)  # fmt: skip
# those that move numbers between the weights of the heads, which the stream they write to does not show
_SAME_WRITTEN = _SAME_ANYWHERE | {"fold_value_biases", "refactor_factored_attn_matrices"}


def sae_lens(name: str = "", module: str = "sae_lens") -> Any:
    """sae-lens, or a name of a module of it.

    Raises:
        BadValueError: it is not installed; the message says what to do.
    """
    try:
        found: ModuleType = import_module(module)
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] != "sae_lens":
            raise
        raise BadValueError(
            'autoencoders are read, written and trained by sae-lens, which is not here: pip install "sae-lens>=6.54", '
            "in an environment with TransformerLens 3, as it takes no later one."
        ) from None
    return getattr(found, name) if name else found


def _is_topk(inner: SAE[Any]) -> TypeGuard[TopKSAE]:
    return inner.cfg.architecture() == "topk"


def from_sae_lens(inner: SAE[Any], name: str) -> SparseAutoencoder:
    """An autoencoder that runs in sae-lens, as ours.

    Raises:
        UnknownNameError: of an architecture that steerscope does not run.
        AutoencoderFileError: its place or its normalisation is not one of ours, or it reads another stream than
            that of the model as it is.
    """
    if inner.cfg.architecture() not in RUNS:
        raise UnknownNameError("architecture of an autoencoder", inner.cfg.architecture(), RUNS)
    metadata = inner.cfg.metadata
    norms = inner.W_dec.detach().norm(dim=-1)
    silent = norms < _SMALLEST_NORM  # such a feature says nothing: give it a row and never let it
    decoder = inner.W_dec.detach() / norms.clamp(min=_SMALLEST_NORM)[:, None]
    decoder[silent] = torch.eye(1, inner.cfg.d_in, dtype=decoder.dtype, device=decoder.device)
    norms = norms.masked_fill(silent, 0.0)
    bias = inner.b_dec.detach().clone()
    site = _site(metadata, name)
    encoder, encoder_bias = _without_mean(inner, site, name)
    threshold = getattr(inner, "threshold", None)
    trained_as = metadata.training_architecture
    return SparseAutoencoder(
        site=site,
        encoder=encoder * norms,
        decoder=decoder,
        architecture="batchtopk" if trained_as == "batchtopk" else inner.cfg.architecture(),
        name=name,
        encoder_bias=encoder_bias * norms,
        decoder_bias=bias,
        centre=bias.clone() if inner.cfg.apply_b_dec_to_input else torch.zeros_like(bias),
        model_fingerprint=metadata[_FINGERPRINT],
        k=inner.cfg.k if _is_topk(inner) else None,
        threshold=None if threshold is None else threshold.detach() * norms,
        ranking=_ranking(inner, norms) if _is_topk(inner) else None,
        normalisation=_normalisation(inner.cfg.normalize_activations, name),
        model_name=metadata.model_name,
    )


def to_sae_lens(sae: SparseAutoencoder) -> SAE[Any]:
    """Ours as one that runs in sae-lens."""
    kind = "jumprelu" if sae.threshold is not None else sae.architecture
    theirs = {ours: name for name, ours in _NORMALISATIONS.items()}[sae.normalisation]
    config: dict[str, Any] = {
        "architecture": kind,
        "d_in": sae.d,
        "d_sae": sae.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": torch.equal(sae.centre, sae.decoder_bias),
        "normalize_activations": theirs,
        "metadata": {
            "hook_name": sae.site.hook_name,
            "hook_head_index": sae.site.head,
            "model_name": sae.model_name,
            _FINGERPRINT: sae.model_fingerprint,
            "training_architecture": sae.architecture,
        },
    }
    if kind == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": sae.ranking is None}
    inner = built(config)
    ranking = torch.ones(sae.n_features) if sae.ranking is None else sae.ranking
    weights: dict[str, Tensor] = {
        "W_enc": sae.encoder * ranking,
        "b_enc": sae.encoder_bias * ranking,
        "W_dec": sae.decoder / ranking[:, None],
        "b_dec": sae.decoder_bias,
    }
    if sae.threshold is not None:
        weights["threshold"] = sae.threshold
    inner.load_state_dict({key: value.cpu().contiguous() for key, value in weights.items()})
    return inner


def built(config: dict[str, Any]) -> SAE[Any]:
    """An autoencoder of sae-lens to put weights into; its random start leaves no trace."""
    with torch.random.fork_rng():
        made: SAE[Any] = sae_lens("SAE").from_dict(config)
    return made


def check_config(config: dict[str, Any], name: str) -> None:
    """Refuse a sae-lens configuration that cannot run as ours, before its weights are read.

    Raises:
        UnknownNameError: of an architecture that steerscope does not run.
        AutoencoderFileError: its normalisation is not one of ours.
        BadValueError: k is larger than the dictionary.
        ValueError: it is no configuration that sae-lens writes.
    """
    if not isinstance(config, dict) or not isinstance(config.get("metadata", {}), dict):
        raise ValueError("the configuration or its metadata is no JSON object")
    stated = str(config.get("dtype", "float32")).removeprefix("torch.")
    if not isinstance(getattr(torch, stated, None), torch.dtype):
        raise ValueError(f"its dtype {config['dtype']!r} is none")
    if config.get("d_out") not in (None, config["d_in"]):
        raise ValueError(f"it writes a width of {config['d_out']!r} and reads {config['d_in']!r}")
    if config["architecture"] not in RUNS:
        raise UnknownNameError("architecture of an autoencoder", config["architecture"], RUNS)
    _normalisation(config.get("normalize_activations", "none"), name)
    if config["architecture"] == "topk":
        check_k(config.get("k"), config["d_sae"])


def _normalisation(theirs: str, name: str) -> Normalisation:
    if theirs not in _NORMALISATIONS:
        raise AutoencoderFileError(
            f"{name} was trained on activations normalised by {theirs!r}, whose numbers are not in "
            f"the file; fold them into the weights first. Understood: {', '.join(_NORMALISATIONS)}."
        )
    return _NORMALISATIONS[theirs]


def _site(metadata: Any, name: str) -> Site:
    if metadata.hook_name is None or metadata.hook_name_out not in (None, metadata.hook_name):
        raise AutoencoderFileError(
            f"{name} does not say one hook point that it reads and writes; steerscope needs that."
        )
    try:
        site = Site.at_hook(metadata.hook_name)
        return Site(site.stream, site.layer, metadata.hook_head_index)
    except BadValueError as error:
        raise AutoencoderFileError(f"{name}: {error}") from None


def _ranking(inner: TopKSAE, norms: Tensor) -> Tensor | None:
    """What undoes the norms where the k largest were chosen before they were folded in."""
    if inner.cfg.rescale_acts_by_decoder_norm or torch.allclose(norms, torch.ones_like(norms)):
        return None
    return 1 / norms.clamp(min=_SMALLEST_NORM)


def _without_mean(inner: SAE[Any], site: Site, name: str) -> tuple[Tensor, Tensor]:
    """The encoder and its bias as they read a model whose writing weights were not centred.

    Some released autoencoders were trained on a residual stream from which TransformerLens had taken the mean
    over its components. Taking it from the encoder's columns is the same, if what the columns' mean had of the
    decoder's bias stays in the encoder's: with x̃ = x - mean(x) and W̃ = W less the mean of its columns,
    (x̃ - b) W = x W̃ - b W = (x - b) W̃ - (Σ b) mean(W).
    """
    options = dict(inner.cfg.metadata.model_from_pretrained_kwargs or {})
    centred = bool(options.pop("center_writing_weights", False)) and site.stream in _WRITTEN
    same = _SAME_WRITTEN if site.stream in _WRITTEN else _SAME_ANYWHERE
    changing = {
        k: v for k, v in options.items() if k not in same and v is not None and v is not False
    }
    if changing:
        raise AutoencoderFileError(
            f"{name} was trained on a model loaded with {changing}, which steerscope does not do."
        )
    encoder, bias = inner.W_enc.detach(), inner.b_enc.detach()
    if not centred:
        return encoder, bias
    if inner.cfg.normalize_activations == "constant_norm_rescale":
        raise AutoencoderFileError(
            f"{name} rescales activations to a constant norm after their mean over components was taken out "
            "(center_writing_weights), which steerscope does not do."
        )
    mean = encoder.mean(dim=0)
    if inner.cfg.apply_b_dec_to_input:
        bias = bias - inner.b_dec.detach().sum() * mean
    return encoder - mean, bias


def quiet() -> warnings.catch_warnings:
    """While active, sae-lens' advice on how to load models with it is not shown."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
