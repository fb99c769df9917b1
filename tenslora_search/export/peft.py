"""save_peft(): an adapter as a standard LoRA checkpoint, the same update exactly."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tenslora_search.export.factors import carried
from tenslora_search.hub.permissions import share
from tenslora_search.nn.attach import Adapter
from tenslora_search.nn.sites import Place, of_columns
from tenslora_search.spec.table import QuestionError

Pair = tuple[Tensor, Tensor]
"""A (input, rank) and B (rank, output), float32 on the CPU."""


def module_pairs(adapter: Adapter, trial: int = 0) -> dict[str, Pair]:
    """For each adapted module one pair over all its outputs, of one trial whose update is of low
    rank.

    Blocks of a fused map share A where it is the same, else stack. The rank is at most the smaller
    side of the map.
    """
    parts: dict[str, list[tuple[Place, Pair]]] = {}
    with torch.no_grad():
        for (projection, layer), (a, b) in adapter.updates(trial).items():
            place = adapter.places[projection][layer]
            pair = _without_padding(a.cpu(), b.cpu())
            parts.setdefault(place.module, []).append((place, pair))
        return {module: _reduced(*_joined(found)) for module, found in parts.items()}


def _without_padding(a: Tensor, b: Tensor) -> Pair:
    """Less the rank columns that are zero on both sides."""
    used = a.any(0) | b.any(1)
    used[0] = True  # an untrained pair of rank 0 would be no pair
    return a[:, used], b[used]


def _joined(parts: list[tuple[Place, Pair]]) -> Pair:
    """One pair over all outputs of a map, from pairs over some columns each."""
    shared = all(torch.equal(parts[0][1][0], a) for _, (a, _) in parts)
    ranks = [b.shape[0] for _, (_, b) in parts]
    whole = torch.zeros(ranks[0] if shared else sum(ranks), parts[0][0].outputs)
    row = 0
    for place, (_, b) in parts:
        target = of_columns(whole[row : row + b.shape[0]], place.columns)
        target.copy_(b.view(target.shape))
        row += 0 if shared else b.shape[0]
    return parts[0][1][0] if shared else torch.cat([a for _, (a, _) in parts], 1), whole


def _reduced(a: Tensor, b: Tensor) -> Pair:
    """The same product with a rank of at most either side: A = Q R, so A B = Q (R B), in float64.

    A tensor's slice may have a larger bond than its map has inputs: CP with rank 686 over maps of
    384 x 384.
    """
    if a.shape[1] <= min(a.shape[0], b.shape[1]):
        return a, b
    if a.shape[0] <= b.shape[1]:
        q, r = torch.linalg.qr(a.double())
        return q.float(), (r @ b.double()).float()
    q, r = torch.linalg.qr(b.double().T)
    return (a.double() @ r.T).float(), q.T.float()


def save_peft(adapter: Adapter, folder: str | Path, *, trial: int = 0) -> Path:
    """Writes a standard LoRA checkpoint that peft, transformers and vLLM load; the update is the
    same, exactly.

    Each adapted module has the rank of its own pair; the scale is in B, so lora_alpha equals the
    rank. The task head (`carried`) travels along as modules_to_save. `QuestionError` for a dense
    update, which is no pair.

    >>> adapter = attach(model, AdapterSpec.of("none", "cp", 2, geometry_of(model)))
    >>> sorted(path.name for path in save_peft(adapter, folder).iterdir())
    ['adapter_config.json', 'adapter_model.safetensors']
    """
    spec = adapter.specs[trial]
    if not spec.is_low_rank:
        cause = f"with {spec.method}" if spec.networks[0].form.dense else f"after {spec.after}"
        raise QuestionError(
            f"{cause} the update has full rank, which peft's LoRA cannot hold; export it as merged "
            "or native."
        )
    folder = Path(folder).expanduser()
    prefix, tensors, ranks = "base_model.model.", {}, {}
    for module, (a, b) in module_pairs(adapter, trial).items():
        ranks[module] = a.shape[1]
        tensors[f"{prefix}{module}.lora_A.weight"] = a.T.contiguous()
        tensors[f"{prefix}{module}.lora_B.weight"] = b.T.contiguous()
    head = carried(adapter)
    tensors |= {prefix + name: value for name, value in head.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    share(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(
        json.dumps(_config(adapter, ranks, head), indent=2) + "\n", encoding="utf-8"
    )
    return folder


def _config(
    adapter: Adapter, ranks: Mapping[str, int], head: Mapping[str, Tensor]
) -> dict[str, Any]:
    model = adapter.model
    every = list(ranks.values())
    common = max(set(every), key=every.count)
    other = {module: rank for module, rank in ranks.items() if rank != common}
    base_prefix = f"{getattr(model, 'base_model_prefix', '')}."
    modules = {
        name.rpartition(".")[0] if name.startswith(base_prefix) else name.split(".")[0]
        for name in head
    }
    place: Any = getattr(getattr(model, "config", None), "_name_or_path", "")
    return {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if head and "Sequence" in type(model).__name__ else None,
        "base_model_name_or_path": place or None,
        "r": common,
        "lora_alpha": common,
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
