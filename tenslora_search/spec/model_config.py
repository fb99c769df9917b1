"""read_config(): the sizes that a model's config.json says, checked: what is none is one line with
file, field and value.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from tenslora_search.spec.table import QuestionError

DECODER_LAYERS = ("num_decoder_layers", "decoder_layers")

_CONFIG_KEYS = {
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim", "d_kv"),
    "inner": (
        "intermediate_size", "n_inner", "d_ff", "hidden_dim", "ffn_dim", "ffn_hidden_size",
        "encoder_ffn_dim",
    ),
}  # fmt: skip


_MOST = {
    "hidden": 2**20,
    "heads": 2**16,
    "layers": 2**14,
    "kv_heads": 2**16,
    "head_dim": 2**20,
    "inner": 2**24,
}


def check_config(config: Any, what: str) -> None:
    """`QuestionError`, with file, field and value, if a size in a model's config is none, or is
    larger than that of any model.
    """
    if not isinstance(config, Mapping):
        raise QuestionError(
            f"{what} is no model's config: it holds {_shown(config)}, not names and values."
        )
    sizes = cast("Mapping[str, Any]", config)
    model_type = sizes.get("model_type", "")
    if not isinstance(model_type, str):
        raise QuestionError(f"{what}: model_type is {_shown(model_type)}; wanted text.")
    for name, keys in _CONFIG_KEYS.items():
        for key in keys:
            _check_size(sizes.get(key), key, _MOST[name], what)
    for key in DECODER_LAYERS:
        _check_size(sizes.get(key), key, _MOST["layers"], what)


def _check_size(value: object, key: str, most: int, what: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise QuestionError(
            f"{what}: {key} is {_shown(value)}; wanted a whole number from 1 to {most:,}."
        )


def _shown(value: object) -> str:
    """A value of any size and depth in a few characters."""
    if isinstance(value, int) and abs(value) >= 10**18:
        return f"a number of {value.bit_length():,} bits"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_config(config: Mapping[str, Any], what: str = "the config") -> dict[str, Any]:
    """hidden, heads, layers, kv_heads, head_dim and inner (the width of the MLP) from a model's
    config, whatever its family calls them.
    """
    check_config(config, what)
    found = {
        name: next((config[key] for key in keys if config.get(key) is not None), None)
        for name, keys in _CONFIG_KEYS.items()
    }
    missing = [name for name in ("hidden", "heads", "layers") if found[name] is None]
    if missing:
        raise QuestionError(
            f"{what} does not say {' and '.join(missing)}; give --hidden, --heads and --layers "
            "instead."
        )
    if config.get("mlp_ratio"):
        found["inner"] = found["hidden"] * config["mlp_ratio"]
    return {**found, "kv_heads": _kv_heads(config, found["kv_heads"])}


class Heads(NamedTuple):
    """What a config says of its heads; None where it says nothing."""

    number: int | None = None
    head_dim: int | None = None
    hidden: int | None = None


def heads_of(config: Mapping[str, Any]) -> Heads:
    """How many heads a model's config says there are, how wide each is and the model."""
    return Heads(
        *(
            next((config[key] for key in _CONFIG_KEYS[name] if config.get(key) is not None), None)
            for name in ("heads", "head_dim", "hidden")
        )
    )


def _kv_heads(config: Mapping[str, Any], said: int | None) -> int | None:
    """Falcon and GPT-BigCode say by other words that all heads share one key and value, or none
    do.
    """
    if config.get("new_decoder_architecture") or "multi_query" not in config:
        return said
    return 1 if config["multi_query"] else None


def read_own_config(path: Path) -> Mapping[str, Any]:
    """A model's config.json; `QuestionError` for one that cannot be read, or in which a size is
    none.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise QuestionError(f"{path} cannot be read as a model's config: {error}.") from error
    check_config(config, str(path))
    return config
