"""save_native, load_adapter: the factors alone and their spec."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tenslora_search.export.factors import carried, set_trial_factors, trial_factors
from tenslora_search.hub.noted import read_noted
from tenslora_search.hub.permissions import share
from tenslora_search.nn.attach import Adapter, attach
from tenslora_search.nn.places import Targets
from tenslora_search.nn.wrappers import clean_name, unwrapped
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.arguments import checked
from tenslora_search.spec.paths import output_folder
from tenslora_search.spec.table import QuestionError

NATIVE_FILE = "tenslora.safetensors"


NATIVE_VERSION = 1


@checked()
def save_native(adapter: Adapter, folder: str | Path, *, trial: int = 0) -> Path:
    """Writes the factors and the spec: the parameters and a few kB, with the trained task head.
    `load_adapter` reads it.

    >>> adapter = attach(model, AdapterSpec.of("none", "cp", 2, geometry_of(model)))
    >>> [path.name for path in save_native(adapter, folder).iterdir()]
    ['tenslora.safetensors']
    """
    tensors = {f"factors.{name}": value for name, value in trial_factors(adapter, trial).items()}
    tensors |= {f"head.{name}": value for name, value in carried(adapter).items()}
    about = {"version": NATIVE_VERSION, "spec": adapter.specs[trial].to_json()}
    folder = output_folder(folder)
    save_file(
        tensors, folder / NATIVE_FILE, metadata={"format": "pt", "tenslora": json.dumps(about)}
    )
    share(folder / NATIVE_FILE)
    return folder


@checked()
def load_adapter(
    model: nn.Module, folder: str | Path, *, targets: Targets | None = None, trainable: bool = False
) -> Adapter:
    """Attaches the adapter of a native checkpoint to a model of its geometry, task head included.

    As in peft, all is frozen and in eval mode unless `trainable`; then factors and task head are
    left to train. `QuestionError` if the file is missing, truncated or foreign, or made for another
    geometry.

    >>> saved = save_native(attach(model, AdapterSpec.of("none", "cp", 2, geometry)), folder)
    >>> print(load_adapter(other_model, saved).specs[0].method)
    LoRA
    """
    path = Path(folder).expanduser()
    path = path / NATIVE_FILE if path.is_dir() else path
    spec, tensors = read_native(path)
    head = {name[5:]: value for name, value in tensors.items() if name.startswith("head.")}
    model = unwrapped(model)
    parameters = {clean_name(model, name): value for name, value in model.named_parameters()}
    _check_head(path, head, parameters)
    adapter = attach(model, spec, targets=targets)
    for name, value in trial_factors(adapter).items():
        stored = tensors.get(f"factors.{name}")
        if stored is None or stored.shape != value.shape:
            adapter.detach()
            raise QuestionError(
                f"{path} does not hold the factor {name} of shape {tuple(value.shape)} that its "
                "spec asks for."
            )
    with torch.no_grad():
        for name, value in head.items():
            parameters[name].copy_(value)
        set_trial_factors(
            adapter, {name.removeprefix("factors."): value for name, value in tensors.items()}
        )
    adapter.came_along = tuple(head)
    if not trainable:
        model.requires_grad_(False).eval()
    return adapter


def _check_head(path: Path, head: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    for name, value in head.items():
        if name not in parameters or parameters[name].shape != value.shape:
            found = tuple(parameters[name].shape) if name in parameters else "none"
            raise QuestionError(
                f"{path} has a head {name} of shape {tuple(value.shape)}; this model's is {found}."
            )
        if parameters[name].is_meta:
            raise QuestionError(
                f"{path} has a head {name}, which is offloaded in this model; keep it on a device."
            )


def read_native(path: Path) -> tuple[AdapterSpec, dict[str, Tensor]]:
    """The spec and tensors of a native checkpoint."""
    if not path.is_file():
        raise QuestionError(f"there is no adapter at {path}; a native one is a file {NATIVE_FILE}.")
    about, tensors = read_noted(path, "tenslora")
    if about.get("version") != NATIVE_VERSION:
        raise QuestionError(
            f"{path} was written by another version ({about.get('version')}); this one reads "
            f"{NATIVE_VERSION}."
        )
    return AdapterSpec.from_json(about["spec"]), tensors
