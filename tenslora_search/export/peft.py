"""save_peft(): an adapter as a standard LoRA checkpoint, the same update exactly."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from tenslora_search.export.factors import carried
from tenslora_search.export.pairs import Pair, Ranks, module_pairs
from tenslora_search.hub.permissions import share
from tenslora_search.nn.attach import Adapter
from tenslora_search.spec.arguments import checked
from tenslora_search.spec.paths import output_folder, typed
from tenslora_search.spec.table import QuestionError

HEAD_FILE = "head.safetensors"


@checked()
def save_peft(
    adapter: Adapter,
    folder: str | Path,
    *,
    trial: int = 0,
    rank: int | None = None,
    uniform_rank: bool = False,
    head: bool = True,
) -> Path:
    """Writes a standard LoRA checkpoint that peft and transformers load; the update is the same,
    exactly.

    Each adapted module has the rank of its own pair, `r` is the largest; the scale is in B, so
    lora_alpha equals the rank. The task head (`carried`) travels along as modules_to_save.
    For servers: `uniform_rank` pads all pairs to one rank that vLLM, LoRAX and TGI take, the same
    update still; `rank` compresses them to at most that, the nearest update; without `head` the
    checkpoint is of factors alone, as vLLM wants it, and the head lies beside it in
    head.safetensors. `QuestionError` for a dense update, which is no pair.

    >>> adapter = attach(model, AdapterSpec.of("none", "cp", 2, geometry_of(model)))
    >>> sorted(path.name for path in save_peft(adapter, folder).iterdir())
    ['adapter_config.json', 'adapter_model.safetensors']
    """
    place = typed(folder)
    write_peft(adapter, place, trial=trial, rank=rank, uniform_rank=uniform_rank, head=head)
    return place


def write_peft(
    adapter: Adapter,
    folder: Path,
    *,
    trial: int = 0,
    rank: int | None = None,
    uniform_rank: bool = False,
    head: bool = True,
) -> dict[str, Pair]:
    """As `save_peft`; the pairs that are written."""
    spec = adapter.specs[trial]
    if not spec.is_low_rank:
        cause = f"with {spec.method}" if spec.networks[0].form.dense else f"after {spec.after}"
        raise QuestionError(
            f"{cause} the update has full rank, which peft's LoRA cannot hold; export it as merged "
            "or native."
        )
    prefix, tensors, ranks = "base_model.model.", {}, {}
    pairs = Ranks(rank, uniform_rank).of(module_pairs(adapter, trial))
    for module, (a, b) in pairs.items():
        ranks[module] = a.shape[1]
        tensors[f"{prefix}{module}.lora_A.weight"] = a.T.contiguous()
        tensors[f"{prefix}{module}.lora_B.weight"] = b.T.contiguous()
    heads = carried(adapter)
    tensors |= {prefix + name: value for name, value in heads.items() if head}
    _save(tensors, output_folder(folder) / "adapter_model.safetensors")
    if heads and not head:
        _save(heads, folder / HEAD_FILE)
    config = json.dumps(_config(adapter, ranks, heads if head else {}), indent=2)
    (folder / "adapter_config.json").write_text(config + "\n", encoding="utf-8")
    return pairs


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file(dict(tensors), path, metadata={"format": "pt"})
    share(path)


def _config(
    adapter: Adapter, ranks: Mapping[str, int], head: Mapping[str, Tensor]
) -> dict[str, Any]:
    model = adapter.model
    largest = max(ranks.values())  # by r alone some servers tell whether an adapter fits
    other = {module: rank for module, rank in ranks.items() if rank != largest}
    base_prefix = f"{getattr(model, 'base_model_prefix', '')}."
    modules = {
        name.rpartition(".")[0] if name.startswith(base_prefix) else name.split(".")[0]
        for name in head
    }
    place: Any = getattr(getattr(model, "config", None), "_name_or_path", "")
    return {
        "peft_type": "LORA",
        "task_type": _task_type(model, head),
        "base_model_name_or_path": place or None,
        "r": largest,
        "lora_alpha": largest,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "fan_in_fan_out": any(
            type(adapter.sites[module].frozen).__name__ == "Conv1D" for module in ranks
        ),
        "target_modules": sorted(ranks),
        "rank_pattern": other,
        "alpha_pattern": other,
        "modules_to_save": sorted(modules) or None,
    }


def _task_type(model: Any, head: Mapping[str, Tensor]) -> str | None:
    """peft's word for what the model does."""
    if getattr(model, "get_output_embeddings", lambda: None)() is not None:
        kind = type(model).__name__
        if model.config.is_encoder_decoder:
            return "SEQ_2_SEQ_LM"
        return None if "Masked" in kind else "CAUSAL_LM"
    return "SEQ_CLS" if head and "Sequence" in type(model).__name__ else None
