"""FAMILIES: where the linear maps live in a model, as patterns of their names.

A pattern is the end of a module's name: `attention.self.query`. `*` stands for a number, `|` parts
alternatives (two generations of transformers name ViT's maps differently). A second word says
which outputs of a fused map are meant: `1/3`, the second third; a layout of `spec/fused.py`;
`64:128`, exactly these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tenslora_search.spec.table import QuestionError, Table

ATTENTION = ("query", "key", "value")
TRANSPOSED = ("out", "down")
"""Projections whose heads (or hidden features) stand at the input; they join a shape group
transposed.
"""
MLP = ("up", "gate", "down")
"""Projections without heads."""
Writes = Literal["", "decoder", "encoder-decoder"]
"""How a model writes text: not at all, token after token, or so of a text that it has read."""


def one_map(hidden: int, n_labels: int) -> int:
    """Parameters of a task head that is one linear map."""
    return hidden * n_labels + n_labels


def no_bias(hidden: int, n_labels: int) -> int:
    return hidden * n_labels


def two_maps(hidden: int, n_labels: int) -> int:
    return hidden * hidden + hidden + one_map(hidden, n_labels)


def two_maps_one_bias(hidden: int, n_labels: int) -> int:
    return hidden * hidden + one_map(hidden, n_labels)


def first_and_mean(hidden: int, n_labels: int) -> int:
    return one_map(2 * hidden, n_labels)


@dataclass(frozen=True, slots=True)
class Family:
    """The patterns of one architecture. `model_types` are those of the model's config."""

    model_types: tuple[str, ...]
    query: str
    key: str
    value: str
    out: str
    up: str
    down: str
    gate: str = ""
    reads: Literal["text", "image"] = "text"
    decoder_layers: str = ""
    """the config's name for the layers of a decoder beside the encoder; each counts twice, for
    self- and cross-attention
    """
    positions_after_pad: bool = False
    """whether a text's positions are numbered from the pad token's number on"""
    mlp_ratio: int = 0
    """width of the MLP as a multiple of the model's, where the config does not say it"""
    fused_up: bool = False
    """whether `up` makes the gate's features too, and so is twice as wide as the MLP"""
    head: Callable[[int, int], int] = one_map
    """parameters of the task head that transformers gives it, by width and labels"""
    is_decoder: bool = False
    """whether a token sees those before it alone, so that the next can be learnt"""

    @property
    def writes(self) -> Writes:
        if self.decoder_layers:
            return "encoder-decoder"
        return "decoder" if self.is_decoder else ""

    def patterns(self, projections: Sequence[str]) -> dict[str, str]:
        known = [name for name in (*ATTENTION, "out", *MLP) if getattr(self, name)]
        for name in projections:
            if name not in known:
                raise QuestionError(
                    f"no projection named {name!r} in {self.model_types[0]}. Known: "
                    f"{', '.join(known)}."
                )
        return {name: getattr(self, name) for name in projections}


def _bert(*types: str, end: str = "", **more: Any) -> Family:
    return Family(
        types,
        *(f"attention.self.{name}{end}" for name in ATTENTION),
        out="attention.output.dense",
        up="intermediate.dense",
        down="layer.*.output.dense",
        **more,
    )


def _vit(*types: str, **more: Any) -> Family:
    return Family(
        types,
        *(
            f"attention.attention.{old} | attention.{new}"
            for old, new in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))
        ),
        out="attention.output.dense | attention.o_proj",
        up="intermediate.dense | mlp.fc1",
        down="layer.*.output.dense | mlp.fc2",
        reads="image",
        **more,
    )


def _llama(*types: str) -> Family:
    attention, mlp = "self_attn.", "mlp."
    return Family(
        types,
        *(attention + name for name in ("q_proj", "k_proj", "v_proj", "o_proj")),
        up=mlp + "up_proj",
        gate=mlp + "gate_proj",
        down=mlp + "down_proj",
        head=no_bias,
        is_decoder=True,
    )


def _bart(*types: str, head: Callable[[int, int], int] = no_bias, **more: Any) -> Family:
    """Maps of one name in self- and, where there is any, cross-attention."""
    return Family(
        types,
        *(
            f"self_attn.{name} | encoder_attn.{name}"
            for name in ("q_proj", "k_proj", "v_proj", "out_proj")
        ),
        up="layers.*.fc1",
        down="layers.*.fc2",
        head=head,
        **more,
    )


