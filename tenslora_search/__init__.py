"""tenslora-search: which low-rank adapter should I train, if I may train at most N parameters?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenslora_search.api.ask_tell import AskTell, Trial, ask_tell
    from tenslora_search.api.finish import Interrupted
    from tenslora_search.api.results import Run, load_run
    from tenslora_search.api.search import search
    from tenslora_search.engine.progress import Progress
    from tenslora_search.export.merged import merge, save_merged
    from tenslora_search.export.native import load_adapter, save_native
    from tenslora_search.export.peft import save_peft
    from tenslora_search.nn.attach import Adapter, attach
    from tenslora_search.nn.places import geometry_of
    from tenslora_search.runs.config import load_config
    from tenslora_search.spec.adapter import AdapterSpec
    from tenslora_search.spec.geometry import Geometry
    from tenslora_search.spec.table import NothingFitsError, QuestionError

_HOMES = {
    "tenslora_search.api.ask_tell": ("AskTell", "Trial", "ask_tell"),
    "tenslora_search.api.results": ("Run", "load_run"),
    "tenslora_search.api.search": ("search",),
    "tenslora_search.api.finish": ("Interrupted",),
    "tenslora_search.engine.progress": ("Progress",),
    "tenslora_search.export.merged": ("merge", "save_merged"),
    "tenslora_search.export.native": ("load_adapter", "save_native"),
    "tenslora_search.export.peft": ("save_peft",),
    "tenslora_search.nn.attach": ("Adapter", "attach"),
    "tenslora_search.nn.places": ("geometry_of",),
    "tenslora_search.runs.config": ("load_config",),
    "tenslora_search.spec.adapter": ("AdapterSpec",),
    "tenslora_search.spec.geometry": ("Geometry",),
    "tenslora_search.spec.table": ("NothingFitsError", "QuestionError"),
}

__all__ = [
    "Adapter", "AdapterSpec", "AskTell", "Geometry", "Interrupted", "NothingFitsError", "Progress",
    "QuestionError", "Run", "Trial", "ask_tell", "attach", "geometry_of", "load_adapter",
    "load_config", "load_run", "merge", "save_merged", "save_native", "save_peft", "search",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names are imported when they are asked for: counting a spec needs no torch."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
