"""cut_state(): a trained state cut down to smaller ranks, as a state of a trial of its own."""

from pathlib import Path

import torch

from tenslora_search.nn.cutting import cut_down
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.states import read_state, write_state


def cut_state(path: Path, after: TrialSpec) -> Path:
    """Writes the state in place of the one it was cut from: `after` has the adapter of that state's
    trial at smaller ranks. The optimizer's moments are zeros: it is not trained on.
    """
    about, tensors = read_state(path)
    before = TrialSpec.from_json(about["spec"]).adapter
    kept = {name: one for name, one in tensors.items() if name.split(".")[1] == "head"}
    for group in range(len(before.networks)):
        prefix = f"value.{group}."
        arrays = {
            name.removeprefix(prefix): one
            for name, one in tensors.items()
            if name.startswith(prefix)
        }
        for name, one in cut_down(before, after.adapter, group, arrays).items():
            kept[f"{prefix}{name}"] = one
            for kind in ("mean", "square"):
                kept[f"{kind}.{group}.{name}"] = torch.zeros_like(one)
    return write_state(path, kept.items(), {**about, "spec": after.to_json()})
