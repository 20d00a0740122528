"""Where in the model: streams, layers, heads, and the one place that knows hook names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar, cast, get_args

from steerscope.errors import BadValueError, UnknownNameError, check_name

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

# What the output of a module of transformers is, by the last part of its name; those that are
# called the same in attention and MLP come with the part before.
_MODULES: dict[Stream, tuple[str, ...]] = {
    "q": ("q_proj", "query", "q_lin"),
    "k": ("k_proj", "key", "k_lin"),
    "v": ("v_proj", "value", "v_lin"),
    "attn_out": (
        "self_attn", "self_attention", "attention", "attn", "o_proj", "attn.c_proj",
        "attn.out_proj", "self_attn.out_proj", "attention.dense", "self_attention.dense",
    ),
    "mlp_pre": ("gate_proj", "w1", "c_fc", "fc1", "fc_in", "dense_h_to_4h"),
    "mlp_pre_linear": ("up_proj", "w3"),
    "mlp_post": ("act_fn", "mlp.act"),
    "mlp_out": (
        "mlp", "feed_forward", "ffn", "down_proj", "w2", "fc2", "fc_out", "dense_4h_to_h",
        "mlp.c_proj",
    ),
}  # fmt: skip
# As published tables call the outputs of modules: alone, never inside a module's name, where a `gate` may
# be a router's.
_SHORT = {"o": "o_proj", "gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
_STREAM_OF = {name: stream for stream, names in _MODULES.items() for name in names}
_STREAM_OF |= {hook: stream for stream, hook in _HOOKS.items()}
_STREAM_OF |= {hook.split(".")[-1]: stream for stream, hook in _HOOKS.items()}

_PATTERN = re.compile(r"(?P<stream>[a-z_]+)\.(?P<layer>[0-9]{1,5})(?:\.h(?P<head>[0-9]{1,5}))?")
_HOOK_PATTERN = re.compile(r"blocks\.(?P<layer>[0-9]{1,5})\.(?P<hook>[a-z_.]+)")
_MODULE = re.compile(
    r"(?:[A-Za-z]\w*\.)*(?:layers|h|blocks|block|layer)\.(?P<layer>[0-9]{1,5})(?:\.(?P<inside>[\w.]+))?"
)


def check_stream(name: str) -> Stream:
    """The stream of that name, of its hook point or of the module whose output it is.

    Raises:
        UnknownNameError: there is none; the message lists the known streams.
    """
    known: tuple[Stream, ...] = get_args(Stream)
    stream = None if name in known else _module_stream(_SHORT.get(name, name))
    return check_name("stream", name, known) if stream is None else stream


def _module_stream(name: str) -> Stream | None:
    """The stream that a module's output is, by the end of its name; None if there is none.

    What one expert of several puts out is no stream of the block.
    """
    parts = name.removesuffix(".weight").split(".")
    if any("expert" in part or part.isdigit() for part in parts):
        return None
    ends = (".".join(parts[-n:]) for n in (2, 1))
    return next((_STREAM_OF[end] for end in ends if end in _STREAM_OF), None)


@dataclass(frozen=True)
class Site:
    """A place in the model: a stream at a layer, and at one head where the stream has heads.

    Layers and heads are 0-based; negatives are refused. On a model with grouped queries, `k` and
    `v` number the key-value heads.

    Attributes:
        stream: such as `resid_post`, `attn_out`, `mlp_out` or `z`.
        layer: number of the block, from 0.
        head: number of the head, where the stream has heads; None for all of them.
        module: the module of transformers that it was named by, whose output it is in most models.

    Raises:
        UnknownNameError: the stream does not exist.
        BadValueError: a negative layer or head, or a head on a stream without heads.
    """

    stream: Stream
    layer: int
    head: int | None = None
    module: ClassVar[str] = ""  # no field: the same place under another name is the same place

    def __post_init__(self) -> None:
        named = str(self.stream)
        object.__setattr__(self, "stream", check_stream(named))
        if named not in get_args(Stream) and "hook_" not in named:
            object.__setattr__(self, "module", _SHORT.get(named, named))
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
        """The site written as `resid_post.6` or `z.6.h3`, which is the inverse of `str`.

        Names of TransformerLens and of transformers are understood as well: `6` and
        `model.layers.6` are the output of block 6, `blocks.6.hook_resid_post` is a hook point,
        `model.layers.6.mlp.down_proj` the output of that module, `k_proj.6` the keys.

        Raises:
            BadValueError: the text is of no such form.
            UnknownNameError: the stream does not exist.
        """
        text = text.strip()
        if re.fullmatch(r"[0-9]{1,5}", text):
            return cls("resid_post", int(text))
        match = _PATTERN.fullmatch(text)
        module = _MODULE.fullmatch(text)
        if module and (match is None or module["inside"]):
            inside = module["inside"]
            if inside is None:
                return cls("resid_post", int(module["layer"]))
            if _module_stream(inside) is not None:
                return cls(cast(Stream, inside), int(module["layer"]))
            match = None
        if not match:
            raise BadValueError(
                f"cannot read site {text!r}; write it as stream.layer, such as resid_post.6, "
                "or stream.layer.hHEAD, such as z.6.h3, or as a hook point or module of one block, "
                "such as blocks.6.hook_resid_post or model.layers.6.mlp.down_proj."
            )
        if match["stream"] in {"layers", "layer", "block", "blocks", "h"}:
            return cls("resid_post", int(match["layer"]))
        head = match["head"]
        stream = cast(Stream, match["stream"])
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


SiteLike = Site | str | int
Value = TypeVar("Value")


def as_site(site: SiteLike) -> Site:
    """The site itself, or what a text says in any form that `Site.parse` reads; 5 is `resid_post.5`.

    Raises:
        BadValueError: it is no site, or of no such form.
        UnknownNameError: the stream does not exist.
    """
    if isinstance(site, Site):
        return site
    if isinstance(site, str):
        return Site.parse(site)
    if hasattr(site, "__index__") and not isinstance(site, bool):
        return Site("resid_post", int(site))
    raise BadValueError(
        f"cannot read a site from {type(site).__name__} {site!r:.60}; write resid_post.5 or "
        'Site("resid_post", 5).'
    )


def as_sites(sites: SiteLike | Iterable[SiteLike]) -> tuple[Site, ...]:
    """Sites in their order, each once; one alone is one.

    Raises:
        BadValueError: there is none, or one is of no form that can be read.
        UnknownNameError: a stream does not exist.
    """
    several = sites if isinstance(sites, Iterable) and not isinstance(sites, str) else [sites]
    found = tuple(dict.fromkeys(map(as_site, several)))
    if not found:
        raise BadValueError("no site is given; write one, such as resid_post.5.")
    return found


class UnknownSiteError(UnknownNameError, KeyError):
    """A site at which nothing was found, also as the missing key that it is to Python."""

    __str__ = Exception.__str__


class BySite(dict[Site, Value]):
    """What was found at each site; `found["resid_post.5"]` and `found[5]` are read as sites.

    Raises:
        UnknownSiteError: nothing was found at that site; the message lists where.
    """

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{site}: {value!r}" for site, value in self.items()) + "}"

    def __getitem__(self, site: SiteLike, /) -> Value:
        place = as_site(site)
        if place not in self:
            raise UnknownSiteError("site", place, map(str, self))
        return super().__getitem__(place)
