"""BACKBONES: the shapes of models people name; a model's geometry by its config."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenslora_search.spec.families import ATTENTION, MLP, Family, family_of
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.model_config import read_config, read_own_config
from tenslora_search.spec.paths import is_file, shown, typed
from tenslora_search.spec.sites import projections_of
from tenslora_search.spec.table import QuestionError, Table

OWN_MODEL = "digits-vit"
"""The backbone that this tool trains itself: it is on no hub."""
OFFLINE_WRITER = "smollm2"
"""The language model that a package holds, in weights of 4 bits."""


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
            "intermediate_size": 4 * hidden,
            **more,
        },
    )


def _llama(hub: str, hidden: int, heads: int, layers: int, kv_heads: int, inner: int) -> Backbone:
    more = {"num_key_value_heads": kv_heads, "intermediate_size": inner}
    return _row(hub, "llama", hidden, heads, layers, **more)


BACKBONES: Table[Backbone] = Table(
    "model",
    {
        OWN_MODEL: _row("", "vit", 64, 4, 4, intermediate_size=128),
        "minilm": _row("sentence-transformers/all-MiniLM-L6-v2", "bert", 384, 12, 6),
        "roberta-base": _row("FacebookAI/roberta-base", "roberta", 768, 12, 12),
        "roberta-large": _row("FacebookAI/roberta-large", "roberta", 1024, 16, 24),
        "bert-base-uncased": _row("google-bert/bert-base-uncased", "bert", 768, 12, 12),
        "distilbert-base-uncased": _row(
            "distilbert/distilbert-base-uncased", "distilbert", 768, 12, 6
        ),
        "deberta-v3-base": _row("microsoft/deberta-v3-base", "deberta-v2", 768, 12, 12),
        "ModernBERT-base": _row(
            "answerdotai/ModernBERT-base", "modernbert", 768, 12, 22, intermediate_size=1152
        ),
        "vit-base-patch16-224": _row("google/vit-base-patch16-224", "vit", 768, 12, 12),
        "deit-small-patch16-224": _row("facebook/deit-small-patch16-224", "vit", 384, 6, 12),
        "gpt2": _row("openai-community/gpt2", "gpt2", 768, 12, 12),
        OFFLINE_WRITER: _llama("", 576, 9, 30, 3, 1536),
        "SmolLM2-135M": _llama("HuggingFaceTB/SmolLM2-135M", 576, 9, 30, 3, 1536),
        "t5-base": _row("google-t5/t5-base", "t5", 768, 12, 12, num_decoder_layers=12, d_kv=64),
        "bart-base": Backbone(
            "facebook/bart-base",
            {
                "model_type": "bart",
                "d_model": 768,
                "num_attention_heads": 12,
                "num_hidden_layers": 6,
                "hidden_size": 768,
                "decoder_layers": 6,
                "encoder_ffn_dim": 3072,
            },
        ),
        "Llama-3.2-1B": _llama("meta-llama/Llama-3.2-1B", 2048, 32, 16, 8, 8192),
        "Mistral-7B-v0.1": _row(
            "mistralai/Mistral-7B-v0.1",
            "mistral",
            4096,
            32,
            32,
            num_key_value_heads=8,
            intermediate_size=14336,
        ),
        "Qwen2.5-0.5B": _row(
            "Qwen/Qwen2.5-0.5B", "qwen2", 896, 14, 24, num_key_value_heads=2, intermediate_size=4864
        ),
        "Qwen3-0.6B": _row(
            "Qwen/Qwen3-0.6B",
            "qwen3",
            1024,
            16,
            28,
            num_key_value_heads=8,
            head_dim=128,
            intermediate_size=3072,
        ),
    },
)


def geometry_of_config(
    config: Mapping[str, Any], projections: Sequence[str] = ATTENTION, what: str = "the config"
) -> Geometry:
    """The geometry of a model's maps by its config alone; `QuestionError` if it is of no family, or
    has no such map.
    """
    numbers = read_config(config, what)
    family = family_of(config.get("model_type"))
    family.patterns(projections)
    hidden = numbers["hidden"]
    return Geometry.attention(
        hidden,
        numbers["heads"],
        _n_layers(config, family, numbers["layers"], projections),
        kv_heads=numbers["kv_heads"],
        head_dim=numbers["head_dim"],
        inner=numbers["inner"] or hidden * family.mlp_ratio,
        fused_up=family.fused_up,
        projections=projections,
    )


def _n_layers(
    config: Mapping[str, Any], family: Family, layers: int, projections: Sequence[str]
) -> int:
    """Maps of each projection: a decoder's layer has two attentions and one MLP."""
    if not family.decoder_layers:
        return layers
    in_decoder = config.get(family.decoder_layers) or layers
    is_mlp = {name in MLP for name in projections}
    if len(is_mlp) > 1:
        raise QuestionError(
            f"the projections are in unequal numbers of layers: {layers + 2 * in_decoder} of "
            f"attention, {layers + in_decoder} of the MLP; take those of one kind."
        )
    if "gate" in projections and not str(config.get("feed_forward_proj")).startswith("gated"):
        raise QuestionError("the MLP of this model has no gate; take up and down.")
    return layers + (1 if is_mlp == {True} else 2) * in_decoder


def known_backbone(model: str) -> Backbone | None:
    """By its short name or its hub id."""
    return next((one for name, one in BACKBONES.items() if model in (name, one.hub)), None)


def geometry_of_model(model: str, projections: Sequence[str] = ATTENTION) -> Geometry:
    """The geometry of a known name, a local folder with a config.json, or a hub id in the local hub
    cache.
    """
    config, what = _config_of_model(model)
    return geometry_of_config(config, projections, what)


def geometry_of_sites(model: str, sites: str) -> Geometry:
    """As `geometry_of_model`, for the maps of an entry of SITES."""
    config, what = _config_of_model(model)
    return geometry_of_config(config, projections_of(sites, config.get("model_type")), what)


def head_of_model(model: str, n_labels: int) -> int:
    """Parameters of the task head that transformers gives to such a model; none without labels."""
    if n_labels == 0:
        return 0
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
    home = typed(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    found = sorted(
        (cache / f"models--{model.replace('/', '--')}").glob("snapshots/*/config.json"),
        key=os.path.getmtime,
    )
    return found[-1] if found else None
