"""read_noted(): a safetensors file of ours, whose metadata holds a note with a spec. Never
pickle."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from tenslora_search.spec.table import QuestionError


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
        raise QuestionError(
            f"{path} is a safetensors file of something else: it holds no spec of ours."
        )
    return about, tensors
