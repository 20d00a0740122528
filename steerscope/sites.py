"""Where in the model: streams, layers, heads, and the one place that knows hook names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from steerscope.errors import BadValueError, check_name

Stream = Literal[
    "resid_pre",
    "resid_mid",
    "resid_post",
    "attn_out",
    "mlp_out",
    "q",
    "k",
    "v",
    "z",
    "mlp_pre",
    "mlp_pre_linear",
    "mlp_post",
    "rot_k",
]
# Rotated keys can be read but not moved: a pass with a cache may see those of earlier tokens again.
READ_ONLY_STREAMS: frozenset[Stream] = frozenset({"rot_k"})
STREAMS: tuple[Stream, ...] = tuple(s for s in get_args(Stream) if s not in READ_ONLY_STREAMS)
HEAD_STREAMS: frozenset[Stream] = frozenset({"q", "k", "v", "z", "rot_k"})

_HOOKS: dict[Stream, str] = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "z": "attn.hook_z",
    "mlp_pre": "mlp.hook_pre",
    "mlp_pre_linear": "mlp.hook_pre_linear",
    "mlp_post": "mlp.hook_post",
    "rot_k": "attn.hook_rot_k",
}

# Order within a block; streams in one group may be computed in either order.
_ORDER: tuple[tuple[Stream, ...], ...] = (
    ("resid_pre",),
    ("q", "k", "v"),
    ("z",),
    ("attn_out",),
    ("resid_mid",),
    ("mlp_pre", "mlp_pre_linear"),
    ("mlp_post",),
    ("mlp_out",),
    ("resid_post",),
)
_RANK: dict[Stream, int] = {s: rank for rank, group in enumerate(_ORDER) for s in group}

_WORDS: dict[Stream, str] = {
    "resid_pre": "input of block {0}, 0-based = HF hidden_states[{0}]",
    "resid_mid": "residual stream of block {0} between attention and MLP, 0-based",
    "resid_post": "output of block {0}, 0-based = HF hidden_states[{1}], before any final norm",
    "attn_out": "attention output of block {0}, 0-based, as added to the residual stream",
    "mlp_out": "MLP output of block {0}, 0-based, as added to the residual stream",
    "q": "queries of block {0}, 0-based, before rotation",
    "k": "keys of block {0}, 0-based, before rotation",
    "v": "values of block {0}, 0-based",
    "z": "head outputs of block {0}, 0-based, before the output projection",
    "mlp_pre": "MLP pre-activation (gate) of block {0}, 0-based",
    "mlp_pre_linear": "MLP linear branch (up) of block {0}, 0-based",
    "mlp_post": "MLP activation of block {0}, 0-based, before the output projection",
    "rot_k": "keys of block {0}, 0-based, after rotation",
}

_PATTERN = re.compile(r"(?P<stream>[a-z_]+)\.(?P<layer>[0-9]{1,5})(?:\.h(?P<head>[0-9]{1,5}))?")
_HOOK_PATTERN = re.compile(r"blocks\.(?P<layer>[0-9]{1,5})\.(?P<hook>[a-z_.]+)")


def check_stream(name: str) -> Stream:
    """The stream of that name.

    Raises:
        UnknownNameError: there is none; the message lists the known streams.
    """
    known: tuple[Stream, ...] = get_args(Stream)
    return check_name("stream", name, known)


@dataclass(frozen=True)
class Site:
    """A place in the model: a stream at a layer, and at one head where the stream has heads.

    Layers and heads are 0-based; negatives are refused. On a model with grouped queries, `k` and
    `v` number the key-value heads.

    Raises:
        UnknownNameError: the stream does not exist.
        BadValueError: a negative layer or head, or a head on a stream without heads.
    """

    stream: Stream
    layer: int
    head: int | None = None

    def __post_init__(self) -> None:
        check_stream(self.stream)
        if self.layer < 0:
            raise BadValueError(f"layer {self.layer} is negative; layers count from 0.")
        if self.head is not None and self.stream not in HEAD_STREAMS:
            raise BadValueError(
                f"stream {self.stream!r} has no heads; heads exist at {', '.join(sorted(HEAD_STREAMS))}."
            )
        if self.head is not None and self.head < 0:
            raise BadValueError(f"head {self.head} is negative; heads count from 0.")

    def __str__(self) -> str:
        return f"{self.stream}.{self.layer}" + ("" if self.head is None else f".h{self.head}")

    @classmethod
    def parse(cls, text: str) -> Site:
        """The site written as `resid_post.6` or `z.6.h3`: inverse of `str`.

        Raises:
            BadValueError: the text is not of that form.
            UnknownNameError: the stream does not exist.
        """
        match = _PATTERN.fullmatch(text)
        if not match:
            raise BadValueError(
                f"cannot read site {text!r}; write it as stream.layer, such as resid_post.6, "
                "or stream.layer.hHEAD, such as z.6.h3."
            )
        head = match["head"]
        stream = check_stream(match["stream"])
        return cls(stream, int(match["layer"]), None if head is None else int(head))

    @property
    def hook_name(self) -> str:
        """Name of the TransformerLens hook point that holds this site."""
        return f"blocks.{self.layer}.{_HOOKS[self.stream]}"

    @classmethod
    def at_hook(cls, name: str) -> Site:
        """The site, all heads together, of a TransformerLens hook point: inverse of `hook_name`.

        Raises:
            BadValueError: no site has a hook point of that name.
        """
        match = _HOOK_PATTERN.fullmatch(name)
        stream = next((s for s, hook in _HOOKS.items() if match and hook == match["hook"]), None)
        if match is None or stream is None:
            known = ", ".join(_HOOKS.values())
            raise BadValueError(
                f"no site at hook point {name!r}; hook points are called blocks.LAYER. and one of "
                f"{known}."
            )
        return cls(stream, int(match["layer"]))

    @property
    def first_block(self) -> int:
        """The first block that runs otherwise when the activation here changes."""
        return self.layer + 1 if self.stream == "resid_post" else self.layer

    def precedes(self, other: Site) -> bool:
        """Whether this is known when `other` is reached in a pass: an earlier place or the same."""
        same = (self.stream, self.layer) == (other.stream, other.layer)
        return same or (self.layer, _RANK[self.stream]) < (other.layer, _RANK[other.stream])

    @property
    def words(self) -> str:
        """The place in words, with the layer convention spelled out."""
        text = _WORDS[self.stream].format(self.layer, self.layer + 1)
        return text if self.head is None else f"{text}, head {self.head}"
