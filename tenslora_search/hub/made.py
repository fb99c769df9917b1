"""built(): a model's folder that is made on this machine, once, and kept in the cache."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tenslora_search.hub.cache import cache_folder
from tenslora_search.hub.lines import one_line
from tenslora_search.spec.table import QuestionError

Usable = Callable[[Path], bool]


def kept_folder(build: Any) -> Path:
    """What `build`, a cached function of the cache's folder, has built there; anew where the cache
    was cleared since.
    """
    folder = build(cache_folder())
    if not (folder / "config.json").is_file():
        build.cache_clear()
        folder = build(cache_folder())
    return folder


def built(
    parent: Path, recipe: str, what: str, make: Callable[[Path], object], usable: Usable
) -> Path:
    """The folder `recipe` under `parent`, filled by `make` where it is not usable.

    Built in a temporary folder and renamed, so processes that build it at once cannot spoil it;
    where the cache cannot be written, the temporary folder itself is used for this process.
    """
    folder, why = parent / recipe, ""
    if usable(folder):
        return folder
    for home in (parent, Path(tempfile.gettempdir())):
        building = None
        try:
            home.mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix=f".{recipe}.", dir=home))
            make(building)
            return _moved(building, folder, usable) if home == parent else building
        except (OSError, SafetensorError) as error:
            why = why or one_line(error)
            if building is not None:
                shutil.rmtree(building, ignore_errors=True)
        except BaseException:
            if building is not None:
                shutil.rmtree(building, ignore_errors=True)
            raise
    raise QuestionError(
        f"cannot write {folder}, the model {what}: {why}; make room, or name another folder in "
        "TENSLORA_CACHE."
    )


def _moved(building: Path, folder: Path, usable: Usable) -> Path:
    """Where the finished model lies: in its place, or, where that cannot be, where it was built."""
    for _ in range(2):
        try:
            building.rename(folder)
        except OSError:  # another process was first, or a damaged folder stands there
            if usable(folder):
                shutil.rmtree(building, ignore_errors=True)
                return folder
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return folder
    return building
