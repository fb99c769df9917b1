"""read_noted(): a safetensors file of ours, whose metadata holds a note with a spec. Never
pickle."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from tenslora_search.spec.paths import shown
from tenslora_search.spec.table import QuestionError


def read_noted(path: Path, note: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A safetensors file of ours: the note in its metadata, which holds a spec, and the tensors.

    `QuestionError` if the file is missing, cut off or foreign.
    """
    try:
        content = path.read_bytes()  # safetensors itself opens no path that is no UTF-8
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
        about = json.loads(metadata.get(note, "null"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise QuestionError(f"{shown(path)} is no whole safetensors file: {error}.") from error
    if not isinstance(about, dict) or "spec" not in about:
        raise QuestionError(
            f"{shown(path)} is a safetensors file of something else: it holds no spec of ours."
        )
    return about, tensors
