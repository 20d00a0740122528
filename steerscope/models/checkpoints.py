"""A transformers checkpoint, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)

from steerscope.errors import ModelLoadError

_LISTED = 8
_FAULTS = {
    "missing_keys": "lacks {} that the architecture needs, which would be random numbers",
    "mismatched_keys": "has {} of another shape than its configuration says",
    "unexpected_keys": "has {} that the architecture does not know, which would be ignored",
}


def auto_class(config: Any) -> Any:
    """The class of transformers that finds the model of a configuration.

    Some that also look at pictures, and write about them from left to right, are known to another alone.
    """
    kind = type(config)
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING and kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def read_checkpoint(source: str, config: Any, options: Mapping[str, Any]) -> Any:
    """The transformers model of a folder or hub name.

    Args:
        source: the folder or name.
        config: its configuration.
        options: what else transformers is to know, such as `dtype`.

    Raises:
        ModelLoadError: it is no causal language model, or tensors are missing, of another shape, or
            not known to the architecture.
    """
    _check_writes(config)
    try:
        read: Any = auto_class(config).from_pretrained(
            source,
            config=config,
            attn_implementation="eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are told and not printed
            **options,
        )
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise ModelLoadError(
            f"{type(config).__name__} is of no model that writes a text from left to right, as far "
            "as transformers knows; give a causal language model."
        ) from error
    model, told = read
    check_whole(type(model).__name__, told)
    return model


def check_unadapted(network: Any) -> None:
    """Refuse a model with adapters of PEFT, whose scales and switches are no weights of its.

    Raises:
        ModelLoadError: transformers has put one in.
    """
    if getattr(network, "_hf_peft_config_loaded", False):
        raise ModelLoadError(
            "an adapter of PEFT lies beside its weights or was added to it, and how strongly it acts is no "
            "weight by which its vectors could be told from others; merge it (merge_and_unload of "
            "PEFT) and save the model, or load it without its adapter_config.json."
        )


def _check_writes(config: Any) -> None:
    """Refuse what transformers would turn into a model that writes, although it was trained as none.

    Raises:
        ModelLoadError: an encoder with a decoder, or a model that fills in masked words.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ModelLoadError(
            f"{type(config).__name__} is of no model that writes a text from left to right alone, but "
            "of an encoder with a decoder; give a causal language model."
        )
    kinds = [str(kind) for kind in getattr(config, "architectures", None) or ()]
    if (
        kinds
        and all(k.endswith("ForMaskedLM") for k in kinds)
        and not getattr(config, "is_decoder", False)
    ):
        raise ModelLoadError(
            f"{kinds[0]} fills in masked words and writes no text from left to right; give a causal "
            "language model."
        )


def check_whole(architecture: str, told: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that is not, tensor for tensor, what its architecture holds.

    Args:
        architecture: name of the transformers class.
        told: what transformers says of the loading, tied and known spare tensors left out.

    Raises:
        ModelLoadError: it is not; the message lists the tensors.
    """
    faults = [
        words.format(_list(names)) for kind, words in _FAULTS.items() if (names := told.get(kind))
    ]
    if faults:
        raise ModelLoadError(
            f"the checkpoint is not a whole {architecture}: it {'; it '.join(faults)}. Save it again "
            "from the model it was trained as, or mend the names of its tensors."
        )


def _list(names: Iterable[Any]) -> str:
    """How many tensors, and the first of them."""
    listed = sorted(n if isinstance(n, str) else str(n[0]) for n in names)
    more = "" if len(listed) <= _LISTED else f" and {len(listed) - _LISTED} more"
    number = f"{len(listed)} tensor{'s' if len(listed) > 1 else ''}"
    return f"{number} ({', '.join(listed[:_LISTED])}{more})"
