"""save_peft(): an adapter as a standard LoRA checkpoint, the same update exactly."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tenslora_search.export.factors import carried
from tenslora_search.hub.permissions import share
from tenslora_search.nn.attach import Adapter


def site_pairs(adapter: Adapter, trial: int = 0) -> dict[str, list[tuple[Tensor, Tensor] | None]]:
    """For each adapted module, for each block of its columns: A (input, rank) and B (rank, output)
    of one trial, float32.

    Rank columns that are zero on both sides (padding) are cut off; a block without an adapted
    projection is None.
    """
    found: dict[str, list[tuple[Tensor, Tensor] | None]] = {}
    with torch.no_grad():
        for (projection, layer), (left, right) in adapter.pairs().items():
            place = adapter.places[projection][layer]
            a, b = left[trial].float().cpu(), right[trial].float().cpu()
            used = a.any(0) | b.any(1)
            used[0] = True  # an untrained pair of rank 0 would be no pair
            found.setdefault(place.module, [None] * place.of)[place.block] = (a[:, used], b[used])
    return found


def module_pairs(adapter: Adapter, trial: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """For each adapted module one pair over all its columns: blocks of a fused map share A where it
    is the same, else stack.
    """
    return {
        module: _join(blocks, _width(adapter, module))
        for module, blocks in site_pairs(adapter, trial).items()
    }


def _join(blocks: list[tuple[Tensor, Tensor] | None], width: int) -> tuple[Tensor, Tensor]:
    pairs = [pair for pair in blocks if pair]
    block = width // len(blocks)
    if all(torch.equal(pairs[0][0], a) for a, _ in pairs):
        rank = pairs[0][0].shape[1]
        return pairs[0][0], torch.cat(
            [pair[1] if pair else torch.zeros(rank, block) for pair in blocks], 1
        )
    b = torch.zeros(sum(a.shape[1] for a, _ in pairs), width)
    row = 0
    for place, pair in enumerate(blocks):
        if pair:
            rank = pair[0].shape[1]
            b[row : row + rank, place * block : (place + 1) * block] = pair[1]
            row += rank
    return torch.cat([a for a, _ in pairs], 1), b


def _width(adapter: Adapter, module: str) -> int:
    projection, places = next(
        (name, places)
        for name, places in adapter.places.items()
        if any(p.module == module for p in places)
    )
    group = next(group for group in adapter.geometry.groups if projection in group.projections)
    return (group.input if projection in group.transposed else group.output) * places[0].of


def save_peft(adapter: Adapter, folder: str | Path, *, trial: int = 0) -> Path:
    """Writes a standard LoRA checkpoint that peft, transformers and vLLM load; the update is the
    same, exactly.

    Each adapted module has the rank of its own pair; the scale is in B, so lora_alpha equals the
    rank. The task head (`carried`) travels along as modules_to_save.
    """
    model, folder = adapter.model, Path(folder).expanduser()
    prefix, tensors, ranks = "base_model.model.", {}, {}
    for module, (a, b) in module_pairs(adapter, trial).items():
        ranks[module] = a.shape[1]
        tensors[f"{prefix}{module}.lora_A.weight"] = a.T.contiguous()
        tensors[f"{prefix}{module}.lora_B.weight"] = b.T.contiguous()
    head = carried(adapter)
    tensors |= {prefix + name: value for name, value in head.items()}
    common = max(set(ranks.values()), key=list(ranks.values()).count)
    other = {module: rank for module, rank in ranks.items() if rank != common}
    base_prefix = f"{getattr(model, 'base_model_prefix', '')}."
    modules = {
        name.rpartition(".")[0] if name.startswith(base_prefix) else name.split(".")[0]
        for name in head
    }
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if head and "Sequence" in type(model).__name__ else None,
        "base_model_name_or_path": getattr(getattr(model, "config", None), "_name_or_path", "")
        or None,
        "r": common,
        "lora_alpha": common,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "fan_in_fan_out": any(
            type(model.get_submodule(module).frozen).__name__ == "Conv1D" for module in ranks
        ),
        "target_modules": sorted(ranks),
        "rank_pattern": other,
        "alpha_pattern": other,
        "modules_to_save": sorted(modules) or None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    share(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(
        json.dumps(config, indent=2) + "\n", encoding="utf-8"
    )
    return folder