def _fused(fused: str, *types: str, **more: Any) -> Family:
    """Query, key and value are one map, whose layout the pattern names."""
    maps: Any = (fused, fused, fused)
    return Family(types, *maps, head=no_bias, is_decoder=True, **more)  # type: ignore[arg-type]


FAMILIES: Table[Family] = Table(
    "family",
    {
        "bert": _bert("bert"),
        "electra": _bert("electra", head=two_maps),
        "roberta": _bert(
            "roberta", "xlm-roberta", "camembert", positions_after_pad=True, head=two_maps
        ),
        "mpnet": Family(
            ("mpnet",),
            *(f"attention.attn.{name}" for name in "qkvo"),
            up="intermediate.dense",
            down="layer.*.output.dense",
            positions_after_pad=True,
            head=two_maps,
        ),
        "deberta-v2": _bert("deberta-v2", end="_proj", head=two_maps),
        "distilbert": Family(
            ("distilbert",),
            *(f"attention.{name}" for name in ("q_lin", "k_lin", "v_lin", "out_lin")),
            up="ffn.lin1",
            down="ffn.lin2",
            head=two_maps,
        ),
        "modernbert": Family(
            ("modernbert",),
            *(f"attn.Wqkv {k}/3" for k in range(3)),
            out="attn.Wo",
            up="mlp.Wi",
            down="mlp.Wo",
            fused_up=True,
            head=two_maps_one_bias,
        ),
        "vit": _vit("vit", "deit"),
        "dinov2": _vit("dinov2", "dinov2_with_registers", head=first_and_mean),
        "llama": _llama("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"),
        "gpt2": Family(
            ("gpt2",),
            *(f"attn.c_attn {k}/3" for k in range(3)),
            out="attn.c_proj",
            up="mlp.c_fc",
            down="mlp.c_proj",
            mlp_ratio=4,
            head=no_bias,
            is_decoder=True,
        ),
        "opt": _bart("opt", is_decoder=True),
        "phi": Family(
            ("phi",),
            *(f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "dense")),
            up="mlp.fc1",
            down="mlp.fc2",
            head=no_bias,
            is_decoder=True,
        ),
        "phi3": _fused(
            "self_attn.qkv_proj blocks",
            "phi3",
            out="self_attn.o_proj",
            up="mlp.gate_up_proj 1/2",
            gate="mlp.gate_up_proj 0/2",
            down="mlp.down_proj",
        ),
        "gpt_bigcode": _fused(
            "attn.c_attn groups",
            "gpt_bigcode",
            out="attn.c_proj",
            up="mlp.c_fc",
            down="mlp.c_proj",
            mlp_ratio=4,
        ),
        "bloom": _fused(
            "self_attention.query_key_value groups",
            "bloom",
            "falcon",
            out="self_attention.dense",
            up="mlp.dense_h_to_4h",
            down="mlp.dense_4h_to_h",
            mlp_ratio=4,
        ),
        "gpt_neox": _fused(
            "query_key_value groups",
            "gpt_neox",
            "gpt_neox_japanese",
            "persimmon",
            out="attention.dense | self_attn.dense",
            up="mlp.dense_h_to_4h",
            down="mlp.dense_4h_to_h",
        ),
        "t5": Family(
            ("t5",),
            *(f"SelfAttention.{name} | EncDecAttention.{name}" for name in "qkvo"),
            up="DenseReluDense.wi | DenseReluDense.wi_1",
            gate="DenseReluDense.wi_0",
            down="DenseReluDense.wo",
            decoder_layers="num_decoder_layers",
            head=two_maps,
        ),
        "bart": _bart("bart", decoder_layers="decoder_layers", head=two_maps),
    },
)


def family_of(model_type: str | None) -> Family:
    """The family whose config says `model_type`; `QuestionError` names those there are."""
    for family in FAMILIES.values():
        if model_type in family.model_types:
            return family
    known = ", ".join(name for family in FAMILIES.values() for name in family.model_types)
    raise QuestionError(
        f"no patterns for a model of type {model_type!r}. Known: {known}; any other works in a "
        "training loop of your own: "
        "ask_tell(geometry=geometry_of(model, targets=...))."
    )
