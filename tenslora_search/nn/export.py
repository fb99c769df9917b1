"""Adapters as files: a peft LoRA checkpoint, a native one (factors and spec), merged weights. safetensors, never pickle."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tenslora_search.nn.attach import Adapter, attach, head_parameters
from tenslora_search.nn.modes import share
from tenslora_search.nn.places import Targets
from tenslora_search.nn.sites import is_quantized
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.table import QuestionError

NATIVE_FILE = "tenslora.safetensors"
NATIVE_VERSION = 1


def site_pairs(adapter: Adapter, trial: int = 0) -> dict[str, list[tuple[Tensor, Tensor] | None]]:
    """For each adapted module, for each block of its columns: A (input, rank) and B (rank, output) of one trial, float32.

    Rank columns that are zero on both sides (padding) are cut off; a block without an adapted projection is None.
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
    """For each adapted module one pair over all its columns: blocks of a fused map share A where it is the same, else stack."""
    return {module: _join(blocks, _width(adapter, module)) for module, blocks in site_pairs(adapter, trial).items()}


def _join(blocks: list[tuple[Tensor, Tensor] | None], width: int) -> tuple[Tensor, Tensor]:
    pairs = [pair for pair in blocks if pair]
    block = width // len(blocks)
    if all(torch.equal(pairs[0][0], a) for a, _ in pairs):
        rank = pairs[0][0].shape[1]
        return pairs[0][0], torch.cat([pair[1] if pair else torch.zeros(rank, block) for pair in blocks], 1)
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
        (name, places) for name, places in adapter.places.items() if any(p.module == module for p in places)
    )
    group = next(group for group in adapter.geometry.groups if projection in group.projections)
    return (group.input if projection in group.transposed else group.output) * places[0].of


