"""The cache folder: what is costly to make twice is kept there; a cache that cannot be used is no
reason to fail.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from tenslora_search.spec.paths import typed
from tenslora_search.spec.table import QuestionError


def cache_folder(cache: Path | str | None = None) -> Path:
    """The folder asked for, else the environment's TENSLORA_CACHE, else ~/.cache/tenslora-search;
    it need not exist.
    """
    chosen = cache or os.environ.get("TENSLORA_CACHE")
    try:
        return typed(chosen) if chosen else Path.home() / ".cache" / "tenslora-search"
    except RuntimeError as error:  # as in a container whose user has none
        raise QuestionError(
            "there is no home folder to keep files in; set TENSLORA_CACHE to a folder."
        ) from error


def write_file(path: Path, write: Callable[[Path], object]) -> bool:
    """Let `write` fill a temporary file beside `path`, then rename it; False (and no file) where
    that is not possible.
    """
    from safetensors import SafetensorError

    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.replace(path)
    except (OSError, SafetensorError):
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        return False
    return True


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Write the tensors as one safetensors file; False where the folder cannot be written."""
    from safetensors.torch import save_file

    return write_file(path, lambda temporary: save_file(dict(tensors), temporary))


def load_tensors(path: Path) -> dict[str, Tensor] | None:
    """The tensors of the file; None where there is none or it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path) if path.is_file() else None
    except (OSError, SafetensorError, ValueError):
        return None
