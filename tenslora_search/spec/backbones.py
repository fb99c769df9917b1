"""FAMILIES: where the linear maps live in a model, as patterns; BACKBONES: the shapes of models
people name.

A pattern is the end of a module's name: `attention.self.query`. `*` stands for a number, `|` parts
alternatives (two generations of transformers name ViT's maps differently), `1/3` takes the second
third of a fused map's outputs.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.model_config import read_config, read_own_config
from tenslora_search.spec.paths import is_file, shown
from tenslora_search.spec.table import QuestionError, Table

ATTENTION = ("query", "key", "value")
TRANSPOSED = ("out", "down")
"""Projections whose heads (or hidden features) stand at the input; they join a shape group
transposed.
"""
MLP = ("up", "gate", "down")
"""Projections without heads."""
OWN_MODEL = "digits-vit"
"""The backbone that this tool trains itself: it is on no hub."""


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
    head: Callable[[int, int], int] = one_map
    """parameters of the task head that transformers gives it, by width and labels"""

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
    )


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
            head=no_bias,
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


@dataclass(frozen=True, slots=True)
class Backbone:
    """A model by its short name: where the hub has it, and the numbers of its config that decide
    the geometry.
    """

    hub: str
    config: Mapping[str, Any]

    @property
    def family(self) -> Family:
        return family_of(self.config["model_type"])


def _row(hub: str, model_type: str, hidden: int, heads: int, layers: int, **more: int) -> Backbone:
    return Backbone(
        hub,
        {
            "model_type": model_type,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "num_hidden_layers": layers,
            **more,
        },
    )


BACKBONES: Table[Backbone] = Table(
    "model",
    {
        OWN_MODEL: _row("", "vit", 64, 4, 4),
        "minilm": _row("sentence-transformers/all-MiniLM-L6-v2", "bert", 384, 12, 6),
        "roberta-base": _row("FacebookAI/roberta-base", "roberta", 768, 12, 12),
        "roberta-large": _row("FacebookAI/roberta-large", "roberta", 1024, 16, 24),
        "bert-base-uncased": _row("google-bert/bert-base-uncased", "bert", 768, 12, 12),
        "distilbert-base-uncased": _row(
            "distilbert/distilbert-base-uncased", "distilbert", 768, 12, 6
        ),
        "deberta-v3-base": _row("microsoft/deberta-v3-base", "deberta-v2", 768, 12, 12),
        "ModernBERT-base": _row("answerdotai/ModernBERT-base", "modernbert", 768, 12, 22),
        "vit-base-patch16-224": _row("google/vit-base-patch16-224", "vit", 768, 12, 12),
        "deit-small-patch16-224": _row("facebook/deit-small-patch16-224", "vit", 384, 6, 12),
        "gpt2": _row("openai-community/gpt2", "gpt2", 768, 12, 12),
        "t5-base": _row("google-t5/t5-base", "t5", 768, 12, 12, num_decoder_layers=12, d_kv=64),
        "Llama-3.2-1B": _row(
            "meta-llama/Llama-3.2-1B", "llama", 2048, 32, 16, num_key_value_heads=8
        ),
        "Mistral-7B-v0.1": _row(
            "mistralai/Mistral-7B-v0.1", "mistral", 4096, 32, 32, num_key_value_heads=8
        ),
        "Qwen2.5-0.5B": _row("Qwen/Qwen2.5-0.5B", "qwen2", 896, 14, 24, num_key_value_heads=2),
        "Qwen3-0.6B": _row(
            "Qwen/Qwen3-0.6B", "qwen3", 1024, 16, 28, num_key_value_heads=8, head_dim=128
        ),
    },
)


def geometry_of_config(
    config: Mapping[str, Any], projections: Sequence[str] = ATTENTION, what: str = "the config"
) -> Geometry:
    """The attention geometry of a model by its config alone; `QuestionError` if it is of no family,
    or has no such map.
    """
    numbers = read_config(config, what)
    family = family_of(config.get("model_type"))
    family.patterns(projections)
    hidden, heads, layers = numbers["hidden"], numbers["heads"], numbers["layers"]
    if family.decoder_layers:
        layers += 2 * (config.get(family.decoder_layers) or layers)
    return Geometry.attention(
        hidden,
        heads,
        layers,
        kv_heads=numbers["kv_heads"],
        head_dim=numbers["head_dim"],
        projections=projections,
    )


def known_backbone(model: str) -> Backbone | None:
    """By its short name or its hub id."""
    return next((one for name, one in BACKBONES.items() if model in (name, one.hub)), None)


def geometry_of_model(model: str, projections: Sequence[str] = ATTENTION) -> Geometry:
    """The attention geometry of a known name, a local folder with a config.json, or a hub id in the
    local hub cache.
    """
    config, what = _config_of_model(model)
    return geometry_of_config(config, projections, what)


def head_of_model(model: str, n_labels: int) -> int:
    """Parameters of the task head that transformers gives to such a model."""
    config, what = _config_of_model(model)
    return family_of(config.get("model_type")).head(read_config(config, what)["hidden"], n_labels)


def _config_of_model(model: str) -> tuple[Mapping[str, Any], str]:
    """The config that decides the geometry, and what to call it in an error."""
    backbone = known_backbone(model)
    if backbone is not None:
        return backbone.config, model
    path = _config_file(model)
    if path is None:
        raise QuestionError(
            f"no model named {shown(model)!r} here. Known: {', '.join(BACKBONES)}; "
            "or a folder with a config.json; or give --hidden, --heads and --layers."
        )
    return read_own_config(path), str(path)


def _config_file(model: str) -> Path | None:
    """config.json of a local folder, or of the newest snapshot of a hub id in the hub's cache."""
    local = Path(model) / "config.json"
    if is_file(local):
        return local
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    found = sorted(
        (cache / f"models--{model.replace('/', '--')}").glob("snapshots/*/config.json"),
        key=os.path.getmtime,
    )
    return found[-1] if found else None
