"""From a trial's state file to an adapter that others load: its backbone with factors and task head in place."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tenslora_search.nn.attach import Adapter, attach, head_parameters
from tenslora_search.nn.export import save_merged, save_native, save_peft
from tenslora_search.spec.table import Table
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.heads import unpacked
from tenslora_search.training.models import load_backbone
from tenslora_search.training.pack import read_state

FORMATS: Table[Callable[..., Path]] = Table("format", {"peft": save_peft, "native": save_native, "merged": save_merged})


def load_trained(state: Path, model: str, *, labels: list[str], regression: bool = False) -> Adapter:
    """The backbone (a name, folder or hub id) with the trial on it, alone; its head's classes named as the task's.

    `QuestionError` if the state is missing, cut off or foreign.
    """
    about, tensors = read_state(state)
    backbone: Any = load_backbone(model, n_labels=len(labels), regression=regression)
    if not regression:
        backbone.config.id2label = dict(enumerate(labels))
        backbone.config.label2id = {label: number for number, label in enumerate(labels)}
    adapter = attach(backbone, TrialSpec.from_json(about["spec"]).adapter)
    with torch.no_grad():
        for group, (tensor, place) in enumerate(adapter.tensors_of(0)):
            for name, parameter in tensor.factors.items():
                tensor.of_trial(name, parameter.data, place).copy_(tensors[f"value.{group}.{name}"])
        for name, parameter in head_parameters(backbone).items():
            if (stored := tensors.get(f"value.head.{name}")) is not None:
                parameter.copy_(unpacked(name, stored))
    return adapter


def export_trained(state: Path, to: Path, format: str, run: Mapping[str, Any]) -> Path:
    """Writes the trial as `peft`, `native` or `merged`; `run` is the run file, which names model and labels."""
    write = FORMATS[format]
    return write(load_trained(state, run["model"], labels=run["labels"], regression=run["regression"]), to)