def save_peft(adapter: Adapter, folder: str | Path, *, trial: int = 0) -> Path:
    """Writes a standard LoRA checkpoint that peft, transformers and vLLM load; the update is the same, exactly.

    Each adapted module has the rank of its own pair; the scale is in B, so lora_alpha equals the rank. The task head
    (`carried`) travels along as modules_to_save.
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
    modules = {name.rpartition(".")[0] if name.startswith(base_prefix) else name.split(".")[0] for name in head}
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if head and "Sequence" in type(model).__name__ else None,
        "base_model_name_or_path": getattr(getattr(model, "config", None), "_name_or_path", "") or None,
        "r": common,
        "lora_alpha": common,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "fan_in_fan_out": any(type(model.get_submodule(module).frozen).__name__ == "Conv1D" for module in ranks),
        "target_modules": sorted(ranks),
        "rank_pattern": other,
        "alpha_pattern": other,
        "modules_to_save": sorted(modules) or None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    share(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return folder


def save_native(adapter: Adapter, folder: str | Path, *, trial: int = 0) -> Path:
    """Writes the factors and the spec: the parameters and a few kB, with the trained task head. `load_adapter` reads it."""
    folder = Path(folder).expanduser()
    tensors = {f"factors.{name}": value for name, value in trial_factors(adapter, trial).items()}
    tensors |= {f"head.{name}": value for name, value in carried(adapter).items()}
    about = {"version": NATIVE_VERSION, "spec": adapter.specs[trial].to_json()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / NATIVE_FILE, metadata={"format": "pt", "tenslora": json.dumps(about)})
    share(folder / NATIVE_FILE)
    return folder


def load_adapter(model: nn.Module, folder: str | Path, *, targets: Targets | None = None, trainable: bool = False) -> Adapter:
    """Attaches the adapter of a native checkpoint to a model of its geometry, task head included.

    As in peft, all is frozen and in eval mode unless `trainable`; then factors and task head are left to train.
    `QuestionError` if the file is missing, truncated or foreign, or made for another geometry.
    """
    path = Path(folder).expanduser()
    path = path / NATIVE_FILE if path.is_dir() else path
    spec, tensors = read_native(path)
    head = {name.removeprefix("head."): value for name, value in tensors.items() if name.startswith("head.")}
    parameters = dict(model.named_parameters())
    for name, value in head.items():
        if name not in parameters or parameters[name].shape != value.shape:
            found = tuple(parameters[name].shape) if name in parameters else "none"
            raise QuestionError(f"{path} has a head {name} of shape {tuple(value.shape)}; this model's is {found}.")
    adapter = attach(model, spec, targets=targets)
    for name, value in trial_factors(adapter).items():
        stored = tensors.get(f"factors.{name}")
        if stored is None or stored.shape != value.shape:
            adapter.detach()
            raise QuestionError(f"{path} does not hold the factor {name} of shape {tuple(value.shape)} that its spec asks for.")
    with torch.no_grad():
        for name, value in head.items():
            parameters[name].copy_(value)
        set_trial_factors(adapter, {name.removeprefix("factors."): value for name, value in tensors.items()})
    adapter.came_along = tuple(head)
    if not trainable:
        model.requires_grad_(False).eval()
    return adapter


def read_native(path: Path) -> tuple[AdapterSpec, dict[str, Tensor]]:
    """The spec and tensors of a native checkpoint."""
    if not path.is_file():
        raise QuestionError(f"there is no adapter at {path}; a native one is a file {NATIVE_FILE}.")
    about, tensors = read_noted(path, "tenslora")
    if about.get("version") != NATIVE_VERSION:
        raise QuestionError(f"{path} was written by another version ({about.get('version')}); this one reads {NATIVE_VERSION}.")
    return AdapterSpec.from_json(about["spec"]), tensors


def read_noted(path: Path, note: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A safetensors file of ours: the note in its metadata, which holds a spec, and the tensors.

    `QuestionError` if the file is missing, cut off or foreign.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(note, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise QuestionError(f"{path} is no whole safetensors file: {error}.") from error
    if not isinstance(about, dict) or "spec" not in about:
        raise QuestionError(f"{path} is a safetensors file of something else: it holds no spec of ours.")
    return about, tensors


def merge(adapter: Adapter, *, trial: int = 0) -> nn.Module:
    """Takes the adapter off and adds its update to the weights: W + A B, in float64, then cast to the weights' type.

    `QuestionError` if the weights are quantized; the adapter then stays on.
    """
    pairs = module_pairs(adapter, trial)
    for name in pairs:
        stored: Tensor = adapter.model.get_submodule(name).weight  # type: ignore[assignment]
        if is_quantized(stored):
            raise QuestionError(f"{name} holds quantized weights ({stored.dtype}), which take no update; save_peft would work.")
    model = adapter.detach()
    with torch.no_grad():
        for name, (a, b) in pairs.items():
            module = model.get_submodule(name)
            weight: Tensor = module.weight  # type: ignore[assignment]
            update = a.double() @ b.double()
            update = update.T if isinstance(module, nn.Linear) else update
            weight.copy_((weight.double().cpu() + update).to(weight.dtype))
    return model


def save_merged(adapter: Adapter, folder: str | Path, *, trial: int = 0) -> Path:
    """Writes a copy of the model with the update in its weights, for `from_pretrained`; the model keeps its adapter."""
    whole, folder = copy.deepcopy(adapter.model), Path(folder).expanduser()
    merge(whole.adapter, trial=trial).save_pretrained(folder)  # type: ignore[operator]
    return folder


def trial_factors(adapter: Adapter, trial: int = 0) -> dict[str, Tensor]:
    """One trial's factors `group.factor` (*looped, *axes); with ranks of its own for each copy, the entries in a row."""
    found = {}
    for group, (tensor, place) in enumerate(adapter.tensors_of(trial)):
        for name, parameter in tensor.factors.items():
            mask = tensor.entries(name, place)
            value = tensor.of_trial(name, parameter.detach(), place).cpu()
            found[f"{group}.{name}"] = value.clone() if bool(mask.all()) else value[mask]
    return found


def set_trial_factors(adapter: Adapter, factors: Mapping[str, Tensor], trial: int = 0) -> None:
    """Puts back what `trial_factors` gave; a factor may also be whole, (*looped, *axes), with its padding."""
    with torch.no_grad():
        for group, (tensor, place) in enumerate(adapter.tensors_of(trial)):
            for name, parameter in tensor.factors.items():
                mask = tensor.entries(name, place).to(parameter.device)
                value = factors[f"{group}.{name}"].to(parameter)
                tensor.of_trial(name, parameter, place)[mask] = value[mask] if value.shape == mask.shape else value


def carried(adapter: Adapter) -> dict[str, Tensor]:
    """What an export holds besides the update: the trained head, what was loaded with the adapter, and what no file gives.

    The last is `model.started_anew`, such as the pooler of a BERT whose checkpoint has none: at random, and frozen so.
    """
    model = adapter.model
    names = {*adapter.came_along, *getattr(model, "started_anew", ())}
    names |= {name for name, value in head_parameters(model).items() if value.requires_grad}
    return {name: value.detach().cpu().contiguous() for name, value in model.named_parameters() if name in names}
