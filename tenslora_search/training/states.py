"""States: a paused trial as a small safetensors file. What it has learnt, and the moments of
that."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from tenslora_search.hub.noted import read_noted
from tenslora_search.hub.permissions import share
from tenslora_search.runs.states import CHECKSUM, checksum, is_whole
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec

NOTE = "tenslora_state"

Views = Iterable[tuple[str, Tensor]]
"""`KIND.GROUP.FACTOR` or `KIND.head.PARAMETER`, each with a tensor that holds one trial's part."""


def write_state(path: Path, views: Views, about: Mapping[str, Any]) -> Path:
    """Writes a paused trial; `about` says its step, its spec, and what else is read with it, as
    JSON.
    """
    tensors = {name: view.detach().cpu().contiguous() for name, view in views}
    content = _sealed(save(tensors, {NOTE: json.dumps(dict(about))}))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        share(path)
    except (OSError, SafetensorError) as error:
        raise QuestionError(
            f"cannot write {path}: {str(error).splitlines()[0]}. What was done so far is kept."
        ) from error
    return path


def _sealed(content: bytes) -> bytes:
    """With the checksum of all else beside its note: in this order, which safetensors draws where
    there are two, so that the same trial is the same bytes.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8:end]), content[end:]
    header["__metadata__"][CHECKSUM] = checksum(header, data)
    told = json.dumps(header, separators=(",", ":")).encode()
    told += b" " * (-len(told) % 8)  # the data begins at a multiple of 8, as the format asks
    return len(told).to_bytes(8, "little") + told + data


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `write_state` wrote: {"step", "spec", ...} and the tensors.

    `QuestionError` if the file is missing, cut off or foreign, or if its step is no step.
    """
    about, tensors = read_noted(path, NOTE)
    if not is_whole(path):
        raise QuestionError(f"{path} does not hold what was written: its checksum is another.")
    step = about.get("step")
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise QuestionError(f"{path} was paused at a step, a whole number; it says {step!r}.")
    return about, tensors


def load_state(path: Path, views: Views, *, step: int, spec: TrialSpec) -> None:
    """Puts what `write_state` wrote back into the views of the same trial.

    `QuestionError` if the file is of another trial or another step, or does not hold what the trial
    needs.
    """
    about, tensors = read_state(path)
    if about["step"] != step or _spec(path, about["spec"]) != spec:
        raise QuestionError(
            f"{path} holds another trial, or another step ({about['step']}) than {step}."
        )
    with torch.no_grad():
        for name, view in views:
            stored = tensors.get(name)
            if stored is None or stored.shape != view.shape:
                found = "none" if stored is None else f"one of shape {tuple(stored.shape)}"
                raise QuestionError(
                    f"{path} should hold {name} of shape {tuple(view.shape)}; it has {found}."
                )
            view.copy_(stored)


def _spec(path: Path, data: Any) -> TrialSpec:
    try:
        return TrialSpec.from_json(data)
    except QuestionError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise QuestionError(f"{path} holds no spec of a trial: {error}.") from error
